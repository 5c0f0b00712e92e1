"""Notebooks are ported cell by cell, and keep all other bytes."""

import json
import pathlib
import tempfile

from absl.testing import absltest
from absl.testing import parameterized

from kfac.python.tools import notebooks
from kfac.python.tools import port


def _code(*lines):
  """Returns a code cell."""
  text = "\n".join(lines)
  return {"cell_type": "code", "execution_count": 3, "metadata": {},
          "outputs": [{"data": {"text/plain": "1e-07 tf.contrib.kfac"}}],
          "source": text.splitlines(keepends=True)}


def _notebook(*cells, end="\n", **options):
  """Returns the bytes of a notebook, in the layout of Jupyter."""
  value = {"cells": list(cells), "metadata": {"é": [1, 2.5, None]},
           "nbformat": 4, "nbformat_minor": 5}
  options = dict({"indent": 1, "ensure_ascii": False}, **options)
  return (json.dumps(value, **options) + end).encode("utf-8")


def _markdown(text):
  return {"cell_type": "markdown", "metadata": {}, "source": [text]}


class NotebooksTest(parameterized.TestCase):

  def _assertPorts(self, old, new, left=(), release=None, **options):
    result = notebooks.port("a.ipynb", _notebook(*old, **options), release)
    self.assertEqual(list(left), [
        (note.cell, note.line, note.text) for note in sorted(result.left)])
    expected = _notebook(*new, **options)
    data = _notebook(*old, **options) if result.data is None else result.data
    self.assertEqual(expected.decode(), data.decode())
    again = notebooks.port("a.ipynb", expected, release)
    if again is not None:
      self.assertIsNone(again.data)
    return result

  def testNamesOfOtherCells(self):
    result = self._assertPorts(
        [_markdown("tf.contrib.kfac"), _code("import tensorflow as tf"),
         _code(), _code("x = 1", "k = tf.contrib.kfac.optimizer"),
         _code("k.KfacOptimizer(a, b, c, d, 0.9)", "")],
        [_markdown("tf.contrib.kfac"),
         _code("import tensorflow as tf", "import kfac"),
         _code(), _code("x = 1", "k = kfac.optimizer"),
         _code("k.KfacOptimizer(a, b, c, d, momentum=0.9)", "")], release="1.4")
    self.assertEqual(
        ["a.ipynb:cell 4:2: changed: tf.contrib.kfac -> kfac",
         "a.ipynb:cell 5:1: changed: by name, as their places changed, in "
         "KfacOptimizer: momentum"], result.lines())
    self.assertIn('+    "k = kfac.optimizer"', result.diff())

  def testImportBeforeTheFirstStatement(self):
    text = "def f():\n  import tensorflow as tf\n  return {}.utils"
    self._assertPorts(
        [_code("# Title."), _code(text.format("tf.contrib.kfac"))],
        [_code("# Title."), _code("import kfac", text.format("kfac"))])

  @parameterized.parameters(
      "%matplotlib inline", "!pip install \\\n  kfac",
      "if y:\n  !ls \\\n a\n  x = 1", "x = !ls", "?kfac",
      "kfac?", "%%time\nx = 1", "if y:\n  !ls\n  %time f()",
      "files = %sx ls", "%%bash\nfor x in kfac; do\n  echo\ndone",
      "await x", "x = '''\n%d\n''' % (1\n  % 2)", "%%html\n<b>kfac</b>")
  def testLinesOfIPython(self, text):
    old, new = "from tensorflow.contrib import kfac", "import kfac"
    self._assertPorts([_code(text), _code(old), _code(text)],
                      [_code(text), _code(new), _code(text)])
    if not text.startswith("%%"):
      self._assertPorts([_code(text, old, text)], [_code(text, new, text)])

  def testCellsThatMagicsTime(self):
    self._assertPorts(
        [_code("%%time", "from tensorflow.contrib import kfac")],
        [_code("%%time", "import kfac")])

  def testLayouts(self):
    for options in ({"indent": 2}, {"ensure_ascii": True}, {"end": ""},
                    {"indent": None}, {"indent": "\t", "sort_keys": True},
                    {"indent": None, "separators": (",", ":")}):
      self._assertPorts([_code("x = 'é'", "from tensorflow.contrib import kfac")
                         ], [_code("x = 'é'", "import kfac")], **options)

  def testSourceOfOneString(self):
    cells = [dict(_code(), source=text) for text in (
        "from tensorflow.contrib import kfac\n", "import kfac\n")]
    self._assertPorts(cells[:1], cells[1:])

  def testUnusualLayoutIsNotChanged(self):
    data = _notebook(_code("from tensorflow.contrib import kfac")).replace(
        b'"nbformat": 4', b'"nbformat":  4')
    result = notebooks.port("a.ipynb", data)
    self.assertIsNone(result.data)
    note, = result.left
    self.assertIn("the layout of its JSON is unusual", note.text)

  def testPlacesOfWhatIsLeft(self):
    self._assertPorts(
        [_code("import kfac", "x = 1"), _markdown("b"),
         _code("x = 2", "y = 'contrib.kfac'")],
        [_code("import kfac", "x = 1"), _markdown("b"),
         _code("x = 2", "y = 'contrib.kfac'")],
        [(3, 2, "a string names contrib.kfac: 'contrib.kfac'")])

  def testPython2(self):
    result = notebooks.port(
        "a.ipynb", _notebook(_code("import kfac"), _code("x = 1", "print 'a'")))
    line, = result.lines()
    self.assertStartsWith(line, "a.ipynb:cell 2:2: left: is Python 2, ")

  def testOtherFiles(self):
    for data in (b"kfac", b'["kfac"]', b'{"kfac": 1}', b"\xff kfac"):
      note, = notebooks.port("a.ipynb", data).left
      self.assertStartsWith(note.text, "is no notebook of format 4: ")

  def testNotebooksWithoutKfac(self):
    for cell in (_code("x = 1"), _markdown("kfac"), _code("x = 'kfac'")):
      self.assertIsNone(notebooks.port("a.ipynb", _notebook(cell)))

  def testFolder(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, "a.ipynb")
      hidden = pathlib.Path(folder, ".ipynb_checkpoints", "a.ipynb")
      hidden.parent.mkdir()
      data = _notebook(_code("from tensorflow.contrib import kfac"))
      for file in (path, hidden):
        file.write_bytes(data)
      self.assertLen(port.port_paths([folder], write=True), 1)
      self.assertEqual(_notebook(_code("import kfac")), path.read_bytes())
      self.assertEqual(data, hidden.read_bytes())


if __name__ == "__main__":
  absltest.main()
