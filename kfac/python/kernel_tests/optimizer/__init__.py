"""Tests of kfac.python.ops.optimizer."""
