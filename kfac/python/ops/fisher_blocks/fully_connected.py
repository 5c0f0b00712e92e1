"""Blocks of a dense layer, outputs = inputs W + b."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kfac.python.ops.fisher_blocks import kronecker
from kfac.python.ops.fisher_blocks import single_factor
from kfac.python.ops.fisher_blocks import towers
from kfac.python.ops.fisher_factors import fully_connected
from kfac.python.ops.fisher_factors import recurrent
from kfac.python.ops.utils import hints


class FullyConnectedDiagonalFB(towers.InputOutputMultiTower,
                               single_factor.DiagonalFB):
  """F is the mean over examples of the squared gradient of an example."""

  def __init__(self, layer_collection: Any, has_bias: bool = False,
               **first_tower: Any) -> None:
    """Starts a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      **first_tower: `inputs` and `outputs` of a first tower.
    """
    self._has_bias = has_bias
    super().__init__(layer_collection, **first_tower)

  def instantiate_factors(self, grads_list: Sequence[Any],  # noqa: D102
                          damping: hints.Scalar) -> None:
    inputs, grads = self._process_data(grads_list)
    self._set_factor(fully_connected.FullyConnectedDiagonalFactor,
                     (inputs, grads, self._has_bias), damping)


class FullyConnectedKFACBasicFB(towers.InputOutputMultiTower,
                                kronecker.KroneckerProductFB):
  """F = A kron G (Martens & Grosse 2015, section 3)."""

  def __init__(self, layer_collection: Any, has_bias: bool = False,
               **first_tower: Any) -> None:
    """Starts a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      **first_tower: `inputs` and `outputs` of a first tower.
    """
    self._has_bias = has_bias
    super().__init__(layer_collection, **first_tower)

  def instantiate_factors(self, grads_list: Sequence[Any],  # noqa: D102
                          damping: hints.Scalar) -> None:
    inputs, grads = self._process_data(grads_list)
    factor = fully_connected.FullyConnectedKroneckerFactor
    self._set_factors((factor, ((inputs,), self._has_bias)),
                      (factor, (grads,)), damping)


class FullyConnectedMultiIndepFB(towers.InputOutputMultiTowerMultiUse,
                                 kronecker.KroneckerProductFB):
  """F = T (A kron G): the T uses are taken to be independent.

  Source: Martens, Ba & Johnson 2018, section 3.4.
  """

  def __init__(self, layer_collection: Any, has_bias: bool = False,
               num_uses: int | None = None, **first_tower: Any) -> None:
    """Starts a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      num_uses: Number of uses T; needed if these are not given as lists.
      **first_tower: `inputs` and `outputs` of a first tower.
    """
    self._has_bias = has_bias
    super().__init__(num_uses, layer_collection, **first_tower)

  def instantiate_factors(self, grads_list: Sequence[Any],  # noqa: D102
                          damping: hints.Scalar) -> None:
    inputs, grads = self._process_data(grads_list)
    factor = recurrent.FullyConnectedMultiKF
    self._set_factors(
        (factor, ((inputs,), self._num_uses, self._has_bias)),
        (factor, (grads, self._num_uses)), damping)
