"""Blocks of a convolution, whose filter is applied at T locations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import base
from kfac.python.ops.fisher_blocks import damping as damping_lib
from kfac.python.ops.fisher_blocks import kronecker
from kfac.python.ops.fisher_blocks import single_factor
from kfac.python.ops.fisher_blocks import towers
from kfac.python.ops.fisher_factors import convolution
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints


def num_conv_locations(input_shape: Any,
                       strides: Sequence[int] | None) -> Any:
  """Counts the locations of a convolution as contrib.kfac did.

  Args:
    input_shape: Shape of the inputs, [batch, spatial..., channels].
    strides: Ints, of the spatial dimensions or of all; None means 1.

  Returns:
    Int, the product of the spatial sizes of the inputs over the product of the
    strides. Padding and filter size have no effect.
  """
  spatial_sizes = list(input_shape)[1:-1]
  strides = convolution.spatial(strides, len(spatial_sizes))
  return (_product(spatial_sizes) //
          _product(strides if strides is not None else [1]))


def _num_input_locations(inputs, strides):
  """Same as num_conv_locations; a scalar tensor if sizes are unknown."""
  shape = inputs.shape.as_list()
  if None not in shape[1:-1]:
    return num_conv_locations(shape, strides)
  strides = convolution.spatial(strides, len(shape) - 2)
  return (tf.reduce_prod(tf.shape(inputs)[1:-1]) //
          _product(strides if strides is not None else [1]))


def _product(sizes):
  product = 1
  for size in sizes:
    product *= int(size)
  return product


def _filter_and_bias(params):
  """Returns the filter's shape as a list, and whether there is a bias."""
  params = params if isinstance(params, (list, tuple)) else [params]
  return params[0].shape.as_list(), len(params) > 1


def _num_locations(inputs, outputs, strides):
  """Returns T by CONV_LOCATIONS, an int; a scalar tensor if sizes are unknown.

  Args:
    inputs: Inputs of a tower, tensor or list over uses.
    outputs: Its outputs, likewise.
    strides: As in num_conv_locations.
  """
  if isinstance(inputs, (list, tuple)):
    inputs, outputs = inputs[0], outputs[0]
  if constants.read("fisher_blocks", "CONV_LOCATIONS") == "inputs":
    return _num_input_locations(inputs, strides)
  sizes = outputs.shape.as_list()[1:-1]
  if None in sizes:
    return tf.reduce_prod(tf.shape(outputs)[1:-1])
  return _product(sizes)


def _outputs(params, inputs, padding, strides, rates):
  """Returns the outputs of a convolution, with a bias if there is one."""
  filters, *bias = params if isinstance(params, (list, tuple)) else [params]
  num_dims = filters.shape.rank - 2
  outputs = tf.nn.convolution(
      inputs, filters, padding=padding.upper(),
      strides=convolution.spatial(strides, num_dims),
      dilations=convolution.spatial(rates, num_dims))
  return outputs + tf.reshape(bias[0], [-1]) if bias else outputs


class ConvDiagonalFB(towers.InputOutputMultiTower, single_factor.DiagonalFB):
  """F is the mean over examples of the squared gradient per example."""

  _settings = ("_strides", "_padding", "_dilations", "_patch_mask")

  def __init__(self, layer_collection: Any, params: hints.Vector,
               strides: Sequence[int], padding: str,
               data_format: str | None = None,
               dilations: Sequence[int] | None = None,
               patch_mask: Any = None, **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      params: Filter [h, w, in_channels, out_channels], or filter and bias.
      strides: Four ints.
      padding: "SAME" or "VALID".
      data_format: "NHWC" or None.
      dilations: Four ints, or None.
      patch_mask: See ConvInputKroneckerFactor.
      **first_tower: `inputs` and `outputs` of a first tower.

    Raises:
      ValueError: If something has the wrong length or format.
    """
    self._filter_shape, self._has_bias = _filter_and_bias(params)
    convolution.check_length_4(strides=strides, dilations=dilations,
                               filter=self._filter_shape)
    convolution.check_channels_last(data_format)
    self._strides = base.maybe_tuple(strides)
    self._padding = padding
    self._data_format = data_format
    self._dilations = base.maybe_tuple(dilations)
    self._patch_mask = convolution.constant_mask(
        patch_mask, self._filter_shape)
    super().__init__(layer_collection, **first_tower)

  @property
  def _num_replications(self):
    return _num_locations(self._inputs[0], self._outputs[0], self._strides)

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    return (convolution.ConvDiagonalFactor,
            (inputs, grads, tuple(self._filter_shape), self._strides,
             self._padding, self._data_format, self._dilations,
             self._has_bias, self._patch_mask))

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns the outputs of the convolution."""
    return _outputs(
        params, inputs, self._padding, self._strides, self._dilations)

  def _factor_damping(self, damping):
    return damping_lib.of_sum_over_locations(
        damping, self._num_replications, self._outputs[0].dtype)


class _ConvKroneckerFB(kronecker.KroneckerProductFB):
  """F = c (A kron G), A and G over examples, locations and uses."""

  _settings: Sequence[str] = ("_strides", "_padding", "_dilation_rate")

  def _set_convolution(self, params, padding, strides, dilation_rate,
                       data_format, extract_patches_fn):
    """Sets the geometry of the convolution, see ConvKFCBasicFB."""
    convolution.check_channels_last(data_format)
    self._filter_shape, self._has_bias = _filter_and_bias(params)
    self._padding = padding
    self._strides = base.maybe_tuple(strides)
    self._dilation_rate = base.maybe_tuple(dilation_rate)
    self._data_format = data_format
    self._extract_patches_fn = extract_patches_fn

  @property
  def _geometry(self):
    """The arguments of A from the strides to the bias."""
    return (self._strides, self._dilation_rate, self._data_format,
            self._extract_patches_fn, self._has_bias)

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns the outputs of the convolution."""
    return _outputs(
        params, inputs, self._padding, self._strides, self._dilation_rate)


class ConvKFCBasicFB(towers.InputOutputMultiTower, _ConvKroneckerFB):
  """F = T (A kron G) (KFC, Grosse & Martens 2016, section 3)."""

  _settings = ("_strides", "_padding", "_dilation_rate", "_sub_sampling",
               "_patch_mask")

  def __init__(self, layer_collection: Any, params: hints.Vector, padding: str,
               strides: Sequence[int] | None = None,
               dilation_rate: Sequence[int] | None = None,
               data_format: str | None = None,
               extract_patches_fn: str | None = None,
               sub_sample_inputs: bool | None = None,
               sub_sample_patches: bool | None = None,
               use_sua_approx_for_input_factor: bool = False,
               patch_mask: Any = None, **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      params: Filter [spatial..., in_channels, out_channels], or filter and
        bias.
      padding: "SAME" or "VALID".
      strides: Ints, of the spatial dimensions or of all; None means 1.
      dilation_rate: The same.
      data_format: One with the channels last, or None.
      extract_patches_fn: See ConvInputKroneckerFactor.
      sub_sample_inputs: The same.
      sub_sample_patches: The same.
      use_sua_approx_for_input_factor: False; the approximation is not built.
      patch_mask: See ConvInputKroneckerFactor.
      **first_tower: `inputs` and `outputs` of a first tower.

    Raises:
      NotImplementedError: If the approximation is chosen.
      ValueError: If the channels are not last, or the mask does not fit.
    """
    if use_sua_approx_for_input_factor:
      raise NotImplementedError(
          "use_sua_approx_for_input_factor (kron_sua) is not built, use "
          "False (\"kron\").")
    self._set_convolution(params, padding, strides, dilation_rate, data_format,
                          extract_patches_fn)
    self._sub_sampling = sub_sample_inputs, sub_sample_patches
    self._patch_mask = convolution.constant_mask(
        patch_mask, self._filter_shape)
    super().__init__(layer_collection, **first_tower)

  @property
  def _num_replications(self):
    return _num_locations(self._inputs[0], self._outputs[0], self._strides)

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    return (
        (convolution.ConvInputKroneckerFactor,
         (inputs, tuple(self._filter_shape), self._padding, *self._geometry,
          *self._sub_sampling, self._patch_mask)),
        (convolution.ConvOutputKroneckerFactor, (grads, self._data_format)))


class ConvKFCBasicMultiIndepFB(towers.InputOutputMultiTowerMultiUse,
                               _ConvKroneckerFB):
  """F = T U (A kron G), on the assumption that the U uses are independent."""

  def __init__(self, layer_collection: Any, params: hints.Vector, padding: str,
               strides: Sequence[int] | None = None,
               dilation_rate: Sequence[int] | None = None,
               data_format: str | None = None,
               extract_patches_fn: str | None = None,
               num_uses: int | None = None, **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: As in ConvKFCBasicFB.
      params: As in ConvKFCBasicFB.
      padding: As in ConvKFCBasicFB.
      strides: As in ConvKFCBasicFB.
      dilation_rate: As in ConvKFCBasicFB.
      data_format: As in ConvKFCBasicFB.
      extract_patches_fn: As in ConvKFCBasicFB.
      num_uses: Number of uses U; required unless they are given as lists.
      **first_tower: `inputs` and `outputs` of a first tower.
    """
    self._set_convolution(params, padding, strides, dilation_rate, data_format,
                          extract_patches_fn)
    super().__init__(num_uses, layer_collection, **first_tower)

  @property
  def _num_replications(self):
    return self._num_uses * _num_locations(
        self._inputs[0], self._outputs[0], self._strides)

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    return (
        (convolution.ConvInputMultiKF,
         (inputs, tuple(self._filter_shape), self._padding, self._num_uses,
          *self._geometry)),
        (convolution.ConvOutputMultiKF,
         (grads, self._num_uses, self._data_format)))
