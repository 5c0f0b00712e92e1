"""Losses in the graph of a scalar: what they compare, and their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

# Ops whose outputs depend on the shape of their inputs only, or whose inputs
# count as constants.
_STOPS = frozenset(["OnesLike", "Rank", "Shape", "ShapeN", "Size",
                    "StopGradient", "ZerosLike"])


def first_dependency(tensor: tf.Tensor, variables: Sequence[Any]) -> Any:
  """Finds a variable whose value a tensor depends on.

  Dependence through shapes, integers and tf.stop_gradient does not count, since
  no gradient passes.

  Args:
    tensor: Tensor.
    variables: Sequence of variables.

  Returns:
    The first of the variables that the tensor depends on, or None.
  """
  ops = _ancestors(tensor)
  return next((variable for variable in variables
               if getattr(variable, "op", None) in ops), None)


def _ancestors(tensor):
  """Returns the set of ops from which data that can be differentiated flows."""
  ops = {tensor.op}
  stack = [tensor.op]
  while stack:
    op = stack.pop()
    if op.type in _STOPS:
      continue
    for x in op.inputs:
      dtype = x.dtype.base_dtype
      if (dtype.is_integer or dtype.is_bool) or x.op in ops:
        continue
      ops.add(x.op)
      stack.append(x.op)
  return ops
