"""Module constants: plain globals that users set and patch, read late.

A package such as `fisher_factors` keeps its constants in its `__init__`. Its
files read them through this module when a graph is built. A constant patched
after import therefore counts, and no file imports its own package.
"""

from __future__ import annotations

import sys
from typing import Any

_ROOT = "kfac.python.ops."


def read(module: str, name: str) -> Any:
  """Returns the current value of a module constant.

  Args:
    module: Name of a module below kfac.python.ops, e.g. "fisher_factors".
    name: Name of the constant, e.g. "TOWER_STRATEGY".

  Returns:
    The value.

  Raises:
    ValueError: If the module lists choices for it and the value is not one.
  """
  owner = sys.modules[_ROOT + module]
  value = getattr(owner, name)
  check(module, name, value)
  return value


def check(module: str, name: str, value: Any) -> None:
  """Raises ValueError if `value` is not among the constant's choices."""
  choices = getattr(sys.modules[_ROOT + module], "_CHOICES", {}).get(name)
  if choices is not None and value not in choices:
    raise ValueError(
        f"{module}.{name} must be one of {sorted(choices)}, got {value!r}.")


def write(module: str, **values: Any) -> None:
  """Sets the constants whose value is not None; one wrong value sets none."""
  given = {name: v for name, v in values.items() if v is not None}
  for name, value in given.items():
    check(module, name, value)
  vars(sys.modules[_ROOT + module]).update(given)
