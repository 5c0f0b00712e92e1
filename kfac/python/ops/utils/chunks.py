"""Sums over the examples of a batch, a few examples at a time."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf


def sum_over_chunks(function: Callable[..., Any],
                    tensors: Sequence[tf.Tensor],
                    chunk_size: int | tf.Tensor) -> tf.Tensor:
  """Sums a function of chunks of a batch, one after the other.

  Only the first chunk may be smaller, so that all others have a static size. A
  batch known to fit into one chunk is not sliced or looped over. Gradients do
  not pass through.

  Args:
    function: Function of chunks of the tensors; returns a tensor whose shape
      does not depend on the chunk. It may be called twice.
    tensors: Tensors [batch, ...].
    chunk_size: Number >= 1 of examples in a chunk, an int or a scalar int32
      tensor.

  Returns:
    Tensor, the sum; `function` of empty tensors for an empty batch.
  """
  batch_size = tensors[0].shape.as_list()[0]
  if batch_size is None:
    batch_size = tf.shape(tensors[0])[0]
  elif isinstance(chunk_size, int) and batch_size <= chunk_size:
    return function(*tensors)
  first = batch_size - (batch_size - 1) // chunk_size * chunk_size

  def add_chunk(start, total):
    chunk = [_static_slice(tensor, start, chunk_size) for tensor in tensors]
    return start + chunk_size, total + function(*chunk)

  _, total = tf.while_loop(
      lambda start, _: start < batch_size, add_chunk,
      [first, function(*[tensor[:first] for tensor in tensors])],
      parallel_iterations=1, back_prop=False)
  return total


def _static_slice(tensor, start, size):
  """Returns tensor[start:start + size], which must have `size` rows."""
  rows = tensor[start:start + size]
  if isinstance(size, int):
    rows.set_shape([size] + tensor.shape.as_list()[1:])
  return rows
