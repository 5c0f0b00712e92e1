"""Dependencies of tensors, forward-mode gradients and random signs."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import variable_uses

# Ops that pass on a variable's value, or its resource handle, unchanged.
_LOOKED_THROUGH = frozenset([
    "Enter", "Exit", "Identity", "Merge", "NextIteration", "ReadVariableOp",
    "RefEnter", "RefExit", "RefIdentity", "RefMerge", "RefNextIteration",
    "RefSwitch", "Switch",
])

# Ops that read a property of a variable other than its value.
_NO_USE = frozenset(
    ["IsVariableInitialized", "VarIsInitializedOp", "VariableShape"])


class SubGraph:
  """The ops and tensors from which some outputs are computed.

  Membership is fixed at construction: ops that are added to the graph later,
  such as those of gradients, do not belong to it.
  """

  def __init__(self, outputs: Any) -> None:
    """Finds all ancestors of the outputs, in time linear in their number.

    Args:
      outputs: Tensor or (nested) list or tuple of tensors. They are members.

    Raises:
      ValueError: If there is none, if one is not a tensor, or if they belong to
        several graphs.
    """
    outputs = tf.nest.flatten(outputs)
    for output in outputs:
      if not isinstance(output, tf.Tensor):
        raise ValueError(f"outputs must be tensors, got {output!r}.")
    graphs = [output.graph for output in outputs]
    if not graphs or any(graph is not graphs[0] for graph in graphs):
      raise ValueError(
          "outputs must be one or more tensors of the same graph, got "
          f"{outputs!r}.")
    self._graph = graphs[0]
    self._members = _ancestors(outputs)
    self._data_flow = variable_uses.DataFlow(self._graph, outputs)

  def is_member(self, node: Any) -> bool:
    """Whether the outputs depend on a node, by data or control inputs.

    Args:
      node: Tensor, operation, or variable (which stands for its operation).

    Returns:
      bool.

    Raises:
      ValueError: If the node is something else.
    """
    if isinstance(node, tf.Tensor):
      return (node.op, node.value_index) in self._members
    if isinstance(node, tf.Operation):
      return node in self._members
    if _is_variable(node):
      return node.op in self._members
    raise ValueError(
        f"node must be a tensor, an operation or a variable, got {node!r}.")

  def variable_uses(self, var: tf.Variable) -> int:
    """Counts the ops that compute with a variable's value.

    Only ops from which data flows to the outputs count, since no gradient
    passes through a control input. An op that takes the value twice counts
    once. Reads, identities, ops of control flow and function calls do not count
    themselves; the ops behind them do. An op in a branch or in the body of a
    loop counts once, however often it runs.

    Args:
      var: Variable. Of a partitioned variable, one of its slices.

    Returns:
      int.

    Raises:
      ValueError: If `var` is not a variable.
    """
    if not _is_variable(var):
      raise ValueError(f"var must be a variable, got {var!r}.")
    if var.op.graph is not self._graph:
      return 0
    types = self._data_flow.consumer_types(var.op, _LOOKED_THROUGH)
    return sum(op_type not in _NO_USE for op_type in types)

  def filter_list(self, node_list: Iterable[Any]) -> list:
    """Returns the members among some nodes, in their order.

    Args:
      node_list: Iterable of tensors, operations or variables.

    Raises:
      ValueError: If a node is something else.
    """
    return [node for node in node_list if self.is_member(node)]


def _ancestors(tensors):
  """Returns the set of ops, and of (op, output index), above the tensors."""
  members = set((tensor.op, tensor.value_index) for tensor in tensors)
  stack = [tensor.op for tensor in tensors]
  members.update(stack)
  while stack:
    op = stack.pop()
    inputs = op.inputs
    members.update((tensor.op, tensor.value_index) for tensor in inputs)
    for parent in [x.op for x in inputs] + list(op.control_inputs):
      if parent not in members:
        members.add(parent)
        stack.append(parent)
  return members


def _is_variable(value):
  # The class of compat.v1 does not cover all resource variables.
  return isinstance(value, (tf.Variable, tf.compat.v2.Variable))


def fwd_gradients(ys: hints.OneOrMore, xs: hints.OneOrMore,
                  grad_xs: Sequence[Any] | None = None,
                  stop_gradients: hints.OneOrMore | None = None,
                  colocate_gradients_with_ops: bool = True) -> list[tf.Tensor]:
  """Differentiates in forward mode: Jacobian times vector.

  The backward pass J^T u is linear in u, and the gradient of its inner product
  with `grad_xs` with respect to u is J grad_xs.

  Args:
    ys: Tensor or list of tensors to differentiate.
    xs: Tensor or variable, or list of them, to differentiate with respect to.
    grad_xs: Tangents, shaped like `xs`: tensors, IndexedSlices or None, which
      means ones. None for all ones.
    stop_gradients: Tensor or list of tensors that count as constants, or None.
    colocate_gradients_with_ops: bool. As in tf.gradients.

  Returns:
    List of tensors, one for each of `ys` and of its shape. Zeros for those
    that depend on none of `xs`.

  Raises:
    ValueError: If `grad_xs` does not have the length of `xs`.
    TypeError: If `ys` are results of a loop of control flow v1, whose second
      derivative TensorFlow does not support.
  """
  return linearize(
      ys, xs, stop_gradients, colocate_gradients_with_ops)(grad_xs)


def linearize(
    ys: hints.OneOrMore, xs: hints.OneOrMore,
    stop_gradients: hints.OneOrMore | None = None,
    colocate_gradients_with_ops: bool = True) -> Callable[..., list[tf.Tensor]]:
  """Differentiates in forward mode, for several tangents.

  Args:
    ys: See fwd_gradients.
    xs: See fwd_gradients.
    stop_gradients: See fwd_gradients.
    colocate_gradients_with_ops: See fwd_gradients.

  Returns:
    Function of `grad_xs` that returns and raises what fwd_gradients does. All
    its calls share one backward pass, of which a session runs only what the
    products need: the layers' outputs, no gradients.
  """
  outputs = [tf.convert_to_tensor(y) for y in _as_list(ys)]
  inputs = _as_list(xs)
  us = [tf.ones_like(y) for y in outputs]  # J^T u is linear: any u works.
  vjps = tf.gradients(
      outputs, inputs, grad_ys=us, stop_gradients=stop_gradients,
      colocate_gradients_with_ops=colocate_gradients_with_ops)

  def multiply(grad_xs=None):
    grad_xs = [None] * len(inputs) if grad_xs is None else _as_list(grad_xs)
    if len(grad_xs) != len(inputs):
      raise ValueError(f"grad_xs must have the length of xs, {len(inputs)}, "
                       f"got {len(grad_xs)}.")
    pairs = [(tf.convert_to_tensor(vjp), _tangent(grad_x, vjp))
             for vjp, grad_x in zip(vjps, grad_xs, strict=True)
             if vjp is not None]
    if not pairs:
      return [tf.zeros_like(y) for y in outputs]
    products, tangents = zip(*pairs, strict=True)
    jvps = tf.gradients(
        products, us, grad_ys=tangents,
        colocate_gradients_with_ops=colocate_gradients_with_ops)
    return [tf.zeros_like(y) if jvp is None else tf.convert_to_tensor(jvp)
            for y, jvp in zip(outputs, jvps, strict=True)]

  return multiply


def _as_list(values):
  return list(values) if isinstance(values, (list, tuple)) else [values]


def _tangent(grad_x, vjp):
  if grad_x is None:
    return None
  return tf.convert_to_tensor(grad_x, dtype=vjp.dtype)


def generate_random_signs(
    shape: hints.Shape, dtype: hints.DType = tf.float32,
    stateless_seed: tf.Tensor | None = None) -> tf.Tensor:
  """Draws independent signs, -1 and 1 with probability 1/2 each.

  Args:
    shape: Shape of the result; may be a tensor.
    dtype: Signed numeric dtype of the result.
    stateless_seed: Int tensor [2] that determines the signs; None if they come
      from an op with a state.

  Returns:
    Tensor of the shape and dtype.
  """
  if stateless_seed is None:
    bits = tf.random_uniform(shape, maxval=2, dtype=tf.int32)
  else:
    bits = tf.random.stateless_uniform(
        shape, stateless_seed, minval=0, maxval=2, dtype=tf.int32)
  return tf.cast(2 * bits - 1, dtype)
