"""Tests of the recurrent network, its registration and its program."""

import contextlib
import io
import shutil
import tempfile
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import flagsaver

import kfac
from examples import extras
from examples import fake_mnist
from examples import mnist
from examples import registrations
from examples import rnn
from examples import rnn_mnist_main
from examples import runner

APPROXIMATIONS = ("kron_indep", "kron_series_1", "kron_series_2")


class RnnTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.enter_graph = tf.Graph().as_default()
    self.enter_graph.__enter__()
    self.addCleanup(self.enter_graph.__exit__, None, None, None)
    tf.set_random_seed(0)
    self._images = np.random.RandomState(0).rand(5, 784).astype(np.float32)

  def testLogitsEqualNumpy(self):
    logits, layers = rnn.build(tf.constant(self._images))
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      logits, (weights, bias), (readout, readout_bias) = sess.run(
          [logits, layers.recurrent.params, layers.readout.params])
    self.assertEqual([weights.shape, readout.shape], [(92, 64), (64, 10)])
    state = np.zeros([5, 64])
    for row in np.split(self._images, 28, axis=1):
      state = np.tanh(row @ weights[:28] + state @ weights[28:] + bias)
    self.assertAllClose(logits, state @ readout + readout_bias, atol=1e-5)

  def testLayersHaveInputsAndOutputsOfEachUse(self):
    logits, layers = rnn.build(tf.constant(self._images))
    self.assertLen(layers.recurrent.inputs, 28)
    self.assertLen(layers.recurrent.outputs, 28)
    self.assertIs(layers.readout.outputs, logits)
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      recurrent, readout = sess.run(layers)
    weights, bias = recurrent.params
    for inputs, outputs in zip(recurrent.inputs, recurrent.outputs,
                               strict=True):
      self.assertAllClose(outputs, inputs @ weights + bias, atol=1e-5)
    self.assertAllClose(readout.inputs, np.tanh(recurrent.outputs[-1]))

  def testRegistersAllVariablesForAllUses(self):
    logits, layers = rnn.build(tf.constant(self._images))
    for approximation in APPROXIMATIONS:
      with self.subTest(approximation=approximation):
        layer_collection = kfac.LayerCollection()
        rnn.register(layer_collection, logits, layers, seed=1,
                     approximation=approximation)
        layer_collection.create_subgraph()
        layer_collection.check_registration(tf.trainable_variables())
        self.assertEqual(
            layer_collection.get_use_count_map()[layers.recurrent.params[0]],
            28)
        self.assertLen(layer_collection.fisher_blocks, 2)
        self.assertLen(layer_collection.losses, 1)

  def testFoundLayersAreTheRegisteredOnes(self):
    for approximation in APPROXIMATIONS:
      with self.subTest(approximation=approximation), flagsaver.flagsaver():
        runner.FLAGS(["rnn", "--approximation=" + approximation])
        registered, found = registrations.describe_both(
            rnn.build,
            lambda *args: rnn_mnist_main.register(*args, seed=1),
            lambda *args: rnn_mnist_main.register_losses(*args, seed=1))
        self.assertLen(registered, 2)
        self.assertEqual(registered[0][-1], [28, 28])
        self.assertEqual(registered, found)


class ProgramTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)
    flags = flagsaver.flagsaver()
    flags.__enter__()
    self.addCleanup(flags.__exit__, None, None, None)
    fake_mnist.write_dataset(self._dir)

  def _parse(self, *args):
    runner.FLAGS(["rnn", "--data_dir=" + self._dir,
                  "--output_dir=" + self._dir, "--batch_size=20", *args])

  def testTrainsWithEachOptimizer(self):
    self._parse("--compare", "--updates=4", "--evaluate_every=2")
    with contextlib.redirect_stdout(io.StringIO()), \
        unittest.mock.patch.object(extras, "import_or_none",
                                   return_value=None):
      histories = runner.run(rnn_mnist_main.EXPERIMENT)
    self.assertLen(histories, 3)
    for history in histories:
      self.assertEqual(history.updates, [0, 2, 4])
      self.assertLess(history.losses[-1], history.losses[0])

  def testFlagSelectsTheApproximation(self):
    data = mnist.load(self._dir)
    images, labels = data.train_images[:20], data.train_labels[:20]
    steps = []
    for approximation in APPROXIMATIONS:
      self._parse("--approximation=" + approximation)
      trainer = runner.Trainer(rnn_mnist_main.EXPERIMENT, "kfac", 0.01, 20)
      before = trainer.get_weights()["model/recurrent/weights"]
      # Before the second update, the covariance between uses is not known.
      trainer.update(0, images, labels)
      trainer.update(1, images, labels)
      after = trainer.get_weights()["model/recurrent/weights"]
      trainer.close()
      steps.append(after - before)
      self.assertAllInRange(steps[-1], -1., 1.)
      self.assertGreater(np.abs(steps[-1]).max(), 1e-4)
    for first, second in ((0, 1), (1, 2), (0, 2)):
      self.assertNotAllClose(steps[first], steps[second], rtol=0.01)

  def testFoundLayersTrainLikeTheRegisteredOnes(self):
    for approximation in APPROXIMATIONS:
      with self.subTest(approximation=approximation):
        registered, found = registrations.losses_of_both(
            rnn_mnist_main.EXPERIMENT,
            ["--data_dir=" + self._dir, "--approximation=" + approximation])
        self.assertAllClose(registered, found, rtol=1e-5)
        self.assertLess(registered[-1], 0.9 * registered[0])


if __name__ == "__main__":
  tf.test.main()
