"""g3doc/adding_a_layer.md can be followed as it is written.

Its blocks are applied to a copy of the tree, and its commands run there.
"""

import pathlib
import re
import shlex
import shutil
import tempfile

from absl.testing import absltest

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import pages

_PATH = re.compile(r"# (\S+\.py)\n")
_PLACE = re.compile(
    r"[Ii]n `([^`]+)`, (after|before) the line `(.+?)`[,:]")
_END = re.compile(r"[Aa]t the end of `([^`]+)`:")


def apply(text, root):
  """Applies the blocks of a page.

  A block of Python is a new file if its first line is a comment with the path.
  Otherwise the paragraph above says "in `PATH`, before (or after) the line
  `LINE`", where indentation is ignored, or "at the end of `PATH`".

  Args:
    text: The page.
    root: Root of the tree to change.

  Returns:
    Paths of the files that were made or changed, each once.

  Raises:
    ValueError: If a block has no place, or no such line, or more than one.
  """
  touched = []
  for block in pages.blocks(text, "python"):
    new, place, end = (_PATH.match(block.text), _PLACE.search(block.before),
                       _END.search(block.before))
    if new:
      path, result = new.group(1), block.text[new.end():]
      if (root / path).exists():
        raise ValueError(f"{path} must be a new file.")
    elif place:
      path, side, line = place.groups()
      result = _insert((root / path).read_text(encoding="utf-8"), block.text,
                       side, line, path)
    elif end:
      path = end.group(1)
      result = (root / path).read_text(encoding="utf-8") + block.text
    else:
      raise ValueError(f"line {block.line}: a block must have a place.")
    (root / path).write_text(result, encoding="utf-8")
    touched.append(path)
  return list(dict.fromkeys(touched))


def _insert(text, new, side, line, path):
  """Inserts text before or after the one line with this content."""
  lines = text.splitlines(keepends=True)
  found = [index for index, one in enumerate(lines) if one.strip() == line]
  if len(found) != 1:
    raise ValueError(f"{path} must have one line {line!r}, got {len(found)}.")
  at = found[0] + (side == "after")
  return "".join(lines[:at]) + new + "".join(lines[at:])


class _TreeCase(absltest.TestCase):

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self._root = pathlib.Path(folder.name)


class PageTest(_TreeCase):

  def testLayersWorkAndKeepTheRules(self):
    source = architecture.project_root()
    for name in ("kfac", "examples"):
      shutil.copytree(source / name, self._root / name,
                      ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
    for name in ("BUILD", "conftest.py", "pyproject.toml", "setup.py"):
      shutil.copy(source / name, self._root / name)
    text = pages.read(pages.folder() / "adding_a_layer.md")
    touched = apply(text, self._root)
    self.assertTrue(all((self._root / path).exists() for path in touched))
    command, = pages.commands(text)
    python, *words = shlex.split(command)
    self.assertEqual("python", python)
    for path in touched:
      if path.endswith("_test.py"):
        self.assertIn(path, words)
    self.assertIn(
        "kfac/python/kernel_tests/repository/architecture_test.py", words)
    printed = pages.run(words, self._root, root=self._root)
    self.assertRegex(printed, r"\d+ passed")


class ApplyTest(_TreeCase):

  def setUp(self):
    super().setUp()
    (self._root / "a.py").write_text("x\n  y\nz\nz\n", encoding="utf-8")

  def _apply(self, before, block):
    return apply(f"{before}\n\n```python\n{block}\n```\n", self._root)

  def _text(self, path="a.py"):
    return (self._root / path).read_text(encoding="utf-8")

  def testNewFile(self):
    self.assertEqual(["b.py"], self._apply("A file:", "# b.py\nx = 1"))
    self.assertEqual("x = 1\n", self._text("b.py"))
    with self.assertRaisesRegex(ValueError, "a.py must be a new file."):
      self._apply("A file:", "# a.py\nx = 1")

  def testPlaces(self):
    self._apply("So. In `a.py`, before\nthe line `y`, this:", "1")
    self._apply("Then, in `a.py`, after the line\n`y`:", "2")
    self._apply("At the end of\n`a.py`:", "3")
    self.assertEqual("x\n1\n  y\n2\nz\nz\n3\n", self._text())

  def testLineMustOccurOnce(self):
    for line, count in (("z", 2), ("w", 0)):
      with self.assertRaisesRegex(
          ValueError, f"a.py must have one line '{line}', got {count}."):
        self._apply(f"In `a.py`, before the line `{line}`:", "1")

  def testBlockMustHaveAPlace(self):
    with self.assertRaisesRegex(ValueError, "line 3: a block must have a pl"):
      self._apply("Somewhere:", "1")


if __name__ == "__main__":
  absltest.main()
