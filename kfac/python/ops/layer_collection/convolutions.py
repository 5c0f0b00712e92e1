"""Registration of convolutions, all with the channels last."""

from __future__ import annotations

from collections.abc import Sequence

from kfac.python.ops.layer_collection import approximations
from kfac.python.ops.layer_collection import layers
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import hints


class ConvolutionRegistrations(layers.LayerRegistrations):
  """Convolutions; see layers.py for `approx` and `reuse`."""

  def register_conv2d(self, params: hints.Vector, strides: Sequence[int],
                      padding: str, inputs: hints.TensorLike,
                      outputs: hints.TensorLike, data_format: str | None = None,
                      dilations: Sequence[int] | None = None,
                      approx: str | None = None,
                      reuse: hints.Reuse = layers.VARIABLE_SCOPE) -> None:
    """Registers a two-dimensional convolution.

    Args:
      params: Filter [h, w, in_channels, out_channels], or (filter, bias).
      strides: Four ints, the first and last of them 1.
      padding: "SAME" or "VALID".
      inputs: Tensor [batch, h, w, in_channels].
      outputs: Tensor [batch, h, w, out_channels], before any nonlinearity.
      data_format: "NHWC" or None.
      dilations: Four ints, the first and last of them 1; or None.
      approx: "kron" (default) or "diagonal".
      reuse: See layers.py.
    """
    self._check_conv(params, inputs, outputs, padding, strides, dilations,
                     outer=True)
    check.check_one_use(inputs, outputs)
    block_type, approx = self._get_block_type(
        params, approx, self.default_conv2d_approximation,
        layers._CONV2D_APPROX_TO_BLOCK_TYPES)
    kwargs = dict(strides=strides, padding=padding, data_format=data_format)
    if approx == approximations.APPROX_KRONECKER_NAME:
      kwargs.update(dilation_rate=dilations)
    else:
      kwargs.update(dilations=dilations)
    self._register(params, block_type(self, params, **kwargs), reuse, 1,
                   inputs, outputs)

  def _check_conv(self, params, inputs, outputs, padding, strides, rates,
                  outer=False, depthwise=False):
    """Checks a convolution.

    Args:
      params: Filter, or (filter, bias).
      inputs: Tensor, or list over uses.
      outputs: The same.
      padding: "SAME" or "VALID".
      strides: Ints or None.
      rates: Ints or None.
      outer: Whether strides and rates include batch and channels.
      depthwise: Whether the filter's last size is a channel multiplier.
    """
    ranks = [4] if outer or depthwise else [3, 4, 5]
    shape = self._check_layer(params, ranks, inputs, outputs)
    *filter_sizes, in_channels, out_channels = shape
    num_dims = len(filter_sizes)
    for name, values in (("strides", strides), ("dilation", rates)):
      check.check_strides(name, values, num_dims + 2 * outer, outer)
    if depthwise:
      out_channels *= in_channels
    unknown = (num_dims + 1) * [None]
    check.check_shape("inputs", inputs, unknown + [in_channels])
    check.check_shape("outputs", outputs, unknown + [out_channels])
    check.check_convolution(
        inputs, outputs, filter_sizes, padding,
        *[num_dims * [1] if values is None
          else list(values)[outer:num_dims + outer]
          for values in (strides, rates)])

  def register_convolution(self, params: hints.Vector, inputs: hints.TensorLike,
                           outputs: hints.TensorLike, padding: str,
                           strides: Sequence[int] | None = None,
                           dilation_rate: Sequence[int] | None = None,
                           data_format: str | None = None,
                           approx: str | None = None,
                           reuse: hints.Reuse = layers.VARIABLE_SCOPE) -> None:
    """Registers a convolution in one, two or three spatial dimensions.

    Args:
      params: Filter [spatial..., in_channels, out_channels], or (filter,
        bias).
      inputs: Tensor [batch, spatial..., in_channels].
      outputs: Tensor [batch, spatial..., out_channels], before any
        nonlinearity.
      padding: "SAME" or "VALID".
      strides: Ints, one for each spatial dimension; None means 1.
      dilation_rate: The same.
      data_format: One with the channels last, or None.
      approx: "kron" (default).
      reuse: See layers.py.
    """
    self._check_conv(params, inputs, outputs, padding, strides, dilation_rate)
    check.check_one_use(inputs, outputs)
    block_type, _ = self._get_block_type(
        params, approx, approximations.DEFAULTS["convolution"],
        layers._CONVOLUTION_APPROX_TO_BLOCK_TYPES)
    block = block_type(
        self, params, padding=padding, strides=strides,
        dilation_rate=dilation_rate, data_format=data_format)
    self._register(params, block, reuse, 1, inputs, outputs)

  def register_depthwise_conv2d(
      self, params: hints.TensorLike, inputs: hints.TensorLike,
      outputs: hints.TensorLike, strides: Sequence[int], padding: str,
      rate: Sequence[int] | None = None, data_format: str | None = None,
      approx: str | None = None,
      reuse: hints.Reuse = layers.VARIABLE_SCOPE) -> None:
    """Registers a depthwise convolution, without a bias.

    Args:
      params: Filter [h, w, in_channels, multiplier].
      inputs: Tensor [batch, h, w, in_channels].
      outputs: Tensor [batch, h, w, in_channels * multiplier].
      strides: Four ints, the first and last of them 1.
      padding: "SAME" or "VALID".
      rate: Two ints, or None.
      data_format: "NHWC" or None.
      approx: "diagonal" (default) or "kron".
      reuse: See layers.py.
    """
    check.check_strides("strides", strides or (), 4, outer_ones=True)
    check.check_one_use(inputs, outputs)
    if not layers.has_bias(params):
      self._check_conv(params, inputs, outputs, padding, strides[1:-1], rate,
                       depthwise=True)
    block_type, _ = self._get_block_type(
        params, approx, approximations.DEFAULTS["depthwise_conv2d"],
        layers._DEPTHWISE_APPROX_TO_BLOCK_TYPES)
    block = block_type(self, params, strides, padding, rate=rate,
                       data_format=data_format)
    self._register(params, block, reuse, 1, inputs, outputs)

  def register_separable_conv2d(
      self, depthwise_params: hints.TensorLike, pointwise_params: hints.Vector,
      inputs: hints.TensorLike, depthwise_outputs: hints.TensorLike,
      pointwise_outputs: hints.TensorLike, strides: Sequence[int], padding: str,
      rate: Sequence[int] | None = None, data_format: str | None = None,
      approx: str | None = None,
      reuse: hints.Reuse = layers.VARIABLE_SCOPE) -> None:
    """Registers a depthwise convolution and the 1x1 convolution after it.

    Args:
      depthwise_params: Filter [h, w, in_channels, multiplier].
      pointwise_params: Filter [1, 1, in_channels * multiplier, out_channels],
        or (filter, bias).
      inputs: Tensor [batch, h, w, in_channels].
      depthwise_outputs: Tensor [batch, h, w, in_channels * multiplier].
      pointwise_outputs: Tensor [batch, h, w, out_channels], before any
        nonlinearity.
      strides: Four ints, the first and last of them 1.
      padding: "SAME" or "VALID".
      rate: Two ints, or None.
      data_format: "NHWC" or None.
      approx: Of the 1x1 part: "kron" (default) or "diagonal".
      reuse: See layers.py.
    """
    # Both are checked before the first is kept.
    ones = [1, 1, 1, 1]
    self._check_conv(pointwise_params, depthwise_outputs, pointwise_outputs,
                     "VALID", ones, None, outer=True)
    check.check_one_use(depthwise_outputs, pointwise_outputs)
    block_type, approx = self._get_block_type(
        pointwise_params, approx, self.default_conv2d_approximation,
        layers._CONV2D_APPROX_TO_BLOCK_TYPES)
    kwargs = dict(strides=ones, padding="VALID", data_format=data_format)
    if approx == approximations.APPROX_KRONECKER_NAME:
      kwargs.update(extract_patches_fn="extract_pointwise_conv2d_patches")
    pointwise = block_type(self, pointwise_params, **kwargs)
    self._reused_block(pointwise_params, pointwise, reuse)
    self.register_depthwise_conv2d(
        depthwise_params, inputs, depthwise_outputs, strides, padding,
        rate=rate, data_format=data_format, reuse=reuse)
    self._register(pointwise_params, pointwise, reuse, 1, depthwise_outputs,
                   pointwise_outputs)

  def register_conv2d_multi(self, params: hints.Vector, strides: Sequence[int],
                            padding: str, inputs: hints.OneOrMore,
                            outputs: hints.OneOrMore,
                            num_uses: int | None = None,
                            data_format: str | None = None,
                            dilations: Sequence[int] | None = None,
                            approx: str | None = None,
                            reuse: hints.Reuse = layers.VARIABLE_SCOPE) -> None:
    """Registers a two-dimensional convolution that is used several times.

    Args:
      params: Filter [h, w, in_channels, out_channels], or (filter, bias).
      strides: Four ints, the first and last of them 1.
      padding: "SAME" or "VALID".
      inputs: List over uses of tensors [batch, h, w, in_channels]; or one
        tensor [uses * batch, ..], all of the first use before all of the
        second.
      outputs: The same, [.., out_channels].
      num_uses: Number of uses, needed with one tensor.
      data_format: "NHWC" or None.
      dilations: Four ints, the first and last of them 1; or None.
      approx: "kron_indep" (default).
      reuse: See layers.py.
    """
    self._check_conv(params, inputs, outputs, padding, strides, dilations,
                     outer=True)
    block_type, _ = self._get_block_type(
        params, approx, self.default_conv2d_multi_approximation,
        layers._CONV2D_MULTI_APPROX_TO_BLOCK_TYPES)
    block = block_type(
        self, params, padding=padding, strides=strides,
        dilation_rate=dilations, data_format=data_format, num_uses=num_uses)
    self._register(params, block, reuse, layers.graph_uses(inputs), inputs,
                   outputs)
