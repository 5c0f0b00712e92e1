"""Tests of the losses of LayerCollection: registration, reuse, evaluation."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import layer_collection as lc
from kfac.python.ops import loss_functions as lf


def _log_sum_exp(logits):
  return np.log(np.sum(np.exp(logits), axis=1))


class LossesTest(tf.test.TestCase):

  def testRegistrationMakesTheLoss(self):
    with tf.Graph().as_default(), self.cached_session() as sess:
      layers = lc.LayerCollection()
      logits = tf.ones([4, 3])
      layers.register_categorical_predictive_distribution(
          logits, seed=7, targets=[0, 1, 2, 0])
      layers.register_normal_predictive_distribution(logits, var=2.)
      layers.register_normal_predictive_distribution(logits)
      layers.register_multi_bernoulli_predictive_distribution(logits)
      own = lf.NormalMeanVarianceNegativeLogProbLoss(logits, logits)
      layers.register_loss_function(own, logits, "own")
      self.assertEqual([type(loss) for loss in layers.losses], [
          lf.CategoricalLogitsNegativeLogProbLoss,
          lf.NormalMeanNegativeLogProbLoss,
          lf.NormalMeanNegativeLogProbLoss,
          lf.MultiBernoulliNegativeLogProbLoss,
          lf.NormalMeanVarianceNegativeLogProbLoss])
      self.assertIs(layers.losses[-1], own)
      self.assertEqual(layers.losses[0]._seed, 7)
      self.assertEqual(
          sess.run([layers.losses[i]._var for i in (1, 2)]), [2., 0.5])
      for loss in layers.losses:
        self.assertIs(layers.loss_colocation_ops[loss], logits)
      self.assertEqual(layers.towers_by_loss, [[x] for x in layers.losses])

  def testTowersAreKeptByLoss(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      x = [tf.ones([4, n]) for n in (1, 2, 3, 4)]
      register = layers.register_normal_predictive_distribution
      register(x[0], name="a")
      register(x[1], name="b", reuse=False)
      register(x[2], name="a", reuse=True)
      register(x[3], name="a", reuse=tf.AUTO_REUSE)
      with tf.variable_scope("any", reuse=True):
        register(x[0], name="b")
      with tf.variable_scope("any", reuse=tf.AUTO_REUSE):
        register(x[1], name="b", reuse=lc.VARIABLE_SCOPE)
      means = [[x[0], x[2], x[3]], [x[1], x[0], x[1]]]
      for towers, expected in zip(layers.towers_by_loss, means, strict=True):
        self.assertLen(towers, 3)
        for loss, mean in zip(towers, expected, strict=True):
          self.assertIs(loss.inputs, mean)
      self.assertEqual(
          layers.losses, layers.towers_by_loss[0] + layers.towers_by_loss[1])
      # The lists are copies.
      layers.losses.clear()
      layers.towers_by_loss[0].clear()
      self.assertLen(layers.losses, 6)

  def testReuse(self):
    with tf.Graph().as_default():
      logits = tf.ones([4, 3])
      for kind in ("categorical", "normal", "multi_bernoulli"):
        layers = lc.LayerCollection()
        register = getattr(
            layers, f"register_{kind}_predictive_distribution")
        for name in ("a", None):
          with self.assertRaisesRegex(
              KeyError, "name must be that of a registered loss to reuse it, "
              f"got {name!r}"):
            register(logits, name=name, reuse=True)
        self.assertEqual(layers.losses, [])
        self.assertEqual(layers.loss_colocation_ops, {})
        register(logits, name="a", reuse=tf.AUTO_REUSE)  # Registers the first.
        register(logits, reuse=tf.AUTO_REUSE)
        with tf.variable_scope("any", reuse=tf.AUTO_REUSE):
          register(logits, name="b")
        self.assertLen(layers.losses, 3)
        for kwargs in ({}, {"reuse": False}, {"reuse": lc.VARIABLE_SCOPE}):
          with self.assertRaisesRegex(
              KeyError,
              "name must be new unless the loss is reused, got 'a'"):
            register(logits, name="a", **kwargs)
        with self.assertRaisesRegex(ValueError, "reuse must be .* got 'no'"):
          register(logits, name="a", reuse="no")
        self.assertLen(layers.losses, 3)
        self.assertLen(layers.loss_colocation_ops, 3)

  def testLossesWithoutANameAreNew(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      for _ in range(3):
        layers.register_normal_predictive_distribution(tf.ones([4, 3]))
      self.assertEqual([len(x) for x in layers.towers_by_loss], [1, 1, 1])

  def testEvaluation(self):
    rng = np.random.RandomState(0)
    logits, mean, wanted = [rng.randn(5, 3) for _ in range(3)]
    labels = np.array([0, 2, 1, 1, 0])
    bits = np.array(rng.randn(5, 3) > 0, np.float64)
    with tf.Graph().as_default(), self.cached_session() as sess:
      layers = lc.LayerCollection()
      logits_op, mean_op = tf.constant(logits), tf.constant(mean)
      layers.register_categorical_predictive_distribution(
          logits_op, targets=labels, seed=1)
      layers.register_normal_predictive_distribution(
          mean_op, targets=wanted, seed=2)
      layers.register_multi_bernoulli_predictive_distribution(
          logits_op, targets=bits, seed=3)
      values, total = sess.run([layers.eval_losses(), layers.total_loss()])
      # With the default variance 0.5 the normal loss is the squared error.
      expected = [
          np.sum(_log_sum_exp(logits) - logits[np.arange(5), labels]),
          np.sum(np.square(mean - wanted)) + 15 * np.log(np.pi) / 2,
          np.sum(np.log(1 + np.exp(logits)) - bits * logits)]
      self.assertAllClose(values, expected)
      self.assertAllClose(total, np.sum(expected))

  def testSampledLossesAverageToTheEntropies(self):
    runs, logits = 20000, np.array([[0.3, -1., 2.]])
    tiled = np.tile(logits, [runs, 1])
    with tf.Graph().as_default(), self.cached_session() as sess:
      layers = lc.LayerCollection()
      tiled_op = tf.constant(tiled)
      layers.register_categorical_predictive_distribution(tiled_op, seed=1)
      layers.register_normal_predictive_distribution(tiled_op, seed=2)
      layers.register_multi_bernoulli_predictive_distribution(
          tiled_op, seed=3)
      counter = tf.constant(5, tf.int64)
      results = sess.run([
          [layers.eval_losses_on_samples(), layers.total_sampled_loss()],
          [layers.eval_losses_on_samples(counter),
           layers.total_sampled_loss(counter)]])
    p = np.exp(logits[0]) / np.sum(np.exp(logits[0]))
    q = 1 / (1 + np.exp(-logits[0]))
    entropies = [
        -np.sum(p * np.log(p)), 1.5 * np.log(np.pi * np.e),
        -np.sum(q * np.log(q) + (1 - q) * np.log(1 - q))]
    # The log probability of one example varies by less than 1.3 here.
    error = 5 * 1.3 / np.sqrt(runs)
    for values, total in results:
      self.assertAllClose(np.array(values) / runs, entropies, atol=error)
      self.assertAllClose(total / runs, np.sum(entropies), atol=3 * error)
    # One counter, one sample.
    self.assertAllClose(np.sum(results[1][0]), results[1][1], rtol=1e-12)

  def testLossesOfOneCounterAreIndependent(self):
    # The second pair are towers of one loss.
    with tf.Graph().as_default(), self.cached_session() as sess:
      layers = lc.LayerCollection()
      means = [tf.zeros([500]) for _ in range(4)]
      for mean, name, reuse in zip(
          means, (None, None, "a", "a"), (False, False, False, True),
          strict=True):
        layers.register_normal_predictive_distribution(
            mean, seed=1, name=name, reuse=reuse)
      total = layers.total_sampled_loss(tf.constant(5, tf.int64))
      noises = sess.run(tf.gradients(total, means))
    correlations = np.corrcoef(noises) - np.eye(4)
    self.assertAllLess(np.abs(correlations) * np.sqrt(500), 5.)

  def testALossThatIsNoDistributionSamplesByItself(self):
    members = {name: None for name in lf.LossFunction.__abstractmethods__}
    loss = type("Own", (lf.LossFunction,), {
        **members,
        "evaluate_on_sample": lambda self: tf.constant(3.)})()
    with tf.Graph().as_default(), self.cached_session() as sess:
      loss.inputs = tf.ones([2])
      layers = lc.LayerCollection()
      layers.register_loss_function(loss, loss.inputs, "own")
      self.assertAllEqual(sess.run(layers.eval_losses_on_samples(
          tf.constant(5, tf.int64))), [3.])

  def testEvaluationNeedsTargets(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      layers.register_categorical_predictive_distribution(tf.ones([4, 3]))
      for evaluate in (layers.eval_losses, layers.total_loss):
        with self.assertRaisesRegex(
            ValueError, "targets must be given to evaluate "
            "CategoricalLogitsNegativeLogProbLoss, got None"):
          evaluate()

  def testLossesAreColocatedWithTheirInputs(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      devices = ["/device:CPU:1", "/device:CPU:2"]
      for device in devices:
        with tf.device(device):
          mean = tf.ones([4, 3])
        layers.register_normal_predictive_distribution(
            mean, targets=tf.zeros([4, 3]))
      for losses in (layers.eval_losses(), layers.eval_losses_on_samples()):
        self.assertEqual([loss.device for loss in losses], devices)


if __name__ == "__main__":
  tf.test.main()
