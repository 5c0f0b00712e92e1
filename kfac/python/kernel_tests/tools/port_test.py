"""The porting tool as a command: files, exit status, start, document."""

import ast
import contextlib
import io
import os
import pathlib
import re
import subprocess
import sys
import tempfile
from unittest import mock

from absl.testing import absltest

import kfac
from kfac.python.kernel_tests.repository import architecture
from kfac.python.tools import port
from kfac.python.tools import renames

_OLD = b"from tensorflow.contrib import kfac\n"
_NEW = b"import kfac\n"
_LEFT = b"import kfac\nx = 'contrib.kfac'\n"
_WRITTEN = "1 of 1 files changed in 1 places ({}), 0 left to you."


class CommandTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self._root = pathlib.Path(folder.name)

  def _file(self, name, data):
    path = self._root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path

  def _main(self, *arguments):
    """Returns the exit status, and the lines printed."""
    with mock.patch("sys.stdout", new=io.StringIO()) as out:
      status = port.main([str(argument) for argument in arguments])
    return status, out.getvalue().splitlines()

  def testShowsWithoutWriting(self):
    path = self._file("a.py", _OLD)
    status, lines = self._main(path)
    self.assertEqual(0, status)
    self.assertEqual(_OLD, path.read_bytes())
    self.assertEqual([
        f"--- a/{path}", f"+++ b/{path}", "@@ -1 +1 @@",
        "-from tensorflow.contrib import kfac", "+import kfac",
        f"{path}:1: changed: from tensorflow.contrib import kfac -> import kfac"
        ,
        _WRITTEN.format("not written; pass --write to write them")], lines)

  def testWrites(self):
    path = self._file("a.py", _OLD)
    status, lines = self._main(path, "--write")
    self.assertEqual((0, _NEW), (status, path.read_bytes()))
    self.assertEqual(_WRITTEN.format("written"), lines[-1])
    time = path.stat().st_mtime_ns
    status, lines = self._main(path, "--write")
    self.assertEqual((0, time), (status, path.stat().st_mtime_ns))
    self.assertEqual(
        ["0 of 1 files changed in 0 places (written), 0 left to you."], lines)

  def testStatusIsOneIfSomethingIsLeft(self):
    path = self._file("a.py", _LEFT)
    for more in ((), ("--write",)):
      status, lines = self._main(path, *more)
      self.assertEqual(1, status)
      self.assertEqual(
          f"{path}:2: left: a string names contrib.kfac: "
          "'contrib.kfac'", lines[0])

  def testFolders(self):
    inside = [self._file(name, _OLD) for name in ("b/c/a.py", "b/d.py")]
    outside = [self._file(name, _OLD)
               for name in ("b/.git/a.py", "b/.a.py", "b/a.txt", "b/a.pyc",
                            "e/a.py")]
    os.symlink(self._root / "e", self._root / "b" / "link")
    self._file("b/other.py", b"print 'no concern of ours'\n")
    status, lines = self._main(self._root / "b", inside[0], "--write")
    self.assertEqual(0, status)
    self.assertEqual("2 of 2 files changed in 2 places (written), 0 left to "
                     "you.", lines[-1])
    self.assertEqual([_NEW, _NEW], [path.read_bytes() for path in inside])
    for path in outside:
      self.assertEqual(_OLD, path.read_bytes(), path)

  def testReleaseNamesArguments(self):
    path = self._file("a.py", _OLD + b"kfac.KfacOptimizer(a, b, c, d, 0.)\n")
    self.assertEqual(1, self._main(path)[0])
    self.assertEqual(0, self._main(path, "--write", "--release=1.4.1")[0])
    self.assertEqual(
        _NEW + b"kfac.KfacOptimizer(a, b, c, d, momentum=0.)\n",
        path.read_bytes())
    self.assertEqual(0, self._main(path)[0])

  def testSuccessor(self):
    path = self._file("a.py", _NEW + b"kfac.KfacOptimizer(a, b, c, d)\n")
    for release in ("0.2", "0.2.4"):
      self.assertEqual(0, self._main(path, "--release", release)[0])
    self.assertEqual(0, self._main(path, "--write", "--release=0.2.3")[0])
    self.assertEqual(
        _NEW + b"kfac.KfacOptimizer(a, damping=b, layer_collection=c, "
        b'cov_ema_decay=d, momentum_type="adam")\n', path.read_bytes())

  def testDiffOnly(self):
    for data, status, diff, left in (
        (_NEW, 0, 0, 0), (b"x = 1\n", 0, 0, 0), (_OLD, 1, 5, 0),
        (_LEFT, 2, 0, 1), (_OLD + b"x = 'contrib.kfac'\n", 2, 6, 1),
        (b"print 'kfac'\n", 2, 0, 1)):
      path = self._file("a.py", data)
      with mock.patch("sys.stderr", new=io.StringIO()) as err:
        found, lines = self._main(path, "--diff-only")
      self.assertEqual(status, found)
      self.assertLen(lines, diff)
      self.assertLen(err.getvalue().splitlines(), left)
      self.assertEqual(left, err.getvalue().count(f"{path}:"))
      self.assertEqual(data, path.read_bytes())

  def testFileThatCannotBeRead(self):
    folder = self._root / "a.py"
    folder.mkdir()
    with mock.patch.object(port, "find_files", return_value=[str(folder)]):
      status, lines = self._main(folder)
    self.assertEqual(1, status)
    self.assertEqual(
        f"{folder}:1: left: Is a directory", lines[0])

  def testWrongCommandLine(self):
    for arguments, message in (
        ([], "required: FILE_OR_FOLDER"),
        (["nowhere"], "FILE_OR_FOLDER must exist, got 'nowhere'."),
        ([".", "--write", "--diff-only"],
         "--diff-only must not be given with --write."),
        ([".", "--release", "1.6"], "invalid choice: '1.6'")):
      with mock.patch("sys.stderr", new=io.StringIO()) as err:
        with self.assertRaises(SystemExit) as caught:
          port.main(arguments)
      self.assertEqual(2, caught.exception.code)
      self.assertIn(message, err.getvalue())


class StartTest(absltest.TestCase):

  def _run(self, *arguments, path):
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True,
        env=dict(os.environ, PYTHONPATH=str(path)), timeout=300)

  def testNeedsNothingButLibCST(self):
    folder = architecture.project_root() / "kfac" / "python"
    done = self._run("-c", "import sys\nfrom tools import port\nprint("
                     "{'kfac', 'numpy', 'tensorflow'} & set(sys.modules))",
                     path=folder)
    self.assertEqual(("set()\n", ""), (done.stdout, done.stderr))
    done = self._run("-m", "tools.port", __file__, path=folder)
    self.assertIn("left to you.", done.stdout)

  def testLibCSTIsMissing(self):
    done = self._run(
        "-c", "import sys\nsys.modules['libcst'] = None\n"
        "from tools import port\nport.main(['.'])",
        path=architecture.project_root() / "kfac" / "python")
    self.assertEqual(
        (2, "", "port needs LibCST: python -m pip install libcst\n"),
        (done.returncode, done.stdout, done.stderr))

  def testAsAModuleOfKfac(self):
    done = self._run("-m", "kfac.python.tools.port", "--help",
                     path=architecture.project_root())
    self.assertEqual(0, done.returncode, done.stderr)
    self.assertIn("Exit status: 0 if nothing is left", done.stdout)


class DocumentTest(absltest.TestCase):
  """The names in g3doc/porting.md exist."""

  def setUp(self):
    super().setUp()
    path = architecture.project_root() / "g3doc" / "porting.md"
    self._text = path.read_text(encoding="utf-8")

  def testConstants(self):
    found = re.findall(r"`(\w+)\.([A-Z_]+) = (.+?)`", self._text)
    self.assertLen(found, 3)
    for module, name, value in found:
      owner = getattr(kfac, module)
      self.assertNotEqual(ast.literal_eval(value), getattr(owner, name))

  def testSettingsOfOldReleases(self):
    blocks = re.findall(r"^```python\n(.*?)^```$", self._text,
                        re.MULTILINE | re.DOTALL)
    block, = [block for block in blocks if "set_global_constants" in block]
    names = ("INIT_COVARIANCES_AT_ZERO", "ZERO_DEBIAS", "INIT_INVERSES_AT_ZERO")
    with contextlib.ExitStack() as stack:
      for name in names:
        stack.enter_context(mock.patch.object(kfac.fisher_factors, name, True))
      exec(block, {"kfac": kfac})  # pylint: disable=exec-used
      for name in names:
        self.assertFalse(getattr(kfac.fisher_factors, name), name)

  def testReleasesAndOptions(self):
    for release in (*renames.RELEASES, renames.SUCCESSOR):
      self.assertIn(release, self._text)
    parsed = re.findall(r"(--[a-z][a-z-]+)", self._text)
    self.assertEqual({"--diff-only", "--release", "--write"}, set(parsed))


if __name__ == "__main__":
  absltest.main()
