"""The files and names in g3doc/papers.md exist."""

import ast
import re

from absl.testing import absltest

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import pages

_REFERENCE = re.compile(r"`([\w/]+\.py)(?:: ([\w.]+))?`")


def path_of(reference):
  """Returns the file that a path of the page means."""
  root = architecture.project_root()
  if not reference.startswith("examples/"):
    root = root / "kfac" / "python" / "ops"
  return root / reference


def defines(body, name):
  """Whether statements define "f", "Class" or "Class.method".

  Args:
    body: List of syntax trees.
    name: The name.

  Returns:
    Boolean.
  """
  first, _, rest = name.partition(".")
  for node in body:
    if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == first:
      return not rest or (
          isinstance(node, ast.ClassDef) and defines(node.body, rest))
  return False


class PapersTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    self._text = pages.read(pages.folder() / "papers.md")

  def testFilesAndNamesExist(self):
    # A reference may span two lines.
    references = _REFERENCE.findall(self._text.replace("\n", " "))
    self.assertGreater(len(references), 30)
    for file, name in references:
      path = path_of(file)
      self.assertTrue(path.exists(), file)
      body = ast.parse(path.read_text(encoding="utf-8")).body
      self.assertTrue(not name or defines(body, name),
                      f"{file} has no {name}")

  def testEachCodeSpanWithAFileIsOne(self):
    spans = re.findall(r"`([^`]*\.py[^`]*)`", self._text.replace("\n", " "))
    self.assertLen(_REFERENCE.findall(self._text.replace("\n", " ")),
                   len(spans))

  def testPapersThatTheCodeCitesAreNamed(self):
    cited = set()
    for path in path_of("").rglob("*.py"):
      text = " ".join(path.read_text(encoding="utf-8").split())
      cited |= set(re.findall(
          r"((?:[A-Z][a-z]+(?:, | & | and | ))+(?:et al\. )?(?:20\d\d))", text))
    page = " ".join(self._text.split()).replace(" and ", " & ")
    for paper in cited:
      short = paper.replace(" and ", " & ")
      self.assertIn(short, page, paper)

  def testDefines(self):
    body = ast.parse("class A:\n  def f(self): pass\ndef g(): pass\n").body
    for name, there in (("A", True), ("A.f", True), ("g", True), ("f", False),
                        ("g.f", False), ("A.g", False)):
      self.assertEqual(there, defines(body, name), name)


if __name__ == "__main__":
  absltest.main()
