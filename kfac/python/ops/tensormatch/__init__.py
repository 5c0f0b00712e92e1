"""Finds the layers and losses of a graph."""
