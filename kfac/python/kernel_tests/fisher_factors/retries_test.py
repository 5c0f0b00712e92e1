"""Tests of computations that are repeated until they succeed."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops.fisher_factors import matrix_functions
from kfac.python.ops.fisher_factors import retries
from kfac.python.ops.utils import bad_numbers
from kfac.python.ops.utils import posdef


def _of_few_examples(size):
  """Returns a covariance of fewer examples than rows, float32."""
  return oracles.second_moment(oracles.data(size // 4, size)).astype(np.float32)


class RetriedTest(tf.test.TestCase):

  def testRepeatsUntilGoodWithMoreDamping(self):
    cov = np.diag([4., 0.])
    rounding = np.finfo(np.float32).eps * 4.
    for enough, expected, good in (
        (0., 1e-3, True), (2e-3, 1e-2, True), (0.5, 1., True),
        (2., 1., False)):
      with tf.Graph().as_default(), self.session() as sess:
        (found,), is_good = retries.retried(
            lambda _, damping: [damping], lambda _, damping: [damping],
            lambda _, damping, values, enough=enough: damping >= enough,
            tf.constant(cov, tf.float32), tf.constant(1e-3))
        self.assertEqual(tf.float32, found.dtype)
        value, was_good = sess.run([found, is_good])
        self.assertNear(expected, value, 1e-6)
        self.assertEqual(good, was_good)
    with tf.Graph().as_default(), self.session() as sess:
      for number, expected in enumerate((0., 10 * rounding, 100 * rounding)):
        self.assertNear(expected, sess.run(retries.raised(
            tf.constant(cov), tf.constant(0., tf.float64), tf.constant(number),
            tf.float32)), 1e-12)

  def testFurtherAttemptsAreInFloat64UpToASize(self):
    dtypes = []

    def again(cov, damping):
      dtypes.append(cov.dtype)
      return [damping]

    for size, expected in ((4, tf.float64), (5, tf.float32)):
      oracles.set_constants(self, FLOAT64_INVERSE_SIZE=4)
      with tf.Graph().as_default():
        retries.retried(
            lambda _, damping: [damping], again,
            lambda *_: tf.constant(False), tf.eye(size), tf.constant(1.))
      self.assertEqual(expected, dtypes[-1])


class InverseTest(tf.test.TestCase):

  def _inverses(self, cov, damping, exp=-1):
    """Returns the kept inverse of a covariance, after one update."""
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.FullyConnectedKroneckerFactor(
          ((tf.zeros([2, len(cov)], cov.dtype),),))
      factor.register_matpower(exp, damping)
      factor.instantiate_cov_variables()
      factor.instantiate_inv_variables()
      invert = factor.make_inverse_update_ops()
      sess.run(tf.global_variables_initializer())
      factor.get_cov().load(cov, sess)
      sess.run(invert)
      return sess.run(factor.get_matpower(exp, damping).to_dense())

  def testInversesAreAccurateWhereBlocksAreNot(self):
    cov = _of_few_examples(400)
    largest = np.linalg.norm(cov, 2)
    for relative in (1e-2, 1e-4, 1e-6, 3e-7, 1e-7):
      damping = float(np.float32(relative * largest))
      exact = np.linalg.inv(cov.astype(np.float64) + damping * np.eye(400))
      error = np.linalg.norm(self._inverses(cov, damping) - exact)
      self.assertLess(error, 0.05 * np.linalg.norm(exact), relative)
    with tf.Graph().as_default(), self.session() as sess:
      blocked = sess.run(posdef.posdef_inv_cholesky_blocked(
          tf.constant(cov), tf.eye(400), damping))
      self.assertFalse(np.linalg.norm(blocked - exact) <
                       0.05 * np.linalg.norm(exact))

  def testProbeFindsWrongInverses(self):
    cov = np.diag(np.linspace(0., 1., 100)).astype(np.float32)
    inverse = np.linalg.inv(cov + 0.01 * np.eye(100))
    with tf.Graph().as_default(), self.session() as sess:
      matrix = tf.placeholder(tf.float32, [100, 100])
      good = matrix_functions.is_inverse(
          tf.constant(cov), tf.constant(0.01), matrix)
      nan = np.where(np.eye(100) * (np.arange(100) == 7) > 0, np.nan, inverse)
      for value, expected in (
          (inverse, True), (1.01 * inverse, True), (1.3 * inverse, False),
          (np.zeros([100, 100]), False), (nan, False)):
        self.assertEqual(expected, sess.run(good, {matrix: value}))

  def testSingularCovariancesWithoutDamping(self):
    for size in (6, 300):
      cov = _of_few_examples(size)
      for exp in (-1, -0.5):
        for damping in (0., 1e-30):
          found = self._inverses(cov, damping, exp)
          self.assertAllInSet(np.isfinite(found), [True])
          self.assertGreater(np.linalg.norm(found), 0.)

  def testAMatrixThatCannotBeComputedStays(self):
    # A negative definite matrix is no covariance, so no damping helps.
    negative = -3 * np.eye(3, dtype=np.float32)
    self.assertAllEqual(np.zeros([3, 3]), self._inverses(negative, 1e-3))
    self.addCleanup(bad_numbers.set_on_bad_numbers, "skip")
    bad_numbers.set_on_bad_numbers("raise")
    with self.assertRaisesRegex(
        tf.errors.InvalidArgumentError,
        "kfac: ff_fckron.*matpower.* was not updated, since it is not finite"):
      self._inverses(negative, 1e-3)


if __name__ == "__main__":
  tf.test.main()
