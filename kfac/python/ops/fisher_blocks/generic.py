"""Blocks of parameters of unknown use, from their gradient alone."""

from __future__ import annotations

from typing import Any

from kfac.python.ops.fisher_blocks import base
from kfac.python.ops.fisher_blocks import single_factor
from kfac.python.ops.fisher_factors import generic
from kfac.python.ops.utils import hints


class _GenericFB(single_factor.SingleFactorFB):
  """A block whose towers only count examples: the gradient is of all towers."""

  _factor_type: Any = None

  def __init__(self, layer_collection: Any, params: hints.Vector,
               batch_size: hints.Scalar | None = None) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      params: Variable, or tuple of variables.
      batch_size: Number of examples of the first tower, int or scalar tensor.
    """
    super().__init__(layer_collection)
    self._params = params
    self._batch_sizes: list[Any] = []
    if batch_size is not None:
      self.register_additional_tower(batch_size)

  def register_additional_tower(self, batch_size: hints.Scalar) -> None:
    """Adds the examples of another tower.

    Args:
      batch_size: Number of examples, int or scalar tensor.
    """
    self._batch_sizes.append(batch_size)

  @property
  def num_registered_towers(self) -> int:  # noqa: D102
    return len(self._batch_sizes)

  @property
  def _batch_size(self):
    return sum(self._batch_sizes)

  def tensors_to_compute_grads(self) -> hints.Vector:
    """Returns the parameters."""
    return self._params

  def _factor_args(self, grads_list):
    return self._factor_type, (
        base.maybe_tuple(grads_list), self._batch_size)


class FullFB(_GenericFB):
  """F is the outer product of the gradient over the batch size."""

  _factor_type: Any = generic.FullFactor


class NaiveDiagonalFB(_GenericFB, single_factor.DiagonalFB):
  """F is the square of the gradient over the batch size."""

  _factor_type = generic.NaiveDiagonalFactor
