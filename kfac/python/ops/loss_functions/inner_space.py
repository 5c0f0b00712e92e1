"""The space that a loss's factor B maps from, and its unit vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.loss_functions import base
from kfac.python.ops.loss_functions import checks
from kfac.python.ops.utils import hints


def insert_slice_in_zeros(slice_to_insert: hints.TensorLike, dim: int,
                          dim_size: int | hints.TensorLike,
                          position: int) -> tf.Tensor:
  """Puts a slice at one position of a tensor that is zero elsewhere.

  Args:
    slice_to_insert: Tensor of known rank and of size 1 along `dim`.
    dim: Int, the dimension to widen.
    dim_size: Int or scalar int tensor, the size of `dim` in the result.
    position: Int, where along `dim` the slice goes.

  Returns:
    Tensor shaped like the slice, but `dim_size` long along `dim`.

  Raises:
    ValueError: If there is no such dimension, the slice is not of size 1
      along it, or the position does not lie within `dim_size`.
  """
  slice_to_insert = tf.convert_to_tensor(slice_to_insert)
  shape = slice_to_insert.shape.as_list()
  if not -len(shape) <= dim < len(shape):
    raise ValueError(f"dim must lie within rank {len(shape)}, got {dim}.")
  if shape[dim] != 1:
    raise ValueError(
        f"slice_to_insert must have size 1 along dimension {dim}, got shape "
        f"{shape}."
        )
  if position < 0 or (not tf.is_tensor(dim_size) and position >= dim_size):
    raise ValueError(f"position must lie within {dim_size}, got {position}.")
  paddings = [[0, 0] for _ in shape]
  paddings[dim] = [position, dim_size - position - 1]
  return tf.pad(slice_to_insert, paddings)


def replicated_one_hot(index: Sequence[int], shape: hints.Shape,
                       static_shape: tf.TensorShape,
                       dtype: hints.DType) -> tf.Tensor:
  """Returns a batch whose every example is one at `index` and zero elsewhere.

  Args:
    index: Tuple of ints, one per dimension behind the batch.
    shape: Int tensor [rank], the shape of the result.
    static_shape: TensorShape, what is known of it.
    dtype: DType of the result.

  Returns:
    Tensor of the given shape.

  Raises:
    TypeError: If the index is not a tuple or list of ints.
    ValueError: If the rank is not known, the length is wrong or an entry is
      out of range.
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
  """A loss that keeps its distribution and the shape that B maps from.

  A subclass tells the shape by `_set_inner_shape` and needs no other members
  about it: a column of B is B applied to a unit vector.
  """

  def _set_inner_shape(self, shape, static_shape):
    """Tells what B maps from: one row per example, any shape behind it."""
    self._inner_shape = shape
    self._inner_static_shape = static_shape

  @property
  def fisher_factor_inner_shape(self) -> tf.Tensor:
    """Int tensor, the shape of what B maps from, batch first."""
    return self._inner_shape

  @property
  def fisher_factor_inner_static_shape(self) -> tf.TensorShape:
    """TensorShape, what is known of `fisher_factor_inner_shape`."""
    return self._inner_static_shape

  def multiply_fisher_factor_replicated_one_hot(self,
                                                index: Sequence[int]) -> Any:
    """Returns one column of B for every example.

    Args:
      index: Tuple of ints, the place of the column behind the batch
        dimension of `fisher_factor_inner_shape`; one int if that has rank 2.

    Returns:
      Tensors shaped like `inputs`.

    Raises:
      TypeError: If the index is not a tuple or list of ints.
      ValueError: If the rank is not known, the length is wrong or an entry is
        out of range.
    """
    dtype = tf.nest.flatten(self.inputs)[0].dtype
    return self.multiply_fisher_factor(replicated_one_hot(
        index, self._inner_shape, self._inner_static_shape, dtype))
