"""Checks of a loss's arguments, done at construction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def check_graph_mode(name: str, value: Any) -> None:
  """Raises TypeError if a value is eager, or no graph is being built.

  Args:
    name: Name of the argument, for the message.
    value: Tensor, variable, array or number.
  """
  # Only eager tensors have a method `numpy`.
  is_eager = isinstance(value, tf.Tensor) and hasattr(value, "numpy")
  if is_eager or tf.executing_eagerly():
    raise TypeError(
        f"{name} must be used while a tf.Graph is built, got "
        f"{type(value).__name__} in eager mode.")


def graph_tensor(name: str, value: Any,
                 dtype: hints.DType | None = None) -> tf.Tensor:
  """Returns a tensor, variable or array as a tensor of the current graph.

  Args:
    name: Name of the argument, for the message.
    value: Tensor, variable, array or number.
    dtype: The floating point type to cast to, or None for the value's own.

  Returns:
    The tensor; without a dtype, a graph tensor is returned unchanged.

  Raises:
    TypeError: If the value is an eager tensor, or no graph is being built.
  """
  check_graph_mode(name, value)
  if dtype is None:
    return tf.convert_to_tensor(value)
  if tf.is_tensor(value):
    return tf.cast(value, dtype)
  # tf.cast would round a Python number to float32 first.
  return tf.convert_to_tensor(np.asarray(value), dtype)


def float_tensor(name: str, value: Any, min_rank: int) -> tf.Tensor:
  """Returns `value` as a floating point tensor of the current graph.

  Args:
    name: Name of the argument, for the message.
    value: Tensor, variable or array.
    min_rank: Smallest number of dimensions allowed.

  Returns:
    The tensor.

  Raises:
    TypeError: If the value is eager or not floating point.
    ValueError: If the static rank is too small.
  """
  tensor = graph_tensor(name, value)
  if not tensor.dtype.is_floating:
    raise TypeError(f"{name} must be floating point, got {tensor.dtype.name}.")
  if tensor.shape.rank is not None and tensor.shape.rank < min_rank:
    raise ValueError(
        f"{name} must have rank {min_rank} or more, got shape {tensor.shape}.")
  return tensor


def targets(value: Any, shape: tf.TensorShape, integer: bool = False,
            hint: str = "") -> tuple[Any, Exception | None]:
  """Checks targets; the caller raises the error where they are used.

  Args:
    value: The targets, or None.
    shape: TensorShape that they must be compatible with.
    integer: Whether they must be integers; otherwise any numbers or bools.
    hint: Text at the end of the message about the shape.

  Returns:
    A pair: the targets as a tensor of the current graph in its own dtype, or
    unchanged if they are None or no tensor can be made of them; and None, or
    the TypeError or ValueError that tells why they do not fit.

  Raises:
    TypeError: If the targets are eager.
  """
  if value is None:
    return None, None
  check_graph_mode("targets", value)
  try:
    tensor = tf.convert_to_tensor(value)
  except (TypeError, ValueError):
    return value, TypeError(
        f"targets must be a tensor, got {type(value).__name__}.")
  dtype = tensor.dtype
  if not tensor.shape.is_compatible_with(shape):
    return tensor, ValueError(
        f"targets must have shape {shape}, got {tensor.shape}{hint}.")
  if integer and not dtype.is_integer:
    return tensor, TypeError(f"targets must be integers, got {dtype.name}.")
  if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
    return tensor, TypeError(f"targets must be numbers, got {dtype.name}.")
  return tensor, None


def positive(name: str, value: Any) -> None:
  """Raises ValueError if numbers are not all positive; skips tensors."""
  if not tf.is_tensor(value) and not np.all(np.asarray(value) > 0):
    raise ValueError(f"{name} must be positive, got {np.min(value)}.")


def index_of_example(index: Sequence[int],
                     static_shape: tf.TensorShape) -> tuple[int, ...]:
  """Checks the index of an entry within one example of a batch.

  Args:
    index: Tuple or list of ints, one per dimension behind the batch.
    static_shape: TensorShape of the whole batch.

  Returns:
    The index as a tuple of ints.

  Raises:
    TypeError: If the index is not a tuple or list of ints.
    ValueError: If the rank is unknown, the length is wrong or an entry is out
      of range.
  """
  if not (isinstance(index, (tuple, list)) and
          all(isinstance(i, (int, np.integer)) for i in index)):
    raise TypeError(f"index must be a tuple of ints, got {index!r}.")
  if static_shape.rank is None:
    raise ValueError(f"index needs inputs of known rank, got {index!r}.")
  sizes = static_shape.as_list()[1:]
  if len(index) != len(sizes):
    raise ValueError(f"index must have length {len(sizes)}, got {index!r}.")
  for i, size in zip(index, sizes, strict=True):
    if i < 0 or (size is not None and i >= size):
      raise ValueError(f"index must lie within {sizes}, got {index!r}.")
  return tuple(int(i) for i in index)
