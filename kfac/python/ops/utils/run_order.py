"""Whether two sets of ops may share a session.run without a race."""

from __future__ import annotations

import collections
from typing import Any

import tensorflow.compat.v1 as tf

# Ops whose output is the handle or the reference that is their input.
_PASSES = frozenset([
    "Enter", "Exit", "Identity", "Merge", "NextIteration", "RefEnter",
    "RefExit", "RefIdentity", "RefMerge", "RefNextIteration", "RefSwitch",
    "Switch",
])

# Ops that take a handle or a reference and do not change what it stands for.
_READS = frozenset([
    "IsVariableInitialized", "ReadVariableOp", "ResourceGather",
    "ResourceGatherNd", "VarIsInitializedOp", "VariableShape",
])


def may_share_a_run(one: Any, other: Any, graph: tf.Graph) -> bool:
  """Whether two sets of fetches that share a run cannot disturb each other.

  TensorFlow orders ops only by their inputs. So the answer is no if some state,
  such as a variable, is changed by an op that only one of the sets needs, and
  used by an op that only the other one needs. An op that both need runs once,
  and its place among the ops of each set is the same as without the other. But
  what it reads of a reference variable may change with the variable, so that
  the answer is also no if one set changes a reference variable that both use.
  Ops with functions, such as loops of control flow v2, count as changes.

  Args:
    one: Nested list of ops, tensors, variables or their names.
    other: The same.
    graph: Their graph.

  Returns:
    Boolean.
  """
  ops, others = _needed(one, graph), _needed(other, graph)
  only, only_others = _uses(ops - others), _uses(others - ops)
  both = _uses(ops & others)
  return not any(
      _collide(state, mine, theirs, both)
      for mine, theirs in ((only, only_others), (only_others, only))
      for state in mine)


def _collide(state, mine, theirs, both):
  """Whether a change of a state in `mine` meets a use of it elsewhere."""
  if not any(mine[state]):
    return False
  return state in theirs or (_is_reference(state.outputs[0])
                             and state in both)


def _needed(fetches, graph):
  """Returns the set of the ops that a run of fetches executes."""
  elements = [graph.as_graph_element(fetch) for fetch in tf.nest.flatten(
      fetches, expand_composites=True)]
  stack = [getattr(element, "op", element) for element in elements]
  needed = set(stack)
  while stack:
    op = stack.pop()
    for parent in [x.op for x in op.inputs] + list(op.control_inputs):
      if parent not in needed:
        needed.add(parent)
        stack.append(parent)
  return needed


def _uses(ops):
  """Returns a dict from the op of a state to a list: whether uses change it."""
  uses = collections.defaultdict(list)
  for op in ops:
    if _is_pass(op):
      continue
    for tensor in op.inputs:
      if _is_handle(tensor):
        uses[_state(tensor)].append(_changes(op))
  return uses


def _is_handle(tensor):
  return tensor.dtype == tf.resource or _is_reference(tensor)


def _is_reference(tensor):
  return tensor.dtype != tensor.dtype.base_dtype


def _is_pass(op):
  return op.type in _PASSES and any(_is_handle(x) for x in op.outputs)


def _state(tensor):
  """Returns the op that makes a handle or a reference."""
  while _is_pass(tensor.op):
    tensor = tensor.op.inputs[0]
  return tensor.op


def _changes(op):
  """Whether an op may change the states that are its inputs."""
  if op.type in _READS:
    return False
  # Other ops take the value of a reference, not the reference itself.
  return (any(arg.is_ref for arg in op.op_def.input_arg)
          or any(x.dtype == tf.resource for x in op.inputs))
