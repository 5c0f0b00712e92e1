"""Records the registrations of a LayerCollection, to repeat them elsewhere.

A recipe repeats them for a copy of the model that uses a part of the batch.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import tensorflow.compat.v1 as tf

# Registrations of objects that hold tensors.
_OPAQUE = ("register_block", "register_loss_function")
# Methods that consist of registrations, which are recorded in their place.
_COMPOSITE = ("register_losses_of",)


class Call(NamedTuple):
  """A registration.

  Attributes:
    method: Name of the method.
    arguments: Dict from the names of its arguments to their values.
  """

  method: str
  arguments: dict


def recorded(cls: type) -> type:
  """Decorates a class: its methods `register_*` append to `_calls`.

  A registration that another one makes is not recorded. After `finalize` they
  raise ValueError.

  Args:
    cls: Class with a list `_calls` and a boolean `_is_final`.

  Returns:
    The class.
  """
  for name, method in list(vars(cls).items()):
    if name.startswith("register_") and name not in _COMPOSITE:
      setattr(cls, name, _recorded(method))
  return cls


def _recorded(method):
  """Returns a method that appends a Call once it has succeeded."""
  signature = inspect.signature(method)

  @functools.wraps(method)
  def wrapper(self, *args, **kwargs):
    if self._is_final:
      raise ValueError(
          f"{method.__name__} must be called before finalize.")
    number = len(self._calls)
    result = method(self, *args, **kwargs)
    _, *arguments = signature.bind(self, *args, **kwargs).arguments.items()
    # The call stands for those that it made.
    self._calls[number:] = [Call(method.__name__, dict(arguments))]
    return result

  return wrapper


def tensors(layer_collection: Any) -> list:
  """Returns the list of all tensors that were registered, without repetition.

  Args:
    layer_collection: LayerCollection.

  Raises:
    ValueError: If a block or a LossFunction was registered as an object, or if
      a tensor is sparse or ragged.
  """
  found: dict[str, tf.Tensor] = {}
  for call in layer_collection._calls:
    if call.method in _OPAQUE:
      raise ValueError(
          "layer_collection must have no objects registered by "
          f"{' or '.join(_OPAQUE)} to be copied, got {call.method}.")
    for value in tf.nest.flatten(_others(call)):
      if isinstance(value, (tf.SparseTensor, tf.RaggedTensor)):
        raise ValueError(
            "layer_collection must have only dense tensors to be copied, got "
            f"a {type(value).__name__} in {call.method}.")
      if _is_tensor(value):
        found[value.name] = value
  return list(found.values())


def repeated(layer_collection: Any, target: Any,
             copies: Mapping[str, tf.Tensor],
             num_examples: Callable[[Any], Any]) -> None:
  """Repeats the registrations of one LayerCollection in another one.

  Args:
    layer_collection: LayerCollection.
    target: Empty LayerCollection. It gets the approximations of the first one,
      also its choice of blocks if a subclass overrides it.
    copies: Dict from the name of a tensor to the tensor that takes its place.
    num_examples: Function from a registered number of examples to the number
      that takes its place.
  """
  target._defaults = dict(layer_collection._defaults)
  target._linked_parameters = dict(layer_collection._linked_parameters)
  target._vars_to_uses = dict(layer_collection._vars_to_uses)
  target._get_block_type = layer_collection._get_block_type
  target._default_approximation = layer_collection._default_approximation
  for method, arguments in layer_collection._calls:
    changed = {
        name: tf.nest.map_structure(
            lambda value: (copies[value.name] if _is_tensor(value)
                           else value), value)
        for name, value in _others(Call(method, arguments)).items()}
    if "batch_size" in arguments:
      changed["batch_size"] = num_examples(arguments["batch_size"])
    getattr(target, method)(
        **{**arguments, **changed, "reuse": tf.AUTO_REUSE})


def _others(call):
  """Returns the arguments of a Call that may be tensors of the batch."""
  # The scope of a registration decided what `reuse` meant.
  return {name: value for name, value in call.arguments.items()
          if "params" not in name
          and name not in ("batch_size", "coeff", "reuse")}


def _is_tensor(value):
  """Whether a value is a tensor, and not a variable."""
  return isinstance(value, tf.Tensor) and not isinstance(value, tf.Variable)
