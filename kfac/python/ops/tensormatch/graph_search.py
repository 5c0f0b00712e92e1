"""Finds the layers of a graph: joins the uses of variables to layers.

The walk goes forward from each variable to the ops that compute with its value
inside the data flow of the losses. Nothing is guessed: a variable with a use
that is no known layer, or with uses of two kinds, is "generic", with a reason.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import not_built
from kfac.python.ops import utils
from kfac.python.ops.tensormatch import elementwise
from kfac.python.ops.tensormatch import linear
from kfac.python.ops.tensormatch import records
from kfac.python.ops.tensormatch import uses
from kfac.python.ops.utils import hints

AmbiguousRegistrationError = records.AmbiguousRegistrationError
ensure_sequence = utils.ensure_sequence

__all__ = ["AmbiguousRegistrationError", "ensure_sequence", "find_layers",
           "register_layers"]

# Kinds of layers that can have a bias.
_WITH_BIAS = ("dense", "conv2d", "convolution")

# Kinds without a registration of several uses.
_ONE_USE = ("convolution", "depthwise_conv2d")

# Op types of control flow and function calls -> what they are called.
_CONTROL_FLOW = {
    "Case": "a branch", "Enter": "a loop", "If": "a branch",
    "PartitionedCall": "a function", "RefEnter": "a loop",
    "RefSwitch": "a branch", "StatefulPartitionedCall": "a function",
    "StatelessCase": "a branch", "StatelessIf": "a branch",
    "StatelessWhile": "a loop", "Switch": "a branch", "While": "a loop",
}
_CUTS = ("ConcatV2", "Concat", "Pack", "Slice", "Split", "SplitV",
         "StridedSlice", "Unpack")


def register_layers(layer_collection: Any, varlist: Sequence[Any],
                    batch_size: hints.Scalar | None = None) -> Any:
  """Calls LayerCollection.auto_register_layers (0.2.4).

  Args:
    layer_collection: LayerCollection.
    varlist: Its var_list.
    batch_size: See there.

  Returns:
    See there.
  """
  return layer_collection.auto_register_layers(varlist, batch_size)


def find_layers(variables: Sequence[Any], towers_by_loss: Sequence[Any],
                num_examples: int | None = None,
                groups: Sequence[Any] = (),
                all_used: bool = True) -> list[records.Layer]:
  """Finds the layers that some variables are the parameters of.

  The time is linear in the number of ops.

  Args:
    variables: Variables of one graph.
    towers_by_loss: For each loss the list over towers of its input tensors.
    num_examples: Static batch size of the losses, or None.
    groups: Sets of variables. A layer's variables are in the same of them, or
      in none.
    all_used: Whether the losses must depend on all variables.

  Returns:
    List of Layers, in the order of their first variables. Each variable that
    the losses depend on is in one.

  Raises:
    ValueError: If the losses depend on none of the uses of a variable.
  """
  flow = uses.DataFlow(tf.nest.flatten(towers_by_loss), num_examples)
  found = {variable.ref(): _classified(flow, variable, num_examples)
           for variable in variables}
  unused = [variable.name for variable in variables
            if not found[variable.ref()]]
  if unused and all_used:
    raise ValueError("var_list must be variables that the losses depend on, "
                     f"got {', '.join(unused)}.")
  variables = [variable for variable in variables if found[variable.ref()]]
  problems = {variable.ref(): _problem(found[variable.ref()])
              for variable in variables}
  known = [variable for variable in variables if not problems[variable.ref()]]
  group_of = {variable.ref(): index for index, group in enumerate(groups)
              for variable in group}
  partners = _biases(flow, known, found, group_of)
  partners.update(_shifts(flow, known, found, group_of, {
      bias.ref() for bias in partners.values()}))
  joined = {partner.ref() for partner in partners.values()}
  towers = _Towers(towers_by_loss)
  layers = []
  for variable in variables:
    key = variable.ref()
    ops = tuple(use.op.name for use in found[key])
    if key in joined:
      continue
    reason = problems[key]
    split = [] if reason else towers.split(found[key])
    if reason is None:
      reason = _tower_problem(found[key][0].kind, split)
    if reason:
      layers.append(records.Layer("generic", (variable,), [], ops, reason))
      continue
    partner = [partners[key]] if key in partners else []
    layers.append(records.Layer(
        found[key][0].kind, (variable, *partner), split, ops))
  return _without_lost_partners(layers, variables, found)


def _without_lost_partners(layers, variables, found):
  """Adds biases whose weights turned out to be generic, as generic layers."""
  placed = {variable.ref() for layer in layers for variable in layer.variables}
  lost = [variable for variable in variables if variable.ref() not in placed]
  layers = layers + [
      records.Layer("generic", (variable,), [],
                    tuple(use.op.name for use in found[variable.ref()]),
                    "is the bias of weights that are no layer")
      for variable in lost]
  order = {variable.ref(): i for i, variable in enumerate(variables)}
  return sorted(layers, key=lambda layer: order[layer.variables[0].ref()])


def _classified(flow, variable, num_examples):
  """Returns the Uses and Unknowns of a variable, in the order of their ops."""
  if not variable.shape.is_fully_defined():
    return [records.Unknown(variable.op, "has no static shape")]
  found = []
  for use in flow.consumers_of(variable):
    one = linear.classify(flow, variable, use)
    if one is None and use.op.type in elementwise.TYPES:
      one = elementwise.classify(flow, variable, use, num_examples)
    found.append(_with_dtypes(variable, one or _unknown(use.op)))
  return found


def _with_dtypes(variable, use):
  """Returns the use, or Unknown if its data are of another precision."""
  if isinstance(use, records.Unknown):
    return use
  dtype = variable.dtype.base_dtype
  known = (dtype, tf.float16, tf.bfloat16) if dtype == tf.float32 else (dtype,)
  for tensor in (use.outputs, use.inputs):
    if tensor is not None and tensor.dtype.is_floating and (
        tensor.dtype not in known):
      return records.Unknown(
          use.op, f"is cast to {tensor.dtype.name} from {dtype.name}")
  return use


def _unknown(op):
  if op.type in _CONTROL_FLOW:
    return records.Unknown(op, f"is used inside {_CONTROL_FLOW[op.type]}")
  if op.type in _CUTS:
    return records.Unknown(op, "is cut into parts or part of a concatenation")
  return records.Unknown(op, f"is used by {op.type}, which is no known layer")


def _problem(found):
  """Returns why uses of a variable are no layer, or None."""
  for use in found:
    if isinstance(use, records.Unknown):
      return use.reason
  kinds = list(dict.fromkeys(use.kind for use in found))
  if len(kinds) > 1:
    return f"is used in two ways, {kinds[0]} and {kinds[1]}"
  if any(use.settings != found[0].settings for use in found):
    return "is used in two ways, with different shapes or settings"
  return None


def _tower_problem(kind, towers):
  """Returns why the uses of a tower are no layer, or None."""
  if towers is None:
    return "has uses in several towers, but not the same in each"
  if len(towers[0]) > 1 and kind in _ONE_USE:
    return f"is used several times by a layer of kind {kind}"
  return None


def _biases(flow, variables, found, group_of):
  """Joins each bias to the first layer whose every use it is added to.

  Args:
    flow: DataFlow.
    variables: Variables without a problem.
    found: Dict from variable.ref() to its Uses.
    group_of: Dict from variable.ref() to the number of its group.

  Returns:
    Dict from the ref() of weights to their bias.
  """
  owners = {}
  order = {variable.ref(): i for i, variable in enumerate(variables)}
  for variable in variables:
    for number, use in enumerate(found[variable.ref()]):
      if use.kind in _WITH_BIAS and _features_are_last(use):
        for tensor in (use.outputs, use.op.outputs[0]):
          owners[tensor.op, tensor.value_index] = (variable.ref(), number)
  biases: dict[Any, Any] = {}
  order = {variable.ref(): i for i, variable in enumerate(variables)}
  for variable in variables:
    shifts = found[variable.ref()]
    if shifts[0].kind != "shift":
      continue
    matched = collections.defaultdict(list)
    for use in shifts:
      behind = {owners[key] for key in elementwise.linear_outputs_behind(
          flow, use) if key in owners}
      for owner, number in behind:
        matched[owner].append(number)
    for weights in sorted(matched, key=order.__getitem__):
      numbers = matched[weights]
      count = len(found[weights])
      if (weights not in biases
          and sorted(numbers) == list(range(count)) and len(shifts) == count
          and group_of.get(weights) == group_of.get(variable.ref())
          and found[weights][0].num_outputs == shifts[0].num_outputs):
        biases[weights] = variable
        break
  return biases


def _features_are_last(use):
  """Whether the features are the last axes of the outputs, in their order."""
  view = use.settings.get("view")
  return view is None or view.outputs.axes is None


def _shifts(flow, variables, found, group_of, taken):
  """Joins each scale to the shift that is added behind all of its uses.

  Args:
    flow: DataFlow.
    variables: Variables without a problem.
    found: Dict from variable.ref() to its Uses.
    group_of: Dict from variable.ref() to the number of its group.
    taken: The ref() of all shifts that are joined already; it gets more.

  Returns:
    Dict from the ref() of a scale to its shift.
  """
  ends: dict[Any, Any] = {}
  shifts = [(number, variable, use) for variable in variables
            for number, use in enumerate(found[variable.ref()])
            if use.kind == "shift" and variable.ref() not in taken]
  for number, variable, use in shifts:
    ends.setdefault(_key(use.outputs), (number, variable))
  for number, variable, use in shifts:
    for outputs, _ in use.later:
      ends.setdefault(_key(outputs), (number, variable))
  pairs: dict[Any, Any] = {}
  for later in (False, True):  # The closest first.
    for variable in variables:
      scales = found[variable.ref()]
      if scales[0].kind != "scale" or variable.ref() in pairs:
        continue
      partners = [_shift_behind(flow, ends, use, later) for use in scales]
      if None in partners:
        continue
      shift = partners[0][1]
      if (all(other is shift for _, other, _ in partners)
          and len(found[shift.ref()]) == len(scales)
          and sorted(number for number, _, _ in partners) == list(
              range(len(scales)))
          and shift.ref() not in taken
          and group_of.get(shift.ref()) == group_of.get(variable.ref())
          and shift.shape == variable.shape):
        taken.add(shift.ref())
        found[variable.ref()] = [use for _, _, use in partners]
        pairs[variable.ref()] = shift
  return pairs


def _shift_behind(flow, ends, use, later):
  """Finds the shift that is added to the outputs of a scale.

  Args:
    flow: DataFlow of the losses.
    ends: Dict from the outputs of shifts to pairs (number of use, variable).
    use: Use of the scale.
    later: Whether to look at later outputs of the scale.

  Returns:
    Number of the shift's use, the shift, and the use of the scale with the
    outputs that both have; None if there is none.
  """
  for outputs, region in (
      use.later if later else [(use.outputs, use.region)]):
    here = ends.get(_key(outputs))
    if here is not None:
      return (*here, use._replace(outputs=outputs, region=region))
  after = None if later else flow.only_consumer(use.outputs)
  if after is None or after.type not in ("Add", "AddV2", "BiasAdd") or (
      after.outputs[0].shape.as_list() != use.outputs.shape.as_list()):
    return None
  here = ends.get((after, 0))
  return here and (*here, use)


def _key(tensor):
  return tensor.op, tensor.value_index


class _Towers:
  """Which tower of the losses an op belongs to."""

  def __init__(self, towers_by_loss):
    """Finds the ops of each tower.

    Args:
      towers_by_loss: For each loss the list over towers of its input tensors.
    """
    counts = {len(towers) for towers in towers_by_loss}
    self._count = counts.pop() if len(counts) == 1 else 1
    self._members = [] if self._count == 1 else [
        uses.ancestors(tf.nest.flatten(
            [towers[index] for towers in towers_by_loss]))
        for index in range(self._count)]

  def split(self, found):
    """Returns the list over towers of lists of uses; None if they differ."""
    if self._count == 1:
      return [found]
    inside = [[index for index, members in enumerate(self._members)
               if use.op in members] for use in found]
    if all(len(where) == self._count for where in inside):
      return [found]  # What all towers share is computed once.
    if any(len(where) != 1 for where in inside):
      return None
    split = [[use for use, where in zip(found, inside, strict=True)
              if where == [index]] for index in range(self._count)]
    return split if len({len(part) for part in split}) == 1 else None


# Records of matches, which patterns made.
__getattr__ = not_built.getter(
    __name__, "use auto_register_layers of kfac.LayerCollection, which needs "
    "no patterns", (
        "MatchRecord", "RecordType", "filter_grouped_variable_records",
        "filter_records", "filter_subgraph_records",
        "filter_user_registered_records", "record_affine_from_bindings",
        "record_batch_norm_from_bindings",
        "record_scale_and_shift_from_bindings", "register_records",
        "register_subgraph_layers"))
