"""Broadcasting of a parameter to the entries of its distribution."""

from __future__ import annotations

import tensorflow.compat.v1 as tf


def _keeps_shape(shape, other):
  """Returns whether broadcasting with `other` certainly leaves a static shape.

  Args:
    shape: TensorShape.
    other: TensorShape that broadcasts with it.
  """
  if other.rank == 0:
    return True
  if shape.rank is None or other.rank is None or other.rank > shape.rank:
    return False
  sizes = shape.as_list()[shape.rank - other.rank:]
  return all(theirs == 1 or (ours is not None and (ours > 1 or ours == theirs))
             for ours, theirs in zip(sizes, other.as_list(), strict=True))


class Broadcast:
  """The broadcasting of a tensor with another one, as a linear map J.

  An entry of the tensor is shared by all entries that it is broadcast to. If F
  is the Fisher matrix with respect to the broadcast tensor, then that with
  respect to the tensor itself is J^T F J: J^T sums over the shared entries. No
  op is added where the static shapes show that J is the identity.

  Attributes:
    shape: Int tensor, the shape after broadcasting.
    static_shape: TensorShape, its static part.
  """

  def __init__(self, tensor: tf.Tensor, other: tf.Tensor) -> None:
    """Makes the map.

    Args:
      tensor: The tensor to broadcast.
      other: The tensor that it is broadcast with.

    Raises:
      ValueError: If the static shapes do not fit.
    """
    static_shape = tf.broadcast_static_shape(tensor.shape, other.shape)
    self._tensor = tensor
    self._is_identity = _keeps_shape(tensor.shape, other.shape)
    if self._is_identity:
      self.shape, self.static_shape = tf.shape(tensor), tensor.shape
    else:
      self.shape = tf.broadcast_dynamic_shape(tf.shape(tensor), tf.shape(other))
      self.static_shape = static_shape

  def apply(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns J v; v is shaped like the tensor."""
    return vector if self._is_identity else tf.broadcast_to(vector, self.shape)

  def transpose(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns J^T v, shaped like the tensor; v has the shape `shape`."""
    if self._is_identity:
      return vector
    shape = tf.shape(self._tensor)
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=shape, s1=self.shape)
    total = tf.reshape(tf.reduce_sum(vector, axes), shape)
    total.set_shape(self._tensor.shape)
    return total
