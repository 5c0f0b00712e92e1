"""Tests of the input factor of embeddings."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff


class EmbeddingInputKroneckerFactorTest(tf.test.TestCase):

  def testCountsOfIdsPerExample(self):
    for ids in ([0, 2, 2, 4], [[0, 2], [2, 2], [1, 0]], [[3], [3]]):
      expected = np.zeros(5)
      for example in ids:
        for i in np.atleast_1d(example):
          expected[i] += 1. / len(ids)
      for id_type in (tf.int32, tf.int64):
        for dtype in (None, tf.float32, tf.float64):
          with tf.Graph().as_default(), self.session() as sess:
            factor = ff.EmbeddingInputKroneckerFactor(
                (tf.constant(ids, id_type, name="ids"),), 5, dtype)
            self.assertEqual("ff_diag_embedding_ids", factor.name)
            cov = oracles.new_cov(sess, factor)
          self.assertEqual((dtype or tf.float32).as_numpy_dtype, cov.dtype)
          self.assertAllClose(expected, cov, 1e-6, 1e-6)

  def testIsTheDiagonalOfAOfOneHotInputs(self):
    ids = np.array([1, 3, 3, 0, 1, 1])
    with tf.Graph().as_default(), self.session() as sess:
      A = oracles.new_cov(sess, ff.FullyConnectedKroneckerFactor(
          tf.one_hot(ids, 4, dtype=tf.float64, name="hot")))
      counts = oracles.new_cov(sess, ff.EmbeddingInputKroneckerFactor(
          tf.constant(ids, name="ids"), 4, tf.float64))
    self.assertAllClose(A, np.diag(counts), 1e-12, 1e-12)

  def testTowersAreAveraged(self):
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.EmbeddingInputKroneckerFactor(
          [tf.constant([0, 1], name="a"), tf.constant([1, 1, 1], name="b")],
          3, tf.float64)
      self.assertEqual("ff_diag_embedding_a__b", factor.name)
      self.assertAllClose([0.25, 0.75, 0.], oracles.new_cov(sess, factor))

  def testIdsOfRankThreeRaise(self):
    with tf.Graph().as_default():
      with self.assertRaisesRegex(
          ValueError,
          r"^input_ids must have rank 1 or 2, got shape \(2, 3, 4\).$"):
        ff.EmbeddingInputKroneckerFactor(
            (tf.zeros([2], tf.int32), tf.zeros([2, 3, 4], tf.int32)), 5)


if __name__ == "__main__":
  tf.test.main()
