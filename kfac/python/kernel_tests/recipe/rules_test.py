"""Tests of the rules of the recipe: parts of the batch, and the schedule."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.ops.recipe import rules


def collection_of(sizes, batch_size=None, num_uses=1):
  """Registers dense layers; returns the LayerCollection."""
  layers = kfac.LayerCollection()
  for number, (num_in, num_out) in enumerate(
      zip(sizes[:-1], sizes[1:], strict=True)):
    weights = tf.get_variable(f"w{number}", [num_in, num_out])
    bias = tf.get_variable(f"b{number}", [num_out])
    inputs = [tf.zeros([batch_size or 1, num_in]) for _ in range(num_uses)]
    if batch_size is None:
      inputs = [tf.placeholder(tf.float32, [None, num_in]) for _ in inputs]
    outputs = [tf.matmul(x, weights) + bias for x in inputs]
    if num_uses == 1:
      layers.register_fully_connected((weights, bias), *inputs, *outputs)
    else:
      layers.register_fully_connected_multi((weights, bias), inputs, outputs)
  return layers


class PartsTest(tf.test.TestCase):

  def testPartsOfTheBatch(self):
    table = (
        # batch size -> examples for statistics, for the quadratic model
        (1, 1, 1), (50, 50, 50), (124, 124, 124), (125, 125, 94),
        (200, 125, 111), (500, 125, 117), (1000, 250, 235), (2001, 501, 469))
    with tf.Graph().as_default(), self.session() as sess:
      batch_size = tf.placeholder(tf.int32, [])
      statistics = rules.num_statistics_examples(batch_size)
      divisor = rules.qmodel_divisor(batch_size)
      sampled, weights = kfac.optimizer.sample_examples(
          tf.range(tf.cast(batch_size, tf.float32)), divisor)
      for size, num_statistics, num_sampled in table:
        got, found, examples, of_examples = sess.run(
            (statistics, divisor, sampled, weights), {batch_size: size})
        self.assertEqual(num_statistics, got)
        self.assertLen(set(examples), num_sampled)
        self.assertAllClose(size, np.sum(of_examples))
        self.assertEqual(rules.num_statistics_examples(size), got)
        self.assertEqual(rules.qmodel_divisor(size), found)

  def testShareOfTheLossGrowsWithTheBatch(self):
    with tf.Graph().as_default(), self.session() as sess:
      batch_size = tf.placeholder(tf.int32, [])
      share = rules.max_predicted_decrease(batch_size)
      for size, expected in ((1, 0.25), (50, 0.25), (375, 0.25), (500, 1. / 3.),
                             (750, 0.5), (2000, 0.5)):
        self.assertAllClose(expected, sess.run(share, {batch_size: size}))
        self.assertAllClose(expected, rules.max_predicted_decrease(size))


class LayersTest(tf.test.TestCase):

  def testDenseLayers(self):
    with tf.Graph().as_default():
      found = rules.kronecker_layers(collection_of([3, 5, 2], 200), 200)
    self.assertEqual(
        [rules.Layer(4, 5, 200, 125), rules.Layer(6, 2, 200, 125)], found)

  def testUsesCountAsExamples(self):
    with tf.Graph().as_default():
      found = rules.kronecker_layers(collection_of([3, 5], 100, 7), 100)
    self.assertEqual([rules.Layer(4, 5, 700, 700)], found)

  def testLocationsCountAsExamples(self):
    with tf.Graph().as_default():
      filters = tf.get_variable("filters", [3, 3, 2, 5])
      inputs = tf.placeholder(tf.float32, [None, 8, 6, 2])
      layers = kfac.LayerCollection()
      layers.register_conv2d(
          filters, [1, 1, 1, 1], "SAME", inputs,
          tf.nn.conv2d(inputs, filters, 1, "SAME"))
      found = rules.kronecker_layers(layers, 10)
    self.assertEqual([rules.Layer(18, 5, 480, 480)], found)

  def testOtherBlocksHaveNoSizes(self):
    with tf.Graph().as_default():
      layers = kfac.LayerCollection()
      layers.register_generic(tf.get_variable("scale", [3]), 10)
      self.assertEqual([], rules.kronecker_layers(layers, 10))


class ChoiceTest(tf.test.TestCase):

  def testExpensiveUpdatesAreRare(self):
    for layer, expected in (
        # Gradients take 6 rows a g operations.
        (rules.Layer(10, 10, 1000, 250), (1, 5)),
        (rules.Layer(10, 10, 40, 40), (4, 5)),
        (rules.Layer(785, 128, 500, 125), (3, 20)),
        (rules.Layer(785, 128, 64, 64), (4, 20))):
      found = rules.schedule([layer])
      self.assertEqual(expected, (found.cov_every, found.inv_every))

  def testUnknownSizes(self):
    with tf.Graph().as_default():
      found = rules.choose(
          collection_of([3, 5]), tf.placeholder(tf.int32, []))
    schedule = found["schedule"]
    self.assertEqual((1, 5), (schedule.cov_every, schedule.inv_every))
    self.assertAllClose(0.9, found["cov_ema_decay"])
    self.assertEqual(0.1, found["damping"])

  def testAllAreDueDuringTheBurnIn(self):
    found = rules.schedule([])
    self.assertTrue(all(found.inv_due(t) for t in range(rules.BURN_IN)))
    self.assertFalse(found.inv_due(rules.BURN_IN + found.inv_every - 1))

  def testWideLayersAverageOverMoreUpdates(self):
    for layer, cov_every, num_updates in (
        (rules.Layer(10, 10, 500, 125), 1, 10.),
        (rules.Layer(10, 10, 500, 125), 2, 10.),
        (rules.Layer(500, 10, 500, 125), 1, 12.),
        (rules.Layer(10, 500, 500, 125), 1, 12.),
        (rules.Layer(10000, 10, 500, 125), 1, 40.)):
      decay = rules.cov_ema_decay([layer], cov_every) ** cov_every
      self.assertAllClose(num_updates, 1. / (1. - decay))

  def testSmallBatchesStartWithMoreDamping(self):
    for size, expected in ((1, 0.1), (50, 0.1), (250, 0.02), (1000, 0.01),
                           (5000, 0.01)):
      self.assertAllClose(expected, rules.initial_damping(size))


if __name__ == "__main__":
  tf.test.main()
