"""Coefficients of losses: a coefficient c multiplies the loss's curvature.

A matrix, such as the Fisher matrix F, is multiplied by c. What F is the square
of, a factor B of F or a gradient whose second moment is F, is multiplied by
sqrt(c).
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

# How a loss counts: times c, times sqrt(c), or as if c were 1.
MODES = ("regular", "sqrt", "off")


def check(coeff: Any) -> None:
  """Raises ValueError unless a coefficient is a number >= 0 or a scalar tensor.

  Args:
    coeff: The value. The sign of a tensor is not checked.
  """
  if tf.is_tensor(coeff):
    dtype = coeff.dtype.base_dtype
    fits = coeff.shape.rank in (0, None) and (
        dtype.is_floating or dtype.is_integer)
  else:
    fits = (scalars.is_number(coeff) and not isinstance(coeff, bool)
            and math.isfinite(coeff) and coeff >= 0)
  if not fits:
    raise ValueError(
        "coeff must be a number >= 0 or a scalar tensor, got "
        f"{scalars.shown(coeff)}.")


def check_mode(mode: Any) -> None:
  """Raises ValueError unless a value is one of MODES."""
  if not isinstance(mode, str) or mode not in MODES:
    raise ValueError(
        f"coeff_mode must be one of {list(MODES)}, got {scalars.shown(mode)}.")


def scaled(value: Any, coeff: hints.Scalar, mode: str) -> Any:
  """Multiplies tensors by a coefficient or its root.

  Args:
    value: Floating point tensor, or a nested list or tuple of them.
    coeff: The coefficient; see `check`.
    mode: One of MODES.

  Returns:
    The same structure; `value` itself if nothing changes.
  """
  if mode == "off" or scalars.is_one(coeff):
    return value
  return tf.nest.map_structure(
      lambda x: x * _multiplier(coeff, mode, x.dtype.base_dtype), value)


def _multiplier(coeff, mode, dtype):
  """Returns the coefficient or its root as a tensor of a dtype."""
  if mode == "regular":
    return scalars.cast_scalar(coeff, dtype)
  if scalars.is_number(coeff):
    return scalars.cast_scalar(math.sqrt(coeff), dtype)
  # A root has no derivative at 0, and none is wanted.
  return tf.sqrt(tf.stop_gradient(scalars.cast_scalar(coeff, dtype)))
