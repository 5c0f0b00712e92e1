"""The split of a block's damping between its factors: pi."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import linear_operator as lo
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars


def normalize_damping(damping: hints.Scalar,
                      num_replications: hints.Scalar) -> Any:
  """Divides the damping by the number of replications.

  The Fisher matrix of parameters that are applied n times per example is about
  n times that of one application. The factors are averages over applications,
  so the damping is divided instead.

  Args:
    damping: Number or scalar tensor.
    num_replications: n, number or scalar tensor.

  Returns:
    damping / n^NORMALIZE_DAMPING_POWER, a number if both are numbers.
  """
  power = constants.read("fisher_blocks", "NORMALIZE_DAMPING_POWER")
  if not power or scalars.is_one(num_replications):
    return damping
  if scalars.is_number(num_replications) and scalars.is_number(damping):
    return damping / num_replications ** power
  tensor = tf.convert_to_tensor(damping)
  return tensor / tf.pow(
      scalars.cast_scalar(num_replications, tensor.dtype),
      scalars.cast_scalar(power, tensor.dtype))


def of_sum_over_locations(damping: hints.Scalar, num_locations: hints.Scalar,
                          dtype: hints.DType) -> Any:
  """Returns the damping of a factor that sums gradients over locations.

  F is T times that of one location, and its damping scales with it.

  Args:
    damping: Number or scalar tensor, the damping of the block.
    num_locations: T, number or scalar tensor.
    dtype: Dtype of the data.

  Returns:
    T damping / T^NORMALIZE_DAMPING_POWER, a number if both are numbers.
  """
  if scalars.is_one(num_locations):
    return damping
  if not scalars.is_number(num_locations):
    num_locations, damping = [
        scalars.cast_scalar(value, precision.wide_dtype(dtype))
        for value in (num_locations, damping)]
  return num_locations * normalize_damping(damping, num_locations)


def compute_pi_tracenorm(left_cov: Any, right_cov: Any) -> tf.Tensor:
  """Balances one damping between the factors A and G.

  pi**2 is the mean eigenvalue of A over that of G, so that each factor is
  damped in proportion to its own size (Martens & Grosse 2015, section 6.3).

  Args:
    left_cov: LinearOperator [a, a], the input factor A; or a matrix, or the
      diagonal of one as a vector or column.
    right_cov: The same for the output factor G, [g, g].

  Returns:
    Scalar tensor > 0. A is damped by sqrt(damping) * pi, G by
    sqrt(damping) / pi. It is 1 while either factor is zero.
  """
  left, right = (_mean_eigenvalue(cov) for cov in (left_cov, right_cov))
  known = tf.logical_and(left > 0., right > 0.)
  ratio = tf.where(known, left, tf.ones_like(left)) / tf.where(
      known, right, tf.ones_like(right))
  return tf.sqrt(ratio)


def _mean_eigenvalue(cov):
  cov = _as_linear_operator(cov)
  return cov.trace() / scalars.cast_scalar(cov.shape.as_list()[-1], cov.dtype)


def _as_linear_operator(cov):
  if isinstance(cov, tf.linalg.LinearOperator):
    return cov
  cov = tf.convert_to_tensor(cov)
  shape = cov.shape.as_list()
  if len(shape) == 1 or shape[1] != shape[0]:
    return lo.LinearOperatorDiag(tf.reshape(cov, [-1]))
  return lo.LinearOperatorFullMatrix(cov)


def compute_pi_adjusted_damping(left_cov: Any, right_cov: Any,
                                damping: hints.Scalar) -> tuple[Any, Any]:
  """Splits a damping between the factors A and G.

  Args:
    left_cov: As in compute_pi_tracenorm.
    right_cov: As in compute_pi_tracenorm.
    damping: Number or scalar tensor, the square root of the block's damping.

  Returns:
    Pair of scalars: damping * pi for A, and damping / pi for G. With PI_TYPE
    "off", pi is 1.
  """
  if constants.read("fisher_blocks", "PI_TYPE") == "off":
    return damping, damping
  pi = compute_pi_tracenorm(left_cov, right_cov)
  damping = scalars.cast_scalar(damping, pi.dtype)
  return damping * pi, damping / pi


def scaled(damping_func: hints.Thunk, mult: Any) -> hints.Thunk:
  """Returns a function that returns a multiple of another one's damping.

  Args:
    damping_func: Function that returns a damping.
    mult: Number or scalar tensor.

  Returns:
    Function with a func_id. No matrix that is kept has it.
  """
  return naming.PackagedFunc(
      lambda: scalars.product(damping_func(), mult), "scaled")
