"""DiagonalFactor: a covariance of which only the diagonal is stored.

Powers of a diagonal are cheap. They are computed on use, and none is kept.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops import linear_operator as lo
from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.fisher_factors import variables
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


class DiagonalFactor(base.FisherFactor):
  """A diagonal with one entry per parameter, stored in any shape."""

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
    """Does nothing: powers are computed on use."""

  def register_cholesky(self, damping_func: hints.Damping) -> None:
    """Does nothing: powers are computed on use."""

  def register_cholesky_inverse(self, damping_func: hints.Damping) -> None:
    """Does nothing: powers are computed on use."""

  def get_matpower(self, exp: float,
                   damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    """Returns (C + damping I)^exp of the present covariance."""
    diagonal = tf.reshape(self.get_cov(), [-1])
    damping = scalars.cast_scalar(
        naming.as_damping_func(damping_func)(), diagonal.dtype)
    return lo.LinearOperatorDiag(
        tf.pow(diagonal + damping, scalars.cast_scalar(exp, diagonal.dtype)),
        is_non_singular=True, is_self_adjoint=True, is_positive_definite=True)

  def get_cholesky(self,  # noqa: D102
                   damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    return self.get_matpower(0.5, damping_func)

  def get_cholesky_inverse(  # noqa: D102
      self, damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    return self.get_matpower(-0.5, damping_func)
