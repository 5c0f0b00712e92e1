"""The names of factors' variable scopes, of kept matrices and of dampings.

A factor is named after the first parameter of its layer and its role, as in
"dense_kernel/A", and a kept matrix after what it is, as in "matpower_exp-1".
Whatever else is in the graph, and whatever the damping is, a program builds the
same names.

The names of contrib.kfac in TensorFlow 1.8 and later contain those of the
tensors that a factor depends on, and the damping. Variables have them with
CONTRIB_VARIABLES, and `kfac.checkpoint` finds them in old checkpoints.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from kfac.python.ops import utils
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


class PackagedFunc:
  """A function without arguments, with an id of what it computes.

  Damping functions with equal ids compute the same number, so a factor keeps
  one matrix for both. The id is also part of that variable's contrib name.
  """

  def __init__(self, func: hints.Thunk, func_id: Any) -> None:
    """Attaches an id to `func`.

    Args:
      func: Callable without arguments.
      func_id: Number, string, tensor or a tuple of these; hashable.
    """
    self._func = func
    self._func_id = utils.ensure_sequence(func_id)
    if isinstance(self._func_id, list):
      self._func_id = tuple(self._func_id)

  def __call__(self):
    """Returns what the function returns."""
    return self._func()

  @property
  def func_id(self) -> tuple:
    """Tuple that identifies what the function computes."""
    return self._func_id


def as_damping_func(damping: hints.Damping) -> hints.Thunk:
  """Returns `damping` as a function that carries a `func_id`.

  Args:
    damping: Number, tensor or variable of shape []; or a callable with the
      attribute `func_id`, which is returned as it is.

  Returns:
    Callable without arguments.

  Raises:
    ValueError: If a callable has no `func_id`.
  """
  if not callable(damping):
    return PackagedFunc(lambda: damping, (scalar_or_tensor_to_string(damping),))
  if not hasattr(damping, "func_id"):
    raise ValueError(
        f"damping_func must carry a func_id, got {damping!r}.")
  return damping


def scope_string_from_params(params: Any) -> str:
  """Builds the part of a scope name that identifies a factor of its kind.

  Args:
    params: Tensor, number, string, bool, None, or a list of these and of
      lists of ints or (nested lists of) tensors.

  Returns:
    The parts joined by "_"; ints of a list are joined by "-", tensors by "__".

  Raises:
    ValueError: If a part has no name.
  """
  return "_".join(_part_to_string(p) for p in utils.ensure_sequence(params))


def _part_to_string(part):
  if part is None or isinstance(part, (str, bool)) or scalars.is_number(part):
    return str(part)
  if isinstance(part, (list, tuple)):
    if all(isinstance(p, (int, np.integer)) for p in part):
      return "-".join(str(p) for p in part)
    return "__".join(_part_to_string(p) for p in part)
  if not isinstance(part, utils.PartitionedTensor) and not hasattr(
      part, "name"):
    raise ValueError(
        "params must hold tensors, numbers, strings or lists of them, got "
        f"{part!r}.")
  return scope_string_from_name(part)


def scope_string_from_name(tensor: Any) -> str:
  """Returns a tensor's name with ":0" left out and "/" replaced by "_"."""
  if isinstance(tensor, utils.PartitionedTensor):
    return "__".join(scope_string_from_name(t) for t in tensor.tensors)
  return re.sub("[/:]", "_", re.sub(":0$", "", tensor.name))


def scalar_or_tensor_to_string(val: Any) -> str:
  """Returns a number as text, or the name of a tensor or variable."""
  if scalars.is_number(val):
    return str(np.asarray(val).item())
  return val if isinstance(val, str) else scope_string_from_name(val)


def list_to_string(lst: Any) -> str:
  """Joins the names of numbers, tensors or strings (or of one) by "_"."""
  return "_".join(
      scalar_or_tensor_to_string(val) for val in utils.ensure_sequence(lst))


def graph_func_to_id(func: Any) -> tuple:
  """Returns the hashable id of a damping function."""
  return func.func_id


def graph_func_to_string(func: Any) -> str:
  """Returns the id of a damping function as part of a variable's name."""
  return list_to_string(func.func_id)


def has_contrib_names() -> bool:
  """Returns whether variables have the names of contrib.kfac."""
  return constants.read("fisher_factors", "CONTRIB_VARIABLES")


def layer_name(params: Any) -> str:
  """Returns the name of a layer: that of its first parameter.

  No other layer has this parameter, so it identifies the layer.

  Args:
    params: Variable, or tuple of variables.

  Returns:
    The variable's name in the form of `scope_string_from_name`, or "layer" for
    a key without a name.
  """
  first = utils.ensure_sequence(params)[0]
  return scope_string_from_name(first) if hasattr(first, "name") else "layer"


def contrib_kept_name(kind: str, damping_id: Any) -> str:
  """Returns contrib.kfac's name of a kept matrix.

  Args:
    kind: What it is, e.g. "matpower_exp-1".
    damping_id: Id of its damping function.
  """
  return f"{kind}_damp{list_to_string(damping_id)}"


def kept_names(kinds_and_damping_ids: Sequence[tuple[str, Any]]) -> list[str]:
  """Names the kept matrices of a factor, below the factor's scope.

  Args:
    kinds_and_damping_ids: Sequence of (kind, id of the damping function), in
      the order of registration.

  Returns:
    List of the kinds. From the second matrix of a kind on, which has another
    damping, its number among them is appended.
  """
  if has_contrib_names():
    return [contrib_kept_name(*pair) for pair in kinds_and_damping_ids]
  counts: dict[str, int] = collections.Counter()
  names = []
  for kind, _ in kinds_and_damping_ids:
    names.append(f"{kind}_{counts[kind]}" if counts[kind] else kind)
    counts[kind] += 1
  return names
