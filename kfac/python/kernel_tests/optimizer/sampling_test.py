"""Tests of examples sampled for the quadratic model, and their weights."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.ops.optimizer import quadratic_model


class SampleExamplesTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._rng = np.random.RandomState(0)

  def _samples(self, losses_and_one_in):
    """Returns indices and weights for each pair of losses and one_in."""
    with tf.Graph().as_default(), tf.Session() as sess:
      return sess.run([
          kfac.optimizer.sample_examples(tf.constant(losses), one_in)
                       for losses, one_in in losses_and_one_in])

  def testSamplesRepresentTheBatch(self):
    pairs = [(self._rng.exponential(size=size), one_in)
             for size in (1, 2, 7, 16, 17, 100) for one_in in (1, 2, 5, 16)]
    for (losses, one_in), (examples, weights) in zip(
        pairs, self._samples(pairs), strict=True):
      size, largest = len(losses), len(losses) // one_in
      self.assertAllClose(size, np.sum(weights))
      self.assertLen(set(examples), len(examples))
      self.assertLen(
          examples, largest + int(np.ceil((size - largest) / one_in)))
      by_loss = np.argsort(-losses)
      self.assertAllEqual(by_loss[:largest], examples[:largest])
      self.assertAllEqual(np.ones(largest), weights[:largest])
      self.assertAllClose(
          np.full(len(examples) - largest, (size - largest) /
                  max(len(examples) - largest, 1)), weights[largest:])
      # The middle one of each equal part of the others.
      num_parts = len(examples) - largest
      middles = (np.arange(num_parts) + 0.5) * (size - largest) / max(
          num_parts, 1)
      self.assertAllEqual(
          by_loss[largest + middles.astype(int)], examples[largest:])

  def testFewExamplesWithLargeLosses(self):
    # 30 of 800 examples have all of the loss, as for an accurate classifier.
    losses = np.zeros(800, np.float32)
    losses[self._rng.choice(800, 30, replace=False)] = 1.
    (examples, weights), = self._samples([(losses, 16)])
    self.assertAllClose(np.sum(losses), weights @ losses[examples])
    self.assertEqual(np.float32, weights.dtype)

  def testOneInOneIsAllExamples(self):
    (examples, weights), = self._samples([(self._rng.normal(size=9), 1)])
    self.assertAllEqual(np.arange(9), np.sort(examples))
    self.assertAllEqual(np.ones(9), weights)

  def testUnknownBatchSize(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      losses = tf.placeholder(tf.float32, [None])
      sampled = kfac.optimizer.sample_examples(losses, 3)
      for size in (1, 10):
        examples, weights = sess.run(sampled, {losses: np.arange(size)})
        self.assertEqual(size - 1, np.max(examples))
        self.assertAllClose(size, np.sum(weights))

  def testShareMayBeATensor(self):
    losses = self._rng.exponential(size=17)
    (expected,) = self._samples([(losses, 3)])
    with tf.Graph().as_default(), tf.Session() as sess:
      one_in = tf.placeholder(tf.int32, [])
      got = sess.run(kfac.optimizer.sample_examples(
          tf.constant(losses), one_in), {one_in: 3})
    for one, other in zip(expected, got, strict=True):
      self.assertAllEqual(one, other)

  def testShareMustBeAPositiveInt(self):
    for one_in in (0, 1.5, None):
      with self.assertRaisesRegex(
          ValueError, rf"^one_in must be an int >= 1, got {one_in!r}\.$"):
        kfac.optimizer.sample_examples([1.], one_in)


class ExampleWeightsTest(tf.test.TestCase):

  def testWeightTwoEqualsTheExampleTwice(self):
    (x, _), = dense_net.batches(1)
    twice = np.array([0, 1, 1, 3, 3])
    curvatures = []
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      directions = [[tf.random_normal(v.shape, seed=seed, dtype=v.dtype)
                     for v in model.variables] for seed in (1, 2)]
      for examples, weights in ((twice, None), ([0, 1, 3], [1., 2., 2.])):
        losses = kfac.LayerCollection()
        losses.register_categorical_predictive_distribution(
            dense_net.logits_of(tf.constant(x[examples]), model.variables))
        curvatures.append(quadratic_model.curvature(
            losses.losses, model.variables, directions, 0.1, 5, weights))
      sess.run(tf.global_variables_initializer())
      expected, weighted = sess.run(curvatures)
    self.assertAllClose(expected, weighted)

  def testReachTheOptimizersModel(self):
    (x, y), (other_x, _) = dense_net.batches(2)
    oracle = dense_net.Kfac(0.05, 0.8)
    net = oracle.update(x, y)
    precon = oracle.precondition(net.grads)
    twice = dense_net.Net(oracle.params, other_x[[0, 0, 1]], y[:3])
    curvature = (twice.fisher_product(precon, precon) +
                 0.05 * dense_net.dot(precon, precon))
    alpha = -dense_net.dot(net.grads, precon) / curvature
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      losses = kfac.LayerCollection()
      losses.register_categorical_predictive_distribution(
          dense_net.logits_of(tf.constant(other_x[:2]), model.variables))
      optimizer = kfac.KfacOptimizer(
          1., 0.8, 0.05, model.layers, momentum=0., momentum_type="qmodel",
          batch_size=3, estimation_mode="exact", qmodel_losses=losses,
          qmodel_example_weights=[2., 1.])
      train_op = optimizer.minimize(model.loss)
      sess.run(tf.global_variables_initializer())
      got = dense_net.train(sess, model, optimizer, train_op, [(x, y)])
    for param, start, step in zip(
        got, dense_net.initial_params(), precon, strict=True):
      self.assertAllClose(start + alpha * step, param, rtol=1e-8, atol=1e-8)

  def testAreOnlyForQmodel(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      with self.assertRaisesRegex(
          ValueError,
          "^qmodel_example_weights must be None unless momentum_type "
          r"is 'qmodel' or 'qmodel_fixedmu', got \[1.0\].$"):
        kfac.KfacOptimizer(
            0.1, 0.9, 0.1, model.layers, qmodel_example_weights=[1.])


if __name__ == "__main__":
  tf.test.main()
