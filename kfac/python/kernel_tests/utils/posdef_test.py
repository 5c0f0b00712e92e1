"""Tests of inverses, eigen-decompositions and Cholesky factors in utils."""

from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.utils import posdef

_TOLERANCE = {np.float32: 1e-4, np.float64: 1e-12}


def _covariance(size, dtype=np.float64, rank=None, seed=0):
  data = np.random.RandomState(seed).randn(rank or 2 * size, size)
  return (data.T @ data / len(data)).astype(dtype)


class PosdefInvTest(tf.test.TestCase):

  def testMethodsInvertDampedMatrix(self):
    with tf.Graph().as_default(), self.session() as sess:
      for dtype, tolerance in _TOLERANCE.items():
        # The rank is below the size: only damping makes the matrix invertible.
        cov = _covariance(6, dtype, rank=4)
        expected = np.linalg.inv(cov.astype(np.float64) + 0.1 * np.eye(6))
        inverses = {}
        for method in utils.posdef_inv_functions:
          with mock.patch.object(utils, "POSDEF_INV_METHOD", method):
            inverses[method] = utils.posdef_inv(tf.constant(cov), 0.1)
          self.assertEqual([6, 6], inverses[method].shape.as_list())
        self.assertCountEqual(
            ["cholesky", "cholesky_solve", "cholesky_blocked", "eig",
             "matrix_inverse"], inverses)
        for inverse in sess.run(inverses).values():
          self.assertEqual(dtype, inverse.dtype)
          self.assertAllClose(expected, inverse, tolerance, tolerance)

  def testFunctionsOfTheTableAreTheNamedOnes(self):
    self.assertIs(utils.posdef_inv_functions, utils.posdef_inv_funcs)
    self.assertEqual(
        {"matrix_inverse": utils.posdef_inv_matrix_inverse,
         "cholesky": utils.posdef_inv_cholesky,
         "cholesky_solve": posdef.posdef_inv_cholesky_solve,
         "cholesky_blocked": posdef.posdef_inv_cholesky_blocked,
         "eig": utils.posdef_inv_eig}, utils.posdef_inv_functions)
    self.assertEqual(
        {"self_adjoint": utils.posdef_eig_self_adjoint,
         "svd": utils.posdef_eig_svd}, utils.posdef_eig_functions)

  def testDampingMayBeNumberTensorOrVariable(self):
    cov = _covariance(3)
    for use_resource in (False, True):
      with tf.Graph().as_default(), self.session() as sess:
        variable = tf.get_variable(
            "damping", initializer=0.25, use_resource=use_resource)
        matrix = tf.get_variable(
            "cov", initializer=cov, use_resource=use_resource)
        inverses = [utils.posdef_inv(matrix, damping) for damping in (
            0.25, np.float32(0.25), tf.constant(0.25),
            tf.constant(0.25, tf.float64), variable)]
        sess.run(tf.global_variables_initializer())
        for inverse in sess.run(inverses):
          self.assertAllClose(
              np.linalg.inv(cov + 0.25 * np.eye(3)), inverse, 1e-12, 1e-12)

  def testTakesUnknownShape(self):
    cov = _covariance(3)
    with tf.Graph().as_default(), self.session() as sess:
      tensor = tf.placeholder(tf.float64, [None, None])
      inverse, factor = sess.run(
          (utils.posdef_inv(tensor, 0.1), utils.cholesky(tensor, 0.1)),
          {tensor: cov})
      self.assertAllClose(np.linalg.inv(cov + 0.1 * np.eye(3)), inverse)
      self.assertAllClose(np.linalg.cholesky(cov + 0.1 * np.eye(3)), factor)

  def testUsersMethodCanBeAdded(self):
    def diagonal_only(tensor, identity, damping):
      return identity / (tensor + damping * identity)

    with tf.Graph().as_default(), self.session() as sess, \
        mock.patch.dict(utils.posdef_inv_functions, own=diagonal_only), \
        mock.patch.object(utils, "POSDEF_INV_METHOD", "cholesky"):
      utils.set_global_constants(posdef_inv_method="own")
      cov = _covariance(3)
      self.assertAllClose(np.diag(1. / (np.diag(cov) + 0.1)),
                          sess.run(utils.posdef_inv(tf.constant(cov), 0.1)))

  def testUnknownMethodRaises(self):
    message = (r"^utils\.POSDEF_INV_METHOD must be one of \['cholesky', "
               r"'cholesky_blocked', 'cholesky_solve', 'eig', "
               r"'matrix_inverse'\], got 'lu'\.$")
    with tf.Graph().as_default():
      with self.assertRaisesRegex(ValueError, message):
        utils.set_global_constants(posdef_inv_method="lu")
      self.assertEqual("cholesky", utils.POSDEF_INV_METHOD)
      with mock.patch.object(utils, "POSDEF_INV_METHOD", "lu"):
        with self.assertRaisesRegex(ValueError, message):
          utils.posdef_inv(tf.eye(2), 0.1)

  def testNoneKeepsConstants(self):
    with mock.patch.object(utils, "POSDEF_INV_METHOD", "eig"):
      utils.set_global_constants()
      self.assertEqual("eig", utils.POSDEF_INV_METHOD)
      utils.set_global_constants("matrix_inverse")
      self.assertEqual("matrix_inverse", utils.POSDEF_INV_METHOD)


class BlockedCholeskyTest(tf.test.TestCase):

  def testEqualsSubstitutionAtEverySize(self):
    with tf.Graph().as_default(), self.session() as sess, \
        mock.patch.object(utils, "CHOLESKY_BLOCK_SIZE", 3):
      for size in (1, 2, 3, 4, 7, 20):
        cov = _covariance(size)
        inverses = [
            function(tf.constant(cov), tf.eye(size, dtype=tf.float64), 0.1)
            for function in (posdef.posdef_inv_cholesky_solve,
                             posdef.posdef_inv_cholesky_blocked)]
        plain, blocked = sess.run(inverses)
        self.assertAllClose(plain, blocked, 1e-12, 1e-12)
        self.assertAllEqual(blocked, blocked.T)

  def testIsAsAccurateOnAnIllConditionedMatrix(self):
    # Half of the eigenvalues are equal to the damping.
    cov = _covariance(96, np.float32, rank=48)
    exact = np.linalg.inv(cov.astype(np.float64) + 1e-4 * np.eye(96))
    with tf.Graph().as_default(), self.session() as sess, \
        mock.patch.object(utils, "CHOLESKY_BLOCK_SIZE", 12):
      errors = [np.abs(inverse - exact).max() for inverse in sess.run([
          function(tf.constant(cov), tf.eye(96), 1e-4)
          for function in (posdef.posdef_inv_cholesky_solve,
                           posdef.posdef_inv_cholesky_blocked)])]
    self.assertLess(errors[1], 10 * errors[0])

  def testIsChosenBySize(self):
    with tf.Graph().as_default() as graph, \
        mock.patch.object(utils, "CHOLESKY_BLOCK_SIZE", 4):
      with tf.device("/cpu:0"):
        utils.posdef_inv(tf.eye(4), 0.1)
        self.assertEqual(0, _count(graph, "MatMul"))
        utils.posdef_inv(tf.eye(5), 0.1)
      self.assertGreater(_count(graph, "MatMul"), 0)
      self.assertEqual(3, _count(graph, "Cholesky"))

  def testIsNotChosenOnAGpu(self):
    for num_gpus, device, blocked in (
        (0, "", True), (1, "", False), (1, "/cpu:0", True),
        (0, "/gpu:0", False)):
      with tf.Graph().as_default() as graph, tf.device(device), \
          mock.patch.object(utils, "CHOLESKY_BLOCK_SIZE", 2), \
          mock.patch.object(tf.config, "list_physical_devices",
                            return_value=num_gpus * ["GPU:0"]):
        utils.posdef_inv(tf.eye(4), 0.1)
      self.assertEqual(blocked, _count(graph, "MatMul") > 0)

  def testBlockSizeIsChecked(self):
    with self.assertRaisesRegex(
        ValueError, "^cholesky_block_size must be finite and at least 1, got "
        "0.$"):
      utils.set_global_constants(cholesky_block_size=0)
    with mock.patch.object(utils, "CHOLESKY_BLOCK_SIZE", 256):
      utils.set_global_constants(cholesky_block_size=64)
      self.assertEqual(64, utils.CHOLESKY_BLOCK_SIZE)


def _count(graph, op_type):
  return sum(op.type == op_type for op in graph.get_operations())


class PosdefEigTest(tf.test.TestCase):

  def testMethodsDecomposeMatrix(self):
    with tf.Graph().as_default(), self.session() as sess:
      for dtype, tolerance in _TOLERANCE.items():
        cov = _covariance(6, dtype)
        expected = np.linalg.eigvalsh(cov.astype(np.float64))
        results = {}
        for method in utils.posdef_eig_functions:
          with mock.patch.object(utils, "POSDEF_EIG_METHOD", method):
            results[method] = utils.posdef_eig(tf.constant(cov))
        for eigenvalues, q in sess.run(results).values():
          self.assertEqual(dtype, eigenvalues.dtype)
          self.assertEqual(dtype, q.dtype)
          self.assertAllClose(
              expected, np.sort(eigenvalues), tolerance, tolerance)
          self.assertAllClose(
              cov, (q * eigenvalues) @ q.T, tolerance, tolerance)
          self.assertAllClose(np.eye(6), q.T @ q, tolerance, tolerance)

  def testEigenvaluesAreAbsolute(self):
    rotation, _ = np.linalg.qr(np.random.RandomState(1).randn(3, 3))
    matrix = (rotation * [-2., 1., 3.]) @ rotation.T
    with tf.Graph().as_default(), self.session() as sess:
      for eigenvalues, q in sess.run((
          utils.posdef_eig_self_adjoint(tf.constant(matrix)),
          utils.posdef_eig_svd(tf.constant(matrix)))):
        self.assertAllClose([1., 2., 3.], np.sort(eigenvalues))
        self.assertAllClose(
            (rotation * [2., 1., 3.]) @ rotation.T, (q * eigenvalues) @ q.T)

  def testUnknownMethodRaises(self):
    with tf.Graph().as_default(), \
        mock.patch.object(utils, "POSDEF_EIG_METHOD", "qr"):
      with self.assertRaisesRegex(
          ValueError, r"^utils\.POSDEF_EIG_METHOD must be one of "
          r"\['self_adjoint', 'svd'\], got 'qr'\.$"):
        utils.posdef_eig(tf.eye(2))


class CholeskyTest(tf.test.TestCase):

  def testGivesLowerRootOfDampedMatrix(self):
    with tf.Graph().as_default(), self.session() as sess:
      for dtype, tolerance in _TOLERANCE.items():
        cov = _covariance(5, dtype, rank=3)
        factor = sess.run(utils.cholesky(tf.constant(cov), 0.1))
        self.assertEqual(dtype, factor.dtype)
        self.assertAllClose(
            np.linalg.cholesky(cov.astype(np.float64) + 0.1 * np.eye(5)),
            factor, tolerance, tolerance)


class ComputePiTest(tf.test.TestCase):

  def testSquareIsRatioOfMeanEigenvalues(self):
    with tf.Graph().as_default(), self.session() as sess:
      for dtype, tolerance in _TOLERANCE.items():
        left = 9. * _covariance(4, dtype, seed=1)
        right = _covariance(7, dtype, seed=2)
        pi = sess.run(utils.compute_pi(tf.constant(left), tf.constant(right)))
        self.assertEqual(dtype, pi.dtype)
        self.assertAllClose(
            np.mean(np.linalg.eigvalsh(left))
            / np.mean(np.linalg.eigvalsh(right)), pi**2, tolerance, tolerance)

  def testIsOneWhileAFactorIsZero(self):
    with tf.Graph().as_default(), self.session() as sess:
      zero, some = tf.zeros([2, 2]), 3. * tf.eye(4)
      self.assertAllEqual([1., 1., 1.], sess.run([
          utils.compute_pi(zero, zero), utils.compute_pi(zero, some),
          utils.compute_pi(some, zero)]))


if __name__ == "__main__":
  tf.test.main()
