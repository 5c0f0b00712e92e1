"""Tests of the base class of factors, and of users' factors."""

from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops import utils


class _UserDense(ff.DenseSquareMatrixFactor):
  """A user's dense factor: five members, two sources."""

  def __init__(self, sources):
    super().__init__()
    self._sources = sources

  @property
  def _var_scope(self):
    return "ff_user_dense"

  @property
  def _cov_shape(self):
    return [3, 3]

  @property
  def _num_sources(self):
    return len(self._sources)

  @property
  def _dtype(self):
    return tf.float64

  def _compute_new_cov(self, source, tower):
    return ff.compute_cov(self._sources[source])


class _UserDiagonal(ff.DiagonalFactor):
  """A user's diagonal factor, with the signature before TensorFlow 1.8."""

  def __init__(self, sources):
    super().__init__()
    self._sources = sources

  @property
  def _var_scope(self):
    return "ff_user_diagonal"

  @property
  def _cov_shape(self):
    return [3, 1]

  @property
  def _num_sources(self):
    return len(self._sources)

  @property
  def _dtype(self):
    return tf.float64

  def _compute_new_cov(self, idx=0):
    return tf.reduce_mean(tf.square(self._sources[idx]), 0)[:, tf.newaxis]


class _OldDense(_UserDense):
  """A user's dense factor, with the signature before TensorFlow 1.8."""

  def _compute_new_cov(self, idx=0):
    return ff.compute_cov(self._sources[idx])


class _OwnCov:
  """Makes the variable of the covariance, as a user may."""

  use_resource = False

  def instantiate_cov_variables(self):
    with tf.variable_scope(self._var_scope):
      self._cov = tf.get_variable(
          "mine", self._cov_shape, self._dtype, tf.zeros_initializer(),
          trainable=False, use_resource=self.use_resource)


class _OwnCovDense(_OwnCov, _UserDense):
  pass


class _OwnCovDiagonal(_OwnCov, _UserDiagonal):
  pass


class _OwnResourceDense(_OwnCov, _UserDense):
  use_resource = True


class SourcesAndTowersTest(tf.test.TestCase):

  def testSourcesAddUpAndTowersAreAveraged(self):
    values = oracles.data(3, 2, 4, 3)  # sources, towers, batch, n
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.FullyConnectedKroneckerFactor(
          [[tf.constant(tower) for tower in source] for source in values])
      expected = sum(
          (oracles.second_moment(a) + oracles.second_moment(b)) / 2
          for a, b in values)
      self.assertAllClose(
          expected, oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testTowersOfUnequalSizeHaveEqualWeight(self):
    towers = [oracles.data(2, 3), oracles.data(6, 3, seed=1)]
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.FullyConnectedKroneckerFactor(
          (tuple(tf.constant(tower) for tower in towers),))
      self.assertAllClose(
          sum(oracles.second_moment(tower) for tower in towers) / 2,
          oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testBareTensorIsOneSourceAndTower(self):
    rows, ids = oracles.data(4, 3), np.array([0, 2, 2, 1])
    images, maps = oracles.data(2, 4, 4, 3), oracles.data(2, 4, 4, 5)
    shape, ones = [1, 1, 3, 5], [1, 1, 1, 1]
    with tf.Graph().as_default(), self.session() as sess:
      rows, ids, images, maps = (
          tf.constant(x) for x in (rows, ids, images, maps))
      for i, (cls, arguments, depths) in enumerate([
          (ff.FullFactor, [rows, 4], [2]),
          (ff.NaiveDiagonalFactor, [rows, 4], [2]),
          (ff.FullyConnectedKroneckerFactor, [rows], [2]),
          (ff.FullyConnectedMultiKF, [rows], [2]),
          (ff.FullyConnectedDiagonalFactor, [rows, rows], [1, 2]),
          (ff.ConvDiagonalFactor, [images, maps, shape, ones, "SAME"], [1, 2]),
          (ff.ConvInputKroneckerFactor, [images, shape, "SAME"], [1]),
          (ff.ConvOutputKroneckerFactor, [maps], [2]),
          (ff.EmbeddingInputKroneckerFactor, [ids, 3], [1])]):
        nested = list(arguments)
        for j, depth in enumerate(depths):
          for _ in range(depth):
            nested[j] = (nested[j],)
        bare, full = cls(*arguments), cls(*nested)
        self.assertEqual(bare.name, full.name)
        covs = []
        for factor, scope in ((bare, "bare{}"), (full, "full{}")):
          with tf.variable_scope(scope.format(i)):
            covs.append(oracles.new_cov(sess, factor))
        self.assertAllEqual(*covs)
        self.assertGreater(np.sum(covs[0]), 0)

  def testOnTpuTheReplicasAreAveraged(self):
    rows = oracles.data(4, 3)
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.FullyConnectedKroneckerFactor(tf.constant(rows))
      with mock.patch.object(utils, "on_tpu", lambda: True):
        with mock.patch.object(
            utils, "cross_replica_mean", lambda mine: (mine + 5.) / 2.):
          cov = oracles.new_cov(sess, factor)
      self.assertAllClose(
          (oracles.second_moment(rows) + 5.) / 2., cov, 1e-12, 1e-12)


class FisherFactorTest(tf.test.TestCase):

  def testIsAbstract(self):
    for cls in (ff.FisherFactor, ff.DenseSquareMatrixFactor,
                ff.DiagonalFactor):
      with self.assertRaisesRegex(TypeError, "abstract"):
        cls()
    self.assertIs(ff.DenseSquareMatrixFactor, ff.InverseProvidingFactor)

  def testVariablesAreMadeOnce(self):
    with tf.Graph().as_default():
      for factor in (ff.FullyConnectedKroneckerFactor(tf.zeros([2, 3])),
                     ff.NaiveDiagonalFactor(tf.zeros([2]), 1)):
        factor.instantiate_cov_variables()
        with self.assertRaisesRegex(
            ValueError, "^instantiate_cov_variables must be called once, "
            f"factor '{factor.name}' has its variables.$"):
          factor.instantiate_cov_variables()

  def testGetCovIsTheVariable(self):
    with tf.Graph().as_default():
      factor = ff.FullyConnectedKroneckerFactor(
          tf.zeros([2, 3], tf.float64, name="a"))
      self.assertEqual("ff_fckron_a_False", factor.name)
      self.assertIsNone(factor.get_cov())
      with tf.variable_scope("outer"):
        factor.instantiate_cov_variables()
      self.assertIs(factor._cov, factor.get_cov())
      self.assertEqual(
          "outer/ff_fckron_a_False/cov:0", factor.get_cov().name)
      self.assertEqual(tf.float64, factor.get_cov().dtype)

  def testVariablesAsLists(self):
    with tf.Graph().as_default():
      x = tf.ones([6, 3])
      factor = ff.FullyConnectedMultiKF(x, 2)
      self.assertEqual([], factor.get_cov_vars() + factor.get_inv_vars())
      factor.register_cov_dt1()
      factor.register_inverse(0.1)
      factor.instantiate_cov_variables()
      factor.instantiate_inv_variables()
      self.assertEqual([factor.cov.name, factor.cov_dt1.name],
                       [v.name for v in factor.get_cov_vars()])
      self.assertIs(factor.cov, factor.get_cov())
      self.assertIs(factor.cov_dt1, factor.get_cov_dt1())
      self.assertEqual([v.name for v in factor.kept_variables],
                       [v.name for v in factor.get_inv_vars()])
      diagonal = ff.FullyConnectedDiagonalFactor(x, x)
      diagonal.instantiate_cov_variables()
      self.assertEqual([diagonal.cov.name],
                       [v.name for v in diagonal.get_cov_vars()])
      self.assertEqual([], diagonal.get_inv_vars())

  def testBatchSizes(self):
    with tf.Graph().as_default(), self.session() as sess:
      x, y = tf.ones([6, 3]), tf.ones([4, 3])
      unknown = tf.placeholder_with_default(x, [None, 3])
      for factor, size in (
          (ff.FullyConnectedKroneckerFactor(((x, y),)), 10),
          (ff.FullyConnectedKroneckerFactor(
              ((utils.PartitionedTensor([x, y]),),)), 10),
          (ff.FullyConnectedMultiKF(x, 2), 3),
          (ff.FullyConnectedDiagonalFactor(x, x), 6),
          (ff.FullFactor((x,), 7), 7), (ff.NaiveDiagonalFactor((x,), 8), 8),
          (ff.EmbeddingInputKroneckerFactor(tf.zeros([5], tf.int32), 3), 5)):
        self.assertEqual(size, factor.batch_size())
      factor = ff.FullyConnectedKroneckerFactor(((x, y), (unknown, y)))
      self.assertEqual(10, factor.batch_size(0))
      self.assertEqual(10, sess.run(factor.batch_size(source=1)))
      with self.assertRaisesRegex(
          NotImplementedError,
          "_UserDense must define _tower_batch_size"):
        _UserDense([x]).batch_size()

  def testTowersOfUnequalSizeAreFound(self):
    with tf.Graph().as_default(), self.session() as sess:
      x, y = tf.ones([6, 3]), tf.ones([4, 3])
      unknown = tf.placeholder(tf.float32, [None, 3])

      def check(*towers):
        return ff.FullyConnectedKroneckerFactor(
            (towers,)).check_partial_batch_sizes()

      with self.assertRaisesRegex(
          ValueError,
          r"^towers must have the same number of examples, got \[6, 4\].$"):
        check(x, y)
      sess.run([check(x), check(x, x)])
      equal, first = check(x, unknown), check(unknown, x, x)
      sess.run([equal, first], {unknown: np.ones([6, 3])})
      for op in (equal, first):
        with self.assertRaisesRegex(
            tf.errors.InvalidArgumentError, "towers must have the same"):
          sess.run(op, {unknown: np.ones([5, 3])})

  def testUpdateCanRunInsideACond(self):
    rows = oracles.data(4, 3)
    switches = (tf.disable_control_flow_v2, tf.enable_control_flow_v2)
    self.addCleanup(switches[tf.control_flow_v2_enabled()])
    for switch in switches:
      switch()
      with tf.Graph().as_default(), self.session() as sess:
        factor = ff.FullyConnectedKroneckerFactor(tf.constant(rows))
        factor.register_inverse(0.5)
        factor.instantiate_cov_variables()
        factor.instantiate_inv_variables()
        def update(of=factor):
          with tf.control_dependencies([of.make_covariance_update_op(0.5)]):
            with tf.control_dependencies(of.make_inverse_update_ops()):
              return tf.constant(1)
        wanted = tf.placeholder(tf.bool, [])
        maybe = tf.cond(wanted, update, lambda: tf.constant(0))
        sess.run(tf.global_variables_initializer())
        sess.run(maybe, {wanted: False})
        self.assertAllEqual(np.zeros([3, 3]), sess.run(factor.get_cov()))
        sess.run(maybe, {wanted: True})
        self.assertAllClose(oracles.second_moment(rows),
                            sess.run(factor.get_cov()), 1e-12, 1e-12)


class PlacementTest(tf.test.TestCase):

  def _devices(self, data_device, **factor_args):
    """Returns devices and groups of the products of two towers."""
    with tf.Graph().as_default() as graph:
      data = []
      for i in range(2):
        with tf.device(data_device.format(i)):
          data.append(tf.zeros([2, 3], name=f"tower{i}"))
      with tf.device("/device:CPU:7"):
        factor = ff.FullyConnectedKroneckerFactor((data,), **factor_args)
        factor.instantiate_cov_variables()
        factor.make_covariance_update_op(0.5)
      products = [op for op in graph.get_operations() if op.type == "MatMul"]
      return ([op.device for op in products],
              [op.colocation_groups() for op in products])

  def testCovariancesAreComputedOnTheDeviceOfTheData(self):
    self.assertEqual(["/device:CPU:0", "/device:CPU:1"],
                     self._devices("/device:CPU:{}")[0])

  def testDataWithoutDeviceKeepTheCurrentDevice(self):
    self.assertEqual(2 * ["/device:CPU:7"], self._devices("")[0])

  def testConstantTurnsItOff(self):
    oracles.set_constants(self, COLOCATE_COV_OPS_WITH_INPUTS=False)
    self.assertEqual(2 * ["/device:CPU:7"],
                     self._devices("/device:CPU:{}")[0])

  def testArgumentAlwaysColocates(self):
    for constant in (True, False):
      oracles.set_constants(self, COLOCATE_COV_OPS_WITH_INPUTS=constant)
      devices, groups = self._devices("", colocate_cov_ops_with_inputs=True)
      self.assertEqual([[b"loc:@tower0"], [b"loc:@tower1"]], groups)
      self.assertEqual(["", ""], devices)

  def testEveryFactorTakesTheArgument(self):
    with tf.Graph().as_default():
      rows = tf.zeros([2, 3], name="rows")
      images = tf.zeros([2, 4, 4, 3], name="images")
      shape, ones = [1, 1, 3, 3], [1, 1, 1, 1]
      factors = [cls(*arguments, colocate_cov_ops_with_inputs=True)
                 for cls, arguments in [
          (ff.FullFactor, [rows, 4]),
          (ff.NaiveDiagonalFactor, [rows, 4]),
          (ff.FullyConnectedKroneckerFactor, [rows]),
          (ff.FullyConnectedMultiKF, [rows]),
          (ff.FullyConnectedDiagonalFactor, [rows, rows]),
          (ff.ConvDiagonalFactor, [images, images, shape, ones, "SAME"]),
          (ff.ConvInputKroneckerFactor, [images, shape, "SAME"]),
          (ff.ConvOutputKroneckerFactor, [images]),
          (ff.EmbeddingInputKroneckerFactor,
           [tf.zeros([2], tf.int32, name="ids"), 3])]]
      for factor in factors:
        factor.instantiate_cov_variables()
        before = len(tf.get_default_graph().get_operations())
        factor.make_covariance_update_op(0.5)
        groups = {group for op in
                  tf.get_default_graph().get_operations()[before:]
                  for group in op.colocation_groups()}
        self.assertNotEmpty(
            groups & {b"loc:@rows", b"loc:@images", b"loc:@ids"}, factor)


class UserFactorTest(tf.test.TestCase):

  def testFiveMembersAreEnough(self):
    sources = oracles.data(2, 4, 3)
    cov = sum(oracles.second_moment(rows) for rows in sources)
    diagonal = np.diag(cov)[:, np.newaxis]
    for cls, expected in [
        (_UserDense, cov), (_OldDense, cov), (_UserDiagonal, diagonal),
        (_OwnCovDense, cov), (_OwnResourceDense, cov),
        (_OwnCovDiagonal, diagonal)]:
      for debias in (True, False):
        oracles.set_constants(self, ZERO_DEBIAS=debias)
        with tf.Graph().as_default(), self.session() as sess:
          factor = cls([tf.constant(rows) for rows in sources])
          factor.register_matpower(-1, 0.5)
          factor.register_matpower(0.5, 0.5)
          factor.instantiate_cov_variables()
          factor.instantiate_inv_variables()
          update = factor.make_covariance_update_op(0.75)
          invert = factor.make_inverse_update_ops()
          powers = [factor.get_matpower(exp, 0.5).to_dense()
                    for exp in (-1, 0.5)]
          sess.run(tf.global_variables_initializer())
          for t in range(1, 3):
            sess.run(update)
            sess.run(invert)
            now = expected if debias else (1. - 0.75 ** t) * expected
            self.assertAllClose(
                now, sess.run(tf.convert_to_tensor(factor.get_cov())),
                1e-12, 1e-12)
            full = now if len(now.T) == 3 else np.diag(now[:, 0])
            for exp, power in zip((-1, 0.5), sess.run(powers), strict=True):
              self.assertAllClose(
                  oracles.power(full + 0.5 * np.eye(3), exp), power,
                  1e-10, 1e-10)

  def testOwnVariableKeepsItsNameAndBecomesTheCovariance(self):
    with tf.Graph().as_default():
      factor = _OwnCovDense([tf.zeros([2, 3], tf.float64)])
      factor.instantiate_covariance()
      self.assertEqual("ff_user_dense/mine:0", factor.get_cov().name)
      factor.make_covariance_update_op(0.5)
      factor.make_covariance_update_op(0.5)
      self.assertCountEqual(
          ["ff_user_dense/mine:0", "ff_user_dense/cov/local_step:0",
           "ff_user_dense/cov/num_skipped:0"],
          [v.name for v in tf.global_variables()])


class OldNamesTest(tf.test.TestCase):

  def testOldNamesEqualTheNewOnes(self):
    rows, x = oracles.data(4, 3), oracles.data(3, 2, seed=1)
    cov = oracles.second_moment(rows)
    for cls, arguments, full in [
        (ff.FullyConnectedKroneckerFactor, [], cov),
        (ff.NaiveDiagonalFactor, [1],
         np.diag(np.square(rows.reshape(-1)[:3])))]:
      with tf.Graph().as_default(), self.session() as sess:
        data = tf.constant(rows if not arguments else rows.reshape(-1)[:3])
        factor = cls(data, *arguments)
        factor.instantiate_covariance()
        self.assertIs(factor.get_cov(), factor.get_cov_var())
        factor.register_damped_inverse(0.5)
        factor.register_matpower(-0.5, 0.5)
        factor.instantiate_inv_variables()
        update = factor.make_covariance_update_op(0.)
        invert = factor.make_inverse_update_ops()
        products = [
            factor.left_multiply(x, 0.5), factor.left_multiply_inverse(x, 0.5),
            factor.left_multiply_matpower(x, -0.5, 0.5),
            factor.right_multiply(x.T, 0.5),
            factor.right_multiply_inverse(x.T, 0.5),
            factor.right_multiply_matpower(x.T, -0.5, 0.5)]
        sess.run(tf.global_variables_initializer())
        sess.run(update)
        sess.run(invert)
        products = sess.run(products)
        for exp, left, right in zip(
            (1, -1, -0.5), products[:3], products[3:], strict=True):
          expected = oracles.power(full + 0.5 * np.eye(3), exp) @ x
          self.assertAllClose(expected, left, 1e-10, 1e-10)
          self.assertAllClose(expected.T, right, 1e-10, 1e-10)

  def testOldNamesOfTheKeptInverse(self):
    with tf.Graph().as_default(), self.session() as sess:
      rows = oracles.data(4, 3)
      factor = ff.FullyConnectedKroneckerFactor(tf.constant(rows))
      factor.register_matpower(exp=-1, damping=0.5)
      cov = oracles.new_cov(sess, factor)
      factor.instantiate_inv_variables()
      inverses = [factor.get_damped_inverse(0.5),
                  factor.get_inverse(damping=0.5).to_dense(),
                  factor.get_matpower(-1, damping=0.5).to_dense()]
      factor.register_eigendecomp()
      eigenvalues, Q = factor._eigendecomp
      with tf.control_dependencies(factor.make_inverse_update_ops()):
        done = tf.no_op()
      sess.run([v.initializer for v in
                [*factor.kept_variables, factor.num_updates_kept]])
      sess.run(done)
      for inverse in sess.run(inverses):
        self.assertAllClose(np.linalg.inv(cov + 0.5 * np.eye(3)), inverse,
                            1e-10, 1e-10)
      eigenvalues, Q = sess.run([eigenvalues, Q])
      self.assertAllClose(cov, Q @ np.diag(eigenvalues) @ Q.T, 1e-12, 1e-12)


if __name__ == "__main__":
  tf.test.main()
