"""Sums, multiples and inner products of lists of tensors.

Names that end in `_p` take and return lists of (tensor, variable) instead, such
as the gradients and the variables of an optimizer. IndexedSlices become dense.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars


def sprod(scalar: hints.Scalar, list_: Sequence[Any]) -> list:
  """Multiplies each tensor by a scalar, in the dtype of the tensor.

  Args:
    scalar: Scalar.
    list_: Tensors.

  Returns:
    List of tensors, the given ones if the scalar is the number 1.
  """
  return [scalars.product(item, scalar) for item in list_]


def sprod_p(scalar: hints.Scalar, list_: hints.VecsAndVars) -> hints.Pairs:
  """Does what `sprod` does, for pairs."""
  vectors, variables = _unzip(list_)
  return list(zip(sprod(scalar, vectors), variables, strict=True))


def sum_(list1: Sequence[Any], list2: Sequence[Any]) -> list:
  """Adds two lists, tensor by tensor.

  Args:
    list1: Tensors.
    list2: Tensors of the same shapes.

  Returns:
    List of tensors.

  Raises:
    ValueError: If the lists have different lengths.
  """
  return [tf.convert_to_tensor(one) + tf.convert_to_tensor(other)
          for one, other in _matched(list1, list2)]


def sum_p(list1: hints.VecsAndVars, list2: hints.VecsAndVars) -> hints.Pairs:
  """Does what `sum_` does, for pairs of the same variables in one order."""
  vectors, others, variables = _vectors(list1, list2)
  return list(zip(sum_(vectors, others), variables, strict=True))


def ip(list1: Sequence[Any], list2: Sequence[Any]) -> tf.Tensor:
  """Computes the inner product of two lists of tensors.

  Args:
    list1: Tensors, at least one.
    list2: Tensors of the same shapes.

  Returns:
    Scalar tensor, of at least float32.

  Raises:
    ValueError: If the lists are empty or have different lengths.
  """
  pairs = _matched(list1, list2)
  if not pairs:
    raise ValueError("list1 must have at least one tensor, got none.")
  return tf.add_n([
      tf.reduce_sum(precision.as_wide_tensor(one)
                    * precision.as_wide_tensor(other))
      for one, other in pairs])


def ip_p(list1: hints.VecsAndVars, list2: hints.VecsAndVars) -> tf.Tensor:
  """Does what `ip` does, for pairs of the same variables in one order."""
  vectors, others, _ = _vectors(list1, list2)
  return ip(vectors, others)


def assert_variables_match_pairs_list(
    a_and_vars: hints.VecsAndVars, b_and_vars: hints.VecsAndVars,
    error_message: str | None = None) -> None:
  """Raises ValueError unless two lists of pairs have the same variables.

  Args:
    a_and_vars: Pairs of a tensor and a variable.
    b_and_vars: The same, in the same order of variables.
    error_message: The error; by default, one line that names the variables.

  Raises:
    ValueError: If a variable is another one.
  """
  variables, others = _unzip(a_and_vars)[1], _unzip(b_and_vars)[1]
  if list(map(id, variables)) != list(map(id, others)):
    expected, got = ([getattr(variable, "name", variable) for variable in part]
                     for part in (variables, others))
    raise ValueError(error_message or (
        f"b_and_vars must have the variables of a_and_vars, {expected}, got "
        f"{got}."))


def _matched(list1, list2):
  """Returns a list of pairs from two lists, or raises ValueError."""
  list1, list2 = list(list1), list(list2)
  if len(list1) != len(list2):
    raise ValueError(
        f"list2 must have the length of list1, {len(list1)}, got "
        f"{len(list2)}.")
  return list(zip(list1, list2, strict=True))


def _unzip(pairs):
  """Returns the list of first and the list of second parts."""
  pairs = list(pairs)
  return [first for first, _ in pairs], [second for _, second in pairs]


def _vectors(list1, list2):
  """Returns the tensors of two lists of pairs, and their variables."""
  list1, list2 = list(list1), list(list2)
  assert_variables_match_pairs_list(list1, list2)
  vectors, variables = _unzip(list1)
  return vectors, _unzip(list2)[0], variables
