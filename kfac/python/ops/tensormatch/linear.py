"""Uses of weights by linear ops: products, convolutions and lookups.

Each function takes the DataFlow, the variable and a Consumer, and returns a Use
or an Unknown.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import views
from kfac.python.ops.tensormatch import records
from kfac.python.ops.tensormatch import uses

_NO_LAYOUT = "is cut or reshaped in a way that is no view of a matrix"


def classify(flow: uses.DataFlow, variable: Any, use: uses.Consumer) -> Any:
  """Says what a linear op does with weights.

  Args:
    flow: DataFlow of the losses.
    variable: The variable.
    use: Consumer of it.

  Returns:
    records.Use, records.Unknown, or None if the op is not in the table.
  """
  find = _LINEAR.get(use.op.type)
  if find is None:
    return None
  if use.layout is None and use.op.type != "ResourceGather":
    return records.Unknown(use.op, _NO_LAYOUT)
  return find(flow, variable, use)


def _matmul(flow, variable, use):
  """MatMul(a, b) [rows, out] and BatchMatMulV2 [.., rows, out]."""
  op, index = use.op, use.position
  other = op.inputs[1 - index]
  if op.inputs[0] is op.inputs[1] or is_parameter(other):
    return records.Unknown(op, "is multiplied by parameters")
  rank = len(use.layout.axes)
  if rank != 2 or op.outputs[0].shape.rank is None or other.shape.rank is None:
    return records.Unknown(op, "is a batch of matrices")
  flags = [op.get_attr(name) for name in (
      ("transpose_a", "transpose_b") if op.type == "MatMul"
      else ("adj_x", "adj_y"))]
  # Weights on the right: rows of inputs. On the left: columns, all reversed.
  input_axis = (0 if not flags[1] else 1) if index == 1 else (
      1 if not flags[0] else 0)
  swap_inputs = flags[0] if index == 1 else not flags[1]
  return _dense(
      flow, variable, use, [input_axis], [1 - input_axis],
      _arranged(other, swap_inputs), _arranged(op.outputs[0], index == 0),
      other, op.outputs[0])


def _arranged(tensor, swap):
  """Returns the Arrangement of [.., rows, features], or with both swapped."""
  if not swap:
    return views.Arrangement()
  rank = tensor.shape.rank
  return views.Arrangement((*range(rank - 2), rank - 1, rank - 2))


def _einsum(flow, variable, use):
  """Einsum of inputs and weights, in which each letter has one role."""
  op, index = use.op, use.position
  equation = op.get_attr("equation").decode()
  if len(op.inputs) != 2 or "->" not in equation or "." in equation:
    return records.Unknown(op, "is in an Einsum that is no dense layer")
  other = op.inputs[1 - index]
  if is_parameter(other):
    return records.Unknown(op, "is multiplied by parameters")
  operands, y = equation.replace(" ", "").split("->")
  names = operands.split(",")
  w, x = names[index], names[1 - index]
  rows = [a for a in y if a in x and a not in w]
  contracted = [a for a in x if a in w and a not in y]
  free = [a for a in y if a in w and a not in x]
  repeated = any(len(set(letters)) != len(letters) for letters in (w, x, y))
  if (repeated or set(w) != set(contracted + free)
      or set(x) != set(rows + contracted) or set(y) != set(rows + free)
      or not rows):
    return records.Unknown(op, f"is in the Einsum {equation}, whose letters "
                           "are not each rows, inputs or outputs")
  return _dense(
      flow, variable, use, [w.index(a) for a in contracted],
      [w.index(a) for a in free], _letters(x, rows, contracted),
      _letters(y, rows, free), other, op.outputs[0])


def _letters(letters, rows, features):
  axes = tuple(letters.index(a) for a in rows + features)
  plain = axes == tuple(range(len(axes)))
  return views.Arrangement(None if plain else axes, len(features))


def _dense(flow, variable, use, input_axes, output_axes, arranged_inputs,
           arranged_outputs, inputs, outputs):
  """Returns the Use of a dense layer."""
  plain = views.Arrangement()
  num_inputs, num_outputs = (
      int(np.prod([size for axis in axes for _, size in use.layout.axes[axis]],
                  dtype=int)) for axes in (input_axes, output_axes))
  if arranged_inputs == plain and arranged_outputs == plain:
    inputs, outputs = _unflattened(
        flow, inputs, outputs, num_inputs, num_outputs)
  view = use.layout.view(variable.shape.as_list(), input_axes, output_axes,
                         arranged_inputs, arranged_outputs)
  return records.Use("dense", use.op, inputs, outputs, {"view": view},
                     num_outputs)


def _unflattened(flow, inputs, outputs, num_inputs, num_outputs):
  """Returns inputs and outputs before and after they were made matrices.

  tf.tensordot reshapes [batch, positions, in] to a matrix and the product back.

  Args:
    flow: DataFlow.
    inputs: Tensor [rows, in]. The reshape may leave the static sizes unknown.
    outputs: Tensor [rows, out].
    num_inputs: The size `in`.
    num_outputs: The size `out`.

  Returns:
    The tensors [batch, positions.., in] and [batch, positions.., out] if there
    are, otherwise `inputs` and `outputs`.
  """
  if inputs.shape.rank != 2 or inputs.op.type != "Reshape":
    return inputs, outputs
  whole = inputs.op.inputs[0]
  rank = whole.shape.rank
  if rank is None or rank <= 2 or whole.shape.as_list()[-1] != num_inputs:
    return inputs, outputs
  after = flow.only_consumer(outputs)
  if after is not None and after.type == "Reshape":
    result = after.outputs[0]
    if (result.shape.rank == rank
        and result.shape.as_list()[-1] == num_outputs
        and result.shape[:-1].is_compatible_with(whole.shape[:-1])):
      return whole, result
  return inputs, outputs


def is_parameter(tensor: tf.Tensor) -> bool:
  """Whether a tensor is the value of a variable, or of a constant view of it.

  Args:
    tensor: Tensor.
  """
  op = tensor.op
  while op.type in uses._READING and op.inputs:
    op = op.inputs[0].op
  return op.type in ("VarHandleOp", "VariableV2", "Variable")


def _convolution(flow, variable, use):
  """Conv2D and Conv3D, also as Keras writes Conv1D and as dilation writes."""
  op = use.op
  inputs, outputs = op.inputs[0], op.outputs[0]
  num_dims = inputs.shape.rank - 2 if inputs.shape.rank else 0
  problem = _convolution_problem(op, use, num_dims)
  if problem:
    return records.Unknown(op, problem)
  strides, dilations = (list(op.get_attr(name))
                        for name in ("strides", "dilations"))
  shape = variable.shape.as_list()
  padding = op.get_attr("padding").decode()
  if len(shape) == 3 and num_dims == 2:
    return _convolution_1d(flow, use, inputs, outputs, strides, dilations,
                           padding, shape)
  if len(shape) != num_dims + 2:
    return records.Unknown(op, _NO_LAYOUT)
  if inputs.op.type == "SpaceToBatchND":
    return _dilated(flow, use, inputs, outputs, strides, shape)
  if num_dims == 2:
    return records.Use(
        "conv2d", op, inputs, outputs,
        {"strides": strides, "padding": padding,
         "dilations": None if set(dilations) == {1} else dilations}, shape[-1])
  return _general(op, inputs, outputs, padding, strides[1:-1], dilations[1:-1],
                  shape[-1])


def _convolution_problem(op, use, num_dims):
  if use.position != 1:
    return "is the image of a convolution"
  if is_parameter(op.inputs[0]):
    return "is convolved with parameters"
  if not op.get_attr("data_format").decode().endswith("C") or not num_dims:
    return "is in a convolution whose channels are not last"
  if op.get_attr("padding") not in (b"SAME", b"VALID"):
    return "is in a convolution with explicit padding"
  if not use.layout.is_plain:
    return _NO_LAYOUT
  channels = op.inputs[0].shape.as_list()[-1]
  if channels != use.tensor.shape.as_list()[-2]:
    return "is in a grouped convolution"
  return None


def _general(op, inputs, outputs, padding, strides, dilations, num_outputs):
  return records.Use(
      "convolution", op, inputs, outputs,
      {"padding": padding, "strides": list(strides),
       "dilation_rate": list(dilations)}, num_outputs)


def _convolution_1d(flow, use, inputs, outputs, strides, dilations, padding,
                    shape):
  """A filter [w, in, out] as a filter [1, w, in, out] of images of height 1."""
  op = use.op
  after = flow.only_consumer(outputs)
  before = inputs.op
  if before.type == "SpaceToBatchND" or (
      before.type not in ("ExpandDims", "Reshape") or after is None
      or after.type not in ("Squeeze", "Reshape")):
    return records.Unknown(op, _NO_LAYOUT)
  inputs, outputs = before.inputs[0], after.outputs[0]
  sizes = use.tensor.shape.as_list()[:2]
  axis = 1 if sizes[0] == 1 else 0
  if (inputs.shape.rank, outputs.shape.rank) != (3, 3) or (
      sizes[1 - axis] != 1 or sizes[axis] != shape[0]):
    return records.Unknown(op, _NO_LAYOUT)
  return _general(op, inputs, outputs, padding, [strides[1 + axis]],
                  [dilations[1 + axis]], shape[-1])


def _dilated(flow, use, inputs, outputs, strides, shape):
  """SpaceToBatchND, a convolution and BatchToSpaceND: a dilated convolution."""
  op = use.op
  after = flow.only_consumer(outputs)
  rates = tf.get_static_value(inputs.op.inputs[1])
  if after is None or after.type != "BatchToSpaceND" or rates is None or (
      set(strides) != {1} or len(rates) != len(shape) - 2):
    return records.Unknown(op, "is in a dilated convolution without an end")
  whole, result = inputs.op.inputs[0], after.outputs[0]
  same = whole.shape[1:-1].is_fully_defined() and (
      whole.shape[1:-1].as_list() == result.shape[1:-1].as_list())
  return _general(op, whole, result, "SAME" if same else "VALID",
                  [1] * len(rates), [int(rate) for rate in rates], shape[-1])


def _depthwise(flow, variable, use):
  """DepthwiseConv2dNative."""
  del flow
  op = use.op
  shape = variable.shape.as_list()
  if (use.position != 1 or op.get_attr("data_format") != b"NHWC"
      or op.get_attr("padding") not in (b"SAME", b"VALID")
      or len(shape) != 4 or not use.layout.is_plain):
    return records.Unknown(op, "is in a depthwise convolution whose channels "
                           "are not last or whose padding is explicit")
  rates = list(op.get_attr("dilations"))[1:-1]
  return records.Use(
      "depthwise_conv2d", op, op.inputs[0], op.outputs[0],
      {"strides": list(op.get_attr("strides")),
       "padding": op.get_attr("padding").decode(),
       "rate": None if set(rates) == {1} else rates})


def _gather(flow, variable, use):
  """Gather, GatherV2 and ResourceGather: rows of a table."""
  del flow
  op = use.op
  axis = tf.get_static_value(op.inputs[2]) if op.type == "GatherV2" else 0
  batch_dims = op.get_attr("batch_dims") if op.type != "Gather" else 0
  if (use.position != 0 or axis != 0 or batch_dims or variable.shape.rank != 2
      or (use.layout is not None and not use.layout.is_plain)):
    return records.Unknown(op, "is indexed, but not by rows of a matrix")
  return records.Use("embedding", op, op.inputs[1], op.outputs[0], {})


_LINEAR: dict[str, Any] = {
    "BatchMatMul": _matmul,
    "BatchMatMulV2": _matmul,
    "BatchMatMulV3": _matmul,
    "Conv2D": _convolution,
    "Conv3D": _convolution,
    "DepthwiseConv2dNative": _depthwise,
    "Einsum": _einsum,
    "Gather": _gather,
    "GatherV2": _gather,
    "MatMul": _matmul,
    "ResourceGather": _gather,
}

