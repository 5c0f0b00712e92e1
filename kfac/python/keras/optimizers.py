"""K-FAC as a Keras optimizer, which is not built."""

from kfac.python.ops import not_built

__getattr__ = not_built.getter(
    __name__, "use kfac.KfacOptimizer in graph mode, and "
    "auto_register_layers of its LayerCollection for a Keras model")
