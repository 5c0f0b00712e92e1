"""Blocks that are one factor of all their parameters: full and diagonal."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_blocks import base
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints


class SingleFactorFB(base.FisherBlock):
  """A block that is one factor: of all its parameters, as a column."""

  _factor = None
  _damping_func = None

  def _set_factor(self, cls, args, damping):
    """Gets the factor and says how it is damped."""
    self._factor = self._layer_collection.make_or_get_factor(cls, args)
    self._damping_func = base._package_func(
        lambda: damping, naming.scalar_or_tensor_to_string(damping))

  def register_matpower(self, exp: float) -> None:  # noqa: D102
    self._factor.register_matpower(exp, self._damping_func)

  def register_cholesky(self) -> None:  # noqa: D102
    self._factor.register_cholesky(self._damping_func)

  def register_cholesky_inverse(self) -> None:  # noqa: D102
    self._factor.register_cholesky_inverse(self._damping_func)

  def _apply(self, operator, vector, transpose=False):
    column = utils.tensors_to_column(vector)
    return utils.column_to_tensors(
        vector, operator.matmul(column, adjoint=transpose))

  def multiply_matpower(self, vector: hints.Vector,  # noqa: D102
                        exp: float) -> Any:
    return self._apply(
        self._factor.get_matpower(exp, self._damping_func), vector)

  def multiply_cholesky(self, vector: hints.Vector,  # noqa: D102
                        transpose: bool = False) -> Any:
    return self._apply(
        self._factor.get_cholesky(self._damping_func), vector, transpose)

  def multiply_cholesky_inverse(self, vector: hints.Vector,  # noqa: D102
                                transpose: bool = False) -> Any:
    return self._apply(
        self._factor.get_cholesky_inverse(self._damping_func), vector,
        transpose)

  def full_fisher_block(self) -> tf.Tensor:
    """Returns the undamped block as a dense matrix, for tests."""
    return self._factor.get_cov_as_linear_operator().to_dense()


class DiagonalFB(SingleFactorFB):
  """A block of which only the diagonal is kept."""
