"""Tests of the package: contents, requirements, a missing TensorFlow."""

import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys
import tarfile
import tempfile
import types
import zipfile
from email import parser
from unittest import mock

import tensorflow.compat.v1 as tf

import kfac
from kfac.python import requirements
from kfac.python.kernel_tests.repository import architecture

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
_BUILD = """
import sys
from setuptools import build_meta
build_meta.build_{}(sys.argv[1])
"""
_ADVICE = ("ImportError: kfac needs TensorFlow 2.15 or later, got {}. Install "
           "it by `pip install \"kfac[tensorflow]\"` or, for CPUs only, "
           "`pip install \"kfac[tensorflow-cpu]\"`.")


def _setup_arguments():
  """Returns the arguments of setup.py to setuptools, which is a mock."""
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

  def testExtrasRequireTheMinimumTensorFlow(self):
    extras = _setup_arguments()["extras_require"]
    self.assertEqual(
        ["docs", "examples", "port", "tensorflow", "tensorflow-cpu", "tests"],
        sorted(extras))
    minimum = "{}.{}".format(*requirements.MINIMUM_TENSORFLOW)
    for name in ("tensorflow", "tensorflow-cpu"):
      self.assertEqual([f"{name}>={minimum}"], extras[name])


  def testTestsNeedThePortingToolsPackages(self):
    extras = _setup_arguments()["extras_require"]
    self.assertEqual(["libcst>=1.1"], extras["port"])
    self.assertContainsSubset(extras["port"], extras["tests"])


class BuiltTest(tf.test.TestCase):
  """A wheel and a source distribution, built without a network."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    root = architecture.project_root()
    cls._folder = pathlib.Path(tempfile.mkdtemp())
    # In a copy, because setuptools writes beside setup.py.
    tree = cls._folder / "tree"
    tree.mkdir()
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md",
                 "LICENSE"):
      shutil.copy(root / name, tree)
    for name in ("kfac", "examples"):
      shutil.copytree(root / name, tree / name,
                      ignore=shutil.ignore_patterns("__pycache__", "data"))
    cls._modules = {
        path.relative_to(tree).as_posix() for path in tree.rglob("kfac/**/*.py")
        if "kernel_tests" not in path.parts}
    for kind in ("wheel", "sdist"):
      subprocess.run(
          [sys.executable, "-c", _BUILD.format(kind), str(cls._folder)],
          cwd=tree, check=True, capture_output=True, timeout=300)
    wheel, = cls._folder.glob("*.whl")
    cls._installed = cls._folder / "installed"
    zipfile.ZipFile(wheel).extractall(cls._installed)
    cls._wheel = zipfile.ZipFile(wheel).namelist()
    sdist, = cls._folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
      cls._sdist = {name.partition("/")[2] for name in archive.getnames()}

  @classmethod
  def tearDownClass(cls):
    shutil.rmtree(cls._folder)
    super().tearDownClass()

  def testWheelHasAllModulesAndNoTests(self):
    installed = [name for name in self._wheel if ".dist-info/" not in name]
    self.assertEqual(sorted(self._modules | {"kfac/py.typed"}),
                     sorted(installed))

  def testWheelNeedsNoTensorFlowWithoutAnExtra(self):
    name = next(name for name in self._wheel if name.endswith("/METADATA"))
    metadata = parser.Parser().parsestr(
        (self._installed / name).read_text(encoding="utf-8"))
    needed = metadata.get_all("Requires-Dist")
    self.assertEqual(["absl-py", "numpy"],
                     sorted(line for line in needed if "extra ==" not in line))
    for line in needed:
      if line.startswith("tensorflow"):
        self.assertRegex(line, "extra == .tensorflow")
    self.assertEqual("kfac", metadata["Name"])
    self.assertEqual(kfac.__version__, metadata["Version"])
    self.assertEqual(_setup_arguments()["python_requires"],
                     metadata["Requires-Python"])

  def testWheelIsImportedOutsideOfTheTree(self):
    done = subprocess.run(
        [sys.executable, "-c", "import kfac; print(kfac.__file__)"],
        cwd=self._folder, check=True, capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=str(self._installed)), timeout=300)
    self.assertEqual(str(self._installed / "kfac" / "__init__.py"),
                     done.stdout.strip())

  def testEditableInstallIsImportedBesideTheClone(self):
    # A folder `kfac` without __init__.py beside the program is a namespace
    # package. An installed package hides it only by an entry of sys.path.
    clone = self._folder / "projects" / "kfac"
    shutil.copytree(self._folder / "tree", clone)
    site = self._folder / "site"
    site.mkdir()
    subprocess.run(
        [sys.executable, "-c", _BUILD.format("editable"), str(site)],
        cwd=clone, check=True, capture_output=True, timeout=300)
    wheel, = site.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    program = clone.parent / "train.py"
    program.write_text(
        # The environment of this test may have an editable kfac of its own.
        "import os\nimport site\nimport sys\n"
        "sys.path[1:] = [path for path in sys.path[1:] if not os.path.exists("
        "os.path.join(path, 'kfac', '__init__.py'))]\n"
        f"site.addsitedir({str(site)!r})\n"
        "import kfac\nprint(kfac.__file__, kfac.LayerCollection.__name__)\n",
        encoding="utf-8")
    environment = {name: value for name, value in os.environ.items()
                   if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "train.py"], cwd=clone.parent, capture_output=True,
        text=True, env=environment, timeout=300)
    self.assertEqual(f"{clone / 'kfac' / '__init__.py'} LayerCollection",
                     done.stdout.strip(), done.stderr)

  def testSourceDistributionBuildsAndIsTyped(self):
    self.assertContainsSubset(
        self._modules | {"kfac/py.typed", "setup.py", "pyproject.toml",
                         "README.md", "LICENSE"}, self._sdist)

  def testSourceDistributionHasNoTests(self):
    self.assertEqual(
        [], [name for name in self._sdist
             if "kernel_tests" in name or name.startswith("examples")])


class CommandsTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    root = architecture.project_root()
    self._ci = (root / ".ci" / "run").read_text(encoding="utf-8")
    self._commands = _COMMAND.findall(
        (root / "README.md").read_text(encoding="utf-8"))

  def testReadmeHasOneCommandForTrainingAndOneForTests(self):
    self.assertLen(self._commands, 2)
    self.assertIn("python examples/autoencoder_mnist_main.py --demo",
                  self._commands[0])
    self.assertIn("python -m pytest", self._commands[1])

  def testReadmeNamesExtrasThatExist(self):
    known = set(_setup_arguments()["extras_require"])
    for command in self._commands:
      named = re.search(r'-e "\.\[([a-z,-]+)\]"', command).group(1).split(",")
      self.assertContainsSubset(named, known)

  def testCiRunsTheSecondCommand(self):
    pattern = re.search(r"grep -E '(.*)' README\.md", self._ci).group(1)
    self.assertEqual(
        [False, True],
        [re.search(pattern, command) is not None
         for command in self._commands])
    self.assertNotIn("pip install", self._ci.replace(pattern, ""))

  def testCiRunsEveryHook(self):
    hooks = re.findall(
        r"entry: (\S+)",
        (architecture.project_root() / ".pre-commit-config.yaml").read_text(
            encoding="utf-8"))
    self.assertEqual(["ruff", "mypy", "codespell"], hooks)
    for hook in hooks:
      self.assertRegex(self._ci, rf"(?m)^check {hook}\b")


class VersionsTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    root = architecture.project_root()
    self._script = (root / ".ci" / "versions").read_text(encoding="utf-8")
    self._conftest = runpy.run_path(str(root / "conftest.py"))

  def _default(self, name):
    return re.search(
        f'^{name}="(.*)"$', self._script, re.MULTILINE).group(1).split()

  def testScriptBeginsWithTheOldestVersion(self):
    self.assertEqual(".".join(map(str, requirements.MINIMUM_TENSORFLOW)),
                     self._default("versions")[0])

  def testScriptRunsAllModes(self):
    self.assertEqual(list(self._conftest["GRAPH_MODES"]),
                     self._default("modes"))

  def testScriptRunsTheGivenVersionsAndModes(self):
    folder = pathlib.Path(self.get_temp_dir())
    for version in ("2.15", "9.9"):
      python = folder / version / "bin" / "python"
      python.parent.mkdir(parents=True)
      python.write_text('#!/bin/sh\necho "$KFAC_GRAPH_MODE: $*"\n')
      python.chmod(0o755)
    done = subprocess.run(
        ["bash", str(architecture.project_root() / ".ci" / "versions"),
         "-v", "2.15 9.9", "-m", "eager", "-n", "2", "-k", "Dense"],
        env=dict(os.environ, VENVS=str(folder)), capture_output=True,
        text=True, timeout=60)
    self.assertEqual("", done.stderr)
    self.assertEqual(0, done.returncode)
    self.assertEqual(2, done.stdout.count(
        "\neager: -m pytest -q -p no:cacheprovider -n 2 -k Dense\n"))
    self.assertIn("tensorflow-cpu==9.9.*", done.stdout)

  def testUnknownModeIsRefused(self):
    with mock.patch.dict(os.environ, KFAC_GRAPH_MODE="v3"):
      with self.assertRaisesRegex(ValueError, re.escape(
          "KFAC_GRAPH_MODE must be one of ['disable_eager_execution', "
          "'disable_v2_behavior', 'eager'], got 'v3'.")):
        self._conftest["pytest_configure"]()

  def testModesAreThoseOfTensorFlow(self):
    for mode, called in (("disable_v2_behavior", ["disable_v2_behavior"]),
                         ("disable_eager_execution",
                          ["disable_eager_execution"]),
                         ("eager", [])):
      module = mock.Mock()
      self._conftest["GRAPH_MODES"][mode](module)
      self.assertEqual(called, [call[0] for call in module.method_calls])


class TensorFlowTest(tf.test.TestCase):

  def _import_error(self, code="import kfac", files=()):
    """Returns the last lines of an import of kfac that must fail.

    Args:
      code: The program.
      files: Pairs of path and text, in a folder that is first on the path: a
        substitute of TensorFlow.

    Returns:
      The output of the program after its traceback.
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

  def testVersionWithoutCompatV1(self):
    error = self._import_error(files=[("tensorflow/__init__.py", "")])
    self.assertEqual(_ADVICE.format("an older one"), error)

  def testTooOld(self):
    error = self._import_error(files=[
        ("tensorflow/__init__.py", ""),
        ("tensorflow/compat/__init__.py", ""),
        ("tensorflow/compat/v1.py", "__version__ = '2.14.1'"),
    ])
    self.assertEqual(_ADVICE.format("2.14.1"), error)

  def testBrokenIsNotMistakenForMissing(self):
    error = self._import_error(
        files=[("tensorflow/__init__.py", "import kfac_test_no_such_module")])
    self.assertEqual("ModuleNotFoundError: No module named "
                     "'kfac_test_no_such_module'", error)

  def testVersions(self):
    for version in ("2.15.0-rc1", "2.15.1", "2.21.0", "3.0.0"):
      requirements.check_version(version)
    for version in ("1.15.5", "2.9.0", "2.14.1"):
      with self.assertRaisesRegex(ImportError, f"got {version}"):
        requirements.check_version(version)


if __name__ == "__main__":
  tf.test.main()
