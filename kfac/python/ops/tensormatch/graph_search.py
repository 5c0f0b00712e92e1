"""Layers that are found in a graph."""

__all__: list[str] = []
