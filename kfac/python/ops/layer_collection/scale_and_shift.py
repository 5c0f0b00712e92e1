"""Registration of scale and shift, outputs = scale * inputs + shift."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check


def scale_and_shift(context: registration.Context, params: Any, inputs: Any,
                    outputs: Any, approx: str | None,
                    has_scale: bool = True) -> registration.Registration:
  """Checks a scale, a shift, or both; see register_scale_and_shift.

  Args:
    context: What a registration needs from the LayerCollection.
    params: The scale, or (scale, shift). Without a scale: the shift.
    inputs: Tensor [batch, ...], or list over uses. None without a scale.
    outputs: Tensor [batch, ...], or list over uses.
    approx: "full", "diagonal", or None for the default.
    has_scale: Whether the first parameter is a scale.

  Returns:
    The registration.

  Raises:
    ValueError: If an argument does not fit.
  """
  named = _named_params(params, has_scale)
  used = [("params", params), ("outputs", outputs)] + (
      [("inputs", inputs)] if has_scale else [])
  for name, value in used:
    check.check_not_empty(name, value)
    check.check_graph(context.graph, name, value)
    check.check_dtype(name, value, "floating")
    if name != "params":
      check.check_data_dtype(name, value, named[0][1].dtype.base_dtype)
  if has_scale:
    _check_same_uses(inputs, outputs)
  dims: dict[str, tuple[int, ...]] = {}
  for index, use in enumerate(_uses(outputs)):
    if use.shape.rank is None or use.shape.rank < 1:
      raise ValueError(
          f"outputs must have shape [batch, ...], got {use.shape}.")
    if has_scale:
      _check_broadcast("scale * inputs", use, named[0][1].shape,
                       _uses(inputs)[index].shape)
    for name, param in named:
      _check_param(name, param, use)
      found = _broadcast_dims(param, use)
      if dims.setdefault(name, found) != found:
        raise ValueError(
            "outputs must have one rank for all uses, got "
            f"{[other.shape.rank for other in _uses(outputs)]}.")
  block_type, _ = context.block_type("scale_and_shift", params, approx)
  block = block_type(
      context.layer_collection, dims.get("scale"), dims.get("shift"),
      has_shift="shift" in dims, has_scale=has_scale)
  return registration.Registration(
      params, block, (inputs if has_scale else None, outputs))


def _named_params(params, has_scale):
  """Returns the pairs of name and parameter."""
  names = ("scale", "shift") if has_scale else ("shift",)
  given = params if isinstance(params, (list, tuple)) else [params]
  if not 1 <= len(given) <= len(names):
    raise ValueError(
        f"params must be {'scale or (scale, shift)' if has_scale else 'shift'}"
        f", got {len(given)} of them.")
  return list(zip(names, given, strict=False))


def _uses(data):
  return data if isinstance(data, (list, tuple)) else [data]


def _check_same_uses(inputs, outputs):
  """Raises ValueError unless inputs and outputs have the same uses."""
  lists = [isinstance(data, (list, tuple)) for data in (inputs, outputs)]
  if lists[0] != lists[1]:
    raise ValueError(
        "inputs and outputs must both be tensors or both be lists over uses, "
        f"got {type(inputs).__name__} and {type(outputs).__name__}.")
  check.check_same_examples(inputs, outputs)
  for one, other in zip(_uses(inputs), _uses(outputs), strict=True):
    if one.shape.rank is None or one.shape.rank != other.shape.rank:
      raise ValueError(
          f"inputs must have the rank of outputs, got {one.shape} and "
          f"{other.shape}.")


def _check_broadcast(name, outputs, *shapes):
  """Raises ValueError unless shapes broadcast to that of the outputs."""
  shape = tf.TensorShape([])
  try:
    for other in shapes:
      shape = tf.broadcast_static_shape(shape, other)
  except ValueError:
    shape = None
  if shape is None or not _broadcasts_to(shape, outputs.shape):
    raise ValueError(
        f"{name} must broadcast to the shape of outputs {outputs.shape}, got "
        f"{' and '.join(str(shape) for shape in shapes)}.")


def _broadcasts_to(shape, target):
  """Returns whether a shape can be broadcast to another one."""
  if shape.rank > target.rank:
    return False
  sizes = target.as_list()[target.rank - shape.rank:]
  return all(size in (1, None) or other in (size, None)
             for size, other in zip(shape.as_list(), sizes, strict=True))


def _check_param(name, param, outputs):
  """Raises ValueError unless a parameter is broadcast to the outputs."""
  _check_broadcast(name, outputs, param.shape)
  offset = outputs.shape.rank - param.shape.rank
  if offset == 0 and param.shape.as_list()[0] != 1:
    raise ValueError(
        f"{name} must not vary along the batch, axis 0 of outputs "
        f"{outputs.shape}, got shape {param.shape}.")
  for axis, size in enumerate(param.shape.as_list()):
    if size != 1 and outputs.shape.as_list()[offset + axis] is None:
      raise ValueError(
          f"outputs must have a known size along axis {offset + axis}, where "
          f"{name} has {size}, got {outputs.shape}.")


def _broadcast_dims(param, outputs):
  """Returns the axes of outputs, but 0, along which a parameter is broadcast.

  Args:
    param: Variable.
    outputs: Tensor [batch, ...].

  Returns:
    Tuple of ints.
  """
  offset = outputs.shape.rank - param.shape.rank
  sizes = [1] * offset + param.shape.as_list()
  return tuple(axis for axis in range(1, len(sizes)) if sizes[axis] == 1)
