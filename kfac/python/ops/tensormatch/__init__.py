"""Finds what a graph computes: the uses of variables, and losses."""
