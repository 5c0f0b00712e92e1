"""The exported names of optimizer, under their contrib module name."""

from kfac.python.ops.optimizer import *  # noqa: F403
