"""Tests of the autoencoder, its training and its program."""

import contextlib
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
from examples import autoencoder
from examples import autoencoder_mnist_main
from examples import extras
from examples import fake_mnist
from examples import interrupts
from examples import mnist
from examples import programs
from examples import registrations
from examples import runner
from kfac.python.ops.recipe import rules

SIZES = (784, 12, 3, 12, 784)


def make_params(random):
  """Samples weights and a bias for each layer."""
  return [(random.randn(num_in, num_out) / np.sqrt(num_in),
           random.randn(num_out) / 10.)
          for num_in, num_out in zip(SIZES[:-1], SIZES[1:], strict=True)]


def predict(params, images):
  """Computes the logits in float64; layers 2 and 4 are linear."""
  activations = images
  for number, (weights, bias) in enumerate(params, start=1):
    activations = activations @ weights + bias
    if number in (1, 3):
      activations = np.tanh(activations)
  return activations


def mean_loss(logits, images):
  """Computes the mean over images of the cross entropy of all pixels."""
  probabilities = 1. / (1. + np.exp(-logits))
  return -np.mean(np.sum(
      images * np.log(probabilities)
      + (1. - images) * np.log(1. - probabilities), axis=1))


class SmallTestCase(tf.test.TestCase):
  """Shrinks the autoencoder and saves the flags for one test."""

  def setUp(self):
    super().setUp()
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)
    self._enter(flagsaver.flagsaver())
    self._patch(autoencoder, "LAYER_SIZES", SIZES)
    # No progress bar and no plot, except in tests of them.
    self._patch(extras, "import_or_none", lambda name: None)
    fake_mnist.write_dataset(self._dir)

  def _enter(self, context):
    value = context.__enter__()
    self.addCleanup(context.__exit__, None, None, None)
    return value

  def _patch(self, target, name, *args, **kwargs):
    return self._enter(
        unittest.mock.patch.object(target, name, *args, **kwargs))

  def _argv(self, *args):
    return ["autoencoder", "--data_dir=" + self._dir,
            "--output_dir=" + self._dir, "--batch_size=20", *args]

  def _parse(self, *args):
    runner.FLAGS(self._argv(*args))

  def _images(self):
    return mnist.load(self._dir).train_images

  def _trainer(self, optimizer, learning_rate, seed=0):
    trainer = autoencoder.Trainer(optimizer, learning_rate, seed)
    self.addCleanup(trainer.close)
    return trainer


class ModelTest(SmallTestCase):

  def testStandardSizes(self):
    self._patch(autoencoder, "LAYER_SIZES",
                (784, 1000, 500, 250, 30, 250, 500, 1000, 784))
    with tf.Graph().as_default():
      logits, layers = autoencoder.build(tf.placeholder(tf.float32, [5, 784]))
      self.assertEqual(logits.shape, [5, 784])
      shapes = [params[0].shape.as_list() for params, _, _ in layers]
      self.assertEqual(shapes, [
          [784, 1000], [1000, 500], [500, 250], [250, 30], [30, 250],
          [250, 500], [500, 1000], [1000, 784]])
      for number, (_, inputs, _) in enumerate(layers[1:], start=1):
        # Only the code layer is not followed by a nonlinearity.
        previous_outputs = layers[number - 1][2]
        self.assertEqual(inputs is previous_outputs, number == 4)
      self.assertIs(layers[-1][2], logits)

  def testLossEqualsNumpy(self):
    random = np.random.RandomState(0)
    images = random.rand(5, 784)
    values = make_params(random)
    with tf.Graph().as_default(), self.session() as sess:
      inputs = tf.constant(images, tf.float32)
      logits, layers = autoencoder.build(inputs)
      loss = autoencoder.mean_loss(logits, inputs)
      for (params, _, _), value in zip(layers, values, strict=True):
        for variable, array in zip(params, value, strict=True):
          variable.load(array, sess)
      expected = predict(values, images)
      found, layers, loss = sess.run([logits, layers, loss])
    self.assertAllClose(found, expected, atol=1e-5)
    self.assertAllClose(loss, mean_loss(expected, images))
    for (weights, bias), inputs, outputs in layers:
      self.assertAllClose(outputs, inputs @ weights + bias, atol=1e-5)

  def testInitialWeightsAreGlorotUniformAndDependOnlyOnTheSeed(self):
    def initial_weights(seed, graph_seed):
      with tf.Graph().as_default(), self.session() as sess:
        tf.set_random_seed(graph_seed)
        _, layers = autoencoder.build(tf.zeros([1, 784]), seed)
        sess.run(tf.global_variables_initializer())
        return sess.run([params for params, _, _ in layers])

    params = initial_weights(0, 1)
    for weights, bias in params:
      bound = np.sqrt(6. / sum(weights.shape))
      self.assertBetween(np.abs(weights).max(), 0.8 * bound, bound)
      self.assertAllEqual(bias, np.zeros_like(bias))
    self.assertNotAllEqual(params[0][0], params[-1][0].T)
    self.assertNotAllEqual(params[0][0], initial_weights(1, 1)[0][0])

  def testRegistersAllVariables(self):
    with tf.Graph().as_default():
      logits, layers = autoencoder.build(tf.zeros([5, 784]))
      layer_collection = kfac.LayerCollection()
      autoencoder.register(layer_collection, logits, layers, seed=1)
      layer_collection.create_subgraph()
      layer_collection.check_registration(tf.trainable_variables())
      self.assertLen(layer_collection.fisher_blocks, 4)
      self.assertIsInstance(
          layer_collection.losses[0],
          kfac.loss_functions.MultiBernoulliNegativeLogProbLoss)

  def testFoundLayersAreTheRegisteredOnes(self):
    registered, found = registrations.describe_both(
        autoencoder.build, autoencoder.register,
        lambda layers, logits, _: autoencoder.register_losses(layers, logits))
    self.assertLen(registered, 4)
    self.assertEqual(registered, found)


class GrowingBatchSizeTest(tf.test.TestCase):

  def testFollowsTheFormula(self):
    for k in (1, 2, 7, 100, 250):
      self.assertEqual(
          autoencoder.growing_batch_size(k - 1, 50, 40., 10000),
          min(round(50 * math.exp((k - 1) / 40.)), 10000))

  def testStaysAtTheLimit(self):
    for number in (300, 10**9):
      self.assertEqual(
          autoencoder.growing_batch_size(number, 50, 0.5, 10000), 10000)

  def testIsConstantByDefault(self):
    for number in (0, 10**9):
      self.assertEqual(
          autoencoder.growing_batch_size(number, 50, None, 10000), 50)

  def testBatchesHaveTheSizes(self):
    batches = mnist.shuffled_batches(
        20, lambda number: autoencoder.growing_batch_size(number, 4, 2., 20), 0)
    found = [next(batches) for _ in range(6)]
    self.assertEqual([len(batch) for batch in found], [4, 7, 11, 18, 20, 20])
    for batch in found:
      self.assertLen(np.unique(batch), len(batch))
    # The first two belong to one epoch.
    self.assertLen(np.unique(np.concatenate(found[:2])), 11)


class TrainerTest(SmallTestCase):

  def testEvaluationEqualsNumpyForAnyNumberOfImages(self):
    trainer = self._trainer("momentum", 0.1)
    weights = trainer.get_weights()
    params = [(weights[f"autoencoder/layer_{number}/weights"],
               weights[f"autoencoder/layer_{number}/bias"])
              for number in (1, 2, 3, 4)]
    images = self._images()
    expected = mean_loss(predict(params, images / 255.), images / 255.)
    for batch in (1000, 60, 25):
      with unittest.mock.patch.object(autoencoder, "_EVALUATION_BATCH", batch):
        self.assertAllClose(trainer.evaluate(images), expected)

  def testMomentumFollowsItsFormula(self):
    trainer = self._trainer("momentum", 0.01)
    images = self._images()[:20]
    name = "autoencoder/layer_4/bias"
    velocity = 0.
    for _ in range(2):
      weights = trainer.get_weights()
      params = [(weights[f"autoencoder/layer_{number}/weights"],
                 weights[f"autoencoder/layer_{number}/bias"])
                for number in (1, 2, 3, 4)]
      logits = predict(params, images / 255.)
      gradient = np.mean(1. / (1. + np.exp(-logits)) - images / 255., axis=0)
      velocity = 0.9 * velocity + gradient
      trainer.update(images)
      self.assertAllClose(trainer.get_weights()[name],
                          weights[name] - 0.01 * velocity, atol=1e-6)

  def testKfacTrainsWithTheRecipe(self):
    fake_mnist.write_dataset(self._dir, num_train=400)
    images = self._images()
    trainer = self._trainer("kfac", 1.)
    before = trainer.evaluate(images)
    for _ in range(9):
      trainer.update(images)
    after = trainer.evaluate(images)
    self.assertLess(after, before)
    # Better than the best logits that are the same for all images.
    pixels = images / 255.
    mean = pixels.mean(axis=0)
    self.assertLess(after, mean_loss(np.log(mean / (1. - mean)), pixels))

  def testRunsStartEquallyAndKfacIsReproducible(self):
    trainers = [self._trainer(name, 1.) for name in
                ("kfac", "kfac", "momentum", "adam")]
    first = [trainer.get_weights() for trainer in trainers]
    self.assertLen(first[0], 8)
    for other in first[1:]:
      self.assertAllClose(first[0], other, rtol=0., atol=0.)
    images = self._images()
    for _ in range(3):
      for trainer in trainers[:2]:
        trainer.update(images)
      losses = [trainer.evaluate(images) for trainer in trainers[:2]]
      self.assertAllClose(losses[0], losses[1], rtol=1e-4)

  def testFoundLayersTrainLikeTheRegisteredOnes(self):
    images = self._images()
    losses: list[list[float]] = []
    for auto in (False, True):
      trainer = autoencoder.Trainer("kfac", 1., auto=auto)
      losses.append([trainer.evaluate(images)])
      for _ in range(registrations.NUM_UPDATES):
        trainer.update(images)
        losses[-1].append(trainer.evaluate(images))
      trainer.close()
    self.assertAllClose(*losses, rtol=1e-5)
    self.assertLess(losses[0][-1], losses[0][0])

  def testRecipeUsesPartsOfTheBatchAndSharesTheWeights(self):
    self._patch(rules, "MIN_EXAMPLES", 2)
    recipes = []

    def spy(*args, **choices):
      recipes.append(kfac.recipe.recipe.Recipe(*args, **choices))
      return recipes[-1]

    self._patch(kfac.recipe, "Recipe", spy)
    trainer = self._trainer("kfac", 0.5)
    optimizer = recipes[0].optimizer
    self.assertEqual(0.5, recipes[0].choices["learning_rate"])
    with trainer._session.graph.as_default():
      self.assertLen(tf.trainable_variables(), 8)
    fetches = [recipes[0].statistics.losses[0].inputs,
               optimizer._qmodel_losses.losses[0].inputs, optimizer._batch_size,
               optimizer._qmodel_example_weights]
    images = self._images()
    for size, part in ((16, 4), (17, 5), (1, 1)):
      statistics, sampled, number, example_weights = trainer._session.run(
          fetches, {trainer._images: images[:size]})
      self.assertEqual(number, size)
      self.assertAllClose(size, np.sum(example_weights))
      self.assertLen(example_weights, len(sampled))
      weights = trainer.get_weights()
      params = [(weights[f"autoencoder/layer_{number}/weights"],
                 weights[f"autoencoder/layer_{number}/bias"])
                for number in (1, 2, 3, 4)]
      logits_of_all = predict(params, images[:size] / 255.)
      self.assertAllClose(statistics, logits_of_all[:part], atol=1e-5)
      for row in sampled:  # Each is the row of an example.
        self.assertLess(
            np.min(np.max(np.abs(logits_of_all - row), axis=1)), 1e-5)


class FlagsTest(SmallTestCase):

  def _error(self, *args):
    """Runs the whole program and returns its one-line error."""
    with unittest.mock.patch.object(sys, "argv", self._argv(*args)):
      with self.assertRaises(SystemExit) as caught:
        programs.run_program("autoencoder", autoencoder_mnist_main.run)
    message = caught.exception.code
    self.assertIsInstance(message, str)
    self.assertNotIn("\n", message)
    self.assertStartsWith(message, "autoencoder: ")
    return message[len("autoencoder: "):]

  def testValuesOutOfRange(self):
    for name in ("batch_size", "updates", "evaluate_every"):
      with self.subTest(name=name), flagsaver.flagsaver():
        self.assertEqual(self._error(f"--{name}=0"),
                         f"--{name} must be at least 1, got 0.")
    for name in ("learning_rate", "batch_growth", "target", "seconds"):
      for value in (0., -1., math.inf, math.nan):
        with self.subTest(name=name, value=value), flagsaver.flagsaver():
          self.assertEqual(
              self._error(f"--{name}={value}"),
              f"--{name} must be positive and finite, got {value}.")
    with flagsaver.flagsaver():
      self.assertEqual(self._error("--seed=-1"),
                       "--seed must be in [0, 2**31), got -1.")
    with flagsaver.flagsaver():
      self.assertIn("<mnist|curves>", self._error("--data=faces"))
    with flagsaver.flagsaver():
      self.assertIn("<best|coarse|demo|demo_fine|fine>",
                    self._error("--grid=all"))

  def testFlagsOfOtherPrograms(self):
    for flag, value in (
        ("momentum", 0.5), ("momentum_type", "adam"), ("damping", 1.),
        ("norm_constraint", 1.), ("cov_update_every", 2),
        ("inv_update_every", 2), ("epochs", 3)):
      with self.subTest(flag=flag), flagsaver.flagsaver():
        self.assertEqual(
            self._error(f"--{flag}={value}"),
            f"--{flag} is not used by this program, got {value}.")

  def testFlagsForOneOptimizerInAComparison(self):
    for flag in ("--optimizer=adam", "--learning_rate=0.1"):
      with self.subTest(flag=flag), flagsaver.flagsaver():
        self.assertEqual(
            self._error("--compare", flag),
            f"{flag.split('=')[0]} applies to a single optimizer, but "
            "--compare trains all three.")

  def testDemoDeterminesFlags(self):
    for flag, value in (("optimizer", "adam"), ("learning_rate", 0.5),
                        ("grid", "fine"), ("target", 9.)):
      with self.subTest(flag=flag), flagsaver.flagsaver():
        self.assertEqual(self._error("--demo", f"--{flag}={value}"),
                         f"--demo determines --{flag}, got {value}.")

  def testAutoForAnotherOptimizer(self):
    self.assertEqual(self._error("--auto", "--optimizer=adam"),
                     "--auto applies to kfac, got --optimizer=adam.")

  def testGridWithoutComparison(self):
    self.assertEqual(self._error("--grid=fine"),
                     "--grid requires --compare, got --grid=fine without it.")

  def testDataDirWithCurves(self):
    self.assertEqual(self._error("--data=curves"),
                     "--data_dir requires --data=mnist, got --data=curves.")

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


class ProgramTestCase(SmallTestCase):

  def _run(self, *args):
    """Returns the histories and the printed output."""
    self._parse(*args)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      histories = autoencoder_mnist_main.run()
    return histories, printed.getvalue()

  def _fake(self, losses, seconds=2.):
    """Fakes the duration of an update, and the losses of evaluations."""
    clock = [0.]
    losses = iter(losses)
    self._patch(autoencoder_mnist_main.time, "perf_counter", lambda: clock[0])

    def update(images):
      del images
      clock[0] += seconds

    def evaluate(images):
      del images
      clock[0] += 100.
      return next(losses)

    trainer = self._patch(autoencoder, "Trainer").return_value
    trainer.update.side_effect = update
    trainer.evaluate.side_effect = evaluate


class ProgramTest(ProgramTestCase):

  def testTrainsWithOneOptimizer(self):
    for optimizer, rate in (("momentum", "0.001"), ("adam", "0.01")):
      with self.subTest(optimizer=optimizer), flagsaver.flagsaver():
        histories, printed = self._run(
            "--optimizer=" + optimizer, "--learning_rate=" + rate,
            "--updates=7", "--evaluate_every=3")
        history, = histories
        self.assertEqual(history.optimizer, optimizer)
        self.assertEqual(history.updates, [0, 3, 6, 7])
        self.assertLess(history.losses[-1], history.losses[0])
        label = runner.LABELS[optimizer]
        self.assertIn(
            f"{label} 7/7: loss {history.losses[-1]:.3g}, "
            f"{history.seconds[-1]:.1f} s", printed)
        self.assertIn("lowest training loss", printed)
        self.assertIn("No plot: matplotlib is not installed", printed)

  def testEvaluatesEveryFewUpdatesOutsideTheTimer(self):
    for optimizer, every in autoencoder_mnist_main.EVALUATE_EVERY.items():
      self._fake([9., 8., 7.])
      histories, _ = self._run("--optimizer=" + optimizer,
                               f"--updates={2 * every}")
      self.assertEqual(histories[0].updates, [0, every, 2 * every])
      self.assertEqual(histories[0].seconds, [0., 2. * every, 4. * every])
    self.assertEqual(histories[0].losses, [9., 8., 7.])

  def testDefaultsDependOnTheOptimizer(self):
    for optimizer, updates in (("kfac", 200), ("momentum", 3000),
                               ("adam", 2000)):
      with self.subTest(optimizer=optimizer), flagsaver.flagsaver():
        self._fake([9., 8.])
        histories, _ = self._run(
            "--optimizer=" + optimizer, "--evaluate_every=5000")
        self.assertEqual(histories[0].updates, [0, updates])
        self.assertEqual(histories[0].learning_rate,
                         autoencoder_mnist_main.default_rate(optimizer))

  def testAutoFindsTheLayers(self):
    auto = self._patch(runner, "register_found_layers",
                       side_effect=runner.register_found_layers)
    for flag, count in (("--noauto", 0), ("--auto", 1)):
      self._run("--updates=1", flag)
      self.assertEqual(auto.call_count, count)

  def testStopsAtTheTarget(self):
    self._fake([9., 8., 7., 6.])
    histories, _ = self._run("--optimizer=adam", "--target=7")
    self.assertEqual(histories[0].losses, [9., 8., 7.])

  def testStopsAfterTheSeconds(self):
    self._fake([9., 8., 7., 6.])
    histories, _ = self._run("--optimizer=kfac", "--seconds=5")
    self.assertEqual(histories[0].updates, [0, 2, 3])
    self.assertEqual(histories[0].seconds, [0., 4., 6.])

  def testDivergenceEndsTheRun(self):
    for last, text in ((91., "91"), (math.nan, "nan"), (math.inf, "inf")):
      with self.subTest(last=last), flagsaver.flagsaver():
        self._fake([9., 90., last])
        histories, printed = self._run("--optimizer=adam")
        self.assertEqual(histories[0].updates, [0, 20, 40])
        self.assertIn(text + ", diverged", printed)

  def testBatchesGrow(self):
    update = self._patch(
        autoencoder.Trainer, "update", autospec=True)
    self._run("--optimizer=adam", "--updates=5", "--batch_growth=2")
    self.assertEqual([len(call.args[1]) for call in update.call_args_list],
                     [20, 33, 54, 60, 60])

  def testSampleIsFixedAndLimited(self):
    images = self._images()
    self.assertAllEqual(autoencoder_mnist_main.sample(images), images)
    self._patch(autoencoder_mnist_main, "SAMPLE_SIZE", 9)
    found = autoencoder_mnist_main.sample(images)
    self.assertLen(np.unique(found, axis=0), 9)
    self.assertAllEqual(autoencoder_mnist_main.sample(images), found)

  def testCurves(self):
    self._patch(autoencoder_mnist_main.curves, "make_images",
                return_value=np.linspace(
                    0., 1., 784 * 30, dtype=np.float32).reshape(30, 784))
    runner.FLAGS(["autoencoder", "--data=curves", "--batch_size=10"])
    images = autoencoder_mnist_main.load_images()
    self.assertEqual(images.dtype, np.uint8)
    self.assertAllClose(images.ravel() / 255., np.linspace(0., 1., 784 * 30),
                        atol=0.501 / 255.)

  def testPlot(self):
    self._patch(extras, "import_or_none", __import__)
    with contextlib.redirect_stderr(io.StringIO()):
      _, printed = self._run("--optimizer=momentum", "--updates=2")
    path = os.path.join(self._dir, "autoencoder.png")
    self.assertIn("Plot: " + path, printed)
    with open(path, "rb") as stream:
      self.assertEqual(stream.read(8), b"\x89PNG\r\n\x1a\n")


class CompareTest(ProgramTestCase):

  def testTriesTheGridAndComparesWithTheBest(self):
    self._patch(autoencoder_mnist_main, "GRIDS", {"coarse": {
        "momentum": (1e-4, 1e-3, 1e6), "adam": (0.001, 0.02)}})
    batches: dict[autoencoder.Trainer, list[np.ndarray]] = {}
    update = autoencoder.Trainer.update

    def spy(trainer, images):
      batches.setdefault(trainer, []).append(images)
      update(trainer, images)

    self._patch(autoencoder.Trainer, "update", spy)
    histories, printed = self._run(
        "--compare", "--grid=coarse", "--updates=6", "--evaluate_every=2")
    self.assertEqual([(h.optimizer, h.learning_rate) for h in histories],
                     [("kfac", 1.), ("momentum", 1e-3), ("adam", 0.02)])
    self.assertLen({history.losses[0] for history in histories}, 1)
    for run in batches.values():
      for first, other in zip(next(iter(batches.values())), run, strict=False):
        self.assertAllEqual(first, other)
    self.assertLen(batches, 6)
    lines = printed.splitlines()
    rows = [line.split() for line in lines if ": loss " not in line]
    starts = [index for index, row in enumerate(rows)
              if row[:2] == ["optimizer", "learning"]]
    self.assertLen(starts, 3)
    first, second, last = (rows[start + 1:start + 4] for start in starts)
    self.assertEqual([row[:3] for row in first], [
        ["momentum", "0.0001", "6"], ["momentum", "0.001", "6"],
        ["momentum", "1e+06", "2"]])
    self.assertEqual(first[2][-1], "diverged")
    self.assertEqual([row[:2] for row in second[:2]],
                     [["Adam", "0.001"], ["Adam", "0.02"]])
    self.assertEqual([row[:2] for row in last], [
        ["K-FAC", "1"], ["momentum", "0.001"], ["Adam", "0.02"]])
    self.assertIn("updates until Adam's lowest loss", printed)

  def testDemoTrainsUntilKfacIsBest(self):
    self._patch(autoencoder_mnist_main, "DEMO_UPDATES",
                {"kfac": 6, "momentum": 2, "adam": 2})
    self._fake([9., 7., 9., 6., 9., 6.5, 6., 5.])
    histories, printed = self._run("--demo")
    kfac, momentum, adam = histories
    self.assertEqual([momentum.losses, adam.losses, kfac.losses],
                     [[9., 7.], [9., 6.], [9., 6.5, 6.]])
    self.assertEqual(kfac.updates, [0, 2, 4])
    rates = autoencoder_mnist_main.GRIDS["demo"]
    self.assertEqual((momentum.learning_rate,), rates["momentum"])
    self.assertEqual((adam.learning_rate,), rates["adam"])
    # One table of runs: each optimizer has only one.
    self.assertEqual(printed.count("learning rate"), 1)
    self.assertIn("K-FAC reached momentum's lowest loss (7) in 2 updates",
                  printed)

  def testDemoEndsIfKfacIsNotBest(self):
    self._patch(autoencoder_mnist_main, "DEMO_UPDATES",
                {"kfac": 4, "momentum": 2, "adam": 2})
    self._fake([9., 7., 9., 6., 9., 6.5, 6.4])
    (kfac, _, _), printed = self._run("--demo")
    self.assertEqual(kfac.updates, [0, 2, 4])
    self.assertIn("K-FAC did not reach Adam's lowest loss (6); its own is "
                  "6.4.", printed)

  def testBestRatesAreInsideTheirGrids(self):
    grids = autoencoder_mnist_main.GRIDS
    for best, fine in (("best", "fine"), ("demo", "demo_fine")):
      for optimizer, (rate,) in grids[best].items():
        self.assertIn(rate, grids[fine][optimizer][1:-1])

  def testSignalLeavesTheTablesSoFar(self):
    # Number of updates, of histories and of goals in the comparison.
    for last, num_histories, num_goals in ((2, 1, 0), (8, 2, 0), (14, 3, 2)):
      count = 0

      def interrupt(*_, last=last):
        nonlocal count
        count += 1
        if count == last:
          os.kill(os.getpid(), signal.SIGINT)

      with interrupts.caught(), unittest.mock.patch.object(
          autoencoder.Trainer, "update", interrupt), (
              unittest.mock.patch.dict(autoencoder_mnist_main.GRIDS, {
                  "coarse": {"momentum": (1e-4,), "adam": (1e-3,)}})):
        histories, printed = self._run(
            "--compare", "--grid=coarse", "--updates=6", "--evaluate_every=2")
      self.assertEqual(count, last)
      self.assertLen(histories, num_histories)
      self.assertIn("lowest training loss", printed)
      self.assertEqual(printed.count("updates until "), num_goals)


if __name__ == "__main__":
  tf.test.main()
