"""The exported names of layer_collection, under their contrib module name."""

from kfac.python.ops.layer_collection import *  # noqa: F403
