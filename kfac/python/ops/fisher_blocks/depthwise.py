"""Blocks of a depthwise convolution, as a full convolution with zeros.

A depthwise filter [h, w, in_channels, multiplier] is equivalent to a filter
[h, w, in_channels, in_channels * multiplier] that is zero wherever an output
channel does not depend on an input channel. Vectors are embedded in that
filter's space, multiplied by its block, and restricted to depthwise entries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import convolution
from kfac.python.ops.utils import hints


def depthwise_conv2d_filter_to_conv2d_filter(
    filter: tf.Tensor, name: str | None = None) -> tf.Tensor:
  """Embeds the filter of a depthwise convolution in that of a full one.

  Args:
    filter: Tensor [h, w, in_channels, multiplier].
    name: Name scope of the ops.

  Returns:
    Tensor [h, w, in_channels, in_channels * multiplier].
  """
  with tf.name_scope(name, "depthwise_conv2d_filter_to_conv2d_filter",
                     [filter]):
    filter = tf.convert_to_tensor(filter)
    height, width, channels, multiplier = filter.shape.as_list()
    own = tf.eye(channels, dtype=filter.dtype)[:, :, None]
    return tf.reshape(
        filter[:, :, :, None, :] * own,
        [height, width, channels, channels * multiplier])


def conv2d_filter_to_depthwise_conv2d_filter(
    filter: hints.TensorLike, name: str | None = None) -> tf.Tensor:
  """Restricts the filter of a full convolution to its depthwise entries.

  Args:
    filter: Tensor [h, w, in_channels, in_channels * multiplier].
    name: Name scope of the ops.

  Returns:
    Tensor [h, w, in_channels, multiplier].
  """
  with tf.name_scope(name, "conv2d_filter_to_depthwise_conv2d_filter",
                     [filter]):
    filter = tf.convert_to_tensor(filter)
    height, width, channels, out_channels = filter.shape.as_list()
    split = tf.reshape(filter, [height, width, channels, channels,
                                out_channels // channels])
    return tf.einsum("hwccm->hwcm", split)


def _dilations(params, rate):
  """Checks a filter and its rate, and returns dilations of four ints or None.

  Args:
    params: Filter [h, w, in_channels, multiplier].
    rate: Two ints, or None.

  Raises:
    NotImplementedError: If there is a bias.
    ValueError: If the rate does not have length 2.
  """
  if isinstance(params, (list, tuple)) and len(params) > 1:
    raise NotImplementedError(
        "params must be the filter alone, a bias is not supported, got "
        f"{params!r}.")
  if rate is None:
    return None
  if len(rate) != 2:
    raise ValueError(f"rate must have length 2, got {rate!r}.")
  return (1, rate[0], rate[1], 1)


def _full_filter_shape(shape):
  """Returns the shape of the full filter, given that of the depthwise one."""
  *size, channels, multiplier = shape
  return [*size, channels, channels * multiplier]


def _outputs(params, inputs, strides, padding, dilations):
  """Returns the outputs of a depthwise convolution."""
  return tf.nn.depthwise_conv2d(
      inputs, params, strides, padding,
      rate=None if dilations is None else list(dilations)[1:-1])


class DepthwiseConvDiagonalFB(convolution.ConvDiagonalFB):
  """F is the mean over examples of the squared gradient per example."""

  def __init__(self, layer_collection: Any, params: hints.TensorLike,
               strides: Sequence[int], padding: str,
               rate: Sequence[int] | None = None,
               data_format: str | None = None, **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      params: Filter [h, w, in_channels, multiplier], without a bias.
      strides: Four ints.
      padding: "SAME" or "VALID".
      rate: Two ints, or None.
      data_format: "NHWC" or None.
      **first_tower: `inputs` and `outputs` of a first tower.

    Raises:
      NotImplementedError: If there is a bias.
      ValueError: If an argument has the wrong length or format.
    """
    super().__init__(
        layer_collection, params, padding=padding, strides=strides,
        data_format=data_format, dilations=_dilations(params, rate),
        **first_tower)
    self._filter_shape = _full_filter_shape(self._filter_shape)

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns the outputs of the depthwise convolution."""
    return _outputs(
        params, inputs, self._strides, self._padding, self._dilations)

  def _to_column(self, vector):
    return super()._to_column(depthwise_conv2d_filter_to_conv2d_filter(vector))

  def _from_column(self, vector, column):
    return conv2d_filter_to_depthwise_conv2d_filter(
        tf.reshape(column, self._filter_shape))


class DepthwiseConvKFCBasicFB(convolution.ConvKFCBasicFB):
  """F = T (A kron G) of the full convolution, restricted to its entries."""

  def __init__(self, layer_collection: Any, params: hints.TensorLike,
               strides: Sequence[int], padding: str,
               rate: Sequence[int] | None = None,
               data_format: str | None = None, **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: As in DepthwiseConvDiagonalFB.
      params: As in DepthwiseConvDiagonalFB.
      strides: As in DepthwiseConvDiagonalFB.
      padding: As in DepthwiseConvDiagonalFB.
      rate: As in DepthwiseConvDiagonalFB.
      data_format: As in DepthwiseConvDiagonalFB.
      **first_tower: As in DepthwiseConvDiagonalFB.

    Raises:
      NotImplementedError: If there is a bias.
      ValueError: If an argument has the wrong length or format.
    """
    super().__init__(
        layer_collection, params, padding=padding, strides=strides,
        data_format=data_format, dilation_rate=_dilations(params, rate),
        **first_tower)
    self._filter_shape = _full_filter_shape(self._filter_shape)

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns the outputs of the depthwise convolution."""
    return _outputs(
        params, inputs, self._strides, self._padding, self._dilation_rate)

  def _to_matrix(self, vector):
    return super()._to_matrix(depthwise_conv2d_filter_to_conv2d_filter(vector))

  def _from_matrix(self, vector, matrix):
    return conv2d_filter_to_depthwise_conv2d_filter(
        tf.reshape(matrix, self._filter_shape))
