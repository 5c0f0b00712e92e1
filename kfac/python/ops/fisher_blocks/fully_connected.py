"""Blocks of a dense layer, outputs = inputs W + b."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_blocks import damping as damping_lib
from kfac.python.ops.fisher_blocks import kronecker
from kfac.python.ops.fisher_blocks import single_factor
from kfac.python.ops.fisher_blocks import towers
from kfac.python.ops.fisher_blocks import views
from kfac.python.ops.fisher_factors import convolution
from kfac.python.ops.fisher_factors import diagonal_kronecker
from kfac.python.ops.fisher_factors import fully_connected
from kfac.python.ops.fisher_factors import recurrent
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

# Whether only the diagonal is kept -> factor A or G.
_FACTORS: dict[bool, Any] = {
    False: fully_connected.FullyConnectedKroneckerFactor,
    True: diagonal_kronecker.DiagonalKroneckerFactor,
}
_MULTI_FACTORS: dict[bool, Any] = {
    False: recurrent.FullyConnectedMultiKF,
    True: diagonal_kronecker.DiagonalMultiKF,
}


class FullyConnectedDiagonalFB(towers.InputOutputMultiTower,
                               single_factor.DiagonalFB):
  """F is the mean over examples of the squared gradient per example.

  The gradient of an example is summed over positions before it is squared, as
  in a convolution with a filter of size 1.
  """

  def __init__(self, layer_collection: Any, has_bias: bool = False,
               **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      **first_tower: `inputs` and `outputs` of a first tower; `view` and
        `batch_size`, see InputOutputMultiTower.
    """
    self._has_bias = has_bias
    super().__init__(layer_collection, **first_tower)

  def _to_column(self, vector):
    return utils.tensors_to_column(
        vector if self._view is None
        else views.params_to_matrix(self._view, vector))

  def _from_column(self, vector, column):
    if self._view is None:
      return utils.column_to_tensors(vector, column)
    return views.matrix_to_params(self._view, vector, tf.reshape(
        column, self._factor._cov_shape))

  @property
  def _num_replications(self):
    return self._num_positions

  def _factor_damping(self, damping):
    return damping_lib.of_sum_over_locations(
        damping, self._num_replications, self._outputs[0].dtype)

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    if scalars.is_one(self._num_positions):
      return (fully_connected.FullyConnectedDiagonalFactor,
              (inputs, grads, self._has_bias))
    images, image_grads = (
        tuple(self._as_images(tower) for tower in data)
        for data in (inputs, [tower for source in grads for tower in source]))
    num_towers = len(images)
    shape = (1, 1, images[0].shape.as_list()[-1],
             image_grads[0].shape.as_list()[-1])
    by_source = tuple(image_grads[i:i + num_towers]
                      for i in range(0, len(image_grads), num_towers))
    return (convolution.ConvDiagonalFactor,
            (images, by_source, shape, (1, 1, 1, 1), "VALID", None, None,
             self._has_bias))

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns inputs W + b as a matrix [rows, out]."""
    return views.layer_outputs(self._view, params, inputs)

  def _as_images(self, rows):
    """Returns rows of examples and positions as images of width 1."""
    rows = tf.convert_to_tensor(rows)
    return tf.reshape(
        rows, [-1, self._num_positions, 1, rows.shape.as_list()[-1]])


class FullyConnectedKFACBasicFB(towers.InputOutputMultiTower,
                                kronecker.KroneckerProductFB):
  """F = P (A kron G), P = 1 unless there are positions.

  Source: Martens & Grosse 2015, section 3; with P positions that share weights,
  Eschenhagen et al. 2023, section 3.2 ("expand").
  """

  _settings = ("_diagonal_approx_for_input", "_diagonal_approx_for_output",
               "_view")

  def __init__(self, layer_collection: Any, has_bias: bool = False, *,
               diagonal_approx_for_input: bool = False,
               diagonal_approx_for_output: bool = False,
               **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      diagonal_approx_for_input: Whether only the diagonal of A is kept.
      diagonal_approx_for_output: Whether only the diagonal of G is kept.
      **first_tower: `inputs` and `outputs` of a first tower; `view` and
        `batch_size`, see InputOutputMultiTower.
    """
    self._has_bias = has_bias
    self._diagonal_approx_for_input = diagonal_approx_for_input
    self._diagonal_approx_for_output = diagonal_approx_for_output
    super().__init__(layer_collection, **first_tower)

  @property
  def _num_replications(self):
    return self._num_positions

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    A, G = (_FACTORS[diagonal] for diagonal in (
        self._diagonal_approx_for_input, self._diagonal_approx_for_output))
    return (A, ((inputs,), self._has_bias)), (G, (grads,))

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns inputs W + b as a matrix [rows, out]."""
    return views.layer_outputs(self._view, params, inputs)


class FullyConnectedMultiIndepFB(towers.InputOutputMultiTowerMultiUse,
                                 kronecker.KroneckerProductFB):
  """F = T (A kron G), on the assumption that the T uses are independent.

  Source: Martens, Ba & Johnson 2018, section 3.4.
  """

  _settings: Sequence[str] = (
      "_diagonal_approx_for_input", "_diagonal_approx_for_output", "_view")

  def __init__(self, layer_collection: Any, has_bias: bool = False,
               num_uses: int | None = None, *,
               diagonal_approx_for_input: bool = False,
               diagonal_approx_for_output: bool = False,
               **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      has_bias: Whether the layer has a bias.
      num_uses: Number of uses T; required unless they are given as lists.
      diagonal_approx_for_input: Whether only the diagonal of A is kept.
      diagonal_approx_for_output: Whether only the diagonal of G is kept.
      **first_tower: `inputs` and `outputs` of a first tower; `view` and
        `batch_size`, see InputOutputMultiTower.
    """
    self._has_bias = has_bias
    self._diagonal_approx_for_input = diagonal_approx_for_input
    self._diagonal_approx_for_output = diagonal_approx_for_output
    super().__init__(num_uses, layer_collection, **first_tower)

  @property
  def _num_replications(self):
    return self._num_uses * self._num_positions

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    A, G = (_MULTI_FACTORS[diagonal] for diagonal in (
        self._diagonal_approx_for_input, self._diagonal_approx_for_output))
    return ((A, ((inputs,), self._num_uses, self._has_bias)),
            (G, (grads, self._num_uses)))

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns inputs W + b as a matrix [rows, out]."""
    return views.layer_outputs(self._view, params, inputs)
