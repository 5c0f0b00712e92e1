"""Schedules of hyperparameters as Keras callbacks, which are not built."""

from kfac.python.ops import not_built

__getattr__ = not_built.getter(
    __name__, "pass a tensor, such as tf.train.exponential_decay, as damping "
    "or learning_rate of kfac.KfacOptimizer")
