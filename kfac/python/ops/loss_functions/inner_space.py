"""The inner space of a loss, the domain of its factor B, and unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops.loss_functions import base
from kfac.python.ops.loss_functions import checks
from kfac.python.ops.utils import hints


def insert_slice_in_zeros(slice_to_insert: hints.TensorLike, dim: int,
                          dim_size: int | tf.Tensor,
                          position: int) -> tf.Tensor:
  """Places a slice at one position of a tensor that is zero elsewhere.

  Args:
    slice_to_insert: Tensor of known rank and of size 1 along `dim`.
    dim: Int, the dimension to widen.
    dim_size: Int or scalar int tensor, the size of `dim` in the result.
    position: Int, the index of the slice along `dim`.

  Returns:
    Tensor shaped like the slice, but of size `dim_size` along `dim`.

  Raises:
    ValueError: If there is no such dimension, the slice is not of size 1
      along it, or the position does not lie within `dim_size`.
  """
  inserted = tf.convert_to_tensor(slice_to_insert)
  shape = inserted.shape.as_list()
  if not -len(shape) <= dim < len(shape):
    raise ValueError(f"dim must lie within rank {len(shape)}, got {dim}.")
  if shape[dim] != 1:
    raise ValueError(
        f"slice_to_insert must have size 1 along dimension {dim}, got shape "
        f"{shape}.")
  if position < 0 or (not tf.is_tensor(dim_size) and position >= dim_size):
    raise ValueError(f"position must lie within {dim_size}, got {position}.")
  paddings = [[0, 0] for _ in shape]
  paddings[dim] = [position, dim_size - position - 1]
  return tf.pad(inserted, paddings)


def replicated_one_hot(index: Sequence[int], shape: tf.Tensor,
                       static_shape: tf.TensorShape,
                       dtype: hints.DType) -> tf.Tensor:
  """Returns a batch whose examples are all one at `index` and zero elsewhere.

  Args:
    index: Tuple of ints, one per dimension behind the batch.
    shape: Int tensor [rank], the shape of the result.
    static_shape: TensorShape, its static part.
    dtype: DType of the result.

  Returns:
    Tensor of the given shape.

  Raises:
    TypeError: If the index is not a tuple or list of ints.
    ValueError: If the rank is unknown, the length is wrong or an entry is out
      of range.
  """
  index = checks.index_of_example(index, static_shape)
  batch_size, *sizes = static_shape.as_list()
  if batch_size is None:
    batch_size = shape[0]
  one_hot = tf.ones([batch_size] + [1] * len(sizes), dtype)
  for axis, (size, position) in enumerate(
      zip(sizes, index, strict=True), start=1):
    size = shape[axis] if size is None else size
    one_hot = insert_slice_in_zeros(one_hot, axis, size, position)
  return one_hot


class InnerSpaceLoss(base.DistributionNegativeLogProbLoss):
  """A loss that keeps its distribution and the shape of its inner space.

  A subclass calls `_set_targets` and `_set_inner_shape`. It need not define the
  columns of B: they are B applied to unit vectors.
  """

  _targets_error: Exception | None = None

  def _set_targets(self, targets, error):
    """Sets the targets, and the error to raise if they are used, or None.

    Only estimation mode "empirical" and the value of the loss use targets, so
    that a model with others may train.
    """
    self._targets = targets
    if error is not None and self._targets_error is None:
      self._targets_error = error
      logging.warning(
          "%s This is an error only if the targets are used, by "
          "estimation_mode 'empirical', total_loss or eval_losses.", error)

  def evaluate(self) -> tf.Tensor:
    """Returns the loss on the targets, which count as constants.

    Returns:
      Scalar tensor, summed over the batch.

    Raises:
      TypeError: If the dtype of the targets does not fit.
      ValueError: If there are no targets, or their shape does not fit.
    """
    if self._targets_error is not None:
      raise self._targets_error.with_traceback(None)
    return super().evaluate()

  def _set_inner_shape(self, shape, static_shape):
    """Sets the shape of the inner space, batch first."""
    self._inner_shape = shape
    self._inner_static_shape = static_shape

  @property
  def fisher_factor_inner_shape(self) -> tf.Tensor:
    """Int tensor, the shape of the inner space of B, batch first."""
    return self._inner_shape

  @property
  def fisher_factor_inner_static_shape(self) -> tf.TensorShape:
    """TensorShape, the static part of `fisher_factor_inner_shape`."""
    return self._inner_static_shape

  def multiply_fisher_factor_replicated_one_hot(self,
                                                index: Sequence[int]) -> Any:
    """Returns one column of B for every example.

    Args:
      index: Tuple of ints, the index of the column in the dimensions of
        `fisher_factor_inner_shape` behind the batch; one int if it has rank 2.

    Returns:
      Tensors shaped like `inputs`.

    Raises:
      TypeError: If the index is not a tuple or list of ints.
      ValueError: If the rank is unknown, the length is wrong or an entry is
        out of range.
    """
    dtype = tf.nest.flatten(self.inputs)[0].dtype
    return self.multiply_fisher_factor(replicated_one_hot(
        index, self._inner_shape, self._inner_static_shape, dtype))
