"""Factors of a convolution: A over patches, G over locations, the diagonal.

Channels are last. T is the number of locations of the outputs. The patches of a
batch take many times the memory of its inputs. They are either not formed, or
formed for chunks of examples with at most MAX_PATCH_ELEMENTS elements.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import covariance
from kfac.python.ops.fisher_factors import dense
from kfac.python.ops.fisher_factors import diagonal
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import chunks
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import correlations
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import patches as patches_lib
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars


def spatial(sizes: Sequence[int] | None,
            num_spatial_dims: int) -> Sequence[int] | None:
  """Removes the strides or rates of batch and channels, if present.

  Args:
    sizes: List of ints, or None.
    num_spatial_dims: Number of spatial dimensions.

  Returns:
    List of `num_spatial_dims` ints; or None.
  """
  if sizes is None or len(sizes) == num_spatial_dims:
    return sizes
  return list(sizes)[1:-1]


def check_channels_last(data_format: str | None) -> None:
  """Raises ValueError unless a data format has the channels last."""
  if not utils.is_data_format_channel_last(data_format):
    raise ValueError(
        f"data_format must have the channels last, got {data_format!r}."
                     )


def check_length_4(**values: Any) -> None:
  """Raises ValueError unless each value is None or has length 4."""
  for name, value in values.items():
    if value is not None and len(value) != 4:
      raise ValueError(f"{name} must have length 4, got {value!r}.")


def _extract_patches(inputs, filter_shape, padding, strides, dilation_rate,
                     data_format):
  num_spatial_dims = len(filter_shape) - 2
  return utils.extract_convolution_patches(
      inputs, filter_shape, padding,
      strides=spatial(strides, num_spatial_dims),
      dilation_rate=spatial(dilation_rate, num_spatial_dims),
      data_format=data_format)


def _extract_pointwise(inputs, filter_shape, padding, strides, dilation_rate,
                       data_format):
  del padding, dilation_rate  # They have no effect with a filter of size 1.
  num_spatial_dims = len(filter_shape) - 2
  step = [slice(None, None, s) for s in
          spatial(strides, num_spatial_dims) or num_spatial_dims * [1]]
  return utils.extract_pointwise_conv2d_patches(
      inputs[tuple([slice(None)] + step)], filter_shape,
      data_format=data_format)


# Extractors of patches [batch, locations..., filter..., in_channels].
_EXTRACT_PATCHES = {
    None: _extract_patches,
    "extract_convolution_patches": _extract_patches,
    "extract_image_patches": _extract_patches,
    "extract_pointwise_conv2d_patches": _extract_pointwise,
}


def _num_locations(inputs, filter_shape, padding, strides, dilation_rate):
  """Returns T, an int if the inputs' spatial sizes are known."""
  sizes, known = filter_shape[:-2], inputs.shape.as_list()
  lengths = [tf.shape(inputs)[i] if known[i] is None else known[i]
             for i in range(1, len(known) - 1)]
  outputs = patches_lib.output_sizes(
      lengths, sizes, padding, spatial(strides, len(sizes)),
      spatial(dilation_rate, len(sizes)))
  return functools.reduce(operator.mul, outputs, 1)


def _examples_per_chunk(elements_per_example):
  """Returns the number of examples per chunk, at least one."""
  limit = int(constants.read("fisher_factors", "MAX_PATCH_ELEMENTS"))
  if isinstance(elements_per_example, int):
    return max(limit // max(elements_per_example, 1), 1)
  return tf.maximum(limit // tf.maximum(elements_per_example, 1), 1)


class ConvDiagonalFactor(diagonal.DiagonalFactor):
  """Mean over examples of the squared gradient per example.

  The gradient of an example is summed over locations before it is squared. The
  shape is [filter size * in_channels (+ 1), out_channels].
  """

  def __init__(self, inputs: hints.Towers, outputs_grads: hints.Sources,
               filter_shape: Sequence[int], strides: Sequence[int],
               padding: str, data_format: str | None = None,
               dilations: Sequence[int] | None = None, has_bias: bool = False,
               patch_mask: Any = None, *,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes the factor of a two-dimensional convolution.

    Args:
      inputs: For each tower the images [batch, h, w, in_channels].
      outputs_grads: For each source and tower the gradient of the summed loss
        with respect to the outputs, [batch, h, w, out_channels].
      filter_shape: [filter h, filter w, in_channels, out_channels].
      strides: Four ints.
      padding: "SAME" or "VALID".
      data_format: "NHWC" or None.
      dilations: Four ints, or None.
      has_bias: Whether the layer has a bias.
      patch_mask: See ConvInputKroneckerFactor.
      colocate_cov_ops_with_inputs: See FisherFactor.

    Raises:
      ValueError: If something has the wrong length or format.
    """
    super().__init__(colocate_cov_ops_with_inputs)
    check_channels_last(data_format)
    check_length_4(filter_shape=filter_shape, strides=strides,
                   dilations=dilations)
    self._inputs = base.as_towers(inputs)
    self._outputs_grads = base.as_sources(outputs_grads)
    self._filter_shape = filter_shape
    self._strides = strides
    self._padding = padding
    self._data_format = data_format
    self._dilations = dilations
    self._has_bias = has_bias
    self._patch_mask = constant_mask(patch_mask, filter_shape)
    self._data = self._outputs_grads
    self._check_data()

  def _check_data(self):
    for source in self._outputs_grads:
      if len(source) != len(self._inputs):
        raise ValueError(
            "outputs_grads must have as many towers as inputs, got "
            f"{len(source)} and {len(self._inputs)}."
            )
    for name, tensor, channels in [
        ("inputs", x, self._filter_shape[2]) for x in self._inputs] + [
            ("outputs_grads", g, self._filter_shape[3])
            for source in self._outputs_grads for g in source]:
      if len(tensor.shape) != 4 or tensor.shape.as_list()[3] != channels:
        raise ValueError(
            f"{name} must have shape [batch, h, w, {channels}], got "
            f"{tensor.shape}.")

  @property
  def _var_scope(self):
    return "ff_convdiag_" + naming.scope_string_from_params(
        [self._inputs, self._outputs_grads])

  @property
  def _cov_shape(self):
    height, width, in_channels, out_channels = self._filter_shape
    return [height * width * in_channels + int(self._has_bias), out_channels]

  def _compute_new_cov(self, source, tower):
    grads = precision.as_wide_tensor(self._outputs_grads[source][tower])
    inputs = precision.as_wide_tensor(self._inputs[tower])
    num_locations = _num_locations(
        inputs, self._filter_shape, self._padding, self._strides,
        self._dilations)
    out_channels = self._cov_shape[1]
    size = self._cov_shape[0] - int(self._has_bias)
    total = chunks.sum_over_chunks(
        functools.partial(self._sum_of_squares, num_locations), [inputs, grads],
        _examples_per_chunk((num_locations + out_channels) * size))
    diagonal_cov = total / scalars.cast_scalar(
        tf.shape(grads)[0], grads.dtype)
    if self._patch_mask is None:
      return diagonal_cov
    mask = _mask_column(
        self._patch_mask, self._filter_shape, self._has_bias, total.dtype)
    return diagonal_cov * tf.square(mask)

  def _sum_of_squares(self, num_locations, inputs, grads):
    batch_size = tf.shape(inputs)[0]
    patches = _extract_patches(
        inputs, self._filter_shape, self._padding, self._strides,
        self._dilations, self._data_format)
    size, out_channels = self._cov_shape
    patches = tf.reshape(
        patches, [batch_size, num_locations, size - int(self._has_bias)])
    grads = tf.reshape(grads, [batch_size, num_locations, out_channels])
    example_grads = tf.matmul(patches, grads, transpose_a=True)
    squares = tf.reduce_sum(tf.square(example_grads), axis=0)
    if not self._has_bias:
      return squares
    bias_grads = tf.reduce_sum(grads, axis=1)
    return tf.concat(
        [squares, tf.reduce_sum(tf.square(bias_grads), axis=0, keepdims=True)],
        axis=0)


class ConvInputKroneckerFactor(dense.DenseSquareMatrixFactor):
  """A over examples and locations (Grosse & Martens 2016, section 3).

  It is the covariance of patches [filter size * in_channels (+ 1)].
  """

  def __init__(self, inputs: hints.Towers, filter_shape: Sequence[int],
               padding: str, strides: Sequence[int] | None = None,
               dilation_rate: Sequence[int] | None = None,
               data_format: str | None = None,
               extract_patches_fn: str | None = None, has_bias: bool = False,
               sub_sample_inputs: bool | None = None,
               sub_sample_patches: bool | None = None,
               patch_mask: Any = None, *,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes the factor of the inputs of a convolution.

    Args:
      inputs: For each tower [batch, spatial..., in_channels]; or one tensor.
      filter_shape: [filter spatial..., in_channels, out_channels].
      padding: "SAME" or "VALID".
      strides: Ints, one for each spatial dimension, or for every dimension of
        the inputs; None means 1.
      dilation_rate: The same.
      data_format: One with the channels last, or None.
      extract_patches_fn: Name of the function of `utils` that extracts patches,
        or "extract_image_patches". None means "extract_convolution_patches", or
        no patches where utils/correlations.py is cheaper.
      has_bias: Whether the layer has a bias.
      sub_sample_inputs: Whether to use a random fraction of the examples,
        _INPUTS_TO_EXTRACT_PATCHES_FACTOR; None means _SUB_SAMPLE_INPUTS.
      sub_sample_patches: Whether to use only
        _MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW patches per row of A; None means
        _SUB_SAMPLE_OUTER_PRODUCTS.
      patch_mask: Constant array [filter spatial...] that multiplies each patch,
        as the layer multiplies its filter by it; or None.
      colocate_cov_ops_with_inputs: See FisherFactor.

    Raises:
      NotImplementedError: If the extractor is unknown.
      ValueError: If the channels are not last, or the mask does not fit.
    """
    super().__init__(colocate_cov_ops_with_inputs)
    if extract_patches_fn not in _EXTRACT_PATCHES:
      raise NotImplementedError(
          "extract_patches_fn must be one of "
          f"{sorted(filter(None, _EXTRACT_PATCHES))}, got "
          f"{extract_patches_fn!r}.")
    check_channels_last(data_format)
    self._inputs = base.as_towers(inputs)
    self._filter_shape = filter_shape
    self._strides = strides
    self._padding = padding
    self._dilation_rate = dilation_rate
    self._data_format = data_format
    self._extract_patches_fn = extract_patches_fn
    self._has_bias = has_bias
    self._sub_sample_inputs = _or_constant(
        sub_sample_inputs, "_SUB_SAMPLE_INPUTS")
    self._sub_sample_patches = _or_constant(
        sub_sample_patches, "_SUB_SAMPLE_OUTER_PRODUCTS")
    self._patch_mask = constant_mask(patch_mask, filter_shape)
    self._data = (self._inputs,)

  @property
  def _var_scope(self):
    return "ff_convinkron_" + naming.scope_string_from_params(
        list(self._inputs) +
        [self._filter_shape, self._strides, self._padding,
         self._dilation_rate, self._data_format, self._has_bias])

  @property
  def _cov_shape(self):
    size = functools.reduce(int.__mul__, self._filter_shape[:-1])
    return 2 * [size + int(self._has_bias)]

  def _compute_new_cov(self, source, tower):
    inputs = precision.as_wide_tensor(self._inputs[tower])
    if self._sub_sample_inputs:
      inputs = self._some_examples(inputs)
    cov = self._second_moment(inputs)
    if self._has_bias:
      cov = covariance.with_assumed_mean(cov)
    if self._patch_mask is None:
      return cov
    mask = _mask_column(
        self._patch_mask, self._filter_shape, self._has_bias, cov.dtype)
    return mask * cov * tf.transpose(mask)

  def _second_moment(self, inputs):
    """Returns the second moment of patches, with a 1 appended for a bias."""
    tile_width = self._choose_tile_width(inputs)
    if tile_width is None:
      return self._cov_of_patches(inputs)
    mean, cov = correlations.patch_moments(
        inputs, self._filter_shape[:2], self._padding, tile_width)
    return _append_bias(cov, mean) if self._has_bias else cov

  def _choose_tile_width(self, inputs):
    """Returns a tile width for patch_moments; None if patches are used."""
    shape = inputs.shape.as_list()
    if (self._extract_patches_fn is not None or self._sub_sample_patches or
        len(shape) != 4 or len(self._filter_shape) != 4 or
        None in shape[1:] or shape[3] != self._filter_shape[2] or
        self._padding not in ("SAME", "VALID") or
        self._data_format not in (None, "NHWC")):
      return None
    for sizes in (self._strides, self._dilation_rate):
      if list(spatial(sizes, 2) or [1, 1]) != [1, 1]:
        return None
    return correlations.choose_tile_width(
        shape[1:], self._filter_shape[:2], self._padding, shape[0])

  def _cov_of_patches(self, inputs):
    num_examples = tf.shape(inputs)[0]
    num_locations = _num_locations(
        inputs, self._filter_shape, self._padding, self._strides,
        self._dilation_rate)
    size = self._cov_shape[0] - int(self._has_bias)
    num_patches = num_examples * num_locations
    data = [inputs]
    if self._sub_sample_patches:
      wanted = tf.minimum(num_patches, covariance.max_num_rows(size))
      # Exactly `wanted` entries of a permutation are below that number.
      chosen = tf.random.shuffle(tf.range(num_patches)) < wanted
      data.append(tf.reshape(chosen, [num_examples, num_locations]))
      num_patches = wanted

    def cov_of_chunk(examples, chosen=None):
      patches = _EXTRACT_PATCHES[self._extract_patches_fn](
          examples, self._filter_shape, self._padding, self._strides,
          self._dilation_rate, self._data_format)
      patches = tf.reshape(patches, [-1, size])
      if chosen is not None:
        patches = tf.boolean_mask(patches, tf.reshape(chosen, [-1]))
      return covariance.compute_cov(
          patches, normalizer=num_patches, has_bias=self._has_bias)

    return chunks.sum_over_chunks(
        cov_of_chunk, data, _examples_per_chunk(num_locations * size))

  def _some_examples(self, inputs):
    fraction = constants.read(
        "fisher_factors", "_INPUTS_TO_EXTRACT_PATCHES_FACTOR")
    num_examples = tf.cast(tf.shape(inputs)[0], tf.float32) * fraction
    return covariance.random_rows(
        inputs, tf.maximum(tf.cast(num_examples, tf.int32), 1))


class ConvOutputKroneckerFactor(dense.DenseSquareMatrixFactor):
  """G over examples and locations (Grosse & Martens 2016, section 3)."""

  def __init__(self, outputs_grads: hints.Sources,
               data_format: str | None = None, *,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes the factor of the outputs of a convolution.

    Args:
      outputs_grads: For each source and tower the gradient of the summed loss
        with respect to the outputs, [batch, spatial..., out_channels]; or one
        tensor.
      data_format: One with the channels last, or None.
      colocate_cov_ops_with_inputs: See FisherFactor.

    Raises:
      ValueError: If the channels are not last.
    """
    super().__init__(colocate_cov_ops_with_inputs)
    check_channels_last(data_format)
    self._outputs_grads = base.as_sources(outputs_grads)
    self._data = self._outputs_grads

  @property
  def _var_scope(self):
    return "ff_convoutkron_" + naming.scope_string_from_params(
        [self._outputs_grads])

  @property
  def _cov_shape(self):
    return 2 * [self._outputs_grads[0][0].shape.as_list()[-1]]

  def _compute_new_cov(self, source, tower):
    grads = precision.as_wide_tensor(self._outputs_grads[source][tower])
    return covariance.compute_cov(
        tf.reshape(grads, [-1, self._cov_shape[0]]))


class ConvInputMultiKF(ConvInputKroneckerFactor):
  """A of a convolution that is used several times, over all uses."""

  def __init__(self, inputs: hints.Towers, filter_shape: Sequence[int],
               padding: str, num_uses: int,
               strides: Sequence[int] | None = None,
               dilation_rate: Sequence[int] | None = None,
               data_format: str | None = None,
               extract_patches_fn: str | None = None, has_bias: bool = False,
               sub_sample_inputs: bool | None = None,
               sub_sample_patches: bool | None = None,
               patch_mask: Any = None) -> None:
    """Initializes the factor of the inputs of a convolution.

    Args:
      inputs: For each tower [uses * batch, spatial..., in_channels].
      filter_shape: See ConvInputKroneckerFactor.
      padding: The same.
      num_uses: Number of uses.
      strides: The same.
      dilation_rate: The same.
      data_format: The same.
      extract_patches_fn: The same.
      has_bias: The same.
      sub_sample_inputs: The same.
      sub_sample_patches: The same.
      patch_mask: The same.
    """
    super().__init__(
        inputs, filter_shape, padding, strides, dilation_rate, data_format,
        extract_patches_fn, has_bias, sub_sample_inputs, sub_sample_patches,
        patch_mask)
    self._num_uses = num_uses

  def _tower_batch_size(self, source, tower):
    return super()._tower_batch_size(source, tower) // self._num_uses


class ConvOutputMultiKF(ConvOutputKroneckerFactor):
  """G of a convolution that is used several times, over all uses."""

  def __init__(self, outputs_grads: hints.Sources, num_uses: int,
               data_format: str | None = None) -> None:
    """Initializes the factor of the outputs of a convolution.

    Args:
      outputs_grads: For each source and tower [uses * batch, spatial...,
        out_channels], see ConvOutputKroneckerFactor.
      num_uses: Number of uses.
      data_format: See ConvOutputKroneckerFactor.
    """
    super().__init__(outputs_grads, data_format)
    self._num_uses = num_uses

  def _tower_batch_size(self, source, tower):
    return super()._tower_batch_size(source, tower) // self._num_uses


class ConvInputSUAKroneckerFactor:
  """A name of kfac 0.2.4: A under spatially uncorrelated activations."""

  def __init__(self, inputs: Any, filter_shape: Sequence[int],
               has_bias: bool = False) -> None:
    """Raises NotImplementedError.

    Args:
      inputs: Whatever.
      filter_shape: Whatever.
      has_bias: Whatever.
    """
    raise NotImplementedError(
        "ConvInputSUAKroneckerFactor (kron_sua) is not built, use "
        "ConvInputKroneckerFactor (\"kron\").")


def constant_mask(mask: Any, filter_shape: Sequence[int]) -> Any:
  """Returns a mask of patches as nested tuples of numbers, None for none.

  Args:
    mask: Array, nested list or constant tensor [filter spatial...]; or None.
    filter_shape: [filter spatial..., in_channels, out_channels].

  Raises:
    ValueError: If it is not constant or has another shape.
  """
  if mask is None:
    return None
  value = tf.get_static_value(mask) if isinstance(mask, tf.Tensor) else mask
  if value is None:
    raise ValueError(f"patch_mask must be constant, got {mask!r}.")
  array = np.asarray(value, np.float64)
  if list(array.shape) != list(filter_shape[:-2]):
    raise ValueError(
        f"patch_mask must have shape {list(filter_shape[:-2])}, got "
        f"{list(array.shape)}.")
  return _nested_tuple(array.tolist())


def _nested_tuple(value):
  return tuple(map(_nested_tuple, value)) if isinstance(value, list) else value


def _mask_column(mask, filter_shape, has_bias, dtype):
  """Returns a mask as a column [filter size * in_channels (+ 1), 1]."""
  column = np.repeat(np.ravel(mask), filter_shape[-2])
  if has_bias:
    column = np.append(column, 1.)
  return tf.constant(column[:, np.newaxis], dtype)


def _or_constant(value, constant):
  return (constants.read("fisher_factors", constant) if value is None
          else value)


def _append_bias(second_moment, mean):
  """Returns the second moment of rows with a 1 appended.

  Args:
    second_moment: Matrix [n, n], the second moment of the rows.
    mean: Vector [n], the mean of the rows.

  Returns:
    Matrix [n + 1, n + 1].
  """
  mean = mean[:, tf.newaxis]
  last = tf.concat([mean, tf.ones_like(mean[:1])], axis=0)
  return tf.concat(
      [tf.concat([second_moment, tf.transpose(mean)], axis=0), last], axis=1)
