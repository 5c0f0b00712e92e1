"""Tests of kfac.python.ops.loss_functions."""
