"""The exported names of estimator, under their contrib module name."""

from kfac.python.ops.estimator import *  # noqa: F403
