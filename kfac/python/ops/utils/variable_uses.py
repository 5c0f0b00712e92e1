"""The data flow of a graph, including the bodies of its functions.

Control flow v2 stores a branch or a loop body as a function. An op names the
function and passes it inputs. Here a node of such a body is a vertex like an op
of the graph, and arguments and results pass values on, so that a value can be
followed into and out of branches and loops.

A vertex is a tuple (body, name, index): the body that holds the node, the
node's name, and the output index for nodes that pass values on, else 0.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

# Attributes of an op that name functions, for ops that call each of them once
# or choose one of them.
_BRANCHES = {
    "Case": ("branches",),
    "If": ("then_branch", "else_branch"),
    "PartitionedCall": ("f",),
    "StatefulPartitionedCall": ("f",),
    "StatelessCase": ("branches",),
    "StatelessIf": ("then_branch", "else_branch"),
}
# The same for loops.
_LOOPS = {
    "StatelessWhile": ("cond", "body"),
    "While": ("cond", "body"),
}
_FUNCTIONS = dict(_BRANCHES, **_LOOPS)
# Their first input chooses the branch; the others are its arguments.
_CHOOSING = ("Case", "If", "StatelessCase", "StatelessIf")
# tf.custom_gradient passes its inputs and outputs through this op.
_PARALLEL_IDENTITY = "IdentityN"

# A node: its type, its data inputs as (name, output index), and the names of
# the functions that its _FUNCTIONS attributes hold.
_Node = collections.namedtuple("_Node", ["type", "inputs", "functions"])


class DataFlow:
  """The data ancestors of some tensors.

  The time is linear in the size of the graph and of the bodies called.
  """

  def __init__(self, graph: tf.Graph, tensors: Sequence[tf.Tensor]) -> None:
    """Finds the ancestors.

    Args:
      graph: The tf.Graph that holds the tensors.
      tensors: Sequence of tensors.
    """
    self._top = _Top(graph)
    # (body, name) of a passing node: for each output, the vertices it is from.
    self._results: dict[tuple, list] = {}
    self._consumers = collections.defaultdict(list)
    stack = [self._vertex(self._top, tensor.op.name, tensor.value_index)
             for tensor in tensors]
    seen = set(stack)
    while stack:
      vertex = stack.pop()
      for source in self._inputs(vertex):
        self._consumers[source].append(vertex)
        if source not in seen:
          seen.add(source)
          stack.append(source)

  def consumer_types(self, op: tf.Operation,
                     looked_through: Iterable[str]) -> list[str]:
    """Lists the types of the nodes that consume the outputs of an op.

    Args:
      op: tf.Operation of the graph.
      looked_through: Op types that are replaced by their own consumers.

    Returns:
      List of op types, each node counted once.
    """
    types = []
    stack = [(self._top, op.name, 0)]
    seen = set(stack)
    while stack:
      for vertex in self._consumers.get(stack.pop(), ()):
        if vertex in seen:
          continue
        seen.add(vertex)
        body, name, _ = vertex
        if name in body.arguments or _passes_on(body.node(name)):
          stack.append(vertex)
        elif body.node(name).type in looked_through:
          stack.append(vertex)
        else:
          types.append(body.node(name).type)
    return types

  def _vertex(self, body, name, index):
    if name in body.arguments or not _passes_on(body.node(name)):
      return body, name, 0
    return body, name, index

  def _inputs(self, vertex):
    """Returns the vertices from which a vertex is directly computed."""
    body, name, index = vertex
    if name in body.arguments:
      return [self._vertex(*feed) for feed in body.feeds[body.arguments[name]]]
    node = body.node(name)
    if not _passes_on(node):
      return [self._vertex(body, *source) for source in node.inputs]
    if (body, name) not in self._results:
      self._results[body, name] = self._open(body, node)
    results = self._results[body, name]
    return [self._vertex(*source) for source in results[index]]

  def _open(self, body, node):
    """Returns, for each output of a passing node, the vertices it is from."""
    inputs = [(body,) + source for source in node.inputs]
    if node.type == _PARALLEL_IDENTITY:
      return [[source] for source in inputs]
    if node.type in _LOOPS:
      return self._open_loop(node, inputs)
    chooser = []
    if node.type in _CHOOSING:
      chooser, inputs = inputs[:1], inputs[1:]
    feeds = [[source] for source in inputs]
    branches = [_Body(self._top.function(name), feeds)
                for name in node.functions]
    results = [branch.results() for branch in branches]
    return [chooser + list(values) for values in zip(*results, strict=True)]

  def _open_loop(self, node, inputs):
    feeds = [[source] for source in inputs]
    condition, body = (_Body(self._top.function(name), feeds)
                       for name in node.functions)
    for feed, result in zip(feeds, body.results(), strict=True):
      feed.append(result)  # Each iteration feeds the next.
    return [feed + condition.results() for feed in feeds]


class _Top:
  """The graph's own ops."""

  arguments: dict[str, int] = {}

  def __init__(self, graph):
    self._graph = graph
    self._nodes = {}
    self._library = None

  def node(self, name):
    if name not in self._nodes:
      op = self._graph.get_operation_by_name(name)
      self._nodes[name] = _Node(
          op.type, [(x.op.name, x.value_index) for x in op.inputs],
          _function_names(op.type, op.get_attr))
    return self._nodes[name]

  def function(self, name):
    """Returns the FunctionDef of this name."""
    if self._library is None:
      functions = self._graph.as_graph_def().library.function
      self._library = {f.signature.name: f for f in functions}
    return self._library[name]


class _Body:
  """A function at one of its calls.

  Attributes:
    arguments: {name: position}.
    feeds: For each argument the list of (body, name, output index) of its
      possible values.
  """

  def __init__(self, function, feeds):
    self.arguments = {argument.name: position for position, argument
                      in enumerate(function.signature.input_arg)}
    self.feeds = feeds
    self._defs = {node.name: node for node in function.node_def}
    self._nodes = {}
    self._results = [function.ret[result.name]
                     for result in function.signature.output_arg]

  def node(self, name):
    if name not in self._nodes:
      node = self._defs[name]
      self._nodes[name] = _Node(
          node.op, [_source(x) for x in node.input if not x.startswith("^")],
          _function_names(node.op, lambda key: _attr(node.attr[key])))
    return self._nodes[name]

  def results(self):
    return [(self,) + _source(result) for result in self._results]


def _passes_on(node):
  return node.type in _FUNCTIONS or node.type == _PARALLEL_IDENTITY


def _function_names(op_type, get_attr):
  """Returns the names of the functions that an op calls, in order."""
  names: list[str] = []
  for key in _FUNCTIONS.get(op_type, ()):
    value = get_attr(key)
    functions = value if isinstance(value, list) else [value]
    names.extend(function.name for function in functions)
  return names


def _attr(value):
  """Returns the function or the list of functions in an AttrValue."""
  if value.HasField("list"):
    return list(value.list.func)
  return value.func


def _source(text):
  """Parses an input in a body: "argument" or "node:output:index"."""
  name, _, output = text.partition(":")
  return name, int(output.rpartition(":")[2]) if output else 0
