"""Tests of the factors of layers that are used several times."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops.fisher_factors import naming

_USES, _BATCH, _SIZE = 4, 6, 3


def _rows(seed=0, dtype=np.float64):
  """Returns uses [uses, batch, n] that depend on each other."""
  noise = oracles.data(_USES, _BATCH, _SIZE, seed=seed)
  uses = [noise[0]]
  for fresh in noise[1:]:
    uses.append(0.6 * uses[-1][:, ::-1] + 0.5 * fresh)
  return np.array(uses).astype(dtype)


def _flat(uses):
  return uses.reshape(-1, uses.shape[-1])


def _lag_one(uses):
  """Sums x_{t+1} x_t^T over uses and examples; divides by their number."""
  total = np.zeros(2 * [uses.shape[-1]])
  for now, later in zip(uses[:-1], uses[1:], strict=True):
    for x, y in zip(now, later, strict=True):
      total += np.outer(y, x)
  return total / (uses.shape[0] * uses.shape[1])


class CovarianceTest(tf.test.TestCase):

  def testCovariancesOfLagZeroAndOne(self):
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
      for has_bias in (False, True):
        uses = _rows(dtype=dtype)
        seen = oracles.with_ones(uses) if has_bias else uses
        with tf.Graph().as_default(), self.session() as sess:
          factor = ff.FullyConnectedMultiKF(
              ((tf.constant(_flat(uses), name="h"),),), _USES,
              has_bias=has_bias)
          self.assertEqual(
              f"ff_fc_multi_h_4_{has_bias}", factor.name)
          factor.register_cov_dt1()
          cov = oracles.new_cov(sess, factor)
          self.assertEqual(
              factor.name + "/cov_dt1:0", factor.get_cov_dt1().name)
          cov_dt1 = sess.run(factor.get_cov_dt1())
        self.assertEqual([dtype, dtype], [cov.dtype, cov_dt1.dtype])
        self.assertAllClose(
            oracles.second_moment(_flat(seen)), cov, tolerance, tolerance)
        self.assertAllClose(_lag_one(seen), cov_dt1, tolerance, tolerance)

  def testSourcesAddUpAndTowersAreAveraged(self):
    data = [[_rows(seed=2 * s + t) for t in range(2)] for s in range(2)]
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.FullyConnectedMultiKF(
          [[tf.constant(_flat(uses)) for uses in source] for source in data],
          _USES)
      factor.register_cov_dt1()
      cov = oracles.new_cov(sess, factor)
      cov_dt1 = sess.run(factor.get_cov_dt1())
    towers = [uses for source in data for uses in source]
    self.assertAllClose(
        sum(oracles.second_moment(_flat(u)) for u in towers) / 2., cov,
        1e-12, 1e-12)
    self.assertAllClose(
        sum(_lag_one(u) for u in towers) / 2., cov_dt1, 1e-12, 1e-12)

  def testLagOneIsAveragedOverTimeToo(self):
    first, second = _rows(), _rows(seed=5)
    for debias in (True, False):
      oracles.set_constants(self, ZERO_DEBIAS=debias)
      with tf.Graph().as_default(), self.session() as sess:
        rows = tf.placeholder(tf.float64, [_USES * _BATCH, _SIZE], name="h")
        factor = ff.FullyConnectedMultiKF(((rows,),), _USES)
        factor.register_cov_dt1()
        factor.instantiate_cov_variables()
        update = factor.make_covariance_update_op(0.75)
        sess.run(tf.global_variables_initializer())
        for uses in (first, second):
          sess.run(update, {rows: _flat(uses)})
        for statistic, variable in (
            (_lag_one, factor.get_cov_dt1()),
            (lambda u: oracles.second_moment(_flat(u)), factor.get_cov())):
          expected = 0.25 * (0.75 * statistic(first) + statistic(second))
          if debias:
            expected /= 1. - 0.75 ** 2
          self.assertAllClose(expected, sess.run(variable), 1e-12, 1e-12)

  def testListsOfUsesAsUpToTensorFlow17(self):
    uses = _rows()
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.FullyConnectedMultiKF(
          tensor_lists=(tuple(tf.constant(use) for use in uses),))
      factor.register_cov_dt1()
      cov = oracles.new_cov(sess, factor)
      cov_dt1 = sess.run(factor.get_cov_dt1())
    self.assertAllClose(
        oracles.second_moment(_flat(uses)), cov, 1e-12, 1e-12)
    self.assertAllClose(_lag_one(uses), cov_dt1, 1e-12, 1e-12)

  def testWithoutRegistrationThereIsNoLagOne(self):
    with tf.Graph().as_default():
      factor = ff.FullyConnectedMultiKF(((tf.zeros([4, 3], name="h"),),))
      factor.instantiate_cov_variables()
      factor.make_covariance_update_op(0.5)
      self.assertCountEqual(
          ["ff_fc_multi_h_None_False/cov:0",
           "ff_fc_multi_h_None_False/cov/local_step:0",
           "ff_fc_multi_h_None_False/cov/num_skipped:0"],
          [v.name for v in tf.global_variables()])
      with self.assertRaisesRegex(
          AssertionError, "^register_cov_dt1 was not called.$"):
        factor.get_cov_dt1()

  def testUnknownNumberOfUsesRaises(self):
    with tf.Graph().as_default():
      factor = ff.FullyConnectedMultiKF(((tf.zeros([4, 3]),),))
      for register in (factor.register_cov_dt1,
                       lambda: factor.register_option1quants(0.5),
                       lambda: factor.register_option2quants(0.5)):
        with self.assertRaisesRegex(
            ValueError, "^num_uses must be given for a lag-one covariance, "
            "got None.$"):
          register()


class SeriesTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    uses = _rows()
    self._C1 = _lag_one(uses)
    self._C0 = oracles.second_moment(_flat(uses)) + 0.1 * np.eye(_SIZE)
    self._root = oracles.power(self._C0, -0.5)

  def _factor(self, dtype=np.float64):
    return ff.FullyConnectedMultiKF(
        ((tf.constant(_flat(_rows(dtype=dtype)), name="h"),),), _USES)

  def _quants(self, register, get, dtype=np.float64, cov_dt1=None):
    """Returns the quantities of damping 0.1."""
    with tf.Graph().as_default(), self.session() as sess:
      factor = self._factor(dtype)
      register(factor)
      oracles.new_cov(sess, factor)
      if cov_dt1 is not None:
        sess.run(tf.assign(factor.get_cov_dt1(), cov_dt1))
      factor.instantiate_inv_variables()
      invert = factor.make_inverse_update_ops()
      sess.run([v.initializer for v in
                [*factor.kept_variables, factor.num_updates_kept]])
      sess.run(invert)
      return sess.run(get(factor))

  def _checkOption1(self, L, psi, tolerance):
    S = self._root @ (self._C1 + self._C1.T) / 2. @ self._root
    U = oracles.power(self._C0, 0.5) @ L
    self.assertAllClose(np.eye(_SIZE), U.T @ U, tolerance, tolerance)
    rotated = U.T @ S @ U
    self.assertAllClose(np.diag(np.diag(rotated)), rotated,
                        tolerance, tolerance)
    self.assertAllClose(np.abs(np.diag(rotated)), psi, tolerance, tolerance)

  def _checkOption2(self, P, K, mu, C1, tolerance):
    S = self._root @ C1 @ self._root
    E = oracles.power(self._C0, 0.5) @ K
    self.assertAllClose(
        C1.T @ np.linalg.inv(self._C0), P, tolerance, tolerance)
    self.assertAllClose(np.eye(_SIZE), E.T @ E, tolerance, tolerance)
    rotated = E.T @ S.T @ S @ E
    self.assertAllClose(np.diag(np.diag(rotated)), rotated,
                        tolerance, tolerance)
    self.assertAllClose(
        np.minimum(np.diag(rotated), 1.), mu, tolerance, tolerance)

  def testOption1(self):
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-3)):
      L, psi = self._quants(
          lambda factor: factor.register_option1quants(0.1),
          lambda factor: factor.get_option1quants(0.1), dtype)
      self.assertEqual([dtype, dtype], [L.dtype, psi.dtype])
      self._checkOption1(L, psi, tolerance)

  def testOption2(self):
    for dtype, tolerance in ((np.float64, 1e-10), (np.float32, 1e-3)):
      P, K, mu = self._quants(
          lambda factor: factor.register_option2quants(damping=0.1),
          lambda factor: factor.get_option2quants(damping=0.1), dtype)
      self._checkOption2(P, K, mu, self._C1, tolerance)
      self.assertAllInRange(mu, 0., 1.)

  def testOption2BoundsMuByOne(self):
    C1 = 5. * oracles.data(_SIZE, _SIZE, seed=3)
    P, K, mu = self._quants(
        lambda factor: factor.register_option2quants(0.1),
        lambda factor: factor.get_option2quants(0.1), cov_dt1=C1)
    self.assertContainsSubset([1.], mu)
    self._checkOption2(P, K, mu, C1, 1e-9)

  def testAllKeptMatricesShareOneDecomposition(self):
    damping = naming.PackagedFunc(lambda: tf.constant(0.1), ("d", 1))
    with tf.Graph().as_default() as graph, self.session() as sess:
      factor = self._factor()
      for _ in range(2):
        factor.register_option1quants(damping)
        factor.register_option2quants(0.1)
        factor.register_matpower(-0.5, damping)
      oracles.new_cov(sess, factor)
      factor.instantiate_inv_variables()
      kept = tf.global_variables()[-7:]
      self.assertCountEqual(
          [f"ff_fc_multi_h_4_False/{name}:0" for name in (
              "matpower_exp-0.5", "num_updates_kept", "Lmat", "psi", "Pmat",
              "Kmat", "mu")],
          [v.name for v in kept])
      self.assertEqual(
          ["matpower_exp-0.5_dampd_1", "Lmat_dampd_1", "psi_dampd_1",
           "Lmat_damp0.1", "Kmat_damp0.1", "mu_damp0.1"],
          factor.contrib_kept_names)
      self.assertEqual(
          [v.name for v in kept if v is not factor.num_updates_kept],
          [v.name for v in factor.kept_variables])
      before = len(graph.get_operations())
      invert = factor.make_inverse_update_ops()
      types = oracles.first_attempts(graph, before)
      # The one of C, and the one of the lag-one matrix of each option.
      self.assertEqual(3, types.count("SelfAdjointEigV2"))
      sess.run([v.initializer for v in kept])
      sess.run(invert)
      # 0.1 of float32, which the function returns.
      self._checkOption1(*sess.run(factor.get_option1quants(damping)), 1e-6)
      self._checkOption2(*sess.run(factor.get_option2quants(0.1)),
                         self._C1, 1e-10)
      self.assertAllClose(
          self._root, sess.run(factor.get_matpower(-0.5, damping).to_dense()),
          1e-6, 1e-6)

  def testUnregisteredQuantitiesRaise(self):
    with tf.Graph().as_default():
      factor = self._factor()
      factor.register_option1quants(0.1)
      factor.instantiate_cov_variables()
      factor.instantiate_inv_variables()
      self.assertLen(factor.get_option1quants(0.1), 2)
      for get in (lambda: factor.get_option1quants(0.2),
                  lambda: factor.get_option2quants(0.1)):
        with self.assertRaises(KeyError):
          get()
      for method in (factor.register_option1quants,
                     factor.register_option2quants,
                     factor.get_option1quants, factor.get_option2quants):
        with self.assertRaisesRegex(TypeError, "^damping_func must be given"):
          method()

  def testNothingIsKeptBeforeTheFirstUpdate(self):
    with tf.Graph().as_default(), self.session() as sess:
      factor = self._factor()
      factor.register_option1quants(0.1)
      factor.register_option2quants(0.2)
      factor.instantiate_cov_variables()
      factor.instantiate_inv_variables()
      update = factor.make_covariance_update_op(0.)
      invert = factor.make_inverse_update_ops()
      quants = factor.get_option1quants(0.1) + factor.get_option2quants(0.2)
      sess.run(tf.global_variables_initializer())
      sess.run(invert)
      for value in sess.run(quants):
        self.assertAllEqual(np.zeros_like(value), value)
      sess.run(update)
      sess.run(invert)
      self._checkOption1(*sess.run(quants)[:2], 1e-10)


if __name__ == "__main__":
  tf.test.main()
