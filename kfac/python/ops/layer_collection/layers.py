"""Registration of layers: each method checks, picks a block and adds a tower.

`params` of a layer with a bias is the pair (weights, bias). `approx` is the
name of an approximation; None means that of linked parameters, else the
default. `reuse` is False for a new layer, True to add another tower to one,
tf.AUTO_REUSE for either, or VARIABLE_SCOPE for what the current variable scope
says. All methods raise ValueError if something does not fit, and KeyError if a
tower is added to a layer that is not registered.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import approximations
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import hints

# Value of `reuse` that stands for what the current variable scope says.
VARIABLE_SCOPE = "VARIABLE_SCOPE"

_ANY_NUMBER_OF_USES = float("inf")

# The same tables by the names that subclasses know; they are passed to
# `_get_block_type`.
_GENERIC_APPROX_TO_BLOCK_TYPES = approximations.APPROXIMATIONS["generic"]
_FULLY_CONNECTED_APPROX_TO_BLOCK_TYPES = approximations.APPROXIMATIONS[
    "fully_connected"]
_CONV2D_APPROX_TO_BLOCK_TYPES = approximations.APPROXIMATIONS["conv2d"]
_CONVOLUTION_APPROX_TO_BLOCK_TYPES = approximations.APPROXIMATIONS[
    "convolution"]
_DEPTHWISE_APPROX_TO_BLOCK_TYPES = approximations.APPROXIMATIONS[
    "depthwise_conv2d"]
_EMBEDDING_APPROX_TO_BLOCK_TYPES = approximations.APPROXIMATIONS["embedding"]
_FULLY_CONNECTED_MULTI_APPROX_TO_BLOCK_TYPES = approximations.APPROXIMATIONS[
    "fully_connected_multi"]
_CONV2D_MULTI_APPROX_TO_BLOCK_TYPES = approximations.APPROXIMATIONS[
    "conv2d_multi"]
_EMBEDDING_MULTI_APPROX_TO_BLOCK_TYPES = approximations.APPROXIMATIONS[
    "embedding_multi"]


def resolve_reuse(reuse: hints.Reuse) -> Any:
  """Returns True, False or tf.AUTO_REUSE.

  Args:
    reuse: One of these, None for False, or VARIABLE_SCOPE.

  Returns:
    What it stands for.

  Raises:
    ValueError: If it is something else.
  """
  if isinstance(reuse, str) and reuse == VARIABLE_SCOPE:
    reuse = tf.get_variable_scope().reuse
  if reuse is None:
    return False
  if reuse not in (True, False, tf.AUTO_REUSE):
    raise ValueError(
        "reuse must be True, False, tf.AUTO_REUSE or VARIABLE_SCOPE, got "
        f"{reuse!r}."
        )
  return reuse


class LayerRegistrations:
  """The layer-registering half of LayerCollection."""

  def register_block(self, layer_key: Any, fisher_block: Any,
                     reuse: hints.Reuse = VARIABLE_SCOPE) -> Any:
    """Keeps a block for a layer, or finds the one there is.

    Args:
      layer_key: Variable, or tuple of variables: the layer's parameters.
      fisher_block: FisherBlock.
      reuse: See above.

    Returns:
      `fisher_block`, or the block of the same type already registered.

    Raises:
      ValueError: If the layer is registered already, in another way or
        without reuse, or shares some of its variables with another.
      KeyError: If `reuse` is True and the layer is not registered.
    """
    known = self._reused_block(layer_key, fisher_block, reuse)
    if known is not None:
      return known
    self.fisher_blocks[layer_key] = fisher_block
    return fisher_block

  def _reused_block(self, layer_key, fisher_block, reuse):
    """Returns the block that is reused for a layer, None for a new layer.

    Args:
      layer_key: As in register_block; the errors are those, too.
      fisher_block: A block like the one wanted.
      reuse: See above.

    Returns:
      FisherBlock or None.
    """
    reuse = resolve_reuse(reuse)
    if reuse and layer_key in self.fisher_blocks:
      known = self.fisher_blocks[layer_key]
      if type(known) is not type(fisher_block):
        raise ValueError(
            "approx of a reused layer must give the block registered first, "
            f"{type(known).__name__}, got {type(fisher_block).__name__}.")
      return known
    if reuse is True:
      raise KeyError(
          f"params must be registered before they are reused, got {layer_key}.")
    if layer_key in self.fisher_blocks:
      raise ValueError(
          f"params must be registered once unless reused, got {layer_key}.")
    self.fisher_blocks.check_key(layer_key)
    return None

  def _register(self, params, block, reuse, num_uses, *tower):
    """Adds a tower to a new block or to the one that is reused.

    Nothing is kept if anything is wrong.

    Args:
      params: Key of the layer.
      block: A new block.
      reuse: See above.
      num_uses: How often the graph of this tower uses the parameters.
      *tower: Arguments of register_additional_tower.

    Returns:
      The block that the tower was added to.
    """
    block.register_additional_tower(*tower)
    registered = self.register_block(params, block, reuse=reuse)
    if registered is not block:
      registered.register_additional_tower(*tower)
    self._add_uses(params, num_uses)
    return registered

  def _get_block_type(self, params, approx, default, approx_to_type):
    """Picks the block for some parameters.

    Args:
      params: Key of the layer.
      approx: Name of an approximation, or None.
      default: The one used if nothing else is said.
      approx_to_type: Table from names to blocks.

    Returns:
      Class (or function that makes a block), and name of the approximation.
    """
    if approx is None:
      approx = self._get_linked_approx(params) or default
    if approx not in approx_to_type:
      raise ValueError(
          f"approx must be one of {sorted(approx_to_type)}, got {approx!r}.")
    return approx_to_type[approx], approx

  def _check_layer(self, params, weights_ranks, inputs, outputs,
                   input_dtype=None):
    """Checks graph and dtype of a layer, and the shape of its parameters.

    Args:
      params: Weights, or pair of weights and bias.
      weights_ranks: Ranks that the weights may have.
      inputs: Tensor, or list over uses.
      outputs: The same.
      input_dtype: What the inputs are if not of the dtype of the weights.

    Returns:
      The weights' shape, a list of ints.
    """
    for name, value in (("params", params), ("inputs", inputs),
                        ("outputs", outputs)):
      check.check_graph(self._graph, name, value)
    weights, *bias = params if isinstance(params, (list, tuple)) else [params]
    if len(bias) > 1:
      raise ValueError(
          f"params must be weights or (weights, bias), got {1 + len(bias)} of "
                       "them.")
    check.check_rank("params", weights, weights_ranks)
    check.check_dtype("params", weights, "floating")
    dtype = weights.dtype.base_dtype
    check.check_dtype("inputs", inputs, input_dtype or dtype)
    check.check_dtype("outputs", outputs, dtype)
    check.check_same_examples(inputs, outputs)
    if bias:
      check.check_shape("bias", bias, [weights.shape.as_list()[-1]])
    return weights.shape.as_list()

  def register_generic(self, params: hints.Vector, batch_size: hints.Scalar,
                       approx: str | None = None,
                       reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers parameters whose use is not known, or not supported.

    Args:
      params: Variable, or tuple of variables.
      batch_size: Number of examples of this tower, int or scalar tensor.
      approx: "diagonal" (default) or "full".
      reuse: See above.
    """
    check.check_graph(self._graph, "params", params)
    if isinstance(params, (list, tuple)) and not params:
      raise ValueError(f"params must be at least one variable, got {params!r}.")
    check.check_dtype("params", params, "floating")
    batch_size = tf.compat.dimension_value(batch_size)
    check.check_batch_size(batch_size)
    block_type, _ = self._get_block_type(
        params, approx, self.default_generic_approximation,
        _GENERIC_APPROX_TO_BLOCK_TYPES)
    self._register(params, block_type(self, params), reuse,
                   _ANY_NUMBER_OF_USES, batch_size)

  def register_fully_connected(self, params: hints.Vector,
                               inputs: hints.TensorLike,
                               outputs: hints.TensorLike,
                               approx: str | None = None,
                               reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers a dense layer, outputs = inputs W + b.

    Args:
      params: W [in, out], or (W, b) with b [out].
      inputs: Tensor [batch, in].
      outputs: Tensor [batch, out], before any nonlinearity.
      approx: "kron" (default) or "diagonal".
      reuse: See above.
    """
    self._check_dense(params, inputs, outputs)
    check.check_one_use(inputs, outputs)
    block_type, _ = self._get_block_type(
        params, approx, self.default_fully_connected_approximation,
        _FULLY_CONNECTED_APPROX_TO_BLOCK_TYPES)
    self._register(params, block_type(self, has_bias=has_bias(params)), reuse,
                   1, inputs, outputs)

  def _check_dense(self, params, inputs, outputs):
    num_in, num_out = self._check_layer(params, [2], inputs, outputs)
    check.check_shape("inputs", inputs, [None, num_in])
    check.check_shape("outputs", outputs, [None, num_out])

  def register_fully_connected_multi(
      self, params: hints.Vector, inputs: hints.OneOrMore,
      outputs: hints.OneOrMore, num_uses: int | None = None,
      approx: str | None = None, reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers a dense layer that is used several times, e.g. over time.

    Args:
      params: W [in, out], or (W, b) with b [out].
      inputs: List over uses of tensors [batch, in]; or one tensor
        [uses * batch, in], all of the first use before all of the second.
      outputs: The same, [.., out].
      num_uses: Number of uses, needed with one tensor.
      approx: "kron_indep" (default), "kron_series_1" or "kron_series_2".
      reuse: See above.
    """
    self._check_dense(params, inputs, outputs)
    block_type, _ = self._get_block_type(
        params, approx, self.default_fully_connected_multi_approximation,
        _FULLY_CONNECTED_MULTI_APPROX_TO_BLOCK_TYPES)
    block = block_type(self, has_bias=has_bias(params), num_uses=num_uses)
    self._register(params, block, reuse, graph_uses(inputs), inputs, outputs)


def has_bias(params: hints.Vector) -> bool:
  """Whether parameters are a pair of weights and bias."""
  return isinstance(params, (list, tuple))


def graph_uses(inputs: hints.OneOrMore) -> int:
  """Returns how often one tower's graph uses a layer: a tensor is one use."""
  return len(inputs) if isinstance(inputs, (list, tuple)) else 1
