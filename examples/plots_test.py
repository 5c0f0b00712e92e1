"""Tests of writing figures."""

import errno
import os
import shutil
import tempfile
import unittest

from examples import plots


class FakeFigure:
  """Writes some bytes, and fails if it has an error."""

  def __init__(self, error=None):
    self._error = error

  def savefig(self, path, format):
    with open(path, "w", encoding="utf-8") as stream:
      stream.write(format)
    if self._error is not None:
      raise self._error


class SaveFigureTest(unittest.TestCase):

  def setUp(self):
    super().setUp()
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)
    self._path = os.path.join(self._dir, "loss.png")
    with open(self._path, "w", encoding="utf-8") as stream:
      stream.write("earlier")

  def _read(self):
    self.assertEqual(os.listdir(self._dir), ["loss.png"])
    with open(self._path, encoding="utf-8") as stream:
      return stream.read()

  def testReplacesAnEarlierFigure(self):
    plots.save_figure(FakeFigure(), self._path)
    self.assertEqual(self._read(), "png")

  def testKeepsAnEarlierFigureIfTheDiskIsFull(self):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for error, reason in ((full, "No space left on device"),
                          (OSError("encoder error"), "encoder error")):
      with self.assertRaises(plots.OutputError) as caught:
        plots.save_figure(FakeFigure(error), self._path)
      self.assertEqual(
          str(caught.exception),
          f"the plot {self._path} cannot be written, {reason}.")
      self.assertEqual(self._read(), "earlier")

  def testOtherErrorsLeaveNoFile(self):
    with self.assertRaisesRegex(ZeroDivisionError, "fault"):
      plots.save_figure(FakeFigure(ZeroDivisionError("fault")), self._path)
    self.assertEqual(self._read(), "earlier")


if __name__ == "__main__":
  unittest.main()
