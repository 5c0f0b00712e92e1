"""Imports packages that the programs can run without."""

import importlib


def import_or_none(name):
  """Imports a module; returns None if it is not installed."""
  try:
    return importlib.import_module(name)
  except ImportError:
    return None
