"""Registration of Keras layers and losses, which is not built."""

from kfac.python.ops import not_built

__getattr__ = not_built.getter(
    __name__, "use auto_register_layers and register_losses_of of "
    "kfac.LayerCollection")
