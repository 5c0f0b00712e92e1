"""DiagonalFactor: a covariance of which only the diagonal is stored.

Powers of a diagonal are cheap. They are computed on use, and none is kept.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import linear_operator as lo
from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.fisher_factors import variables
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


class DiagonalFactor(base.FisherFactor):
  """A diagonal with one entry per parameter, stored in any shape."""

  def __init__(self, colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes a factor that keeps no matrices, see FisherFactor."""
    super().__init__(colocate_cov_ops_with_inputs)
    self._damping_funcs: dict[Any, hints.Thunk] = {}

  @property
  def damping_funcs(self) -> list:
    """The different dampings of announced powers, as functions."""
    return list(self._damping_funcs.values())

  @property
  def _cov_initializer(self):
    return variables.diagonal_covariance_initializer

  def get_cov_as_linear_operator(  # noqa: D102
      self) -> tf.linalg.LinearOperator:
    return lo.LinearOperatorDiag(
        tf.reshape(self.get_cov(), [-1]), is_non_singular=True,
        is_self_adjoint=True, is_positive_definite=True)

  def instantiate_inv_variables(self) -> None:
    """Creates no variables."""

  def make_inverse_update_ops(self) -> list:
    """Returns no tensors."""
    return []

  def register_matpower(self, exp: float, damping_func: hints.Damping) -> None:
    """Notes the damping: powers are computed on use."""
    self._note(damping_func)

  def register_cholesky(self, damping_func: hints.Damping) -> None:
    """Notes the damping: powers are computed on use."""
    self._note(damping_func)

  def register_cholesky_inverse(self, damping_func: hints.Damping) -> None:
    """Notes the damping: powers are computed on use."""
    self._note(damping_func)

  def _note(self, damping):
    damping_func = naming.as_damping_func(damping)
    self._damping_funcs.setdefault(
        naming.graph_func_to_id(damping_func), damping_func)

  def get_matpower(self, exp: float,
                   damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    """Returns (C + damping I)^exp of the present covariance.

    Before the first covariance update, powers other than 1 are those that a
    dense factor starts with: zero, or the identity. Where the diagonal and the
    damping are zero, so is the power.

    Args:
      exp: Number.
      damping_func: See FisherFactor.

    Returns:
      LinearOperator [n, n].
    """
    is_known, cov = self._read_cov()
    diagonal, dtype = tf.reshape(cov, [-1]), cov.dtype
    damped = diagonal + scalars.cast_scalar(
        naming.as_damping_func(damping_func)(), dtype)
    # The smallest number whose inverse is finite.
    positive = damped > dtype.as_numpy_dtype(4. / dtype.max)
    powers = tf.where(positive, tf.pow(
        tf.where(positive, damped, tf.ones_like(damped)),
        scalars.cast_scalar(exp, dtype)), tf.zeros_like(damped))
    if exp != 1:
      start = variables.inverse_initializer([1, 1], dtype)[0, 0]
      powers = tf.where_v2(is_known, powers, start)
    return lo.LinearOperatorDiag(
        powers, is_non_singular=True, is_self_adjoint=True,
        is_positive_definite=True)

  def get_cholesky(self,  # noqa: D102
                   damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    return self.get_matpower(0.5, damping_func)

  def get_cholesky_inverse(  # noqa: D102
      self, damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    return self.get_matpower(-0.5, damping_func)
