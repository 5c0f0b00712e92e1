"""The moving average that a factor keeps, and what variables start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


def covariance_initializer(shape: hints.Shape, dtype: hints.DType,
                           partition_info: Any = None) -> tf.Tensor:
  """Initial covariance: zero, or the identity.

  Args:
    shape: Shape of the covariance, square.
    dtype: Its dtype.
    partition_info: Ignored; part of the signature of an initializer.

  Returns:
    Zeros if INIT_COVARIANCES_AT_ZERO, else the identity.
  """
  return _start(shape, dtype, _eye, "INIT_COVARIANCES_AT_ZERO")


def diagonal_covariance_initializer(shape: hints.Shape, dtype: hints.DType,
                                    partition_info: Any = None) -> tf.Tensor:
  """Initial diagonal covariance: zeros, or ones.

  Args:
    shape: Shape in which the diagonal is stored.
    dtype: Its dtype.
    partition_info: Ignored; part of the signature of an initializer.

  Returns:
    Zeros if INIT_COVARIANCES_AT_ZERO, else ones.
  """
  return _start(shape, dtype, tf.ones, "INIT_COVARIANCES_AT_ZERO")


def inverse_initializer(shape: hints.Shape, dtype: hints.DType,
                        partition_info: Any = None) -> tf.Tensor:
  """Initial value of a kept matrix: zero, or the identity.

  Until its first inverse update a layer then gets no step, or the plain
  gradient.

  Args:
    shape: Shape of the matrix, square.
    dtype: Its dtype.
    partition_info: Ignored; part of the signature of an initializer.

  Returns:
    Zeros if INIT_INVERSES_AT_ZERO, else the identity.
  """
  return _start(shape, dtype, _eye, "INIT_INVERSES_AT_ZERO")


def _start(shape, dtype, otherwise, constant):
  at_zero = constants.read("fisher_factors", constant)
  return (tf.zeros if at_zero else otherwise)(shape, dtype=dtype)


def _eye(shape, dtype):
  return tf.eye(shape[0], num_columns=shape[-1], dtype=dtype)


def make_variable(name: str, shape: hints.Shape, dtype: hints.DType,
                  initializer: Callable[..., Any]) -> tf.Variable:
  """Makes a variable of the curvature estimate, never a trained one.

  It is a resource variable whatever the model uses, since these can be
  assigned inside of every kind of control flow.

  Args:
    name: Name below the current variable scope.
    shape: Its shape.
    dtype: Its dtype.
    initializer: Function of (shape, dtype, partition_info).

  Returns:
    The variable.
  """
  return tf.get_variable(
      name, shape=shape, dtype=dtype, initializer=initializer,
      trainable=False, use_resource=True)


class MovingAverage:
  """C <- decay C + (1 - decay) new, optionally without the bias to the start.

  With ZERO_DEBIAS, C is after t updates the average of the t values with
  weights decay^(t-s), which add up to 1: the sum above divided by
  1 - decay^t (Kingma & Ba 2015, section 3). The same is had by moving C
  towards the new value by (1 - decay) / (1 - decay^t), so only t is stored.
  """

  def __init__(self, variable: tf.Variable, name: str) -> None:
    """Makes the counter of updates, if there is to be one.

    Args:
      variable: The variable that holds the average.
      name: Scope below the current one for the counter.
    """
    self.variable = variable
    self._num_updates = None
    if constants.read("fisher_factors", "ZERO_DEBIAS"):
      with tf.variable_scope(name):
        self._num_updates = make_variable(
            "local_step", [], variable.dtype.base_dtype,
            tf.zeros_initializer())

  def update(self, new_value: hints.TensorLike, decay: hints.Scalar,
             weight: hints.Scalar | None = None) -> tf.Operation:
    """Makes the op that takes in a new value.

    Args:
      new_value: Tensor, shaped like the variable.
      decay: Scalar in [0, 1).
      weight: Scalar, the weight of the new value; 1 - decay if None. With
        ZERO_DEBIAS a constant weight makes no difference.

    Returns:
      Op.
    """
    dtype = self.variable.dtype.base_dtype
    decay = scalars.cast_scalar(decay, dtype)
    if self._num_updates is None:
      weight = (1. - decay if weight is None
                else scalars.cast_scalar(weight, dtype))
      return tf.assign(
          self.variable,
          decay * self.variable + weight * tf.cast(new_value, dtype)).op
    step = tf.assign_add(self._num_updates, tf.ones([], dtype))
    rate = (1. - decay) / (1. - tf.pow(decay, step))
    return tf.assign_add(
        self.variable,
        rate * (tf.cast(new_value, dtype) - self.variable)).op
