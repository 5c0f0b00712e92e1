"""Blocks of a dense layer, outputs = inputs W + b."""

from __future__ import annotations

from typing import Any

from kfac.python.ops.fisher_blocks import kronecker
from kfac.python.ops.fisher_blocks import single_factor
from kfac.python.ops.fisher_blocks import towers
from kfac.python.ops.fisher_factors import fully_connected
from kfac.python.ops.fisher_factors import recurrent


class FullyConnectedDiagonalFB(towers.InputOutputMultiTower,
                               single_factor.DiagonalFB):
  """F is the mean over examples of the squared gradient per example."""

  def __init__(self, layer_collection: Any, has_bias: bool = False,
               **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      **first_tower: `inputs` and `outputs` of a first tower.
    """
    self._has_bias = has_bias
    super().__init__(layer_collection, **first_tower)

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    return (fully_connected.FullyConnectedDiagonalFactor,
            (inputs, grads, self._has_bias))


class FullyConnectedKFACBasicFB(towers.InputOutputMultiTower,
                                kronecker.KroneckerProductFB):
  """F = A kron G (Martens & Grosse 2015, section 3)."""

  def __init__(self, layer_collection: Any, has_bias: bool = False,
               **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      **first_tower: `inputs` and `outputs` of a first tower.
    """
    self._has_bias = has_bias
    super().__init__(layer_collection, **first_tower)

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    factor = fully_connected.FullyConnectedKroneckerFactor
    return (factor, ((inputs,), self._has_bias)), (factor, (grads,))


class FullyConnectedMultiIndepFB(towers.InputOutputMultiTowerMultiUse,
                                 kronecker.KroneckerProductFB):
  """F = T (A kron G), on the assumption that the T uses are independent.

  Source: Martens, Ba & Johnson 2018, section 3.4.
  """

  def __init__(self, layer_collection: Any, has_bias: bool = False,
               num_uses: int | None = None, **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      num_uses: Number of uses T; required unless they are given as lists.
      **first_tower: `inputs` and `outputs` of a first tower.
    """
    self._has_bias = has_bias
    super().__init__(num_uses, layer_collection, **first_tower)

  @property
  def _num_replications(self):
    return self._num_uses

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    factor = recurrent.FullyConnectedMultiKF
    return ((factor, ((inputs,), self._num_uses, self._has_bias)),
            (factor, (grads, self._num_uses)))
