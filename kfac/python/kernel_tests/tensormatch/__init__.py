"""Tests of kfac.python.ops.tensormatch."""
