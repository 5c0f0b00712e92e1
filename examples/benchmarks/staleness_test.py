"""Tests of training with inverses of a given age."""

import contextlib
import io
import math

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from examples import mnist
from examples.benchmarks import staleness
from kfac.python.ops.kfac_utils import background

_CASE = staleness.CASES["perceptron"]._replace(batch_size=20, updates=4)


def _digits(count):
  random = np.random.RandomState(0)
  images = random.randint(0, 256, size=(count, 784)).astype(np.uint8)
  labels = random.randint(0, 10, size=count).astype(np.int32)
  return mnist.Dataset(images, labels, images, labels)


class _Model:
  """One dense layer, whose batch is fed."""

  def __init__(self):
    self.inputs = tf.placeholder(tf.float32, [6, 3])
    weights = tf.get_variable(
        "weights", [3, 2], initializer=tf.ones_initializer())
    outputs = tf.matmul(self.inputs, weights)
    layers = kfac.LayerCollection()
    layers.register_fully_connected(weights, self.inputs, outputs)
    layers.register_normal_predictive_distribution(outputs, seed=0)
    self.optimizer = kfac.KfacOptimizer(
        0.1, damping=0.1, layer_collection=layers)
    self.optimizer.minimize(tf.reduce_mean(tf.square(outputs)))


class LateInversesTest(tf.test.TestCase):

  def _inverses(self, make_late, steps):
    """Returns the inverses that each step would use."""
    with tf.Graph().as_default(), self.session() as session:
      tf.set_random_seed(0)
      model = _Model()
      inverses = model.optimizer.get_inv_vars()
      with make_late(session, model.optimizer) as step:
        session.run(tf.global_variables_initializer())
        found = []
        for number in range(steps):
          batch = np.random.RandomState(number).randn(6, 3)
          session.run(model.optimizer.cov_update_op, {model.inputs: batch})
          step()
          found.append(session.run(inverses))
    return found

  def _late(self, age):
    @contextlib.contextmanager
    def make(session, optimizer):
      late = staleness.LateInverses(optimizer, age)
      yield lambda: late.step(session)
    return self._inverses(make, 6)

  def testLacksExactlyTheLastUpdates(self):
    current = self._late(0)
    for age in (1, 3):
      expected = [current[max(0, number - age)] for number in range(6)]
      for want, found in zip(expected, self._late(age), strict=True):
        self.assertAllClose(want, found)
    self.assertNotAllClose(current[0], current[1])

  def testAgeZeroEqualsBackgroundInversesInOrder(self):
    @contextlib.contextmanager
    def make(session, optimizer):
      with background.BackgroundInverses(
          session, optimizer.inv_update_op, 0) as inverses:
        yield inverses.step

    for want, found in zip(
        self._inverses(make, 4), self._late(0), strict=False):
      self.assertAllClose(want, found)


class TrainingTest(tf.test.TestCase):

  def testAgeAndSeedDetermineTheLoss(self):
    data = _digits(60)
    first, same, old, other = (
        staleness.train(_CASE, age, seed, data)
        for age, seed in ((0, 0), (0, 0), (2, 0), (0, 1)))
    self.assertAllClose(first, same)
    for loss in (old, other):
      self.assertNotAlmostEqual(first, loss)

  def testReportsALineForEachAge(self):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      [losses] = staleness.report([_CASE], [0, 2], [0], _digits(60))
    self.assertEqual([0, 2], list(losses))
    header, *lines = printed.getvalue().splitlines()[-3:]
    self.assertIn("loss after 4 updates", header)
    self.assertEqual(["0", "2"], [line.split()[0] for line in lines])

  def testTable(self):
    lines = staleness.make_table(
        _CASE, {0: [1., 4.], 5: [2., 4.], 9: [math.nan, 1.], 20: []})
    self.assertEqual([
        ["0", "2", "1.00", "1.00", "to", "1.00"],
        ["5", "2.8", "1.41", "1.00", "to", "2.00"]],
                     [line.split() for line in lines[1:3]])
    self.assertIn("nan", lines[3])
    self.assertLen(lines, 4)

  def testEveryCaseTrainsOnTheDigitsOfTheExamples(self):
    for name, case in staleness.CASES.items():
      with self.subTest(name=name), tf.Graph().as_default():
        images = tf.zeros([2, 784])
        logits, layers = case.build(images)
        collection = kfac.LayerCollection()
        case.register(collection, logits, layers, 0)
        self.assertLen(collection.fisher_blocks, 3)


if __name__ == "__main__":
  tf.test.main()
