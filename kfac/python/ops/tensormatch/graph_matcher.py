"""The pattern language of kfac 0.2.4, which is not built."""

from kfac.python.ops import not_built

__getattr__ = not_built.getter(
    __name__, "use auto_register_layers of kfac.LayerCollection, which needs "
    "no patterns")
