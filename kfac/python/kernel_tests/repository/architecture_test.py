"""The tree keeps the rules of architecture.py, which find violations."""

import importlib
import pathlib
import tempfile
import textwrap
import types

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.repository import architecture

_OPS = "kfac/python/ops/"
_LIB = '"""The list."""\n\nfrom kfac.python.ops.utils import *  # noqa: F403\n'


class _TreeTest(tf.test.TestCase):
  """Makes small trees with faults."""

  def _tree(self, files):
    """Returns the root of a new tree.

    Args:
      files: Dict from a path to the text of the file.

    Returns:
      pathlib.Path.
    """
    root = pathlib.Path(tempfile.mkdtemp(dir=self.get_temp_dir()))
    for path, text in files.items():
      (root / path).parent.mkdir(parents=True, exist_ok=True)
      (root / path).write_text(textwrap.dedent(text), encoding="utf-8")
    return root

  def _assertComplains(self, complaints, *expected):
    self.assertEqual(sorted(expected), sorted(complaints))


class ThisTreeTest(tf.test.TestCase):

  def _assertKept(self, complaints):
    self.assertEqual([], complaints, "\n" + "\n".join(complaints))

  def testIsRead(self):
    modules = architecture.read_modules(architecture.project_root())
    self.assertIn(
        "kfac.python.kernel_tests.repository.architecture_test", modules)
    self.assertIn("kfac.python.ops.utils", modules)

  def testImportsPointDown(self):
    self._assertKept(architecture.check_floors(architecture.project_root()))

  def testHasNoImportCircle(self):
    self._assertKept(architecture.check_circles(architecture.project_root()))

  def testFilesAndFunctionsAreShort(self):
    self._assertKept(architecture.check_sizes(architecture.project_root()))

  def testImportsOnlyDependenciesAndPublicTensorFlow(self):
    self._assertKept(architecture.check_imports(architecture.project_root()))

  def testLibModulesAreTheListsOfTheirModules(self):
    root = architecture.project_root()
    self._assertKept(architecture.check_lib_sources(root))
    names = [name for name in architecture.read_modules(root)
             if name.endswith("_lib")]
    self.assertIn("kfac.python.ops.utils_lib", names)
    for name in names:
      lib = importlib.import_module(name)
      owner = importlib.import_module(name[:-len("_lib")])
      self._assertKept(architecture.check_lib_names(lib, owner))


class FloorsTest(_TreeTest):

  def testImportThatPointsUp(self):
    root = self._tree({
        _OPS + "fisher_blocks/__init__.py": "",
        _OPS + "fisher_blocks/base.py": "",
        _OPS + "fisher_factors/__init__.py": "",
        _OPS + "fisher_factors/dense.py":
            "\nfrom kfac.python.ops.fisher_blocks import base\n",
    })
    path = _OPS + "fisher_factors/dense.py:2: imports kfac.python.ops."
    self._assertComplains(
        architecture.check_floors(root),
        path + "fisher_blocks.base, which is above it",
        path + "fisher_blocks, which is above it")

  def testEveryWayToWriteAnImport(self):
    for line in ("import kfac.python.ops.estimator",
                 "import kfac.python.ops.estimator as e",
                 "from kfac.python.ops import estimator",
                 "from kfac.python.ops.estimator import FisherEstimator",
                 "from . import estimator",
                 "from .estimator import FisherEstimator",
                 "def f():\n  from kfac.python.ops import estimator"):
      root = self._tree({_OPS + "estimator.py": "",
                         _OPS + "linear_operator.py": line})
      self.assertLen(architecture.check_floors(root), 1, line)

  def testImportThatPointsDownOrSideways(self):
    root = self._tree({
        _OPS + "__init__.py": "",
        _OPS + "utils/__init__.py": "",
        _OPS + "linear_operator.py": "from kfac.python.ops import utils",
        _OPS + "optimizer/__init__.py":
            "from kfac.python.ops import linear_operator",
        _OPS + "optimizer_lib.py": "from kfac.python.ops.optimizer import *",
    })
    self._assertComplains(architecture.check_floors(root))

  def testModuleOnNoFloor(self):
    root = self._tree({_OPS + "helpers.py": "", "kfac/misc.py": ""})
    self._assertComplains(
        architecture.check_floors(root),
        "kfac/misc.py: is on no floor",
        _OPS + "helpers.py: is on no floor")


class CirclesTest(_TreeTest):

  def testCircleOfTwo(self):
    root = self._tree({
        _OPS + "estimator.py": "from kfac.python.ops import placement",
        _OPS + "placement.py":
            "def f():\n  from kfac.python.ops import estimator",
    })
    self._assertComplains(
        architecture.check_circles(root),
        "import circle: kfac.python.ops.estimator -> kfac.python.ops.placement"
        " -> kfac.python.ops.estimator")

  def testFileThatImportsItsOwnPackage(self):
    root = self._tree({
        _OPS + "utils/__init__.py": "from kfac.python.ops.utils import posdef",
        _OPS + "utils/posdef.py": "from kfac.python.ops import utils",
    })
    self.assertLen(architecture.check_circles(root), 1)

  def testCircleThroughThePackageOfAnImportedFile(self):
    root = self._tree({
        _OPS + "utils/__init__.py": "from kfac.python.ops import op_queue",
        _OPS + "utils/posdef.py": "",
        _OPS + "op_queue.py": "from kfac.python.ops.utils import posdef",
    })
    self.assertLen(architecture.check_circles(root), 1)

  def testSiblingsAreNotACircle(self):
    root = self._tree({
        _OPS + "utils/__init__.py": "from kfac.python.ops.utils import posdef",
        _OPS + "utils/posdef.py": "from kfac.python.ops.utils import graph",
        _OPS + "utils/graph.py": "import math",
    })
    self._assertComplains(architecture.check_circles(root))


class SizesTest(_TreeTest):

  def _sizes(self, text):
    return architecture.check_sizes(self._tree({_OPS + "op_queue.py": text}))

  def testLongFile(self):
    self._assertComplains(self._sizes("x = 1\n" * 700))
    self._assertComplains(
        self._sizes("x = 1\n" * 701),
        _OPS + "op_queue.py:1: file kfac/python/ops/op_queue.py has 701 lines,"
        " at most 700")

  def testLongFunction(self):
    head = 'x = 1\n\ndef f():\n  """One.\n\n  Three.\n  """\n'
    self._assertComplains(self._sizes(head + "  x = 1\n" * 59))
    self._assertComplains(
        self._sizes(head + "  x = 1\n" * 60),
        _OPS + "op_queue.py:3: function f has 61 lines, at most 60")


class ImportsTest(_TreeTest):

  def _imports(self, line, path=_OPS + "op_queue.py"):
    return architecture.check_imports(self._tree({path: line}))

  def testDependencies(self):
    for line in ("import tensorflow.compat.v1 as tf", "import numpy as np",
                 "from absl import logging", "import collections.abc",
                 "from kfac.python.ops import utils", "from . import utils"):
      self._assertComplains(self._imports(line))

  def testOtherPackages(self):
    for line in ("import scipy", "from matplotlib import pyplot",
                 "import tf_keras", "import tensorflow_probability as tfp"):
      self._assertComplains(
          self._imports(line),
          f"{_OPS}op_queue.py:1: {line}: is not among the dependencies")

  def testOnlyToolsImportLibCST(self):
    line = "import libcst as cst"
    self._assertComplains(self._imports(line, "kfac/python/tools/port.py"))
    for path in (_OPS + "op_queue.py", "kfac/contrib.py",
                 "kfac/python/kernel_tests/tools/port_test.py"):
      self._assertComplains(
          self._imports(line, path),
          f"{path}:1: {line}: is not among the dependencies")

  def testTensorFlowOtherThanItsPublicGraphMode(self):
    for line in ("import tensorflow as tf", "import tensorflow.compat.v1",
                 "import tensorflow.compat.v1 as tf1",
                 "from tensorflow.compat import v1 as tf",
                 "from tensorflow.python.ops import math_ops"):
      self._assertComplains(
          self._imports(line, "examples/mlp.py"),
          f"examples/mlp.py:1: {line}: only `import tensorflow.compat.v1 as "
          "tf`")

  def testExamplesMayImportMore(self):
    path = "examples/runner.py"
    self._assertComplains(self._imports("from matplotlib import pyplot", path))
    self.assertLen(self._imports("import tf_keras", path), 1)


class LibTest(_TreeTest):

  def testStarImport(self):
    root = self._tree({_OPS + "utils_lib.py": _LIB})
    self._assertComplains(architecture.check_lib_sources(root))

  def testAnythingElse(self):
    for text in ("", '"""The list."""\n', _LIB + "x = 1\n",
                 "from kfac.python.ops.utils import *\n",
                 _LIB.replace("utils", "op_queue")):
      root = self._tree({_OPS + "utils_lib.py": text})
      self._assertComplains(
          architecture.check_lib_sources(root),
          _OPS + "utils_lib.py: must be a docstring and "
          "`from kfac.python.ops.utils import *`")

  def testNamesDiffer(self):
    owner, lib = types.ModuleType("utils"), types.ModuleType("utils_lib")
    owner.__all__ = ["lost", "same", "swapped"]
    owner.lost = owner.same = owner.swapped = 1
    lib.same, lib.swapped, lib.more, lib._private = 1, 2, 3, 4
    self._assertComplains(
        architecture.check_lib_names(lib, owner),
        "utils_lib lacks lost",
        "utils_lib has more, which utils.__all__ has not",
        "utils_lib.swapped is another object than utils's")


if __name__ == "__main__":
  tf.test.main()
