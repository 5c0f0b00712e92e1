"""setup.py, README.md and .ci/run agree, and a missing TensorFlow is told."""

import os
import pathlib
import re
import runpy
import subprocess
import sys
import types
from unittest import mock

import tensorflow.compat.v1 as tf

import kfac
from kfac.python import requirements
from kfac.python.kernel_tests import architecture

_COMMAND = re.compile(r"^```sh\n(.*?)\n```$", re.MULTILINE | re.DOTALL)
_HIDE_TENSORFLOW = """
import sys

class Finder:
  def find_spec(self, name, path=None, target=None):
    if name == "tensorflow":
      raise ModuleNotFoundError("No module named 'tensorflow'", name=name)

sys.meta_path.insert(0, Finder())
import kfac
"""
_ADVICE = ("ImportError: kfac needs TensorFlow 2.16 or later, got {}. Install "
           "it by `pip install \"kfac[tensorflow]\"` or, for CPUs only, "
           "`pip install \"kfac[tensorflow-cpu]\"`.")


def _setup_arguments():
  """Returns what setup.py hands to setuptools, which need not be there."""
  setuptools = types.ModuleType("setuptools")
  setuptools.setup = mock.Mock()
  setuptools.find_packages = mock.Mock()
  with mock.patch.dict(sys.modules, setuptools=setuptools):
    runpy.run_path(str(architecture.project_root() / "setup.py"))
  return setuptools.setup.call_args.kwargs


class SetupTest(tf.test.TestCase):

  def testVersionIsTheModules(self):
    self.assertEqual(kfac.__version__, _setup_arguments()["version"])

  def testNeedsNumpyAndAbslOnly(self):
    self.assertEqual(["absl-py", "numpy"],
                     sorted(_setup_arguments()["install_requires"]))

  def testExtrasBringTheTensorFlowThatTheImportAsksFor(self):
    extras = _setup_arguments()["extras_require"]
    self.assertEqual(["examples", "tensorflow", "tensorflow-cpu", "tests"],
                     sorted(extras))
    minimum = "{}.{}".format(*requirements.MINIMUM_TENSORFLOW)
    for name in ("tensorflow", "tensorflow-cpu"):
      self.assertEqual(["{}>={}".format(name, minimum)], extras[name])


class CommandsTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    root = architecture.project_root()
    self._ci = (root / ".ci" / "run").read_text(encoding="utf-8")
    self._commands = _COMMAND.findall(
        (root / "README.md").read_text(encoding="utf-8"))

  def testReadmeGivesOneForTheMainJobAndOneForTheTests(self):
    self.assertLen(self._commands, 2)
    self.assertIn("python examples/mlp_mnist_main.py", self._commands[0])
    self.assertIn("python -m pytest", self._commands[1])

  def testReadmeNamesExtrasThatExist(self):
    known = set(_setup_arguments()["extras_require"])
    for command in self._commands:
      named = re.search(r'-e "\.\[([a-z,-]+)\]"', command).group(1).split(",")
      self.assertContainsSubset(named, known)

  def testCiRunsTheSecondAsItIs(self):
    pattern = re.search(r"grep -E '(.*)' README\.md", self._ci).group(1)
    self.assertEqual(
        [False, True],
        [re.search(pattern, command) is not None
         for command in self._commands])
    self.assertNotIn("pip install", self._ci.replace(pattern, ""))


class TensorFlowTest(tf.test.TestCase):

  def _import_error(self, code="import kfac", files=()):
    """Returns the last lines of an import of kfac that must fail.

    Args:
      code: The program.
      files: Pairs of a path below a folder that is first on the path, and the
        text of the file: a TensorFlow in the place of the real one.

    Returns:
      What the program wrote after its traceback.
    """
    folder = pathlib.Path(self.get_temp_dir())
    for path, text in files:
      (folder / path).parent.mkdir(parents=True, exist_ok=True)
      (folder / path).write_text(text, encoding="utf-8")
    path = os.pathsep.join([str(folder), str(architecture.project_root())])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=path), timeout=300)
    self.assertNotEqual(0, done.returncode)
    self.assertNotIn("During handling", done.stderr)
    return done.stderr.strip().split("\n")[-1]

  def testMissing(self):
    self.assertEqual(_ADVICE.format("none"),
                     self._import_error(_HIDE_TENSORFLOW))

  def testBeforeGraphModeHadAModule(self):
    error = self._import_error(files=[("tensorflow/__init__.py", "")])
    self.assertEqual(_ADVICE.format("an older one"), error)

  def testTooOld(self):
    error = self._import_error(files=[
        ("tensorflow/__init__.py", ""),
        ("tensorflow/compat/__init__.py", ""),
        ("tensorflow/compat/v1.py", "__version__ = '2.15.1'"),
    ])
    self.assertEqual(_ADVICE.format("2.15.1"), error)

  def testBrokenIsNotMistakenForMissing(self):
    error = self._import_error(
        files=[("tensorflow/__init__.py", "import kfac_test_no_such_module")])
    self.assertEqual("ModuleNotFoundError: No module named "
                     "'kfac_test_no_such_module'", error)

  def testVersions(self):
    for version in ("2.16.0-rc1", "2.16.1", "2.21.0", "3.0.0"):
      requirements.check_version(version)
    for version in ("1.15.5", "2.9.0", "2.15.1"):
      with self.assertRaisesRegex(ImportError, "got {}".format(version)):
        requirements.check_version(version)


if __name__ == "__main__":
  tf.test.main()
