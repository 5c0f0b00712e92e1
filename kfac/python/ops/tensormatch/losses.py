"""Losses in the graph of a scalar: what they compare, and their weights.

The graph is walked from the scalar through sums, means and products with
weights to the cross entropies and squared errors that it consists of.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from kfac.python.ops.tensormatch import loss_kinds
from kfac.python.ops.tensormatch import loss_weights
from kfac.python.ops.utils import graph_copy

_SHAPE_ONLY = frozenset(
    ["OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"])
# Ops through which no gradient passes.
_NO_GRADIENT = _SHAPE_ONLY | {"StopGradient"}
# Ops that give the numbers of their first input.
_SAME = frozenset(["Cast", "CheckNumerics", "CheckNumericsV2", "ExpandDims",
                   "Identity", "Print", "Reshape", "Squeeze", "Transpose"])
_SUMS = frozenset(["Add", "AddN", "AddV2", "Sub"])
_QUOTIENTS = frozenset(["Div", "DivNoNan", "RealDiv"])

# A loss with more summands than this is not walked to its end.
_MAX_STEPS = 10000


class Term(NamedTuple):
  """A cross entropy or squared error in a loss.

  Attributes:
    kind: "softmax", "sigmoid" or "squared error".
    op: Name of the op that computes it.
    prediction: Tensor, the logits or the mean: [rows, ...].
    targets: Tensor. Classes, or rows of probabilities with the rank of the
      prediction, for softmax.
    weight: The factor of the sum of the negative log-likelihoods in the loss; a
      Weight. Squared errors count as normals of variance 1/2.
  """

  kind: str
  op: str
  prediction: tf.Tensor
  targets: tf.Tensor
  weight: loss_weights.Weight


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
  consumers = _consumers(tensor)
  return next((
      variable for variable in variables
      if tensor.op in _downstream(consumers, _ops([variable]), _NO_GRADIENT,
                                  _has_gradient)), None)


def find(loss: tf.Tensor, variables: Sequence[Any]) -> tuple[list, list]:
  """Finds the terms of a loss that predict something from data.

  Terms that do not depend both on data and on the variables, such as L2
  regularization, are left out. Without placeholders and iterators, arrays of
  constants are the data.

  Args:
    loss: Scalar tensor.
    variables: The variables that are trained.

  Returns:
    List of Terms, and a list of texts that say what cannot be a Term and why.
  """
  flow = _Flow(loss, variables)
  terms: list[Term] = []
  problems: list[str] = []
  stack = [(loss, loss_weights.ONE)]
  for _ in range(_MAX_STEPS):
    if not stack:
      return terms, problems
    tensor, weight = stack.pop()
    if not flow.is_predicted(tensor):
      continue
    try:
      core = loss_kinds.match(tensor, flow)
      if core is None:
        stack.extend(reversed(_step(tensor, weight.at(tensor), flow)))
      else:
        terms.append(_term(tensor, core, weight, flow))
    except loss_weights.NoWeightError as error:
      problems.append(f"{tensor.op.name} ({tensor.op.type}): {error}")
  return terms, problems + [f"it has more than {_MAX_STEPS} summands"]


class _Flow:
  """What depends on variables, and on data.

  Attributes:
    trained: Set of the ops that have a gradient for the variables.
    data: Set of the ops that depend on data.
  """

  def __init__(self, loss, variables):
    consumers = _consumers(loss)
    self.trained = _downstream(
        consumers, _ops(variables), _NO_GRADIENT, _has_gradient)
    data = [x.op for x in graph_copy.batch_tensors([loss])]
    if not data:
      data = [op for op in loss.graph.get_operations()
              if op.type == "Const" and op.outputs[0].dtype.is_floating
              and op.outputs[0].shape.rank]
    self.data = _downstream(consumers, data, _SHAPE_ONLY)

  def is_trained(self, tensor):
    """Whether a tensor has a gradient for the variables."""
    return tensor.op in self.trained

  def is_predicted(self, tensor):
    """Whether a tensor depends on both data and variables."""
    return tensor.op in self.trained and tensor.op in self.data


def _ops(variables):
  """Returns the ops of variables; those of Keras 3 wrap one, their value."""
  ops = []
  for variable in variables:
    value = getattr(variable, "value", None)
    if value is not None and not callable(value):
      variable = value
    for part in getattr(variable, "_variable_list", None) or [variable]:
      handle = getattr(part, "handle", part)
      ops += [op for op in (getattr(part, "op", None),
                            getattr(handle, "op", None)) if op is not None]
  return ops


def _consumers(tensor):
  """Returns {op: consumers} of the ancestors of a tensor."""
  consumers: dict[Any, list] = collections.defaultdict(list)
  seen, stack = {tensor.op}, [tensor.op]
  while stack:
    op = stack.pop()
    for x in op.inputs:
      consumers[x.op].append(op)
      if x.op not in seen:
        seen.add(x.op)
        stack.append(x.op)
  return consumers


def _downstream(consumers, sources, stops, passes=lambda op: True):
  """Returns the set of ops that depend on some ops.

  Args:
    consumers: Dict of `_consumers`.
    sources: List of ops.
    stops: Types of ops that do not depend on their inputs.
    passes: Function of an op, whether dependence passes through it.
  """
  found = set(sources)
  stack = list(found)
  while stack:
    for op in consumers.get(stack.pop(), ()):
      if op not in found and op.type not in stops and passes(op):
        found.add(op)
        stack.append(op)
  return found


def _has_gradient(op):
  """Whether an output of an op can have a gradient."""
  return any(not (x.dtype.base_dtype.is_integer or x.dtype.base_dtype.is_bool)
             for x in op.outputs)


def _step(tensor, weight, flow):
  """Returns the predicted tensors that one is a sum of, with their weights."""
  op = tensor.op
  inputs = list(op.inputs)
  if op.type in _SAME:
    return [(inputs[0], weight)]
  if op.type == "Neg":
    return [(inputs[0], weight.times(-1.))]
  if op.type in ("Mean", "Sum"):
    return [(inputs[0], weight.reduced(op))]
  if op.type in _SUMS:
    signs = [1., -1.] if op.type == "Sub" else [1.] * len(inputs)
    parts = [(x, weight.times(sign))
             for x, sign in zip(inputs, signs, strict=True)
             if flow.is_predicted(x)]
    if any(x.shape.rank != tensor.shape.rank for x, _ in parts):
      raise loss_weights.NoWeightError("its summands differ in shape")
    return parts
  if op.type == "Mul" and not flow.is_predicted(inputs[0]):
    inputs.reverse()
  if op.type == "Mul" or op.type in _QUOTIENTS:
    predicted, other = inputs
    if predicted.shape.rank != tensor.shape.rank:
      raise loss_weights.NoWeightError("a weight changes its shape")
    if flow.is_predicted(other):
      raise loss_weights.NoWeightError("it is not linear in its inputs")
    if flow.is_trained(other):
      raise loss_weights.NoWeightError(
          f"its weight {other.name} depends on variables")
    factor = loss_weights.of_tensor(other)
    return [(predicted, weight.product(factor, op.type != "Mul"))]
  raise loss_weights.NoWeightError(
      "it is no sum, mean or weighted cross entropy or squared error")


def _term(tensor, core, weight, flow):
  """Returns the Term of a loss that was found."""
  given = core.targets if core.given is None else core.given
  if flow.is_trained(given):
    raise loss_weights.NoWeightError(
        f"its targets {given.name} depend on variables")
  if not core.prediction.shape.rank:
    raise loss_weights.NoWeightError(
        f"its prediction must have a batch, got shape {core.prediction.shape}")
  weight = weight.at(tensor).times(core.factor)
  # The output of an op that also sums, tf.nn.l2_loss, has one element.
  weight = weight._replace(power=0) if core.sums else weight.total(tensor)
  if weight.number < 0:
    raise loss_weights.NoWeightError(f"its weight {weight.number} is negative")
  return Term(core.kind, tensor.op.name, core.prediction, core.targets, weight)
