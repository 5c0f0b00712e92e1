"""Values, samples and errors of the loss of Bernoulli distributions."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.loss_functions import loss_oracles as oracles
from kfac.python.ops import loss_functions


class MultiBernoulliNegativeLogProbLossTest(tf.test.TestCase):

  def testEvaluatesCrossEntropyOfAnyNumericType(self):
    logits = np.random.RandomState(0).randn(3, 4)
    bits = np.array([[1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 0]])
    expected = -np.sum(np.log(np.where(bits, oracles.sigmoid(logits),
                                       oracles.sigmoid(-logits))))
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
      with tf.Graph().as_default():
        values = oracles.run(*[
            loss_functions.MultiBernoulliNegativeLogProbLoss(
                tf.constant(logits, dtype), bits.astype(t)).evaluate()
            for t in (np.int32, np.int64, np.uint8, np.bool_, np.float32,
                      np.float64)])
      self.assertEqual(values[0].dtype, dtype)
      self.assertAllClose(values, [expected] * 6, tolerance, tolerance)

  def testHugeLogitsStayFinite(self):
    with tf.Graph().as_default():
      loss = loss_functions.MultiBernoulliNegativeLogProbLoss(
          tf.constant([[1e4, -1e4]]), [[0, 0]])
      self.assertAllClose(oracles.run(loss.evaluate()), [1e4])

  def testSamplesHaveTheirFrequencies(self):
    logits = np.array([-2., 0., 1.])
    with tf.Graph().as_default():
      loss = loss_functions.MultiBernoulliNegativeLogProbLoss(
          tf.constant(np.tile(logits, (oracles.NUM_SAMPLES, 1))))
      *samples, mean, variance = oracles.run(
          loss.sample(5), loss.stateless_sample(tf.constant([5, 6])),
          loss.dist.mean()[0], loss.dist.variance()[0])
    probs = oracles.sigmoid(logits)
    self.assertAllClose(mean, probs)
    self.assertAllClose(variance, probs * (1 - probs))
    error = np.sqrt(probs * (1 - probs) / oracles.NUM_SAMPLES)
    for sample in samples:
      self.assertAllEqual(np.unique(sample), [0, 1])
      self.assertAllLess(np.abs(sample.mean(axis=0) - probs) / error, 6.)
      # Neighbours are independent.
      correlations = np.corrcoef(sample.T) - np.eye(3)
      self.assertAllLess(
          np.abs(correlations) * np.sqrt(oracles.NUM_SAMPLES), 6.)

  def testErrorsNameArgumentRuleAndValue(self):
    make = loss_functions.MultiBernoulliNegativeLogProbLoss
    with tf.Graph().as_default():
      with self.assertRaisesRegex(
          ValueError, r"^targets must have shape \(5, 10\), got \(5,\)"):
        make(tf.ones([5, 10]), np.zeros(5, np.int32)).evaluate()
      with self.assertRaisesRegex(TypeError, "^logits must be floating.*int64"):
        make(tf.ones([5, 10], tf.int64))
      with self.assertRaisesRegex(ValueError, "^logits must have rank 2"):
        make(tf.ones([5]))


if __name__ == "__main__":
  tf.test.main()
