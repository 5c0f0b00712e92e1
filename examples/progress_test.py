"""Tests of the progress of a run."""

import contextlib
import io
import sys
import unittest
import unittest.mock

from examples import extras
from examples import progress


class FakeHistory:
  """A history that has one evaluation."""

  def __init__(self, update):
    self.updates = [update]

  def describe_last(self):
    return f"loss {1. / (1 + self.updates[-1]):.2f}"


def show(*updates, ends_here=False):
  """Shows evaluations after some of 20 updates, and returns the output."""
  shown = io.StringIO()
  with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(shown):
    bar = progress.Progress("K-FAC", 20)
    for update in updates:
      bar.show(FakeHistory(update))
    if ends_here:
      bar.end_here()
    bar.close()
  return shown.getvalue()


class ProgressTest(unittest.TestCase):

  def testBarShowsTheLastEvaluation(self):
    last = show(0, 9, 19).splitlines()[-1]
    self.assertIn("K-FAC", last)
    self.assertIn("19/20", last)
    self.assertIn("loss 0.05", last)

  def testBarOfARunThatReachedItsAimIsFull(self):
    last = show(0, 9, ends_here=True).splitlines()[-1]
    self.assertIn("100%", last)
    self.assertIn("9/9", last)
    self.assertNotIn("100%", show(0, 9))

  def testLinesWithoutTqdm(self):
    with unittest.mock.patch.object(
        extras, "import_or_none", return_value=None):
      for ends_here in (False, True):
        self.assertEqual(
            show(0, 9, ends_here=ends_here),
            "K-FAC 0/20: loss 1.00\nK-FAC 9/20: loss 0.10\n")

  def testLinesIfStderrIsClosed(self):
    shown = io.StringIO()
    with unittest.mock.patch.object(sys, "stderr", None), (
        contextlib.redirect_stdout(shown)):
      progress.Progress("Adam", 20).show(FakeHistory(9))
    self.assertEqual(shown.getvalue(), "Adam 9/20: loss 0.10\n")


if __name__ == "__main__":
  unittest.main()
