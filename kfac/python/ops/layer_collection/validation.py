"""Checks of registrations, each with a one-line error."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import patches
from kfac.python.ops.utils import scalars

# Ops after which an output is no longer that of a linear layer.
_NONLINEAR = ("Elu", "LeakyRelu", "Relu", "Relu6", "Selu", "Sigmoid", "Softmax",
              "Softplus", "Softsign", "Tanh")

# Have a dtype and a shape, but are not tensors.
_NOT_TENSORS = (np.ndarray, np.generic, tf.SparseTensor, tf.IndexedSlices,
                tf.RaggedTensor)


def check_graph(graph: tf.Graph, name: str, tensor: Any) -> None:
  """Raises ValueError unless a tensor or variable belongs to a graph.

  Args:
    graph: The graph of the layer collection.
    name: Name of the argument.
    tensor: Its value, or a list of such.
  """
  if isinstance(tensor, (list, tuple)):
    for item in tensor:
      if isinstance(item, (list, tuple)):
        raise ValueError(
            f"{name} must not be a list of lists, got {scalars.shown(tensor)}.")
      check_graph(graph, name, item)
    return
  if (not hasattr(tensor, "dtype") or not hasattr(tensor, "shape")
      or isinstance(tensor, _NOT_TENSORS)):
    raise ValueError(
        f"{name} must be a tensor or variable, got "
        f"{scalars.shown(tensor)}.")
  # An eager tensor has no graph, and says so with AttributeError.
  if getattr(tensor, "graph", None) is None:
    raise ValueError(
        f"{name} must be a graph tensor, got the eager "
        f"{type(tensor).__name__!r}.")
  if tensor.graph is not graph:
    check_not_in_control_flow(tensor.graph)
    raise ValueError(
        f"{name} must belong to the graph of the layer collection, got "
        f"{tensor.name} of "
        "another graph.")


def graph_of(value: Any) -> tf.Graph | None:
  """Returns the graph of the first tensor or variable in nested lists.

  Args:
    value: Tensor or variable, or a (nested) list of them.

  Returns:
    The graph; None if there is none, as for eager tensors.
  """
  if isinstance(value, (list, tuple)):
    graphs = (graph_of(item) for item in value)
    return next((graph for graph in graphs if graph is not None), None)
  graph = getattr(value, "graph", None)
  return graph if isinstance(graph, tf.Graph) else None


def check_not_in_control_flow(graph: tf.Graph) -> None:
  """Raises ValueError if a graph is the body of a branch, loop or function."""
  if getattr(graph, "outer_graph", None) is not None:
    raise ValueError(
        "layers and losses must be registered outside of the branches and "
        f"bodies of control flow, got {getattr(graph, 'name', graph)!r}.")


def check_not_empty(name: str, tensors: Any) -> None:
  """Raises ValueError if a list of tensors or variables is empty.

  Args:
    name: Name of the argument.
    tensors: Its value, a list or anything else.
  """
  if isinstance(tensors, (list, tuple)) and not tensors:
    raise ValueError(f"{name} must not be an empty list, got {tensors!r}.")


def check_shape(name: str, tensor: Any, shape: hints.Shape) -> None:
  """Raises ValueError if a tensor, or one of a list, cannot have a shape.

  Args:
    name: Name of the argument.
    tensor: Tensor or variable, or a list of these.
    shape: List of ints and None.
  """
  for item in tensor if isinstance(tensor, (list, tuple)) else [tensor]:
    if item.shape.rank is None or not item.shape.is_compatible_with(shape):
      raise ValueError("{} must have shape {}, got {}.".format(
          name, _text(shape), _text(item.shape.as_list())
          if item.shape.rank is not None else "an unknown one"))


def check_num_elements(name: str, tensor: Any, count: int) -> None:
  """Raises ValueError if a tensor cannot have a number of elements.

  Args:
    name: Name of the argument.
    tensor: Tensor or variable.
    count: The number of elements.
  """
  if tensor.shape.num_elements() not in (None, count):
    raise ValueError(
        f"{name} must have {count} elements, got shape {tensor.shape}.")


def check_features(name: str, tensor: Any, arrangement: Any,
                   size: int) -> None:
  """Raises ValueError if a tensor cannot have a number of features.

  Args:
    name: Name of the argument.
    tensor: Tensor.
    arrangement: views.Arrangement of the tensor.
    size: The number of features.
  """
  rank = tensor.shape.rank
  if rank is None or rank <= arrangement.num_features:
    raise ValueError(
        f"{name} must have axes of rows and {arrangement.num_features} of "
        f"features, got shape {tensor.shape}.")
  axes = range(rank) if arrangement.axes is None else arrangement.axes
  shape = [tensor.shape.as_list()[axis] for axis in axes]
  features = shape[rank - arrangement.num_features:]
  if None in features or math.prod(features) != size:
    raise ValueError(f"{name} must have {size} features, got shape "
                     f"{tensor.shape}.")


def check_same_rows(inputs: Any, outputs: Any, view: Any) -> None:
  """Raises ValueError if inputs and outputs differ in their number of rows.

  Args:
    inputs: Tensor, or list over uses of tensors.
    outputs: The same.
    view: views.View of the layer.
  """
  counts = []
  for tensors, arrangement in ((inputs, view.inputs), (outputs, view.outputs)):
    tensors = tensors if isinstance(tensors, (list, tuple)) else [tensors]
    sizes = [tensor.shape.as_list()[axis] for tensor in tensors
             for axis in arrangement.row_axes(tensor.shape.rank)]
    counts.append(None if None in sizes else sum(
        math.prod(tensor.shape.as_list()[axis]
                  for axis in arrangement.row_axes(tensor.shape.rank))
        for tensor in tensors))
  if None not in counts and counts[0] != counts[1]:
    raise ValueError("outputs must have the rows of inputs, got "
                     f"{counts[1]} and {counts[0]}.")


def check_rank(name: str, tensor: Any, ranks: Sequence[int]) -> None:
  """Raises ValueError if a tensor, or one of a list, has another rank.

  Args:
    name: Name of the argument.
    tensor: Tensor or variable, or a list of these.
    ranks: Ints.
  """
  for item in tensor if isinstance(tensor, (list, tuple)) else [tensor]:
    if item.shape.rank not in ranks:
      raise ValueError("{} must have rank {}, got shape {}.".format(
          name, " or ".join(str(rank) for rank in ranks), item.shape))


def check_dtype(name: str, tensor: Any, dtype: hints.DType) -> None:
  """Raises ValueError if a tensor, or one of a list, has another dtype.

  Args:
    name: Name of the argument.
    tensor: Tensor or variable, or a list of these.
    dtype: The dtype; or "integer" or "floating".
  """
  for item in tensor if isinstance(tensor, (list, tuple)) else [tensor]:
    given = item.dtype.base_dtype
    if dtype in ("integer", "floating"):
      fits = getattr(given, "is_" + dtype)
    else:
      fits = given == dtype
    if not fits:
      raise ValueError("{} must have dtype {}, got {}.".format(
          name, getattr(dtype, "name", dtype), given.name))


def check_data_dtype(name: str, tensor: Any, dtype: tf.DType) -> None:
  """Raises ValueError unless data have the dtype of the weights.

  In mixed precision they may have half of it.

  Args:
    name: Name of the argument.
    tensor: Tensor, or a list of these.
    dtype: Dtype of the weights.
  """
  tensors = tensor if isinstance(tensor, (list, tuple)) else [tensor]
  if dtype == tf.float32:
    tensors = [item for item in tensors
               if item.dtype not in (tf.float16, tf.bfloat16)]
  check_dtype(name, tensors, dtype)


def check_same_examples(inputs: Any, outputs: Any, view: Any = None) -> None:
  """Raises ValueError if inputs and outputs differ in batch size or uses.

  Args:
    inputs: Tensor, or list over uses of tensors.
    outputs: The same.
    view: views.View that says which axis holds the examples; None for the
      first.
  """
  lists = [isinstance(data, (list, tuple)) for data in (inputs, outputs)]
  if all(lists):
    if len(inputs) != len(outputs):
      raise ValueError(
          f"outputs must have as many uses as inputs, got {len(outputs)} and "
          f"{len(inputs)}.")
    pairs = list(zip(inputs, outputs, strict=True))
  else:
    pairs = [] if any(lists) else [(inputs, outputs)]
  for one, other in pairs:
    sizes = [tensor.shape[_row_axis(arrangement, tensor):][:1]
             for arrangement, tensor in (
                 (view and view.inputs, one), (view and view.outputs, other))]
    if not sizes[0].is_compatible_with(sizes[1]):
      raise ValueError(
          f"outputs must have the batch size of inputs, got {other.shape} and "
          f"{one.shape}.")


def _row_axis(arrangement, tensor):
  """Returns the axis of the examples, see views.Arrangement."""
  if arrangement is None or tensor.shape.rank is None:
    return 0
  return next(iter(arrangement.row_axes(tensor.shape.rank)), 0)


def check_num_uses(num_uses: Any, inputs: Any, outputs: Any) -> None:
  """Raises ValueError unless the number of uses is a number.

  Data that cannot be split into so many uses have wrong counts; since training
  with them is possible, they are a warning.

  Args:
    num_uses: Int, or None if inputs or outputs are lists over uses.
    inputs: List over uses of tensors, or one tensor of all.
    outputs: The same.
  """
  if num_uses is not None and (
      not isinstance(num_uses, numbers.Integral) or isinstance(num_uses, bool)
      or num_uses < 1):
    raise ValueError(
        f"num_uses must be a positive int, got {scalars.shown(num_uses)}.")
  named = (("inputs", inputs), ("outputs", outputs))
  lengths = [len(data) for _, data in named if isinstance(data, (list, tuple))]
  count = num_uses or next(iter(lengths), None)
  for name, data in named:
    if count is None or isinstance(data, (list, tuple)):
      continue
    total = _num_rows(data)
    if total is not None and total % count:
      logging.warning(
          "%s should have a multiple of num_uses = %d rows, got shape %s.",
          name, count, data.shape)
  # The block checks the lengths of lists.
  if lengths == [count]:
    rows = [_num_rows(data) for _, data in named]
    if None not in rows and rows[0] != rows[1]:
      logging.warning(
          "outputs should have the rows of inputs over all uses, got %d and "
          "%d.", rows[1], rows[0])


def _num_rows(data: Any) -> int | None:
  """Returns the number of rows of a tensor or of all uses, None if unknown."""
  total = 0
  for use in data if isinstance(data, (list, tuple)) else [data]:
    rows = tf.compat.dimension_value(use.shape[0]) if use.shape.rank else None
    if rows is None:
      return None
    total += rows
  return total


def check_one_use(inputs: Any, outputs: Any) -> None:
  """Raises ValueError if inputs or outputs are lists over uses.

  Args:
    inputs: Tensor.
    outputs: The same.
  """
  for name, data in (("inputs", inputs), ("outputs", outputs)):
    if isinstance(data, (list, tuple)):
      raise ValueError(
          f"{name} must be one tensor where a layer is used once, got a list "
          f"of {len(data)}.")


def check_strides(name: str, values: Sequence[int], length: int,
                  outer_ones: bool = False) -> None:
  """Raises ValueError unless strides or rates are positive ints, or None.

  Args:
    name: Name of the argument.
    values: List of ints, or None.
    length: Its length.
    outer_ones: Whether first and last (batch and channels) have to be 1.
  """
  if values is None:
    return
  if not isinstance(values, (list, tuple)) or len(values) != length or any(
      not isinstance(v, int) or v < 1 for v in values):
    raise ValueError(
        f"{name} must be {length} positive ints, got {scalars.shown(values)}.")
  if outer_ones and (values[0] != 1 or values[-1] != 1):
    raise ValueError(
        f"{name} must be 1 for batch and channels, got {values!r}.")


def check_data_format(data_format: Any, num_dims: int) -> None:
  """Raises ValueError unless a data format can be one of a convolution.

  Whether the channels are last, the block checks.

  Args:
    data_format: String with a letter for each dimension, or None.
    num_dims: Number of spatial dimensions.
  """
  if data_format is None:
    return
  if not isinstance(data_format, str) or len(data_format) != num_dims + 2:
    raise ValueError(
        f"data_format must be None or a string of {num_dims + 2} letters, got "
        f"{scalars.shown(data_format)}.")


def check_convolution(inputs: Any, outputs: Any, filter_sizes: Sequence[int],
                      padding: str, strides: Sequence[int] | None,
                      rates: Sequence[int] | None) -> None:
  """Raises ValueError if outputs cannot be those of a convolution.

  Args:
    inputs: Tensor [batch, spatial..., channels], or a list of these.
    outputs: The same.
    filter_sizes: Spatial sizes of the filter.
    padding: "SAME" or "VALID".
    strides: Ints, one for each spatial dimension.
    rates: The same.
  """
  if not isinstance(padding, str) or padding.upper() not in ("SAME", "VALID"):
    raise ValueError(
        f"padding must be 'SAME' or 'VALID', got {scalars.shown(padding)}.")
  if isinstance(inputs, (list, tuple)) != isinstance(outputs, (list, tuple)):
    return
  if not isinstance(inputs, (list, tuple)):
    inputs, outputs = [inputs], [outputs]
  for one, other in zip(inputs, outputs, strict=True):
    expected = patches.output_sizes(
        one.shape.as_list()[1:-1], filter_sizes, padding.upper(), strides,
        rates)
    found = other.shape[1:-1]
    if not found.is_compatible_with(expected):
      raise ValueError(
          f"outputs must have spatial sizes {_text(expected)}, got "
          f"{_text(found.as_list())}.")


def check_registration(
    variables: Sequence[Any], registered: Sequence[Any],
    uses: Mapping[Any, float], subgraph: Any) -> None:
  """Raises ValueError unless exactly these variables are registered.

  Args:
    variables: The variables.
    registered: Those that are registered.
    uses: Map from variables to the number of registered uses.
    subgraph: SubGraph of the losses.
  """
  wrong = []
  unregistered = [variable.name for variable in variables
                  if variable not in uses]
  if unregistered:
    verb = "is" if len(unregistered) == 1 else "are"
    wrong.append(
        f"{', '.join(unregistered)} {verb} not registered "
        "(auto_register_layers finds layers, register_generic takes any)")
  for variable in variables:
    if variable not in uses:
      continue
    if not math.isinf(uses[variable]):
      found = subgraph.variable_uses(variable)
      if found != uses[variable]:
        wrong.append(f"{variable.name} is registered for {uses[variable]} uses,"
                     f" the losses use it {found} times")
  passed = set(variables)
  wrong += [f"{variable.name} is registered but not passed"
            for variable in registered if variable not in passed]
  if wrong:
    raise ValueError(
        "variables must be those registered, for all their uses, got: "
        f"{'; '.join(wrong)}.")


def check_outputs(fisher_blocks: Mapping[Any, Any], subgraph: Any) -> None:
  """Checks that the losses depend on the registered outputs of layers.

  Warns once where an output may be the wrong tensor.

  Args:
    fisher_blocks: Map from the parameters of layers to their blocks.
    subgraph: SubGraph of the losses.

  Raises:
    ValueError: If no loss depends on an output.
  """
  doubtful = []
  for params, block in fisher_blocks.items():
    name = naming.layer_name(params)
    for output in tf.nest.flatten(getattr(block, "_outputs", [])):
      if not subgraph.is_member(output):
        raise ValueError(
            "outputs must be tensors that the losses depend on, got "
            f"{output.name} of {name}, which may be a copy or reshape of what "
            "the model uses.")
      if output.op.type in _NONLINEAR:
        doubtful.append(f"{output.name} of {name}")
  if doubtful:
    logging.warning(
        "outputs should be those before any nonlinearity, got %s; "
        "LayerCollection.gradient_check says whether they are right.",
        ", ".join(doubtful))


def check_batch_size(batch_size: Any) -> None:
  """Raises ValueError unless it is a positive int or a scalar tensor.

  Args:
    batch_size: The value.
  """
  if isinstance(batch_size, tf.Tensor):
    check_rank("batch_size", batch_size, [0])
    return
  try:
    is_positive = operator.index(batch_size) >= 1
  except TypeError:
    is_positive = False
  if isinstance(batch_size, bool) or not is_positive:
    raise ValueError(
        "batch_size must be a positive int or a scalar tensor, got "
        f"{scalars.shown(batch_size)}.")


def _text(shape):
  return "[{}]".format(", ".join("?" if size is None else str(size)
                                 for size in shape))
