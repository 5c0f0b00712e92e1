"""What a layer's registration consists of, and how its block is picked.

The functions of dense.py, convolutions.py and embeddings.py check the arguments
of LayerCollection's methods and return a Registration, which the collection
keeps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import approximations
from kfac.python.ops.layer_collection import parameters
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

# The value of `reuse` that stands for that of the current variable scope.
VARIABLE_SCOPE = "VARIABLE_SCOPE"


class Registration(NamedTuple):
  """A tower of a layer.

  Attributes:
    params: Variable, or tuple of variables: the key of the layer.
    block: A new FisherBlock, without towers.
    tower: Arguments of the block's `register_additional_tower`.
  """

  params: Any
  block: Any
  tower: tuple


@dataclasses.dataclass(frozen=True)
class Context:
  """What a registration needs from the LayerCollection.

  Attributes:
    layer_collection: The LayerCollection, which blocks take.
    graph: Its graph.
    get_block_type: Its method `_get_block_type`, which users may override.
    default_of: Function from a kind of layer to the name of its default
      approximation.
  """

  layer_collection: Any
  graph: tf.Graph
  get_block_type: Callable[..., tuple[Any, str]]
  default_of: Callable[[str], str]

  def block_type(self, kind: str, params: Any,
                 approx: str | None) -> tuple[Any, str]:
    """Picks the block of a layer.

    Args:
      kind: Key of APPROXIMATIONS.
      params: Variable, or tuple of variables.
      approx: Name of an approximation, or None.

    Returns:
      Class (or function that makes a block), and name of the approximation.

    Raises:
      ValueError: If the approximation is unknown.
    """
    return self.get_block_type(params, approx, self.default_of(kind),
                               approximations.APPROXIMATIONS[kind])


def pick_block_type(approx: str, approx_to_type: Mapping[str, Any]) -> Any:
  """Returns the block of an approximation.

  Args:
    approx: Name of an approximation.
    approx_to_type: Table from names to blocks.

  Raises:
    ValueError: If there is no such approximation.
    NotImplementedError: If it is one of kfac 0.2.4 that is not built.
  """
  if isinstance(approx, str) and approx in approx_to_type:
    return approx_to_type[approx]
  approximations.check_built(approx)
  raise ValueError(
      f"approx must be one of {sorted(approx_to_type)}, got "
      f"{scalars.shown(approx)}.")


def resolve_reuse(reuse: hints.Reuse) -> Any:
  """Returns True, False or tf.AUTO_REUSE.

  Args:
    reuse: One of these, None for False, or VARIABLE_SCOPE.

  Returns:
    The resolved value.

  Raises:
    ValueError: If it is something else.
  """
  if isinstance(reuse, str) and reuse == VARIABLE_SCOPE:
    reuse = tf.get_variable_scope().reuse
  if reuse is None:
    return False
  # An array or a dtype has its own meaning of equality.
  if (not isinstance(reuse, (int, np.bool_, type(tf.AUTO_REUSE)))
      or reuse not in (True, False, tf.AUTO_REUSE)):
    raise ValueError(
        "reuse must be True, False, tf.AUTO_REUSE or VARIABLE_SCOPE, got "
        f"{scalars.shown(reuse)}.")
  return reuse


def reused_block(fisher_blocks: parameters.LayerParametersDict, layer_key: Any,
                 fisher_block: Any, reuse: hints.Reuse) -> Any:
  """Returns the block that is reused for a layer, None for a new layer.

  Args:
    fisher_blocks: The registered blocks.
    layer_key: Variable, or tuple of variables: the parameters of the layer.
    fisher_block: A block of the intended type.
    reuse: See LayerCollection.

  Returns:
    FisherBlock or None.

  Raises:
    ValueError: See LayerCollection.register_block.
    KeyError: See LayerCollection.register_block.
  """
  reuse = resolve_reuse(reuse)
  if reuse and layer_key in fisher_blocks:
    known = fisher_blocks[layer_key]
    if type(known) is not type(fisher_block):
      raise ValueError(
          "approx of a reused layer must give the block registered first, "
          f"{type(known).__name__}, got {type(fisher_block).__name__}.")
    known.check_same_settings(fisher_block)
    return known
  if reuse is True:
    raise KeyError(
        f"params must be registered before they are reused, got {layer_key}.")
  if layer_key in fisher_blocks:
    raise ValueError(
        f"params must be registered once unless reused, got {layer_key}.")
  fisher_blocks.check_key(layer_key)
  return None


def make_or_get_factor(fisher_factors: dict, scope: str, cls: type, args: Any,
                       name: str | None) -> Any:
  """Makes a factor, or returns the one with the same arguments.

  Args:
    fisher_factors: Dict from (class, arguments) to factors; gets a new one.
    scope: Variable scope in which a factor is made.
    cls: See LayerCollection.make_or_get_factor.
    args: The same.
    name: The same.

  Returns:
    FisherFactor.

  Raises:
    TypeError: If the arguments are not hashable.
  """
  key = cls, args
  try:
    hash(key)
  except TypeError as error:
    raise TypeError(f"args must be hashable, got {args!r}.") from error
  if key not in fisher_factors:
    with tf.variable_scope(scope):
      factor = cls(*args)
    # Two tables may have the same ids.
    others = tuple(fisher_factors.values())
    factor.make_name_unique({other.contrib_name for other in others})
    if name is not None:
      factor.set_name(name, {other.name for other in others})
    fisher_factors[key] = factor
  return fisher_factors[key]


def check_layer(graph: tf.Graph, params: Any, weights_ranks: list[int],
                inputs: Any, outputs: Any,
                input_dtype: hints.DType | None = None,
                view: Any = None) -> list[int]:
  """Checks graph and dtype of a layer, and the shape of its parameters.

  Args:
    graph: The graph of the layer collection.
    params: Weights, or pair of weights and bias.
    weights_ranks: Ranks that the weights may have.
    inputs: Tensor, or list over uses.
    outputs: The same.
    input_dtype: Dtype of the inputs if it is not that of the weights.
    view: views.View of the layer, or None.

  Returns:
    The shape of the weights, a list of ints.

  Raises:
    ValueError: If an argument does not fit.
  """
  for name, value in (("params", params), ("inputs", inputs),
                      ("outputs", outputs)):
    check.check_not_empty(name, value)
    check.check_graph(graph, name, value)
  weights, *bias = (
      params if isinstance(params, (list, tuple)) else [params])
  if len(bias) > 1:
    raise ValueError(
        "params must be weights or (weights, bias), got "
        f"{1 + len(bias)} of them.")
  check.check_rank("params", weights, weights_ranks)
  check.check_dtype("params", weights, "floating")
  dtype = weights.dtype.base_dtype
  if input_dtype is None:
    check.check_data_dtype("inputs", inputs, dtype)
  else:
    check.check_dtype("inputs", inputs, input_dtype)
  check.check_data_dtype("outputs", outputs, dtype)
  check.check_same_examples(inputs, outputs, view)
  if bias:
    check.check_num_elements("bias", bias[0], weights.shape.as_list()[-1])
  return weights.shape.as_list()


def has_bias(params: Any) -> bool:
  """Returns whether parameters are a pair of weights and bias."""
  return isinstance(params, (list, tuple)) and len(params) > 1

