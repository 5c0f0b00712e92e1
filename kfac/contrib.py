"""Makes programs run as they are that say `tensorflow.contrib.kfac`.

`import kfac.contrib` once, before such a program is imported: all of these
then give the modules of kfac, the very same objects:

    from tensorflow.contrib import kfac
    from tensorflow.contrib.kfac.python.ops import optimizer
    tf.contrib.kfac.optimizer.KfacOptimizer

It adds modules to `sys.modules` and the attribute `contrib` to TensorFlow's
modules, and changes nothing else.
"""

import sys
import types

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

_NAME = "tensorflow.contrib"
_GONE = ("{} is gone with TensorFlow 2: kfac.contrib brings back "
         "tensorflow.contrib.kfac, no other module of contrib.")


class _Contrib(types.ModuleType):
  """`tensorflow.contrib`, with nothing but kfac in it."""

  def __init__(self):
    super().__init__(_NAME, "tensorflow.contrib, as far as kfac needs it.")
    self.__path__ = _NoFolder()
    self.kfac = kfac

  def __getattr__(self, name):
    raise AttributeError(_GONE.format(f"{_NAME}.{name}"))


class _NoFolder:
  """The folder of a package in which every search ends with an error."""

  def __iter__(self):
    raise ImportError(_GONE.format("the rest of " + _NAME))


def _install():
  """Adds contrib to all that TensorFlow is imported as."""
  contrib = sys.modules.setdefault(_NAME, _Contrib())
  contrib.kfac = kfac
  for name, module in list(sys.modules.items()):
    if name == "kfac" or name.startswith("kfac.python"):
      sys.modules[f"{_NAME}.{name}"] = module
    elif name == "tensorflow" or (
        name.startswith("tensorflow.") and name.endswith("compat.v1")):
      module.contrib = contrib


_install()
