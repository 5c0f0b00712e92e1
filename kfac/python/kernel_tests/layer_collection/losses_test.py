"""Tests of the losses of LayerCollection: registration, reuse, evaluation."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import layer_collection as lc
from kfac.python.ops import loss_functions as lf
from kfac.python.ops.layer_collection import losses


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
           layers.total_sampled_loss(counter=counter)]])
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
      total = layers.total_sampled_loss(
          counter=tf.constant(5, tf.int64))
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


class CoefficientsTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.enter_context(tf.Graph().as_default())
    self.layers = lc.LayerCollection()
    self.logits = tf.constant([[0.5, -1.], [2., 0.]])

  def testEveryRegistrationTakesACoefficient(self):
    layers, logits, kwargs = self.layers, self.logits, {"seed": 7}
    tensor = tf.constant(3.)
    layers.register_categorical_predictive_distribution(
        logits, coeff=1, **kwargs)
    layers.register_softmax_cross_entropy_loss(logits, coeff=2, **kwargs)
    layers.register_normal_predictive_distribution(
        logits, coeff=tensor, **kwargs)
    layers.register_squared_error_loss(logits, coeff=4., **kwargs)
    layers.register_multi_bernoulli_predictive_distribution(
        logits, coeff=np.float32(5), **kwargs)
    layers.register_sigmoid_cross_entropy_loss(logits, coeff=0, **kwargs)
    layers.register_normal_mean_and_variance_predictive_distribution(
        logits, tf.exp(logits), coeff=7, **kwargs)
    layers.register_loss_function(
        lf.NormalMeanNegativeLogProbLoss(logits, seed=7), logits, "own",
        coeff=np.array(8))
    layers.register_squared_error_loss(logits, 7)
    self.assertEqual([layers.loss_coeffs[loss] for loss in layers.losses],
                     [1, 2, tensor, 4, 5, 0, 7, 8, 1])
    self.assertEqual({loss._seed for loss in layers.losses}, {7})
    # In 0.2.4's own registrations a coefficient stands before `reuse`.
    layers.register_squared_error_loss(logits, None, None, "new", 9, False)
    self.assertEqual(layers.loss_coeffs[layers.losses[-1]], 9)
    layers.loss_coeffs.clear()  # A copy.
    self.assertLen(layers.loss_coeffs, 10)

  def testModesOfEvaluation(self):
    layers = self.layers
    zeros = tf.zeros([2, 2])
    layers.register_squared_error_loss(self.logits, 1, zeros, coeff=4)
    layers.register_squared_error_loss(
        self.logits, 2, zeros, coeff=tf.constant(9, tf.int32))
    counter = tf.constant(3, tf.int64)
    with self.cached_session() as sess:
      data, samples = sess.run([
          {mode: evaluate(mode) for mode in ("regular", "sqrt", "off")}
          for evaluate in (
              lambda mode: [*layers.eval_losses("data", mode),
                            layers.total_loss(mode)],
              lambda mode: [
                  *layers.eval_losses("sample", mode, counter=counter),
                  layers.total_sampled_loss(mode, counter=counter)])])
      plain = sess.run([
          *layers.eval_losses(), layers.total_loss(),
          *layers.eval_losses_on_samples(counter),
          layers.total_sampled_loss(counter=counter)])
    squares = 0.25 + 1 + 4 + 2 * np.log(np.pi)
    self.assertAllClose(data["off"], [squares, squares, 2 * squares])
    for values in (data, samples):
      one, other, _ = values["off"]
      for mode, coeffs in (("regular", [4, 9]), ("sqrt", [2, 3])):
        expected = [coeffs[0] * one, coeffs[1] * other]
        self.assertAllClose(values[mode], [*expected, sum(expected)])
    self.assertAllClose(plain, data["regular"] + samples["regular"])

  def testAMethodOfContribMayBeRedefined(self):
    class Doubled(lc.LayerCollection):

      def eval_losses(self):
        return [2. * loss for loss in super().eval_losses()]

      def eval_losses_on_samples(self, counter=None):
        return [tf.constant(1.), tf.constant(2.)]

    layers = Doubled()
    layers.register_normal_predictive_distribution(
        self.logits, targets=tf.zeros([2, 2]))
    with self.cached_session() as sess:
      total, one, sampled = sess.run([
          layers.total_loss(), layers.losses[0].evaluate(),
          layers.total_sampled_loss()])
    self.assertAllClose(total, 2 * one)
    self.assertAllClose(sampled, 3)


class RegistrationsTest(tf.test.TestCase):
  """Registrations that make their distribution from something else."""

  def testSquaredErrorOfOneNumberIsAColumn(self):
    rng = np.random.RandomState(0)
    values, targets = rng.randn(4), rng.randn(4)
    for given in (targets, targets[:, np.newaxis], list(targets), "tensor"):
      with tf.Graph().as_default(), self.cached_session() as sess:
        layers = lc.LayerCollection()
        if isinstance(given, str):
          given = tf.constant(targets)
        prediction = tf.constant(values)
        layers.register_squared_error_loss(prediction, targets=given)
        self.assertEqual(layers.losses[0].inputs.shape.as_list(), [4, 1])
        self.assertIs(
            layers.loss_colocation_ops[layers.losses[0]], prediction)
        total = layers.total_loss()
        grad, = tf.gradients(total, prediction)
        total, grad = sess.run([total, grad])
      self.assertAllClose(
          total, np.sum(np.square(values - targets)) + 2 * np.log(np.pi))
      self.assertAllClose(grad, 2 * (values - targets))

  def testMeanAndVariance(self):
    with tf.Graph().as_default(), self.cached_session() as sess:
      layers = lc.LayerCollection()
      mean = tf.constant([[1., 2.], [3., 4.]])
      variance = tf.constant([[2.], [0.5]])
      layers.register_normal_mean_and_variance_predictive_distribution(
          mean, variance, targets=tf.zeros([2, 2]))
      self.assertIsInstance(layers.losses[0],
                            lf.NormalMeanVarianceNegativeLogProbLoss)
      self.assertAllClose(
          sess.run(layers.total_loss()),
          5 / 4 + 25 + np.log(2 * np.pi * 2) + np.log(2 * np.pi * 0.5))

  def testVariancesThatAreConstants(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      inputs = tf.placeholder(tf.float32, [None, 3])
      weights = tf.get_variable("w", [3, 2])
      other = tf.get_variable("variance", [])
      outputs = tf.matmul(inputs, weights)
      layers.register_fully_connected(weights, inputs, outputs)
      size = tf.cast(tf.shape(outputs)[0], tf.float32)
      for var in (2., tf.exp(other), other, size, tf.ones_like(outputs),
                  tf.stop_gradient(tf.exp(outputs))):
        layers.register_normal_predictive_distribution(outputs, var)
      losses.check_fixed_variances(
          layers.losses, layers.registered_variables)
      with self.assertRaisesRegex(
          ValueError, "^var must not depend on registered variables, use "
          "register_normal_mean_and_variance_predictive_distribution, got "
          "(Exp|variance/Read).*, which depends on variance:0.$"):
        losses.check_fixed_variances(layers.losses, [weights, other])


if __name__ == "__main__":
  tf.test.main()
