"""Functions of a damped covariance C + damping I, all of them pure.

C is symmetric and positive semidefinite up to rounding, of shape [n, n].
The functions for the series approximations also take the lag-one covariance
C1 = E[x_{t+1} x_t^T] (Martens, Ba & Johnson 2018, section 3.5).
"""

from __future__ import annotations

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import posdef
from kfac.python.ops.utils import scalars

# The relative error above which an inverse is computed again.
_INVERSE_TOLERANCE = 0.05


def eigendecomposition(cov: hints.TensorLike) -> tuple[tf.Tensor, tf.Tensor]:
  """Decomposes C = Q diag(eigenvalues) Q^T.

  Args:
    cov: Matrix [n, n].

  Returns:
    Eigenvalues [n], no smaller than EIGENVALUE_CLIPPING_THRESHOLD, and
    Q [n, n].
  """
  eigenvalues, Q = utils.posdef_eig(cov)
  floor = constants.read("fisher_factors", "EIGENVALUE_CLIPPING_THRESHOLD")
  return tf.maximum(eigenvalues, scalars.cast_scalar(floor, cov.dtype)), Q


def matpower(eigen: tuple[tf.Tensor, tf.Tensor], exp: hints.Scalar,
             damping: tf.Tensor) -> tf.Tensor:
  """(C + damping I)^exp from C's eigendecomposition.

  Args:
    eigen: Pair of eigenvalues [n] and eigenvectors [n, n].
    exp: Exponent, a number or scalar tensor.
    damping: Scalar tensor of C's dtype.

  Returns:
    Matrix [n, n].
  """
  eigenvalues, Q = eigen
  powers = tf.pow(eigenvalues + damping,
                  scalars.cast_scalar(exp, eigenvalues.dtype))
  return tf.matmul(Q * powers, Q, transpose_b=True)


def inverse(cov: hints.TensorLike, damping: hints.Scalar) -> tf.Tensor:
  """(C + damping I)^-1, by POSDEF_INV_METHOD.

  Args:
    cov: Matrix [n, n].
    damping: Scalar tensor of C's dtype.

  Returns:
    Matrix [n, n].
  """
  return utils.posdef_inv(cov, damping)


def careful_inverse(cov: tf.Tensor, damping: hints.Scalar) -> tf.Tensor:
  """(C + damping I)^-1 by substitution, slower and more accurate.

  Args:
    cov: Matrix [n, n].
    damping: Scalar tensor of C's dtype.

  Returns:
    Matrix [n, n].
  """
  return posdef.posdef_inv_cholesky_solve(
      cov, tf.eye(tf.shape(cov)[0], dtype=cov.dtype), damping)


def is_inverse(cov: tf.Tensor, damping: tf.Tensor,
               matrix: tf.Tensor) -> tf.Tensor:
  """Whether a matrix X inverts M = C + damping I to a few percent.

  The relative error of X is about |M X z - z| / |z|, for a vector z of random
  signs. It takes O(n^2) operations.

  Args:
    cov: C, matrix [n, n], n static.
    damping: Scalar tensor of C's dtype.
    matrix: X, matrix [n, n].

  Returns:
    Boolean tensor []; false if X is not finite.
  """
  z = random_signs(int(cov.shape[0]), cov.dtype)
  column = tf.linalg.matvec(matrix, z)
  return are_random_signs(tf.linalg.matvec(cov, column) + damping * column)


def random_signs(size: int, dtype: tf.DType) -> tf.Tensor:
  """Returns a vector z [size] of random signs, always the same."""
  signs = np.where(np.random.RandomState(0).rand(size) < 0.5, -1., 1.)
  return tf.constant(signs, dtype)


def are_random_signs(vector: tf.Tensor) -> tf.Tensor:
  """Whether a vector [n] equals z = `random_signs` to a few percent.

  Args:
    vector: M X z or X M z, where X should be the inverse of M.

  Returns:
    Boolean tensor []; false if the vector is not finite.
  """
  size = int(vector.shape[0])
  error = tf.norm(vector - random_signs(size, vector.dtype))
  return error <= _INVERSE_TOLERANCE * np.sqrt(size)


def cholesky(cov: hints.TensorLike, damping: hints.Scalar) -> tf.Tensor:
  """Lower triangular L with L L^T = C + damping I.

  Args:
    cov: Matrix [n, n].
    damping: Scalar tensor of C's dtype.

  Returns:
    Matrix [n, n].
  """
  return utils.cholesky(cov, damping)


def triangular_inverse(chol: hints.TensorLike) -> tf.Tensor:
  """L^-1 of a lower triangular L.

  Args:
    chol: Matrix [n, n].

  Returns:
    Matrix [n, n].
  """
  identity = tf.eye(tf.shape(chol)[0], dtype=chol.dtype)
  return tf.linalg.triangular_solve(chol, identity, lower=True)


def series_option1(eigen: tuple[hints.TensorLike, hints.TensorLike],
                   cov_dt1: hints.TensorLike,
                   damping: hints.Scalar) -> tuple[tf.Tensor, tf.Tensor]:
  """Computes what option 1 keeps: the basis of a symmetrised C1.

  With C0 = C + damping I: C0^-1/2 sym(C1) C0^-1/2 = U diag(psi) U^T
  (Martens, Ba & Johnson 2018, section 3.5.2).

  Args:
    eigen: Pair of C's eigenvalues [n] and eigenvectors [n, n].
    cov_dt1: C1, matrix [n, n].
    damping: Scalar tensor of C's dtype.

  Returns:
    C0^-1/2 U [n, n], and the absolute values of psi [n].
  """
  root = matpower(eigen, -0.5, damping)
  # The approximation assumes a symmetric C1; sampling noise breaks symmetry.
  symmetric = (cov_dt1 + tf.transpose(cov_dt1)) / 2.
  psi, U = utils.posdef_eig(tf.matmul(tf.matmul(root, symmetric), root))
  return tf.matmul(root, U), psi


def series_option2(
    eigen: tuple[hints.TensorLike, hints.TensorLike], cov_dt1: hints.TensorLike,
    damping: hints.Scalar) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
  """Computes what option 2 keeps: P, K and mu of a general C1.

  With C0 = C + damping I and S = C0^-1/2 C1 C0^-1/2: P = C1^T C0^-1 and
  K = C0^-1/2 E, where S^T S = E diag(mu) E^T (Martens, Ba & Johnson 2018,
  section 3.5.3).

  Args:
    eigen: Pair of C's eigenvalues [n] and eigenvectors [n, n].
    cov_dt1: C1, matrix [n, n].
    damping: Scalar tensor of C's dtype.

  Returns:
    P [n, n], K [n, n] and mu [n], which is at most 1.
  """
  root = matpower(eigen, -0.5, damping)
  scaled = tf.matmul(tf.matmul(root, cov_dt1), root)
  mu, E = utils.posdef_eig(tf.matmul(scaled, scaled, transpose_a=True))
  P = tf.matmul(tf.matmul(cov_dt1, root, transpose_a=True), root)
  return P, tf.matmul(root, E), tf.minimum(mu, tf.ones([], mu.dtype))
