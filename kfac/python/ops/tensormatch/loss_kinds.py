"""The ops of cross entropies and squared errors."""

from __future__ import annotations

from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

_PASSED = frozenset(["Cast", "Identity", "StopGradient"])


class Core(NamedTuple):
  """What an op compares.

  Attributes:
    kind: "softmax", "sigmoid" or "squared error".
    prediction: Tensor.
    targets: Tensor.
    factor: Number that multiplies the negative log-likelihood.
    sums: Whether the op also takes the sum.
    given: What the targets were made of; None if that is the targets.
  """

  kind: str
  prediction: tf.Tensor
  targets: tf.Tensor
  factor: float = 1.
  sums: bool = False
  given: tf.Tensor | None = None


def match(tensor: tf.Tensor, flow: Any) -> Core | None:
  """Returns what the op of a tensor compares, or None if it is another op.

  Args:
    tensor: Tensor.
    flow: Object with methods is_predicted(tensor) and is_trained(tensor), for
      the sides of a difference.
  """
  op = tensor.op
  if op.type == "SoftmaxCrossEntropyWithLogits" and tensor.value_index == 0:
    logits, labels = (_unflattened(x) for x in op.inputs)
    return Core("softmax", logits, _classes(labels), given=op.inputs[1])
  if (op.type == "SparseSoftmaxCrossEntropyWithLogits"
      and tensor.value_index == 0):
    return Core("softmax", _unflattened(op.inputs[0]), op.inputs[1])
  if op.type in ("Add", "AddV2"):
    return _sigmoid(op)
  return _squared_error(op, flow)


def _unflattened(x):
  """Returns rows before they were reshaped to rows of the same length."""
  if x.op.type == "Reshape":
    source = x.op.inputs[0]
    if source.shape.rank == 2 and x.shape.rank == 2:
      return source
    if source.shape.rank and source.shape.as_list()[-1] is not None:
      return tf.reshape(source, [-1, source.shape.as_list()[-1]])
  return x


def _classes(labels):
  """Returns the classes of one-hot rows if an op made them; else the rows."""
  x = labels
  while x.op.type in _PASSED:
    x = x.op.inputs[0]
  if x.op.type == "OneHot" and x.op.get_attr("axis") in (-1, 1):
    on, off = (tf.get_static_value(value) for value in x.op.inputs[2:])
    if x.shape.rank == 2 and on == 1 and off == 0:
      return x.op.inputs[0]
  return labels


def _sigmoid(op):
  """Matches max(x, 0) - x z + log(1 + exp(-|x|)), logits x and targets z."""
  difference, log = (x.op for x in op.inputs)
  if log.type != "Log1p" or difference.type != "Sub":
    return None
  positive, product = (x.op for x in difference.inputs)
  exponential = log.inputs[0].op
  if exponential.type != "Exp" or product.type != "Mul":
    return None
  logits = _minus_absolute(exponential.inputs[0].op)
  factors = list(product.inputs)
  if logits is None or not any(x is logits for x in factors):
    return None
  if positive.type not in ("Maximum", "Relu", "Select", "SelectV2") or not any(
      x is logits for x in positive.inputs):
    return None
  targets = factors[1] if factors[0] is logits else factors[0]
  return Core("sigmoid", logits, targets)


def _minus_absolute(op):
  """Returns the x of -|x|, or None."""
  if op.type in ("Select", "SelectV2"):
    _, negative, x = op.inputs
    if negative.op.type == "Neg" and negative.op.inputs[0] is x:
      return x
  if op.type == "Neg" and op.inputs[0].op.type == "Abs":
    return op.inputs[0].op.inputs[0]
  return None


def _squared_error(op, flow):
  """Matches squares of differences; the side that is predicted comes first."""
  inputs = list(op.inputs)
  if op.type == "SquaredDifference":
    return _difference(inputs, None, flow)
  is_square = op.type in ("Square", "L2Loss") or (
      op.type == "Mul" and _same(*inputs)) or (
          op.type == "Pow" and np.all(tf.get_static_value(inputs[1]) == 2))
  if not is_square:
    return None
  source = inputs[0]
  sides = list(source.op.inputs) if source.op.type == "Sub" else None
  core = _difference(sides, source, flow)
  return core._replace(factor=0.5, sums=True) if op.type == "L2Loss" else core


def _same(one, other):
  """Whether tensors are the same, or the same difference computed twice."""
  if one is other:
    return True
  return one.op.type == other.op.type == "Sub" and all(
      x is y for x, y in zip(one.op.inputs, other.op.inputs, strict=True))


def _difference(sides, source, flow):
  """Returns the Core of a squared difference.

  Args:
    sides: The two tensors of the difference, or None.
    source: The difference, or None if no op makes it.
    flow: See match.
  """
  predicted = [flow.is_predicted(x) for x in sides or ()]
  trained = [flow.is_trained(x) for x in sides or ()]
  if sum(predicted) == 1 and sum(trained) == 1:
    prediction, targets = sides if predicted[0] else reversed(sides)
    shape = tf.broadcast_static_shape(prediction.shape, targets.shape)
    if prediction.shape.rank == shape.rank and (
        targets.shape.rank != shape.rank
        or not targets.shape.is_compatible_with(prediction.shape)):
      targets = tf.broadcast_to(targets, tf.shape(prediction))
    if prediction.shape.rank == shape.rank and (
        prediction.shape.is_compatible_with(shape)):
      return Core("squared error", prediction, targets)
  # A residual that is to become zero.
  residual = tf.subtract(*sides) if source is None else source
  return Core("squared error", residual, tf.stop_gradient(
      tf.zeros_like(residual)))
