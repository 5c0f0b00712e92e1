"""Functions of a damped covariance, repeated until the result is good.

In float32 a Cholesky decomposition of C + damping I fails, or is wrong by
several percent, once the damping is below about 1e-6 times the largest
eigenvalue of C. The same function in float64 then succeeds, and if C itself is
not positive definite to rounding, so does one with more damping.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import constants
from kfac.python.ops.utils import scalars

# One more attempt with the same damping, then with 10, 100 and 1000 times more.
MAX_ATTEMPTS = 4


def retried(
    compute: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
    again: Callable[[tf.Tensor, tf.Tensor], Sequence[tf.Tensor]],
    is_good: Callable[..., tf.Tensor], cov: tf.Tensor,
    damping: tf.Tensor) -> tuple[list, tf.Tensor]:
  """Computes matrices, more carefully if that fails.

  Args:
    compute: Function of C [n, n] and the damping [] that returns a list of
      tensors.
    again: The same, used for further attempts: in float64 up to
      FLOAT64_INVERSE_SIZE rows, otherwise in the dtype of C.
    is_good: Function of C, the damping and the list that returns a boolean
      tensor [].
    cov: C, tensor [n, n], finite.
    damping: Scalar tensor of C's dtype.

  Returns:
    The list, in C's dtype, and whether the last attempt was good. Only then
    are the entries finite.
  """
  values = list(compute(cov, damping))

  def attempt(number: Any, good: Any, *unused: Any) -> list:
    del good, unused
    wide = _careful_dtype(cov)
    wide_cov = tf.cast(cov, wide)
    wide_damping = raised(wide_cov, tf.cast(damping, wide), number, cov.dtype)
    found = list(again(wide_cov, wide_damping))
    return [number + 1, is_good(wide_cov, wide_damping, found),
            *[tf.cast(value, cov.dtype) for value in found]]

  _, good, *values = tf.while_loop(
      lambda number, good, *_: tf.logical_and(
          tf.logical_not(good), number < MAX_ATTEMPTS),
      attempt, [tf.constant(0), is_good(cov, damping, values), *values],
      parallel_iterations=1, back_prop=False)
  return values, good


def raised(cov: tf.Tensor, damping: tf.Tensor, number: tf.Tensor,
           dtype: tf.DType) -> tf.Tensor:
  """Returns the damping of a further attempt.

  Args:
    cov: C, tensor [n, n].
    damping: Scalar tensor of its dtype.
    number: Integer tensor [], the number of previous further attempts.
    dtype: The dtype in which C was computed.

  Returns:
    The damping itself for the first; then 10^number times it, or times the
    rounding error of the largest eigenvalue if that is more.
  """
  rounding = np.finfo(dtype.as_numpy_dtype).eps * tf.linalg.trace(cov)
  factor = tf.pow(scalars.cast_scalar(10., damping.dtype),
                  tf.cast(number, damping.dtype))
  return tf.where(
      number > 0, tf.maximum(damping, rounding) * factor, damping)


def _careful_dtype(cov):
  """Returns the dtype of further attempts."""
  limit = constants.read("fisher_factors", "FLOAT64_INVERSE_SIZE")
  return tf.float64 if int(cov.shape[0]) <= limit else cov.dtype
