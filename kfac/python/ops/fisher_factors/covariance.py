"""Covariances of data: the mean outer products that form A and G."""

from __future__ import annotations

import contextlib
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import posdef
from kfac.python.ops.utils import scalars

# From this size on, the upper triangle of a symmetric product is computed in
# this many strips (chosen on two CPU cores; see g3doc/performance.md).
_MIRRORED_FROM = 512
_NUM_STRIPS = 4


def compute_cov(tensor: hints.TensorLike,
                tensor_right: hints.TensorLike | None = None,
                normalizer: hints.Scalar | None = None, *,
                has_bias: bool = False) -> tf.Tensor:
  """Second moment of the rows of a matrix, x^T x / rows.

  Args:
    tensor: Matrix [rows, n].
    tensor_right: Matrix [rows, m]; if given, the result is
      tensor^T tensor_right / rows.
    normalizer: Scalar to divide by instead of the number of rows.
    has_bias: Whether each row has a 1 appended, without a copy of the rows; not
      with `tensor_right`.

  Returns:
    Matrix [n, n], or [n + 1, n + 1] with a bias, exactly symmetric; or [n, m]
    with `tensor_right`.
  """
  rows = scalars.cast_scalar(tf.shape(tensor)[0], tensor.dtype)
  normalizer = (rows if normalizer is None
                else scalars.cast_scalar(normalizer, tensor.dtype))
  if tensor_right is not None:
    return tf.matmul(tensor, tensor_right, transpose_a=True) / normalizer
  upper = _upper_triangle(tensor)
  if has_bias:
    sums = tf.split(tf.reduce_sum(tensor, axis=0)[:, None],
                    [int(strip[0].shape[0]) for strip in upper])
    upper = [strip + [column]
             for strip, column in zip(upper, sums, strict=True)]
    upper.append([tf.reshape(rows, [1, 1])])
  return _mirror([[block / normalizer for block in strip] for strip in upper])


def compute_diagonal(rows: tf.Tensor, *, has_bias: bool = False) -> tf.Tensor:
  """The diagonal of the second moment of rows, as a column.

  Args:
    rows: Matrix [rows, n].
    has_bias: Whether each row has a 1 appended. Only then,
      ASSUME_ZERO_MEAN_ACTIVATIONS has a meaning.

  Returns:
    Matrix [n, 1], or [n + 1, 1] with a bias.
  """
  squares = tf.reduce_mean(tf.square(rows), axis=0)
  if not has_bias:
    return squares[:, tf.newaxis]
  if all(constants.read("fisher_factors", name) for name in (
      "ASSUME_ZERO_MEAN_ACTIVATIONS", "SUBTRACT_MEAN_CONTRIB_FROM_COV")):
    squares -= tf.square(tf.reduce_mean(rows, axis=0))
    squares = tf.maximum(squares, 0.)  # Rounding may leave less.
  return tf.concat([squares, tf.ones_like(squares[:1])], axis=0)[:, tf.newaxis]


def _upper_triangle(tensor):
  """Returns the blocks of x^T x on and above its diagonal, a list per strip.

  With four strips this saves 3 of 8 parts of the product.

  Args:
    tensor: Matrix x [rows, n], n static.
  """
  size = int(tensor.shape[1])
  num_strips = _NUM_STRIPS if size >= _MIRRORED_FROM else 1
  edges = [size * i // num_strips for i in range(num_strips + 1)]
  strips = []
  for start, stop in zip(edges[:-1], edges[1:], strict=True):
    columns = tensor[:, start:stop]
    blocks = [posdef.gram(columns)]
    for other, end in zip(edges[:-1], edges[1:], strict=True):
      if other >= stop:
        blocks.append(
            tf.matmul(columns, tensor[:, other:end], transpose_a=True))
    strips.append(blocks)
  return strips


def _mirror(upper):
  """Assembles a symmetric matrix from the blocks of _upper_triangle."""
  rows = [[tf.transpose(upper[j][i - j]) for j in range(i)] + strip
          for i, strip in enumerate(upper)]
  if len(rows) == 1:
    return rows[0][0]
  return tf.concat([tf.concat(row, axis=1) for row in rows], axis=0)


def first_examples(tensor: tf.Tensor) -> tf.Tensor:
  """Returns the first COV_EXAMPLES_FRACTION of the rows, at least one.

  Args:
    tensor: Matrix [rows, n], one row per example. Batches are shuffled, so the
      first rows are as good as any; A and G use the same examples.

  Returns:
    Matrix [at most rows, n].
  """
  fraction = constants.read("fisher_factors", "COV_EXAMPLES_FRACTION")
  if fraction == 1:
    return tensor
  rows = tf.cast(tf.shape(tensor)[0], tf.float64)
  return tensor[:tf.cast(tf.ceil(rows * fraction), tf.int32)]


def append_homog(tensor: tf.Tensor,
                 homog_value: hints.Scalar | None = None) -> tf.Tensor:
  """Appends a last column of ones, the input of the bias.

  Args:
    tensor: Tensor [..., n].
    homog_value: Scalar to append instead of 1; None for 1.

  Returns:
    Tensor [..., n + 1].
  """
  column = tf.ones_like(tensor[..., :1])
  if homog_value is not None:
    column *= scalars.cast_scalar(homog_value, column.dtype)
  return tf.concat([tensor, column], axis=-1)


def with_assumed_mean(moments: tf.Tensor) -> tf.Tensor:
  """Returns second moments under ASSUME_ZERO_MEAN_ACTIVATIONS.

  Args:
    moments: Matrix [n + 1, n + 1], the second moments of rows with a 1
      appended, or those of consecutive uses. The last row and column are the
      mean of the rows.

  Returns:
    The matrix itself unless the constant is set. Otherwise the mean is zero
    and, with SUBTRACT_MEAN_CONTRIB_FROM_COV, its outer product subtracted.
  """
  if not constants.read("fisher_factors", "ASSUME_ZERO_MEAN_ACTIVATIONS"):
    return moments
  inner, corner = moments[:-1, :-1], moments[-1:, -1:]
  if constants.read("fisher_factors", "SUBTRACT_MEAN_CONTRIB_FROM_COV"):
    # The corner is the fraction of the rows that are summed.
    inner -= tf.math.divide_no_nan(moments[:-1, -1:] * moments[-1:, :-1],
                                   corner)
  zeros = tf.zeros_like(moments[:-1, -1:])
  return tf.concat([tf.concat([inner, zeros], axis=1), tf.concat(
      [tf.transpose(zeros), corner], axis=1)], axis=0)


def place_on_device(device: str | None) -> Any:
  """Context that places ops on `device`; an empty name or None has no effect.

  Args:
    device: Device name, or None.

  Returns:
    Context manager.
  """
  return tf.device(device) if device else contextlib.nullcontext()


def maybe_colocate_with(op: Any) -> Any:
  """Context that colocates ops with `op` if COLOCATE_COV_OPS_WITH_INPUTS.

  Args:
    op: Tensor, or list of tensors of which the first is used.

  Returns:
    Context manager.
  """
  if not constants.read("fisher_factors", "COLOCATE_COV_OPS_WITH_INPUTS"):
    return contextlib.nullcontext()
  return tf.colocate_with(op[0] if isinstance(op, (list, tuple)) else op)


def random_rows(array: hints.TensorLike, num_rows: int) -> tf.Tensor:
  """Picks rows at random, without replacement.

  Args:
    array: Tensor [rows, ...].
    num_rows: Scalar, number of rows; all rows are used if there are fewer.

  Returns:
    Tensor [min(rows, num_rows), ...].
  """
  order = tf.random.shuffle(tf.range(tf.shape(array)[0]))
  return tf.gather(array, order[:num_rows])


def max_num_rows(size: Any) -> Any:
  """Returns the number of rows that sub-sampling uses for a given row size."""
  return int(min(
      size * constants.read(
          "fisher_factors", "_MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW"),
      constants.read("fisher_factors", "_MAX_NUM_PATCHES")))


def _subsample_for_cov_computation(array, name=None):
  """Picks random rows of `array` for its covariance.

  It picks _MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW rows per row of the covariance.

  Args:
    array: Matrix [rows, n].
    name: Name scope of the ops.

  Returns:
    Matrix [at most rows, n].
  """
  with tf.name_scope(name, "subsample", [array]):
    return random_rows(array, max_num_rows(array.shape.as_list()[1]))
