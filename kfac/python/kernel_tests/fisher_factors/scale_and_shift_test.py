"""Tests of the factors of scale and shift."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import fisher_factors


class ScaleAndShiftFactorTest(tf.test.TestCase):

  def _cov(self, factor):
    with self.session() as session:
      return session.run(factor._new_cov())

  def testSumsOverBroadcastAxesAndSources(self):
    rng = np.random.RandomState(3)
    x, g, h = (rng.normal(size=[4, 2, 3]) for _ in range(3))
    grads = [np.concatenate([np.sum(source * x, axis=1), np.sum(
        source, axis=(1, 2))[:, None]], axis=1) for source in (g, h)]
    full = sum(grad.T @ grad / 4 for grad in grads)
    with tf.Graph().as_default():
      args = ((tf.constant(x),), ((tf.constant(g),), (tf.constant(h),)),
              (1,), (1, 2))
      self.assertAllClose(
          full, self._cov(fisher_factors.ScaleAndShiftFullFactor(*args)))
      self.assertAllClose(
          np.diag(full)[:, None],
          self._cov(fisher_factors.ScaleAndShiftDiagonalFactor(*args)))

  def testShiftIsBroadcastLikeTheScaleByDefault(self):
    with tf.Graph().as_default():
      x = tf.ones([4, 2, 3])
      both = fisher_factors.ScaleAndShiftFullFactor(x, x, [1])
      self.assertEqual(both._cov_shape, [6, 6])
      scale = fisher_factors.ScaleAndShiftFullFactor(x, x, [1], None, False)
      self.assertEqual(scale._cov_shape, [3, 3])
      shift = fisher_factors.ScaleAndShiftDiagonalFactor(
          None, x, None, [1], True, False)
      self.assertEqual(shift._cov_shape, [3, 1])

  def testHalfPrecisionIsWidened(self):
    with tf.Graph().as_default():
      x = tf.ones([4, 3], tf.bfloat16)
      cov = fisher_factors.ScaleAndShiftFullFactor(x, x, [])._new_cov()
      self.assertEqual(cov.dtype, tf.float32)
      self.assertAllEqual(self._cov(
          fisher_factors.ScaleAndShiftFullFactor(x, x, [])), np.ones([6, 6]))

  def testErrors(self):
    with tf.Graph().as_default():
      x = tf.ones([4, 3])

      class Factor(fisher_factors.ScaleAndShiftFactor,
                   fisher_factors.DiagonalFactor):
        pass

      with self.assertRaisesRegex(
          ValueError,
          r"approx must be one of \['diagonal', 'full'\], got 'kron'"):
        Factor(x, x, [], approx="kron")
      with self.assertRaisesRegex(
          ValueError, "has_scale or has_shift must be True, got False"):
        fisher_factors.ScaleAndShiftFullFactor(x, x, [], None, False, False)


if __name__ == "__main__":
  tf.test.main()
