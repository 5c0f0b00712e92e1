"""The inputs and outputs of a layer, by tower and use.

A layer registers its inputs and outputs for each tower, that is, for each part
of the batch, and for each use if there are several. Blocks pass them to factors
as inputs[tower] and grads[source][tower].
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_blocks import base
from kfac.python.ops.fisher_blocks import views
from kfac.python.ops.utils import constants


class InputOutputMultiTower:
  """The inputs and outputs of a block's layer.

  A mixin, as in contrib.kfac, for classes that derive from FisherBlock.
  """

  def __init__(self, *args: Any, inputs: Any = None, outputs: Any = None,
               view: views.View | None = None, batch_size: Any = None,
               **kwargs: Any) -> None:
    """Initializes a block; up to TensorFlow 1.7, with a first tower.

    Args:
      *args: Arguments of the block.
      inputs: Inputs of a first tower, or None.
      outputs: Outputs of a first tower, or None.
      view: How weights, inputs and outputs are read as matrices; None if they
        are what the layer takes.
      batch_size: Number of examples of a tower, where the first axis of inputs
        and outputs is longer; int or scalar tensor, or None.
      **kwargs: Arguments of the block.
    """
    self._view = view
    self._tower_examples = batch_size
    self._inputs: list[Any] = []
    self._outputs: list[Any] = []
    super().__init__(*args, **kwargs)
    if inputs is not None:
      self.register_additional_tower(inputs, outputs)

  def register_additional_tower(self, inputs: Any, outputs: Any) -> None:
    """Adds the data of another tower.

    Args:
      inputs: Inputs of the layer.
      outputs: Its outputs, before any nonlinearity.
    """
    self._inputs.append(inputs)
    self._outputs.append(outputs)

  @property
  def num_registered_towers(self) -> int:
    """The number of towers that are registered."""
    return len(self._inputs)

  @property
  def _num_towers(self):
    return len(self._inputs)

  @property
  def num_graph_uses(self) -> float:
    """The number of uses of the parameters in the graph."""
    return sum(len(tower) if isinstance(tower, (list, tuple)) else 1
               for tower in self._inputs)

  @property
  def _num_positions(self):
    """The number of rows per example and use, see views.num_positions."""
    if self._view is None:
      return 1
    inputs, outputs = (
        data[0][0] if isinstance(data[0], (list, tuple)) else data[0]
        for data in (self._inputs, self._outputs))
    return views.num_positions(
        self._view, inputs, outputs, self._tower_examples)

  def tensors_to_compute_grads(self) -> Any:
    """Returns the outputs, a list over towers."""
    return self._outputs

  def _process_data(self, grads_list):
    """Arranges the data as factors take them.

    Args:
      grads_list: For each source, a list over towers of gradients with respect
        to the outputs.

    Returns:
      Tuple over towers of inputs; tuple over sources of tuples over towers of
      gradients. With TOWER_STRATEGY "concat", all towers are joined in one.
    """
    return (self._merge(_map(self._input_rows, self._inputs)),
            tuple(self._merge(_map(self._output_rows, grads))
                  for grads in grads_list))

  def _input_rows(self, tensor):
    """Returns the inputs of one use as the factor takes them."""
    return tensor if self._view is None else self._view.inputs.rows(tensor)

  def _output_rows(self, tensor):
    """Returns gradients with respect to outputs as the factor takes them."""
    return tensor if self._view is None else self._view.outputs.rows(tensor)

  def _merge(self, towers):
    if constants.read("fisher_factors", "TOWER_STRATEGY") == "separate":
      return tuple(towers)
    return (joined(towers),)


class InputOutputMultiTowerMultiUse(InputOutputMultiTower):
  """The inputs and outputs of a layer that is used several times.

  The inputs and outputs of each tower are lists over uses, or tensors in which
  all uses are concatenated along the first axis.
  """

  def __init__(self, num_uses: int | None = None, *args: Any,
               **kwargs: Any) -> None:
    """Initializes a block.

    Args:
      num_uses: Number of uses; required unless they are given as lists.
      *args: Arguments of the block.
      **kwargs: Arguments of the block.
    """
    self._num_uses: Any = num_uses
    super().__init__(*args, **kwargs)

  def register_additional_tower(self, inputs: Any, outputs: Any) -> None:
    """Adds the data of another tower.

    Args:
      inputs: List over uses of inputs, or one tensor of all.
      outputs: List over uses of outputs, or one tensor of all.

    Raises:
      ValueError: If the number of uses is unknown or inconsistent.
    """
    for name, data in (("inputs", inputs), ("outputs", outputs)):
      given = len(data) if isinstance(data, (list, tuple)) else self._num_uses
      if given is None:
        raise ValueError(
            f"num_uses must be given where {name} are one tensor, got None.")
      if not isinstance(given, numbers.Integral) or given < 1:
        raise ValueError(f"num_uses must be a positive int, got {given!r}.")
      if self._num_uses not in (None, given):
        raise ValueError(
            f"{name} must have num_uses = {self._num_uses} uses, got {given}.")
      self._num_uses = given
    super().register_additional_tower(inputs, outputs)

  def num_inputs(self) -> int:
    """Returns the number of uses (1.5 to 1.7)."""
    return self._num_uses

  def _merge(self, towers):
    if len(towers) == 1 and not isinstance(towers[0], (list, tuple)):
      return tuple(towers)
    uses = [self._split_uses(tower) for tower in towers]
    if constants.read("fisher_factors", "TOWER_STRATEGY") == "separate":
      return tuple(joined(tower) for tower in uses)
    # All examples of use 0 come first, then those of use 1, and so on.
    return (joined([tower[use] for use in range(self._num_uses)
                    for tower in uses]),)

  def _split_uses(self, tower):
    if isinstance(tower, (list, tuple)):
      return list(tower)
    return tf.split(tower, self._num_uses)


def _map(function, towers):
  """Applies a function to each tensor of a list over towers (and uses)."""
  return [[function(use) for use in tower] if isinstance(tower, (list, tuple))
          else function(tower) for tower in towers]


def joined(tensors: Sequence[Any]) -> Any:
  """Returns tensors joined along the first axis, without creating an op."""
  tensors = base.maybe_tuple(tensors)
  return tensors[0] if len(tensors) == 1 else utils.PartitionedTensor(tensors)
