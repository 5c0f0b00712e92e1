"""Tests of covariance and inverse updates that are built in branches."""

import contextlib
import re
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized

from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.kernel_tests import graph_modes
from kfac.python.kernel_tests.fisher_blocks import contract_test as contract
from kfac.python.ops import estimation_modes
from kfac.python.ops import estimator
from kfac.python.ops import factor_updates
from kfac.python.ops import fisher_blocks as fb
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops import layer_collection as lc

MODES = sorted(estimation_modes.MODES)


def cond(condition, make_op):
  """Returns a bool tensor: whether an op, built in a branch, was run."""
  def taken():
    with tf.control_dependencies([make_op()]):
      return tf.constant(True)
  return tf.cond(condition, taken, lambda: tf.constant(False))


def matmuls(sess, fetches, feed=None):
  """Returns the sorted names of the matrix products in a run."""
  metadata = tf.RunMetadata()
  sess.run(fetches, feed, run_metadata=metadata, options=tf.RunOptions(
      trace_level=tf.RunOptions.FULL_TRACE))
  names = {node.node_name for device in metadata.step_stats.dev_stats
           for node in device.node_stats
           if re.search("= _?(Batch|Fused)?MatMul", node.timeline_label)}
  return sorted(names)


class _Doubled(ff.FullyConnectedKroneckerFactor):
  """A factor of a user, with a variable and a covariance of its own."""

  def __init__(self, tensors):
    super().__init__(tensors)
    self._mine = {"data": [tensors]}

  def instantiate_cov_variables(self):
    with tf.variable_scope(self._var_scope):
      self._cov = tf.get_variable(
          "cov_of_mine", self._cov_shape, self._dtype, use_resource=True,
          initializer=tf.zeros_initializer())

  def _compute_new_cov(self, source, tower):
    data = self._mine["data"][0][source][tower]
    return 2. * tf.matmul(data, data, transpose_a=True)


def _doubled(grads_list):
  return tuple((2. * tower,) for source in grads_list for tower in source)


class InBranchTest(parameterized.TestCase, tf.test.TestCase):

  def _covs(self, sess, est):
    """Returns all that covariance updates of finite data change."""
    variables = [
        v for v in tf.global_variables() if v.name.startswith(est.name)
        and ("/cov" in v.name or "local_step" in v.name)
        and "num_skipped" not in v.name]
    return dict(zip([v.name for v in variables], sess.run(variables),
                    strict=True))

  def _check(self, est, in_branch=None):
    """Asserts that updates in a branch equal those outside of one."""
    est.build()
    plain = est.cov_update_op
    condition = tf.placeholder(tf.bool, [])
    branch = cond(condition, in_branch or est.make_cov_update_op_in_branch)
    with self.session() as sess:
      results = []
      for op, flags in ((plain, (True, True)),
                        (branch, (False, True, False, True))):
        sess.run(tf.global_variables_initializer())
        for flag in flags:
          before = self._covs(sess, est)
          sess.run(op, {condition: flag})
          if not flag:
            self.assertAllClose(before, self._covs(sess, est), rtol=0., atol=0.)
        results.append(self._covs(sess, est))
      self.assertTrue(all(np.any(value) for value in results[0].values()))
      self.assertAllClose(*results, rtol=1e-9, atol=1e-9)

  @parameterized.product(mode=MODES, v2=[False, True])
  def testEachMode(self, mode, v2):
    with graph_modes.control_flow(v2), tf.Graph().as_default():
      rng = np.random.RandomState(3)
      collection = lc.LayerCollection()
      w, b, v = variables = [
          tf.get_variable(name, initializer=rng.randn(*shape))
          for name, shape in (("w", (3, 2)), ("b", (2,)), ("v", (2, 4)))]
      for reuse in (False, True):  # two towers
        x = tf.constant(rng.randn(5, 3))
        hidden = tf.matmul(x, w) + b
        logits = tf.matmul(tf.tanh(hidden), v)
        collection.register_fully_connected((w, b), x, hidden, reuse=reuse)
        collection.register_generic(v, 5, approx="full", reuse=reuse)
        # With a seed, each update draws what the other one does.
        collection.register_categorical_predictive_distribution(
            logits, seed=4, targets=tf.constant([0, 1, 2, 3, 0]), name="loss",
            reuse=reuse)
      self._check(estimator.FisherEstimator(
          variables, 0.9, 0.1, collection, estimation_mode=mode, name="e"))

  @parameterized.parameters(*enumerate(contract.ROWS))
  def testEachApproximation(self, index, row):
    with graph_modes.control_flow(index % 2 == 1), tf.Graph().as_default():
      model = contract.Model(*row)
      collection = lc.LayerCollection()
      model.add_tower(collection)
      est = contract.make_estimator(
          collection, model, mode="empirical", name="e")
      self._check(est)
      factors = [factor for block, grads in est._blocks_and_grads()
                 for factor, _ in factor_updates.factor_data(block, grads)]
      self.assertCountEqual(factors, est.factors)

  def testSeparateTowersAndDevices(self):
    with tf.Graph().as_default(), mock.patch.object(
        ff, "TOWER_STRATEGY", "separate"):
      model = contract.Model("fully_connected_multi", "kron_series_1")
      collection = lc.LayerCollection()
      model.add_tower(collection, slice(0, 3))
      model.add_tower(collection, slice(3, 8), reuse=True)
      est = estimator.FisherEstimator(
          collection.registered_variables, 0.95, 0.1, collection, name="e",
          estimation_mode="empirical", cov_devices=["/cpu:0"])
      self._check(est)
      op = est.make_cov_update_op_in_branch()
      self.assertEqual({dep.device for dep in op.control_inputs},
                       {"/device:CPU:0"})

  def testBlockThatRedefinesInstantiateFactors(self):
    class Mine(fb.FullyConnectedKFACBasicFB):

      def instantiate_factors(self, grads_list, damping):
        super().instantiate_factors(grads_list, damping)
        self._layer_collection.make_or_get_factor(
            _Doubled, (_doubled(grads_list),))

    for v2 in (False, True):
      with self._estimator_of(Mine, v2) as est:
        with self.assertLogs("absl", level="WARNING") as logs:
          self._check(est)
        # The two factors of the base may have other data than it knows.
        self.assertEqual(
            [est.variables[0].op.name + role for role in ("/A", "/G", "/F")],
            [factor.name for factor in est.factors])
        self.assertLen(logs.output, 1)
        self.assertIn("3 of 3 factors get their data from outside of the "
                      "branch", logs.output[0])

  def testBlockThatDefinesFactorDataToo(self):
    class Mine(fb.FullyConnectedKFACBasicFB):

      def instantiate_factors(self, grads_list, damping):
        super().instantiate_factors(grads_list, damping)
        self._more = self._layer_collection.make_or_get_factor(
            _Doubled, (_doubled(grads_list),))

      def factor_data(self, grads_list):
        return super().factor_data(grads_list) + [
            (self._more, (_doubled(grads_list),))]

    for v2 in (False, True):
      with self._estimator_of(Mine, v2) as est, self.assertNoLogs(
          "absl", level="WARNING"):
        self._check(est)

  def testInstantiateFactorsOverriddenOnAnInstance(self):
    with self._estimator_of(fb.FullyConnectedKFACBasicFB, True) as est:
      block, = est.blocks
      make = block.instantiate_factors
      block.instantiate_factors = lambda grads, damping: make(
          [[3. * tower for tower in source] for source in grads], damping)
      with self.assertLogs("absl", level="WARNING"):
        self._check(est)

  def testBlockOfAUserWithoutFactorData(self):
    class Mine(fb.KroneckerProductFB):
      """A block as programs of contrib.kfac define it."""

      def __init__(self, layer_collection, has_bias=False):
        super().__init__(layer_collection)
        self._has_bias = has_bias

      def register_additional_tower(self, inputs, outputs):
        self._tower = inputs, outputs

      num_registered_towers = 1

      def tensors_to_compute_grads(self):
        return [self._tower[1]]

      def instantiate_factors(self, grads_list, damping):
        make = self._layer_collection.make_or_get_factor
        self._input_factor = make(
            ff.FullyConnectedKroneckerFactor,
            (((self._tower[0],),), self._has_bias))
        self._output_factor = make(
            ff.FullyConnectedKroneckerFactor,
            (tuple(tuple(source) for source in grads_list),))
        self._setup_damping(damping)

    with self._estimator_of(Mine, True) as est:
      with self.assertLogs("absl", level="WARNING") as logs:
        self._check(est)
      self.assertIn("2 of 2 factors", logs.output[0])
      self.assertEqual(
          [est.variables[0].op.name + role for role in ("/F", "/F_1")],
          [factor.name for factor in est.factors])

  @contextlib.contextmanager
  def _estimator_of(self, block_type, v2):
    """Builds an estimator of a dense layer with a given type of block."""
    with graph_modes.control_flow(v2), tf.Graph().as_default():
      model = contract.Model("fully_connected", "kron")
      collection = lc.LayerCollection()
      with mock.patch.dict(lc._FULLY_CONNECTED_APPROX_TO_BLOCK_TYPES,
                           kron=block_type):
        model.add_tower(collection)
      yield contract.make_estimator(
          collection, model, mode="empirical", name="e")

  def testLoopsOutside(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2), tf.Graph().as_default():
        x = tf.constant(np.random.RandomState(0).randn(4, 2))
        w = tf.get_variable("w", initializer=np.eye(2) + 0.1)
        hidden = tf.matmul(x, w)
        _, outputs = tf.while_loop(
            lambda i, _: i < 3, lambda i, h: (i + 1, tf.tanh(h)), [0, hidden])
        collection = lc.LayerCollection()
        collection.register_fully_connected(w, x, hidden)
        collection.register_normal_predictive_distribution(
            outputs, targets=tf.ones_like(outputs))
        self._check(estimator.FisherEstimator(
            [w], 0.9, 0.1, collection, estimation_mode="empirical", name="e"))

  def testFactorsMustHaveVariables(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      est = estimator.FisherEstimator(
          model.variables, 0.9, 0.1, model.layers)
      for prepare in (lambda: None, est.create_ops_and_vars_thunks):
        prepare()
        with self.assertRaisesRegex(ValueError, re.escape(
            "make_cov_update_op_in_branch must be called after build(), which "
            "creates the variables outside of the branch.")):
          est.make_cov_update_op_in_branch()
      est.build()
      est.make_cov_update_op_in_branch()


class CostTest(tf.test.TestCase):

  def testSkippedUpdatesRunNoProducts(self):
    for v2 in (False, True):
      for mode in MODES:
        with graph_modes.control_flow(v2), tf.Graph().as_default(), (
            self.session()) as sess:
          model = dense_net.build()
          est = estimator.FisherEstimator(
              model.variables, 0.9, 0.1, model.layers, estimation_mode=mode)
          est.build()
          condition = tf.placeholder(tf.bool, [])
          cov = cond(condition, est.make_cov_update_op_in_branch)
          inv = cond(condition, lambda: tf.group(
              *[thunk() for thunk in est.inv_update_thunks]))  # noqa: B023
          (x, y), = dense_net.batches(1)
          feed = {model.x: x, model.y: y}
          sess.run(tf.global_variables_initializer())
          forward = matmuls(sess, est._layers.losses[0].inputs, feed)
          self.assertLen(forward, 2)
          skipped = matmuls(sess, cov, {condition: False, **feed})
          self.assertEqual(skipped, forward)
          taken = matmuls(sess, cov, {condition: True, **feed})
          # Four factors, and for each source the gradient of the hidden layer.
          sources = 3 if mode.startswith("exact") else 1
          self.assertLen(taken, 2 + 2 + 2 * sources + sources)
          self.assertEmpty(matmuls(sess, inv, {condition: False}))



class GradualInvThunksTest(tf.test.TestCase):

  def _estimator(self, model, make=estimator.FisherEstimatorRoundRobin,
                 **kwargs):
    return make(variables=model.variables, cov_ema_decay=0.9, damping=0.1,
                layer_collection=model.layers, **kwargs)

  def testVariablesAreMadeOnceAndBesideThoseOfTheFactor(self):
    with tf.Graph().as_default():
      est = self._estimator(dense_net.build())
      with tf.variable_scope("outer"), tf.device("/cpu:3"):
        est.build("inner")
      kept, = est.factors[1].kept_variables
      before = set(tf.global_variables())
      with tf.variable_scope("elsewhere", reuse=True):
        self.assertTrue(est.can_be_gradual(1))
        for num_parts in (3, 4):
          for thunk in est.gradual_inv_thunks(1, num_parts):
            self.assertIsInstance(thunk(), tf.Operation)
      made = [v for v in tf.global_variables() if v not in before]
      self.assertCountEqual(
          [f"outer/inner/{est.factors[1].name}/gradual_inverse/{name}"
           for name in ("work", "scale", "probe", "position",
                        "num_updates_read")],
          [variable.op.name for variable in made])
      self.assertEqual({kept.device}, {variable.device for variable in made})
      self.assertEmpty(set(made) & set(tf.trainable_variables()))

  def testOpsAreOnTheDeviceOfTheWholeUpdate(self):
    devices = ["/device:CPU:1", "/device:CPU:2", "/device:CPU:3"]
    with tf.Graph().as_default() as graph:
      est = self._estimator(dense_net.build(), inv_devices=devices)
      for index in range(4):
        part, restart = est.gradual_inv_thunks(index, 3)
        for thunk in (part, restart):
          self.assertEqual(est.inv_update_ops[index].device, thunk().device)
      self.assertLen(est.inv_update_ops, 4)
      self.assertLen([op for op in graph.get_operations()
                      if op.type == "VarHandleOp"
                      and op.name.endswith("/work")], 4)

  def testUpdatesOfAUserAreWhole(self):
    class Own(estimator.FisherEstimatorRoundRobin):
      """Adds an op to the second inverse update."""

      def create_ops_and_vars_thunks(self, scope=None):
        *others, inv = super().create_ops_and_vars_thunks(scope)
        inv = list(inv)
        inv[1] = lambda: tf.group(inv[0](), tf.no_op())
        return (*others, inv)

    with tf.Graph().as_default():
      est = self._estimator(dense_net.build(), Own)
      self.assertEqual([True, False, True, True],
                       [est.can_be_gradual(index) for index in range(4)])


if __name__ == "__main__":
  tf.test.main()
