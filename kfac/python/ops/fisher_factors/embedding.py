"""A of an embedding layer, diagonal since the inputs are one-hot vectors."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import diagonal
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision


class EmbeddingInputKroneckerFactor(diagonal.DiagonalFactor):
  """The mean number of occurrences of each id per example, [vocab_size]."""

  def __init__(self, input_ids: hints.Towers, vocab_size: int,
               dtype: hints.DType | None = None, *,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes the factor of the ids of a layer.

    Args:
      input_ids: For each tower the ids, an integer tensor [batch] or
        [batch, ids per example]; or one tensor.
      vocab_size: Number of different ids.
      dtype: Dtype of the covariance; float32 if None or half precision.
      colocate_cov_ops_with_inputs: See FisherFactor.

    Raises:
      ValueError: If ids have a rank above 2.
    """
    super().__init__(colocate_cov_ops_with_inputs)
    self._input_ids = base.as_towers(input_ids)
    self._vocab_size = vocab_size
    self._cov_dtype = dtype
    self._data = (self._input_ids,)
    for ids in self._input_ids:
      if len(ids.shape) > 2:
        raise ValueError(
            f"input_ids must have rank 1 or 2, got shape {ids.shape}.")

  @property
  def _var_scope(self):
    return "ff_diag_embedding_" + naming.scope_string_from_params(
        [self._input_ids])

  @property
  def _cov_shape(self):
    return [self._vocab_size]

  @property
  def _dtype(self):
    return precision.wide_dtype(self._cov_dtype or tf.float32)

  def _compute_new_cov(self, source, tower):
    ids = tf.convert_to_tensor(self._input_ids[tower])
    batch_size = tf.shape(ids)[0]
    ids = tf.reshape(ids, [-1])
    counts = tf.math.unsorted_segment_sum(
        tf.ones_like(ids, dtype=self._dtype), ids, self._vocab_size)
    return counts / tf.cast(batch_size, self._dtype)
