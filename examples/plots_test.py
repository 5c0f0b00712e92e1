"""Tests of writing figures."""

import contextlib
import errno
import io
import os
import shutil
import tempfile
import unittest
import unittest.mock
import warnings

from examples import extras
from examples import plots
from examples import runner


class FakeFigure:
  """Writes some bytes, and fails if it has an error."""

  def __init__(self, error=None):
    self._error = error

  def savefig(self, path, format):
    with open(path, "w", encoding="utf-8") as stream:
      stream.write(format)
    if self._error is not None:
      raise self._error


def make_panels(losses=(544., 250., 130.), num_panels=1):
  """Returns panels of two lines."""
  histories = [
      runner.History(name, 0.5, [0, 20, 400], [0., 2., 40. / scale], [*losses])
      for name, scale in (("kfac", 1.), ("adam", 2.))]
  return [plots.optimizers_panel(f"panel {number}", histories)
          for number in range(num_panels)]


def tick_labels(axis):
  """Returns the labels of the ticks in view."""
  low, high = axis.get_view_interval()
  return [tick.label1.get_text() for tick in axis.get_major_ticks()
          if low <= tick.get_loc() <= high]


class DescribeTest(unittest.TestCase):

  def testLabelsGridAndLegend(self):
    axes = plots.make_figure().subplots()
    axes.plot([0, 1], [2, 3], label="0.001 (good)")
    plots.describe(axes, "updates", "loss (nats)")
    self.assertEqual((axes.get_xlabel(), axes.get_ylabel()),
                     ("updates", "loss (nats)"))
    self.assertTrue(axes.get_xgridlines()[0].get_visible())
    self.assertIsNone(axes.get_legend())
    plots.describe(axes, "updates", "loss (nats)", "damping")
    self.assertEqual(axes.get_legend().get_title().get_text(), "damping")
    self.assertEqual(axes.get_legend().get_texts()[0].get_text(),
                     "0.001 (good)")


class DrawLossesTest(unittest.TestCase):

  def testLossesAgainstUpdatesAndSeconds(self):
    figure = plots.draw_losses(make_panels(num_panels=2))
    self.assertEqual([row.get_suptitle() for row in figure.subfigs],
                     ["panel 0", "panel 1"])
    for row in figure.subfigs:
      left, right = row.axes
      self.assertEqual(left.get_xlabel(), "updates")
      self.assertEqual(right.get_xlabel(),
                       "training time without evaluations (seconds)")
      self.assertEqual(left.get_ylabel(), "training loss (nats)")
      legend = left.get_legend()
      self.assertEqual(legend.get_title().get_text(), "optimizer")
      self.assertEqual([text.get_text() for text in legend.get_texts()],
                       ["K-FAC, learning rate 0.5", "Adam, learning rate 0.5"])
      self.assertEqual([*left.lines[1].get_xdata()], [0, 20, 400])
      self.assertEqual([*right.lines[1].get_xdata()], [0., 2., 20.])
      for axes in row.axes:
        self.assertEqual([*axes.lines[0].get_ydata()], [544., 250., 130.])
        self.assertEqual(axes.get_yscale(), "log")
        self.assertEqual(axes.get_xscale(), "linear")
        self.assertTrue(axes.get_xgridlines()[0].get_visible())
    limits = {axes.get_ylim() for row in figure.subfigs for axes in row.axes}
    self.assertEqual(len(limits), 1)

  def testLogarithmicAxesHavePlainNumbers(self):
    figure = plots.draw_losses(make_panels(), log_x=True)
    figure.savefig(io.BytesIO())
    left, right = figure.subfigs[0].axes
    self.assertEqual(tick_labels(left.yaxis), ["200", "300", "500"])
    self.assertEqual(tick_labels(left.xaxis),
                     ["20", "30", "50", "100", "200", "300"])
    self.assertEqual(tick_labels(right.xaxis),
                     ["2", "3", "5", "10", "20", "30"])

  def testLongAxesHavePowersOfTen(self):
    figure = plots.draw_losses(make_panels((2., 1e-3, 1e-6)))
    figure.savefig(io.BytesIO())
    labels = tick_labels(figure.subfigs[0].axes[0].yaxis)
    self.assertIn(r"$\mathdefault{10^{-4}}$", labels)
    self.assertNotIn("1", labels)

  def testRunThatEndedBeforeItsFirstUpdate(self):
    history = runner.History("kfac", 1., [0], [0.], [544.])
    panel = plots.optimizers_panel("panel", [history])
    with warnings.catch_warnings(record=True) as caught:
      for log_x in (False, True):
        plots.draw_losses([panel], log_x).savefig(io.BytesIO())
    self.assertEqual(caught, [])


class ReportLossesTest(unittest.TestCase):

  def setUp(self):
    super().setUp()
    folder = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, folder)
    self._path = os.path.join(folder, "loss.png")

  def _report(self):
    """Returns the printed output."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      plots.report_losses(make_panels(), self._path)
    return printed.getvalue()

  def testWritesAPng(self):
    self.assertEqual(self._report(), f"Plot: {self._path}\n")
    with open(self._path, "rb") as stream:
      self.assertEqual(stream.read(8), b"\x89PNG\r\n\x1a\n")

  def testSaysThatMatplotlibIsMissing(self):
    with unittest.mock.patch.object(
        extras, "import_or_none", return_value=None):
      self.assertEqual(self._report(), "No plot: matplotlib is not installed "
                       "(pip install matplotlib).\n")
    self.assertFalse(os.path.exists(self._path))


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
