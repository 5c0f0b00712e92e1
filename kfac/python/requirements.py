"""Tells in one line when TensorFlow is missing or too old."""

from __future__ import annotations

import re

MINIMUM_TENSORFLOW = (2, 15)

_NEED = ("kfac needs TensorFlow 2.15 or later, got {}. Install it by "
         "`pip install \"kfac[tensorflow]\"` or, for CPUs only, "
         "`pip install \"kfac[tensorflow-cpu]\"`.")
# What is not found where no TensorFlow is, or one before 1.13.
_MODULES = ("tensorflow", "tensorflow.compat", "tensorflow.compat.v1")


def check_tensorflow() -> None:
  """Imports TensorFlow and checks its version.

  An error inside an installed TensorFlow, as a missing library of its own, is
  passed on as it is.

  Raises:
    ImportError: If there is no TensorFlow, or it is too old.
  """
  try:
    import tensorflow.compat.v1 as tf
  except ModuleNotFoundError as error:
    if error.name not in _MODULES:
      raise
    found = "none" if error.name == _MODULES[0] else "an older one"
    raise ImportError(_NEED.format(found)) from None
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
    raise ImportError(_NEED.format(version))
