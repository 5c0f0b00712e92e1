"""Tests of kfac.python.tools."""
