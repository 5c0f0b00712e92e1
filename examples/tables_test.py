"""Tests of the tables and the sentences about them."""

import contextlib
import io
import math
import unittest

from examples import runner
from examples import tables


def make_histories(kfac=(2.3, 0.4, 0.1), momentum=(2.3, 0.5, 0.7),
                   adam=(2.3, math.nan)):
  """Returns Histories with some losses; K-FAC needs thrice the seconds."""
  return [
      runner.History(name, rate, [10 * i for i in range(len(losses))],
                     [seconds * i for i in range(len(losses))], [*losses],
                     [0.1 * (i + 1) for i in range(len(losses))])
      for name, rate, seconds, losses in (
          ("kfac", 0.25, 1.5, kfac), ("momentum", 0.5, 0.5, momentum),
          ("adam", 1., 0.5, adam))]


def print_report(histories):
  """Returns the printed report."""
  printed = io.StringIO()
  with contextlib.redirect_stdout(printed):
    tables.print_report(histories, 12000)
  return printed.getvalue()


class AlignTest(unittest.TestCase):

  def testColumnsAreAlignedAndTheFirstIsFlushLeft(self):
    self.assertEqual(tables.align([["a", "bc", "d"], ["ef", "g", "hij"]]),
                     ["a   bc    d", "ef   g  hij"])

  def testLossesHaveFourDigits(self):
    self.assertEqual([tables.format_loss(loss) for loss in (
        62.9149, 6.7284e-5, 208.26)], ["62.91", "6.728e-05", "208.3"])


class RunsTest(unittest.TestCase):

  def testEachRunIsARow(self):
    head, kfac, momentum, adam = tables.make_runs(make_histories())
    for name in ("optimizer", "learning rate", "updates", "seconds of training",
                 "lowest training loss", "final training loss",
                 "final test accuracy"):
      self.assertIn(name, head)
    self.assertEqual(kfac.split(), [
        "K-FAC", "0.25", "20", "3.0", "0.1", "0.1", "30.00%"])
    self.assertEqual(momentum.split(), [
        "momentum", "0.5", "20", "1.0", "0.5", "0.7", "30.00%"])
    self.assertEqual(adam.split(), [
        "Adam", "1", "10", "0.5", "2.3", "nan,", "diverged", "20.00%"])

  def testNoColumnForAccuraciesThatDoNotExist(self):
    histories = make_histories()
    histories[1].accuracies.clear()
    head, *rows = tables.make_runs(histories)
    self.assertNotIn("accuracy", head)
    self.assertEqual(rows[0].split()[-1], "0.1")


class ComparisonTest(unittest.TestCase):

  def testRowsCountUntilTheLowestLossOfEachOptimizer(self):
    rows = tables.make_comparison(make_histories(
        momentum=(2.3, 0.5, 0.3), adam=(2.3, 0.4)))
    self.assertEqual(rows[0].split(), [
        "K-FAC", "momentum", "Adam", "K-FAC", "needs"])
    for row, expected in zip(rows[1:], (
        "updates until momentum's lowest loss (0.3) 20 20 - as many",
        "seconds until momentum's lowest loss (0.3) 3.0 1.0 - 3.0 times more",
        "updates until Adam's lowest loss (0.4) 10 20 10 as many",
        "seconds until Adam's lowest loss (0.4) 1.5 1.0 0.5 3.0 times more"),
                             strict=True):
      self.assertEqual(" ".join(row.split()), expected)

  def testGoalsThatAreNotReachedAndOptimizersThatDoNotImprove(self):
    rows = tables.make_comparison(make_histories(
        kfac=(2.3, 0.6), momentum=(2.3, 0.5), adam=(2.3, 2.4)))
    for row, expected in zip(rows[1:], (
        "updates until momentum's lowest loss (0.5) - 10 - -",
        "seconds until momentum's lowest loss (0.5) - 0.5 - -",
        "updates until Adam's lowest loss (2.3) 0 0 0 -",
        "seconds until Adam's lowest loss (2.3) 0.0 0.0 0.0 -"), strict=True):
      self.assertEqual(" ".join(row.split()), expected)


class ResultsTest(unittest.TestCase):

  def _first(self, **losses):
    return tables.describe_results(make_histories(**losses))[0]

  def testFewerUpdatesAndMoreSeconds(self):
    self.assertEqual(
        self._first(momentum=(2.3, 0.9, 0.5)),
        "K-FAC reached momentum's lowest loss (0.5) in 10 updates instead of "
        "20 (2.0 times fewer) but in 1.5 s instead of 1.0 s (1.5 times more).")

  def testFewerUpdatesAndSeconds(self):
    self.assertEqual(
        self._first(momentum=(2.3, 0.9, 0.8, 0.7, 0.6, 0.55, 0.4)),
        "K-FAC reached momentum's lowest loss (0.4) in 10 updates instead of "
        "60 (6.0 times fewer) and in 1.5 s instead of 3.0 s (2.0 times fewer).")

  def testNotReached(self):
    self.assertEqual(
        self._first(momentum=(2.3, 0.05)),
        "K-FAC did not reach momentum's lowest loss (0.05); its own is 0.1.")

  def testNoImprovement(self):
    for losses in ((2.3, 2.4), (math.nan,)):
      self.assertEqual(self._first(momentum=losses),
                       "momentum did not improve on its initial loss.")


class ReportTest(unittest.TestCase):

  def testComparisonEndsWithTheResults(self):
    histories = make_histories()
    printed = print_report(histories)
    self.assertTrue(printed.endswith(
        "\n".join(tables.describe_results(histories)) + "\n"))
    for lines in (tables.make_runs(histories),
                  tables.make_comparison(histories)):
      self.assertIn("\n".join(lines) + "\n", printed)
    self.assertIn("A loss is the mean over 12,000 training images", printed)
    self.assertIn("fewer are better, and - means that it was not reached.",
                  printed)

  def testNoComparisonWithoutKfacOrOthers(self):
    histories = make_histories()
    for some in (histories[:1], histories[1:]):
      printed = print_report(some)
      self.assertIn("A loss is the mean over 12,000", printed)
      self.assertNotIn("until", printed)
      self.assertNotIn("K-FAC reached", printed)


if __name__ == "__main__":
  unittest.main()
