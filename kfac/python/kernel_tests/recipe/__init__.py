"""Tests of kfac.python.ops.recipe."""
