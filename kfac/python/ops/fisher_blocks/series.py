"""Blocks of a layer that is used over time, modelled as a Gaussian chain.

The covariance of uses t and s depends on t - s alone, through powers of the
lag-one covariance (Martens, Ba & Johnson 2018, section 3.5).
"""

from __future__ import annotations

import enum
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_blocks import fully_connected
from kfac.python.ops.fisher_factors import matrix_functions
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars


class SeriesFBApproximation(enum.IntEnum):
  """The assumption about the lag-one covariance that gives a closed form."""

  option1 = 1  # It is symmetric.
  option2 = 2  # The series is long.


class FullyConnectedSeriesFB(fully_connected.FullyConnectedMultiIndepFB):
  """F^-1 of a series of T uses; other powers have no closed form."""

  _settings = ("_option",)

  def __init__(self, layer_collection: Any, has_bias: bool = False,
               num_uses: int | None = None,
               option: int = SeriesFBApproximation.option2,
               **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      num_uses: Number of uses T; required unless they are given as lists.
      option: 1 or 2, see SeriesFBApproximation.
      **first_tower: `inputs` and `outputs` of a first tower.
    """
    self._option = SeriesFBApproximation(option)
    super().__init__(layer_collection, has_bias, num_uses, **first_tower)

  def _setup_damping(self, damping, normalization=None):
    super()._setup_damping(damping, normalization)
    for factor, _ in self._factors_and_dampings():
      factor.register_cov_dt1()

  @property
  def _renorm_coeff(self):
    # The formulas below contain T.
    return 1

  def _check_exp(self, exp):
    if exp != -1:
      raise NotImplementedError(
          f"exp must be -1 in the series approximations, got {exp!r}.")

  def register_matpower(self, exp: float) -> None:  # noqa: D102
    self._check_exp(exp)
    for factor, damping_func in self._factors_and_dampings():
      if self._option == SeriesFBApproximation.option1:
        factor.register_option1quants(damping_func)
      else:
        factor.register_option2quants(damping_func)

  def multiply_matpower(self, vector: hints.Vector,  # noqa: D102
                        exp: float) -> Any:
    self._check_exp(exp)
    # The paper has one row per output: Z = V^T.
    wide = precision.widen(vector)
    Z = tf.transpose(utils.layer_params_to_mat2d(wide))
    if self._option == SeriesFBApproximation.option1:
      Z = self._solve_option1(Z)
    else:
      Z = self._solve_option2(Z)
    return precision.cast_like(
        vector, utils.mat2d_to_layer_params(wide, tf.transpose(Z)))

  def _multiply_with(self, vector, damping_mult):
    self._check_exp(1)

  def _quants(self, option):
    return [getattr(factor, f"get_option{option}quants")(damping_func)
            for factor, damping_func in self._factors_and_dampings()]

  def _solve_option1(self, Z):
    """Section 3.5.2: both lag-one covariances are symmetric."""
    (L_A, psi_A), (L_G, psi_G) = self._quants(1)
    Z = _sandwich(L_G, Z, L_A, transpose_left=True)
    Z *= _gamma(psi_G[:, None] * psi_A[None, :], self._num_uses)
    return _sandwich(L_G, Z, L_A, transpose_right=True)

  def _solve_option2(self, Z):
    """Section 3.5.3: the series is so long that its ends have no effect."""
    (P_A, K_A, mu_A), (P_G, K_G, mu_G) = self._quants(2)
    Z -= _sandwich(P_G, Z, P_A, transpose_right=True)
    Z = _sandwich(K_G, Z, K_A, transpose_left=True)
    rest = 1. - mu_G[:, None] * mu_A[None, :]
    Z /= tf.where(tf.equal(rest, 0.), tf.ones_like(rest), rest)
    Z = _sandwich(K_G, Z, K_A, transpose_right=True)
    Z -= _sandwich(P_G, Z, P_A, transpose_left=True)
    return Z / scalars.cast_scalar(self._num_uses, Z.dtype)

  def full_fisher_block(self) -> tf.Tensor:
    """Returns the undamped F of the chain as a dense matrix, for tests.

    F is the sum of the covariances of all pairs of uses: T times A0 kron G0,
    plus (T - d) times A_d kron G_d and its transpose for each lag d in
    1 .. T - 1. With option 1, A_d = A0^1/2 |S|^d A0^1/2, where S is A0^-1/2
    times the symmetrised lag-one covariance times A0^-1/2. With option 2,
    A_d = P^d A0, and the series is infinite: F is T times the sum over all
    lags. G_d is analogous.

    Returns:
      Matrix [parameters, parameters]. A0 and G0 must be regular.
    """
    factors = [factor for factor, _ in self._factors_and_dampings()]
    covs = [factor.get_cov_as_linear_operator().to_dense()
            for factor in factors]
    option1 = self._option == SeriesFBApproximation.option1
    quants_of = (matrix_functions.series_option1 if option1
                 else matrix_functions.series_option2)
    quants = [quants_of(utils.posdef_eig(cov), factor.get_cov_dt1(),
                        tf.zeros([], cov.dtype))
              for factor, cov in zip(factors, covs, strict=True)]
    if option1:
      return _dense_option1(covs, quants, self._num_uses)
    return _dense_option2(covs, quants, self._num_uses)

  def register_cholesky(self) -> None:  # noqa: D102
    raise NotImplementedError(
        "compute_cholesky must be False with the series approximations, got "
        "True.")

  def register_cholesky_inverse(self) -> None:  # noqa: D102
    raise NotImplementedError(
        "compute_cholesky_inverse must be False with the series "
        "approximations, got True.")

  def multiply_cholesky(self, vector: hints.Vector,  # noqa: D102
                        transpose: bool = False) -> Any:
    self.register_cholesky()

  def multiply_cholesky_inverse(self, vector: hints.Vector,  # noqa: D102
                                transpose: bool = False) -> Any:
    self.register_cholesky_inverse()


def _sandwich(left, Z, right, transpose_left=False, transpose_right=False):
  """Returns left Z right, either matrix possibly transposed."""
  product = tf.matmul(left, Z, transpose_a=transpose_left)
  return tf.matmul(product, right, transpose_b=transpose_right)


def _gamma(x, num_uses):
  """(1 - x)^2 / (T (1 - x^2) - 2 x (1 - x^T)), elementwise; 0 <= x < 1."""
  T = scalars.cast_scalar(num_uses, x.dtype)
  return tf.square(1. - x) / (
      T * (1. - tf.square(x)) - 2. * x * (1. - tf.pow(x, T)))


def _dense_option1(covs, quants, num_uses):
  """B diag(1 / gamma) B^T with B = A0^1/2 U_A kron G0^1/2 U_G."""
  (L_A, psi_A), (L_G, psi_G) = quants
  B = utils.kronecker_product(
      *[tf.matmul(cov, L) for cov, L in zip(covs, (L_A, L_G), strict=True)])
  x = tf.reshape(psi_A[:, None] * psi_G[None, :], [-1])
  return tf.matmul(B / _gamma(x, num_uses), B, transpose_b=True)


def _dense_option2(covs, quants, num_uses):
  """T (I - P)^-1 (F0 - P F0 P^T) (I - P)^-T with P = P_A kron P_G."""
  P = utils.kronecker_product(*[P for P, _, _ in quants])
  F0 = utils.kronecker_product(*covs)
  inverse = tf.linalg.inv(tf.eye(tf.shape(P)[0], dtype=P.dtype) - P)
  middle = F0 - _sandwich(P, F0, P, transpose_right=True)
  F = _sandwich(inverse, middle, inverse, transpose_right=True)
  return scalars.cast_scalar(num_uses, F.dtype) * F
