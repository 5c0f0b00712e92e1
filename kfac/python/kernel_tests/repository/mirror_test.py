"""Every module has its test file, and mirror.py finds those that lack one."""

import pathlib
import tempfile

from absl.testing import absltest

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import mirror

_OPS = "kfac/python/ops/"
_TESTS = "kfac/python/kernel_tests/"


class ThisTreeTest(absltest.TestCase):

  def testEveryModuleHasATestFile(self):
    root = architecture.project_root()
    self.assertIn(_OPS + "utils/graph.py", mirror.modules(root))
    complaints = mirror.check(root)
    self.assertEqual([], complaints, "\n" + "\n".join(complaints))


class SmallTreeTest(absltest.TestCase):

  def _check(self, paths, table=()):
    """Returns the complaints about a tree of empty files."""
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    root = pathlib.Path(folder.name)
    for path in paths:
      (root / path).parent.mkdir(parents=True, exist_ok=True)
      (root / path).write_text("", encoding="utf-8")
    return mirror.check(root, dict(table))

  def testFilesNamedAfterTheModule(self):
    self.assertEqual([], self._check([
        "kfac/contrib.py", "kfac/python/requirements.py",
        _OPS + "estimator.py", _OPS + "utils/graph.py",
        "kfac/python/tools/port.py", "kfac/python/tools/__init__.py",
        _OPS + "utils/__init__.py", _TESTS + "contrib_test.py",
        _TESTS + "requirements_test.py", _TESTS + "estimator_modes_test.py",
        _TESTS + "utils/graph_test.py", _TESTS + "tools/port_test.py"]))

  def testPackagesAndLibModulesNeedNone(self):
    self.assertEqual([], self._check([
        "kfac/__init__.py", _OPS + "__init__.py", _OPS + "utils/__init__.py",
        _OPS + "utils_lib.py"]))

  def testModuleWithoutATestFile(self):
    self.assertEqual(
        [f"{_OPS}utils/graph.py: add {_TESTS}utils/graph_test.py, or a row of "
         "TESTED_BY"],
        self._check([_OPS + "utils/graph.py", _OPS + "utils/__init__.py",
                     # In another folder, or of another name.
                     _TESTS + "graph_test.py", _TESTS + "utils/graphs_test.py",
                     _TESTS + "utils/a_graph_test.py"]))

  def testRowOfTheTable(self):
    files = [_OPS + "a.py", _TESTS + "b_test.py"]
    row = _OPS + "a.py", "b_test.py"
    self.assertEqual([], self._check(files, [row]))
    self.assertEqual(
        [f"TESTED_BY: {row[0]}: there is no file b_test.py"],
        self._check(files[:1], [row]))
    self.assertEqual(
        [f"TESTED_BY: remove {row[0]}: it has a test file"],
        self._check([*files, _TESTS + "a_test.py"], [row]))
    self.assertEqual(
        [f"TESTED_BY: remove {row[0]}: there is no such module"],
        self._check(files[1:], [row]))


if __name__ == "__main__":
  absltest.main()
