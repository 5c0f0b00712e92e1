"""Blocks of scale and shift, outputs = scale * inputs + shift.

Both are broadcast, as by a normalisation layer. A block may have only one of
them: a shift alone is a bias whose sum has other terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kfac.python.ops.fisher_blocks import base
from kfac.python.ops.fisher_blocks import generic
from kfac.python.ops.fisher_blocks import single_factor
from kfac.python.ops.fisher_blocks import towers
from kfac.python.ops.fisher_factors import scale_and_shift
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints


class _ScaleAndShiftTowers(towers.InputOutputMultiTower):
  """Inputs and outputs of each tower: tensors, or lists over uses."""

  _settings: Sequence[str] = (
      "_broadcast_dims_scale", "_broadcast_dims_shift", "_has_shift",
      "_has_scale")
  _factor_type: Any = None

  def _set_layer(self, broadcast_dims_scale, broadcast_dims_shift, has_shift,
                 has_scale):
    """Sets what towers share, see ScaleAndShiftFullFB."""
    self._broadcast_dims_scale = base.maybe_tuple(broadcast_dims_scale)
    self._broadcast_dims_shift = base.maybe_tuple(broadcast_dims_shift)
    self._has_shift = has_shift
    self._has_scale = has_scale

  def register_additional_tower(self, inputs: Any, outputs: Any) -> None:
    """Adds the data of another tower.

    Args:
      inputs: Tensor [batch, ...], or list over uses; None without a scale.
      outputs: Tensor [batch, ...], or list over uses.

    Raises:
      ValueError: If the number of uses is not that of the other towers.
    """
    if self._outputs and _num_uses(outputs) != _num_uses(self._outputs[0]):
      raise ValueError(
          f"outputs must have {_num_uses(self._outputs[0])} uses in each "
          f"tower, got {_num_uses(outputs)}.")
    super().register_additional_tower(inputs, outputs)

  @property
  def num_uses(self) -> int:
    """The number of uses in each tower."""
    return _num_uses(self._outputs[0])

  @property
  def num_graph_uses(self) -> float:
    """The number of uses of the parameters in the graph."""
    return sum(_num_uses(outputs) for outputs in self._outputs)

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns scale * inputs + shift."""
    given = list(params) if isinstance(params, (list, tuple)) else [params]
    outputs = given.pop(0) * inputs if self._has_scale else inputs
    return outputs + given[0] if given else outputs

  def _merge(self, towers_data):
    uses = [data if isinstance(data, (list, tuple)) else (data,)
            for data in towers_data]
    if constants.read("fisher_factors", "TOWER_STRATEGY") == "separate":
      return base.maybe_tuple(uses)
    return (tuple(towers.joined([tower[use] for tower in uses])
                  for use in range(self.num_uses)),)

  def _factor_args(self, grads_list):
    inputs = self._merge(self._inputs) if self._has_scale else None
    return self._factor_type, (
        inputs, tuple(self._merge(grads) for grads in grads_list),
        self._broadcast_dims_scale, self._broadcast_dims_shift,
        self._has_shift, self._has_scale)


class ScaleAndShiftFullFB(  # type: ignore[misc]  # Towers of other data.
    _ScaleAndShiftTowers, generic.FullFB):
  """F is the mean over examples of the outer product of the gradient.

  The gradient of an example is exact: over all positions and uses, with
  respect to scale and shift together.
  """

  _factor_type: Any = scale_and_shift.ScaleAndShiftFullFactor

  def __init__(self, layer_collection: Any,
               broadcast_dims_scale: Sequence[int] | None,
               broadcast_dims_shift: Sequence[int] | None = None,
               has_shift: bool = True, *, has_scale: bool = True,
               **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      broadcast_dims_scale: The axes of the outputs along which the scale is
        broadcast, without the batch's axis 0. None without a scale.
      broadcast_dims_shift: The same of the shift; None if they are the scale's.
      has_shift: Whether there is a shift.
      has_scale: Whether there is a scale.
      **first_tower: `inputs` and `outputs` of a first tower.
    """
    self._set_layer(
        broadcast_dims_scale, broadcast_dims_shift, has_shift, has_scale)
    # Its gradients are those of the outputs, not of the parameters.
    super().__init__(layer_collection, None, **first_tower)


class ScaleAndShiftDiagonalFB(_ScaleAndShiftTowers, single_factor.DiagonalFB):
  """F is the mean over examples of the squared gradient per example."""

  _factor_type = scale_and_shift.ScaleAndShiftDiagonalFactor

  def __init__(self, layer_collection: Any,
               broadcast_dims_scale: Sequence[int] | None,
               broadcast_dims_shift: Sequence[int] | None = None,
               has_shift: bool = True, *, has_scale: bool = True,
               **first_tower: Any) -> None:
    """Initializes a block, see ScaleAndShiftFullFB."""
    self._set_layer(
        broadcast_dims_scale, broadcast_dims_shift, has_shift, has_scale)
    super().__init__(layer_collection, **first_tower)


def _num_uses(data):
  return len(data) if isinstance(data, (list, tuple)) else 1
