"""Batches of a variable size: random rows of a data set that is in memory.

No row is twice in one batch.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.kfac_utils import data_reader
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

__all__ = ["CachedDataReader", "VariableBatchReader"]


class VariableBatchReader:
  """Reads random rows of tensors, others in each run."""

  def __init__(self, dataset: Any, num_examples: int) -> None:
    """Keeps the tensors.

    Args:
      dataset: Tensor [rows, ...], or nested structure of such tensors, whose
        rows belong together.
      num_examples: Int >= 1, the number of first rows that are drawn from.

    Raises:
      ValueError: If a tensor has fewer rows.
    """
    self._num_examples = scalars.check_int("num_examples", num_examples, 1)
    self._dataset = data_reader.rows_of(
        dataset, "num_examples", num_examples)

  def __call__(self, batch_size: hints.Scalar) -> Any:
    """Returns a batch.

    Args:
      batch_size: Int, or scalar integer tensor or variable, from 1 to
        `num_examples`.

    Returns:
      The structure of `dataset`, of tensors [batch_size, ...]. Each call draws
      rows of its own, by the seed of the graph.

    Raises:
      ValueError: If an int is out of range.
      tf.errors.InvalidArgumentError: In the session, if a tensor is.
    """
    size = data_reader.checked_batch_size(batch_size, self._num_examples)
    drawn = tf.random.shuffle(tf.range(self._num_examples))[:size]
    return tf.nest.map_structure(
        lambda rows: tf.gather(rows, drawn), self._dataset)


class CachedDataReader(VariableBatchReader):
  """A VariableBatchReader that keeps the last batch in variables."""

  def __init__(self, dataset: Any, num_examples: int) -> None:
    """Creates the variables.

    Args:
      dataset: See VariableBatchReader.
      num_examples: See VariableBatchReader.

    Raises:
      ValueError: If a tensor has fewer rows.
    """
    super().__init__(dataset, num_examples)
    self._cache = data_reader.BatchCache(self._dataset)

  def __call__(self, batch_size: hints.Scalar) -> Any:
    """Returns a batch, which is kept when it is read.

    Args:
      batch_size: See VariableBatchReader.

    Returns:
      See VariableBatchReader.
    """
    return self._cache.keep(super().__call__(batch_size))

  @property
  def cached_batch(self) -> Any:
    """The batch that was read before; without rows if there is none.

    In a run that also reads a batch, it is the one of an earlier run.
    """
    return self._cache.batch
