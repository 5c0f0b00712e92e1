"""Tests of kfac.python.ops.kfac_utils."""
