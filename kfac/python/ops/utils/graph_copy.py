"""Copies of a part of a graph in which some of its tensors are replaced.

With the reads of the variables replaced, a copy of the loss is the loss after a
step, for the same batch and the same dropout masks. With the batch replaced by
a part of it, a copy of the model is the model on that part.
"""

from __future__ import annotations

import itertools
import re
import typing
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

_LOOP = "it belongs to a loop of control flow v1"
_BRANCH = "it belongs to a tf.cond or a loop of control flow v1"
_PYTHON = "it calls Python, which may do something else the second time"
_FUNCTION = "it calls a function, a branch or a loop of control flow v2"
_RANDOM = "it would draw other random numbers"
_CHANGE = "it may change a variable"
_STATE = "it has a state and may give something else the second time"
_FEED = "its value may be fed, which a copy would not see"

# Types of ops that are not copied, and why. _refusal adds what attributes and
# arguments of an op tell.
_REFUSED = {
    "EagerPyFunc": _PYTHON, "PyFunc": _PYTHON, "PyFuncStateless": _PYTHON,
    "Enter": _LOOP, "Exit": _LOOP, "LoopCond": _LOOP, "NextIteration": _LOOP,
    "RefEnter": _LOOP, "RefExit": _LOOP, "RefNextIteration": _LOOP,
    "Merge": _BRANCH, "RefMerge": _BRANCH, "RefSwitch": _BRANCH,
    "Switch": _BRANCH,
    "PlaceholderWithDefault": _FEED,
}

# Ops that TensorFlow marks as stateful although a copy gives the same.
_REPEATABLE = frozenset([
    "CheckNumerics", "CheckNumericsV2", "LookupTableFindV2", "ResourceGather",
    "ResourceGatherNd",
])

# Ops whose outputs depend on the shape of their input only.
_SHAPE_ONLY = frozenset(
    ["OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"])

# Ops that read a property of a variable that no step changes.
_NO_VALUE = frozenset(
    ["IsVariableInitialized", "VarIsInitializedOp", "VariableShape"])

# Ops whose first output is their first input, and whose other work is not to
# be done again.
_SKIPPED = frozenset(["Print"])

# What an op depends on: the values of replaced tensors, or their shapes too.
_VALUES, _SHAPES = 1, 2

# Constants up to this size are copied into a branch, where static shapes may
# depend on them.
_SMALL_CONSTANT = 1000

# How gradients of tf.custom_gradient are registered.
_CUSTOM_GRADIENT = "CustomGradient-"
_serial_numbers = itertools.count()

# Ops that make batches.
_BATCH_OPS = re.compile(
    r"Placeholder(V2|WithDefault)?|\w*IteratorGetNext\w*|QueueDequeue\w*")

# Ops that example_losses looks through: their first input is their value, up
# to the dtype and axes of length 1.
_SAME_SCALAR = frozenset(["Cast", "CheckNumerics", "CheckNumericsV2",
                          "Identity", "Print", "Reshape", "Squeeze"])
_SUMS = frozenset(["Add", "AddN", "AddV2", "Sub"])
_REDUCTIONS = frozenset(["Mean", "Sum"])
_FACTORS = {"Div": tf.divide, "DivNoNan": tf.div_no_nan, "Mul": tf.multiply,
            "RealDiv": tf.divide}
_NEGATIVE = ((tf.multiply, -1.),)


class NotCopyable(ValueError):
  """An op would have to be copied that cannot; names it, its type and why."""

  def __init__(self, op: tf.Operation, reason: str) -> None:
    super().__init__(f"{op.name} ({op.type}) cannot be copied: {reason}.")


def copy(outputs: Sequence[tf.Tensor],
         replaced: Mapping[tf.Tensor, tf.Tensor] | None = None,
         variables: Iterable[tf.Variable] = (),
         name: str = "copy") -> list[tf.Tensor]:
  """Copies the part of a graph between what is replaced and some outputs.

  An op is copied if data flows through it from a replaced tensor, or from a
  read of one of the variables, to an output. All else is shared with the
  original and so evaluated once in a run: batches, dropout masks, other
  variables, assertions and updates that an op waits for. Copies wait for the
  originals of control inputs that are not copied. No cycle arises, as nothing
  that existed before depends on a copy.

  The values of variables do not change shapes. So an op that depends on the
  variables by a shape only is not copied, such as the random numbers of
  dropout. What depends on the shape of a tensor in `replaced` is copied.

  May be called in a branch of a tf.cond, for outputs of the graph outside.

  A batch size that the graph holds as a number, such as a divisor, stays what
  it is. A reshape to it may fail only when it runs.

  Args:
    outputs: Tensors of one graph, of any shapes.
    replaced: Dict from a tensor to the one of its dtype that takes its place.
    variables: Variables that are read again now, that is, under the current
      control dependencies and in the current branch.
    name: Name scope of the copies.

  Returns:
    List of tensors, one for each of `outputs`: the output itself if it does
    not depend on what is replaced. Gradients pass through copies as through
    the originals, including those of tf.custom_gradient.

  Raises:
    NotCopyable: If an op would have to be copied that belongs to a loop or a
      branch, calls a function, has a state or draws random numbers, or if it
      does not fit the shapes of the replacements.
    ValueError: If a replacement has another dtype.
  """
  replacements = {}
  for tensor, replacement in (replaced or {}).items():
    if replacement.dtype.base_dtype != tensor.dtype.base_dtype:
      raise ValueError(
          f"replaced must keep the dtype {tensor.dtype.base_dtype.name} of "
          f"{tensor.name}, got {replacement.dtype.base_dtype.name}.")
    replacements[tensor.name] = replacement
  with tf.name_scope(name) as scope:
    return _copy(outputs, replacements, list(variables), scope)


def _copy(outputs, replacements, variables, scope):
  """See `copy`; the keys of `replacements` are names."""
  part = _Part(outputs, replacements, variables)
  return _Import(part, replacements, variables, scope).outputs(outputs)


class _Part:
  """The part of a graph that is copied.

  Attributes:
    ops: {name: op}, the ops that are copied.
    reads: {name of a tensor: variable}, the reads that are made again.
    handles: {name of a tensor: variable}, the handles and references.
  """

  def __init__(self, outputs, replacements, variables):
    self.ops = {}
    self.reads = {}
    self.handles = {variable.op.outputs[0].name: variable
                    for variable in variables}
    self._replacements = replacements
    self._consumers = _consumers(outputs, stops=replacements)
    self._changed = self._spread(self._start())
    self._collect(outputs)

  def _start(self):
    """Returns what a change spreads from: (consumer, level)."""
    start = [(op, _SHAPES) for name in self._replacements
             for op in self._consumers.get(name, ())]
    stack = list(self.handles)
    while stack:
      handle = stack.pop()
      for op in self._consumers.get(handle, ()):
        if _passes_handle(op):
          self.handles[op.outputs[0].name] = self.handles[handle]
          stack.append(op.outputs[0].name)
        elif op.type in ("Identity", "ReadVariableOp"):
          self.reads[op.outputs[0].name] = self.handles[handle]
        elif op.type not in _NO_VALUE:
          start.append((op, _VALUES))
    start.extend((op, _VALUES) for name in self.reads
                 for op in self._consumers[name])
    return start

  def _spread(self, stack):
    """Returns the ops that a change reaches."""
    levels: dict[tf.Operation, int] = {}
    while stack:
      op, level = stack.pop()
      if (level <= levels.get(op, 0)
          or op.type in _SHAPE_ONLY and level < _SHAPES):
        continue
      levels[op] = level
      stack.extend((consumer, level) for x in op.outputs
                   for consumer in self._consumers.get(x.name, ()))
    return levels.keys()

  def _collect(self, outputs):
    """Fills `ops`; refuses what cannot be copied."""
    # What is needed for a shape only, which does not change, is left out.
    stack = list(reversed(outputs))
    while stack:
      tensor = self.source(stack.pop())
      op = tensor.op
      if op.name in self.ops or not self.is_copied(tensor):
        continue
      reason = _refusal(op)
      if reason:
        raise NotCopyable(op, reason)
      self.ops[op.name] = op
      stack.extend(op.inputs)

  def source(self, tensor):
    """Returns the tensor that gives a tensor's value: looks through Print."""
    while tensor.op.type in _SKIPPED and self.is_copied(tensor):
      tensor = tensor.op.inputs[0]
    return tensor

  def is_made(self, tensor):
    """Whether a tensor is not replaced, nor a read, nor a handle."""
    return not any(tensor.name in names for names in (
        self._replacements, self.reads, self.handles))

  def is_copied(self, tensor):
    return tensor.op in self._changed and self.is_made(tensor)


class _Import:
  """The copies of the ops of a `_Part`, in the default graph."""

  def __init__(self, part, replacements, variables, scope):
    self._part = part
    self._replacements = replacements
    self._variables = variables
    self._scope = scope
    # What takes the place of tensors that are not copied, by their names.
    self._map = {}
    self._reads = {}
    self._copies = {}
    if part.ops:
      self._import()

  def outputs(self, outputs):
    """Returns the copies of some tensors, or themselves."""
    results = []
    for output in outputs:
      source = self._part.source(output)
      if self._part.is_copied(source):
        copied = self._copies[source.op.name].outputs[source.value_index]
        results.append(copied)
      elif source is output and self._part.is_made(source):
        results.append(output)
      else:
        results.append(self._outside(source))
    return results

  def _import(self):
    graph_def = self._graph_def()
    names = [node.name for node in graph_def.node]
    try:
      ops = tf.import_graph_def(
          graph_def, input_map=self._map, return_elements=names,
          name=self._scope)
    except ValueError as error:
      raise self._misfit(error) from error
    self._copies = dict(zip(names, ops, strict=True))

  def _graph_def(self):
    """Returns the GraphDef of the copies; fills the map of their inputs."""
    nodes = []
    waited = {}
    stack = list(self._part.ops.values())
    constants = set()
    while stack:
      op = stack.pop()
      node = tf.NodeDef()
      node.CopyFrom(op.node_def)
      del node.input[:]
      for x in map(self._part.source, op.inputs):
        node.input.append(x.name)
        if self._part.is_copied(x) or x.name in constants:
          continue
        if self._part.is_made(x) and _is_small_constant_outside(x):
          constants.add(x.name)
          stack.append(x.op)
        else:
          self._outside(x)
      for other in op.control_inputs:
        node.input.append("^" + other.name)
        if other.name not in self._part.ops:
          waited[other.name] = other
      self._edit_attributes(op, node)
      nodes.append(node)
    for name, other in waited.items():
      with tf.control_dependencies([other]):
        self._map["^" + name] = tf.constant(0, name="after")
    return tf.GraphDef(node=nodes, versions=op.graph.graph_def_versions)

  def _outside(self, tensor):
    """Returns what takes the place of a tensor that is not copied."""
    if tensor.name not in self._map:
      self._map[tensor.name] = self._make_outside(tensor)
    return self._map[tensor.name]

  def _make_outside(self, tensor):
    if tensor.name in self._replacements:
      return _bring(self._replacements[tensor.name])
    if tensor.name in self._part.reads:
      return self._read(self._part.reads[tensor.name])
    if tensor.name in self._part.handles and tensor.dtype != tf.resource:
      return self._read(self._part.handles[tensor.name])
    return _bring(tensor)

  def _read(self, variable):
    """Returns the one fresh read of a variable."""
    if variable.name not in self._reads:
      self._reads[variable.name] = variable.read_value()
    return self._reads[variable.name]

  def _edit_attributes(self, op, node):
    kept = [value for value in node.attr["_class"].list.s
            if not value.startswith(b"loc:@")]
    del node.attr["_class"]
    if kept:
      node.attr["_class"].list.s.extend(kept)
    gradient = node.attr["_gradient_op_type"].s if (
        "_gradient_op_type" in node.attr) else b""
    if gradient.startswith(_CUSTOM_GRADIENT.encode()):
      node.attr["_gradient_op_type"].s = self._register_gradient(op).encode()

  def _register_gradient(self, op):
    """Registers the gradient of a copied op of tf.custom_gradient.

    That of the original is a closure that holds original tensors. So it is
    built from these, and then copied itself.

    Args:
      op: The original op.

    Returns:
      Name of the gradient.
    """
    name = f"{_CUSTOM_GRADIENT}copy-{next(_serial_numbers)}"

    @tf.RegisterGradient(name)
    def gradient(unused_op, *grads):
      ys = [i for i, dy in enumerate(grads) if dy is not None]
      seeds = [tf.zeros_like(op.outputs[i]) for i in ys]
      xs = list(op.inputs)
      originals = tf.gradients([op.outputs[i] for i in ys], xs, grad_ys=seeds,
                               stop_gradients=xs)
      replacements = self._all_replacements()
      replacements.update((seed.name, tf.convert_to_tensor(grads[i]))
                          for seed, i in zip(seeds, ys, strict=True))
      found = [i for i, x in enumerate(originals) if x is not None]
      with tf.name_scope("copy") as scope:
        copies = _copy([tf.convert_to_tensor(originals[i]) for i in found],
                       replacements, self._variables, scope)
      results = [None] * len(xs)
      for i, copied in zip(found, copies, strict=True):
        results[i] = copied
      return results

    return name

  def _all_replacements(self):
    """Returns a dict from names to what takes the place of the tensors."""
    replacements = dict(self._replacements)
    replacements.update(
        (name, self._map[name]) for name in self._part.reads
        if name in self._map)
    for name, op in self._part.ops.items():
      replacements.update(
          (x.name, y) for x, y in zip(op.outputs, self._copies[name].outputs,
                                      strict=True))
    return replacements

  def _misfit(self, error):
    """Returns the error that an op does not fit the new shapes."""
    text = str(error).splitlines()[0].rstrip(".")
    match = re.search(re.escape(self._scope) + r"([\w.\-/>]+)", text)
    if match is None:
      return error  # Not about an op.
    return NotCopyable(
        self._part.ops[match.group(1)], "the graph holds a fixed batch size, "
        f"or the replacements have wrong shapes: {text}")


def _consumers(tensors, stops=()):
  """Returns {name of an ancestor of the tensors, or of one: its consumers}.

  Args:
    tensors: Tensors of one graph.
    stops: Names of tensors whose ancestors are not searched.

  Returns:
    Dict with lists of the ops that are ancestors, by data inputs.
  """
  consumers: dict[str, list] = {tensor.name: [] for tensor in tensors}
  stack = [x.op for x in tensors if x.name not in stops]
  seen = set()
  while stack:
    op = stack.pop()
    if op in seen:
      continue
    seen.add(op)
    for x in op.inputs:
      consumers.setdefault(x.name, []).append(op)
      if x.name not in stops:
        stack.append(x.op)
  return consumers


def _passes_handle(op):
  """Whether the output of an op is the handle that it takes."""
  return op.type == "Identity" and op.outputs[0].dtype == tf.resource


def _refusal(op):
  """Returns why an op is not copied, or None."""
  if op.type in _REFUSED:
    return _REFUSED[op.type]
  attributes = op.node_def.attr
  if any(value.HasField("func") or value.list.func
         for value in attributes.values()):
    return _FUNCTION
  if "seed2" in attributes:
    return _RANDOM
  if any(argument.is_ref for argument in op.op_def.input_arg):
    return _CHANGE
  if op.op_def.is_stateful and op.type not in _REPEATABLE:
    return _STATE
  return None


def _bring(tensor):
  """Returns a tensor's value in the default graph, such as a branch's."""
  # A branch of control flow v1 brings in the inputs of all its ops itself.
  if tensor.graph is tf.get_default_graph():
    return tensor
  return tf.identity(tensor)


def _is_small_constant_outside(tensor):
  return (tensor.op.type == "Const"
          and tensor.graph is not tf.get_default_graph()
          and tensor.shape.num_elements() <= _SMALL_CONSTANT)


def batch_tensors(outputs: Sequence[tf.Tensor]) -> list[tf.Tensor]:
  """Lists the tensors through which data enters a graph.

  These are outputs of placeholders, iterators and dequeue ops, of numbers,
  truth values or strings. Scalars do not count; a placeholder of unknown rank
  does.

  Args:
    outputs: Tensors of one graph.

  Returns:
    Those from which data flows to the outputs, in the order of their creation.
  """
  consumers = _consumers(outputs)
  return [
      x for op in outputs[0].graph.get_operations()
      if _BATCH_OPS.fullmatch(op.type)
      for x in op.outputs
      if x.name in consumers and x.shape.rank != 0 and _is_data(x.dtype)]


def _is_data(dtype):
  return dtype not in (tf.resource, tf.variant)


def example_losses(loss: tf.Tensor,
                   batch: Sequence[tf.Tensor]) -> tf.Tensor | None:
  """Finds the losses of the examples of a batch behind their mean or sum.

  Looks back from the loss through sums, and through products and quotients
  with what does not depend on the batch, or by its shape only, to the tensors
  of which the loss takes means or sums over all axes. Their first axis is taken
  as that of the examples. Terms that do not depend on the batch, such as L2
  regularization, are left out.

  Args:
    loss: Scalar tensor.
    batch: Tensors of the batch, [B, ...].

  Returns:
    Tensor [B] of the dtype of the loss. Its mean is the loss without the terms
    left out. So it is B times the summands if the loss is a sum. None if the
    loss is computed in another way, or if lengths of first axes that are known
    differ.
  """
  terms = _terms(loss, _dependents(loss, batch))
  lengths = {term.tensor.shape.as_list()[0] for term in terms} - {None}
  batch_lengths = {x.shape.as_list()[0] if x.shape.rank else None
                   for x in batch}
  if not terms or len(lengths) > 1 or not (
      None in batch_lengths or lengths <= batch_lengths):
    return None
  values = [term.example_losses(loss.dtype) for term in terms]
  return values[0] if len(values) == 1 else tf.add_n(values)


class _Term(typing.NamedTuple):
  """A term of a loss: the mean or sum of a tensor, times factors."""

  tensor: tf.Tensor
  is_sum: bool
  factors: tuple  # Of pairs: an arithmetic function, its second argument.

  def example_losses(self, dtype):
    """Returns a tensor [B] whose mean is the term."""
    losses = tf.cast(self.tensor, dtype)
    if self.tensor.shape.rank > 1:
      reduce = tf.reduce_sum if self.is_sum else tf.reduce_mean
      losses = reduce(losses, axis=list(range(1, self.tensor.shape.rank)))
    if self.is_sum:
      losses *= tf.cast(tf.shape(losses)[0], dtype)
    for function, other in self.factors:
      losses = function(losses, tf.cast(tf.reshape(other, []), dtype))
    return losses


def _dependents(output, sources):
  """Returns names of ancestors of an output that depend on sources' values."""
  consumers = _consumers([output])
  stack = [source.name for source in sources]
  names = set(stack)
  while stack:
    for op in consumers.get(stack.pop(), ()):
      if op.type in _SHAPE_ONLY:
        continue
      for x in op.outputs:
        if x.name not in names:
          names.add(x.name)
          stack.append(x.name)
  return names


def _terms(loss, dependents):
  """Returns the terms of a loss that depend on the batch; [] if unclear."""
  terms = []
  stack = [(loss, ())]
  while stack:
    tensor, factors = stack.pop()
    if tensor.shape.num_elements() != 1:
      return []
    op = tensor.op
    if op.type in _REDUCTIONS and op.inputs[0].shape.rank != 0:
      if op.inputs[0].name not in dependents or op.inputs[0].shape.rank is None:
        return []
      terms.append(_Term(op.inputs[0], op.type == "Sum", factors))
      continue
    summands = _summands(op, dependents)
    if summands is None:
      return []
    stack.extend((x, factors + more) for x, more in reversed(summands))
  return terms


def _summands(op, dependents):
  """Returns the scalars whose sum an op gives, and factors; None if unclear.

  Args:
    op: tf.Operation whose output is a scalar.
    dependents: Names of the tensors that depend on the batch. Scalars that do
      not are left out.

  Returns:
    List of pairs (tensor, tuple of factors as in _Term), or None.
  """
  inputs = list(op.inputs)
  depend = [x.name in dependents for x in inputs]
  if op.type in _SUMS:
    signs: list[tuple] = [()] * len(inputs)
    if op.type == "Sub":
      signs[1] = _NEGATIVE
    return [pair for pair, needed in zip(zip(inputs, signs, strict=True),
                                         depend, strict=True) if needed]
  if op.type == "Mul" and depend[1]:
    inputs.reverse()
    depend.reverse()
  if sum(depend) != 1 or not depend[0]:
    return None
  if op.type in _FACTORS:
    return [(inputs[0], ((_FACTORS[op.type], inputs[1]),))]
  if op.type == "Neg":
    return [(inputs[0], _NEGATIVE)]
  if op.type in _SAME_SCALAR or op.type in _REDUCTIONS:
    return [(inputs[0], ())]
  return None
