"""Products with sparse matrices, IndexedSlices, such as embedding gradients.

The rows at `indices` are `values`, rows with the same index are summed, and all
others are zero.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def matmul_sparse_dense(A: tf.IndexedSlices, B: hints.TensorLike,
                        name: str | None = None, transpose_a: bool = False,
                        transpose_b: bool = False) -> tf.IndexedSlices:
  """Computes A B, or A B^T, row by row.

  Args:
    A: IndexedSlices of a matrix [n, m].
    B: Tensor [m, k], or [k, m] if transposed.
    name: Name of the scope of the ops.
    transpose_a: Must be False: A^T is not sparse in its rows.
    transpose_b: bool. Whether to transpose B.

  Returns:
    IndexedSlices of a matrix [n, k], with the indices of A.

  Raises:
    ValueError: If A is not IndexedSlices of a matrix, if B is not a matrix, or
      if `transpose_a`.
  """
  _check_slices("A", A)
  if transpose_a:
    raise ValueError(
        f"transpose_a must be False for IndexedSlices, got {transpose_a!r}.")
  with tf.name_scope(name, "matmul_sparse_dense", [A, B]):
    B = tf.convert_to_tensor(B, dtype=A.dtype)
    if B.shape.ndims != 2:
      raise ValueError(f"B must be a matrix, got shape {B.shape}.")
    values = tf.matmul(A.values, B, transpose_b=transpose_b)
    if A.dense_shape is None:
      return tf.IndexedSlices(values, A.indices)
    columns = tf.shape(values, out_type=A.dense_shape.dtype)[1]
    return tf.IndexedSlices(values, A.indices,
                            tf.stack([A.dense_shape[0], columns]))


def matmul_diag_sparse(A_diag: hints.TensorLike, B: tf.IndexedSlices,
                       name: str | None = None) -> tf.IndexedSlices:
  """Computes diag(A_diag) B, row by row.

  Args:
    A_diag: Tensor [n].
    B: IndexedSlices of a matrix [n, k].
    name: Name of the scope of the ops.

  Returns:
    IndexedSlices of a matrix [n, k], with the indices of B.

  Raises:
    ValueError: If A_diag is not a vector, or B is not IndexedSlices of a
      matrix.
  """
  _check_slices("B", B)
  with tf.name_scope(name, "matmul_diag_sparse", [A_diag, B]):
    A_diag = tf.convert_to_tensor(A_diag, dtype=B.dtype)
    if A_diag.shape.ndims != 1:
      raise ValueError(f"A_diag must be a vector, got shape {A_diag.shape}.")
    scales = tf.gather(A_diag, B.indices)
    return tf.IndexedSlices(scales[:, tf.newaxis] * B.values, B.indices,
                            B.dense_shape)


def _check_slices(argument, value):
  if not isinstance(value, tf.IndexedSlices) or value.values.shape.ndims != 2:
    raise ValueError(
        f"{argument} must be IndexedSlices of a matrix, got {value!r}.")
