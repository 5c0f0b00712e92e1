"""Scalars that may be Python numbers, tensors or variables."""

import numbers

import numpy as np
import tensorflow.compat.v1 as tf


def cast_scalar(value, dtype):
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


def is_number(value):
  """True for Python and NumPy real numbers, False for tensors."""
  return isinstance(value, numbers.Real) or (
      isinstance(value, np.ndarray) and value.ndim == 0)


def check_number(name, value, minimum=None, below=None):
  """Raises ValueError if a number is out of range; tensors may be anything.

  Args:
    name: Name of the argument.
    value: Its value; only Python and NumPy numbers are looked at.
    minimum: Smallest number allowed, or None.
    below: Number that the value has to be less than, or None.
  """
  if not is_number(value):
    return
  if (not np.isfinite(value) or (minimum is not None and value < minimum)
      or (below is not None and value >= below)):
    rule = ["finite"]
    if minimum is not None:
      rule.append("at least {}".format(minimum))
    if below is not None:
      rule.append("less than {}".format(below))
    raise ValueError("{} must be {}, got {!r}.".format(
        name, " and ".join(rule), value))
