"""The exported names of fisher_blocks, under their contrib module name."""

from kfac.python.ops.fisher_blocks import *  # noqa: F403
