"""Tests of kfac.python.ops.utils."""
