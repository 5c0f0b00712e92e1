"""The patches of an input that a convolution multiplies with its filter.

A convolution in one, two or three spatial dimensions is a product of matrices:
the patches, reshaped to [-1, prod(filter) * in_channels], times the filter,
reshaped to [prod(filter) * in_channels, out_channels] (Grosse & Martens 2016,
section 2.2). Channels come last throughout.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def extract_convolution_patches(inputs: hints.TensorLike,
                                filter_shape: hints.Shape, padding: str,
                                strides: Sequence[int] | None = None,
                                dilation_rate: Sequence[int] | None = None,
                                name: str | None = None,
                                data_format: str | None = None) -> tf.Tensor:
  """Extracts the patches that tf.nn.convolution sees.

  Unlike tf.nn.convolution, it allows strides and dilation together.

  Args:
    inputs: Tensor [batch, spatial..., in_channels] with 1 to 3 spatial
      dimensions; batch and spatial sizes may be unknown.
    filter_shape: Shape of the filter, [spatial..., in_channels,
      out_channels].
    padding: "SAME" or "VALID".
    strides: Sequence with an int >= 1 for each spatial dimension, or None for
      ones.
    dilation_rate: The dilation rates, likewise.
    name: Name of the scope of the ops.
    data_format: None or a format with channels last, e.g. "NHWC".

  Returns:
    Tensor [batch, spatial outputs..., spatial filter..., in_channels].

  Raises:
    ValueError: If an argument breaks these rules.
  """
  with tf.name_scope(name, "extract_convolution_patches", [inputs]):
    images = tf.convert_to_tensor(inputs)
    *sizes, channels, _ = _check_shapes(images, filter_shape, data_format)
    strides = _per_dimension("strides", strides, len(sizes))
    rates = _per_dimension("dilation_rate", dilation_rate, len(sizes))
    if padding not in ("SAME", "VALID"):
      raise ValueError(f"padding must be 'SAME' or 'VALID', got {padding!r}.")
    lengths = _sizes(images)[1:-1]
    outputs = output_sizes(lengths, sizes, padding, strides, rates)
    spans = [_span(size, rate) for size, rate in zip(sizes, rates, strict=True)]
    if padding == "SAME":
      images = _pad(images, lengths, outputs, spans, strides)
    # Copying whole rows is several times as fast as extract_image_patches.
    starts = itertools.product(*(range(0, span, rate) for span, rate
                                 in zip(spans, rates, strict=True)))
    shifted = [_shift(images, start, outputs, strides) for start in starts]
    patches = tf.stack(shifted, axis=-2)
    outer = _sizes(patches)[:-2]
    return tf.reshape(patches, outer + sizes + [channels])


def output_sizes(lengths: Sequence[Any], filter_size: Sequence[int],
                 padding: str, strides: Sequence[int] | None = None,
                 rates: Sequence[int] | None = None) -> list:
  """Returns the spatial sizes of the outputs of a convolution.

  Args:
    lengths: The inputs' spatial sizes: ints, scalar tensors, or None where
      unknown.
    filter_size: The filter's spatial sizes.
    padding: "SAME" or "VALID".
    strides: Int for each spatial dimension, or None for ones.
    rates: Dilation rates, likewise.

  Returns:
    List of sizes >= 0, each of the kind that `lengths` has.
  """
  ones = [1] * len(filter_size)
  sizes: list = []
  # Shapes and arguments are checked by the functions that extract patches.
  for length, size, stride, rate in zip(
      lengths, filter_size, strides or ones, rates or ones, strict=False):
    if length is None:
      sizes.append(None)
      continue
    span = 1 if padding == "SAME" else _span(size, rate)
    sizes.append(_relu(-((span - 1 - length) // stride)))
  return sizes


def extract_pointwise_conv2d_patches(
    inputs: hints.TensorLike, filter_shape: hints.Shape,
    name: str | None = None, data_format: str | None = None) -> tf.Tensor:
  """Extracts the patches of a 2-D convolution with a 1x1 filter and stride 1.

  Args:
    inputs: Tensor [batch, height, width, in_channels].
    filter_shape: Shape of the filter, [1, 1, in_channels, out_channels].
    name: Name of the op.
    data_format: None or "NHWC".

  Returns:
    Tensor [batch, height, width, 1, 1, in_channels].

  Raises:
    ValueError: If an argument breaks these rules.
  """
  with tf.name_scope(name, "extract_pointwise_conv2d_patches", [inputs]):
    images = tf.convert_to_tensor(inputs)
    shape = _check_shapes(images, filter_shape, data_format)
    if shape[:-2] != [1, 1]:
      raise ValueError(
          "filter_shape must be [1, 1, in_channels, out_channels], got "
          f"{shape}.")
    return images[:, :, :, tf.newaxis, tf.newaxis, :]


def is_data_format_channel_last(data_format: str | None) -> bool:
  """True for None and for formats such as "NHWC", False for "NCHW"."""
  return data_format is None or data_format.endswith("C")


def _check_shapes(inputs, filter_shape, data_format):
  """Returns `filter_shape` as a list of ints that fits the inputs."""
  rank = inputs.shape.ndims
  if rank not in (3, 4, 5):
    raise ValueError(
        f"inputs must have rank 3, 4 or 5, got shape {inputs.shape}.")
  if not is_data_format_channel_last(data_format):
    raise ValueError(
        f"data_format must have channels last, got {data_format!r}.")
  if data_format is not None and len(data_format) != rank:
    raise ValueError(f"data_format must have a letter for each of the {rank} "
                     f"dimensions of inputs, got {data_format!r}.")
  filter_shape = tf.TensorShape(filter_shape)
  if filter_shape.ndims != rank or not filter_shape.is_fully_defined():
    raise ValueError(
        f"filter_shape must be {rank} known sizes, got {filter_shape}.")
  filter_shape = filter_shape.as_list()
  channels = inputs.shape.as_list()[-1]
  if channels is not None and channels != filter_shape[-2]:
    raise ValueError(
        f"filter_shape must have the {channels} channels of inputs, got "
        f"{filter_shape}.")
  return filter_shape


def _per_dimension(argument, values, count):
  """Returns `values` as a list of ints, ones for None."""
  values = [1] * count if values is None else [int(value) for value in values]
  if len(values) != count or min(values) < 1:
    raise ValueError(f"{argument} must be {count} ints >= 1, got {values}.")
  return values


def _pad(images, lengths, outputs, spans, strides):
  """Pads each spatial dimension with zeros so that all outputs' windows fit."""
  paddings = [[0, 0]]
  for length, count, span, stride in zip(
      lengths, outputs, spans, strides, strict=True):
    total = _relu((count - 1) * stride + span - length)
    paddings.append([total // 2, total - total // 2])
  return tf.pad(images, paddings + [[0, 0]])


def _span(filter_size, rate):
  """Returns the extent of a dilated filter along one dimension."""
  return rate * (filter_size - 1) + 1


def _shift(inputs, starts, lengths, strides):
  """Takes `lengths` entries of each spatial dimension, from `starts` on."""
  windows = [slice(start, start + length * stride, stride)
             for start, length, stride
             in zip(starts, lengths, strides, strict=True)]
  return inputs[tuple([slice(None)] + windows)]


def _sizes(tensor):
  """Returns the shape as a list of ints, or of tensors where not static."""
  known = tensor.shape.as_list()
  if None not in known:
    return known
  shape = tf.shape(tensor)
  return [shape[i] if size is None else size for i, size in enumerate(known)]


def _relu(size):
  return max(size, 0) if isinstance(size, int) else tf.maximum(size, 0)


def num_conv_locations(input_shape: Any, filter_shape: Sequence[int],
                       strides: Sequence[int] | None, padding: str) -> Any:
  """Counts the locations of a convolution, those of its outputs.

  In fisher_blocks, the function of this name counts as contrib.kfac did.

  Args:
    input_shape: Shape of the inputs, [batch, spatial..., channels]. Spatial
      sizes are ints or scalar integer tensors.
    filter_shape: Shape of the filter, [spatial..., in, out].
    strides: Ints, of the spatial dimensions or of all; None means 1.
    padding: "SAME" or "VALID".

  Returns:
    The product of the spatial sizes of the outputs: an int, or a scalar tensor
    if a size of the inputs is a tensor.

  Raises:
    ValueError: If a size is not known, or if an argument contradicts another.
  """
  sizes = [tf.compat.dimension_value(size) for size in input_shape][1:-1]
  filter_sizes = list(filter_shape)[:-2]
  steps = [1] * len(sizes) if strides is None else list(strides)
  if len(steps) == len(sizes) + 2:
    steps = steps[1:-1]
  if padding not in ("SAME", "VALID"):
    raise ValueError(f"padding must be 'SAME' or 'VALID', got {padding!r}.")
  if any(size is None for size in sizes):
    raise ValueError(
        f"input_shape must have known spatial sizes, got {input_shape!r}.")
  for name, value, lengths in (("filter_shape", filter_shape, filter_sizes),
                               ("strides", strides, steps)):
    if len(lengths) != len(sizes):
      raise ValueError(
          f"{name} must have the {len(sizes)} spatial dimensions of "
          f"input_shape, got {value!r}.")
  return math.prod(output_sizes(sizes, filter_sizes, padding, steps))
