"""A dictionary indexed by several keys, and a tensor kept in parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def _pairs(key_or_keys, val_or_vals):
  """Returns the list of (key, value) that a write to SequenceDict consists of.

  Raises:
    ValueError: If a sequence of keys has another number of values.
  """
  if not isinstance(key_or_keys, (list, tuple)):
    return [(key_or_keys, val_or_vals)]
  values = list(val_or_vals)
  if len(values) != len(key_or_keys):
    raise ValueError(
        f"val_or_vals must have one value for each of {len(key_or_keys)} "
        f"keys, got {len(values)}.")
  return [pair for key, value in zip(key_or_keys, values, strict=True)
          for pair in _pairs(key, value)]


class SequenceDict:
  """A dictionary that is read and written by one key or by several keys.

  A list or tuple stands for several keys, each of which may be a list or tuple
  again.
  """

  def __init__(self, iterable: Any = None) -> None:
    """Makes the dictionary.

    Args:
      iterable: Initial (key, value) pairs or mapping, or None.
    """
    self._dict = dict(iterable or {})

  def __getitem__(self, key_or_keys):
    """Returns the value of a key, or the list of values of several keys."""
    if isinstance(key_or_keys, (list, tuple)):
      return [self[key] for key in key_or_keys]
    return self._dict[key_or_keys]

  def __setitem__(self, key_or_keys, val_or_vals):
    """Sets the value of a key, or one value for each of several keys."""
    self._dict.update(_pairs(key_or_keys, val_or_vals))

  def items(self) -> list:
    """Returns the list of (key, value) pairs, in the order of insertion."""
    return list(self._dict.items())


def setdefault(dct: dict, key: Any, thunk: hints.Thunk) -> Any:
  """Returns dct[key]; makes and stores the value first if it is missing.

  Unlike dict.setdefault it makes the value only when there is none, so that no
  unused op is added to the graph.

  Args:
    dct: Dictionary.
    key: Key.
    thunk: Function without arguments that makes the value.

  Returns:
    The value.
  """
  if key not in dct:
    dct[key] = thunk()
  return dct[key]


def ensure_sequence(obj: Any) -> Any:
  """Returns obj if it is a tuple or list, else the tuple (obj,)."""
  return obj if isinstance(obj, (tuple, list)) else (obj,)


class PartitionedTensor:
  """Parts of one tensor along axis 0, joined where a tensor is needed.

  TensorFlow ops accept it like a tensor; each such use adds a concat to the
  graph. Two instances are equal if they hold the same tensor objects in the
  same order, so that factors made for the same parts can be shared.

  Attributes:
    tensors: List of the parts.
  """

  def __init__(self, tensors: Sequence[hints.TensorLike]) -> None:
    """Keeps the parts.

    Args:
      tensors: Tensors of one dtype and of one shape except for axis 0.

    Raises:
      ValueError: If there are none, or if ranks, shapes or dtypes disagree.
    """
    self.tensors: list[tf.Tensor] = list(tensors)
    if not self.tensors:
      raise ValueError("tensors must hold at least one tensor, got [].")
    self._check_dtypes()
    self._row_shape = self._common_row_shape()

  def _check_dtypes(self):
    """Raises ValueError if two parts differ in dtype."""
    names = [tensor.dtype.base_dtype.name for tensor in self.tensors]
    if len(set(names)) > 1:
      raise ValueError(
          f"tensors must have one dtype, got {names}.")

  def _common_row_shape(self):
    """Returns the shape without axis 0, or raises ValueError if none fits."""
    shapes = [tensor.shape for tensor in self.tensors]
    row_shape = tf.TensorShape(None)
    for shape in shapes:
      if shape.rank == 0 or not shape[1:].is_compatible_with(row_shape):
        raise ValueError(
            "tensors must have one shape except for axis 0, got "
            f"{[str(shape) for shape in shapes]}.")
      row_shape = row_shape.merge_with(shape[1:])
    return row_shape

  @property
  def shape(self) -> tf.TensorShape:
    """TensorShape of the whole; axis 0 is None if a part's is unknown."""
    lengths = [tf.compat.dimension_value(t.shape[0]) if t.shape.rank else None
               for t in self.tensors]
    known = [length for length in lengths if length is not None]
    rows = sum(known) if len(known) == len(lengths) else None
    return tf.TensorShape([rows]).concatenate(self._row_shape)

  def get_shape(self) -> tf.TensorShape:
    """Returns `shape`."""
    return self.shape

  @property
  def dtype(self) -> tf.DType:
    """The dtype that all parts have."""
    return self.tensors[0].dtype.base_dtype

  @property
  def device(self) -> Any:
    """Device of the first part."""
    return self.tensors[0].device

  @property
  def one_hot_depth(self) -> Any:
    """The attribute `one_hot_depth` of the parts; None if they have none.

    Programs set it on integer tensors that stand for one-hot vectors.

    Raises:
      ValueError: If the parts have different ones.
    """
    depths = [getattr(tensor, "one_hot_depth", None) for tensor in self.tensors]
    if any(depth != depths[0] for depth in depths):
      raise ValueError(
          f"tensors must have one one_hot_depth, got {depths}.")
    return depths[0]

  def __str__(self):
    """Names the parts, the shape and the dtype."""
    names = [tensor.name for tensor in self.tensors]
    return (f"PartitionedTensor({names}, shape={self.shape}, "
            f"dtype={self.dtype.name})")

  __repr__ = __str__

  def _identity(self):
    """Returns the identities of the parts, as tensors may be unhashable."""
    return tuple(id(tensor) for tensor in self.tensors)

  def __hash__(self):
    """Hashes the identity of the parts."""
    return hash(self._identity())

  def __eq__(self, other):
    """Whether the parts are the same objects."""
    if not isinstance(other, PartitionedTensor):
      return NotImplemented
    return self._identity() == other._identity()

  def __ne__(self, other):
    """Whether the parts are different objects."""
    return not self == other

  def __getitem__(self, key):
    """Returns a slice of the whole, as a tensor."""
    return self.as_tensor()[key]

  def as_tensor(self, dtype: hints.DType | None = None, name: str | None = None,
                as_ref: bool = False) -> tf.Tensor:
    """Joins the parts.

    Args:
      dtype: None, or the dtype that the parts have.
      name: Name of the op, or None.
      as_ref: Must be False, since the joined parts are not a variable.

    Returns:
      Tensor of the shape `shape`.

    Raises:
      ValueError: If the dtype is another, or as_ref is true.
    """
    if dtype is not None and tf.as_dtype(dtype) != self.dtype:
      raise ValueError(
          f"dtype must be None or {self.dtype.name!r}, got "
          f"{tf.as_dtype(dtype).name!r}.")
    if as_ref:
      raise ValueError(f"as_ref must be False, got {as_ref!r}.")
    return tf.concat(self.tensors, axis=0, name=name or "partitioned_tensor")


tf.register_tensor_conversion_function(
    PartitionedTensor, PartitionedTensor.as_tensor)
