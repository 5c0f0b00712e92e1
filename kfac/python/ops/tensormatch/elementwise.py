"""Uses of scales and shifts: regions of the graph that are linear in them.

Normalisation is written in many ways, e.g. x (gamma r) + (beta - mean gamma r).
The ops below gamma that are linear in it form a region. Where all of them have
come together in one tensor with a batch, that is the output of the layer; its
derivative with respect to gamma is the layer's input, which need not be a
tensor of the graph.
"""

from __future__ import annotations

import collections
import heapq
import math
from typing import Any
from typing import NamedTuple

from kfac.python.ops.tensormatch import records
from kfac.python.ops.tensormatch import tangents
from kfac.python.ops.tensormatch import uses

_SUMS = ("Add", "AddN", "AddV2", "BiasAdd", "Sub")
_SHAPES = ("ExpandDims", "Reshape", "Squeeze")
_PASSING = ("Cast", "Identity", "Neg", "BroadcastTo", *_SHAPES)
# Number of ops that are followed behind the first outputs of a region.
_MAX_LATER = 8
# Number of ops in which a region must come together, and of tensors that are
# passed from a bias to the layer that it belongs to. Without bounds, the time
# for a long sum would be quadratic.
_MAX_STEPS = 32
TYPES = (*_SUMS, *tangents.FUSED, "Mul", "RealDiv", "Neg", "BroadcastTo")


class Region(NamedTuple):
  """The ops between a variable and the outputs of its layer.

  Attributes:
    start: The tensor of the variable's value.
    boundary: Tensors that enter the region from outside.
    steps: The ops, each after those it depends on, in pairs with the tuple that
      says which of their inputs depend on `start`.
  """

  start: Any
  boundary: tuple
  steps: tuple = ()


def classify(flow: uses.DataFlow, variable: Any, use: uses.Consumer,
             num_examples: int | None) -> Any:
  """Finds the region of an elementwise use.

  Args:
    flow: DataFlow of the losses.
    variable: The variable.
    use: Consumer of it.
    num_examples: Static batch size of the losses, or None.

  Returns:
    records.Use of kind "scale", or "shift" if the outputs are the variable plus
    something; or records.Unknown.
  """
  if use.layout is None or not use.layout.is_plain:
    return records.Unknown(use.op, "is transposed before it scales or shifts")
  if use.op.type in tangents.FUSED:
    return _fused(variable, use)
  exits = _exits(flow, variable, use, num_examples)
  if isinstance(exits, records.Unknown):
    return exits
  found: list[tuple] = []
  for outputs, region, is_shift in exits:
    outputs, region = _aligned_outputs(flow, variable, use, outputs, region)
    if outputs is not None and (not found or is_shift == found[0][2]):
      found.append((outputs, region, is_shift))
  if not found:
    return records.Unknown(use.op, "is reshaped before it scales or shifts")
  outputs, region, is_shift = found[0]
  return records.Use("shift" if is_shift else "scale", use.op, None, outputs,
                     {}, variable.shape.num_elements(), region,
                     tuple(one[:2] for one in found[1:]))


def _aligned_outputs(flow, variable, use, outputs, region):
  """Returns outputs against which the variable itself broadcasts, or None.

  Args:
    flow: DataFlow of the losses.
    variable: The variable.
    use: Consumer of it.
    outputs: Outputs of a region.
    region: Region.

  Returns:
    Tensor or None; Region.
  """
  broadcast = use.tensor.shape.as_list()
  if _aligned(variable.shape.as_list(), broadcast, outputs):
    return outputs, region
  outputs, steps = _behind_reshape(flow, variable, broadcast, outputs)
  return outputs, region._replace(steps=(*region.steps, *steps))


def _fused(variable, use):
  """Gamma is input 1 of a fused batch normalisation, and beta input 2."""
  op = use.op
  if use.position not in (1, 2) or op.get_attr("data_format") != b"NHWC":
    return records.Unknown(op, "is in a normalisation whose channels are not "
                           "last")
  region = Region(use.tensor, tuple(
      tensor for position, tensor in enumerate(op.inputs)
      if position != use.position))
  return records.Use("scale" if use.position == 1 else "shift", op, None,
                     op.outputs[0], {}, variable.shape.num_elements(), region)


def _exits(flow, variable, use, num_examples):
  """Finds the tensors with a batch in which a region comes together.

  Args:
    flow: DataFlow of the losses.
    variable: The variable.
    use: Consumer of it.
    num_examples: Static number of examples, or None.

  Returns:
    List of (tensor, Region, whether ops only add the value): the first such
    tensor, and others that depend on it alone; or Unknown.
  """
  inside: set = set()
  num_axes = len(_without_ones(use.tensor.shape.as_list()))
  boundary: list[Any] = []
  steps: list[Any] = []
  heap = [(flow.order(use.op), use.op)]
  queued = {use.op}
  is_shift = True
  exits: list[tuple] = []
  num_later = 0
  while heap and num_later < _MAX_LATER and len(steps) < _MAX_STEPS:
    num_later += bool(exits)
    _, op = heapq.heappop(heap)
    within = _within(op, inside, use)
    if not _is_linear(op, within, num_axes):
      return exits or records.Unknown(
          op, f"is used by {op.type}, which is no known layer")
    is_shift = is_shift and _adds(op, within)
    boundary += [] if op.type in _PASSING else [
        tensor for tensor, is_in in zip(op.inputs, within, strict=True)
        if not is_in]
    steps.append((op, within))
    output = op.outputs[0]
    inside.add((op, 0))
    if not heap and flow.has_examples(output) and _has_batch(
        output, variable, num_examples):
      exits.append((output, Region(
          use.tensor, tuple(boundary), tuple(steps)), is_shift))
    consumers = {consumer for consumer, _ in flow.consumers(output)}
    if flow.is_end(output) or not consumers:
      break
    for consumer in consumers - queued:
      queued.add(consumer)
      heapq.heappush(heap, (flow.order(consumer), consumer))
  return exits or records.Unknown(
      use.op, "scales or shifts something without a batch")


def _within(op, inside, use):
  """Returns for each input whether it depends on the variable in the region."""
  return tuple((tensor.op, tensor.value_index) in inside or (
      op is use.op and index == use.position)
               for index, tensor in enumerate(op.inputs))


def _adds(op, within):
  """Whether an op adds a value of a region, once, and does nothing else."""
  if op.type == "Neg" or (op.type == "Sub" and within[1]):
    return False
  return op.type in (*_SUMS, *_PASSING) and sum(within) <= 1


def _is_linear(op, within, num_axes):
  """Whether an op is linear in a region, and keeps the variable's axes.

  Args:
    op: The op.
    within: Which inputs depend on the variable.
    num_axes: Number of last axes that belong to the variable.
  """
  if op.type == "BiasAdd" and op.get_attr("data_format") != b"NHWC":
    return False
  if op.type in _PASSING:
    return within[0] and (op.type not in _SHAPES or _keeps_end(
        op.inputs[0], op.outputs[0], num_axes))
  return op.type in _SUMS or (op.type == "Mul" and sum(within) == 1) or (
      op.type == "RealDiv" and within == (True, False))


def _keeps_end(one, other, num_axes):
  """Whether two tensors have the same last axes, or differ in leading ones."""
  if one.shape.rank is None or other.shape.rank is None:
    return False
  ends = [shape[max(len(shape) - num_axes, 0):]
          for shape in (one.shape.as_list(), other.shape.as_list())]
  return (ends[0] == ends[1] and None not in ends[0]
          and len(ends[0]) == num_axes) or (
      one.shape.is_fully_defined() and
      _without_ones(one.shape.as_list()) == _without_ones(
          other.shape.as_list()))


def _has_batch(tensor, variable, num_examples):
  """Whether a tensor has an axis of examples, as far as its shape says so."""
  shape = tensor.shape
  if shape.rank is None or shape.num_elements() is None:
    return True
  if shape.num_elements() > variable.shape.num_elements():
    return num_examples is None or shape.as_list()[0] % num_examples == 0
  return bool(num_examples == 1 and shape.rank > variable.shape.rank
              and shape.as_list()[0] == 1)


def _without_ones(shape):
  """Drops leading ones."""
  shape = list(shape)
  while shape and shape[0] == 1:
    shape = shape[1:]
  return shape


def _aligned(shape, broadcast, outputs):
  """Whether the variable itself broadcasts against the outputs as its value."""
  return (outputs.shape.rank is not None
          and _without_ones(shape) == _without_ones(broadcast)
          and len(_without_ones(shape)) < outputs.shape.rank
          and _matches_end(_without_ones(shape), outputs.shape.as_list()))


def _matches_end(shape, whole):
  """Whether a shape broadcasts against the last axes of another one."""
  last = whole[len(whole) - len(shape):]
  return all(size in (1, other) for size, other in zip(shape, last,
                                                       strict=True))


def _behind_reshape(flow, variable, broadcast, outputs):
  """Returns the outputs in the shape of the variable, and more steps.

  Group normalisation works on [.., groups, channels per group], and returns to
  [.., channels] afterwards.

  Args:
    flow: DataFlow of the losses.
    variable: The variable.
    broadcast: Shape in which the variable enters the region.
    outputs: Outputs of the region.

  Returns:
    Tensor, or None if there is none; list of the steps from the outputs to it.
  """
  steps: list[Any] = []
  after = flow.only_consumer(outputs)
  while after is not None and after.type in ("Add", "AddV2") and (
      after.outputs[0].shape.as_list() == outputs.shape.as_list()):
    steps.append((after, tuple(x is outputs for x in after.inputs)))
    outputs = after.outputs[0]
    after = flow.only_consumer(outputs)
  if after is None or after.type != "Reshape":
    return None, steps
  result = after.outputs[0]
  shape = _without_ones(variable.shape.as_list())
  if not (_ends_with(outputs, _without_ones(broadcast))
          and _ends_with(result, shape)):
    return None, steps
  return result, [*steps, (after, (True, False))]


def linear_outputs_behind(flow: uses.DataFlow, use: records.Use) -> list:
  """Lists the tensors to which a shift is added and nothing else happens.

  Reshapes of them, and sums with other tensors, are passed through, as long as
  nothing else takes a tensor on the way. The closest ones come first.

  Args:
    flow: DataFlow of the losses.
    use: records.Use of kind "shift".

  Returns:
    List of pairs (op, output index).
  """
  if use.op.type in tangents.FUSED:
    return []
  size = use.num_outputs or 0
  end = _last_axes(use.outputs, size)
  if end is None or size > 1 and end != _without_ones(
      use.region.start.shape.as_list()):
    return []  # It has a value for each position, not for each feature.
  found: list[Any] = []
  queue = collections.deque((tensor, end) for tensor in use.region.boundary)
  while queue and len(found) < _MAX_STEPS:
    tensor, end = queue.popleft()
    if flow.only_consumer(tensor) is None or not _ends_with(tensor, end):
      continue
    op = tensor.op
    found.append((op, tensor.value_index))
    if op.type in _SHAPES:
      queue.append((op.inputs[0], _last_axes(op.inputs[0], size)))
    elif op.type == "Identity" or (
        op.type == "BatchToSpaceND" and len(end) <= 1):
      queue.append((op.inputs[0], end))
    elif op.type in ("Add", "AddV2", "AddN"):
      queue.extend((other, end) for other in op.inputs)
    elif op.type == "BiasAdd" and op.get_attr("data_format") == b"NHWC":
      queue.append((op.inputs[0], end))
  return found


def _last_axes(tensor, size):
  """Returns the sizes of the fewest last axes that have so many elements.

  Args:
    tensor: Tensor.
    size: Number of elements.

  Returns:
    List of ints; None if there are no such axes.
  """
  if tensor.shape.rank is None:
    return None
  sizes: list[int] = []
  for axis in reversed(tensor.shape.as_list()):
    if math.prod(sizes) == size or axis is None:
      break
    sizes.insert(0, axis)
  return sizes if math.prod(sizes) == size else None


def _ends_with(tensor, end):
  """Whether the shape of a tensor ends with some sizes."""
  if end is None or tensor.shape.rank is None or len(end) > tensor.shape.rank:
    return False
  return tensor.shape.as_list()[tensor.shape.rank - len(end):] == end
