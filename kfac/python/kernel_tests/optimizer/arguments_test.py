"""Tests of the arguments of KfacOptimizer, and of modes of TensorFlow."""

import os
import subprocess
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.kernel_tests.repository import architecture

_SCRIPT = """
import numpy as np
import tensorflow.compat.v1 as tf
tf.{switch}()
import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net

model = dense_net.build(use_resource=None)
print(type(model.variables[0]).__name__)
optimizer = kfac.KfacOptimizer(
    0.1, 0.8, 0.05, model.layers, momentum=0., momentum_type="qmodel",
    batch_size=dense_net.BATCH_SIZE, estimation_mode="exact")
batch = tf.placeholder_with_default(dense_net.batches(1)[0][0], model.x.shape)
optimizer.set_damping_adaptation_params(
    True, batch, lambda x: dense_net.loss_on(
        dense_net.logits_of(x, model.variables), model.y))
train_op = optimizer.minimize(
    model.loss, global_step=tf.train.get_or_create_global_step())
data = dense_net.batches(3)
oracle = dense_net.Kfac(0.05, 0.8)
with tf.Session() as sess:
  updates = optimizer.cov_update_op, optimizer.inv_update_op
  sess.run(tf.global_variables_initializer())
  tf.get_default_graph().finalize()
  got = dense_net.train(sess, model, optimizer, train_op, data, updates)
for x, y in data:
  oracle.step(x, y, 0.1, momentum_type="qmodel")
for one, other in zip(got, oracle.params, strict=True):
  np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)
print("trained")
"""


class ModesOfTensorFlowTest(tf.test.TestCase):

  def _run(self, switch):
    """Runs the script in a new process; returns the words it printed."""
    environment = dict(os.environ, PYTHONPATH=str(architecture.project_root()),
                       TF_CPP_MIN_LOG_LEVEL="2")
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(switch=switch)], env=environment,
        capture_output=True, text=True, timeout=300)
    self.assertEqual(0, done.returncode, done.stderr)
    return done.stdout.split()

  def testDisableV2Behavior(self):
    self.assertEqual(
        ["RefVariable", "trained"], self._run("disable_v2_behavior"))

  def testDisableEagerExecution(self):
    self.assertEqual(
        ["ResourceVariable", "trained"], self._run("disable_eager_execution"))


class ConstructorTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    with tf.Graph().as_default():
      self._layers = kfac.LayerCollection()

  def _make(self, **kwargs):
    arguments = {"learning_rate": 0.1, "cov_ema_decay": 0.9, "damping": 0.1,
                 "layer_collection": self._layers, **kwargs}
    return kfac.KfacOptimizer(**arguments)

  def testPositionsOfArguments(self):
    optimizer = kfac.KfacOptimizer(
        0.1, 0.9, 0.2, self._layers, [], 0., "qmodel", None, "Name", "exact",
        False, 4, "round_robin", cov_devices=["/cpu:0"], inv_devices=["/cpu:0"])
    self.assertEqual("Name", optimizer.get_name())
    self.assertEqual(0.2, optimizer.damping)
    self.assertEmpty(optimizer.variables)

  def testMissingArguments(self):
    for missing in ("damping", "layer_collection"):
      with self.assertRaisesRegex(
          TypeError, rf"^{missing} must be given\.$"):
        self._make(**{missing: None})
    with self.assertRaisesRegex(TypeError, r"^damping must be given\.$"):
      kfac.KfacOptimizer(0.1, layer_collection=self._layers)
    with self.assertRaisesRegex(
        TypeError, r"^layer_collection must be given\.$"):
      kfac.KfacOptimizer(0.1, damping=0.1)
    # The decay is optional.
    kfac.KfacOptimizer(0.1, damping=0.1, layer_collection=self._layers)

  def testUnknownKeyword(self):
    for placement in (None, "round_robin"):
      with self.assertRaisesRegex(TypeError, "no_such_thing"):
        self._make(placement_strategy=placement, no_such_thing=1)

  def testNumbersOutOfRange(self):
    nan, inf = float("nan"), float("inf")
    for name, rule, wrong, right in (
        ("learning_rate", "at least 0.0",
         (-0.1, nan, inf, -1, np.float32(-1.)), 0.),
        ("damping", "at least 0.0", (-1e-3, nan, inf, np.array(-1.)), 0.),
        ("norm_constraint", "more than 0.0", (0., -1., nan, inf), 1e-9),
        ("momentum", "at least 0.0", (-0.5, nan, inf), 0.),
        ("cov_ema_decay", "at least 0.0 and less than 1.0",
         (-0.1, 1., 1, nan, inf), 0.)):
      for value in wrong:
        with self.assertRaises(ValueError) as caught:
          self._make(**{name: value})
        self.assertEqual(
            f"{name} must be finite and {rule}, got {value!r}.",
            str(caught.exception))
      self._make(**{name: right})
      self._make(**{name: 0.5})

  def testLearningRateNone(self):
    with self.assertRaisesRegex(
        ValueError, r"^learning_rate must be a scalar or a function that "
        r"returns it, got None\.$"):
      self._make(learning_rate=None)

  def testMomentumType(self):
    for wrong in ("nesterov", None, 3):
      with self.assertRaisesRegex(
          ValueError, r"^momentum_type must be one of \('adam', 'qmodel', "
          rf"'regular'\), got {wrong!r}\.$"):
        self._make(momentum_type=wrong)
    self._make(momentum_type="REGULAR")

  def testNormConstraintIsForRegular(self):
    for momentum_type, kwargs in (
        ("adam", {}), ("qmodel", {"momentum": 0., "batch_size": 3})):
      with self.assertRaisesRegex(
          ValueError, r"^norm_constraint must be None unless momentum_type is "
          rf"'regular', got 0\.5 with '{momentum_type}'\.$"):
        self._make(norm_constraint=0.5, momentum_type=momentum_type, **kwargs)

  def testQmodelNeedsABatchSizeAndNoMomentum(self):
    for kwargs, value in (({}, r"0\.9"), ({"momentum": 0.1}, r"0\.1")):
      with self.assertRaisesRegex(
          ValueError, r"^momentum must be 0 with momentum_type 'qmodel', got "
          rf"{value}\.$"):
        self._make(momentum_type="qmodel", batch_size=3, **kwargs)
    with self.assertRaisesRegex(
        ValueError, r"^batch_size must be given with momentum_type 'qmodel', "
        r"got None\.$"):
      self._make(momentum_type="qmodel", momentum=0)

  def testEstimationModeAndPlacement(self):
    with self.assertRaisesRegex(
        ValueError, r"^estimation_mode must be one of \['curvature_prop', "
        r"'empirical', 'exact', 'gradients'\], got "
        r"'curvature_propagation'\.$"):
      self._make(estimation_mode="curvature_propagation")
    with self.assertRaisesRegex(
        ValueError, r"^placement_strategy must be None or 'round_robin', got "
        r"'random'\.$"):
      self._make(placement_strategy="random")
    for devices in ([], "/cpu:0"):
      with self.assertRaisesRegex(
          ValueError, r"^cov_devices must be a list of device names or None, "):
        self._make(cov_devices=devices)


class RegistrationTest(tf.test.TestCase):
  """Errors of the model are raised when ops are built."""

  def _assertBuildRaises(self, message, model, **kwargs):
    for way in (lambda optimizer: optimizer.minimize(model.loss),
                lambda optimizer: optimizer.cov_update_op,
                lambda optimizer: optimizer.make_vars_and_create_op_thunks()):
      with self.assertRaisesRegex(ValueError, message):
        way(kfac.KfacOptimizer(0.1, 0.9, 0.1, model.layers, **kwargs))

  def testNoLoss(self):
    with tf.Graph().as_default():
      self._assertBuildRaises(
          r"^at least one loss must be registered, got none\.$",
          dense_net.build(register=False))

  def testVariableThatIsNotRegistered(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      tf.get_variable("extra", [])
      self._assertBuildRaises(
          r"^variables must be those registered, for all their uses, got: "
          r"extra:0 is not registered\.$", model)

  def testVariableThatIsNotPassed(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      message = r"got: layer1/b:0 is registered but not passed\.$"
      for way in (lambda optimizer: optimizer.minimize(model.loss),
                  lambda optimizer: optimizer.cov_update_op):
        optimizer = kfac.KfacOptimizer(
            0.1, 0.9, 0.1, model.layers, var_list=model.variables[:-1])
        with self.assertRaisesRegex(ValueError, message):
          way(optimizer)

  def testNoTargetsInEmpiricalMode(self):
    with tf.Graph().as_default():
      model = dense_net.build(register=False)
      inputs = model.x
      w1, b1, w2, b2 = model.variables
      sums = tf.matmul(inputs, w1) + b1
      hidden = tf.tanh(sums)
      logits = tf.matmul(hidden, w2) + b2
      model.layers.register_fully_connected((w1, b1), inputs, sums)
      model.layers.register_fully_connected((w2, b2), hidden, logits)
      model.layers.register_categorical_predictive_distribution(logits)
      self._assertBuildRaises(
          "targets", model, estimation_mode="empirical")

  def testVariableThatTheLossDoesNotDependOn(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = kfac.KfacOptimizer(0.1, 0.9, 0.1, model.layers)
      half = tf.reduce_sum(model.variables[0])
      with self.assertRaisesRegex(
          ValueError, r"^grads_and_vars must have a gradient for each variable,"
          r" got None for layer0/b:0\.$"):
        optimizer.minimize(half)


if __name__ == "__main__":
  tf.test.main()
