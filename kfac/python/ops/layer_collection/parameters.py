"""LayerParametersDict: which variables belong to which layer."""

from __future__ import annotations

import collections
from typing import Any

from kfac.python.ops.fisher_factors import naming


class LayerParametersDict(collections.OrderedDict):
  """An ordered dict whose keys are variables, or tuples of variables.

  No variable is in two keys. A list as a key means the tuple.
  """

  def __init__(self, *args: Any, **kwargs: Any) -> None:
    """Makes the dict from what OrderedDict takes."""
    self._key_of: dict[Any, Any] = {}
    super().__init__(*args, **kwargs)

  def check_key(self, key: Any) -> None:
    """Raises ValueError unless a key may be set.

    Args:
      key: Variable, or tuple of variables: different ones, and none of them
        part of another key.
    """
    key = _canonical(key)
    for variable in _variables(key):
      other = self._key_of.get(variable, key)
      if other != key:
        raise ValueError(
            "params must not share variables with other layers: "
            f"{variable.name} is part of "
            f"{_names(other)}, got {_names(key)}.")
    if len(set(_variables(key))) < len(_variables(key)):
      raise ValueError(
          f"params must be different variables, got {_names(key)}.")

  def __setitem__(self, key, value):
    """Sets a value, see check_key."""
    self.check_key(key)
    key = _canonical(key)
    self._key_of.update((variable, key) for variable in _variables(key))
    super().__setitem__(key, value)

  def __delitem__(self, key):
    """Removes a key and frees its variables."""
    key = _canonical(key)
    super().__delitem__(key)
    for variable in _variables(key):
      del self._key_of[variable]

  def __getitem__(self, key):
    """Returns the value of a variable, tuple or list."""
    return super().__getitem__(_canonical(key))

  def get(self, key: Any, default: Any = None) -> Any:
    """Returns the value of a key, or the default if it is not there."""
    return self[key] if key in self else default

  def layer_name(self, value: Any) -> str | None:
    """Returns the name of the layer that has this value, see naming.layer_name.

    Args:
      value: The value of a key: a block.

    Returns:
      String, or None if no key has it.
    """
    keys = (key for key, other in self.items() if other is value)
    return next(map(naming.layer_name, keys), None)

  def __contains__(self, key):
    """Whether exactly this key is there."""
    return super().__contains__(_canonical(key))


def plain_variable(variable: Any) -> Any:
  """Returns the variable that a variable of Keras 3 holds, or any other itself.

  Args:
    variable: Variable.
  """
  value = getattr(variable, "value", None)
  if hasattr(variable, "ref") or value is None or callable(value):
    return variable
  return value


def _canonical(key):
  return tuple(key) if isinstance(key, (list, tuple)) else key


def _variables(key):
  return key if isinstance(key, tuple) else (key,)


def _names(key):
  return [getattr(variable, "name", variable) for variable in _variables(key)]
