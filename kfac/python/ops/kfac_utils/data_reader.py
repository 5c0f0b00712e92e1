"""Batches of a variable size: the first rows of a full batch.

A program whose batch grows during training reads the largest batch from its
input pipeline, which shuffles, and trains on some of the rows.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

__all__ = ["BatchCache", "CachedDataReader", "VariableBatchReader"]


class VariableBatchReader:
  """Reads the first rows of tensors."""

  def __init__(self, dataset: Any, max_batch_size: int) -> None:
    """Keeps the tensors.

    Args:
      dataset: Tensor [rows, ...], or nested structure of such tensors, which an
        input pipeline shuffles anew in each run.
      max_batch_size: Int >= 1, the largest number of rows that is read.

    Raises:
      ValueError: If a tensor has fewer rows.
    """
    self._max_batch_size = scalars.check_int(
        "max_batch_size", max_batch_size, 1)
    self._dataset = rows_of(dataset, "max_batch_size", max_batch_size)

  def __call__(self, batch_size: hints.Scalar) -> Any:
    """Returns a batch.

    Args:
      batch_size: Int, or scalar integer tensor or variable, from 1 to
        `max_batch_size`.

    Returns:
      The structure of `dataset`, of tensors [batch_size, ...].

    Raises:
      ValueError: If an int is out of range.
      tf.errors.InvalidArgumentError: In the session, if a tensor is.
    """
    size = checked_batch_size(batch_size, self._max_batch_size)
    return tf.nest.map_structure(lambda rows: rows[:size], self._dataset)


class CachedDataReader(VariableBatchReader):
  """A VariableBatchReader that keeps the last batch in variables."""

  def __init__(self, dataset: Any, max_batch_size: int) -> None:
    """Creates the variables.

    Args:
      dataset: See VariableBatchReader.
      max_batch_size: See VariableBatchReader.

    Raises:
      ValueError: If a tensor has fewer rows.
    """
    super().__init__(dataset, max_batch_size)
    self._cache = BatchCache(self._dataset)

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


class BatchCache:
  """The last batch, in variables without a fixed number of rows.

  Attributes:
    batch: Structure of tensors, read before `keep` changes the variables.
  """

  def __init__(self, dataset: Any) -> None:
    """Creates the variables.

    Args:
      dataset: Structure of tensors [rows, ...].
    """
    self._variables = tf.nest.map_structure(_variable_for, dataset)
    self.batch = tf.nest.map_structure(
        lambda variable: variable.read_value(), self._variables)

  def keep(self, batch: Any) -> Any:
    """Returns the batch as tensors that assign it to the variables.

    Args:
      batch: Structure of the dataset, of tensors with any number of rows.

    Returns:
      The same structure.
    """
    with tf.control_dependencies(tf.nest.flatten(self.batch)):
      assign = tf.nest.map_structure(
          lambda variable, value: variable.assign(value, read_value=False),
          self._variables, batch)
    with tf.control_dependencies(tf.nest.flatten(assign)):
      return tf.nest.map_structure(tf.identity, batch)


def rows_of(dataset: Any, name: str, num_rows: int) -> Any:
  """Returns a dataset as tensors, if it has enough rows.

  Args:
    dataset: Structure of tensors or arrays [rows, ...].
    name: Name of the argument that says how many rows are needed.
    num_rows: Its value.

  Returns:
    Structure of tensors.

  Raises:
    ValueError: If a tensor has fewer rows, or is a scalar.
  """
  tensors = tf.nest.map_structure(tf.convert_to_tensor, dataset)
  for tensor in tf.nest.flatten(tensors):
    shape = tensor.shape
    rows = shape.rank and tf.compat.dimension_value(shape[0])
    if shape.rank == 0 or (rows is not None and rows < num_rows):
      raise ValueError(
          f"dataset must have at least {name} = {num_rows} rows, got shape "
          f"{shape}.")
  return tensors


def checked_batch_size(batch_size: Any, maximum: int) -> Any:
  """Returns a batch size that is from 1 to a maximum.

  Args:
    batch_size: Int, or scalar integer tensor or variable.
    maximum: Int.

  Returns:
    The int; or a tensor that fails in the session if it is out of range.

  Raises:
    ValueError: If an int is out of range.
  """
  rule = f"batch_size must be from 1 to {maximum}"
  if scalars.is_number(batch_size):
    if scalars.check_int("batch_size", batch_size, 1) > maximum:
      raise ValueError(f"{rule}, got {batch_size!r}.")
    return int(batch_size)
  size = tf.cast(tf.convert_to_tensor(batch_size), tf.int32)
  with tf.control_dependencies([
      tf.debugging.Assert((size >= 1) & (size <= maximum), [rule, size])]):
    return tf.identity(size)


def _variable_for(tensor):
  """Creates a variable for any number of rows of a tensor, without one."""
  shape = tensor.shape[1:]
  return tf.Variable(
      tf.zeros([0, *shape.as_list()], tensor.dtype),
      trainable=False, use_resource=True, name="cached_batch",
      shape=tf.TensorShape([None]).concatenate(shape))
