"""Covariances of data: the sums of outer products that A and G are made of."""

import contextlib

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import constants
from kfac.python.ops.utils import scalars


def compute_cov(tensor, tensor_right=None, normalizer=None):
  """Second moment of the rows of a matrix, x^T x / rows.

  Args:
    tensor: Matrix [rows, n].
    tensor_right: Matrix [rows, m]; if given, the result is
      tensor^T tensor_right / rows.
    normalizer: Scalar to divide by instead of the number of rows.

  Returns:
    Matrix [n, n], exactly symmetric; or [n, m] with `tensor_right`.
  """
  if normalizer is None:
    normalizer = tf.shape(tensor)[0]
  normalizer = scalars.cast_scalar(normalizer, tensor.dtype)
  if tensor_right is not None:
    return tf.matmul(tensor, tensor_right, transpose_a=True) / normalizer
  cov = tf.matmul(tensor, tensor, transpose_a=True) / normalizer
  return (cov + tf.transpose(cov)) / 2.


def append_homog(tensor):
  """Appends a last column of ones, the input of the bias.

  Args:
    tensor: Tensor [..., n].

  Returns:
    Tensor [..., n + 1].
  """
  return tf.concat([tensor, tf.ones_like(tensor[..., :1])], axis=-1)


def place_on_device(device):
  """Context that places ops on `device`; an empty or no name changes nothing.

  Args:
    device: Device name, or None.

  Returns:
    Context manager.
  """
  return tf.device(device) if device else contextlib.nullcontext()


def maybe_colocate_with(op):
  """Context that places ops beside `op`, if COLOCATE_COV_OPS_WITH_INPUTS.

  Args:
    op: Tensor or list of tensors, of which the first counts.

  Returns:
    Context manager.
  """
  if not constants.read("fisher_factors", "COLOCATE_COV_OPS_WITH_INPUTS"):
    return contextlib.nullcontext()
  return tf.colocate_with(op[0] if isinstance(op, (list, tuple)) else op)


def random_rows(array, num_rows):
  """Picks rows at random, without replacement.

  Args:
    array: Tensor [rows, ...].
    num_rows: Scalar, number of rows wanted; all if there are fewer.

  Returns:
    Tensor [min(rows, num_rows), ...].
  """
  order = tf.random.shuffle(tf.range(tf.shape(array)[0]))
  return tf.gather(array, order[:num_rows])


def _subsample_for_cov_computation(array, name=None):
  """Picks as many rows of `array` at random as its covariance has to have.

  They are _MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW for each row of the covariance.

  Args:
    array: Matrix [rows, n].
    name: Name scope of the ops.

  Returns:
    Matrix [at most rows, n].
  """
  per_row = constants.read(
      "fisher_factors", "_MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW")
  with tf.name_scope(name, "subsample", [array]):
    return random_rows(array, int(array.shape.as_list()[1] * per_row))
