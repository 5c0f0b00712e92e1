"""The tests that g3doc/reliability.md names exist."""

import ast
import re
import unittest

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import pages

# `path Class.test`, `path Class` or `path`, in the second column of a table.
_NAMED = re.compile(r"`([\w/]+_test\.py)(?: (\w+)(?:\.(\w+))?)?`")


def _path(name):
  root = architecture.project_root()
  if not name.startswith("examples/"):
    root = root / "kfac/python/kernel_tests"
  return root / name


def _tests(path):
  """Returns a dict from the classes of a file to the names of their tests."""
  tree = ast.parse(path.read_text(encoding="utf-8"))
  return {node.name: [item.name for item in node.body
                      if isinstance(item, ast.FunctionDef)
                      and item.name.startswith("test")]
          for node in tree.body if isinstance(node, ast.ClassDef)}


class ReliabilityTest(unittest.TestCase):

  def testEachPromiseNamesTestsThatExist(self):
    text = pages.read(pages.folder() / "reliability.md")
    rows = [line for line in text.splitlines()
            if line.startswith("| ") and "_test.py" in line]
    self.assertGreater(len(rows), 30)
    tests = {}
    for row in rows:
      named = _NAMED.findall(row)
      self.assertEqual(row.count("_test.py"), len(named), row)
      for name, owner, test in named:
        if name not in tests:
          tests[name] = _tests(_path(name))
        if owner:
          self.assertIn(owner, tests[name], row)
          self.assertTrue(tests[name][owner], row)
        if test:
          self.assertIn(test, tests[name][owner], row)


if __name__ == "__main__":
  unittest.main()
