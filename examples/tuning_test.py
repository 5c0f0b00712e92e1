"""Tests of the program that draws the figures of the tuning page."""

import math
import os
import signal
import unittest.mock

import tensorflow.compat.v1 as tf

import kfac
from examples import interrupts
from examples import mnist
from examples import runner
from examples import tuning_main
from examples import tutorial_test

# Settings that a choice can change, in addition to the keys of BASE.
SPECIAL = ("recipe", "recipe_changes", "cov_examples_fraction", "updates",
           "evaluate_every")


class KnobsTest(tf.test.TestCase):

  def testChoicesChangeKnownSettings(self):
    known = set(tuning_main.BASE).union(SPECIAL)
    for knob, panels in tuning_main.KNOBS.items():
      self.assertBetween(len(panels), 1, 2)
      for panel in panels:
        with self.subTest(knob=knob, panel=panel):
          labels = [choice.label for choice in panel.choices]
          self.assertLen(set(labels), len(labels))
          for choice in panel.choices:
            self.assertLessEqual(set(choice.changes), known)


class ProgramTest(tutorial_test.FiguresTestCase):

  main = tuning_main

  def _choose(self, changes):
    """Trains with some changes; returns the arguments of KfacOptimizer."""
    runner.FLAGS(self._argv("--updates=1"))
    with unittest.mock.patch.object(
        kfac, "KfacOptimizer", wraps=kfac.KfacOptimizer) as spy:
      history = tuning_main.train(changes, mnist.load(self._dir))
    self.assertLess(history.losses[1], history.losses[0])
    return spy.call_args.kwargs

  def testBaseReachesTheOptimizer(self):
    settings = self._choose({})
    for name in ("momentum_type", "learning_rate", "momentum", "damping",
                 "norm_constraint"):
      self.assertEqual(settings[name], tuning_main.BASE[name])

  def testChangesReachTheOptimizer(self):
    settings = self._choose({"learning_rate": 0.1, "momentum": 0.25,
                             "damping": 0.5, "norm_constraint": None})
    self.assertEqual(settings["learning_rate"], 0.1)
    self.assertEqual(settings["momentum"], 0.25)
    self.assertEqual(settings["damping"], 0.5)
    self.assertIsNone(settings["norm_constraint"])

  def testQuadraticModelAndBatchSizeReachTheOptimizer(self):
    settings = self._choose(dict(tuning_main.QMODEL, batch_size=40))
    self.assertEqual(settings["momentum_type"], "qmodel")
    self.assertEqual(settings["batch_size"], 40)

  def testChangesReachTheRecipe(self):
    changes = {"max_predicted_decrease": None, "damping": 0.5}
    runner.FLAGS(self._argv("--updates=1"))
    with unittest.mock.patch.object(
        kfac.recipe, "Recipe", wraps=kfac.recipe.Recipe) as spy:
      tuning_main.train({
          "recipe": True, "batch_size": 40, "recipe_changes": changes},
          mnist.load(self._dir))
    self.assertEqual(changes, spy.call_args.kwargs)

  def testChoicesMayChangeTheNumberOfUpdates(self):
    runner.FLAGS(self._argv())
    with unittest.mock.patch.object(runner, "train") as train:
      tuning_main.train({"updates": 7}, None)
      tuning_main.train({}, None)
    self.assertEqual([7, tuning_main.UPDATES], [
        call.args[0].updates for call in train.call_args_list])

  def testFlagsAndConstantsAreRestored(self):
    runner.FLAGS(self._argv())
    seen = []

    def spy(*_):
      seen.append((runner.FLAGS.inv_update_every, runner.FLAGS.recipe,
                   runner.FLAGS.evaluate_every,
                   kfac.fisher_factors.COV_EXAMPLES_FRACTION))

    with unittest.mock.patch.object(runner, "train", spy):
      tuning_main.train({"inv_every": 7, "recipe": True,
                         "cov_examples_fraction": 0.5}, None)
      tuning_main.train({}, None)
    self.assertEqual(seen, [(7, True, tuning_main.EVALUATE_EVERY, 0.5),
                            (1, False, tuning_main.EVALUATE_EVERY, 1.)])
    self.assertEqual(
        (runner.FLAGS.inv_update_every, runner.FLAGS.recipe,
         runner.FLAGS.evaluate_every,
         kfac.fisher_factors.COV_EXAMPLES_FRACTION),
        (1, None, None, 1.))

  def testDrawsTheFigureOfOneKnob(self):
    found, printed = self._run("--knob=learning_rate", "--updates=2",
                               "--evaluate_every=1")
    self.assertEqual(list(found), ["learning_rate"])
    (histories,) = found["learning_rate"]
    for history in histories:
      self.assertEqual(history.updates, [0, 1, 2])
      self.assertEqual(history.losses[0], histories[0].losses[0])
    self.assertNotEqual(histories[0].losses[1], histories[1].losses[1])
    self._assert_png("tuning_learning_rate.png")
    self.assertIn("loss after 2 updates", printed)
    self.assertIn("0.05 (good)", printed)

  def testDrawsAllKnobsByDefault(self):
    def fake(*_):
      return runner.History("kfac", 1., [0, 2], [0., 1.], [2., 1.], [0.1, 0.9])

    some = {knob: tuning_main.KNOBS[knob] for knob in ("momentum", "schedule")}
    with unittest.mock.patch.object(runner, "train", fake), (
        unittest.mock.patch.object(tuning_main, "KNOBS", some)):
      found, _ = self._run()
    self.assertEqual(list(found), ["momentum", "schedule"])
    for knob in found:
      self._assert_png(f"tuning_{knob}.png")

  def testSignalLeavesTheTablesAndTheFigureSoFar(self):
    count = 0

    def fake(*_):
      nonlocal count
      count += 1
      if count == 4:  # The first choice of the second panel.
        os.kill(os.getpid(), signal.SIGINT)
      return runner.History("kfac", 1., [0, 2], [0., 1.], [2., 1.], [0.1, 0.9])

    with unittest.mock.patch.object(runner, "train", fake), (
        interrupts.caught()):
      interrupts.keep_results()
      found, printed = self._run()
    (knob,) = found
    self.assertEqual([len(histories) for histories in found[knob]], [3, 1])
    self._assert_png(f"tuning_{knob}.png")
    self.assertEqual(printed.count("loss after 2 updates"), 2)
    self.assertEqual(count, 4)

  def testUnknownKnobAndFlagsOfOtherPrograms(self):
    self.assertIn("--knob=luck", self._error("--knob=luck"))
    runner.FLAGS.unparse_flags()
    runner.FLAGS["knob"].value = None
    self.assertEqual(self._error("--damping=1"),
                     "--damping is not used by this program, got 1.0.")

  def testOutputDirIsAFile(self):
    path = os.path.join(self._dir, "train-images-idx3-ubyte.gz")
    self.assertEqual(
        self._error("--output_dir=" + path),
        f"--output_dir={path} cannot be created, File exists.")


class TableTest(tf.test.TestCase):

  def testRowsHaveIntermediateLosses(self):
    panel = tuning_main.Panel("damping", "no momentum", [
        tuning_main.Choice("1 (good)", {}), tuning_main.Choice("2 (bad)", {})])
    histories = [
        runner.History("kfac", 1., [0, 5, 10, 20], [0., 1., 2., 4.],
                       [2., 0.5, 0.25, 0.125], [0.1, 0.5, 0.75, 0.9]),
        runner.History("kfac", 1., [0, 5], [0., 1.], [2., math.nan],
                       [0.1, 0.1])]
    head, good, bad = tuning_main.make_table(panel, histories)
    self.assertStartsWith(head, "damping, no momentum")
    for name in ("loss after 2 updates", "loss after 5 updates",
                 "loss after 20 updates", "lowest loss", "highest loss",
                 "seconds of training"):
      self.assertIn(name, head)
    self.assertEqual(good.split(), ["1", "(good)", "2", "0.5", "0.12", "0.12",
                                    "2", "90.00%", "4.0"])
    self.assertEqual(bad.split(), ["2", "(bad)", "2", "nan", "nan", "2", "2",
                                   "10.00%", "1.0"])

  def testLegendsNameTheKnob(self):
    panels = [tuning_main.Panel("damping", shared, [
        tuning_main.Choice("1 (good)", {}), tuning_main.Choice("2 (bad)", {})])
              for shared in ("no momentum", "momentum 0.5")]
    self.assertEqual(
        tuning_main.plot_panels(panels, [["a", "b"], ["c", "d"]]),
        [("damping, no momentum", "damping",
          [("1 (good)", "a"), ("2 (bad)", "b")]),
         ("damping, momentum 0.5", "damping",
          [("1 (good)", "c"), ("2 (bad)", "d")])])


if __name__ == "__main__":
  tf.test.main()
