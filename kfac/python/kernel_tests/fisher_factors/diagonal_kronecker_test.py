"""Tests of the factors that keep the diagonal of A or G."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff


def column(rows):
  """Returns the diagonal of the second moment of rows, as a column."""
  return np.diag(oracles.second_moment(rows))[:, None]


class DiagonalKroneckerFactorTest(tf.test.TestCase):

  def testIsTheDiagonalOfTheSecondMoment(self):
    rows = oracles.data(6, 3)
    with tf.Graph().as_default(), self.session() as sess:
      tensor = tf.constant(rows)
      self.assertAllClose(column(rows), oracles.new_cov(
          sess, ff.DiagonalKroneckerFactor(tensor)))
      self.assertAllClose(column(oracles.with_ones(rows)), oracles.new_cov(
          sess, ff.DiagonalKroneckerFactor(
              ((tensor,),), True, tf.float64)))

  def testUsesTheFirstExamplesAndTheGivenDtype(self):
    oracles.set_constants(self, COV_EXAMPLES_FRACTION=0.5)
    rows = oracles.data(6, 3)
    with tf.Graph().as_default(), self.session() as sess:
      cov = oracles.new_cov(
          sess, ff.DiagonalKroneckerFactor(tf.constant(rows), False,
                                           tf.float32))
    self.assertEqual(cov.dtype, np.float32)
    self.assertAllClose(column(rows[:3]), cov)

  def testAssumedMean(self):
    rows = 2. + oracles.data(6, 3)
    variances = np.append(np.var(rows, axis=0), 1.)[:, None]
    with tf.Graph().as_default(), self.session() as sess:
      oracles.set_constants(self, ASSUME_ZERO_MEAN_ACTIVATIONS=True)
      x = tf.constant(rows)
      self.assertAllClose(variances, oracles.new_cov(
          sess, ff.DiagonalKroneckerFactor(x, True)))
      oracles.set_constants(self, SUBTRACT_MEAN_CONTRIB_FROM_COV=False)
      self.assertAllClose(column(oracles.with_ones(rows)), oracles.new_cov(
          sess, ff.DiagonalKroneckerFactor(((x, x),), True)))


class DiagonalMultiKFTest(tf.test.TestCase):

  def testIsTheDiagonalOverAllUses(self):
    oracles.set_constants(self, COV_EXAMPLES_FRACTION=0.5)
    rows = oracles.data(6, 3)
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.DiagonalMultiKF(tf.constant(rows), 2, True)
      self.assertEqual(3, factor.batch_size())
      self.assertAllClose(column(oracles.with_ones(rows)),
                          oracles.new_cov(sess, factor))


if __name__ == "__main__":
  tf.test.main()
