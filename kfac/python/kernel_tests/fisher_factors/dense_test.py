"""Tests of dense factors: covariances, and the matrices kept of them."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops import utils
from kfac.python.ops.fisher_factors import naming

_EXPS = (-1, -0.5, 0.5, 2)


class _Kept:
  """A factor of given rows, with all its ops."""

  def __init__(self, sess, register, rows=None):
    self.sess = sess
    self.rows = oracles.data(8, 4) if rows is None else rows
    self.factor = ff.FullyConnectedKroneckerFactor(
        tf.constant(self.rows, name="rows"))
    register(self.factor)
    self.factor.instantiate_cov_variables()
    self.factor.instantiate_inv_variables()
    self.update = self.factor.make_covariance_update_op(0.)
    self.invert = self.factor.make_inverse_update_ops()
    sess.run(tf.global_variables_initializer())

  def run(self):
    self.sess.run(self.update)
    self.sess.run(self.invert)

  def damped(self, damping):
    return (oracles.second_moment(self.rows)
            + damping * np.eye(self.rows.shape[1]))


class CovarianceTest(tf.test.TestCase):

  def testFullyConnectedWithAndWithoutBias(self):
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
      rows = oracles.data(5, 3, dtype=dtype)
      for has_bias in (False, True):
        with tf.Graph().as_default(), self.session() as sess:
          factor = ff.FullyConnectedKroneckerFactor(
              ((tf.constant(rows, name="a"),),), has_bias=has_bias)
          self.assertEqual(f"ff_fckron_a_{has_bias}", factor.name)
          cov = oracles.new_cov(sess, factor)
        seen = oracles.with_ones(rows) if has_bias else rows
        self.assertEqual(dtype, cov.dtype)
        self.assertAllClose(
            oracles.second_moment(seen), cov, tolerance, tolerance)

  def testFullFactorIsTheOuterProductOfAllGradients(self):
    W, b = oracles.data(2, 3, 2), oracles.data(2, 2, seed=1)  # two sources
    expected = np.zeros([8, 8])
    for source in range(2):
      flat = np.concatenate([W[source].reshape(-1), b[source]])
      expected += np.outer(flat, flat) / 5.
    for batch_size in (5, "tensor"):
      with tf.Graph().as_default(), self.session() as sess:
        if batch_size == "tensor":
          batch_size = tf.constant(5, name="batch_size")
        factor = ff.FullFactor(
            [(tf.constant(W[s], name=f"W{s}"),
              tf.constant(b[s], name=f"b{s}")) for s in range(2)],
            batch_size)
        self.assertStartsWith(factor.name, "ff_full_W0__b0__W1__b1_")
        self.assertAllClose(
            expected, oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testAsLinearOperator(self):
    rows, x = oracles.data(6, 3), oracles.data(3, 2, seed=1)
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.FullyConnectedKroneckerFactor(tf.constant(rows))
      cov = oracles.new_cov(sess, factor)
      operator = factor.get_cov_as_linear_operator()
      self.assertIs(True, operator.is_self_adjoint)
      left, right = sess.run([operator.matmul(x), operator.matmul_right(x.T)])
    self.assertAllClose(cov @ x, left, 1e-12, 1e-12)
    self.assertAllClose(x.T @ cov, right, 1e-12, 1e-12)


class KeptMatricesTest(tf.test.TestCase):

  def testMatpowers(self):
    def register(factor):
      for exp in _EXPS + (1,):
        for damping in (0.1, 2.):
          factor.register_matpower(exp, damping)
    with tf.Graph().as_default(), self.session() as sess:
      kept = _Kept(sess, register)
      self.assertLen(kept.invert, 2 * len(_EXPS))  # none for 1
      kept.run()
      for damping in (0.1, 2.):
        for exp in _EXPS + (1,):
          operator = kept.factor.get_matpower(exp, damping)
          self.assertEqual([4, 4], operator.shape.as_list())
          self.assertAllClose(
              oracles.power(kept.damped(damping), exp),
              sess.run(operator.to_dense()), 1e-10, 1e-10)

  def testPowerOneIsOfTheCurrentCovariance(self):
    with tf.Graph().as_default(), self.session() as sess:
      kept = _Kept(sess, lambda factor: None)
      one = kept.factor.get_matpower(1, 0.5).to_dense()
      self.assertAllClose(0.5 * np.eye(4), sess.run(one))
      sess.run(kept.update)
      self.assertAllClose(kept.damped(0.5), sess.run(one), 1e-12, 1e-12)

  def testEigenAndInversePathsAgree(self):
    results = []
    for threshold, has_eigen in ((1, True), (2, False)):
      oracles.set_constants(
          self, EIGENVALUE_DECOMPOSITION_THRESHOLD=threshold)
      with tf.Graph().as_default() as graph, self.session() as sess:
        kept = _Kept(sess, lambda factor: factor.register_inverse(0.1))
        self.assertEqual(has_eigen, kept.factor.needs_eigendecomp())
        types = oracles.first_attempts(graph)
        self.assertEqual(has_eigen, "SelfAdjointEigV2" in types)
        self.assertEqual(has_eigen, "Cholesky" not in types)
        kept.run()
        results.append(sess.run(kept.factor.get_inverse(0.1).to_dense()))
        self.assertAllClose(
            np.linalg.inv(kept.damped(0.1)), results[-1], 1e-10, 1e-10)
    self.assertAllClose(*results, 1e-10, 1e-10)

  def testWhenTheEigendecompositionIsUsed(self):
    with tf.Graph().as_default() as graph:
      for dampings, exps, expected in [
          ([0.1], [-1], False), ([0.1, 0.2], [-1], True),
          ([0.1], [-0.5], True), ([0.1], [1], False), ([0.1], [-1, 1], False),
          ([0.1, 0.1], [-1], False)]:
        factor = ff.FullyConnectedKroneckerFactor(tf.zeros([2, 3]))
        for damping in dampings:
          factor.register_cholesky(damping)
          for exp in exps:
            factor.register_matpower(exp, damping)
        self.assertEqual(expected, factor.needs_eigendecomp())
      factor = ff.FullyConnectedKroneckerFactor(tf.zeros([2, 3], name="b"))
      for damping in (0.1, 0.2, 0.3):
        factor.register_inverse(damping)
      factor.instantiate_cov_variables()
      factor.instantiate_inv_variables()
      factor.make_inverse_update_ops()
      types = oracles.first_attempts(graph)
      self.assertEqual(1, types.count("SelfAdjointEigV2"))

  def testEigenvaluesAreClippedBeforeTheDamping(self):
    oracles.set_constants(self, EIGENVALUE_CLIPPING_THRESHOLD=1.)
    rows = np.array([[2., 0.], [0., 0.5]])  # eigenvalues 2 and 1/8
    with tf.Graph().as_default(), self.session() as sess:
      kept = _Kept(sess, lambda factor: factor.register_matpower(-0.5, 0.25),
                   rows)
      kept.run()
      self.assertAllClose(
          np.diag([2.25 ** -0.5, 1.25 ** -0.5]),
          sess.run(kept.factor.get_matpower(-0.5, 0.25).to_dense()),
          1e-12, 1e-12)
      eigenvalues, _ = kept.factor.get_eigendecomp()
      self.assertAllClose([1., 2.], sess.run(eigenvalues), 1e-12, 1e-12)

  def testCholeskyAndItsInverse(self):
    def register(factor):
      factor.register_cholesky(0.1)
      factor.register_cholesky_inverse(0.1)
      factor.register_cholesky_inverse(2.)
    x = oracles.data(4, 2, seed=1)
    with tf.Graph().as_default() as graph, self.session() as sess:
      kept = _Kept(sess, register)
      types = oracles.first_attempts(graph)
      self.assertEqual(2, types.count("Cholesky"))  # one for each damping
      kept.run()
      operators = [kept.factor.get_cholesky(0.1),
                   kept.factor.get_cholesky_inverse(0.1),
                   kept.factor.get_cholesky_inverse(2.)]
      L = np.linalg.cholesky(kept.damped(0.1))
      other = np.linalg.inv(np.linalg.cholesky(kept.damped(2.)))
      for operator, expected in zip(
          operators, (L, np.linalg.inv(L), other), strict=True):
        self.assertAllClose(
            expected, sess.run(operator.to_dense()), 1e-10, 1e-10)
        self.assertAllClose(
            expected.T @ x, sess.run(operator.matmul(x, adjoint=True)),
            1e-10, 1e-10)

  def testFloat32(self):
    def register(factor):
      for exp in _EXPS:
        factor.register_matpower(exp, 0.1)
      factor.register_cholesky(0.1)
    with tf.Graph().as_default(), self.session() as sess:
      kept = _Kept(sess, register, oracles.data(8, 4, dtype=np.float32))
      kept.run()
      for exp in _EXPS:
        got = sess.run(kept.factor.get_matpower(exp, 0.1).to_dense())
        self.assertEqual(np.float32, got.dtype)
        self.assertAllClose(
            oracles.power(kept.damped(0.1), exp), got, 1e-4, 1e-4)

  def testEveryInverseMethod(self):
    self.addCleanup(setattr, utils, "POSDEF_INV_METHOD",
                    utils.POSDEF_INV_METHOD)
    for method in utils.posdef_inv_functions:
      utils.POSDEF_INV_METHOD = method
      with tf.Graph().as_default(), self.session() as sess:
        kept = _Kept(sess, lambda factor: factor.register_inverse(0.1))
        kept.run()
        self.assertAllClose(
            np.linalg.inv(kept.damped(0.1)),
            sess.run(kept.factor.get_inverse(0.1).to_dense()), 1e-10, 1e-10)


class DampingTest(tf.test.TestCase):

  def testNumberTensorVariableOrFunction(self):
    for use_resource in (False, True):
      with tf.Graph().as_default(), self.session() as sess:
        variable = tf.get_variable(
            "damping", initializer=0.5, use_resource=use_resource)
        func = naming.PackagedFunc(lambda: 2. * variable, ("twice", variable))  # noqa: B023
        dampings = [0.25, tf.constant(0.75, name="c"), variable, func]
        def register(factor, dampings=dampings):
          for damping in dampings:
            factor.register_inverse(damping)
        kept = _Kept(sess, register)
        inverses = [kept.factor.get_inverse(d).to_dense() for d in dampings]
        self.assertLen(set(kept.factor._matpower_by_exp_and_damping), 4)
        for value in (0.5, 3.):
          sess.run(tf.assign(variable, value))
          kept.run()
          for number, inverse in zip(
              (0.25, 0.75, value, 2. * value), sess.run(inverses),
              strict=True):
            self.assertAllClose(
                np.linalg.inv(kept.damped(number)), inverse, 1e-9, 1e-9)

  def testEqualIdsShareOneMatrix(self):
    for contrib, names in ((False, ("", "_1")),
                           (True, ("_dampa_1", "_damp0.5"))):
      oracles.set_constants(self, CONTRIB_VARIABLES=contrib)
      with tf.Graph().as_default(), self.session() as sess:
        def register(factor):
          for _ in range(2):
            factor.register_inverse(naming.PackagedFunc(lambda: 0.5, ("a", 1)))
            factor.register_inverse(0.5)
        kept = _Kept(sess, register)
        self.assertEqual(
            [f"ff_fckron_rows_False/matpower_exp-1{name}" for name in names],
            [v.op.name for v in kept.factor.kept_variables])
        self.assertEqual(
            ["matpower_exp-1_dampa_1", "matpower_exp-1_damp0.5"],
            kept.factor.contrib_kept_names)
        kept.factor.instantiate_inv_variables()  # Makes only what is missing.
        self.assertLen(kept.factor._matpower_by_exp_and_damping, 2)
        self.assertLen(kept.invert, 2)

  def testMatricesAreNamedInOrderOfRegistration(self):
    with tf.Graph().as_default():
      factor = ff.FullyConnectedKroneckerFactor(tf.zeros([2, 3], name="rows"))
      for damping in (0.5, 0.25):
        factor.register_cholesky(damping)
        factor.register_matpower(-0.5, damping)
        factor.register_matpower(-1, damping)
        factor.register_cholesky_inverse(damping)
      factor.instantiate_cov_variables()
      factor.instantiate_inv_variables()
      names = [v.op.name.split("/")[-1] for v in tf.global_variables()]
      self.assertEqual(
          [kind + number for number in ("", "_1") for kind in (
              "cholesky", "matpower_exp-0.5", "matpower_exp-1",
              "cholesky_inverse")] + ["num_updates_kept"], names[-9:])
      # In the order of `kept_variables`, which is by kind.
      self.assertEqual(
          ["matpower_exp-0.5_damp0.5", "matpower_exp-1_damp0.5"],
          factor.contrib_kept_names[:2])

  def testBothOrNoArgumentRaises(self):
    with tf.Graph().as_default():
      factor = ff.FullyConnectedKroneckerFactor(tf.zeros([2, 3]))
      for arguments in ({}, {"damping_func": 0.5, "damping": 0.5}):
        for method in (factor.register_matpower, factor.get_matpower):
          with self.assertRaisesRegex(
              TypeError, "^damping_func must be given, and once.$"):
            method(-1, **arguments)

  def testUnregisteredMatrixRaises(self):
    with tf.Graph().as_default():
      factor = ff.FullyConnectedKroneckerFactor(tf.zeros([2, 3]))
      factor.register_inverse(0.5)
      factor.instantiate_cov_variables()
      factor.instantiate_inv_variables()
      for get in (lambda: factor.get_matpower(-0.5, 0.5),
                  lambda: factor.get_matpower(-1, 0.25),
                  lambda: factor.get_inverse(0.25),
                  lambda: factor.get_damped_inverse(0.25),
                  lambda: factor.get_cholesky(0.5),
                  lambda: factor.get_cholesky_inverse(0.5)):
        with self.assertRaises(KeyError):
          get()

  def testFunctionWithoutIdRaises(self):
    with tf.Graph().as_default():
      factor = ff.FullyConnectedKroneckerFactor(tf.zeros([2, 3]))
      with self.assertRaisesRegex(ValueError, "must carry a func_id"):
        factor.register_matpower(-1, lambda: 0.5)


class StartTest(tf.test.TestCase):

  def _register(self, factor):
    factor.register_matpower(-1, 0.5)
    factor.register_matpower(0.5, 0.5)
    factor.register_cholesky(0.5)
    factor.register_cholesky_inverse(0.5)

  def _all(self, factor):
    return [operator.to_dense() for operator in (
        factor.get_matpower(-1, 0.5), factor.get_matpower(0.5, 0.5),
        factor.get_cholesky(0.5), factor.get_cholesky_inverse(0.5))]

  def testInitialValues(self):
    for at_zero, expected in ((True, np.zeros([4, 4])), (False, np.eye(4))):
      oracles.set_constants(self, INIT_INVERSES_AT_ZERO=at_zero)
      with tf.Graph().as_default(), self.session() as sess:
        kept = _Kept(sess, self._register)
        for value in sess.run(self._all(kept.factor)):
          self.assertAllEqual(expected, value)

  def testNothingIsKeptBeforeTheFirstUpdate(self):
    for at_zero, start in ((True, np.zeros([4, 4])), (False, np.eye(4))):
      oracles.set_constants(self, INIT_INVERSES_AT_ZERO=at_zero)
      with tf.Graph().as_default(), self.session() as sess:
        kept = _Kept(sess, self._register)
        matrices = self._all(kept.factor)
        sess.run(kept.invert)
        for value in sess.run(matrices):
          self.assertAllEqual(start, value)
        kept.run()
        L = np.linalg.cholesky(kept.damped(0.5))
        expected = [oracles.power(kept.damped(0.5), -1),
                    oracles.power(kept.damped(0.5), 0.5), L, np.linalg.inv(L)]
        self.assertAllClose(expected, sess.run(matrices), 1e-10, 1e-10)

  def testACovarianceThatIsZeroAfterUpdatesIsInverted(self):
    for debias in (True, False):
      oracles.set_constants(self, ZERO_DEBIAS=debias)
      with tf.Graph().as_default(), self.session() as sess:
        kept = _Kept(sess, self._register)
        kept.run()
        sess.run(tf.assign(kept.factor.get_cov(), np.zeros([4, 4])))
        sess.run(kept.invert)
        for value, exp in zip(sess.run(self._all(kept.factor)),
                              (-1, 0.5, 0.5, -0.5), strict=True):
          self.assertAllClose(0.5 ** exp * np.eye(4), value, 1e-12, 1e-12)

  def testUpdatesInOneRunKeepTheInverse(self):
    with tf.Graph().as_default(), self.session() as sess:
      kept = _Kept(sess, lambda factor: factor.register_inverse(0.5))
      inverse = kept.factor.get_inverse(0.5).to_dense()
      expected = np.linalg.inv(kept.damped(0.5))
      for _ in range(30):
        sess.run(tf.global_variables_initializer())
        sess.run([kept.update, kept.invert])
        got = sess.run(inverse)
        if np.any(got):
          self.assertAllClose(expected, got, 1e-10, 1e-10)
        sess.run([kept.update, kept.invert])
        self.assertAllClose(expected, sess.run(inverse), 1e-10, 1e-10)

  def testCovarianceThatStartsAtTheIdentityIsInverted(self):
    oracles.set_constants(
        self, INIT_COVARIANCES_AT_ZERO=False, ZERO_DEBIAS=False)
    with tf.Graph().as_default(), self.session() as sess:
      kept = _Kept(sess, lambda factor: factor.register_inverse(0.25))
      sess.run(kept.invert)
      self.assertAllClose(
          0.8 * np.eye(4),
          sess.run(kept.factor.get_inverse(0.25).to_dense()), 1e-12, 1e-12)


if __name__ == "__main__":
  tf.test.main()
