"""Numeric faults that training meets: none of them is fatal.

After each fault, all variables are finite and training goes on.
"""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import standard_error

_NUM_EXAMPLES, _SIZES = 16, (5, 8, 3)
_NAN, _INF = float("nan"), float("inf")


def _settings(momentum_type="regular", **kwargs):
  settings = {"learning_rate": 0.1, "momentum": 0.5, "damping": 0.01,
              "momentum_type": momentum_type}
  if momentum_type == "qmodel":
    settings.update(learning_rate=1., momentum=0., batch_size=_NUM_EXAMPLES)
  return dict(settings, **kwargs)


_ADAPTED = _settings("qmodel", adapt_damping=True, max_loss_increase=1.,
                     damping_adaptation_interval=1)
_ALL_SETTINGS = {
    "regular": _settings(),
    "clipped": _settings(norm_constraint=0.01),
    "adam": _settings("adam", learning_rate=0.02),
    "qmodel": _settings("qmodel"),
    "adapted": _ADAPTED,
    "adapted, regular": dict(_settings(), adapt_damping=True,
                             damping_adaptation_interval=1),
}

# What becomes of a batch of inputs and weights of the examples' losses.
_BATCHES = {
    "an input is NaN": lambda x, w: (_with(x, _NAN), w),
    "an input is infinite": lambda x, w: (_with(x, _INF), w),
    "an input is minus infinity": lambda x, w: (_with(x, -_INF), w),
    "all inputs are NaN": lambda x, w: (x * _NAN, w),
    "an input overflows in its square": lambda x, w: (_with(x, 1e25), w),
    "an input overflows in its product": lambda x, w: (_with(x, 3e38), w),
    "a loss is NaN": lambda x, w: (x, _with(w, _NAN)),
    "a loss is infinite": lambda x, w: (x, _with(w, _INF)),
    "a loss overflows in its gradient": lambda x, w: (x, w * 1e38),
}

_FINITE = ("an input overflows in its square",)


def _with(array, value):
  """Returns a copy of an array whose fourth entry has another value."""
  array = array.copy()
  array.flat[3] = value
  return array


class _Net:
  """inputs -> dense, relu -> dense -> softmax, with two kinds of bias."""

  def __init__(self, settings, initial=None, approx="kron"):
    rng = np.random.RandomState(0)
    sizes = zip(_SIZES[:-1], _SIZES[1:], strict=True)
    values = [part.astype(np.float32) for num_in, num_out in sizes
              for part in (rng.randn(num_in, num_out) / 2.,
                           0.1 * rng.rand(num_out))]
    values = values if initial is None else initial(values)
    self.x = tf.placeholder(tf.float32, [_NUM_EXAMPLES, _SIZES[0]])
    self.weights = tf.placeholder(tf.float32, [_NUM_EXAMPLES])
    self.labels = rng.randint(_SIZES[-1], size=_NUM_EXAMPLES)
    self.inputs = rng.randn(_NUM_EXAMPLES, _SIZES[0]).astype(np.float32)
    variables = [tf.get_variable(f"v{index}", initializer=value)
                 for index, value in enumerate(values)]
    layers = kfac.LayerCollection()
    hidden = tf.matmul(self.x, variables[0]) + variables[1]
    active = tf.nn.relu(hidden)
    logits = tf.matmul(active, variables[2]) + variables[3]
    layers.register_fully_connected(
        tuple(variables[:2]), self.x, hidden, approx=approx)
    if approx == "kron":
      layers.register_fully_connected(variables[2], active, logits)
      layers.register_generic(variables[3], _NUM_EXAMPLES)
    else:
      layers.register_fully_connected(
          tuple(variables[2:]), active, logits, approx=approx)
    layers.register_categorical_predictive_distribution(logits, seed=1)
    if settings.get("adapt_damping"):
      settings = dict(
          settings, train_batch=self.x, loss_fn=lambda x: self._mean(tf.matmul(
              tf.nn.relu(tf.matmul(x, variables[0]) + variables[1]),
              variables[2]) + variables[3]))
    self.loss = self._mean(logits)
    self.variables = variables
    self.optimizer = kfac.KfacOptimizer(
        cov_ema_decay=0.9, layer_collection=layers, **settings)
    self.train_op = self.optimizer.minimize(self.loss)
    self.updates = (self.optimizer.cov_update_op, self.optimizer.inv_update_op)
    self.state = tf.global_variables()
    # What a skipped step leaves as it is.
    self.kept = [*variables, *(self.optimizer.get_slot(v, "velocity")
                               for v in variables)]
    if settings.get("adapt_damping"):
      self.kept.append(self.optimizer.damping)

  def _mean(self, logits):
    return tf.reduce_mean(
        self.weights * tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=self.labels, logits=logits))

  def feed(self, change=lambda x, w: (x, w)):
    x, weights = change(self.inputs, np.ones(_NUM_EXAMPLES, np.float32))
    return {self.x: x, self.weights: weights}

  def run(self, sess, steps, feed):
    for _ in range(steps):
      for op in (*self.updates, self.train_op):
        sess.run(op, feed)


class FaultsTest(tf.test.TestCase):

  def _assertFinite(self, sess, net, fault):
    for variable, value in zip(net.state, sess.run(net.state), strict=True):
      # Rho is minus infinity for a rejected step.
      if variable is not getattr(net.optimizer._damping, "rho", None):
        self.assertTrue(
            np.all(np.isfinite(value)), f"{variable.name} after: {fault}")

  def testBadBatches(self):
    for name, settings in _ALL_SETTINGS.items():
      with tf.Graph().as_default(), self.session() as sess, (
          standard_error.captured()):
        tf.set_random_seed(0)
        net = _Net(settings)
        good = net.feed()
        for fault, change in _BATCHES.items():
          sess.run(tf.global_variables_initializer())
          start = sess.run(net.loss, good)
          net.run(sess, 4, good)
          before = sess.run(net.kept)
          net.run(sess, 3, net.feed(change))
          # The quadratic model makes a tiny step of a curvature of 1e36.
          if fault not in _FINITE:
            for old, new in zip(before, sess.run(net.kept), strict=True):
              self.assertAllEqual(old, new, f"{name}: {fault}")
            self.assertEqual(
                3, sess.run(net.optimizer._num_skipped_steps), fault)
          net.run(sess, 15, good)
          self._assertFinite(sess, net, f"{fault}, {name}")
          self.assertLess(sess.run(net.loss, good), 0.7 * start,
                          f"{name}: {fault}")

  def testModelsThatStartBadly(self):
    def zero_last(values):
      return [*values[:2], 0. * values[2], 0. * values[3]]

    def dead(values):
      return [values[0], values[1] - 100., *values[2:]]

    def all_zero(values):
      return [0. * value for value in values]

    def same(x, w):
      return np.tile(x[:1], [_NUM_EXAMPLES, 1]), w

    faults = {
        "the last layer is zero": (zero_last, {}, None, 0.9),
        "the last layer is zero, no damping": (
            zero_last, {"damping": 0.}, None, None),
        "a layer is dead": (dead, {}, None, 1.),
        "a layer is dead, no damping": (dead, {"damping": 0.}, None, None),
        "all parameters are zero": (all_zero, {}, None, 1.),
        "inputs are zero": (None, {}, lambda x, w: (0. * x, w), 1.),
        "inputs are zero, no damping": (
            None, {"damping": 0.}, lambda x, w: (0. * x, w), None),
        "an input is constant, no damping": (
            None, {"damping": 0.}, lambda x, w: (_constant_column(x), w), None),
        "all examples are equal": (None, {}, same, None),
        "all examples are equal, no damping": (
            None, {"damping": 0.}, same, None),
        "inputs underflow": (None, {}, lambda x, w: (1e-25 * x, w), 1.),
        "inputs underflow, no damping": (
            None, {"damping": 0.}, lambda x, w: (1e-25 * x, w), None),
        "the damping is tiny": (None, {"damping": 1e-38}, None, None),
        "the learning rate is huge": (
            None, {"learning_rate": 1e30}, None, None),
        "the learning rate is NaN": (
            None, {"learning_rate": _nan_tensor}, None, None),
    }
    for fault, (initial, changes, batch, limit) in faults.items():
      for name, approx in (("regular", "diagonal"), ("qmodel", "kron")):
        with tf.Graph().as_default(), self.session() as sess, (
            standard_error.captured()):
          tf.set_random_seed(0)
          net = _Net(dict(_ALL_SETTINGS[name], **changes), initial, approx)
          feed = net.feed() if batch is None else net.feed(batch)
          sess.run(tf.global_variables_initializer())
          start = sess.run(net.loss, feed)
          net.run(sess, 12, feed)
          self._assertFinite(sess, net, f"{fault}, {name}, {approx}")
          if limit is not None:
            self.assertLessEqual(
                sess.run(net.loss, feed), limit * start + 1e-6,
                f"{fault}, {name}, {approx}")

  def testUpdatesInOneRunNeverDivideByTheDamping(self):
    """The first step does not move blocks without any covariance."""
    for approx in ("kron", "diagonal"):
      for _ in range(5):
        with tf.Graph().as_default(), self.session() as sess:
          tf.set_random_seed(0)
          net = _Net(_settings(damping=1e-6), approx=approx)
          sess.run(tf.global_variables_initializer())
          before = sess.run(net.variables)
          sess.run([net.train_op, *net.updates], net.feed())
          after = sess.run(net.variables)
          for old, new in zip(before, after, strict=True):
            # The gradient over the damping would be about 1e5.
            self.assertLess(np.max(np.abs(new - old)), 1e3)

  def testTheStepIsMadeOnceTheGradientIsNotZero(self):
    """A layer with G = 0 is damped with pi = 1 until G is known."""
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net(_settings(), lambda values: [
          *values[:2], 0. * values[2], 0. * values[3]])
      sess.run(tf.global_variables_initializer())
      before = sess.run(net.variables)
      net.run(sess, 1, net.feed())
      after = sess.run(net.variables)
      self.assertAllEqual(before[0], after[0])  # Its gradient is zero.
      self.assertNotAllClose(before[2], after[2])
      # Inverses are kept of both factors of the first layer, G = 0 too.
      factor, = [factor for factor in net.optimizer._fisher_est.factors
                 if factor.get_cov().shape.as_list() == 2 * [_SIZES[1]]
                 and not np.any(sess.run(factor.get_cov()))]
      (damping_func,) = [damping_func for (_, _), damping_func in
                         factor._registered.items()]
      self.assertAllClose(
          np.eye(_SIZES[1]) / 0.1,
          sess.run(factor.get_inverse(damping_func).to_dense()), 1e-5)

  def testRaiseNamesVariablesAndCauses(self):
    self.addCleanup(kfac.set_on_bad_numbers, "skip")
    kfac.set_on_bad_numbers("raise")
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net(_settings())
      sess.run(tf.global_variables_initializer())
      net.run(sess, 2, net.feed())
      # The counter of samples may go on.
      state = [variable for variable in net.state
               if "sample_counter" not in variable.name]
      before = sess.run(state)
      bad = net.feed(_BATCHES["an input is NaN"])
      with self.assertRaisesRegex(
          tf.errors.InvalidArgumentError,
          "kfac: a step was skipped, since these are not finite: the gradient "
          "or update of v0, .*the loss; it may be a batch that is not finite, "
          "too little damping"):
        sess.run(net.train_op, bad)
      with self.assertRaisesRegex(
          tf.errors.InvalidArgumentError,
          "kfac: (the inputs of CategoricalLogitsNegativeLogProbLoss are not "
          "finite; it may be a batch|.* was not updated, since)"):
        sess.run(net.updates[0], bad)
      for old, new in zip(before, sess.run(state), strict=True):
        self.assertAllEqual(old, new)


def _constant_column(x):
  x = x.copy()
  x[:, 0] = 1.
  return x


def _nan_tensor():
  return tf.constant(_NAN)


if __name__ == "__main__":
  tf.test.main()
