"""The exported names of fisher_factors, under their contrib module name."""

from kfac.python.ops.fisher_factors import *  # noqa: F403
