"""The weight of a term of a loss, as a number where that is known."""

from __future__ import annotations

from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

_SAME = frozenset(
    ["Cast", "Identity", "Reshape", "Squeeze", "StopGradient", "ExpandDims"])


class NoWeightError(ValueError):
  """A tensor is not a sum of terms with weights; says why."""


class Weight(NamedTuple):
  """A product of a number, of scalar tensors and of numbers of elements.

  Attributes:
    number: Float.
    tensors: Tuple of pairs (scalar tensor, power), 1 or -1.
    sizes: Tuple of pairs (tensor, power): its number of elements.
    power: Power of the number of elements of the tensor where the walk is.
    rows: Power of the number of rows of the prediction.
  """

  number: float
  tensors: tuple = ()
  sizes: tuple = ()
  power: int = 0
  rows: int = 0

  def times(self, number: float) -> Weight:
    """Returns the product with a number."""
    return self._replace(number=self.number * number)

  def product(self, other: Weight, divide: bool = False) -> Weight:
    """Returns the product or quotient with another one, of power 0."""
    sign = -1 if divide else 1
    if divide and other.number == 0:
      raise NoWeightError("it is divided by zero")
    return self._replace(
        number=self.number * other.number ** sign,
        tensors=self.tensors + tuple((x, sign * p) for x, p in other.tensors),
        sizes=self.sizes + tuple((x, sign * p) for x, p in other.sizes))

  def at(self, tensor: tf.Tensor) -> Weight:
    """Returns the same, with sizes of this tensor as powers of `here`."""
    own = sum(p for x, p in self.sizes if x is tensor)
    return self._replace(
        sizes=tuple(pair for pair in self.sizes if pair[0] is not tensor),
        power=self.power + own)

  def reduced(self, op: tf.Operation) -> Weight:
    """Returns the weight of the input of a mean or sum."""
    x, axes = op.inputs
    axes = tf.get_static_value(axes)
    rank = x.shape.rank
    if axes is None and op.outputs[0].shape.rank == 0 and rank is not None:
      axes = range(rank)
    if rank is None or axes is None:
      raise NoWeightError("the axes that it reduces are not known")
    axes = {int(axis) % rank for axis in np.ravel(axes)} if rank else set()
    if len(axes) == rank:
      # The number of elements was 1.
      return self._replace(power=-1 if op.type == "Mean" and rank else 0)
    lengths = [x.shape.as_list()[axis] for axis in axes]
    if None in lengths:
      raise NoWeightError("the lengths that it reduces are not known")
    count = float(np.prod(lengths))
    # size(output) = size(input) / count
    result = self.times(count ** -self.power)
    return result.times(1. / count) if op.type == "Mean" else result

  def total(self, like: tf.Tensor) -> Weight:
    """Returns the same, without the power of `here`.

    Args:
      like: The tensor where the walk ends, [rows, ...].
    """
    result, power = self._replace(power=0), self.power
    if not power:
      return result
    lengths: Any = like.shape.as_list() if like.shape.rank else [None, None]
    if None not in lengths[1:] and lengths[0] is None:
      return result._replace(
          rows=power, number=self.number * float(np.prod(lengths[1:])) ** power)
    for _ in range(abs(power)):
      result = result.product(_size(like), divide=power < 0)
    return result

  def times_rows(self, prediction: tf.Tensor, batch_size: Any) -> Any:
    """Returns the weight times the number of examples.

    Args:
      prediction: Tensor [rows, ...].
      batch_size: The number; None for that of the rows.

    Returns:
      Float, or scalar tensor where the number is not known.
    """
    number, power = self.number, self.rows
    dtype = prediction.dtype.base_dtype
    factors = [(tf.cast(tf.reshape(x, []), dtype), p) for x, p in self.tensors]
    factors += [(tf.cast(tf.size(x), dtype), p) for x, p in self.sizes]
    if batch_size is None:
      power += 1
    elif tf.is_tensor(batch_size):
      factors.append((tf.cast(batch_size, dtype), 1))
    else:
      number *= batch_size
    rows = prediction.shape.as_list()[0]
    if rows is not None:
      number *= float(rows) ** power
    elif power:
      factors.append((tf.cast(tf.shape(prediction)[0], dtype), power))
    result: Any = number
    for x, p in factors:
      result = result * x if p == 1 else result * tf.pow(x, float(p))
    return result


ONE = Weight(1.)


def _size(tensor):
  """Returns the number of elements of a tensor as a Weight."""
  count = tensor.shape.num_elements()
  if count is not None:
    return Weight(float(count))
  return Weight(1., sizes=((tensor, 1),))


def of_tensor(tensor: tf.Tensor) -> Weight:
  """Returns a weight in a graph, which must be the same for all examples.

  Args:
    tensor: Floating point tensor.

  Raises:
    NoWeightError: If it may differ between examples.
  """
  number = _uniform(tensor)
  if number is not None:
    return Weight(float(number))
  found = _counted(tensor)
  if found is not None:
    return found
  if tensor.shape.num_elements() == 1:
    return Weight(1., tensors=((tensor, 1),))
  raise NoWeightError(
      f"its weight {tensor.name} may differ between examples, which a coeff "
      "cannot")


def _uniform(tensor):
  """Returns the number that all entries of a tensor are, or None."""
  value = tf.get_static_value(tensor)
  if value is not None:
    flat = np.ravel(value)
    return flat[0] if flat.size and np.all(flat == flat[0]) else None
  op = tensor.op
  if op.type == "Fill":
    return _uniform(op.inputs[1])
  if op.type in ("OnesLike", "ZerosLike"):
    return float(op.type == "OnesLike")
  if op.type in _SAME:
    return _uniform(op.inputs[0])
  if op.type in ("Equal", "Mul", "Select", "SelectV2"):
    values = [_uniform(x) for x in op.inputs]
    if None not in values:
      if op.type == "Equal":
        return values[0] == values[1]
      return (values[0] * values[1] if op.type == "Mul" else
              values[1] if values[0] else values[2])
  return None


def _counted(tensor):
  """Returns the Weight of a count of entries in a graph, or None."""
  op = tensor.op
  if op.type in _SAME:
    return _counted(op.inputs[0])
  if op.type == "Size":
    return _size(op.inputs[0])
  if op.type == "Prod":
    return _product_of(op.inputs[0])
  if op.type == "Sum" and tensor.shape.rank == 0:
    number, like = _uniform(op.inputs[0]), _like(op.inputs[0])
    if number is not None and like is not None:
      return _size(like).times(float(number))
  return None


def _product_of(lengths):
  """Returns the Weight of the product of a shape, or None."""
  known = tf.get_static_value(lengths)
  if known is not None:
    return Weight(float(np.prod(known)))
  op = lengths.op
  if op.type == "Shape":
    return _size(op.inputs[0])
  if op.type == "Pack" and len(op.inputs) == 1:
    # Keras packs the lengths that it reads from a shape.
    length = op.inputs[0].op
    if length.type == "StridedSlice" and length.inputs[0].op.type == "Shape":
      of = length.inputs[0].op.inputs[0]
      return _size(of) if of.shape.rank == 1 else None
  return None


def _like(tensor):
  """Returns the tensor whose shape a tensor of equal numbers has, or None."""
  if tensor.shape.num_elements() is not None:
    return tensor
  op = tensor.op
  if op.type == "Fill" and op.inputs[0].op.type == "Shape":
    return op.inputs[0].op.inputs[0]
  if op.type in ("OnesLike", "ZerosLike"):
    return op.inputs[0]
  if op.type in ("Mul", "Cast"):
    of_rank = [x for x in op.inputs if x.shape.rank == tensor.shape.rank]
    return _like(of_rank[0]) if of_rank else None
  return None
