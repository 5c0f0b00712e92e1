"""Check of TensorFlow's version, with a one-line error."""

from __future__ import annotations

import re

MINIMUM_TENSORFLOW = (2, 15)

# Modules that are missing without TensorFlow, or in one before 1.13.
_MODULES = ("tensorflow", "tensorflow.compat", "tensorflow.compat.v1")


def check_tensorflow() -> None:
  """Imports TensorFlow and checks its version.

  An error inside an installed TensorFlow, such as a missing library of its own,
  is raised unchanged.

  Raises:
    ImportError: If there is no TensorFlow, or it is too old.
  """
  try:
    import tensorflow.compat.v1 as tf
  except ModuleNotFoundError as error:
    if error.name not in _MODULES:
      raise
    found = "none" if error.name == _MODULES[0] else "an older one"
    raise ImportError(_need(found)) from None
  check_version(tf.__version__)


def check_version(version: str) -> None:
  """Raises ImportError if a version of TensorFlow is too old.

  Args:
    version: String such as "2.16.1" or "2.21.0-rc1".

  Raises:
    ImportError: If it is before `MINIMUM_TENSORFLOW`.
  """
  numbers = tuple(int(n) for n in re.findall(r"\d+", version)[:2])
  if numbers < MINIMUM_TENSORFLOW:
    raise ImportError(_need(version))


def _need(found):
  """Returns the message about a missing or an old TensorFlow."""
  return (f"kfac needs TensorFlow 2.15 or later, got {found}. Install it by "
          "`pip install \"kfac[tensorflow]\"` or, for CPUs only, "
          "`pip install \"kfac[tensorflow-cpu]\"`.")
