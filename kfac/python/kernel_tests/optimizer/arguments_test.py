"""Tests of the arguments of KfacOptimizer, and of modes of TensorFlow."""

import os
import subprocess
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.kernel_tests.repository import architecture
from kfac.python.ops.optimizer import arguments

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
    given = {"learning_rate": 0.1, "cov_ema_decay": 0.9, "damping": 0.1,
             "layer_collection": self._layers, **kwargs}
    return kfac.KfacOptimizer(**given)

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
          rf"'qmodel_fixedmu', 'regular'\), got {wrong!r}\.$"):
        self._make(momentum_type=wrong)
    self._make(momentum_type="REGULAR")

  def testNormConstraintIsForRegularAndAdam(self):
    for momentum_type in ("qmodel", "qmodel_fixedmu"):
      with self.assertRaisesRegex(
          ValueError, r"^norm_constraint must be None unless momentum_type is "
          rf"'regular' or 'adam', got 0\.5 with '{momentum_type}'\.$"):
        self._make(norm_constraint=0.5, momentum_type=momentum_type,
                   momentum=0., batch_size=3)
    self._make(norm_constraint=0.5, momentum_type="adam")

  def testQmodelNeedsABatchSizeAndNoMomentum(self):
    for kwargs, value in (({}, r"0\.9"), ({"momentum": 0.1}, r"0\.1")):
      with self.assertRaisesRegex(
          ValueError, r"^momentum must be 0 with momentum_type 'qmodel', got "
          rf"{value}\.$"):
        self._make(momentum_type="qmodel", batch_size=3, **kwargs)
    for momentum_type in ("qmodel", "qmodel_fixedmu"):
      with self.assertRaisesRegex(
          ValueError, r"^batch_size must be given with momentum_type "
          rf"'{momentum_type}', got None\.$"):
        self._make(momentum_type=momentum_type, momentum=0)

  def testMomentumNone(self):
    for momentum_type in ("regular", "adam", "qmodel_fixedmu"):
      with self.assertRaisesRegex(
          ValueError, r"^momentum must be a scalar unless momentum_type is "
          r"'qmodel', got None\.$"):
        self._make(momentum_type=momentum_type, momentum=None, batch_size=3)
    self._make(momentum_type="qmodel", momentum=None, learning_rate=None,
               batch_size=3)
    self._make(momentum_type="qmodel_fixedmu", learning_rate=None, batch_size=3)

  def testOptionsOutOfRange(self):
    for name, rule in (("weight_decay_coeff", "at least 0.0"),
                       ("qmodel_update_rescale", "more than 0.0"),
                       ("l2_reg", "at least 0.0")):
      with self.assertRaisesRegex(
          ValueError, rf"^{name} must be finite and {rule}, got -1\.0\.$"):
        self._make(**{name: -1.})
    with self.assertRaisesRegex(
        ValueError, r"^qmodel_update_rescale must be None unless momentum_type "
        r"is 'qmodel' or 'qmodel_fixedmu', got 0\.5\.$"):
      self._make(qmodel_update_rescale=0.5)
    with self.assertRaisesRegex(
        ValueError, r"^tf_replicator must be None, since there are no replicas;"
        r" register one tower per device, got 'any'\.$"):
      self._make(tf_replicator="any")
    with self.assertRaisesRegex(
        ValueError, r"^batch_size must be given with compute_params_stats, got "
        r"None\.$"):
      self._make(compute_params_stats=True)
    with tf.Graph().as_default(), self.assertRaisesRegex(
        ValueError, r"^loss must be a scalar, got shape \(3,\)\.$"):
      self._make(loss=tf.zeros([3]))

  def testWhatHasNoEffectIsAWarning(self):
    for kwargs, message in (
        ({"print_logs": True}, "print_logs has no effect; fetch what "
         "optimizer.stats() returns."),
        ({"weight_decay_coeff": 0.1},
         "weight_decay_coeff has no effect without use_weight_decay."),
        ({"loss_fn": len, "is_chief": True, "prev_train_batch": None},
         "without adapt_damping, these arguments have no effect: is_chief, "
         "loss_fn.")):
      with self.assertLogs("absl", "WARNING") as logs:
        self._make(**kwargs)
      self.assertEqual(
          [f"WARNING:absl:KfacOptimizer: {message}"], logs.output)

  def testEstimationModeAndPlacement(self):
    with self.assertRaisesRegex(
        ValueError, r"^estimation_mode must be one of \['curvature_prop', "
        r"'curvature_prop_GGN', 'empirical', 'exact', 'exact_GGN', "
        r"'gradients'\], got 'curvature_propagation'\.$"):
      self._make(estimation_mode="curvature_propagation")
    with self.assertRaisesRegex(
        ValueError, r"^placement_strategy must be None or 'round_robin', got "
        r"'random'\.$"):
      self._make(placement_strategy="random")
    for devices in ([], "/cpu:0"):
      with self.assertRaisesRegex(
          ValueError, r"^cov_devices must be a list of device names or None, "):
        self._make(cov_devices=devices)


class OrderOfSuccessorTest(tf.test.TestCase):
  """Arguments by position in the order of kfac 0.2.4."""

  def setUp(self):
    super().setUp()
    with tf.Graph().as_default():
      self._layers = kfac.LayerCollection()

  def testIsTheContract(self):
    # Of the release, without what this package does not have.
    self.assertEqual(
        ("learning_rate", "damping", "layer_collection", "cov_ema_decay"),
        arguments.SUCCESSOR_ORDER[:4])
    self.assertLen(arguments.SUCCESSOR_ORDER, 35)
    self.assertContainsSubset(
        arguments.SUCCESSOR_ORDER, arguments.Arguments.__annotations__)

  def testIsKnownByTheThirdArgument(self):
    with self.assertLogs("absl", "INFO") as logs:
      optimizer = kfac.KfacOptimizer(
          0.1, 0.2, self._layers, 0.7, [], 0.5, norm_constraint=3.)
    self.assertEqual(
        ["INFO:absl:KfacOptimizer: layer_collection is the third argument, as "
         "in kfac 0.2.4, so its defaults apply: momentum_type='adam'."],
        logs.output)
    self.assertEqual(0.1, optimizer.learning_rate)
    self.assertEqual(0.2, optimizer.damping)
    self.assertEqual(0.5, optimizer.momentum)
    self.assertIs(self._layers, optimizer.layers)
    self.assertEqual("adam", optimizer._momentum_type)
    self.assertEqual(0.7, optimizer._fisher_est._cov_ema_decay)

  def testAllPositions(self):
    optimizer = kfac.KfacOptimizer(
        None, 0.2, self._layers, 0.9, [], 0.5, "qmodel_fixedmu", True, 0.3, 0.5,
        None, "Name", "exact", True, 4, "round_robin", True)
    self.assertEqual("Name", optimizer.get_name())
    self.assertEqual(1., optimizer.learning_rate)
    self.assertEqual(0.3, optimizer._weight_decay)
    self.assertEqual(0.5, optimizer._rescale)

  def testAdaptedDampingHasNoBoundOfOurs(self):
    for position, bound in ((True, None), (False, 0.25)):
      with tf.Graph().as_default():
        places = (0.1, 0.2, self._layers) if position else (
            0.1, 0.95, 0.2, self._layers)
        optimizer = kfac.KfacOptimizer(
            *places, adapt_damping=True, train_batch=1., loss_fn=len)
        self.assertEqual(bound, optimizer._damping.rule.max_predicted_decrease)

  def testByNameTheDefaultsAreThoseOfContrib(self):
    optimizer = kfac.KfacOptimizer(
        learning_rate=0.1, damping=0.2, layer_collection=self._layers)
    self.assertEqual("regular", optimizer._momentum_type)

  def testSubclassesAreUnderstoodToo(self):

    class Sub(kfac.KfacOptimizer):

      def __init__(self, layers):
        super().__init__(0.1, 0.2, layers)

    self.assertEqual("adam", Sub(self._layers)._momentum_type)

  def testWrongCalls(self):
    with self.assertRaisesRegex(
        TypeError, r"^damping must be given once, got two values\.$"):
      kfac.KfacOptimizer(0.1, 0.2, self._layers, damping=0.3)
    with self.assertRaisesRegex(
        TypeError, r"^KfacOptimizer takes 35 arguments by position, got 36\.$"):
      kfac.KfacOptimizer(0.1, 0.2, self._layers, *[None] * 33)


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
          r"extra:0 is not registered \(auto_register_layers finds layers, "
          r"register_generic takes any\)\.$", model)

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
