"""The inputs of a scale: the derivative of its outputs in direction 1.

Outputs are linear in the scale, so the derivative does not depend on its value.
It is computed op by op; tf.gradients would visit the whole graph for each
scale.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_FUSED_ATTRIBUTES = ("epsilon", "exponential_avg_factor", "data_format",
                     "is_training")


def derivative(use: Any) -> tf.Tensor:
  """Returns the derivative of outputs with respect to a scale, in direction 1.

  Args:
    use: records.Use of kind "scale".

  Returns:
    Tensor that has the rank and the first size of the outputs, and broadcasts
    to their shape.
  """
  if use.op.type in FUSED:
    return _normalised(use.op)
  # Numbers are constant tangents; others broadcast to the shape of the tensor.
  tangents: dict[tf.Operation, Any] = {}
  for op, within in use.region.steps:
    known = [tangents.get(tensor.op, 1.) if is_in else None
             for tensor, is_in in zip(op.inputs, within, strict=True)]
    tangents[op] = _push(op, known)
  return _full(tangents[use.region.steps[-1][0]], use.outputs)


def _push(op, known):
  """Returns the tangent of the output of a linear op.

  Args:
    op: The op.
    known: For each input its tangent, or None if it is a constant.
  """
  if op.type == "Sub":
    known = [known[0], None if known[1] is None else -known[1]]
  if op.type == "Neg":
    return -known[0]
  if op.type in ("Mul", "RealDiv"):
    return _scaled(op, known)
  first, *others = (part for part in known if part is not None)
  tangent = sum(others, first)  # From 0 it would be one more op.
  if isinstance(tangent, float):
    return tangent
  if op.type == "Cast":
    return tf.cast(tangent, op.outputs[0].dtype)
  if op.type in ("ExpandDims", "Reshape", "Squeeze"):
    whole = _broadcast(tangent, op.inputs[0])
    result = tf.reshape(whole, tf.shape(op.outputs[0]))
    result.set_shape(op.outputs[0].shape)
    return result
  return tangent


def _scaled(op, known):
  """Returns the tangent of a product or quotient."""
  index = 0 if known[1] is None else 1
  tangent, other = known[index], op.inputs[1 - index]
  if op.type == "RealDiv":
    return tangent / other
  is_one = isinstance(tangent, float) and tangent == 1.
  return other if is_one else tangent * other


def _broadcast(tangent, target):
  """Returns a tangent in the shape of the tensor that it belongs to."""
  if tangent.shape.is_fully_defined() and tangent.shape == target.shape:
    return tangent
  result = tf.broadcast_to(tangent, tf.shape(target))
  result.set_shape(target.shape)
  return result


def _full(tangent, outputs):
  """Returns a tangent with the rank and the first size of the outputs."""
  if isinstance(tangent, float):
    return tf.fill(tf.shape(outputs), tf.cast(tangent, outputs.dtype))
  has_rows = tangent.shape.rank == outputs.shape.rank and (
      tangent.shape.as_list()[0] == outputs.shape.as_list()[0])
  return tangent if has_rows else _broadcast(tangent, outputs)


def _normalised(op):
  """Returns what a fused batch normalisation scales."""
  arguments = {"x": op.inputs[0], "scale": tf.ones_like(op.inputs[1]),
               "offset": tf.zeros_like(op.inputs[2]), "mean": op.inputs[3],
               "variance": op.inputs[4]}
  attributes = {name: op.get_attr(name) for name in _FUSED_ATTRIBUTES
                if name in op.node_def.attr}
  attributes["data_format"] = attributes["data_format"].decode()
  return getattr(tf.raw_ops, op.type)(**arguments, **attributes)[0]
