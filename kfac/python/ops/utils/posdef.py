"""Inverse, eigen-decomposition and Cholesky factor of covariances.

All matrices are symmetric, positive semi-definite and [n, n]; a damping d is
a positive scalar (number, tensor or variable) in the matrix's own units, and
C + d I is what gets inverted. A new method is one function and one row in
`posdef_inv_functions` or `posdef_eig_functions`.
"""

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import constants
from kfac.python.ops.utils import scalars


def posdef_inv(tensor, damping):
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
  tensor = tf.convert_to_tensor(tensor)
  damping = scalars.cast_scalar(damping, tensor.dtype)
  return posdef_inv_functions[method](tensor, _identity(tensor), damping)


def posdef_inv_matrix_inverse(tensor, identity, damping):
  """Inverts tensor + damping * identity by LU decomposition.

  Args:
    tensor: Tensor [n, n].
    identity: Tensor [n, n], the identity matrix.
    damping: Scalar >= 0.

  Returns:
    Tensor [n, n].
  """
  return tf.linalg.inv(_damped(tensor, identity, damping))


def posdef_inv_cholesky(tensor, identity, damping):
  """Inverts tensor + damping * identity by its Cholesky factor.

  Args:
    tensor: Tensor [n, n].
    identity: Tensor [n, n], the identity matrix.
    damping: Scalar >= 0, large enough to make the sum positive definite.

  Returns:
    Tensor [n, n].
  """
  factor = tf.linalg.cholesky(_damped(tensor, identity, damping))
  return tf.linalg.cholesky_solve(factor, identity)


def posdef_inv_eig(tensor, identity, damping):
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


def posdef_eig(mat):
  """Decomposes a matrix by the method POSDEF_EIG_METHOD.

      mat = Q diag(eigenvalues) Q^T

  Args:
    mat: Tensor [n, n].

  Returns:
    Eigenvalues [n], none negative, in an order that depends on the method;
    and Q [n, n], whose columns are the eigenvectors in that order.

  Raises:
    ValueError: If POSDEF_EIG_METHOD is not in `posdef_eig_functions`.
  """
  method = constants.read("utils", "POSDEF_EIG_METHOD")
  return posdef_eig_functions[method](mat)


def posdef_eig_svd(mat):
  """Decomposes a matrix by its singular values, the largest first.

  Args:
    mat: Tensor [n, n].

  Returns:
    Eigenvalues [n] and eigenvectors [n, n] as `posdef_eig` gives them.
  """
  singular_values, left_vectors, _ = tf.linalg.svd(mat)
  return singular_values, left_vectors


def posdef_eig_self_adjoint(mat):
  """Decomposes a symmetric matrix, the smallest eigenvalue first.

  Rounding gives a singular covariance eigenvalues like -1e-7, whose roots do
  not exist; the absolute value keeps them tiny.

  Args:
    mat: Tensor [n, n].

  Returns:
    Absolute eigenvalues [n] and eigenvectors [n, n] as in `posdef_eig`.
  """
  eigenvalues, eigenvectors = tf.linalg.eigh(mat)
  return tf.abs(eigenvalues), eigenvectors


def cholesky(tensor, damping):
  """Returns the lower triangular L with L L^T = tensor + damping * I.

  Args:
    tensor: Tensor [n, n].
    damping: Scalar >= 0, large enough to make the sum positive definite.

  Returns:
    Tensor [n, n].
  """
  tensor = tf.convert_to_tensor(tensor)
  return tf.linalg.cholesky(_damped(tensor, _identity(tensor), damping))


def compute_pi(left_factor, right_factor):
  """Balances one damping between the two factors A and G of a layer.

  pi**2 is the mean eigenvalue of A over that of G (Martens & Grosse 2015,
  section 6.3). While a factor is still zero there is nothing to balance, and
  pi is 1.

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
    "eig": posdef_inv_eig,
}

posdef_eig_functions = {
    "self_adjoint": posdef_eig_self_adjoint,
    "svd": posdef_eig_svd,
}

# The name that TensorFlow 1.4 had for the table.
posdef_inv_funcs = posdef_inv_functions
