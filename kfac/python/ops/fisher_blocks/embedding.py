"""Blocks of an embedding layer, outputs = rows of W picked by ids, summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import kronecker
from kfac.python.ops.fisher_blocks import towers
from kfac.python.ops.fisher_factors import embedding
from kfac.python.ops.fisher_factors import fully_connected
from kfac.python.ops.fisher_factors import recurrent
from kfac.python.ops.utils import hints


class _EmbeddingFB(kronecker.KroneckerProductFB):
  """F = c (A kron G) with a diagonal A, over a matrix W [vocab_size, dim].

  A vector may be IndexedSlices, and stays sparse then; or a tuple of tensors,
  the parts of a partitioned W.
  """

  _vocab_size = None

  def _set_embedding_factors(self, inputs, output_factor, damping):
    dtype = self.tensors_to_compute_grads()[0]
    while isinstance(dtype, (list, tuple)):
      dtype = dtype[0]
    self._set_factors(
        (embedding.EmbeddingInputKroneckerFactor,
         (inputs, self._vocab_size, dtype.dtype.base_dtype)),
        output_factor, damping)

  def _to_matrix(self, vector):
    if not isinstance(vector, (list, tuple)):
      return super()._to_matrix(vector)
    return tf.concat([tf.convert_to_tensor(part) for part in vector], 0)

  def _from_matrix(self, vector, matrix):
    if not isinstance(vector, (list, tuple)):
      return super()._from_matrix(vector, matrix)
    sizes = [tf.convert_to_tensor(part).shape.as_list()[0] for part in vector]
    return tuple(tf.split(matrix, sizes))


class EmbeddingKFACFB(towers.InputOutputMultiTower, _EmbeddingFB):
  """F = A kron G with a diagonal A."""

  def __init__(self, layer_collection: Any, vocab_size: int,
               **first_tower: Any) -> None:
    """Starts a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      vocab_size: Number of different ids.
      **first_tower: `inputs` (ids) and `outputs` of a first tower.
    """
    self._vocab_size = vocab_size
    super().__init__(layer_collection, **first_tower)

  def instantiate_factors(self, grads_list: Sequence[Any],  # noqa: D102
                          damping: hints.Scalar) -> None:
    inputs, grads = self._process_data(grads_list)
    self._set_embedding_factors(
        inputs, (fully_connected.FullyConnectedKroneckerFactor, (grads,)),
        damping)


class EmbeddingKFACMultiIndepFB(towers.InputOutputMultiTowerMultiUse,
                                _EmbeddingFB):
  """F = T (A kron G) with a diagonal A, for T independent uses."""

  def __init__(self, layer_collection: Any, vocab_size: int,
               num_uses: int | None = None, **first_tower: Any) -> None:
    """Starts a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      vocab_size: Number of different ids.
      num_uses: Number of uses T; needed if these are not given as lists.
      **first_tower: `inputs` (ids) and `outputs` of a first tower.
    """
    self._vocab_size = vocab_size
    super().__init__(num_uses, layer_collection, **first_tower)

  def instantiate_factors(self, grads_list: Sequence[Any],  # noqa: D102
                          damping: hints.Scalar) -> None:
    inputs, grads = self._process_data(grads_list)
    self._set_embedding_factors(
        inputs, (recurrent.FullyConnectedMultiKF, (grads, self._num_uses)),
        damping)
