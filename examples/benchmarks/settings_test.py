"""Tests of the program that tries settings, and of its models."""

import contextlib
import io
import itertools
import math
import os
import shutil
import sys
import tempfile
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import flagsaver

import kfac
from examples import fake_mnist
from examples import programs
from examples import runner
from examples.benchmarks import field_models
from examples.benchmarks import settings

_NUM_LAYERS = {"perceptron": 3, "convnet": 5, "gru": 3, "transformer": 11}


def _images(num_images):
  return np.random.RandomState(0).rand(num_images, 784).astype(np.float32)


class ModelsTest(tf.test.TestCase):

  def testRegistersAllVariablesWhichASecondPassShares(self):
    self.assertEqual(set(_NUM_LAYERS), set(field_models.MODELS))
    for name, num_layers in _NUM_LAYERS.items():
      with self.subTest(name=name), tf.Graph().as_default():
        tf.set_random_seed(0)
        images, labels = tf.constant(_images(6)), tf.range(6)
        logits, layers, losses = field_models.make_pass(name, images, labels)
        variables = tf.trainable_variables()
        same = field_models.make_pass(name, images, labels)[2]
        self.assertEqual(variables, tf.trainable_variables())
        layer_collection = kfac.LayerCollection()
        field_models.register(layer_collection, logits, layers, seed=1)
        layer_collection.create_subgraph()
        layer_collection.check_registration(variables)
        self.assertLen(layer_collection.fisher_blocks, num_layers)
        self.assertEqual([6, 10], logits.shape.as_list())
        with self.session() as sess:
          sess.run(tf.global_variables_initializer())
          losses, same = sess.run([losses, same])
          self.assertAllClose(losses, same)
          self.assertBetween(losses.mean(), 1.5, 4.)
          self._check_outputs(sess, layers)

  def _check_outputs(self, sess, layers):
    """Fails if the outputs of a dense layer are not its inputs W + b."""
    dense = [layer[1:4] for layer in layers
             if layer.kind in ("dense", "repeated")]
    for (weights, bias), inputs, outputs in sess.run(dense):
      self.assertAllClose(
          np.asarray(inputs) @ weights + bias, outputs, atol=1e-5)

  def testExamplesAreIndependentWithoutBatchNormalization(self):
    for name in ("perceptron", "gru", "transformer"):
      with self.subTest(name=name), tf.Graph().as_default():
        images = _images(3)
        together, alone = (
            field_models.make_pass(
                name, tf.constant(part), tf.zeros([len(part)], tf.int32))[0]
            for part in (images, images[1:2]))
        with self.session() as sess:
          sess.run(tf.global_variables_initializer())
          together, alone = sess.run([together, alone])
        self.assertAllClose(together[1:2], alone, atol=1e-5)
        self.assertNotAllClose(together[:1], alone, atol=1e-3)

  def testGruEqualsNumpy(self):
    with tf.Graph().as_default(), self.session() as sess:
      logits, layers, _ = field_models.make_pass(
          "gru", tf.constant(_images(2)), tf.zeros([2], tf.int32))
      sess.run(tf.global_variables_initializer())
      logits, params = sess.run([logits, [layer.params for layer in layers]])
    (gate, gate_bias), (weights, bias), (readout, readout_bias) = params
    state = np.zeros([2, field_models.NUM_UNITS])
    for row in _images(2).reshape(2, 28, 28).transpose(1, 0, 2):
      reset, keep = np.split(1. / (1. + np.exp(
          -np.hstack([row, state]) @ gate - gate_bias)), 2, axis=1)
      state = keep * state + (1. - keep) * np.tanh(
          np.hstack([row, reset * state]) @ weights + bias)
    self.assertAllClose(state @ readout + readout_bias, logits, atol=1e-5)

  def testTransformerReadsPatchesAndTheirPositions(self):
    images = _images(2)
    # The same patches, and in each row of them another order.
    moved = np.roll(images.reshape(2, 28, 28), 7, axis=2).reshape(2, 784)
    with tf.Graph().as_default(), self.session() as sess:
      tf.set_random_seed(0)
      passes = [field_models.make_pass(
          "transformer", tf.constant(part), tf.zeros([2], tf.int32))[:2]
                for part in (images, moved)]
      sess.run(tf.global_variables_initializer())
      patches = sess.run(passes[0][1][1].inputs)
      logits, moved_logits = sess.run([passes[0][0], passes[1][0]])
    # The second patch of the second row of patches.
    self.assertAllClose(images.reshape(2, 28, 28)[:, 7:14, 7:14].reshape(2, 49),
                        patches[2 * 5:2 * 6])
    self.assertNotAllClose(logits, moved_logits, atol=1e-4)

  def testNormalizationHasMomentsOfTheBatch(self):
    with tf.Graph().as_default(), self.session() as sess:
      layers: list = []
      outputs = field_models._normalize(
          tf.constant(3. * _images(4) + 5.), [0], layers)
      sess.run(tf.global_variables_initializer())
      outputs = sess.run(outputs)
    self.assertAllClose(outputs.mean(axis=0), np.zeros(784), atol=1e-4)
    self.assertAllClose(outputs.std(axis=0), np.ones(784), atol=1e-2)
    self.assertLen(layers, 1)


class _ProgramTestCase(tf.test.TestCase):
  """Saves the flags for one test, with a directory of few digits."""

  def setUp(self):
    super().setUp()
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)
    saver = flagsaver.flagsaver()
    saver.__enter__()
    self.addCleanup(saver.__exit__, None, None, None)
    fake_mnist.write_dataset(self._dir)

  def _argv(self, *args):
    return ["settings", "--data_dir=" + self._dir, *args]

  def _run(self, *args):
    """Returns the lines that the program returns, and those it prints."""
    settings.FLAGS(self._argv(*args))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      lines = settings.run()
    return lines, printed.getvalue().splitlines()

  def _error(self, *args):
    """Runs the whole program and returns its one-line error."""
    with unittest.mock.patch.object(sys, "argv", self._argv(*args)):
      with self.assertRaises(SystemExit) as caught:
        programs.run_program("settings", settings.run)
    return caught.exception.code


class SettingsTest(_ProgramTestCase):

  def testEverySettingUpdatesTheSameInitialWeights(self):
    settings.FLAGS(self._argv("--updates=3"))
    data = settings.load_digits()
    found = {name: settings.train(name, "perceptron", data, 20, 0)
             for name in settings.SETTINGS}
    for name, history in found.items():
      with self.subTest(name=name):
        self.assertEqual([0, 1, 2, 3], history.updates)
        self.assertEqual(found["adam"].losses[0], history.losses[0])
        self.assertNotAlmostEqual(history.losses[0], history.losses[3])

  def testSeedsDetermineARun(self):
    settings.FLAGS(self._argv("--updates=4", "--evaluate_every=3"))
    data = settings.load_digits()
    first, same, other = (
        settings.train("momentum", "perceptron", data, 20, seed)
        for seed in (0, 0, 1))
    self.assertEqual([0, 3, 4], first.updates)
    self.assertAllClose(first.losses, same.losses)
    self.assertNotAllClose(first.losses, other.losses)

  def testTrainingEndsAtALossThatIsNotFinite(self):
    settings.FLAGS(self._argv("--updates=9"))

    def make_nan(network, batch_size):
      self.assertEqual(20, batch_size)
      optimizer = tf.train.GradientDescentOptimizer(math.nan)
      train_op = optimizer.minimize(network.loss)
      return lambda sess, number, feed: sess.run(train_op, feed)

    with unittest.mock.patch.dict(settings.SETTINGS, {"nan": make_nan}):
      history = settings.train(
          "nan", "perceptron", settings.load_digits(), 20, 0)
    self.assertEqual([0, 1], history.updates)
    self.assertEqual("diverges at step 1", settings.verdict(history))


class VerdictTest(tf.test.TestCase):

  def testVerdicts(self):
    for losses, expected in (
        ([2., 2.9, 0.9], "trains"),
        ([2., 0.1, 1.], "stalls"),
        ([2., 3., 2.9], "stalls"),
        ([2., 3.1, 0.1], "diverges at step 5"),
        ([2., 1., math.nan], "diverges at step 10"),
        ([2., math.inf, 0.1], "diverges at step 5"),
        ([math.inf, math.inf], "diverges at step 0")):
      with self.subTest(losses=losses):
        history = runner.History("adam", 0.1)
        for number, loss in enumerate(losses):
          history.add(5 * number, 0., loss)
        self.assertEqual(expected, settings.verdict(history))

  def testCells(self):
    history = runner.History("adam", 0.1, [0, 1, 2], [0., 0., 0.],
                             [2., 2.5, 0.5])
    self.assertEqual(
        ("adam", "gru", "curves", "64", "1", "2", "0.5", "0.5", "2.5",
         "trains"), settings.make_cells("gru", "curves", 64, 1, history))
    history.add(3, 0., math.nan)
    self.assertEqual(
        ("0.5", "nan", "nan", "diverges at step 3"),
        settings.make_cells("gru", "curves", 64, 1, history)[6:])


class DataTest(_ProgramTestCase):

  def testDigitsAreInTheUnitInterval(self):
    settings.FLAGS(self._argv())
    data = settings.load_digits()
    self.assertEqual((60, 784), data.images.shape)
    self.assertBetween(data.images.max(), 0.9, 1.)

  def testFullestQuadrants(self):
    images = np.full([4, 28, 28], 0.1, np.float32)
    for number, (y, x) in enumerate(itertools.product((13, 14), (13, 14))):
      images[number, y, x] = 1.
    self.assertAllEqual(
        [0, 1, 2, 3], settings.fullest_quadrants(images.reshape(4, 784)))

  def testCurvesHaveAllQuadrants(self):
    with unittest.mock.patch.object(settings, "NUM_CURVES", 50):
      data = settings.make_curves()
    self.assertEqual((50, 784), data.images.shape)
    self.assertEqual({0, 1, 2, 3}, set(data.labels))


class ProgramTest(_ProgramTestCase):

  def testPrintsALinePerRun(self):
    lines, printed = self._run(
        "--settings=momentum,adam", "--networks=perceptron",
        "--datasets=digits", "--batch_sizes=5,60", "--seeds=3", "--updates=1")
    self.assertEqual(
        [("momentum", "5"), ("adam", "5"), ("momentum", "60"), ("adam", "60")],
        [(line[0], line[3]) for line in lines])
    self.assertEqual({("perceptron", "digits")}, {line[1:3] for line in lines})
    self.assertEqual({"3"}, {line[4] for line in lines})
    self.assertLen(printed, 5)
    for line, cells in zip(printed[1:], lines, strict=True):
      self.assertEqual(line.split(), " ".join(cells).split())
      # The columns are aligned.
      self.assertEqual(line.index(cells[9]), printed[0].index("verdict"))

  def testUnknownNames(self):
    for flag, names in (("settings", settings.SETTINGS),
                        ("networks", field_models.MODELS),
                        ("datasets", settings.DATASETS)):
      for value in ("adam,no", ""):
        with self.subTest(flag=flag, value=value), flagsaver.flagsaver():
          self.assertEqual(
              self._error(f"--{flag}={value}"),
              f"settings: --{flag} must be among {sorted(names)}, got "
              f"{value!r}.")

  def testIntegersOutOfRange(self):
    for flag, rule, values in (
        ("batch_sizes", "at least 1", ("0", "5,x", "")),
        ("seeds", "in [0, 2**31)", ("-1", str(2**31), ""))):
      for value in values:
        with self.subTest(flag=flag, value=value), flagsaver.flagsaver():
          self.assertEqual(
              self._error(f"--{flag}={value}"),
              f"settings: --{flag} must be integers {rule}, got {value!r}.")

  def testBatchLargerThanTheData(self):
    self.assertEqual(
        self._error("--datasets=digits", "--batch_sizes=5,61"),
        "settings: --batch_sizes must be at most 60, the number of examples of "
        "digits, got 61.")

  def testCountsOutOfRangeAndFlagsOfOtherPrograms(self):
    for flag, message in (
        ("updates=0", "--updates must be at least 1, got 0."),
        ("evaluate_every=0", "--evaluate_every must be at least 1, got 0."),
        ("seed=1", "--seed is not used by this program, got 1."),
        ("batch_size=5", "--batch_size is not used by this program, got 5."),
        ("recipe", "--recipe is not used by this program, got True.")):
      with self.subTest(flag=flag), flagsaver.flagsaver():
        self.assertEqual(self._error("--" + flag), "settings: " + message)

  def testMissingData(self):
    path = os.path.join(self._dir, "no")
    self.assertEqual(
        self._error("--data_dir=" + path, "--datasets=digits"),
        f"settings: {path!r}: no such directory.")


if __name__ == "__main__":
  tf.test.main()
