"""After `import kfac.contrib`, tensorflow.contrib.kfac can be imported."""

import os
import subprocess
import sys
import types

import tensorflow.compat.v1 as tf

import kfac
import kfac.contrib  # noqa: F401
from kfac.python.kernel_tests.repository import architecture
from kfac.python.tools import renames

# Imports before kfac.contrib, and statements after it.
_BEFORE = (
    "",
    "import tensorflow as tf; old = tf.compat.v1; "
    "from tensorflow.compat import v1",
)
_AFTER = """
import sys
{before}
import kfac.contrib
from tensorflow.contrib import kfac as x
import tensorflow
import tensorflow as t
import tensorflow.compat.v1 as t1
from tensorflow.compat import v1 as other
names = dict(globals())
for name in ("tf", "old", "v1", "tensorflow", "t", "t1", "other"):
  if name in names:
    assert names[name].contrib.kfac is x, name
assert t.compat.v1.contrib.kfac is tensorflow.contrib.kfac is x is kfac
assert kfac is sys.modules["kfac"]
"""
# Names of TensorFlow's modules before and after.
_NOTHING_ELSE = """
import sys, types
import kfac, kfac.python.ops.linear_operator
def look():
  return dict((name, dict(vars(module)))
              for name, module in list(sys.modules.items())
              if name.split(".")[0] in ("tensorflow", "keras")
              and isinstance(module, types.ModuleType))
before = look()
finders = list(sys.meta_path), list(sys.path_hooks), list(sys.path)
import kfac.contrib  # noqa: F401
after = look()
assert finders == (list(sys.meta_path), list(sys.path_hooks), list(sys.path))
new = set(after) - set(before)
assert all(name.startswith("tensorflow.contrib") for name in new), new
for name, members in before.items():
  added = set(after[name]) - set(members)
  changed = [key for key in members if after[name][key] is not members[key]]
  assert added <= set(["contrib"]) and not changed, (name, added, changed)
for name in "tensorflow", "tensorflow.compat.v1":
  assert "contrib" in after[name] and "contrib" not in before[name]
"""


def _run(program):
  """Runs a program in a new process and returns its stderr."""
  done = subprocess.run(
      [sys.executable, "-c", program], capture_output=True, text=True,
      timeout=300, env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2",
                            PYTHONPATH=str(architecture.project_root())))
  return done.stderr if done.returncode else ""


def _run_all(program):
  """Runs statements as a module; returns its names."""
  names = {}
  exec(program, names)  # pylint: disable=exec-used
  return names


class SpellingsTest(tf.test.TestCase):

  def testImports(self):
    for line in ("from tensorflow.contrib import kfac as x",
                 "import tensorflow.contrib.kfac as x",
                 "import tensorflow.contrib; x = tensorflow.contrib.kfac",
                 "import tensorflow.contrib.kfac; x = tensorflow.contrib.kfac",
                 "from tensorflow import contrib; x = contrib.kfac",
                 "import importlib; x = importlib.import_module("
                 "'tensorflow.contrib.kfac')"):
      self.assertIs(kfac, _run_all(line)["x"], line)

  def testImportsOfModules(self):
    for name in sorted(renames.OPS_NAMES):
      module = sys.modules["kfac.python.ops." + name]
      for line in ("from tensorflow.contrib.kfac.python.ops import {} as x",
                   "import tensorflow.contrib.kfac.python.ops.{} as x",
                   "import tensorflow.contrib.kfac.python.ops.{0}; "
                   "x = tensorflow.contrib.kfac.python.ops.{0}"):
        self.assertIs(module, _run_all(line.format(name))["x"])
    for name in sorted(renames.ROOT_NAMES):
      module = sys.modules["kfac.python.ops." + name]
      names = _run_all(
          f"import tensorflow.contrib.kfac.python.ops.{name}_lib as x;"
                       f"from tensorflow.contrib.kfac import {name} as y")
      self.assertIs(sys.modules[f"kfac.python.ops.{name}_lib"],
                    names["x"])
      self.assertIs(module, names["y"])

  def testImportsOfNames(self):
    names = _run_all(
        "from tensorflow.contrib.kfac.python.ops.optimizer import KfacOptimizer"
        "\nfrom tensorflow.contrib.kfac.python.ops.fisher_blocks_lib import *")
    self.assertIs(kfac.KfacOptimizer, names["KfacOptimizer"])
    self.assertIs(kfac.fisher_blocks.FullFB, names["FullFB"])

  def testChainsOfAttributes(self):
    self.assertIs(kfac.KfacOptimizer, tf.contrib.kfac.optimizer.KfacOptimizer)
    self.assertIs(kfac.LayerCollection,
                  tf.contrib.kfac.layer_collection.LayerCollection)

  def testModulesAreLoadedOnce(self):
    prefix = "tensorflow.contrib."
    for name, module in list(sys.modules.items()):
      if name.startswith(prefix + "kfac"):
        self.assertIs(sys.modules[name[len(prefix):]], module)

  def testPatchedConstantsCount(self):
    ff = _run_all("from tensorflow.contrib.kfac.python.ops import "
                  "fisher_factors as ff")["ff"]
    with tf.test.mock.patch.object(ff, "TOWER_STRATEGY", "separate"):
      self.assertEqual("separate", kfac.fisher_factors.TOWER_STRATEGY)
    self.assertEqual("concat", kfac.fisher_factors.TOWER_STRATEGY)

  def testOtherContribModuleIsKept(self):
    other = types.ModuleType("tensorflow.contrib")
    mine = tf.contrib
    with tf.test.mock.patch.dict(sys.modules, {"tensorflow.contrib": other}):
      kfac.contrib._install()
      self.assertIs(other, tf.contrib)
      self.assertIs(kfac, other.kfac)
    kfac.contrib._install()
    self.assertIs(mine, tf.contrib)

  def testAnyOrderOfImports(self):
    for before in _BEFORE:
      self.assertEqual("", _run(_AFTER.format(before=before)), before)

  def testNothingElseOfTensorFlowChanges(self):
    self.assertEqual("", _run(_NOTHING_ELSE))


class OtherModulesTest(tf.test.TestCase):

  _TEXT = (" is gone with TensorFlow 2: kfac.contrib brings back "
           "tensorflow.contrib.kfac, no other module of contrib.")

  def testAttribute(self):
    with self.assertRaisesRegex(
        AttributeError, "^tensorflow.contrib.layers" + self._TEXT):
      _ = tf.contrib.layers
    self.assertFalse(hasattr(tf.contrib, "layers"))

  def testImport(self):
    for line in ("from tensorflow.contrib import layers",
                 "import tensorflow.contrib.layers",
                 "import tensorflow.contrib.layers as l",
                 "from tensorflow.contrib.layers import conv2d"):
      with self.assertRaisesRegex(
          ImportError, "^the rest of tensorflow.contrib" + self._TEXT):
        _run_all(line)


if __name__ == "__main__":
  tf.test.main()
