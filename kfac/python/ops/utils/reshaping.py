"""Parameters and gradients as one column or as one matrix, and back.

The parameters of a layer are one tensor, or a pair (weights, bias). The bias
becomes the last row of the matrix: it is the weight of an input fixed to 1. A
structure is a tensor or a (nested) tuple or list of tensors; results have
tuples in place of lists.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def tensors_to_column(tensors: Any) -> tf.Tensor:
  """Joins the entries of all tensors in one column.

  Args:
    tensors: Structure of tensors, variables or IndexedSlices; IndexedSlices
      become dense.

  Returns:
    Tensor [number of entries, 1].
  """
  if isinstance(tensors, (tuple, list)):
    return tf.concat([tensors_to_column(tensor) for tensor in tensors], axis=0)
  return tf.reshape(_dense(tensors), [-1, 1])


def column_to_tensors(tensors_template: Any, colvec: hints.TensorLike) -> Any:
  """Undoes `tensors_to_column`.

  Args:
    tensors_template: Structure of tensors with the shapes of the result.
    colvec: Tensor [number of entries, 1].

  Returns:
    Structure of tensors, with a tuple for every tuple or list.

  Raises:
    ValueError: If the column's static size is not the template's.
  """
  column = tf.convert_to_tensor(colvec)
  shapes = [_shape(leaf) for leaf in _leaves(tensors_template)]
  sizes = [_size(shape) for shape in shapes]
  _check_column(column, sizes)
  parts = tf.split(tf.reshape(column, [-1]), sizes)
  return _pack(tensors_template, map(tf.reshape, parts, shapes))


def layer_params_to_mat2d(vector: hints.Vector) -> Any:
  """Arranges a layer's parameters, or tensors of their shapes, as a matrix.

  Args:
    vector: Tensor [..., out], a pair ([..., out], [out]), or IndexedSlices of
      a matrix.

  Returns:
    Tensor [in, out], or [in + 1, out] with the bias as the last row;
    IndexedSlices unchanged.

  Raises:
    ValueError: If a tuple or list does not have two entries.
  """
  if isinstance(vector, (tuple, list)):
    weights, bias = _pair("vector", vector)
    return tf.concat(
        [_rows(_dense(weights)), tf.reshape(_dense(bias), [1, -1])], axis=0)
  return vector if _is_sparse(vector) else _rows(tf.convert_to_tensor(vector))


def mat2d_to_layer_params(vector_template: hints.Vector,
                          mat2d: tf.Tensor | tf.IndexedSlices) -> Any:
  """Undoes `layer_params_to_mat2d`.

  Args:
    vector_template: Tensor, pair (weights, bias) or IndexedSlices with the
      shapes of the result.
    mat2d: Tensor [in, out] or [in + 1, out]. IndexedSlices are allowed if the
      template is not a pair, and required if it is IndexedSlices.

  Returns:
    Tensor, tuple (weights, bias), or the IndexedSlices unchanged.

  Raises:
    ValueError: If a template that is a tuple or list does not have two entries.
    TypeError: If the matrix is sparse and must be dense, or the reverse.
  """
  if isinstance(vector_template, (tuple, list)):
    weights, bias = _pair("vector_template", vector_template)
    if _is_sparse(mat2d):
      raise TypeError("mat2d must be dense for a template with a bias, got "
                      "IndexedSlices.")
    return (tf.reshape(mat2d[:-1], _shape(weights)),
            tf.reshape(mat2d[-1], _shape(bias)))
  if _is_sparse(mat2d):
    return mat2d
  if _is_sparse(vector_template):
    raise TypeError("mat2d must be IndexedSlices as vector_template is, got "
                    f"{type(mat2d).__name__}.")
  return tf.reshape(mat2d, _shape(vector_template))


def kronecker_product(mat1: hints.TensorLike,
                      mat2: hints.TensorLike) -> tf.Tensor:
  """Computes the Kronecker product of two matrices.

  Args:
    mat1: Tensor [m1, n1].
    mat2: Tensor [m2, n2].

  Returns:
    Tensor [m1 * m2, n1 * n2] of the blocks mat1[i, j] * mat2.
  """
  left = tf.convert_to_tensor(mat1)
  right = tf.convert_to_tensor(mat2)
  (rows1, cols1), (rows2, cols2) = _dims(left), _dims(right)
  blocks = left[:, None, :, None] * right[None, :, None, :]
  return tf.reshape(blocks, [rows1 * rows2, cols1 * cols2])


def _is_sparse(tensor):
  """Whether a tensor is IndexedSlices."""
  return isinstance(tensor, tf.IndexedSlices)


def _dense(tensor):
  """Returns a tensor, variable or IndexedSlices as a dense tensor."""
  return tf.convert_to_tensor(tensor)


def _rows(tensor):
  """Flattens all axes but the last."""
  shape = tensor.shape.as_list()
  last = tf.shape(tensor)[-1] if shape[-1] is None else shape[-1]
  return tf.reshape(tensor, [-1, last])


def _shape(tensor):
  """Returns the shape as a list if it is static, else as a tensor."""
  if tensor.shape.is_fully_defined():
    return tensor.shape.as_list()
  return tensor.dense_shape if _is_sparse(tensor) else tf.shape(tensor)


def _dims(mat):
  """Returns the lengths of the axes, as ints where static."""
  return [tf.shape(mat)[axis] if length is None else length
          for axis, length in enumerate(mat.shape.as_list())]


def _size(shape):
  """Returns the number of entries of a shape of `_shape`."""
  if not isinstance(shape, list):
    return tf.reduce_prod(tf.cast(shape, tf.int32))
  size = 1
  for length in shape:
    size *= length
  return size


def _leaves(structure):
  """Lists the tensors of a structure."""
  if isinstance(structure, (tuple, list)):
    return [leaf for part in structure for leaf in _leaves(part)]
  return [structure]


def _pack(structure, leaves):
  """Fills a structure with the next leaves."""
  if isinstance(structure, (tuple, list)):
    return tuple(_pack(part, leaves) for part in structure)
  return next(leaves)


def _check_column(colvec, sizes):
  """Raises ValueError if a column's static size is not the sum of sizes."""
  known = colvec.shape.num_elements()
  if known is None or not all(isinstance(size, int) for size in sizes):
    return
  if known != sum(sizes):
    raise ValueError(
        f"colvec must have the {sum(sizes)} entries of tensors_template, "
        f"got {known}.")


def _pair(name, sequence):
  """Returns a tuple or list of two, or raises ValueError."""
  if len(sequence) != 2:
    raise ValueError(
        f"{name} must be a tensor or (weights, bias), got {len(sequence)} "
        "parts.")
  return sequence
