"""Short forms of TensorFlow calls, which programs for kfac 0.2.4 use."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import replicas

# Types of ops that make reference variables.
_REFERENCE = ("Variable", "VariableV2")


def smart_assign(variable: Any, value: Any,
                 assign_fn: Callable[..., Any] = tf.assign,
                 force_cast: bool = False, force_sync: bool = True) -> Any:
  """Assigns a value to a variable.

  Args:
    variable: Variable.
    value: Tensor or number.
    assign_fn: Function of variable and value, such as tf.assign_add.
    force_cast: Whether to cast the value to the dtype of the variable.
    force_sync: Whether to assign the mean over the replicas; see
      replicas.all_average. Elsewhere there is one replica, which changes
      nothing.

  Returns:
    What `assign_fn` returns.

  Raises:
    ValueError: If the dtypes differ, unless `force_cast`.
  """
  dtype = variable.dtype.base_dtype
  if not isinstance(value, tf.Tensor):
    value = tf.convert_to_tensor(
        value, None if force_cast or hasattr(value, "dtype") else dtype)
  if value.dtype.base_dtype != dtype and not force_cast:
    raise ValueError(
        f"value must have the dtype of the variable, {dtype.name!r}, got "
        f"{value.dtype.base_dtype.name!r}.")
  value = tf.cast(value, dtype)
  if force_sync and replicas.is_replicated():
    value = replicas.all_average(value)
  return assign_fn(variable, value)


def smart_cond(predicate: Any, true_fn: hints.Thunk, false_fn: hints.Thunk,
               name: str | None = None) -> Any:
  """Does what tf.cond does, without a branch if the predicate is known.

  Args:
    predicate: bool, or boolean scalar tensor.
    true_fn: Function without arguments.
    false_fn: The same.
    name: Name of the op.

  Returns:
    What the function returns that the predicate chooses.
  """
  if isinstance(predicate, (bool, np.bool_)):
    return true_fn() if predicate else false_fn()
  predicate = tf.convert_to_tensor(predicate)
  known = tf.get_static_value(predicate)
  if known is None:
    return tf.cond(predicate, true_fn, false_fn, name=name)
  return true_fn() if known else false_fn()


def preferred_int_dtype() -> tf.DType:
  """Returns tf.int64; tf.int32 in a computation for TPUs."""
  return tf.int32 if replicas.on_tpu() else tf.int64


def multiline_print(lists: Iterable[Iterable[Any]]) -> tf.Operation:
  """Makes an op that prints a line to standard error for each list.

  Args:
    lists: Lists of tensors, numbers and strings; see tf.print.

  Returns:
    Op.
  """
  ops: list[tf.Operation] = []
  for line in lists:
    with tf.control_dependencies(ops[-1:]):
      ops.append(tf.print(*line))
  return tf.group(*ops)


def get_shape(tensor: hints.TensorLike) -> list:
  """Returns the shape of a tensor.

  Args:
    tensor: Tensor of known rank.

  Returns:
    List of an int for each length that is known, else of a scalar tensor.
  """
  tensor = tf.convert_to_tensor(tensor)
  lengths = tensor.shape.as_list()
  if None not in lengths:
    return lengths
  dynamic = tf.shape(tensor)
  return [dynamic[axis] if length is None else length
          for axis, length in enumerate(lengths)]


def cls_name(obj: Any) -> str:
  """Returns the name of the class of an object."""
  return obj.__class__.__name__


def is_reference_variable(x: Any) -> bool:
  """Whether an object is a reference variable, not a resource variable."""
  return isinstance(x, tf.Variable) and getattr(
      getattr(x, "op", None), "type", None) in _REFERENCE
