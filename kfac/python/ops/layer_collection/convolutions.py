"""Registration of convolutions, all with the channels last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from absl import logging

from kfac.python.ops.layer_collection import approximations
from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check


def conv2d(context: registration.Context, params: Any, strides: Sequence[int],
           padding: str, inputs: Any, outputs: Any, data_format: str | None,
           dilations: Sequence[int] | None, approx: str | None,
           **sampling: Any) -> registration.Registration:
  """See LayerCollection.register_conv2d."""
  _check(context, params, inputs, outputs, padding, strides, data_format,
         dilations=dilations, outer=True)
  check.check_one_use(inputs, outputs)
  block_type, approx = context.block_type("conv2d", params, approx)
  rates = ("dilation_rate" if approx == approximations.APPROX_KRONECKER_NAME
           else "dilations")
  block = block_type(
      context.layer_collection, params, strides=strides, padding=padding,
      data_format=data_format, **{rates: dilations},
      **_used(sampling, approx))
  return registration.Registration(params, block, (inputs, outputs))


def convolution(context: registration.Context, params: Any, inputs: Any,
                outputs: Any, padding: str, strides: Sequence[int] | None,
                dilation_rate: Sequence[int] | None, data_format: str | None,
                approx: str | None,
                **sampling: Any) -> registration.Registration:
  """See LayerCollection.register_convolution."""
  _check(context, params, inputs, outputs, padding, strides, data_format,
         dilation_rate=dilation_rate)
  check.check_one_use(inputs, outputs)
  block_type, approx = context.block_type("convolution", params, approx)
  block = block_type(
      context.layer_collection, params, padding=padding, strides=strides,
      dilation_rate=dilation_rate, data_format=data_format,
      **_used(sampling, approx))
  return registration.Registration(params, block, (inputs, outputs))


def conv1d(context: registration.Context, params: Any, strides: Sequence[int],
           padding: str, inputs: Any, outputs: Any, dilations: Any,
           approx: str | None, **sampling: Any) -> registration.Registration:
  """See LayerCollection.register_conv1d."""
  for name, values in (("strides", strides), ("dilations", dilations)):
    check.check_strides(name, values, 3, outer_ones=True)
  return convolution(
      context, params, inputs, outputs, padding, _inner(strides),
      _inner(dilations), None, approx, **sampling)


def _used(sampling, approx):
  """Returns the settings that are given and that an approximation has.

  Args:
    sampling: Dict of `sub_sample_inputs`, `sub_sample_patches` and
      `patch_mask`, each possibly None.
    approx: Name of the approximation.
  """
  given = {name: value for name, value in sampling.items() if value is not None}
  if approx == approximations.APPROX_DIAGONAL_NAME:
    ignored = [name for name in given if name != "patch_mask"]
    if any(given[name] for name in ignored):
      logging.warning("%s has no effect with approx 'diagonal'.",
                      " and ".join(ignored))
    given = {name: value for name, value in given.items()
             if name not in ignored}
  return given


def _inner(values):
  """Returns strides or rates without those of batch and channels."""
  return None if values is None else list(values)[1:-1]


def depthwise_conv2d(context: registration.Context, params: Any, inputs: Any,
                     outputs: Any, strides: Sequence[int], padding: str,
                     rate: Sequence[int] | None, data_format: str | None,
                     approx: str | None) -> registration.Registration:
  """See LayerCollection.register_depthwise_conv2d."""
  check.check_strides(
      "strides", () if strides is None else strides, 4, outer_ones=True)
  check.check_one_use(inputs, outputs)
  check.check_graph(context.graph, "params", params)
  if not registration.has_bias(params):  # The block refuses a bias.
    _check(context, params, inputs, outputs, padding, strides[1:-1],
           data_format, rate=rate, depthwise=True)
  block_type, _ = context.block_type("depthwise_conv2d", params, approx)
  block = block_type(context.layer_collection, params, strides, padding,
                     rate=rate, data_format=data_format)
  return registration.Registration(params, block, (inputs, outputs))


def pointwise_of_separable_conv2d(
    context: registration.Context, params: Any, inputs: Any, outputs: Any,
    data_format: str | None, approx: str | None) -> registration.Registration:
  """See LayerCollection.register_separable_conv2d."""
  ones = [1, 1, 1, 1]
  _check(context, params, inputs, outputs, "VALID", ones, data_format,
         outer=True)
  check.check_one_use(inputs, outputs)
  block_type, approx = context.block_type("conv2d", params, approx)
  kwargs = {}
  if approx == approximations.APPROX_KRONECKER_NAME:
    kwargs["extract_patches_fn"] = "extract_pointwise_conv2d_patches"
  block = block_type(
      context.layer_collection, params, strides=ones, padding="VALID",
      data_format=data_format, **kwargs)
  return registration.Registration(params, block, (inputs, outputs))


def conv2d_multi(context: registration.Context, params: Any,
                 strides: Sequence[int], padding: str, inputs: Any,
                 outputs: Any, num_uses: int | None, data_format: str | None,
                 dilations: Sequence[int] | None,
                 approx: str | None) -> registration.Registration:
  """See LayerCollection.register_conv2d_multi."""
  _check(context, params, inputs, outputs, padding, strides, data_format,
         dilations=dilations, outer=True)
  check.check_num_uses(num_uses, inputs, outputs)
  block_type, _ = context.block_type("conv2d_multi", params, approx)
  block = block_type(
      context.layer_collection, params, padding=padding, strides=strides,
      dilation_rate=dilations, data_format=data_format, num_uses=num_uses)
  return registration.Registration(params, block, (inputs, outputs))


def _check(context, params, inputs, outputs, padding, strides, data_format,
           outer=False, depthwise=False, **rates):
  """Checks a convolution.

  Args:
    context: Context.
    params: Filter, or (filter, bias).
    inputs: Tensor, or list over uses.
    outputs: The same.
    padding: "SAME" or "VALID".
    strides: Ints or None.
    data_format: String or None.
    outer: Whether strides and rates include batch and channels.
    depthwise: Whether the last size of the filter is a channel multiplier.
    **rates: Dilations, ints or None, by the name of the argument; at most one.
  """
  ranks = [4] if outer or depthwise else [3, 4, 5]
  shape = registration.check_layer(
      context.graph, params, ranks, inputs, outputs)
  *filter_sizes, in_channels, out_channels = shape
  num_dims = len(filter_sizes)
  for name, values in {"strides": strides, **rates}.items():
    check.check_strides(name, values, num_dims + 2 * outer, outer)
  check.check_data_format(data_format, num_dims)
  if depthwise:
    out_channels *= in_channels
  unknown = (num_dims + 1) * [None]
  check.check_shape("inputs", inputs, unknown + [in_channels])
  check.check_shape("outputs", outputs, unknown + [out_channels])
  check.check_convolution(
      inputs, outputs, filter_sizes, padding,
      *[num_dims * [1] if values is None
        else list(values)[outer:num_dims + outer]
        for values in (strides, next(iter(rates.values()), None))])
