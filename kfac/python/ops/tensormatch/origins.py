"""Whether values come from the examples of a batch, or from parameters alone.

Products of parameters, masks and learned queries have no examples. A layer
whose inputs are such values would count their rows as examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

DATA, PARAMETERS, NEITHER = "data", "parameters", "neither"

VARIABLES = ("VarHandleOp", "Variable", "VariableV2")
_LOOKUPS = ("Gather", "GatherV2", "ResourceGather")
_REPEATING = ("BroadcastTo", "Tile")
_WITHOUT_DATA = ("Range", "Rank", "Shape", "ShapeN", "Size", "VariableShape")


def of_ops(ops: Sequence[tf.Operation],
           num_examples: int | None) -> dict[tf.Operation, str]:
  """Says of each op where its first output comes from.

  A constant is data if its first size allows for examples; it may be the batch
  of a test.

  Args:
    ops: Ops, each after those that it depends on.
    num_examples: Static batch size, or None.

  Returns:
    Dict from ops to DATA, PARAMETERS or NEITHER.
  """
  found: dict[tf.Operation, str] = {}
  lookups = {(tensor.op, tensor.value_index) for op in ops
             if op.type in _LOOKUPS for tensor in op.inputs[1:2]}
  for op in ops:
    found[op] = _origin(op, found, num_examples, lookups)
  return found


def _origin(op, found, num_examples, lookups):
  """Returns the origin of an op, given those of its inputs."""
  if op.type in VARIABLES:
    return PARAMETERS
  if op.type in _WITHOUT_DATA or not op.outputs:
    return NEITHER
  if op.type.startswith("Placeholder"):
    return DATA if op.outputs[0].shape.rank != 0 else NEITHER
  # An input of a loop's first op may be its last one.
  inputs = {found.get(tensor.op, NEITHER) for tensor in op.inputs}
  if DATA in inputs:
    return DATA
  output = op.outputs[0]
  if PARAMETERS in inputs:
    repeats = (op.type in _REPEATING and _may_have_rows(output, num_examples)
               and _first_size(output) != _first_size(op.inputs[0]))
    return DATA if repeats else PARAMETERS
  counts = op.type != "Const" or output.dtype.is_floating or (
      (output.op, 0) in lookups)
  if output.shape.rank == 0 or not counts or (
      op.inputs and not output.dtype.is_floating
      and "Random" not in op.type and (output.op, 0) not in lookups):
    return NEITHER
  return DATA if _may_have_rows(output, num_examples) else NEITHER


def _first_size(tensor: Any) -> int | None:
  """Returns the static first size of a tensor, None if it is unknown."""
  return tf.compat.dimension_value(tensor.shape[0]) if tensor.shape.rank else (
      None)


def _may_have_rows(tensor, num_examples):
  size = _first_size(tensor)
  return size is None or num_examples is None or size % num_examples == 0
