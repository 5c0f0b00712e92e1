"""LayerCollection: what the optimizer needs to know of a model.

A registration reads: LayerCollection.register_conv2d -> convolutions.conv2d,
which checks the arguments and makes the block -> LayerCollection._register,
which keeps it.
"""

from __future__ import annotations

import collections
import contextlib
import math
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_blocks import views
from kfac.python.ops.layer_collection import approximations
from kfac.python.ops.layer_collection import automatic
from kfac.python.ops.layer_collection import calls
from kfac.python.ops.layer_collection import convolutions
from kfac.python.ops.layer_collection import default_collection
from kfac.python.ops.layer_collection import dense
from kfac.python.ops.layer_collection import embeddings
from kfac.python.ops.layer_collection import generic
from kfac.python.ops.layer_collection import gradient_check
from kfac.python.ops.layer_collection import loss_collection
from kfac.python.ops.layer_collection import losses
from kfac.python.ops.layer_collection import parameters
from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import report
from kfac.python.ops.layer_collection import scale_and_shift
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import hints

VARIABLE_SCOPE = registration.VARIABLE_SCOPE


@calls.recorded
class LayerCollection(loss_collection.LossCollection):
  """Layers and losses of a model, and the blocks and factors made for them.

  The methods `register_*` share four arguments. `params` of a layer with a bias
  is the pair (weights, bias). `approx` is the name of an approximation; None
  means that of linked parameters, otherwise the default. `reuse` is False for a
  new layer, True to add another tower to a registered one, tf.AUTO_REUSE for
  either, or VARIABLE_SCOPE for the setting of the current variable scope. They
  raise ValueError if arguments do not fit, and KeyError if a tower is added to
  a layer that is not registered.

  Attributes:
    fisher_blocks: LayerParametersDict from the parameters of a layer to its
      FisherBlock.
    fisher_factors: Dict from (class, arguments) to FisherFactor.
  """

  def __init__(self, graph: tf.Graph | None = None,
               name: str = "LayerCollection", *,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Makes an empty collection.

    Args:
      graph: The graph of the model. If None, the collection adopts the graph of
        the first registration.
      name: Name, made unique in the graph.
      colocate_cov_ops_with_inputs: An argument of TensorFlow 1.5, without
        effect; see the constant of fisher_factors of this name.
    """
    del colocate_cov_ops_with_inputs
    self.fisher_blocks = parameters.LayerParametersDict()
    self.fisher_factors: dict[tuple[type, Any], Any] = collections.OrderedDict()
    self._linked_parameters: dict[frozenset, str | None] = {}
    self._vars_to_uses: dict[Any, float] = collections.OrderedDict()
    self._subgraph: utils.SubGraph | None = None
    self._defaults = dict(approximations.DEFAULTS)
    super().__init__(graph, name)

  # The name in TensorFlow 1.4.
  reset_internals = __init__

  default_embedding_approximation = approximations.default_property("embedding")
  set_default_embedding_approximation = approximations.default_setter(
      "embedding")
  default_generic_approximation = approximations.default_property("generic")
  set_default_generic_approximation = approximations.default_setter("generic")
  default_fully_connected_approximation = approximations.default_property(
      "fully_connected")
  set_default_fully_connected_approximation = approximations.default_setter(
      "fully_connected")
  default_conv2d_approximation = approximations.default_property("conv2d")
  set_default_conv2d_approximation = approximations.default_setter("conv2d")
  default_fully_connected_multi_approximation = (
      approximations.default_property("fully_connected_multi"))
  set_default_fully_connected_multi_approximation = (
      approximations.default_setter("fully_connected_multi"))
  default_conv2d_multi_approximation = approximations.default_property(
      "conv2d_multi")
  set_default_conv2d_multi_approximation = approximations.default_setter(
      "conv2d_multi")
  default_scale_and_shift_approximation = approximations.default_property(
      "scale_and_shift")
  set_default_scale_and_shift_approximation = approximations.default_setter(
      "scale_and_shift")
  default_embedding_multi_approximation = approximations.default_property(
      "embedding_multi")

  @property
  def subgraph(self) -> utils.SubGraph | None:
    """SubGraph that the losses depend on; None before create_subgraph."""
    return self._subgraph

  @property
  def registered_variables(self) -> tuple:
    """Tuple of all variables of registered layers."""
    return tuple(variable for key in self.fisher_blocks
                 for variable in utils.ensure_sequence(key))

  @property
  def generic_registrations(self) -> set:
    """Variables that may be used any number of times (1.4)."""
    return {variable for variable, uses in self.get_use_count_map().items()
            if math.isinf(uses)}

  @property
  def linked_parameters(self) -> dict:
    """Dict from frozensets of variables to an approximation or None."""
    return self._linked_parameters

  def define_linked_parameters(self, params: hints.Vector,
                               approximation: str | None = None) -> None:
    """Declares that variables belong to one layer, and their approximation.

    Args:
      params: Variable, or list of variables, also of Keras.
      approximation: Name of the approximation that is used if the registration
        names none; None for the default.

    Raises:
      ValueError: If one of them is linked or registered already, or if there
        is no such approximation.
    """
    group = frozenset(parameters.plain_variable(variable)
                      for variable in utils.ensure_sequence(params))
    taken = set(self.registered_variables).union(*self._linked_parameters)
    for variable in group & taken:
      raise ValueError(
          "params must not be linked or registered already, got "
          f"{variable.name}.")
    approximations.check_any_kind(approximation)
    self._linked_parameters[group] = approximation

  def _get_linked_approx(self, params):
    return self._linked_parameters.get(
        frozenset(utils.ensure_sequence(params)))

  def _add_uses(self, params, uses):
    for variable in utils.ensure_sequence(params):
      self._vars_to_uses[variable] = (
          self._vars_to_uses.get(variable, 0) + uses)

  def get_use_count_map(self) -> dict:
    """Returns a dict from variables to the number of registered uses.

    Blocks count the uses, unless a subclass calls `_add_uses`.
    """
    uses = {variable: block.num_graph_uses
            for params, block in self.fisher_blocks.items()
            for variable in utils.ensure_sequence(params)}
    return {**uses, **self._vars_to_uses}

  def _context(self, params: Any) -> registration.Context:
    return registration.Context(
        self, self._adopt_graph_of(params), self._get_block_type,
        self._default_approximation)

  def _default_approximation(self, kind: str) -> str:
    """Returns the default of a kind; its property may be overridden."""
    return getattr(self, f"default_{kind}_approximation", self._defaults[kind])

  def _get_block_type(self, params, approx, default, approx_to_type):
    """Picks the block of a layer.

    Args:
      params: Key of the layer.
      approx: Name of an approximation, or None.
      default: The name that None stands for, unless parameters are linked.
      approx_to_type: Table from names to blocks.

    Returns:
      Class (or function that makes a block), and name of the approximation.
    """
    if approx is None:
      approx = self._get_linked_approx(params) or default
    return registration.pick_block_type(approx, approx_to_type), approx

  def _register(self, layer: registration.Registration,
                reuse: hints.Reuse) -> None:
    """Adds a tower to a new block or to the one that is reused.

    Nothing is kept if anything is wrong.

    Args:
      layer: The registration.
      reuse: See the class.
    """
    layer.block.register_additional_tower(*layer.tower)
    kept = self.register_block(layer.params, layer.block, reuse=reuse)
    if kept is not layer.block:
      kept.register_additional_tower(*layer.tower)

  def register_block(self, layer_key: Any, fisher_block: Any,
                     reuse: hints.Reuse = VARIABLE_SCOPE) -> Any:
    """Keeps the block of a layer, or finds the registered one.

    Args:
      layer_key: Variable, or tuple of variables: the parameters of the layer.
      fisher_block: FisherBlock.
      reuse: See the class.

    Returns:
      `fisher_block`, or the registered block of the same type.

    Raises:
      ValueError: If the layer is registered already, in another way or
        without reuse, or shares some of its variables with another layer.
      KeyError: If `reuse` is True and the layer is not registered.
    """
    known = self._reused_block(layer_key, fisher_block, reuse)
    if known is not None:
      return known
    self.fisher_blocks[layer_key] = fisher_block
    return fisher_block

  def _reused_block(self, layer_key, fisher_block, reuse):
    return registration.reused_block(
        self.fisher_blocks, layer_key, fisher_block, reuse)

  def register_generic(self, params: hints.Vector, batch_size: hints.Scalar,
                       approx: str | None = None,
                       reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers parameters whose use is unknown, or not supported.

    Args:
      params: Variable, or tuple of variables.
      batch_size: Number of examples of this tower, int or scalar tensor.
      approx: "diagonal" (default) or "full".
      reuse: See the class.
    """
    self._register(
        generic.generic(self._context(params), params, batch_size, approx),
        reuse)

  def register_fully_connected(self, params: hints.Vector,
                               inputs: hints.TensorLike,
                               outputs: hints.TensorLike,
                               approx: str | None = None,
                               reuse: hints.Reuse = VARIABLE_SCOPE, *,
                               dense_inputs: bool = True,
                               view: views.View | None = None,
                               batch_size: hints.Scalar | None = None) -> None:
    """Registers a dense layer, outputs = inputs W + b.

    Args:
      params: W [in, out], or (W, b) with b [out].
      inputs: Tensor [batch, in]; or [batch, positions.., in] if W is applied at
        several positions.
      outputs: Tensor [batch, (positions..,) out], before any nonlinearity.
      approx: "kron" (default) or "diagonal".
      reuse: See the class.
      dense_inputs: False if the inputs are ids, see register_embedding.
      view: How W, inputs and outputs are read as matrices if they are stored
        in another way.
      batch_size: Number of examples, int or scalar tensor, if the first axis
        of inputs and outputs holds examples and positions.
    """
    if not dense_inputs:
      self.register_embedding(params, inputs, outputs, approx, reuse)
      return
    self._register(dense.fully_connected(
        self._context(params), params, inputs, outputs, approx, view,
        batch_size), reuse)

  def register_fully_connected_multi(
      self, params: hints.Vector, inputs: hints.OneOrMore,
      outputs: hints.OneOrMore, num_uses: int | None = None,
      approx: str | None = None, reuse: hints.Reuse = VARIABLE_SCOPE, *,
      dense_inputs: bool = True, view: views.View | None = None,
      batch_size: hints.Scalar | None = None) -> None:
    """Registers a dense layer that is used several times, e.g. over time.

    Args:
      params: W [in, out], or (W, b) with b [out].
      inputs: List over uses of tensors [batch, in]; or one tensor
        [uses * batch, in], all examples of the first use first.
      outputs: The same, [.., out].
      num_uses: Number of uses, required with one tensor.
      approx: "kron_indep" (default), "kron_series_1" or "kron_series_2".
      reuse: See the class.
      dense_inputs: As in register_fully_connected.
      view: The same.
      batch_size: The same.
    """
    if not dense_inputs:
      self.register_embedding_multi(
          params, inputs, outputs, num_uses, approx, reuse)
      return
    self._register(dense.fully_connected_multi(
        self._context(params), params, inputs, outputs, num_uses, approx, view,
        batch_size), reuse)

  def register_conv2d(self, params: hints.Vector, strides: Sequence[int],
                      padding: str, inputs: hints.TensorLike,
                      outputs: hints.TensorLike, data_format: str | None = None,
                      dilations: Sequence[int] | None = None,
                      approx: str | None = None,
                      reuse: hints.Reuse = VARIABLE_SCOPE,
                      sub_sample_inputs: bool | None = None,
                      sub_sample_patches: bool | None = None,
                      patch_mask: Any = None) -> None:
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
      reuse: See the class.
      sub_sample_inputs: See ConvInputKroneckerFactor.
      sub_sample_patches: The same.
      patch_mask: The same.
    """
    self._register(convolutions.conv2d(
        self._context(params), params, strides, padding, inputs, outputs,
        data_format, dilations, approx, sub_sample_inputs=sub_sample_inputs,
        sub_sample_patches=sub_sample_patches, patch_mask=patch_mask), reuse)

  def register_convolution(self, params: hints.Vector, inputs: hints.TensorLike,
                           outputs: hints.TensorLike, padding: str,
                           strides: Sequence[int] | None = None,
                           dilation_rate: Sequence[int] | None = None,
                           data_format: str | None = None,
                           approx: str | None = None,
                           reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
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
      reuse: See the class.
    """
    self._register(convolutions.convolution(
        self._context(params), params, inputs, outputs, padding, strides,
        dilation_rate, data_format, approx), reuse)

  def register_depthwise_conv2d(
      self, params: hints.TensorLike, inputs: hints.TensorLike,
      outputs: hints.TensorLike, strides: Sequence[int], padding: str,
      rate: Sequence[int] | None = None, data_format: str | None = None,
      approx: str | None = None, reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
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
      reuse: See the class.
    """
    self._register(convolutions.depthwise_conv2d(
        self._context(params), params, inputs, outputs, strides, padding, rate,
        data_format, approx), reuse)

  def register_conv1d(self, params: hints.Vector, strides: Sequence[int],
                      padding: str, inputs: hints.TensorLike,
                      outputs: hints.TensorLike, dilations: Any = None,
                      approx: str | None = None,
                      reuse: hints.Reuse = VARIABLE_SCOPE,
                      sub_sample_inputs: bool | None = None,
                      sub_sample_patches: bool | None = None) -> None:
    """Registers a one-dimensional convolution.

    Args:
      params: Filter [width, in_channels, out_channels], or (filter, bias).
      strides: Three ints, the first and last of them 1.
      padding: "SAME" or "VALID".
      inputs: Tensor [batch, width, in_channels].
      outputs: Tensor [batch, width, out_channels], before any nonlinearity.
      dilations: Three ints, the first and last of them 1; or None.
      approx: "kron" (default).
      reuse: See the class.
      sub_sample_inputs: See ConvInputKroneckerFactor.
      sub_sample_patches: The same.
    """
    self._register(convolutions.conv1d(
        self._context(params), params, strides, padding, inputs, outputs,
        dilations, approx, sub_sample_inputs=sub_sample_inputs,
        sub_sample_patches=sub_sample_patches), reuse)

  def register_scale_and_shift(self, params: hints.Vector,
                               inputs: hints.OneOrMore | None,
                               outputs: hints.OneOrMore,
                               approx: str | None = None,
                               reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers outputs = scale * inputs + shift, both broadcast.

    Args:
      params: scale, or (scale, shift); or the shift if `inputs` is None.
      inputs: Tensor [batch, ...], or list over uses; None for a shift alone.
      outputs: Tensor [batch, ...], or list over uses.
      approx: "full" (default) or "diagonal", from exact gradients per example.
      reuse: See the class.
    """
    self._register(scale_and_shift.scale_and_shift(
        self._context(params), params, inputs, outputs, approx,
        has_scale=inputs is not None), reuse)

  def register_separable_conv2d(
      self, depthwise_params: hints.TensorLike, pointwise_params: hints.Vector,
      inputs: hints.TensorLike, depthwise_outputs: hints.TensorLike,
      pointwise_outputs: hints.TensorLike, strides: Sequence[int], padding: str,
      rate: Sequence[int] | None = None, data_format: str | None = None,
      approx: str | None = None, reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
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
      reuse: See the class.
    """
    pointwise = convolutions.pointwise_of_separable_conv2d(
        self._context(pointwise_params), pointwise_params, depthwise_outputs,
        pointwise_outputs, data_format, approx)
    # Both parts are checked before the first is kept.
    self._reused_block(pointwise.params, pointwise.block, reuse)
    self.register_depthwise_conv2d(
        depthwise_params, inputs, depthwise_outputs, strides, padding,
        rate=rate, data_format=data_format, reuse=reuse)
    self._register(pointwise, reuse)

  def register_conv2d_multi(self, params: hints.Vector, strides: Sequence[int],
                            padding: str, inputs: hints.OneOrMore,
                            outputs: hints.OneOrMore,
                            num_uses: int | None = None,
                            data_format: str | None = None,
                            dilations: Sequence[int] | None = None,
                            approx: str | None = None,
                            reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers a two-dimensional convolution that is used several times.

    Args:
      params: Filter [h, w, in_channels, out_channels], or (filter, bias).
      strides: Four ints, the first and last of them 1.
      padding: "SAME" or "VALID".
      inputs: List over uses of tensors [batch, h, w, in_channels]; or one
        tensor [uses * batch, ..], all examples of the first use first.
      outputs: The same, [.., out_channels].
      num_uses: Number of uses, required with one tensor.
      data_format: "NHWC" or None.
      dilations: Four ints, the first and last of them 1; or None.
      approx: "kron_indep" (default).
      reuse: See the class.
    """
    self._register(convolutions.conv2d_multi(
        self._context(params), params, strides, padding, inputs, outputs,
        num_uses,
        data_format, dilations, approx), reuse)

  def register_embedding(self, params: hints.Vector, inputs: hints.TensorLike,
                         outputs: hints.TensorLike, approx: str | None = None,
                         reuse: hints.Reuse = VARIABLE_SCOPE, *,
                         partition_strategy: str = "mod",
                         batch_size: hints.Scalar | None = None) -> None:
    """Registers an embedding layer: outputs are sums of rows of W.

    Args:
      params: W [vocab_size, dim]; or a partitioned variable, or the list of
        its parts.
      inputs: Integer tensor [batch], or [batch, ids per example].
      outputs: Tensor [batch, dim], the sum of an example's rows; or [batch,
        ids per example, dim], a row for each id.
      approx: "kron" (default).
      reuse: See the class.
      partition_strategy: The argument of tf.nn.embedding_lookup: "mod" or
        "div". It has no effect unless there are several parts.
      batch_size: As in register_fully_connected.
    """
    self._register(embeddings.embedding(
        self._context(params), params, inputs, outputs, approx,
        partition_strategy, batch_size), reuse)

  def register_embedding_multi(self, params: hints.Vector,
                               inputs: hints.OneOrMore,
                               outputs: hints.OneOrMore,
                               num_uses: int | None = None,
                               approx: str | None = None,
                               reuse: hints.Reuse = VARIABLE_SCOPE, *,
                               partition_strategy: str = "mod",
                               batch_size: hints.Scalar | None = None) -> None:
    """Registers an embedding layer that is used several times.

    Args:
      params: As in register_embedding.
      inputs: List over uses of integer tensors [batch] or [batch, ids per
        example]; or one tensor [uses * batch, ..], all examples of the first
        use first.
      outputs: The same, [.., dim].
      num_uses: Number of uses, required with one tensor.
      approx: "kron_indep" (default).
      reuse: See the class.
      partition_strategy: As in register_embedding.
      batch_size: As in register_fully_connected.
    """
    self._register(embeddings.embedding_multi(
        self._context(params), params, inputs, outputs, num_uses, approx,
        partition_strategy, batch_size), reuse)

  def auto_register_layers(self, var_list: hints.Vector | None = None,
                           batch_size: hints.Scalar | None = None,
                           unknown: str = "generic") -> report.Report:
    """Registers the layers of all variables that are not registered yet.

    The losses must be registered. The ops that use a variable inside their data
    flow determine its layer; nothing is guessed.

    Args:
      var_list: Variable, or list of variables, also of Keras; None for the
        trainable variables of the graph that the losses depend on.
      batch_size: Number of examples of a tower, int or scalar tensor. A first
        axis that is a multiple of it holds examples and positions. If None, it
        is that of the losses.
      unknown: What happens to a variable without a known layer: "generic"
        registers it by its gradient alone and warns, "raise" raises.

    Returns:
      Report of the layers; its str() is a table.

    Raises:
      ValueError: If there is no loss, an argument does not fit, or no loss
        depends on a variable of `var_list`.
      AmbiguousRegistrationError: If unknown is "raise" and a layer is unknown;
        it names all of them.
    """
    return automatic.auto_register_layers(self, var_list, batch_size, unknown)

  def gradient_check(self, loss: tf.Tensor | None = None) -> dict:
    """Compares registered inputs and outputs with the gradient of the losses.

    Args:
      loss: Scalar tensor; None for the registered losses on sampled targets.

    Returns:
      Dict from the name of a layer to a float32 tensor [], the largest relative
      distance between the gradient with respect to one of its parameters and
      what inputs and outputs say: below 1e-4 for a correct registration in
      float32, far above for a use that is swapped, doubled or missing. Generic
      layers have no inputs and are not in it.

    Raises:
      ValueError: If no loss is registered, or `loss` is no scalar tensor.
    """
    return gradient_check.gradient_check(self, loss)

  def check_registration(self, variables: Sequence[Any]) -> None:
    """Checks that exactly these variables are registered, with all their uses.

    Args:
      variables: List of variables.

    Raises:
      ValueError: If not; it lists all mismatches.
    """
    assert self._subgraph is not None, "create_subgraph was not called."
    check.check_registration(variables, self.registered_variables,
                             self.get_use_count_map(), self._subgraph)
    check.check_outputs(self.fisher_blocks, self._subgraph)

  def get_blocks(self) -> tuple:
    """Returns the blocks, in the order of registration."""
    return tuple(self.fisher_blocks.values())

  def get_factors(self) -> tuple:
    """Returns the factors, in the order of their creation."""
    return tuple(self.fisher_factors.values())

  def create_subgraph(self) -> None:
    """Finds the subgraph that the losses depend on.

    Raises:
      ValueError: If no loss is registered.
    """
    if not self.losses:
      raise ValueError("at least one loss must be registered, got none.")
    self._subgraph = utils.SubGraph(
        [tensor for loss in self.losses for tensor in tf.nest.flatten(
            loss.inputs)])
    losses.check_fixed_variances(self.losses, self.registered_variables)

  def finalize(self) -> None:
    """Ends the registration; the estimator does not need it (0.2.4).

    Raises:
      ValueError: If no loss is registered, or at a second call. Registrations
        raise it afterwards.
    """
    if self._is_final:
      raise ValueError("finalize must be called once.")
    self.create_subgraph()
    self._is_final = True

  def make_or_get_factor(self, cls: type, args: Any,
                         name: str | None = None) -> Any:
    """Makes a factor, or returns the one with the same arguments.

    Args:
      cls: Class of the factor.
      args: Tuple of hashable arguments of its constructor.
      name: Name of a new factor, e.g. "dense_kernel/A"; without one, the
        estimator names the factor after the layer of the block that made it.

    Returns:
      FisherFactor.

    Raises:
      TypeError: If the arguments are not hashable.
    """
    return registration.make_or_get_factor(
        self.fisher_factors, self._var_scope, cls, args, name)

  def as_default(self) -> contextlib.AbstractContextManager[LayerCollection]:
    """Returns a context in which this is the default LayerCollection."""
    return default_collection.as_default(self)
