"""Registers what tensormatch finds in the graph of the registered losses."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops import utils
from kfac.python.ops.layer_collection import approximations
from kfac.python.ops.layer_collection import parameters
from kfac.python.ops.layer_collection import report
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.tensormatch import graph_search
from kfac.python.ops.tensormatch import records
from kfac.python.ops.tensormatch import tangents
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

# A full block of more parameters than these costs more than it gains.
MAX_FULL_PARAMS = 1024


def auto_register_layers(
    layers: Any, var_list: hints.Vector | None,
    batch_size: hints.Scalar | None, unknown: str) -> report.Report:
  """See LayerCollection.auto_register_layers."""
  if unknown not in ("generic", "raise"):
    raise ValueError(
        f"unknown must be 'generic' or 'raise', got {scalars.shown(unknown)}.")
  if not layers.losses:
    raise ValueError("at least one loss must be registered before "
                     "auto_register_layers, got none.")
  batch = _Batch(layers.towers_by_loss, batch_size)
  variables = _variables(layers, var_list)
  with layers.graph.as_default():
    found = graph_search.find_layers(
        variables, [[tf.nest.flatten(tower.inputs) for tower in towers]
                    for towers in layers.towers_by_loss], batch.num_examples,
        list(layers.linked_parameters), var_list is not None)
    variables = _found(variables, found)
    found = _linked(layers.linked_parameters, found)
    found = [_checked(layer, batch) for layer in found]
    _raise_or_warn(found, unknown)
    rows = _register_all(layers, found, batch)
  _note_uses(layers, variables)
  return report.Report(rows)


def _found(variables, found):
  """Returns the variables that are in layers, and warns about others."""
  refs = {variable.ref() for layer in found for variable in layer.variables}
  unused = [variable.name for variable in variables
            if variable.ref() not in refs]
  if unused:
    logging.warning("auto_register_layers leaves out %s: no loss depends on "
                    "them.", ", ".join(unused))
  return [variable for variable in variables if variable.ref() in refs]


def _register_all(layers, found, batch):
  """Registers layers, all or none, and returns their rows of the report."""
  keys, num_calls = set(layers.fisher_blocks), len(layers._calls)
  try:
    return [_register(layers, layer, batch) for layer in found]
  except Exception:
    for key in set(layers.fisher_blocks) - keys:
      del layers.fisher_blocks[key]
    del layers._calls[num_calls:]
    raise


class _Batch:
  """The number of examples.

  Attributes:
    num_examples: Static number of examples of a tower, int; None if unknown.
  """

  def __init__(self, towers_by_loss, batch_size):
    """Reads it from the losses.

    Args:
      towers_by_loss: For each loss, the list of its towers.
      batch_size: Number of examples of a tower as the user says, or None.
    """
    if batch_size is not None:
      batch_size = tf.compat.dimension_value(batch_size)
      check.check_batch_size(batch_size)
    inputs = [tf.nest.flatten(tower.inputs)[0] for tower in towers_by_loss[0]]
    rows = [tf.compat.dimension_value(one.shape[0]) if one.shape.rank else None
            for one in inputs]
    static = None if isinstance(batch_size, tf.Tensor) else batch_size
    if static is not None and any(
        row is not None and row % static for row in rows):
      raise ValueError(
          f"batch_size must divide the rows of the losses {rows}, got "
          f"{batch_size!r}.")
    self.num_examples = static or rows[0]
    self.is_given = batch_size is not None
    self._inputs = inputs
    self._given = batch_size

  @property
  def total(self) -> Any:
    """The number of examples of all towers, int or scalar tensor."""
    if self._given is not None:
      return self._given * len(self._inputs)
    rows = [tf.compat.dimension_value(one.shape[0]) for one in self._inputs]
    if None in rows:
      return tf.add_n([tf.shape(one)[0] for one in self._inputs])
    return sum(rows)

  def is_shared(self, layer: records.Layer) -> bool:
    """Whether a layer computes what several towers of the losses use."""
    return len(layer.towers) < len(self._inputs)

  def of_tower(self, is_shared: bool) -> int | None:
    """Returns the static number of examples that a layer computes at once.

    Args:
      is_shared: Whether the layer computes what several towers of the losses
        use.
    """
    if self.num_examples is None or not is_shared:
      return self.num_examples
    return self.num_examples * len(self._inputs)

  def fold(self, rows: int | None, is_shared: bool = False) -> int | None:
    """Returns how many rows an example has, given a static size of axis 0.

    Args:
      rows: Static size; None if it is unknown.
      is_shared: As in `of_tower`.

    Returns:
      Int; None if the rows are not those of examples.
    """
    if rows is None:
      return 1 if self.num_examples is None or self.is_given else None
    if rows == self.num_examples:
      return 1
    number = self.of_tower(is_shared)
    if number is None or rows % number:
      return None
    return rows // number

  def keywords(self, rows: int | None, is_shared: bool) -> dict:
    """Returns the argument `batch_size` of a registration, if it needs one."""
    if rows is None:
      return {"batch_size": self._given} if self.is_given else {}
    if self.fold(rows, is_shared) == 1:
      return {}
    return {"batch_size": self.of_tower(is_shared)}


def _variables(layers, var_list):
  """Returns the variables that are to be registered.

  Args:
    layers: LayerCollection.
    var_list: Variable, or list of variables; None for the trainable ones of the
      graph that the losses depend on.
  """
  registered = {variable.ref() for variable in layers.registered_variables}
  if var_list is not None:
    variables = [parameters.plain_variable(variable)
                 for variable in utils.ensure_sequence(var_list)]
    check.check_graph(layers.graph, "var_list", variables)
  else:
    variables = layers.graph.get_collection(
        tf.GraphKeys.TRAINABLE_VARIABLES)
  unique = {variable.ref(): variable for variable in variables}
  return [variable for ref, variable in unique.items()
          if ref not in registered]


def _linked(linked_parameters, found):
  """Replaces layers that are not as define_linked_parameters says.

  Args:
    linked_parameters: Dict from frozensets of variables to approximations.
    found: List of records.Layers.

  Returns:
    List of records.Layers.
  """
  for group in linked_parameters:
    refs = {variable.ref() for variable in group}
    touched = [layer for layer in found
               if refs & {variable.ref() for variable in layer.variables}]
    together = {variable.ref() for layer in touched
                for variable in layer.variables}
    if not touched or (len(touched) == 1 and together == refs):
      continue
    variables = [variable for layer in touched for variable in layer.variables]
    ops = tuple(op for layer in touched for op in layer.ops)
    split = [
        [variable for variable in variables if variable.ref() in refs],
        [variable for variable in variables if variable.ref() not in refs]]
    keep = [all(layer is not other for other in touched) for layer in found]
    index = keep.index(False)
    found = [layer for layer, kept in zip(found, keep, strict=True) if kept]
    found[index:index] = [
        records.Layer("generic", tuple(part), [], ops,
                      "has linked parameters that are no layer of the graph")
        for part in split if part]
  return found


def _checked(layer, batch):
  """Returns the layer, as generic if its rows are not those of examples."""
  for use in (use for tower in layer.towers for use in tower):
    rows = _rows(use)
    fold = batch.fold(rows, batch.is_shared(layer))
    reason = None
    if fold is None:
      reason = (
          f"has outputs with {'an unknown number of' if rows is None else rows}"
          f" rows, where the losses have "
          f"{batch.num_examples or 'an unknown number of'} examples")
    elif fold > 1 and layer.kind not in _FOLDING:
      reason = f"has {fold} rows per example in a layer of kind {layer.kind}"
    if reason:
      return layer._replace(kind="generic", towers=[], reason=reason)
  return layer


def _rows(use):
  """Returns the static size of the axis of examples, None if unknown."""
  return tf.compat.dimension_value(use.outputs.shape[_row_axis(use)])


def _row_axis(use):
  """Returns the axis of the outputs that holds the examples."""
  view = use.settings.get("view")
  return 0 if view is None else view.outputs.row_axes(
      use.outputs.shape.rank)[0]


def _raise_or_warn(found, unknown):
  """Raises AmbiguousRegistrationError, or warns, about all generic layers."""
  lines = [report.describe(_row(None, layer)) for layer in found
           if layer.reason is not None]
  if not lines:
    return
  if unknown == "raise":
    raise graph_search.AmbiguousRegistrationError(
        "var_list must be parameters of known layers; register these before, "
        f"by register_generic or as what they are, got: {'; '.join(lines)}.")
  for line in lines:
    logging.warning("auto_register_layers: %s: %s", line, report.REGISTERED)


def _register(layers, layer, batch):
  """Registers a layer and returns its row of the report."""
  params = (layer.variables if len(layer.variables) > 1
            else layer.variables[0])
  if layer.kind == "generic":
    layers.register_generic(params, batch.total)
  shared = batch.is_shared(layer)
  for tower, uses in enumerate(layer.towers):
    inputs, outputs = _data(layer, uses)
    rows = _rows(uses[0])
    _REGISTER[layer.kind](
        layers, params, inputs, outputs, uses[0].settings,
        batch.fold(rows, shared), bool(tower), batch.keywords(rows, shared))
  return _row(layers.fisher_blocks[params], layer)


def _data(layer, uses):
  """Returns inputs and outputs of a tower: tensors, or lists over uses."""
  outputs = [use.outputs for use in uses]
  inputs: list[Any] | None = [use.inputs for use in uses]
  if layer.kind == "scale":
    inputs = [tangents.derivative(use) for use in uses]
  elif layer.kind == "shift":
    inputs = None
  if len(uses) > 1:
    return inputs, outputs
  return inputs and inputs[0], outputs[0]


def _dense(layers, params, inputs, outputs, settings, fold, reuse, keywords):
  del fold
  method = (layers.register_fully_connected_multi if isinstance(outputs, list)
            else layers.register_fully_connected)
  method(params, inputs, outputs, reuse=reuse, view=settings["view"],
         **keywords)


def _conv2d(layers, params, inputs, outputs, settings, fold, reuse, keywords):
  del keywords
  if isinstance(outputs, list) or fold > 1:
    layers.register_conv2d_multi(
        params, inputs=inputs, outputs=outputs, reuse=reuse,
        num_uses=None if isinstance(outputs, list) else fold, **settings)
  else:
    layers.register_conv2d(
        params, inputs=inputs, outputs=outputs, reuse=reuse, **settings)


def _one_use(method):
  def register(layers, params, inputs, outputs, settings, fold, reuse,
               keywords):
    del fold, keywords
    getattr(layers, method)(
        params, inputs=inputs, outputs=outputs, reuse=reuse, **settings)
  return register


def _embedding(layers, params, inputs, outputs, settings, fold, reuse,
               keywords):
  del settings, fold
  method = (layers.register_embedding_multi if isinstance(outputs, list)
            else layers.register_embedding)
  method(params, inputs, outputs, reuse=reuse, **keywords)


def _scale_and_shift(layers, params, inputs, outputs, settings, fold, reuse,
                     keywords):
  del settings, fold, keywords
  variables = params if isinstance(params, tuple) else (params,)
  size = sum(variable.shape.num_elements() for variable in variables)
  approx = None
  if size > MAX_FULL_PARAMS and layers._get_linked_approx(params) is None:
    approx = approximations.APPROX_DIAGONAL_NAME
  layers.register_scale_and_shift(params, inputs, outputs, approx, reuse=reuse)


# Kind of a layer -> function that registers one tower of it.
_REGISTER = {
    "conv2d": _conv2d,
    "convolution": _one_use("register_convolution"),
    "dense": _dense,
    "depthwise_conv2d": _one_use("register_depthwise_conv2d"),
    "embedding": _embedding,
    "scale": _scale_and_shift,
    "shift": _scale_and_shift,
}

# Kinds of which an example may have several rows in the first axis.
_FOLDING = ("conv2d", "dense", "embedding")


def _row(block, layer):
  """Returns the row of a layer and its block in the report."""
  uses = layer.towers[0] if layer.towers else []
  kind = layer.kind
  if kind == "scale" and len(layer.variables) > 1:
    kind = "scale and shift"
  return report.Row(
      tuple(variable.name for variable in layer.variables), kind,
      "-" if block is None else approximations.name_of(block),
      len(uses) or None,
      tuple("(derivative)" if use.inputs is None else use.inputs.name
            for use in uses if layer.kind != "shift"),
      tuple(use.outputs.name for use in uses), layer.reason, layer.ops)


def _note_uses(layers, variables):
  """Notes the ops that count as uses where they are not the layer's uses.

  A reshape of weights is one op, however many uses are behind it.

  Args:
    layers: LayerCollection.
    variables: The variables that were registered.
  """
  subgraph = utils.SubGraph([tf.nest.flatten(loss.inputs)
                             for loss in layers.losses])
  counted = layers.get_use_count_map()
  for variable in variables:
    count = subgraph.variable_uses(variable)
    if counted[variable] not in (count, float("inf")):
      layers._vars_to_uses[variable] = count
