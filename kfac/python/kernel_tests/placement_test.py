"""Tests of placement: the devices of variables and updates."""

import inspect
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import estimator
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops import layer_collection as lc
from kfac.python.ops import placement

CPUS = [f"/device:CPU:{i}" for i in range(6)]
DAMPING = 0.1


def _two_cpus():
  return tf.ConfigProto(device_count={"CPU": 2})


class _Net:
  """Three dense layers of one input, each with its own loss."""

  def __init__(self):
    rng = np.random.RandomState(1)
    self.x = rng.randn(5, 3)
    self.ws = [rng.randn(3, 2) for _ in range(3)]
    self.targets = [rng.randn(5, 2) for _ in range(3)]
    self.layers = lc.LayerCollection()
    self.variables = [tf.get_variable(f"w{i}", initializer=w)
                      for i, w in enumerate(self.ws)]
    for variable, targets in zip(self.variables, self.targets, strict=True):
      x = tf.constant(self.x)  # so that layers do not share factors
      outputs = tf.matmul(x, variable)
      self.layers.register_fully_connected(variable, x, outputs)
      self.layers.register_normal_predictive_distribution(
          outputs, targets=targets)

  def arguments(self, **kwargs):
    return dict(variables=self.variables, cov_ema_decay=0., damping=DAMPING,
                layer_collection=self.layers, estimation_mode="empirical",
                **kwargs)

  def check(self, test, sess, est):
    """Asserts that products with the inverse are those of NumPy."""
    products = est.multiply_inverse(
        [(tf.ones_like(v), v) for v in self.variables])
    A = self.x.T @ self.x / 5
    for (product, _), w, targets in zip(
        products, self.ws, self.targets, strict=True):
      grads = 2 * (self.x @ w - targets)
      G = grads.T @ grads / 5
      pi = np.sqrt(np.trace(A) / 3 / (np.trace(G) / 2))
      left = A + pi * np.sqrt(DAMPING) * np.eye(3)
      right = G + np.sqrt(DAMPING) / pi * np.eye(2)
      test.assertAllClose(
          sess.run(product),
          np.linalg.inv(left) @ np.ones([3, 2]) @ np.linalg.inv(right))


def _devices_used(sess, op):
  """Runs an op, and returns the devices on which products were computed."""
  metadata = tf.RunMetadata()
  sess.run(op, options=tf.RunOptions(output_partition_graphs=True),
           run_metadata=metadata)
  return {node.device.split("device:")[-1]
          for graph in metadata.partition_graphs for node in graph.node
          if node.op in ("MatMul", "Cholesky")}


def _kept(est):
  """Returns for each factor the variables of its inverses."""
  return [list(factor._matpower_by_exp_and_damping.values())
          for factor in est.factors]


def _round_robin(devices, count=6):
  return [devices[i % len(devices)] for i in range(count)]


class RoundRobinPlacementTest(tf.test.TestCase):

  def _makers(self):
    """Yields functions that make an estimator with round-robin placement."""
    yield estimator.FisherEstimator
    yield lambda **kwargs: estimator.make_fisher_estimator(
        "round_robin", **kwargs)

  def testDevicesAreAssignedInTurn(self):
    for make in self._makers():
      for cov_devices, inv_devices in (
          (CPUS[:2], CPUS[2:5]), (tuple(CPUS[:4]), CPUS[5:]),
          (CPUS, CPUS[::-1])):
        with tf.Graph().as_default():
          est = make(cov_devices=cov_devices, inv_devices=inv_devices,
                     **_Net().arguments())
          cov_thunks, inv_thunks = est.make_vars_and_create_op_thunks()
          cov_ops = [thunk() for thunk in cov_thunks]
          inv_ops = [thunk() for thunk in inv_thunks]
          self.assertEqual([op.device for op in cov_ops],
                           _round_robin(cov_devices))
          self.assertEqual([op.device for op in inv_ops],
                           _round_robin(inv_devices))
          self.assertEqual(
              [factor.get_cov().device for factor in est.factors],
              _round_robin(cov_devices))
          for inv_op, device in zip(
              inv_ops, _round_robin(inv_devices), strict=True):
            for kept in inv_op.control_inputs:
              self.assertEqual(kept.device, device)
          for kept in _kept(est):
            self.assertEqual([v.device for v in kept], [""])

  def testShortNamesAreTaken(self):
    with tf.Graph().as_default():
      est = estimator.FisherEstimatorRoundRobin(
          cov_devices=["/cpu:0"], inv_devices=["/cpu:1", "/gpu:0"],
          **_Net().arguments())
      cov_thunks, inv_thunks = est.make_vars_and_create_op_thunks()
      self.assertEqual(
          [thunk().device for thunk in cov_thunks], 6 * ["/device:CPU:0"])
      self.assertEqual([thunk().device for thunk in inv_thunks],
                       3 * ["/device:CPU:1", "/device:GPU:0"])

  def testInverseVariablesAreOnTheCallersDevice(self):
    with tf.Graph().as_default():
      est = estimator.FisherEstimatorRoundRobin(
          cov_devices=CPUS[:1], inv_devices=CPUS[1:2], **_Net().arguments())
      with tf.device(CPUS[3]):
        _, inv_thunks = est.make_vars_and_create_op_thunks()
      for kept in _kept(est):
        self.assertEqual([v.device for v in kept], [CPUS[3]])
      self.assertEqual([thunk().device for thunk in inv_thunks], 6 * CPUS[1:2])

  def testWithoutDevicesTheCallersIsUsed(self):
    for make in self._makers():
      with tf.Graph().as_default():
        est = make(**_Net().arguments())
        with tf.device(CPUS[4]):
          cov_thunks, inv_thunks = est.make_vars_and_create_op_thunks()
        self.assertEqual([thunk().device for thunk in cov_thunks], 6 * [""])
        with tf.device(CPUS[5]):
          self.assertEqual(
              [thunk().device for thunk in inv_thunks], 6 * [CPUS[5]])
        for factor, kept in zip(est.factors, _kept(est), strict=True):
          self.assertEqual(
              [v.device for v in [factor.get_cov()] + kept], 2 * [CPUS[4]])

  def testThunksOfVariablesAndOpsAreNotPlaced(self):
    with tf.Graph().as_default():
      est = estimator.FisherEstimatorRoundRobin(
          cov_devices=CPUS[:2], inv_devices=CPUS[2:4], **_Net().arguments())
      thunks = est.create_ops_and_vars_thunks()
      with tf.device(CPUS[5]):
        made = [[thunk() for thunk in part] for part in thunks]
      self.assertEqual([factor.get_cov().device for factor in est.factors],
                       6 * [CPUS[5]])
      for ops in (made[1], made[3]):
        self.assertEqual([op.device for op in ops], 6 * [CPUS[5]])

  def testOpsOfPropertiesArePlaced(self):
    for first in ("make_vars_and_create_op_thunks",
                  "create_ops_and_vars_thunks", "make_ops_and_vars", None):
      with tf.Graph().as_default():
        est = estimator.FisherEstimatorRoundRobin(
            cov_devices=CPUS[:2], inv_devices=CPUS[2:5], **_Net().arguments())
        if first:
          getattr(est, first)()
        self.assertEqual(
            [op.device for op in est.cov_update_ops], _round_robin(CPUS[:2]))
        self.assertEqual(
            [op.device for op in est.inv_update_ops], _round_robin(CPUS[2:5]))
        self.assertEqual([factor.get_cov().device for factor in est.factors],
                         _round_robin(CPUS[:2]))
        self.assertEqual([thunk().device for thunk in est.cov_update_thunks],
                         _round_robin(CPUS[:2]))

  def testRunsOnTwoDevices(self):
    for make in self._makers():
      with tf.Graph().as_default() as graph:
        net = _Net()
        est = make(cov_devices=CPUS[:2], inv_devices=CPUS[1::-1],
                   **net.arguments())
        with tf.device(CPUS[0]):
          est.make_vars_and_create_op_thunks()
        cov, inv = est.cov_update_op, est.inv_update_op
        with tf.Session(graph=graph, config=_two_cpus()) as sess:
          sess.run(tf.global_variables_initializer())
          for op in (cov, inv):
            self.assertEqual(_devices_used(sess, op), {"CPU:0", "CPU:1"})
          net.check(self, sess, est)

  def testUnknownDevices(self):
    with tf.Graph().as_default():
      net = _Net()
      for make in self._makers():
        for name in ("cov_devices", "inv_devices"):
          for bad in ([], (), "/cpu:0"):
            with self.assertRaisesRegex(
                ValueError,
                f"{name} must be a list of device names or None, got "
                f".*{bad!r}".replace("(", r"\(")
                .replace(")", r"\)").replace("[]", r"\[\]")):
              make(**net.arguments(**{name: bad}))

  def testOrderOfArguments(self):
    arguments = list(inspect.signature(
        placement.RoundRobinPlacementMixin).parameters)
    self.assertEqual(
        arguments, ["cov_devices", "inv_devices", "trans_devices", "kwargs"])
    with tf.Graph().as_default():
      est = estimator.FisherEstimatorRoundRobin(
          CPUS[:1], CPUS[1:2], **_Net().arguments())
      self.assertEqual(est.cov_update_ops[0].device, CPUS[0])
      self.assertEqual(est.inv_update_ops[0].device, CPUS[1])


class _UsersEstimator:
  """A user's estimator, with its own thunks only."""

  def __init__(self, count):
    self.count = count
    self.made = []
    self.scopes = []

  def create_ops_and_vars_thunks(self, scope=None):
    self.scopes.append(scope)

    def thunk(kind):
      def make():
        op = tf.no_op(name=kind)
        self.made.append((kind, op.device))
        return op
      return make
    return tuple([thunk(kind) for _ in range(self.count)]
                 for kind in ("cov_var", "cov", "inv_var", "inv"))


class _UsersRoundRobin(placement.RoundRobinPlacementMixin, _UsersEstimator):
  pass


class UsersEstimatorTest(tf.test.TestCase):

  def testMakeVarsAndCreateOpThunks(self):
    with tf.Graph().as_default():
      est = _UsersRoundRobin(
          cov_devices=CPUS[:2], inv_devices=CPUS[2:3], count=3)
      cov_thunks, inv_thunks = est.make_vars_and_create_op_thunks("scope")
      self.assertEqual(est.made, [
          ("cov_var", CPUS[0]), ("cov_var", CPUS[1]), ("cov_var", CPUS[0]),
          ("inv_var", ""), ("inv_var", ""), ("inv_var", "")])
      self.assertEqual([thunk().device for thunk in cov_thunks],
                       [CPUS[0], CPUS[1], CPUS[0]])
      self.assertEqual([thunk().device for thunk in inv_thunks],
                       3 * [CPUS[2]])
      # The same thunks make the ops.
      self.assertLen(est.make_ops_and_vars()[0], 3)
      self.assertEqual(est.scopes, ["scope"])

  def testMakeOpsAndVars(self):
    for make in (placement.RoundRobinPlacementMixin.make_ops_and_vars,
                 estimator.FisherEstimator.make_ops_and_vars):
      with tf.Graph().as_default():
        est = _UsersRoundRobin(
            cov_devices=CPUS[:2], inv_devices=CPUS[2:3], count=2)
        cov_ops, cov_op, inv_ops, inv_op, cov_thunks, inv_thunks = make(
            est, scope="scope")
        self.assertEqual(est.scopes, ["scope"])
        self.assertEqual([kind for kind, _ in est.made], [
            "cov_var", "cov_var", "inv_var", "inv_var",
            "cov", "cov", "inv", "inv"])
        self.assertEqual([op.device for op in cov_ops], CPUS[:2])
        self.assertEqual([op.device for op in inv_ops], 2 * [CPUS[2]])
        for one, ops in ((cov_op, cov_ops), (inv_op, inv_ops)):
          self.assertEqual(set(_all_inputs(one)) & set(ops), set(ops))
        self.assertEqual([thunk().device for thunk in cov_thunks], CPUS[:2])
        self.assertEqual(
            [thunk().device for thunk in inv_thunks], 2 * [CPUS[2]])

  def testScopeMayBeLeftOut(self):
    with tf.Graph().as_default():
      est = _UsersRoundRobin(count=1)
      est.make_ops_and_vars()
      self.assertEqual(est.scopes, [None])


def _all_inputs(op):
  """Returns all ops that an op depends on, directly or not."""
  found = []
  for parent in op.control_inputs:
    found += [parent] + _all_inputs(parent)
  return found


class TowersTest(tf.test.TestCase):

  def _towers(self, devices):
    """Builds a network with half of the batch on each of two devices."""
    rng = np.random.RandomState(1)
    x, w, targets = rng.randn(8, 3), rng.randn(3, 2), rng.randn(8, 2)
    layers = lc.LayerCollection()
    variable = tf.get_variable("w", initializer=w)
    for tower, device in enumerate(devices):
      rows = slice(4 * tower, 4 * tower + 4)
      with tf.device(device):
        inputs = tf.constant(x[rows])
        outputs = tf.matmul(inputs, variable)
        layers.register_fully_connected(
            variable, inputs, outputs, reuse=tower > 0)
        layers.register_normal_predictive_distribution(
            outputs, targets=targets[rows], name="loss", reuse=tower > 0)
    est = estimator.FisherEstimator(
        [variable], 0., DAMPING, layers, estimation_mode="empirical")
    grads = 2 * (x @ w - targets)
    return est, (x.T @ x / 8, grads.T @ grads / 8)

  def testEachTowerComputesOnItsDevice(self):
    with mock.patch.object(ff, "TOWER_STRATEGY", "separate"):
      with tf.Graph().as_default() as graph:
        est, expected = self._towers(CPUS[:2])
        with tf.device(CPUS[0]):
          update = est.cov_update_op
        products = [op for op in graph.get_operations()
                    if op.type == "MatMul" and "gradients" not in op.name
                    and op.name.startswith("FisherEstimator")]
        self.assertEqual(
            sorted(op.device for op in products), 2 * CPUS[:1] + 2 * CPUS[1:2])
        with tf.Session(graph=graph, config=_two_cpus()) as sess:
          sess.run(tf.global_variables_initializer())
          sess.run(update)
          for factor, cov in zip(est.factors, expected, strict=True):
            self.assertAllClose(sess.run(factor.get_cov()), cov)

  def testBothStrategiesAgree(self):
    for strategy in ("separate", "concat"):
      with mock.patch.object(ff, "TOWER_STRATEGY", strategy):
        with tf.Graph().as_default() as graph:
          est, expected = self._towers(["/cpu:0", "/cpu:1"])
          update = est.cov_update_op
          with tf.Session(graph=graph, config=_two_cpus()) as sess:
            sess.run(tf.global_variables_initializer())
            sess.run(update)
            for factor, cov in zip(est.factors, expected, strict=True):
              self.assertAllClose(sess.run(factor.get_cov()), cov)


class SuccessorTest(tf.test.TestCase):
  """What kfac 0.2.4 has in addition."""

  def testDevicesOfTransformationsAreIgnoredWithAWarning(self):
    with tf.Graph().as_default():
      with self.assertLogs("absl", "WARNING") as logs:
        estimator.FisherEstimatorRoundRobin(
            CPUS[:1], CPUS[:1], CPUS[1:2], **_Net().arguments())
      self.assertEqual(
          ["WARNING:absl:trans_devices has no effect: products with the "
           "inverses are computed where the device scope of the caller says."],
          logs.output)

  def testListsOfVariables(self):
    with tf.Graph().as_default():
      net = _Net()
      for est in (estimator.FisherEstimator(**net.arguments()),):
        covs, invs = est.get_cov_vars(), est.get_inv_vars()
        self.assertEqual([f.get_cov() for f in est.factors], covs)
        self.assertEqual(
            [v for f in est.factors for v in f.kept_variables], invs)
        self.assertIs(net.layers, est.layers)
        self.assertEqual("Fisher", est.mat_type)

  def testMatType(self):
    with tf.Graph().as_default():
      arguments = {**_Net().arguments(), "estimation_mode": "exact_GGN"}
      self.assertEqual("GGN", estimator.FisherEstimator(**arguments).mat_type)


if __name__ == "__main__":
  tf.test.main()
