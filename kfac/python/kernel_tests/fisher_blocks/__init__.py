"""Tests of kfac.python.ops.fisher_blocks."""
