"""The data flow from variables to losses, and the ops that use a variable."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import views
from kfac.python.ops.tensormatch import origins


class Layout(NamedTuple):
  """Where the entries of a tensor lie in the variable that it was read from.

  Attributes:
    axes: For each axis of the tensor its atoms, pairs (stride, size). An atom
      is an axis, or a part of one, of the variable; those of size 1 are left
      out.
  """

  axes: tuple[tuple[tuple[int, int], ...], ...]

  @classmethod
  def of_shape(cls, shape: Sequence[int]) -> Layout:
    """Returns the layout of a variable itself."""
    strides = [int(np.prod(shape[i + 1:], dtype=int))
               for i in range(len(shape))]
    return cls(tuple(((stride, size),) if size != 1 else ()
                     for stride, size in zip(strides, shape, strict=True)))

  def transposed(self, perm: Sequence[int]) -> Layout:
    """Returns the layout after tf.transpose."""
    return Layout(tuple(self.axes[axis] for axis in perm))

  def reshaped(self, shape: Sequence[int]) -> Layout | None:
    """Returns the layout after tf.reshape; None if an axis is cut unevenly."""
    atoms = collections.deque(atom for axis in self.axes for atom in axis)
    axes = []
    for size in shape:
      axis = []
      while size > 1:
        stride, have = atoms.popleft()
        if size % have == 0:
          axis.append((stride, have))
          size //= have
        elif have % size == 0:
          axis.append((stride * (have // size), size))
          atoms.appendleft((stride, have // size))
          size = 1
        else:
          return None
      axes.append(tuple(axis))
    return Layout(tuple(axes))

  def view(self, shape: Sequence[int], input_axes: Sequence[int],
           output_axes: Sequence[int], inputs: views.Arrangement,
           outputs: views.Arrangement) -> views.View | None:
    """Returns the view of weights with this layout.

    Args:
      shape: Shape of the variable.
      input_axes: Axes of the tensor that are those of the inputs.
      output_axes: Those of the outputs.
      inputs: Arrangement of the inputs.
      outputs: Arrangement of the outputs.

    Returns:
      View; None if the variable is the matrix [in, out], and inputs and outputs
      are [rows.., features].
    """
    ins, outs = ([atom for axis in axes for atom in self.axes[axis]]
                 for axes in (input_axes, output_axes))
    in_memory = sorted(ins + outs, reverse=True)
    refined = tuple(size for _, size in in_memory)
    order = tuple(in_memory.index(atom) for atom in ins + outs)
    view = views.View(refined, order, len(ins), inputs, outputs)
    if order != tuple(range(len(order))):
      return view
    plain = views.View(None, None, 1, inputs, outputs)
    if list(shape) == view.matrix_shape(shape):
      return None if plain == views.DENSE else plain
    return view._replace(axes=None)

  @property
  def is_plain(self) -> bool:
    """Whether the entries are in the order of the variable."""
    atoms = [atom for axis in self.axes for atom in axis]
    return atoms == sorted(atoms, reverse=True)


class Consumer(NamedTuple):
  """An op that computes with the value of a variable.

  Attributes:
    op: The op.
    position: Which of its inputs the value is.
    tensor: The input.
    layout: Layout of the input; None if it is unknown.
  """

  op: Any
  position: int
  tensor: Any
  layout: Layout | None


class DataFlow:
  """The ops from which data flows to some tensors; control inputs do not count.

  The time is linear in the number of ops.
  """

  def __init__(self, tensors: Sequence[tf.Tensor],
               num_examples: int | None = None) -> None:
    """Finds the ops.

    Args:
      tensors: Tensors of one graph.
      num_examples: Static number of examples, or None.
    """
    graph = tensors[0].graph
    self._order = {op: i for i, op in enumerate(graph.get_operations())}
    self._ends = {_key(tensor) for tensor in tensors}
    self._members = ancestors(tensors)
    self._consumers = collections.defaultdict(list)
    ordered = sorted(self._members, key=self.order)
    self._origins = origins.of_ops(ordered, num_examples)
    for op in ordered:
      for index, tensor in enumerate(op.inputs):
        self._consumers[_key(tensor)].append((op, index))

  def order(self, op: tf.Operation) -> int:
    """Returns the position of an op, after that of all ops it depends on."""
    return self._order[op]

  def has_examples(self, tensor: tf.Tensor) -> bool:
    """Whether a tensor depends on data, and not on parameters alone."""
    return self._origins.get(tensor.op) == origins.DATA

  def __contains__(self, op: tf.Operation) -> bool:
    return op in self._members

  def consumers(self, tensor: tf.Tensor) -> list:
    """Returns pairs (op, input index) of the ops that take a tensor."""
    return self._consumers.get(_key(tensor), [])

  def is_end(self, tensor: tf.Tensor) -> bool:
    """Whether this is one of the tensors that the flow ends with."""
    return _key(tensor) in self._ends

  def only_consumer(self, tensor: tf.Tensor) -> Any:
    """Returns the op that alone takes a tensor, None if there are others."""
    found = {op for op, _ in self.consumers(tensor)}
    if len(found) != 1 or self.is_end(tensor):
      return None
    return found.pop()

  def consumers_of(self, variable: tf.Variable) -> Iterator[Consumer]:
    """Yields the ops that compute with the value of a variable, in order.

    Reads, casts, reshapes and transposes of the value are passed through.

    Args:
      variable: Variable of the graph.

    Yields:
      Consumers.
    """
    start = source_of(variable)
    stack = [(start, Layout.of_shape(variable.shape.as_list()))]
    found = []
    while stack:
      tensor, layout = stack.pop()
      for op, index in self.consumers(tensor):
        reading = _READING.get(op.type)
        if index == 0 and reading is not None:
          stack.append((op.outputs[0], reading(op, layout)))
        elif op.type not in _NO_USE:
          found.append(Consumer(op, index, tensor, layout))
    yield from sorted(found, key=lambda use: (self.order(use.op), use.position))


def ancestors(tensors: Sequence[tf.Tensor]) -> set:
  """Returns the set of ops from which data flows to some tensors."""
  stack = [tensor.op for tensor in tensors]
  members = set(stack)
  while stack:
    for tensor in stack.pop().inputs:
      if tensor.op not in members:
        members.add(tensor.op)
        stack.append(tensor.op)
  return members


def source_of(variable: tf.Variable) -> tf.Tensor:
  """Returns the tensor that reads of a variable start from: handle or ref."""
  return variable.op.outputs[0]


def _key(tensor):
  return tensor.op, tensor.value_index


def _same(op, layout):
  del op
  return layout


def _reshaped(op, layout):
  shape = op.outputs[0].shape
  if layout is None or not shape.is_fully_defined():
    return None
  return layout.reshaped(shape.as_list())


def _transposed(op, layout):
  perm = tf.get_static_value(op.inputs[1])
  return None if layout is None or perm is None else layout.transposed(perm)


# Op type -> function from op and Layout to the Layout of its output.
_READING = {
    "Cast": _same,
    "ExpandDims": _reshaped,
    "Identity": _same,
    "ReadVariableOp": _same,
    "RefIdentity": _same,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Transpose": _transposed,
}

# Ops through which no gradient flows.
_NO_USE = frozenset(["IsVariableInitialized", "Shape", "Rank", "Size",
                     "StopGradient", "VarIsInitializedOp", "VariableShape",
                     "ZerosLike", "OnesLike"])
