"""Tests of the training loop, its flags and its report."""

import contextlib
import dataclasses
import io
import math
import os
import shutil
import signal
import sys
import tempfile
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import flagsaver

import kfac
from examples import extras
from examples import fake_mnist
from examples import interrupts
from examples import mlp
from examples import mnist
from examples import plots
from examples import programs
from examples import progress
from examples import runner

EXPERIMENT = runner.Experiment(
    name="small", build=mlp.build, register=mlp.register,
    learning_rates={"kfac": 0.03, "momentum": 0.05, "adam": 0.002},
    momentums={"kfac": 0.5, "momentum": 0.9}, damping=0.02,
    norm_constraint=0.01, batch_size=20, updates=4)


def log_softmax(logits):
  logits = logits - logits.max(axis=1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def predict(weights, images):
  """Computes the logits of the perceptron from weights of a Trainer."""
  activations = images / 255.
  for number in (1, 2, 3):
    layer = f"model/layer_{number}/"
    outputs = activations @ weights[layer + "weights"] + weights[layer + "bias"]
    activations = np.tanh(outputs)
  return outputs


class RunnerTestCase(tf.test.TestCase):
  """Saves the flags for one test; one directory has data and output."""

  def setUp(self):
    super().setUp()
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)
    self._flags = self.enterContext(flagsaver.flagsaver())
    fake_mnist.write_dataset(self._dir)

  def enterContext(self, context):  # In unittest since Python 3.11.
    value = context.__enter__()
    self.addCleanup(context.__exit__, None, None, None)
    return value

  def _argv(self, *args):
    return ["small", "--data_dir=" + self._dir, "--output_dir=" + self._dir,
            *args]

  def _parse(self, *args):
    runner.FLAGS(self._argv(*args))

  def _patch(self, name, *args, **kwargs):
    return self.enterContext(
        unittest.mock.patch.object(runner, name, *args, **kwargs))

  def _hide_extras(self):
    self.enterContext(unittest.mock.patch.object(
        extras, "import_or_none", return_value=None))

  def _run(self, *args):
    """Returns the histories and the printed output."""
    self._hide_extras()
    self._parse(*args)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      histories = runner.run(EXPERIMENT)
    return histories, printed.getvalue()


class FlagsTest(RunnerTestCase):

  def _error(self, *args):
    """Runs the whole program and returns its one-line error."""
    with unittest.mock.patch.object(sys, "argv", self._argv(*args)):
      with self.assertRaises(SystemExit) as caught:
        programs.main(EXPERIMENT)
    message = caught.exception.code
    self.assertIsInstance(message, str)
    self.assertNotIn("\n", message)
    self.assertStartsWith(message, "small: ")
    return message[len("small: "):]

  def testValuesOutOfRange(self):
    for name in ("batch_size", "updates", "epochs", "evaluate_every",
                 "cov_update_every", "inv_update_every"):
      with self.subTest(name=name), flagsaver.flagsaver():
        self.assertEqual(self._error(f"--{name}=0"),
                         f"--{name} must be at least 1, got 0.")
    for name in ("learning_rate", "damping", "norm_constraint"):
      for value in (0., -1., math.inf, math.nan):
        with self.subTest(name=name, value=value), flagsaver.flagsaver():
          self.assertEqual(
              self._error(f"--{name}={value}"),
              f"--{name} must be positive and finite, got {value}.")
    for value in (-0.1, 1., math.nan):
      with self.subTest(momentum=value), flagsaver.flagsaver():
        self.assertEqual(self._error(f"--momentum={value}"),
                         f"--momentum must be in [0, 1), got {value}.")
    for value in (-1, 2**31):
      with self.subTest(seed=value), flagsaver.flagsaver():
        self.assertEqual(self._error(f"--seed={value}"),
                         f"--seed must be in [0, 2**31), got {value}.")

  def testUnknownFlagsAndValues(self):
    self.assertIn("Unknown command line flag 'optimiser'",
                  self._error("--optimiser=kfac"))
    self.assertIn("<kfac|momentum|adam>", self._error("--optimizer=sgd"))
    self.assertIn("--updates=many", self._error("--updates=many"))

  def testArgumentWithoutDashes(self):
    self.assertEqual(self._error("compare"),
                     "arguments must begin with --, got compare.")

  def testEpochsAndUpdates(self):
    self.assertEqual(self._error("--epochs=2", "--updates=3"),
                     "--epochs and --updates are mutually exclusive, got 2 "
                     "and 3.")

  def testFlagsForOneOptimizerInAComparison(self):
    for flag in ("--optimizer=adam", "--learning_rate=0.1"):
      with self.subTest(flag=flag), flagsaver.flagsaver():
        self.assertEqual(
            self._error("--compare", flag),
            f"{flag.split('=')[0]} applies to a single optimizer, but "
            "--compare trains all three.")

  def testFlagsForAnotherOptimizer(self):
    for flag, users in (
        ("--damping=1", "kfac"), ("--norm_constraint=1", "kfac"),
        ("--cov_update_every=2", "kfac"), ("--momentum_type=adam", "kfac"),
        ("--inv_update_every=2", "kfac"), ("--auto", "kfac"),
        ("--momentum=0.5", "kfac and momentum")):
      with self.subTest(flag=flag), flagsaver.flagsaver():
        self.assertEqual(
            self._error("--optimizer=adam", flag),
            f"{flag.split('=')[0]} applies to {users}, got --optimizer=adam.")

  def testFlagsForAnotherMomentumType(self):
    for chosen, flag, types in (
        ("qmodel", "--momentum=0.5", "regular or adam"),
        ("qmodel", "--norm_constraint=1", "regular"),
        ("adam", "--norm_constraint=1", "regular")):
      with self.subTest(chosen=chosen, flag=flag), flagsaver.flagsaver():
        self.assertEqual(
            self._error("--momentum_type=" + chosen, flag),
            f"{flag.split('=')[0]} applies to the momentum type {types}, got "
            f"{chosen}.")
    self._parse("--compare", "--momentum_type=qmodel", "--momentum=0.5")
    runner.check_flags(EXPERIMENT)  # It applies to the optimizer momentum.

  def testNoAutoForAModelThatRegistersNoLayers(self):
    self._parse("--noauto")
    with self.assertRaisesRegex(
        runner.SettingsError,
        "^--auto must be true for this program, got false.$"):
      runner.check_flags(dataclasses.replace(EXPERIMENT, register=None))

  def testBatchLargerThanTheTrainingSet(self):
    self.assertEqual(
        self._error("--batch_size=61"),
        "--batch_size must be at most 60, the number of training examples, "
        "got 61.")

  def testMissingData(self):
    path = os.path.join(self._dir, "no")
    self.assertEqual(self._error("--data_dir=" + path),
                     f"{path!r}: no such directory.")

  def testOutputDirIsAFile(self):
    path = os.path.join(self._dir, "train-images-idx3-ubyte.gz")
    self.assertEqual(
        self._error("--output_dir=" + path),
        f"--output_dir={path} cannot be created, File exists.")

  def testOutputDirIsReadOnly(self):
    # A mock, because the superuser may write anywhere.
    with unittest.mock.patch.object(os, "access", return_value=False):
      self.assertEqual(
          self._error(),
          f"--output_dir={self._dir} is not writable.")

  def testPlotIsADirectory(self):
    os.mkdir(os.path.join(self._dir, "small.png"))
    self.assertEqual(
        self._error(), f"--output_dir={self._dir} must not have a directory "
        "named small.png.")


class ScoresTest(RunnerTestCase):

  def testLossAndScoresEqualNumpy(self):
    random = np.random.RandomState(0)
    logits = random.randn(7, 10) * 3.
    labels = np.append(np.argmax(logits[:4], axis=1), [0, 1, 2])
    losses = -log_softmax(logits)[np.arange(7), labels]
    right = np.sum(np.argmax(logits, axis=1) == labels)
    with tf.Graph().as_default(), self.session():
      mean = runner.mean_loss(tf.constant(logits), tf.constant(labels))
      total, correct = runner.score(
          tf.constant(logits), tf.constant(labels, tf.int32))
      self.assertAllClose(mean.eval(), losses.mean())
      self.assertAllClose(total.eval(), losses.sum())
      self.assertAllEqual(correct.eval(), right)

  def testBatchesHaveEachExampleOncePerEpoch(self):
    batches = mnist.shuffled_batches(10, 3, seed=1)
    epochs = [np.concatenate([next(batches) for _ in range(3)])
              for _ in range(4)]
    for epoch in epochs:
      self.assertLen(np.unique(epoch), 9)
      self.assertBetween(epoch.min(), 0, 9)
      self.assertBetween(epoch.max(), 0, 9)
    self.assertNotAllEqual(epochs[0], epochs[1])
    again = mnist.shuffled_batches(10, 3, seed=1)
    self.assertAllEqual(
        np.concatenate([next(again) for _ in range(12)]).reshape(4, 9), epochs)
    other = mnist.shuffled_batches(10, 3, seed=2)
    self.assertNotAllEqual(
        np.concatenate([next(other) for _ in range(3)]), epochs[0])


class TrainerTest(RunnerTestCase):

  def _make(self, optimizer):
    trainer = runner.Trainer(
        EXPERIMENT, optimizer, EXPERIMENT.learning_rates[optimizer], 20)
    self.addCleanup(trainer.close)
    return trainer

  def testInitialWeightsDependOnlyOnTheSeed(self):
    self._parse()
    first = {name: self._make(name).get_weights() for name in runner.OPTIMIZERS}
    self.assertLen(first["kfac"], 6)
    for name in ("momentum", "adam"):
      self.assertAllClose(first["kfac"], first[name], rtol=0., atol=0.)
    self._parse("--seed=1")
    other = self._make("momentum").get_weights()
    self.assertNotAllEqual(first["momentum"]["model/layer_1/weights"],
                           other["model/layer_1/weights"])

  def testEvaluationEqualsNumpyForAnyNumberOfExamples(self):
    self._parse()
    data = mnist.load(self._dir)
    trainer = self._make("momentum")
    outputs = predict(trainer.get_weights(), data.train_images)
    losses = -log_softmax(outputs)[np.arange(60), data.train_labels]
    right = np.argmax(outputs, axis=1) == data.train_labels
    for batch in (1000, 60, 25):
      with unittest.mock.patch.object(runner, "_EVALUATION_BATCH", batch):
        loss, accuracy = trainer.evaluate(data.train_images, data.train_labels)
      self.assertAllClose(loss, losses.mean())
      self.assertAllClose(accuracy, right.mean())

  def testMomentumFollowsItsFormula(self):
    data = mnist.load(self._dir)
    images, labels = data.train_images[:20], data.train_labels[:20]
    for flag, momentum in ((None, 0.9), ("--momentum=0.5", 0.5),
                           ("--momentum=0", 0.)):
      with self.subTest(flag=flag), flagsaver.flagsaver():
        self._parse(*filter(None, [flag]))
        trainer = self._make("momentum")
        velocity = 0.
        weights = trainer.get_weights()
        for number in range(2):
          # The gradient with respect to the last bias is softmax - target.
          probabilities = np.exp(log_softmax(predict(weights, images)))
          gradient = probabilities - np.eye(10)[labels]
          velocity = momentum * velocity + gradient.mean(axis=0)
          name = "model/layer_3/bias"
          expected = weights[name] - 0.05 * velocity
          trainer.update(number, images, labels)
          weights = trainer.get_weights()
          self.assertAllClose(weights[name], expected, atol=1e-5)

  def testEachMomentumTypeGetsItsSettings(self):
    for flags, expected in (
        (["--norecipe"], {"momentum_type": "regular", "momentum": 0.5,
                          "norm_constraint": 0.01}),
        (["--momentum=0.25", "--norm_constraint=2"],
         {"momentum_type": "regular", "momentum": 0.25, "norm_constraint": 2.}),
        (["--momentum_type=adam", "--momentum=0"],
         {"momentum_type": "adam", "momentum": 0.}),
        (["--momentum_type=qmodel"],
         {"momentum_type": "qmodel", "momentum": 0., "batch_size": 20})):
      with self.subTest(flags=flags), flagsaver.flagsaver():
        self._parse(*flags)
        with unittest.mock.patch.object(
            kfac, "KfacOptimizer", wraps=kfac.KfacOptimizer) as spy:
          self._make("kfac")
        settings = spy.call_args.kwargs
        for name in ("momentum_type", "momentum", "norm_constraint",
                     "batch_size"):
          self.assertEqual(settings.get(name), expected.get(name))

  def testRecipeIsTheDefault(self):
    self._parse()
    with unittest.mock.patch.object(
        kfac.recipe, "Recipe", wraps=kfac.recipe.Recipe) as spy:
      trainer = self._make("kfac")
    self.assertEqual(1, spy.call_count)
    with trainer._session.graph.as_default():
      self.assertLen(tf.trainable_variables(), 6)
    data = mnist.load(self._dir)
    losses = [trainer.evaluate(data.train_images, data.train_labels)[0]]
    for number in range(3):
      trainer.update(number, data.train_images[:20], data.train_labels[:20])
    losses.append(trainer.evaluate(data.train_images, data.train_labels)[0])
    self.assertLess(losses[1], losses[0])

  def testSettingsReplaceTheRecipe(self):
    for flags, expected in (
        ([], True), (["--recipe"], True), (["--norecipe"], False),
        (["--damping=0.1"], False), (["--inv_update_every=2"], False),
        (["--momentum=0.5"], True)):
      with flagsaver.flagsaver():
        self._parse(*flags)
        self.assertEqual(expected, runner.uses_recipe(), flags)

  def testRecipeExcludesOtherSettings(self):
    for flag in ("--damping=1", "--momentum_type=adam", "--learning_rate=2",
                 "--cov_update_every=2"):
      with flagsaver.flagsaver():
        self._parse("--recipe", flag)
        with self.assertRaisesRegex(
            runner.SettingsError,
            f"^--recipe determines {flag.partition('=')[0]}, got "):
          runner.check_flags(EXPERIMENT)

  def testReportOfTheFoundLayersIsLogged(self):
    for experiment, flag in ((EXPERIMENT, "--auto"), (
        dataclasses.replace(EXPERIMENT, register=None), "--seed=0")):
      self._parse(flag)
      with self.assertLogs("absl", "INFO") as logs:
        runner.Trainer(experiment, "kfac", 0.1, 20).close()
      self.assertRegex("\n".join(logs.output), (
          "automatic registration:\n"
          "variables(.|\n)*model/layer_1/weights:0, model/layer_1/bias:0 +"
          "dense +kron +1 "))

  def testKfacFollowsItsUpdateIntervals(self):
    self._parse("--cov_update_every=2", "--inv_update_every=3")
    trainer = self._make("kfac")
    data = mnist.load(self._dir)
    runs = []
    run = trainer._session.run

    def spy(ops, *args):
      runs.append(ops)
      return run(ops, *args)

    with unittest.mock.patch.object(trainer._session, "run", spy):
      for number in range(6):
        runs.clear()
        trainer.update(number, data.train_images[:20], data.train_labels[:20])
        if number == 0:
          self.assertEqual(runs[:2], [trainer._cov_op, trainer._inv_op])
          continue
        self.assertLen(runs, 1)
        self.assertEqual(trainer._cov_op in runs[0], number % 2 == 0)
        self.assertEqual(trainer._inv_op in runs[0], number % 3 == 0)
        self.assertIn(trainer._train_op, runs[0])


class TrainTest(RunnerTestCase):

  def testEvaluatesBeforeBetweenAndAfter(self):
    histories, _ = self._run("--optimizer=momentum", "--updates=7",
                             "--evaluate_every=3")
    self.assertEqual(histories[0].updates, [0, 3, 6, 7])
    self.assertLen(histories[0].losses, 4)
    self.assertLess(histories[0].losses[-1], histories[0].losses[0])

  def testEpochs(self):
    histories, _ = self._run("--optimizer=adam", "--epochs=2",
                             "--batch_size=25")
    self.assertEqual(histories[0].updates, [0, 4])  # 60 // 25 = 2 per epoch.

  def testDefaultsAreTheExperiments(self):
    histories, _ = self._run("--optimizer=adam")
    self.assertEqual(histories[0].updates, [0, 4])
    self.assertEqual(histories[0].learning_rate, 0.002)

  def testLearningRateFlag(self):
    histories, _ = self._run("--optimizer=adam", "--learning_rate=0.1")
    self.assertEqual(histories[0].learning_rate, 0.1)

  def testSecondsExcludeEvaluations(self):
    clock = [0.]
    self.enterContext(unittest.mock.patch.object(
        runner.time, "perf_counter", lambda: clock[0]))

    def wait(seconds, result=None):
      def waited(*_):
        clock[0] += seconds
        return result
      return waited

    self.enterContext(unittest.mock.patch.object(
        runner.Trainer, "update", wait(2.)))
    self.enterContext(unittest.mock.patch.object(
        runner.Trainer, "evaluate", wait(100., (1., 0.5))))
    histories, _ = self._run("--optimizer=momentum", "--updates=5",
                             "--evaluate_every=2")
    self.assertEqual(histories[0].seconds, [0., 4., 8., 10.])

  def testDivergenceEndsTheRun(self):
    histories, printed = self._run(
        "--optimizer=momentum", "--learning_rate=1e38", "--updates=9",
        "--evaluate_every=1")
    self.assertLess(histories[0].updates[-1], 9)
    self.assertFalse(math.isfinite(histories[0].losses[-1]))
    self.assertLess(histories[0].lowest_loss(), 3.)
    self.assertIn(
        f"momentum diverged: the loss was {histories[0].losses[-1]} after "
        f"{histories[0].updates[-1]} updates.", printed)


class InterruptTest(RunnerTestCase):

  def testSignalEndsTheRunAndTheComparison(self):
    update = runner.Trainer.update

    def interrupt(trainer, number, images, labels):
      update(trainer, number, images, labels)
      if number == 2:
        os.kill(os.getpid(), signal.SIGINT)

    self.enterContext(
        unittest.mock.patch.object(runner.Trainer, "update", interrupt))
    with interrupts.caught():
      histories, printed = self._run("--compare", "--evaluate_every=2")
      self.assertTrue(interrupts.requested())
    self.assertEqual([h.optimizer for h in histories], ["kfac"])
    # The third update is done, the fourth is not.
    self.assertEqual(histories[0].updates, [0, 2])
    self.assertIn("test accuracy", printed)
    self.assertIn("No plot: matplotlib is not installed", printed)

  def testSignalDuringTheFirstEvaluationLeavesItsResult(self):
    evaluate = runner.Trainer.evaluate

    def interrupt(*args):
      if not interrupts.requested():
        os.kill(os.getpid(), signal.SIGTERM)
      return evaluate(*args)

    self.enterContext(
        unittest.mock.patch.object(runner.Trainer, "evaluate", interrupt))
    close = self.enterContext(
        unittest.mock.patch.object(progress.Progress, "close"))
    with interrupts.caught():
      histories, printed = self._run("--optimizer=adam", "--updates=1000000")
    self.assertEqual(histories[0].updates, [0])
    self.assertIn("test accuracy", printed)
    close.assert_called_once()

  def testNoRunStartsAfterASignal(self):
    with interrupts.caught():
      interrupts.keep_results()
      self.assertEqual(runner.until_interrupted(iter("abc")), [*"abc"])
      os.kill(os.getpid(), signal.SIGINT)
      self.assertEqual(runner.until_interrupted(iter("abc")), [])


class CompareTest(RunnerTestCase):

  def testAllOptimizersGetTheSameBatches(self):
    batches = []
    update = runner.Trainer.update

    def spy(trainer, number, images, labels):
      batches.append((number, images, labels))
      update(trainer, number, images, labels)

    self.enterContext(
        unittest.mock.patch.object(runner.Trainer, "update", spy))
    histories, printed = self._run("--compare", "--evaluate_every=2")
    self.assertEqual([h.optimizer for h in histories],
                     ["kfac", "momentum", "adam"])
    for history in histories:
      self.assertEqual(history.updates, [0, 2, 4])
      self.assertEqual(history.losses[0], histories[0].losses[0])
      self.assertEqual(history.accuracies[0], histories[0].accuracies[0])
      self.assertLess(history.losses[-1], history.losses[0])
    self.assertLen(batches, 12)
    for other in (4, 8):
      for first, second in zip(batches[:4], batches[other:other + 4],
                               strict=True):
        self.assertAllEqual(first[1], second[1])
        self.assertAllEqual(first[2], second[2])
    self.assertIn("updates until Adam's lowest loss", printed)
    self.assertIn("A loss is the mean over 60 training images", printed)
    self.assertIn("momentum 4/4: loss ", printed)
    self.assertIn("No plot: matplotlib is not installed", printed)


class HistoryTest(tf.test.TestCase):

  def testDivergedIfTheLastLossIsNotFiniteOrMuchLarger(self):
    for last, expected in ((2., False), (20., False), (21., True),
                           (math.inf, True), (math.nan, True)):
      history = runner.History("adam", 1., [0, 1], [0., 1.], [2., last])
      self.assertEqual(expected, history.has_diverged())


class ReportTest(RunnerTestCase):

  def testTablesArePrintedIfThePlotFails(self):
    self.enterContext(unittest.mock.patch.object(
        plots, "write_losses", side_effect=plots.OutputError("disk full")))
    self._parse("--optimizer=momentum")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), self.assertRaisesRegex(
        plots.OutputError, "disk full"):
      runner.run(EXPERIMENT)
    self.assertIn("test accuracy", printed.getvalue())

  def testPlotNamesTheProgramAndTheBatchSize(self):
    report = self.enterContext(
        unittest.mock.patch.object(plots, "report_losses"))
    for flags, size in (([], 20), (["--batch_size=15"], 15)):
      with flagsaver.flagsaver():
        histories, _ = self._run("--optimizer=adam", *flags)
      (panel,), path = report.call_args.args
      self.assertEqual(panel, plots.optimizers_panel(
          f"small, batches of {size}", histories))
      self.assertEqual(path, os.path.join(self._dir, "small.png"))


if __name__ == "__main__":
  tf.test.main()
