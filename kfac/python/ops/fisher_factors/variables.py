"""The variables of factors, and their initial values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import precision


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

  Until the first inverse update, the step of a layer is then zero, or along the
  plain gradient.

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
  """Creates a variable of the curvature estimate, never of half precision.

  Args:
    name: Name below the current variable scope.
    shape: Its shape.
    dtype: Its dtype; float16 and bfloat16 mean float32.
    initializer: Function of (shape, dtype, partition_info).

  Returns:
    The variable.
  """
  return plain_variables.make_variable(
      name, initializer, shape, precision.wide_dtype(dtype))
