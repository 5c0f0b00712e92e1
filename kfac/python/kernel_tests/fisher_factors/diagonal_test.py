"""Tests of diagonal factors: their covariance and its powers."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops.fisher_factors import naming


class NaiveDiagonalFactorTest(tf.test.TestCase):

  def testSquareOfAllGradients(self):
    W, b = oracles.data(2, 3, 2), oracles.data(2, 2, seed=1)  # two sources
    expected = np.zeros([8, 1])
    for source in range(2):
      flat = np.concatenate([W[source].reshape(-1), b[source]])
      expected[:, 0] += np.square(flat) / 5.
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.NaiveDiagonalFactor(
          [(tf.constant(W[s], name=f"W{s}"),
            tf.constant(b[s], name=f"b{s}")) for s in range(2)],
          tf.constant(5, name="batch_size"))
      self.assertEqual(
          "ff_naivediag_W0__b0__W1__b1_batch_size", factor.name)
      self.assertAllClose(
          expected, oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testIsTheDiagonalOfTheFullFactor(self):
    grad = oracles.data(3, 2)
    with tf.Graph().as_default(), self.session() as sess:
      grad = tf.constant(grad)
      full = oracles.new_cov(sess, ff.FullFactor(grad, 7))
      naive = oracles.new_cov(sess, ff.NaiveDiagonalFactor(grad, 7))
    self.assertAllClose(np.diag(full), naive[:, 0], 1e-12, 1e-12)


class FullyConnectedDiagonalFactorTest(tf.test.TestCase):

  def testMeanSquareOfTheGradientsOfExamples(self):
    inputs = oracles.data(2, 5, 3)  # towers, batch, in
    grads = oracles.data(2, 2, 5, 4, seed=1)  # sources, towers, batch, out
    for has_bias in (False, True):
      seen = oracles.with_ones(inputs) if has_bias else inputs
      expected = np.zeros([3 + has_bias, 4])
      for source in range(2):
        for tower in range(2):
          for a, g in zip(seen[tower], grads[source, tower], strict=True):
            expected += np.square(np.outer(a, g)) / 5. / 2.
      with tf.Graph().as_default(), self.session() as sess:
        factor = ff.FullyConnectedDiagonalFactor(
            [tf.constant(x) for x in inputs],
            [[tf.constant(g) for g in source] for source in grads],
            has_bias=has_bias)
        self.assertAllClose(
            expected, oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testFloat32AndName(self):
    a = oracles.data(5, 3, dtype=np.float32)
    g = oracles.data(5, 2, dtype=np.float32, seed=1)
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.FullyConnectedDiagonalFactor(
          (tf.constant(a, name="a"),), ((tf.constant(g, name="g"),),))
      self.assertEqual("ff_diagfc_a_g", factor.name)
      cov = oracles.new_cov(sess, factor)
    self.assertEqual(np.float32, cov.dtype)
    self.assertAllClose(
        np.mean([np.outer(x, y) ** 2 for x, y in zip(a, g, strict=True)], 0),
        cov, 1e-5, 1e-5)


class PowersTest(tf.test.TestCase):

  def testPowersOfTheCurrentCovariance(self):
    a, g = oracles.data(5, 2), oracles.data(5, 3, seed=1)
    x = oracles.data(6, 2, seed=2)
    diagonal = np.mean(np.square(a[:, :, None] * g[:, None]), 0).reshape(-1)
    with tf.Graph().as_default(), self.session() as sess:
      damping = tf.get_variable("damping", initializer=0.5)
      factor = ff.FullyConnectedDiagonalFactor(tf.constant(a), tf.constant(g))
      factor.instantiate_cov_variables()
      before = tf.global_variables()
      # None of these keeps a matrix.
      factor.register_matpower(-1, 0.5)
      factor.register_cholesky(0.5)
      factor.register_cholesky_inverse(0.5)
      factor.instantiate_inv_variables()
      self.assertEqual([], factor.make_inverse_update_ops())
      self.assertLen(tf.global_variables(), len(before))
      cases = []
      for given in (0.5, damping,
                    naming.PackagedFunc(lambda: damping, ("d",))):
        cases += [(exp, factor.get_matpower(exp, given))
                  for exp in (-1, -0.5, 0.5, 2, 1)]
        cases += [(0.5, factor.get_cholesky(given)),
                  (-0.5, factor.get_cholesky_inverse(given))]
      update = factor.make_covariance_update_op(0.9)
      sess.run(tf.global_variables_initializer())
      for cov in (np.zeros(6), diagonal):
        for exp, operator in cases:
          # Before the first update, an inverse is zero.
          expected = np.diag((cov + 0.5) ** exp) * (np.any(cov) or exp == 1)
          self.assertEqual([6, 6], operator.shape.as_list())
          got, left, right = sess.run([
              operator.to_dense(), operator.matmul(x),
              operator.matmul_right(x.T)])
          self.assertAllClose(expected, got, 1e-12, 1e-12)
          self.assertAllClose(expected @ x, left, 1e-12, 1e-12)
          self.assertAllClose(x.T @ expected, right, 1e-12, 1e-12)
        sess.run(update)
      whole = sess.run(factor.get_cov_as_linear_operator().to_dense())
      self.assertAllClose(np.diag(diagonal), whole, 1e-12, 1e-12)

  def testFunctionWithoutIdRaises(self):
    with tf.Graph().as_default():
      factor = ff.NaiveDiagonalFactor(tf.zeros([2]), 1)
      factor.instantiate_cov_variables()
      with self.assertRaisesRegex(ValueError, "must carry a func_id"):
        factor.get_matpower(-1, lambda: 0.5)

  def testCovarianceStartsAtOnesByConstant(self):
    oracles.set_constants(self, INIT_COVARIANCES_AT_ZERO=False)
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.FullyConnectedDiagonalFactor(
          tf.zeros([2, 3]), tf.zeros([2, 4]))
      factor.instantiate_cov_variables()
      sess.run(tf.global_variables_initializer())
      self.assertAllEqual(np.ones([3, 4]), sess.run(factor.get_cov()))


if __name__ == "__main__":
  tf.test.main()
