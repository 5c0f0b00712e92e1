"""Tests of kfac.python.ops.fisher_factors."""
