"""Tests of inverses that are computed in parts."""

import os
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops import utils
from kfac.python.ops.fisher_factors import gradual_inverse
from kfac.python.ops.utils import bad_numbers
from kfac.python.ops.utils import posdef

DAMPING = 0.1


class _Program:
  """A factor with its ops; covariances are loaded, or updated from `feed`."""

  def __init__(self, size, num_parts, damping=DAMPING, dtype=tf.float64):
    self.x = tf.placeholder(dtype, [3, size])
    self.damping = tf.get_variable(
        "damping", initializer=np.float64(damping), trainable=False)
    self.factor = ff.FullyConnectedKroneckerFactor(((self.x,),))
    self.factor.register_inverse(self.damping)
    self.factor.instantiate_cov_variables()
    self.factor.instantiate_inv_variables()
    self.update = self.factor.make_covariance_update_op(0.5)
    self.whole = tf.group(*self.factor.make_inverse_update_ops())
    self.initializer = tf.global_variables_initializer()
    self.inverse = gradual_inverse.GradualInverse(self.factor)
    self.part = self.inverse.make_update_op(num_parts)
    self.restart = self.inverse.make_restart_op()
    self.kept, = self.factor.kept_variables

  def load(self, sess, cov, num_updates=1.):
    """Assigns the covariance."""
    self.factor.get_cov().load(cov, sess)
    self.factor.num_updates.load(num_updates, sess)

  def kept_and_count(self, sess):
    """Returns the kept matrix, and the number of updates that it contains."""
    return sess.run([self.kept, self.factor.num_updates_kept])

  def invert(self, sess, num_parts):
    """Runs all parts, and returns the kept matrix."""
    for _ in range(num_parts):
      sess.run(self.part)
    return sess.run(self.kept)


def _cov(size, seed=0, num_examples=None):
  return oracles.second_moment(
      oracles.data(num_examples or 2 * size, size, seed=seed))


def _inverse(cov, damping=DAMPING):
  return np.linalg.inv(np.asarray(cov, np.float64) + damping * np.eye(len(cov)))


class GradualInverseTest(tf.test.TestCase):

  def testPartsEqualNumPy(self):
    for size, num_parts in ((7, 1), (7, 2), (7, 5), (6, 7), (20, 6), (1, 2)):
      with self.subTest(size=size, num_parts=num_parts), (
          tf.Graph().as_default()), self.session() as sess:
        program = _Program(size, num_parts)
        sess.run(tf.global_variables_initializer())
        for seed in range(2):  # The second inverse starts anew.
          cov = _cov(size, seed)
          program.load(sess, cov)
          before = sess.run(program.kept)
          self.assertAllEqual(
              before, program.invert(sess, num_parts - 1))
          found = program.invert(sess, 1)
          self.assertAllClose(_inverse(cov), found, 1e-11, 1e-11)
          self.assertAllClose(found, found.T, 1e-14, 1e-14)

  def testMorePartsThanRows(self):
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(3, 100)
      sess.run(tf.global_variables_initializer())
      program.load(sess, _cov(3))
      self.assertAllEqual(np.zeros([3, 3]), program.invert(sess, 3))
      self.assertAllClose(_inverse(_cov(3)), program.invert(sess, 1))

  def testPartsOfAnotherNumber(self):
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(10, 5)
      other = program.inverse.make_update_op(3)
      sess.run(tf.global_variables_initializer())
      program.load(sess, _cov(10))
      for op in (program.part, other, program.part, other, program.part):
        self.assertAllEqual(np.zeros([10, 10]), sess.run(program.kept))
        sess.run(op)
      self.assertAllClose(_inverse(_cov(10)), sess.run(program.kept))

  def testFirstPartReadsCovarianceDampingAndCount(self):
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(8, 4)
      sess.run(tf.global_variables_initializer())
      cov = _cov(8)
      program.load(sess, cov, 5.)
      sess.run(program.part)
      program.load(sess, _cov(8, 1), 6.)
      program.damping.load(3., sess)
      program.invert(sess, 3)
      found, count = program.kept_and_count(sess)
      self.assertAllClose(_inverse(cov), found)
      self.assertEqual(5., count)
      program.invert(sess, 4)
      found, count = program.kept_and_count(sess)
      self.assertAllClose(_inverse(_cov(8, 1), 3.), found)
      self.assertEqual(6., count)

  def testNothingHappensWithoutACovariance(self):
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(4, 2)
      sess.run(tf.global_variables_initializer())
      self.assertAllEqual(np.zeros([4, 4]), program.invert(sess, 5))
      sess.run(program.update, {program.x: oracles.data(3, 4)})
      cov = sess.run(program.factor.get_cov())
      self.assertAllClose(_inverse(cov), program.invert(sess, 2))

  def testVariablesMadeAfterTheInitializer(self):
    for restart in (False, True):
      with tf.Graph().as_default(), self.session() as sess:
        program = _Program(4, 2)
        sess.run(program.initializer)
        if restart:
          sess.run(program.restart)
          self.assertEmpty(sess.run(tf.report_uninitialized_variables()))
        else:
          sess.run(program.part)
          self.assertLen(sess.run(tf.report_uninitialized_variables()), 5)
        program.load(sess, _cov(4))
        self.assertAllClose(_inverse(_cov(4)), program.invert(sess, 2))

  def testRestartGivesUp(self):
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(6, 3)
      sess.run(tf.global_variables_initializer())
      program.load(sess, _cov(6))
      program.invert(sess, 2)
      sess.run(program.restart)
      program.load(sess, _cov(6, 1))
      self.assertAllEqual(np.zeros([6, 6]), program.invert(sess, 2))
      self.assertAllClose(_inverse(_cov(6, 1)), program.invert(sess, 1))

  def testLaterInversesStay(self):
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(6, 3)
      sess.run(tf.global_variables_initializer())
      program.load(sess, _cov(6), 1.)
      program.invert(sess, 2)
      program.load(sess, _cov(6, 1), 2.)
      sess.run(program.whole)
      program.invert(sess, 1)
      found, count = program.kept_and_count(sess)
      self.assertAllClose(_inverse(_cov(6, 1)), found)
      self.assertEqual(2., count)
      program.load(sess, _cov(6, 2), 3.)  # The next inverse starts anew.
      self.assertAllClose(_inverse(_cov(6, 2)), program.invert(sess, 3))

  def testAccuracyIsThatOfABlockedCholeskyInverse(self):
    size = 200
    cov = _cov(size, num_examples=size // 4).astype(np.float32)
    largest = np.linalg.norm(cov, 2)
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(size, 7, dtype=tf.float32)
      blocked = posdef.posdef_inv_cholesky_blocked(
          tf.constant(cov), tf.eye(size), program.damping)
      sess.run(tf.global_variables_initializer())
      program.load(sess, cov)
      for relative in (1e-2, 1e-3, 1e-4, 1e-5):
        damping = relative * largest
        program.damping.load(damping, sess)
        exact = cov.astype(np.float64) + damping * np.eye(size)
        residual, expected = (
            np.linalg.norm(exact @ inverse - np.eye(size))
            for inverse in (program.invert(sess, 7), sess.run(blocked)))
        self.assertLess(residual, 4. * expected)

  def testIllConditionedCovariancesAreUpdatedAsAWhole(self):
    size = 60
    cov = _cov(size, num_examples=size // 4).astype(np.float32)
    damping = np.float32(1e-8 * np.linalg.norm(cov, 2))
    results = []
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(size, 3, damping, tf.float32)
      sess.run(tf.global_variables_initializer())
      # At the end, the present covariance is inverted.
      program.load(sess, cov, 1.)
      program.invert(sess, 2)
      program.load(sess, 2. * cov, 2.)
      results.append(program.invert(sess, 1))
      self.assertEqual(2., program.kept_and_count(sess)[1])
      program.kept.load(np.zeros([size, size]), sess)
      sess.run(program.whole)
      results.append(sess.run(program.kept))
    self.assertGreater(np.linalg.norm(results[0]), 0.)
    self.assertAllEqual(*results)

  def testACovarianceThatIsNotFinite(self):
    cov = _cov(5)
    cov[2, 3] = cov[3, 2] = np.nan
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(5, 3)
      sess.run(tf.global_variables_initializer())
      program.load(sess, cov, 1.)
      self.assertAllEqual(np.zeros([5, 5]), program.invert(sess, 3))
      self.assertEqual(0., program.kept_and_count(sess)[1])
      program.load(sess, _cov(5), 2.)
      self.assertAllClose(_inverse(_cov(5)), program.invert(sess, 3))

  def testRaiseOnBadNumbers(self):
    self.addCleanup(bad_numbers.set_on_bad_numbers, "skip")
    bad_numbers.set_on_bad_numbers("raise")
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(5, 3)
      sess.run(tf.global_variables_initializer())
      program.load(sess, np.full([5, 5], np.nan))
      program.invert(sess, 2)
      with self.assertRaisesRegex(
          tf.errors.InvalidArgumentError,
          "kfac: ff_fckron.*matpower.* was not updated, since it is not "
          "finite"):
        sess.run(program.part)

  def testRestoredInTheMiddleEqualsWhole(self):
    path = os.path.join(self.get_temp_dir(), "model")
    covs = [_cov(9, seed) for seed in range(2)]
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(9, 5)
      saver = tf.train.Saver()
      sess.run(tf.global_variables_initializer())
      program.load(sess, covs[0])
      program.invert(sess, 3)
      saver.save(sess, path)
      expected = program.invert(sess, 2)
      program.load(sess, covs[1])
      program.invert(sess, 1)
      saver.restore(sess, path)
      self.assertAllEqual(expected, program.invert(sess, 2))

  def testNarrowDataAreInvertedInFloat32(self):
    with tf.Graph().as_default(), self.session() as sess:
      program = _Program(4, 2, dtype=tf.bfloat16)
      sess.run(tf.global_variables_initializer())
      program.load(sess, _cov(4).astype(np.float32))
      found = program.invert(sess, 2)
      self.assertEqual(np.float32, found.dtype)
      self.assertAllClose(_inverse(_cov(4)), found)


class IsPossibleTest(tf.test.TestCase):

  def _is_possible(self, *dampings, make=ff.FullyConnectedKroneckerFactor,
                   register=ff.FullyConnectedKroneckerFactor.register_inverse,
                   dtype=tf.float32):
    with tf.Graph().as_default():
      factor = make(((tf.zeros([2, 3], dtype),),))
      for damping in dampings:
        register(factor, damping)
      factor.instantiate_cov_variables()
      factor.instantiate_inv_variables()
      return gradual_inverse.is_possible(factor)

  def testFactorsThatKeepOneInverse(self):
    self.assertTrue(self._is_possible(0.1))
    self.assertFalse(self._is_possible())
    self.assertFalse(self._is_possible(0.1, 0.2))
    for register in (
        lambda factor, damping: factor.register_matpower(-0.5, damping),
        ff.DenseSquareMatrixFactor.register_cholesky,
        ff.DenseSquareMatrixFactor.register_cholesky_inverse):
      self.assertFalse(self._is_possible(0.1, register=register))
    oracles.set_constants(self, EIGENVALUE_DECOMPOSITION_THRESHOLD=1)
    self.assertFalse(self._is_possible(0.1))

  def testFactorsThatUpdateTheirInversesOtherwise(self):
    class Own(ff.FullyConnectedKroneckerFactor):

      def make_inverse_update_ops(self):
        return super().make_inverse_update_ops()

    self.assertFalse(self._is_possible(0.1, make=Own))
    self.assertFalse(self._is_possible(0.1, make=ff.FullyConnectedMultiKF))
    with tf.Graph().as_default():
      factor = ff.NaiveDiagonalFactor((tf.zeros([3]),), 2)
      factor.instantiate_cov_variables()
      self.assertFalse(gradual_inverse.is_possible(factor))

  def testContribVariablesHaveNoPlaceForTheState(self):
    oracles.set_constants(self, CONTRIB_VARIABLES=True)
    self.assertFalse(self._is_possible(0.1))

  def testOtherMethodsAreWhole(self):
    for method in posdef.posdef_inv_functions:
      with mock.patch.object(utils, "POSDEF_INV_METHOD", method):
        self.assertEqual("cholesky" in method, self._is_possible(0.1))

  def testProductsThatAreRounded(self):
    gpus = mock.patch.object(
        tf.config, "list_physical_devices", return_value=["GPU:0"])
    with gpus:
      for rounded in (False, True):
        before = tf.config.experimental.tensor_float_32_execution_enabled()
        self.addCleanup(
            tf.config.experimental.enable_tensor_float_32_execution, before)
        tf.config.experimental.enable_tensor_float_32_execution(rounded)
        self.assertEqual(not rounded, self._is_possible(0.1))
        self.assertTrue(self._is_possible(0.1, dtype=tf.float64))


if __name__ == "__main__":
  tf.test.main()
