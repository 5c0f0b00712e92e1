"""Blocks with one factor for all their parameters: full and diagonal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_blocks import base
from kfac.python.ops.fisher_blocks import damping as damping_lib
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision


class SingleFactorFB(base.FisherBlock):
  """A block with one factor for all its parameters, arranged as a column.

  A subclass defines `_factor_args`, or `instantiate_factors`, which sets
  `_factor` and `_damping_func`.
  """

  _factor: Any = None
  _damping_func: Any = None

  def _factor_args(self, grads_list):
    """Returns the class of the factor and its constructor's arguments.

    Args:
      grads_list: As in `instantiate_factors`.
    """
    raise NotImplementedError(
        f"{type(self).__name__} must define _factor_args(grads_list).")

  def _factor_damping(self, damping):
    """Returns the damping of the factor, given that of the block."""
    return damping

  def instantiate_factors(self, grads_list: Sequence[Any],  # noqa: D102
                          damping: hints.Scalar) -> None:
    self._factor = self._make_factor("F", *self._factor_args(grads_list))
    factor_damping = self._factor_damping(damping)
    self._damping_func = base._package_func(
        lambda: factor_damping,
        naming.scalar_or_tensor_to_string(factor_damping))

  def factor_data(  # noqa: D102
      self, grads_list: Sequence[Any]) -> list[tuple[Any, tuple]]:
    return [(self._factor, self._factor_args(grads_list)[1])]

  def register_matpower(self, exp: float) -> None:  # noqa: D102
    self._factor.register_matpower(exp, self._damping_func)

  def register_cholesky(self) -> None:  # noqa: D102
    self._factor.register_cholesky(self._damping_func)

  def register_cholesky_inverse(self) -> None:  # noqa: D102
    self._factor.register_cholesky_inverse(self._damping_func)

  def _to_column(self, vector):
    """Returns the vector as a column [parameters, 1]."""
    return utils.tensors_to_column(vector)

  def _from_column(self, vector, column):
    """Returns a column in the structure of the vector."""
    return utils.column_to_tensors(vector, column)

  def _apply(self, operator, vector, transpose=False):
    wide = precision.widen(vector)
    column = operator.matmul(self._to_column(wide), adjoint=transpose)
    return precision.cast_like(vector, self._from_column(wide, column))

  def multiply_matpower(self, vector: hints.Vector,  # noqa: D102
                        exp: float) -> Any:
    return self._apply(
        self._factor.get_matpower(exp, self._damping_func), vector)

  def _multiply_with(self, vector, damping_mult):
    return self._apply(self._factor.get_matpower(
        1, damping_lib.scaled(self._damping_func, damping_mult)), vector)

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
  """A block that is approximated by its diagonal."""
