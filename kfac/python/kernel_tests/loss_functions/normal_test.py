"""Values, samples and errors of the losses of normal distributions."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.loss_functions import loss_oracles as oracles
from kfac.python.ops import loss_functions


class NormalMeanNegativeLogProbLossTest(tf.test.TestCase):

  def testEvaluatesTheWholeLogDensity(self):
    rng = np.random.RandomState(0)
    mean, x = rng.randn(3, 2), rng.randn(3, 2)
    for dtype in (np.float32, np.float64):
      with tf.Graph().as_default():
        m = tf.constant(mean, dtype)
        losses, expected = [], []
        for var in (0.5, 0.1, 2, [0.5, 3.], np.array([[1.], [2.], [0.1]])):
          for given in (var, tf.constant(var, dtype)):
            losses.append(loss_functions.NormalMeanNegativeLogProbLoss(
                m, given, x).evaluate())
            expected.append(oracles.normal_loss(
                x, mean, np.broadcast_to(np.array(var), (3, 2))))
        got = oracles.run(*losses)
        self.assertEqual(got[0].dtype, dtype)
        # A float64 variance of 0.1 must not be rounded to float32.
        tolerance = 1e-5 if dtype == np.float32 else 1e-14
        self.assertAllClose(got, expected, tolerance, tolerance)

  def testDefaultVarianceGivesSquaredError(self):
    with tf.Graph().as_default():
      m = tf.constant([[1., 2.]])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(
          m, targets=[[0., 5.]])
      grad, var = oracles.run(tf.gradients(loss.evaluate(), m)[0],
                      loss.dist.variance())
    self.assertAllClose(grad, [[2., -6.]])  # Of (1 - 0)^2 + (2 - 5)^2.
    self.assertAllClose(var, 0.5)

  def testParamsAndTargetsAreTheTensorsGiven(self):
    with tf.Graph().as_default():
      m, x = tf.ones([3, 2]), tf.zeros([3, 2])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(m, targets=x)
      for got in (loss.params, loss.inputs, loss.dist.loc, loss.dist.mean()):
        self.assertIs(got, m)
      self.assertIs(loss.targets, x)
      self.assertIsNone(
          loss_functions.NormalMeanNegativeLogProbLoss(m).targets)

  def testSamplesHaveMeanAndVariance(self):
    # Six standard errors of the mean and of the variance.
    with tf.Graph().as_default():
      mean = np.tile([[1., -2.]], (oracles.NUM_SAMPLES, 1))
      loss = loss_functions.NormalMeanNegativeLogProbLoss(
          tf.constant(mean), [0.25, 4.])
      *samples, std = oracles.run(
          loss.sample(seed=1), loss.stateless_sample(tf.constant([1, 2])),
          loss.dist.stddev())
    self.assertAllClose(std, [0.5, 2.])
    for sample in samples:
      self._assertMeanAndVariance(sample)
    self.assertNotAllClose(*samples)

  def _assertMeanAndVariance(self, sample):
    error = np.array([0.5, 2.]) / np.sqrt(oracles.NUM_SAMPLES)
    self.assertAllLess(np.abs(sample.mean(0) - [1., -2.]) / error, 6.)
    error = np.array([0.25, 4.]) * np.sqrt(2. / oracles.NUM_SAMPLES)
    self.assertAllLess(np.abs(sample.var(0) - [0.25, 4.]) / error, 6.)
    # Neighbours are independent.
    self.assertLess(
        np.abs(np.corrcoef(sample.T)[0, 1]) * np.sqrt(oracles.NUM_SAMPLES), 6.)

  def testSamplesAreConstants(self):
    # A sample is mean + noise; if it were differentiated, the gradient would be
    # zero.
    with tf.Graph().as_default():
      m = tf.ones([50, 2])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(m, seed=1)
      grad, = oracles.run(tf.gradients(loss.evaluate_on_sample(), m)[0])
    self.assertGreater(np.abs(grad).min(), 0.)

  def testErrorsNameArgumentRuleAndValue(self):
    make = loss_functions.NormalMeanNegativeLogProbLoss
    with tf.Graph().as_default():
      m = tf.ones([3, 2])
      with self.assertRaisesRegex(
          TypeError, "^mean must be floating point, got int32"):
        make(tf.ones([3, 2], tf.int32))
      with self.assertRaisesRegex(
          ValueError, r"^mean must have rank 1 or more, got shape \(\)"):
        make(tf.constant(1.))
      for var in (0., -0.5, np.array([1., -0.5]), float("nan")):
        with self.assertRaisesRegex(
            ValueError, f"^var must be positive, got {np.min(var)}"):
          make(m, var)
      for var in ([1., 2., 3.], tf.ones([3])):
        with self.assertRaisesRegex(
            ValueError, r"^var must broadcast with the mean's shape \(3, 2\), "
            r"got \(3"):
          make(m, var)
      with self.assertRaisesRegex(
          ValueError, r"^targets must have shape \(3, 2\), got \(3,\)"):
        make(m, targets=np.zeros(3)).evaluate()
      with self.assertRaisesRegex(TypeError, "^targets must be numbers.*str"):
        make(m, targets=np.array([["a", "b"]] * 3)).evaluate()


class NormalMeanVarianceNegativeLogProbLossTest(tf.test.TestCase):

  def testEvaluatesTheWholeLogDensity(self):
    rng = np.random.RandomState(0)
    mean, x = rng.randn(3, 2), rng.randn(3, 2)
    variance = np.exp(rng.randn(3, 2))
    with tf.Graph().as_default():
      m, v = tf.constant(mean), tf.constant(variance)
      loss = loss_functions.NormalMeanVarianceNegativeLogProbLoss(m, v, x)
      value, per_example, grads = oracles.run(
          loss.evaluate(), loss.dist.log_prob(x),
          tf.gradients(loss.evaluate(), [m, v]))
      self.assertIs(loss.params[0], m)
      self.assertIs(loss.params[1], v)
    self.assertAllClose(value, oracles.normal_loss(x, mean, variance), 1e-13)
    self.assertAllEqual(per_example.shape, [3])
    self.assertAllClose(grads[0], (mean - x) / variance)
    self.assertAllClose(
        grads[1], 1 / (2 * variance) - (mean - x)**2 / (2 * variance**2))

  def testSamplesHaveMeanAndVariance(self):
    with tf.Graph().as_default():
      mean = np.tile([[1., -2.]], (oracles.NUM_SAMPLES, 1))
      variance = np.tile([[0.25, 4.]], (oracles.NUM_SAMPLES, 1))
      loss = loss_functions.NormalMeanVarianceNegativeLogProbLoss(
          tf.constant(mean), tf.constant(variance))
      sample, = oracles.run(loss.sample(seed=2))
    error = np.array([0.5, 2.]) / np.sqrt(oracles.NUM_SAMPLES)
    self.assertAllLess(np.abs(sample.mean(0) - [1., -2.]) / error, 6.)
    error = np.array([0.25, 4.]) * np.sqrt(2. / oracles.NUM_SAMPLES)
    self.assertAllLess(np.abs(sample.var(0) - [0.25, 4.]) / error, 6.)

  def testHessianIsNotOffered(self):
    with tf.Graph().as_default():
      loss = loss_functions.NormalMeanVarianceNegativeLogProbLoss(
          tf.ones([3, 2]), tf.ones([3, 2]))
      message = "^NormalMeanVariance.* has no Hessian products"
      for name in oracles.HESSIAN:
        with self.assertRaisesRegex(NotImplementedError, message):
          member = getattr(loss, name)
          member(loss.params)

  def testErrorsNameArgumentRuleAndValue(self):
    make = loss_functions.NormalMeanVarianceNegativeLogProbLoss
    with tf.Graph().as_default():
      m = tf.ones([3, 2])
      with self.assertRaisesRegex(
          AssertionError, r"^mean must have rank 2, got shape \(3,\)"):
        make(tf.ones([3]), m)
      with self.assertRaisesRegex(
          AssertionError,
          r"^variance must have rank 2 or less, got shape \(3, 2, 1\)"):
        make(m, tf.ones([3, 2, 1]))
      with self.assertRaisesRegex(
          ValueError,
          r"^variance must broadcast with the mean's shape \(3, 2\), got .2"):
        make(m, tf.ones([2, 2]))
      with self.assertRaisesRegex(
          TypeError, "^variance must have the mean's dtype float32, .*float64"):
        make(m, tf.ones([3, 2], tf.float64))
      with self.assertRaisesRegex(
          TypeError, "^variance must be floating point, got int32"):
        make(m, tf.ones([3, 2], tf.int32))
      with self.assertRaisesRegex(
          ValueError, "^variance must be positive, got -1"):
        make(m, -np.ones([3, 2], np.float32))
      with self.assertRaisesRegex(ValueError, r"^targets must.*got \(2, 3\)"):
        make(m, m, tf.ones([2, 3])).evaluate()
      for index in ((4,), (-1,)):
        with self.assertRaisesRegex(
            ValueError, r"^index must lie within \[4\], got "):
          make(m, m).multiply_fisher_factor_replicated_one_hot(index)


if __name__ == "__main__":
  tf.test.main()
