"""Tests of the convolutional network, its towers and its two programs."""

import contextlib
import functools
import io
import shutil
import tempfile
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import flagsaver

import kfac
from examples import convnet
from examples import convnet_mnist_main
from examples import convnet_mnist_multi_tower_main
from examples import extras
from examples import fake_mnist
from examples import registrations
from examples import runner
from kfac.python.ops import fisher_factors


def convolve(inputs, weights, bias):
  """Convolves [B, H, W, C] with strides 1 and padding VALID."""
  size = len(weights)
  height, width = (length - size + 1 for length in inputs.shape[1:3])
  return bias + sum(
      inputs[:, i:i + height, j:j + width] @ weights[i, j]
      for i in range(size) for j in range(size))


def surround(inputs):
  """Pads with zeros, for a 3 x 3 convolution with padding SAME."""
  return np.pad(inputs, [(0, 0), (1, 1), (1, 1), (0, 0)])


def pool(inputs, size):
  """Computes maxima over size x size locations."""
  batch, height, width, channels = inputs.shape
  return inputs.reshape(batch, height // size, size, width // size, size,
                        channels).max(axis=(2, 4))


class GraphTestCase(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._enter(tf.Graph().as_default())
    tf.set_random_seed(0)
    self._images = np.random.RandomState(0).rand(6, 784).astype(np.float32)
    self._labels = np.arange(6)

  def _enter(self, context):
    value = context.__enter__()
    self.addCleanup(context.__exit__, None, None, None)
    return value


class ConvnetTest(GraphTestCase):

  def testLogitsEqualNumpy(self):
    for residual in (False, True):
      with self.subTest(residual=residual), tf.Graph().as_default():
        logits, layers = convnet.build(
            tf.constant(self._images), residual=residual)
        with self.session() as sess:
          sess.run(tf.global_variables_initializer())
          logits, params = sess.run(
              [logits, [layer.params for layer in layers]])
        self.assertEqual([weights.shape for weights, _ in params],
                         [(5, 5, 1, 32), (3, 3, 32, 32), (512, 10)])
        images = self._images.reshape(6, 28, 28, 1)
        first = pool(np.maximum(convolve(images, *params[0]), 0.), 2)
        second = np.maximum(convolve(surround(first), *params[1]), 0.)
        features = pool(second + first if residual else second, 3)
        features = features.reshape(6, -1)
        self.assertAllClose(logits, features @ params[2][0] + params[2][1],
                            atol=1e-5)

  def testLayersHaveInputsAndOutputs(self):
    logits, layers = convnet.build(tf.constant(self._images))
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      first, second, dense = sess.run(layers)
    self.assertAllClose(
        first.outputs, convolve(first.inputs, *first.params), atol=1e-5)
    self.assertAllClose(
        second.outputs, convolve(surround(second.inputs), *second.params),
        atol=1e-5)
    self.assertAllClose(
        dense.outputs, dense.inputs @ dense.params[0] + dense.params[1],
        atol=1e-5)
    self.assertIs(layers[-1].outputs, logits)

  def testRegistersAllVariables(self):
    for residual in (False, True):
      with self.subTest(residual=residual), tf.Graph().as_default():
        logits, layers = convnet.build(
            tf.constant(self._images), residual=residual)
        layer_collection = kfac.LayerCollection()
        convnet.register(layer_collection, logits, layers, seed=1)
        layer_collection.create_subgraph()
        layer_collection.check_registration(tf.trainable_variables())
        self.assertLen(layer_collection.fisher_blocks, 3)
        self.assertLen(layer_collection.losses, 1)

  def testFoundLayersAreTheRegisteredOnes(self):
    for residual in (False, True):
      with self.subTest(residual=residual):
        registered, found = registrations.describe_both(
            functools.partial(convnet.build, residual=residual),
            convnet.register, runner.register_categorical)
        self.assertLen(registered, 3)
        self.assertEqual(registered, found)


class TowersTest(GraphTestCase):

  def _build(self, devices, images=None):
    return convnet.build_towers(
        tf.constant(self._images) if images is None else images, devices)

  def testLogitsEqualThoseOfOneTower(self):
    images = tf.placeholder(tf.float32, [None, 784])
    one, _ = convnet.build(images)
    with tf.variable_scope(tf.get_variable_scope(), reuse=True):
      three, towers = self._build(["/cpu:0"] * 3, images)
    self.assertLen(tf.trainable_variables(), 6)
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      for size, sizes in ((6, [2, 2, 2]), (5, [1, 2, 2]), (2, [0, 1, 1])):
        expected, found, parts = sess.run(
            [one, three, [tower.logits for tower in towers]],
            {images: self._images[:size]})
        self.assertAllClose(found, expected, atol=1e-5)
        self.assertEqual([len(part) for part in parts], sizes)

  def testRegistersEachLayerAndTheLossOnce(self):
    logits, towers = self._build(["/cpu:0", "/cpu:0"])
    layer_collection = kfac.LayerCollection()
    convnet.register_towers(layer_collection, logits, towers, seed=1)
    layer_collection.create_subgraph()
    layer_collection.check_registration(tf.trainable_variables())
    blocks = layer_collection.get_blocks()
    self.assertEqual([block.num_registered_towers for block in blocks],
                     [2, 2, 2])
    (losses,) = layer_collection.towers_by_loss
    self.assertLen(losses, 2)
    self.assertEqual(layer_collection.get_use_count_map(),
                     {variable: 2 for variable in tf.trainable_variables()})

  def testFoundLayersAreTheRegisteredOnes(self):
    registered, found = registrations.describe_both(
        lambda images: self._build(["/cpu:0"] * 2, images),
        convnet.register_towers, convnet.register_tower_losses)
    self.assertEqual([row[-1] for row in registered], [[2, 2]] * 3)
    self.assertEqual(registered, found)

  def testStepEqualsThatOfOneTower(self):
    one = self._step(1, "concat")
    self.assertGreater(max(np.abs(change).max() for change in one), 1e-3)
    self.assertAllClose(self._step(2, "concat"), one, atol=1e-6, rtol=1e-3)
    # The mean over equal towers is the mean over the whole batch.
    self.assertAllClose(self._step(2, "separate"), one, atol=1e-6, rtol=1e-3)

  def _step(self, num_towers, strategy):
    """Returns the change of the variables in one step of K-FAC."""
    self._enter(unittest.mock.patch.object(
        fisher_factors, "TOWER_STRATEGY", strategy))
    with tf.Graph().as_default(), self.session() as sess:
      tf.set_random_seed(0)
      logits, towers = self._build(["/cpu:0"] * num_towers)
      layer_collection = kfac.LayerCollection()
      convnet.register_towers(layer_collection, logits, towers)
      optimizer = kfac.KfacOptimizer(
          0.1, 0.95, 0.1, layer_collection, estimation_mode="exact")
      train_op = optimizer.minimize(runner.mean_loss(logits, self._labels))
      sess.run(tf.global_variables_initializer())
      before = sess.run(tf.trainable_variables())
      for op in (optimizer.cov_update_op, optimizer.inv_update_op, train_op):
        sess.run(op)
      return [after - start for start, after in zip(
          before, sess.run(tf.trainable_variables()), strict=True)]

  def testTowersRunOnTheirDevices(self):
    devices = ["/cpu:0", "/cpu:1"]
    logits, towers = self._build(devices)
    for tower, device in zip(towers, devices, strict=True):
      self.assertEndsWith(tower.logits.device.lower(), device[1:])
    self._enter(unittest.mock.patch.object(
        fisher_factors, "TOWER_STRATEGY", "separate"))
    layer_collection = kfac.LayerCollection()
    convnet.register_towers(layer_collection, logits, towers, seed=1)
    optimizer = kfac.KfacOptimizer(0.1, 0.95, 0.1, layer_collection)
    loss = runner.mean_loss(logits, self._labels)
    train_op = optimizer.minimize(loss)
    config = tf.ConfigProto(device_count={"CPU": 2})
    with tf.Session(config=config) as sess:
      sess.run(tf.global_variables_initializer())
      losses = [sess.run(loss)]
      for op in (optimizer.cov_update_op, optimizer.inv_update_op, train_op):
        sess.run(op)
      losses.append(sess.run(loss))
    self.assertLess(losses[1], losses[0])


class ProgramTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)
    for context in (
        flagsaver.flagsaver(),
        unittest.mock.patch.object(fisher_factors, "TOWER_STRATEGY", "concat"),
        unittest.mock.patch.object(
            extras, "import_or_none", return_value=None)):
      context.__enter__()
      self.addCleanup(context.__exit__, None, None, None)
    fake_mnist.write_dataset(self._dir)

  def _run(self, program, *args):
    runner.FLAGS(["program", "--data_dir=" + self._dir,
                  "--output_dir=" + self._dir, "--batch_size=20",
                  "--updates=3", "--evaluate_every=1", *args])
    with contextlib.redirect_stdout(io.StringIO()):
      return runner.run(program.EXPERIMENT)

  def testConvnetTrainsWithEachOptimizer(self):
    histories = self._run(convnet_mnist_main, "--compare")
    self.assertLen(histories, 3)
    for history in histories:
      self.assertEqual(history.updates, [0, 1, 2, 3])
      self.assertLess(history.losses[-1], history.losses[0])

  def testResidualFlagChangesTheModel(self):
    losses = [self._run(convnet_mnist_main, "--updates=1", flag)[0].losses
              for flag in ("--residual", "--noresidual")]
    self.assertNotAllClose(losses[0][0], losses[1][0])

  def testTowersTrainWithBothStrategies(self):
    for strategy in ("concat", "separate"):
      with self.subTest(strategy=strategy):
        (history,) = self._run(convnet_mnist_multi_tower_main,
                               "--tower_strategy=" + strategy)
        self.assertEqual(fisher_factors.TOWER_STRATEGY, strategy)
        self.assertLess(history.losses[-1], history.losses[0])

  def testFoundLayersTrainLikeTheRegisteredOnes(self):
    for program, args in (
        (convnet_mnist_main, ["--residual"]),
        (convnet_mnist_multi_tower_main, ["--tower_strategy=separate"])):
      with self.subTest(program=program.__name__):
        registered, found = registrations.losses_of_both(
            program.EXPERIMENT, ["--data_dir=" + self._dir, *args])
        self.assertAllClose(registered, found, rtol=1e-5)
        self.assertLess(registered[-1], 0.9 * registered[0])

  def testTowersStartWithTheSameLossAsOneTower(self):
    starts = [self._run(program, "--updates=1")[0].losses[0] for program in
              (convnet_mnist_main, convnet_mnist_multi_tower_main)]
    self.assertAllClose(starts[0], starts[1])

  def testDevicesMatchTheTowers(self):
    program = convnet_mnist_multi_tower_main
    for args, devices in (
        ([], ["/cpu:0"] * 2),
        (["--num_towers=3"], ["/cpu:0"] * 3),
        (["--devices=/cpu:0,/device:CPU:0"], ["/cpu:0", "/device:CPU:0"])):
      with flagsaver.flagsaver():
        runner.FLAGS(["program", *args])
        self.assertEqual(program.read_devices(), devices)

  def testInvalidSettingsOfTowers(self):
    device_rule = ("--devices must be devices of this machine, such as /cpu:0, "
                   "got ")
    for args, message in (
        (["--num_towers=0"], "--num_towers must be at least 1, got 0."),
        (["--devices=/cpu:0,/cpu:0,/cpu:0"],
         "--devices must have 1 device, or 2, one per tower, got 3."),
        (["--devices=/cpu:99"], f"{device_rule}'/cpu:99'."),
        (["--devices=/abacus:0"], f"{device_rule}'/abacus:0'."),
        (["--devices=cpu zero"], f"{device_rule}'cpu zero'."),
        (["--devices="],
         "--devices must have 1 device, or 2, one per tower, got 0."),
        (["--devices=/cpu:0,"], f"{device_rule}''."),
        (["--num_towers=3"],
         "--batch_size must be a multiple of 3, the number of towers, "
         "got 20.")):
      with self.subTest(args=args), flagsaver.flagsaver():
        with self.assertRaises(runner.SettingsError) as caught:
          self._run(convnet_mnist_multi_tower_main, *args)
        self.assertEqual(str(caught.exception), message)


if __name__ == "__main__":
  tf.test.main()
