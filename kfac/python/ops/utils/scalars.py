"""Scalars that may be Python numbers, tensors or variables."""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def cast_scalar(value: Any, dtype: hints.DType) -> tf.Tensor:
  """Returns `value` as a tensor of `dtype`, a Python float to full precision.

  Args:
    value: Python or NumPy number, tensor or variable of shape [].
    dtype: The dtype wanted, real floating point.

  Returns:
    Tensor of shape [].
  """
  dtype = tf.as_dtype(dtype).base_dtype
  if is_number(value):
    # tf.cast would pass through float32 first.
    return tf.constant(value, dtype=dtype)
  return tf.cast(tf.convert_to_tensor(value), dtype)


def is_number(value: Any) -> bool:
  """True for Python and NumPy real numbers, False for tensors."""
  return isinstance(value, numbers.Real) or (
      isinstance(value, np.ndarray) and value.ndim == 0)


# Rules of check_number: how each is told, and when a value breaks it.
_RULES = {
    "minimum": ("at least {}", lambda value, bound: value < bound),
    "above": ("more than {}", lambda value, bound: value <= bound),
    "maximum": ("at most {}", lambda value, bound: value > bound),
    "below": ("less than {}", lambda value, bound: value >= bound),
}


def check_number(name: str, value: Any, **bounds: float) -> None:
  """Raises ValueError if a number is out of range; tensors may be anything.

  Args:
    name: Name of the argument.
    value: Its value; only Python and NumPy numbers are looked at.
    **bounds: Numbers by the names of _RULES.
  """
  if not is_number(value):
    return
  if not np.isfinite(value) or any(
      _RULES[rule][1](value, bound) for rule, bound in bounds.items()):
    told = ["finite"] + [
        _RULES[rule][0].format(bound) for rule, bound in bounds.items()]
    raise ValueError("{} must be {}, got {!r}.".format(
        name, " and ".join(told), value))


def check_int(name: str, value: Any, minimum: int) -> int:
  """Raises ValueError unless a value is an int of at least `minimum`.

  Args:
    name: Name of the argument.
    value: Its value.
    minimum: Smallest int allowed.

  Returns:
    The value as a Python int.
  """
  if (not isinstance(value, numbers.Integral) or isinstance(value, bool)
      or value < minimum):
    raise ValueError(f"{name} must be an int >= {minimum}, got {value!r}.")
  return int(value)
