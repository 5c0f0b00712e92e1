"""What hides the package kfac is reported."""

import os
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest

from kfac.python.kernel_tests.repository import architecture
from kfac.python.tools import port
from kfac.python.tools import shadowing

_PROGRAM = "import kfac\n"


class ShadowingTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self._root = pathlib.Path(folder.name)

  def _file(self, name, text=""):
    path = self._root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)

  def _left(self, path):
    return [note.text for result in port.port_paths([path])
            for note in result.left]

  def testModule(self):
    program, module = self._file("a.py", _PROGRAM), self._file("kfac.py")
    self.assertEqual(
        [f"{module} is beside the program and hides the package kfac: rename "
         "it"], self._left(program))

  def testProgramOfThisName(self):
    path = self._file("kfac.py", "from tensorflow.contrib import kfac\n")
    self.assertLen(self._left(path), 1)

  def testFolder(self):
    program = self._file("a.py", _PROGRAM)
    self._file("kfac/data.txt")
    folder = self._root / "kfac"
    self.assertEmpty(self._left(program))
    self._file("kfac/__init__.py")
    self.assertEqual(
        [f"{folder} is beside the program and hides the package kfac: rename "
         "it"], self._left(program))

  def testThePackageItself(self):
    program = self._file("a.py", _PROGRAM)
    self._file("kfac/python/ops/__init__.py")
    self._file("kfac/__init__.py")
    self.assertEmpty(self._left(program))
    self.assertIsNone(shadowing.message(str(architecture.project_root())))

  def testProgramInAPackage(self):
    program = self._file("top/below/a.py", _PROGRAM)
    for name in ("top/below/__init__.py", "top/__init__.py",
                 "top/below/kfac.py", "top/kfac.py"):
      self._file(name)
    self.assertEmpty(self._left(program))
    self._file("kfac.py")
    self.assertLen(self._left(program), 1)

  def testProgramInTheCurrentFolder(self):
    self._file("a.py", _PROGRAM)
    self._file("kfac.py")
    before = os.getcwd()
    self.addCleanup(os.chdir, before)
    os.chdir(self._root)
    self.assertLen(self._left("a.py"), 1)

  def testProgramsWithoutKfac(self):
    program = self._file("a.py", "import os  # kfac\n")
    self._file("kfac.py")
    self.assertEmpty(self._left(program))

  def testImportOfContrib(self):
    program = self._file(
        "a.py", "import sys\nsys.path.pop(0)\nimport kfac.contrib\n")
    for expected in (0, 1):
      done = subprocess.run(
          [sys.executable, program], capture_output=True, text=True,
          timeout=300, env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2",
                                PYTHONPATH=str(architecture.project_root())))
      self.assertEqual(0, done.returncode, done.stderr)
      self.assertEqual(
          expected,
          done.stderr.count("kfac.py is beside the program and hides"))
      self._file("kfac.py")


if __name__ == "__main__":
  absltest.main()
