"""Saved Keras models with their optimizer, which are not built."""

from kfac.python.ops import not_built

__getattr__ = not_built.getter(
    __name__, "use tf.train.Saver, which saves model and optimizer")
