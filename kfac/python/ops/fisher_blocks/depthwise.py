"""Blocks of a depthwise convolution, seen as a convolution with zeros.

A depthwise filter [h, w, in_channels, multiplier] does what a filter
[h, w, in_channels, in_channels * multiplier] does that is zero wherever an
output channel does not come from an input channel. So vectors are embedded,
multiplied by the block of that convolution, and cut back.
"""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import convolution
from kfac.python.ops.utils import hints


def depthwise_conv2d_filter_to_conv2d_filter(
    filter: hints.TensorLike, name: str | None = None) -> tf.Tensor:
  """Embeds the filter of a depthwise convolution into that of a full one.

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
  """Cuts the filter of a depthwise convolution out of that of a full one.

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


class _DepthwiseFB:
  """Mixin that embeds vectors before they are multiplied, and cuts back."""

  def __init__(self, layer_collection, params, strides, padding, rate=None,
               data_format=None, **first_tower):
    """Starts a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      params: Filter [h, w, in_channels, multiplier], no bias.
      strides: Four ints.
      padding: "SAME" or "VALID".
      rate: Two ints, or None.
      data_format: "NHWC" or None.
      **first_tower: `inputs` and `outputs` of a first tower.

    Raises:
      NotImplementedError: If there is a bias.
      ValueError: If something has the wrong length or format.
    """
    if isinstance(params, (list, tuple)):
      raise NotImplementedError(
          "params must be the filter alone, a bias is not supported, got "
          f"{params!r}."
          )
    if rate is not None and len(rate) != 2:
      raise ValueError(f"rate must have length 2, got {rate!r}.")
    dilations = None if rate is None else (1, rate[0], rate[1], 1)
    super().__init__(
        layer_collection, params, padding=padding, strides=strides,
        data_format=data_format, **{self._rate_argument: dilations},
        **first_tower)
    channels, multiplier = self._filter_shape[2:]
    self._filter_shape[3] = channels * multiplier

  def multiply_matpower(self, vector, exp):  # noqa: D102
    return self._embedded(super().multiply_matpower, vector, exp)

  def multiply_cholesky(self, vector, transpose=False):  # noqa: D102
    return self._embedded(super().multiply_cholesky, vector, transpose)

  def multiply_cholesky_inverse(self, vector, transpose=False):  # noqa: D102
    return self._embedded(super().multiply_cholesky_inverse, vector, transpose)

  def _embedded(self, multiply, vector, *args):
    vector = depthwise_conv2d_filter_to_conv2d_filter(vector)
    return conv2d_filter_to_depthwise_conv2d_filter(multiply(vector, *args))


class DepthwiseConvDiagonalFB(_DepthwiseFB, convolution.ConvDiagonalFB):
  """F is the mean over examples of the squared gradient of an example."""

  _rate_argument = "dilations"


class DepthwiseConvKFCBasicFB(_DepthwiseFB, convolution.ConvKFCBasicFB):
  """F = T (A kron G) of the full convolution, cut back."""

  _rate_argument = "dilation_rate"
