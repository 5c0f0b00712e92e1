"""Inverse, eigen-decomposition and Cholesky factor of covariances.

All matrices C are symmetric, positive semi-definite and [n, n]. A damping d is
a positive scalar (number, tensor or variable) in the units of C; the functions
invert C + d I. A new method is one function and one row in
`posdef_inv_functions` or `posdef_eig_functions`.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


def posdef_inv(tensor: hints.TensorLike, damping: hints.Scalar) -> tf.Tensor:
  """Inverts tensor + damping * I by the method POSDEF_INV_METHOD.

  Args:
    tensor: Tensor [n, n].
    damping: Scalar >= 0.

  Returns:
    Tensor [n, n].

  Raises:
    ValueError: If POSDEF_INV_METHOD is not in `posdef_inv_functions`.
  """
  method = constants.read("utils", "POSDEF_INV_METHOD")
  matrix = tf.convert_to_tensor(tensor)
  damping = scalars.cast_scalar(damping, matrix.dtype)
  return posdef_inv_functions[method](matrix, _identity(matrix), damping)


def posdef_inv_matrix_inverse(tensor: hints.TensorLike,
                              identity: tf.Tensor,
                              damping: hints.Scalar) -> tf.Tensor:
  """Inverts tensor + damping * identity by LU decomposition.

  Args:
    tensor: Tensor [n, n].
    identity: Tensor [n, n], the identity matrix.
    damping: Scalar >= 0.

  Returns:
    Tensor [n, n].
  """
  return tf.linalg.inv(_damped(tensor, identity, damping))


def posdef_inv_cholesky(tensor: hints.TensorLike, identity: tf.Tensor,
                        damping: hints.Scalar) -> tf.Tensor:
  """Inverts tensor + damping * identity by its Cholesky factor.

  On a CPU, a matrix with a static size above CHOLESKY_BLOCK_SIZE is inverted by
  `posdef_inv_cholesky_blocked`, any other by `posdef_inv_cholesky_solve`. A GPU
  uses only the latter, since it may round matrix products to TensorFloat-32.

  Args:
    tensor: Tensor [n, n].
    identity: Tensor [n, n], the identity matrix.
    damping: Scalar >= 0, large enough to make the sum positive definite.

  Returns:
    Tensor [n, n].
  """
  size = tf.compat.dimension_value(tensor.shape[0])
  blocked = (size is not None and size > _block_size() and
             not _may_be_on_gpu(identity))
  invert = posdef_inv_cholesky_blocked if blocked else posdef_inv_cholesky_solve
  return invert(tensor, identity, damping)


def posdef_inv_cholesky_solve(tensor: hints.TensorLike,
                              identity: tf.Tensor,
                              damping: hints.Scalar) -> tf.Tensor:
  """Solves L L^T X = identity with the Cholesky factor L, by substitution.

  Args:
    tensor: Tensor [n, n].
    identity: Tensor [n, n], the identity matrix.
    damping: As for `posdef_inv_cholesky`.

  Returns:
    Tensor [n, n].
  """
  factor = tf.linalg.cholesky(_damped(tensor, identity, damping))
  return tf.linalg.cholesky_solve(factor, identity)


def posdef_inv_cholesky_blocked(tensor: hints.TensorLike,
                                identity: tf.Tensor,
                                damping: hints.Scalar) -> tf.Tensor:
  """Multiplies L^-T L^-1, with L^-1 from matrix products of halves.

  It is as accurate as substitution, since only triangular factors are inverted,
  and faster, since nearly all of its n^3 operations are matrix products.

  Args:
    tensor: Tensor [n, n], n static.
    identity: Tensor [n, n], the identity matrix.
    damping: As for `posdef_inv_cholesky`.

  Returns:
    Tensor [n, n], exactly symmetric.
  """
  block_size = _block_size()
  return _lower_gram(
      _inverse_cholesky(_damped(tensor, identity, damping), block_size),
      block_size)


def _inverse_cholesky(matrix, block_size):
  """Returns L^-1, lower triangular, with L L^T = matrix.

  Args:
    matrix: Tensor [n, n], symmetric and positive definite, n static.
    block_size: Int, the largest size that is inverted by substitution.
  """
  size = int(matrix.shape[0])
  if size <= max(block_size, 1):
    return tf.linalg.triangular_solve(
        tf.linalg.cholesky(matrix), tf.eye(size, dtype=matrix.dtype))
  half = size // 2
  # matrix = [[A, B], [B^T, D]] has L = [[P, 0], [W^T, S]] with P P^T = A,
  # W = P^-1 B and S S^T = D - W^T W, and L^-1 = [[P^-1, 0], [R, S^-1]].
  P = _inverse_cholesky(matrix[:half, :half], block_size)
  W = _lower_matmul(P, matrix[:half, half:], block_size)
  S = _inverse_cholesky(matrix[half:, half:] - gram(W), block_size)
  R = -_lower_matmul(S, _lower_matmul(P, W, block_size, transpose=True),
                     block_size, transpose_right=True)
  zeros = tf.zeros([half, size - half], matrix.dtype)
  return tf.concat([tf.concat([P, zeros], 1), tf.concat([R, S], 1)], 0)


def _lower_matmul(lower, right, block_size, transpose=False,
                  transpose_right=False):
  """Returns L X, L^T X or L X^T, skipping blocks of zeros of L.

  Args:
    lower: Tensor L [n, n], lower triangular, n static.
    right: Tensor X [n, m]; [m, n] with transpose_right.
    block_size: Int, the largest size that is not split.
    transpose: Whether to multiply by L^T.
    transpose_right: Whether to multiply X^T.
  """
  size = int(lower.shape[0])
  if size <= block_size:
    return tf.matmul(lower, right, transpose_a=transpose,
                     transpose_b=transpose_right)
  half = size // 2
  if transpose:  # L^T = [[P^T, R^T], [0, S^T]]
    return tf.concat([
        tf.matmul(lower[:, :half], right, transpose_a=True),
        tf.matmul(lower[half:, half:], right[half:], transpose_a=True)], 0)
  # L = [[P, 0], [R, S]]
  top = right[:, :half] if transpose_right else right[:half]
  return tf.concat([
      tf.matmul(lower[:half, :half], top, transpose_b=transpose_right),
      tf.matmul(lower[half:], right, transpose_b=transpose_right)], 0)


def _lower_gram(lower, block_size):
  """Returns L^T L of a lower triangular L, exactly symmetric.

  Args:
    lower: Tensor [n, n], n static.
    block_size: Int, the largest size that is not split.
  """
  size = int(lower.shape[0])
  if size <= block_size:
    return gram(lower)
  half = size // 2
  # L = [[P, 0], [R, S]], so L^T L = [[P^T P + R^T R, R^T S], [., S^T S]].
  R = lower[half:, :half]
  S = lower[half:, half:]
  corner = _lower_matmul(S, R, block_size, transpose=True)  # S^T R
  return tf.concat([
      tf.concat([_lower_gram(lower[:half, :half], block_size) + gram(R),
                 tf.transpose(corner)], 1),
      tf.concat([corner, _lower_gram(S, block_size)], 1)], 0)


def gram(matrix: tf.Tensor) -> tf.Tensor:
  """Returns M^T M [n, n] of a matrix [rows, n], exactly symmetric."""
  # Rounding may differ on the two sides of the diagonal.
  product = tf.matmul(matrix, matrix, transpose_a=True)
  return (product + tf.transpose(product)) / 2.


def posdef_inv_eig(tensor: hints.TensorLike, identity: tf.Tensor,
                   damping: hints.Scalar) -> tf.Tensor:
  """Inverts tensor + damping * identity by its eigen-decomposition.

  Args:
    tensor: Tensor [n, n].
    identity: Tensor [n, n], the identity matrix.
    damping: Scalar >= 0.

  Returns:
    Tensor [n, n].
  """
  eigenvalues, eigenvectors = tf.linalg.eigh(
      _damped(tensor, identity, damping))
  return tf.matmul(eigenvectors / eigenvalues, eigenvectors, transpose_b=True)


def posdef_eig(mat: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Decomposes a matrix by the method POSDEF_EIG_METHOD.

      mat = Q diag(eigenvalues) Q^T

  Args:
    mat: Tensor [n, n].

  Returns:
    Eigenvalues [n] >= 0 in an order that depends on the method, and Q [n, n],
    whose columns are the eigenvectors in that order.

  Raises:
    ValueError: If POSDEF_EIG_METHOD is not in `posdef_eig_functions`.
  """
  method = constants.read("utils", "POSDEF_EIG_METHOD")
  return posdef_eig_functions[method](mat)


def posdef_eig_svd(mat: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Decomposes a matrix by its singular values, the largest first.

  Args:
    mat: Tensor [n, n].

  Returns:
    Eigenvalues [n] and eigenvectors [n, n] as in `posdef_eig`.
  """
  singular_values, left_vectors, _ = tf.linalg.svd(mat)
  return singular_values, left_vectors


def posdef_eig_self_adjoint(
    mat: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Decomposes a symmetric matrix, the smallest eigenvalue first.

  A singular covariance may get eigenvalues like -1e-7 by rounding, which have
  no real roots; their absolute values are as small.

  Args:
    mat: Tensor [n, n].

  Returns:
    Absolute eigenvalues [n] and eigenvectors [n, n] as in `posdef_eig`.
  """
  eigenvalues, eigenvectors = tf.linalg.eigh(mat)
  return tf.abs(eigenvalues), eigenvectors


def cholesky(tensor: hints.TensorLike, damping: hints.Scalar) -> tf.Tensor:
  """Returns the lower triangular L with L L^T = tensor + damping * I.

  Args:
    tensor: Tensor [n, n].
    damping: Scalar >= 0, large enough to make the sum positive definite.

  Returns:
    Tensor [n, n].
  """
  matrix = tf.convert_to_tensor(tensor)
  return tf.linalg.cholesky(_damped(matrix, _identity(matrix), damping))


def compute_pi(left_factor: hints.TensorLike,
               right_factor: hints.TensorLike) -> tf.Tensor:
  """Balances one damping between the two factors A and G of a layer.

  pi**2 is the mean eigenvalue of A over that of G (Martens & Grosse 2015,
  section 6.3). While a factor is zero, pi is 1.

  Args:
    left_factor: Tensor [a, a], the input factor A.
    right_factor: Tensor [g, g], the output factor G.

  Returns:
    Scalar tensor > 0. A is damped by sqrt(damping) * pi, G by
    sqrt(damping) / pi.
  """
  left_mean = tf.reduce_mean(tf.linalg.diag_part(left_factor))
  right_mean = tf.reduce_mean(tf.linalg.diag_part(right_factor))
  one = tf.ones_like(left_mean)
  known = tf.logical_and(left_mean > 0, right_mean > 0)
  ratio = tf.where(known, left_mean, one) / tf.where(known, right_mean, one)
  return tf.sqrt(ratio)


def _may_be_on_gpu(tensor):
  """Whether there is a GPU and the tensor is not assigned to another device."""
  device = tensor.device.upper()
  return ("GPU" in device or
          (not device and bool(tf.config.list_physical_devices("GPU"))))


def _block_size():
  return constants.read("utils", "CHOLESKY_BLOCK_SIZE")


def _identity(tensor):
  """Returns the identity matrix of a matrix's size and dtype."""
  size = tf.compat.dimension_value(tensor.shape[0])
  return tf.eye(tf.shape(tensor)[0] if size is None else size,
                dtype=tensor.dtype)


def _damped(tensor, identity, damping):
  """Returns tensor + damping * identity in the dtype of the identity."""
  return tensor + scalars.cast_scalar(damping, identity.dtype) * identity


posdef_inv_functions = {
    "matrix_inverse": posdef_inv_matrix_inverse,
    "cholesky": posdef_inv_cholesky,
    "cholesky_solve": posdef_inv_cholesky_solve,
    "cholesky_blocked": posdef_inv_cholesky_blocked,
    "eig": posdef_inv_eig,
}

posdef_eig_functions = {
    "self_adjoint": posdef_eig_self_adjoint,
    "svd": posdef_eig_svd,
}

# The name of the table in TensorFlow 1.4.
posdef_inv_funcs = posdef_inv_functions
