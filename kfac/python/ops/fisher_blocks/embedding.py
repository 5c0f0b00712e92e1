"""Blocks of an embedding layer, outputs = sum of the rows of W given by ids."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import kronecker
from kfac.python.ops.fisher_blocks import towers
from kfac.python.ops.fisher_factors import embedding
from kfac.python.ops.fisher_factors import fully_connected
from kfac.python.ops.fisher_factors import recurrent
from kfac.python.ops.utils import hints


class _EmbeddingFB(towers.InputOutputMultiTower,
                   kronecker.KroneckerProductFB):
  """F = c (A kron G) with a diagonal A, over a matrix W [vocab_size, dim].

  c is the number of uses, times that of positions that have an output each.

  A vector may be IndexedSlices, and then its products are too; or a tuple of
  tensors, the parts of a partitioned W.
  """

  _vocab_size: int

  def _input_factor_args(self, inputs):
    """Returns the class of A and its constructor's arguments."""
    output = tf.nest.flatten(self.tensors_to_compute_grads())[0]
    return (embedding.EmbeddingInputKroneckerFactor,
            (inputs, self._vocab_size, output.dtype.base_dtype))

  @property
  def _num_replications(self):
    return self._num_positions

  def _input_rows(self, tensor):
    # Each position of an example is a row with one id.
    return tensor if self._view is None else tf.reshape(tensor, [-1])

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns the rows of W, summed over the ids of an example."""
    table = self._to_matrix(params)
    rows = tf.gather(table, self._input_rows(inputs))
    return rows if rows.shape.rank == 2 else tf.reduce_sum(rows, axis=1)

  def _to_matrix(self, vector):
    if not isinstance(vector, (list, tuple)):
      return super()._to_matrix(vector)
    return tf.concat([tf.convert_to_tensor(part) for part in vector], 0)

  def _from_matrix(self, vector, matrix):
    if not isinstance(vector, (list, tuple)):
      return super()._from_matrix(vector, matrix)
    sizes = [tf.convert_to_tensor(part).shape.as_list()[0] for part in vector]
    return tuple(tf.split(matrix, sizes))


class EmbeddingKFACFB(_EmbeddingFB):
  """F = A kron G with a diagonal A."""

  def __init__(self, layer_collection: Any, vocab_size: int,
               **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      vocab_size: Number of different ids.
      **first_tower: `inputs` (ids) and `outputs` of a first tower; `view` and
        `batch_size`, see InputOutputMultiTower.
    """
    self._vocab_size = vocab_size
    super().__init__(layer_collection, **first_tower)

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    return (self._input_factor_args(inputs),
            (fully_connected.FullyConnectedKroneckerFactor, (grads,)))


class EmbeddingKFACMultiIndepFB(towers.InputOutputMultiTowerMultiUse,
                                _EmbeddingFB):
  """F = T (A kron G) with a diagonal A, for T independent uses."""

  def __init__(self, layer_collection: Any, vocab_size: int,
               num_uses: int | None = None, **first_tower: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      vocab_size: Number of different ids.
      num_uses: Number of uses T; required unless they are given as lists.
      **first_tower: `inputs` (ids) and `outputs` of a first tower; `view` and
        `batch_size`, see InputOutputMultiTower.
    """
    self._vocab_size = vocab_size
    super().__init__(num_uses, layer_collection, **first_tower)

  @property
  def _num_replications(self):
    return self._num_uses * self._num_positions

  def _factor_args(self, grads_list):
    inputs, grads = self._process_data(grads_list)
    return (self._input_factor_args(inputs),
            (recurrent.FullyConnectedMultiKF, (grads, self._num_uses)))
