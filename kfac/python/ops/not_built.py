"""What kfac 0.2.4 has and this package has not: one line that says so.

Modules of that release import, so that a program fails where it uses a name,
and reads what to use in its place.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any


def getter(module: str, advice: str,
           names: Sequence[str] | None = None) -> Callable[[str], Any]:
  """Returns the `__getattr__` of a module, whose names are not built.

  Args:
    module: Dotted name of the module.
    advice: What to use, such as "use kfac.KfacOptimizer".
    names: Names that are not built; all without a leading underscore if None.

  Returns:
    Function of a name. It raises ImportError in a statement `from module import
    name`, where Python would replace the message of an AttributeError, which it
    raises anywhere else.
  """
  def get(name):
    if name.startswith("_") or (names is not None and name not in names):
      raise AttributeError(f"module {module!r} has no attribute {name!r}")
    message = f"{module}.{name} is not built: {advice}."
    frame = inspect.currentframe()
    error = ImportError if _imports(frame and frame.f_back) else AttributeError
    raise error(message)

  return get


def _imports(frame):
  """Whether a frame, or None, is at the name of a `from` import."""
  return (frame is not None
          and dis.opname[frame.f_code.co_code[frame.f_lasti]] == "IMPORT_FROM")
