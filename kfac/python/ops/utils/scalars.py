"""Scalars that may be Python numbers, tensors or variables."""

from __future__ import annotations

import numbers
import operator
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints

# Number of characters of a value in an error message.
_MAX_SHOWN = 200


def cast_scalar(value: Any, dtype: hints.DType) -> tf.Tensor:
  """Returns `value` as a tensor of `dtype`, a Python float in full precision.

  Args:
    value: Python or NumPy number, tensor or variable of shape [].
    dtype: Dtype of the result, real floating point.

  Returns:
    Tensor of shape [].
  """
  dtype = tf.as_dtype(dtype).base_dtype
  if is_number(value):
    # tf.cast would round to float32 first.
    return tf.constant(value, dtype=dtype)
  return tf.cast(tf.convert_to_tensor(value), dtype)


def is_number(value: Any) -> bool:
  """True for Python and NumPy real numbers, False for tensors."""
  return isinstance(value, numbers.Real) or (
      isinstance(value, np.ndarray) and value.ndim == 0)


def shown(value: Any) -> str:
  """Returns a value as an error message shows it: in one short line.

  Args:
    value: Any object, for instance an array, whose `repr` has several lines.
  """
  text = " ".join(repr(value).split())
  return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def is_one(value: Any) -> bool:
  """True for the number 1, False for other numbers and for tensors."""
  return bool(is_number(value) and value == 1)


def product(value: Any, mult: Any) -> Any:
  """Returns mult times a value, a number if both are numbers.

  Args:
    value: Number, tensor or variable of shape [], returned as it is if `mult`
      is the number 1.
    mult: Number, tensor or variable of shape []. Its dtype counts only if the
      value is a number.
  """
  if is_one(mult):
    return value
  if is_number(value) and is_number(mult):
    return value * mult
  if is_number(value):
    value, mult = mult, value
  value = tf.convert_to_tensor(value)
  return value * cast_scalar(mult, value.dtype)


def total(value: Any, summand: Any) -> Any:
  """Returns a value plus a summand, a number if both are numbers.

  Args:
    value: Number, tensor or variable of shape [], returned as it is if
      `summand` is the number 0.
    summand: The same. Its dtype counts only if the value is a number.
  """
  if is_number(summand) and summand == 0:
    return value
  if is_number(value) and is_number(summand):
    return value + summand
  if is_number(value):
    value, summand = summand, value
  value = tf.convert_to_tensor(value)
  return value + cast_scalar(summand, value.dtype)


# Rules of check_number: the words, and the operator that finds a violation.
_RULES = {
    "minimum": ("at least", operator.lt),
    "above": ("more than", operator.le),
    "maximum": ("at most", operator.gt),
    "below": ("less than", operator.ge),
}


def check_number(name: str, value: Any, **bounds: float) -> None:
  """Raises ValueError if a number is out of range; tensors are not checked.

  Args:
    name: Name of the argument.
    value: Its value; only Python and NumPy numbers are checked.
    **bounds: Numbers by the names of _RULES.
  """
  if not is_number(value):
    return
  if not np.isfinite(value) or any(
      _RULES[rule][1](value, bound) for rule, bound in bounds.items()):
    rules = ["finite"] + [
        f"{_RULES[rule][0]} {bound}" for rule, bound in bounds.items()]
    raise ValueError(f"{name} must be {' and '.join(rules)}, got {value!r}.")


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
    raise ValueError(
        f"{name} must be an int >= {minimum}, got {shown(value)}.")
  return int(value)
