"""Tests of kfac.python.ops.layer_collection."""
