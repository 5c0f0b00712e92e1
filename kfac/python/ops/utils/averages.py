"""Variables that average what they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import scalars

_ZEROS = tf.zeros_initializer()


class MovingAverageVariable:
  """The average of values, with a weight for each value.

  With `normalize_value` it is the sum of weights times values over the sum of
  the weights; otherwise it is the first sum, to which the initial value belongs
  with weight 1. Each addition multiplies the weights of the past by a decay.
  """

  def __init__(self, name: str, shape: hints.Shape, dtype: hints.DType,
               initializer: Callable[..., Any] = _ZEROS,
               normalize_value: bool = True) -> None:
    """Creates the variables.

    Args:
      name: Name in the current variable scope.
      shape: Shape of a value.
      dtype: Its dtype, real floating point.
      initializer: Function of (shape, dtype) that returns the initial value.
        With `normalize_value` it has no weight: the first value replaces it.
      normalize_value: Whether to divide by the sum of the weights.
    """
    dtype = tf.as_dtype(dtype)
    self._initial = lambda: tf.cast(initializer(shape, dtype=dtype), dtype)
    self._normalize_value = normalize_value
    self._average = plain_variables.make_variable(
        name, initializer, shape, dtype)
    self._total_weight = plain_variables.make_variable(
        f"{name}_total_weight", tf.zeros_initializer(), [], dtype)

  @property
  def dtype(self) -> tf.DType:
    """The dtype of the values."""
    return self._average.dtype.base_dtype

  @property
  def value(self) -> tf.Tensor:
    """The average, a tensor that reads it."""
    return self._average.read_value()

  def add_to_average(self, value: hints.TensorLike, decay: hints.Scalar = 1.0,
                     weight: hints.Scalar = 1.0) -> tf.Operation:
    """Makes the op that includes a value.

    Args:
      value: Tensor of the shape.
      decay: Scalar >= 0, what the weights of the past are multiplied by.
      weight: Scalar >= 0, the weight of the value.

    Returns:
      Op.

    Raises:
      ValueError: If the decay or the weight is negative.
    """
    scalars.check_number("decay", decay, minimum=0.)
    scalars.check_number("weight", weight, minimum=0.)
    value, old = tf.cast(value, self.dtype), self.value
    past = self._total_weight.read_value() * scalars.cast_scalar(
        decay, self.dtype)
    present = scalars.cast_scalar(weight, self.dtype)
    total = past + present
    if self._normalize_value:
      # The rate of the first value is 1.
      new = old + tf.math.divide_no_nan(present, total) * (value - old)
    else:
      new = scalars.cast_scalar(decay, self.dtype) * old + present * value
    return tf.group(tf.assign(self._average, new),
                    tf.assign(self._total_weight, total))

  def reset(self) -> tf.Operation:
    """Makes the op that forgets all values, and sets the initial one."""
    return tf.group(
        tf.assign(self._average, self._initial()),
        tf.assign(self._total_weight, tf.zeros([], self.dtype)))


class AccumulatorVariable:
  """The mean of all values since the last reset, zero if there are none."""

  def __init__(self, name: str, shape: hints.Shape,
               dtype: hints.DType) -> None:
    """Creates the variables.

    Args:
      name: Name in the current variable scope.
      shape: Shape of a value.
      dtype: Its dtype, real floating point.
    """
    self._average = MovingAverageVariable(name, shape, dtype)

  def accumulate(self, value: hints.TensorLike) -> tf.Operation:
    """Makes the op that includes a value.

    Args:
      value: Tensor of the shape.

    Returns:
      Op.
    """
    return self._average.add_to_average(value)

  @property
  def value(self) -> tf.Tensor:
    """The mean, a tensor that reads it."""
    return self._average.value

  def read_value_and_reset(self) -> tf.Tensor:
    """Makes a tensor that is the mean before it forgets all values.

    Returns:
      Tensor of the shape.
    """
    value = self.value
    with tf.control_dependencies([value]):
      reset = self.reset()
    with tf.control_dependencies([reset]):
      return tf.identity(value)

  def reset(self) -> tf.Operation:
    """Makes the op that forgets all values."""
    return self._average.reset()
