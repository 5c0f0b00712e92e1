"""KroneckerProductFB: a block c (A kron G) with factored damping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_blocks import base
from kfac.python.ops.fisher_blocks import damping as damping_lib
from kfac.python.ops.fisher_blocks import outer_products
from kfac.python.ops.fisher_blocks import views
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars


class KroneckerProductFB(base.FisherBlock):
  """F = c (A kron G), with the parameters as a matrix V [in (+ 1), out].

  A power p acts as c^p A^p V G^p, the Cholesky factor as sqrt(c) L_A V L_G^T.
  c is the number of replications, over which A and G are averaged
  (Grosse & Martens 2016, section 3). A subclass defines `_factor_args`, or
  `instantiate_factors`, which sets both factors and calls `_setup_damping`.
  """

  # The roles of the two factors, which are part of their names.
  _roles = ("A", "G")
  _view: views.View | None = None
  _input_factor: Any = None
  _output_factor: Any = None
  _damping: Any = None
  _input_damping_func: Any = None
  _output_damping_func: Any = None

  @property
  def damping(self) -> Any:
    """The damping of the block; None before the factors are instantiated."""
    return self._damping

  @property
  def input_factor(self) -> Any:
    """A, a FisherFactor; None before the factors are instantiated."""
    return self._input_factor

  @property
  def output_factor(self) -> Any:
    """G, a FisherFactor; None before the factors are instantiated."""
    return self._output_factor

  @property
  def _renorm_coeff(self):
    """The scale c."""
    return self._num_replications

  def _factor_args(self, grads_list):
    """Returns the classes of A and G and their constructors' arguments.

    Args:
      grads_list: As in `instantiate_factors`.

    Returns:
      (class, arguments) of A, and of G.
    """
    raise NotImplementedError(
        f"{type(self).__name__} must define _factor_args(grads_list).")

  def instantiate_factors(self, grads_list: Sequence[Any],  # noqa: D102
                          damping: hints.Scalar) -> None:
    self._input_factor, self._output_factor = (
        self._make_factor(role, cls, args) for role, (cls, args) in zip(
            self._roles, self._factor_args(grads_list), strict=True))
    self._setup_damping(damping)

  def factor_data(  # noqa: D102
      self, grads_list: Sequence[Any]) -> list[tuple[Any, tuple]]:
    factors = self._input_factor, self._output_factor
    return [(factor, args) for factor, (_, args) in zip(
        factors, self._factor_args(grads_list), strict=True)]

  def _setup_damping(self, damping, normalization=None):
    """Defines the damping functions of the factors, which must exist.

    Args:
      damping: Scalar, the damping of the block.
      normalization: Number of replications that normalises it; the block's own
        if None.
    """
    self._damping = damping
    replications = (self._num_replications if normalization is None
                    else normalization)

    def split(side):
      A, G = (factor.get_cov_as_linear_operator() for factor in (
          self._input_factor, self._output_factor))
      whole = damping_lib.normalize_damping(
          scalars.cast_scalar(damping, A.dtype), replications)
      return damping_lib.compute_pi_adjusted_damping(
          A, G, tf.sqrt(whole))[side]

    # Pi depends on the other factor, which is therefore part of the id.
    whole_id = (naming.scalar_or_tensor_to_string(damping), "over",
                naming.scalar_or_tensor_to_string(replications))
    self._input_damping_func = base._package_func(
        lambda: split(0), whole_id + ("pi", self._output_factor.contrib_name))
    self._output_damping_func = base._package_func(
        lambda: split(1), whole_id + ("invpi", self._input_factor.contrib_name))

  def _factors_and_dampings(self):
    return ((self._input_factor, self._input_damping_func),
            (self._output_factor, self._output_damping_func))

  def register_matpower(self, exp: float) -> None:  # noqa: D102
    for factor, damping_func in self._factors_and_dampings():
      factor.register_matpower(exp, damping_func)

  def register_cholesky(self) -> None:  # noqa: D102
    for factor, damping_func in self._factors_and_dampings():
      factor.register_cholesky(damping_func)

  def register_cholesky_inverse(self) -> None:  # noqa: D102
    for factor, damping_func in self._factors_and_dampings():
      factor.register_cholesky_inverse(damping_func)

  def _to_matrix(self, vector):
    """Returns the vector as a matrix V [in (+ 1), out]."""
    return views.params_to_matrix(self._view, vector)

  def _from_matrix(self, vector, matrix):
    """Returns a matrix in the structure of the vector."""
    return views.matrix_to_params(self._view, vector, matrix)

  def _apply(self, vector, operators, exp, adjoints=(False, False)):
    """Returns c^exp M_A V M_G, either operator possibly transposed."""
    wide = precision.widen(vector)
    matrix = self._to_matrix(wide)
    # Where the weights are stored otherwise, the gradient is no X^T Y.
    matrix = outer_products.multiply(
        operators, adjoints, matrix, wide if self._view is None else matrix)
    if not scalars.is_one(self._renorm_coeff):
      matrix = _multiply_scalar(matrix, tf.pow(
          scalars.cast_scalar(self._renorm_coeff, matrix.dtype),
          scalars.cast_scalar(exp, matrix.dtype)))
    return precision.cast_like(vector, self._from_matrix(wide, matrix))

  def multiply_matpower(self, vector: hints.Vector,  # noqa: D102
                        exp: float) -> Any:
    operators = [factor.get_matpower(exp, damping_func)
                 for factor, damping_func in self._factors_and_dampings()]
    return self._apply(vector, operators, exp)

  def _multiply_with(self, vector, damping_mult):
    # Each factor has the square root of the damping.
    root = tf.sqrt(scalars.cast_scalar(damping_mult, tf.float64))
    operators = [
        factor.get_matpower(1, damping_lib.scaled(damping_func, root))
        for factor, damping_func in self._factors_and_dampings()]
    return self._apply(vector, operators, 1)

  def multiply_cholesky(self, vector: hints.Vector,  # noqa: D102
                        transpose: bool = False) -> Any:
    operators = [factor.get_cholesky(damping_func)
                 for factor, damping_func in self._factors_and_dampings()]
    return self._apply(vector, operators, 0.5, (transpose, not transpose))

  def multiply_cholesky_inverse(self, vector: hints.Vector,  # noqa: D102
                                transpose: bool = False) -> Any:
    operators = [factor.get_cholesky_inverse(damping_func)
                 for factor, damping_func in self._factors_and_dampings()]
    return self._apply(vector, operators, -0.5, (transpose, not transpose))

  def full_fisher_block(self) -> tf.Tensor:
    """Returns the undamped block as a dense matrix, for tests."""
    A, G = (factor.get_cov_as_linear_operator().to_dense() for factor in (
        self._input_factor, self._output_factor))
    return (scalars.cast_scalar(self._renorm_coeff, A.dtype) *
            utils.kronecker_product(A, G))


def _multiply_scalar(tensor, scalar):
  """Returns a tensor or IndexedSlices times a scalar."""
  if isinstance(tensor, tf.IndexedSlices):
    return tf.IndexedSlices(
        tensor.values * scalar, tensor.indices, tensor.dense_shape)
  return tensor * scalar
