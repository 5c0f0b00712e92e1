"""Runs programs that import `tensorflow.contrib.kfac` without changes.

Execute `import kfac.contrib` once, before such a program is imported. Each of
these then yields the modules of kfac, the same objects:

    from tensorflow.contrib import kfac
    from tensorflow.contrib.kfac.python.ops import optimizer
    tf.contrib.kfac.optimizer.KfacOptimizer

It adds modules to `sys.modules` and the attribute `contrib` to TensorFlow's
modules, and changes nothing else. It warns if a `kfac.py` or a folder `kfac` is
beside the main program, where it can hide this package.
"""

import sys
import types
import warnings
from typing import Any

import kfac
from kfac.python.ops import curvature_matrix_vector_products_lib  # noqa: F401
from kfac.python.ops import estimator_lib  # noqa: F401
from kfac.python.ops import fisher_blocks_lib  # noqa: F401
from kfac.python.ops import fisher_factors_lib  # noqa: F401
from kfac.python.ops import layer_collection_lib  # noqa: F401
from kfac.python.ops import linear_operator  # noqa: F401
from kfac.python.ops import loss_functions_lib  # noqa: F401
from kfac.python.ops import op_queue_lib  # noqa: F401
from kfac.python.ops import optimizer_lib  # noqa: F401
from kfac.python.ops import placement  # noqa: F401
from kfac.python.ops import utils_lib  # noqa: F401
from kfac.python.tools import shadowing

_NAME = "tensorflow.contrib"


class _Contrib(types.ModuleType):
  """`tensorflow.contrib`, reduced to kfac."""

  def __init__(self):
    super().__init__(_NAME, "tensorflow.contrib, reduced to kfac.")
    self.__path__ = _NoFolder()
    self.kfac = kfac

  def __getattr__(self, name):
    raise AttributeError(_gone(f"{_NAME}.{name}"))


class _NoFolder(list):
  """The search path of a package in which every search raises an error."""

  def __iter__(self):
    raise ImportError(_gone(f"the rest of {_NAME}"))


def _gone(name):
  """Returns the message about a module of contrib other than kfac."""
  return (f"{name} is gone with TensorFlow 2: kfac.contrib brings back "
          "tensorflow.contrib.kfac, no other module of contrib.")


def _install():
  """Adds contrib to every module under which TensorFlow is imported."""
  contrib: Any = sys.modules.setdefault(_NAME, _Contrib())
  contrib.kfac = kfac
  modules: list[tuple[str, Any]] = list(sys.modules.items())
  for name, module in modules:
    if name == "kfac" or name.startswith("kfac.python"):
      sys.modules[f"{_NAME}.{name}"] = module
    elif name == "tensorflow" or (
        name.startswith("tensorflow.") and name.endswith("compat.v1")):
      module.contrib = contrib


def _warn():
  """Warns about what hides this package from the main program."""
  message = shadowing.message_about_main()
  if message is not None:
    warnings.warn(message, stacklevel=3)


_install()
_warn()
