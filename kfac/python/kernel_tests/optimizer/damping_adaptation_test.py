"""Tests of damping adapted after each step, of rejection and calibration."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.kernel_tests import restored_constants
from kfac.python.ops.optimizer import damping as damping_lib
from kfac.python.ops.optimizer import quadratic_model

_DAMPING, _DECAY = 0.05, 0.8


def _optimizer(model, learning_rate=1., momentum_type="qmodel", **kwargs):
  """Makes an optimizer that evaluates each step on its own batch."""
  if momentum_type == "qmodel":
    kwargs.update(batch_size=dense_net.BATCH_SIZE, momentum=None)
  kwargs.setdefault("train_batch", (model.x, model.y))
  kwargs.setdefault("loss_fn", lambda batch: dense_net.loss_on(
      dense_net.logits_of(batch[0], model.variables), batch[1]))
  return kfac.KfacOptimizer(
      learning_rate, _DECAY, _DAMPING, model.layers, estimation_mode="exact",
      momentum_type=momentum_type, adapt_damping=True, **kwargs)


def _train(data, dtype=tf.float64, use_resource=True, **kwargs):
  """Trains in TensorFlow.

  Args:
    data: List of batches.
    dtype: Dtype of the model.
    use_resource: Whether its variables are resource variables.
    **kwargs: See _optimizer.

  Returns:
    List over steps of damping, rho, predicted change and stored loss; and
    the stacked variables after each step.
  """
  trail, params = [], []
  with tf.Graph().as_default(), tf.Session() as sess:
    model = dense_net.build(dtype, use_resource)
    optimizer = _optimizer(model, **kwargs)
    train_op = optimizer.minimize(model.loss)
    updates = optimizer.cov_update_op, optimizer.inv_update_op
    watched = (optimizer.damping, optimizer._rho, optimizer._q_model_change,
               optimizer._damping._prev_loss)
    sess.run(tf.global_variables_initializer())
    sess.graph.finalize()
    for batch in data:
      feed = dict(zip((model.x, model.y), batch, strict=True))
      for op in (*updates, train_op):
        sess.run(op, feed)
      trail.append(sess.run(watched))
      params.append(dense_net.stacked(sess.run(model.variables)))
  return trail, params


def _train_in_numpy(data, interval, decay, learning_rate=1., mult=1.,
                    bounds=(1e-8, np.inf), most=0.25):
  """The same in NumPy; `most`: max_predicted_decrease."""
  oracle = dense_net.Kfac(_DAMPING, _DECAY)
  damping, rho, trail, params = _DAMPING, 0., [], []
  for step, (x, y) in enumerate(data):
    oracle.damping, oracle.inverse_damping = damping, mult * damping
    before = dense_net.Net(oracle.params, x, y).loss
    oracle.step(x, y, learning_rate, momentum_type="qmodel")
    if (step + 1) % interval == 0:
      after = dense_net.Net(oracle.params, x, y).loss
      rho = (after - before) / oracle.change
      factor = decay**interval
      if rho < 0.25 or -oracle.change > most * before:
        damping /= factor
      elif rho > 0.75:
        damping *= factor
      damping = float(np.clip(damping, *bounds))
    trail.append((damping, rho, oracle.change, before))
    params.append(oracle.params)
  return trail, params


class ReductionRatioTest(tf.test.TestCase):

  def testDampingFollowsTheReductionRatio(self):
    data = dense_net.batches(6)
    moves = set()
    for interval, decay, rate in ((1, 0.7, 1.), (2, 0.5, 1.), (1, 0.7, 3.)):
      expected = _train_in_numpy(data, interval, decay, rate, most=np.inf)
      got = _train(data, learning_rate=rate, damping_adaptation_decay=decay,
                   damping_adaptation_interval=interval,
                   max_predicted_decrease=None)
      self.assertAllClose(expected[0], got[0], 1e-7, 1e-7)
      self.assertAllClose(expected[1][-1], got[1][-1], 1e-7, 1e-7)
      moves.update(np.sign(np.diff(
          [_DAMPING] + [values[0] for values in got[0]])))
    self.assertEqual({-1., 0., 1.}, moves)

  def testReferenceVariablesAreReadAfterTheStep(self):
    data = dense_net.batches(4)
    expected = _train_in_numpy(data, 1, 0.7)
    got = _train(data, use_resource=False, damping_adaptation_decay=0.7,
                 damping_adaptation_interval=1)
    self.assertAllClose(expected[0], got[0], 1e-7, 1e-7)

  def testInversesMayHaveAFractionOfTheDamping(self):
    data = dense_net.batches(4)
    expected = _train_in_numpy(data, 1, 0.7, mult=0.1)
    self.assertNotAllClose(
        expected[1][-1][0], _train_in_numpy(data, 1, 0.7)[1][-1][0])
    got = _train(data, precon_damping_mult=0.1, damping_adaptation_decay=0.7,
                 damping_adaptation_interval=1)
    self.assertAllClose(expected[0], got[0], 1e-7, 1e-7)
    self.assertAllClose(expected[1][-1], got[1][-1], 1e-7, 1e-7)

  def testThePredictedChangeHasTheDampingOfTheQuadraticModel(self):
    x, y = dense_net.batches(1)[0]
    for momentum_type in ("regular", "adam"):
      changes = []
      for damping, mult in ((_DAMPING, 0.1), (0.1 * _DAMPING, 1.)):
        with tf.Graph().as_default(), self.session() as sess:
          model = dense_net.build()
          optimizer = kfac.KfacOptimizer(
              0.1, _DECAY, damping, model.layers, estimation_mode="exact",
              momentum=0., momentum_type=momentum_type, adapt_damping=True,
              precon_damping_mult=mult, train_batch=0.,
              loss_fn=lambda _: tf.constant(0., tf.float64))
          train_op = optimizer.minimize(model.loss)
          sess.run(tf.global_variables_initializer())
          old = dense_net.stacked(sess.run(model.variables))
          new = dense_net.train(sess, model, optimizer, train_op, [(x, y)])
          factors = [sess.run(factor.get_cov())
                     for factor in optimizer._fisher_est.factors]
          changes.append(sess.run(optimizer._q_model_change))
      expected = 0.
      grads = dense_net.Net(old, x, y).grads
      for index, (before, after, grad) in enumerate(
          zip(old, new, grads, strict=True)):
        A, G = factors[2 * index:2 * index + 2]
        pi = np.sqrt(np.trace(A) / len(A) / (np.trace(G) / len(G)))
        A = A + np.sqrt(_DAMPING) * pi * np.eye(len(A))
        G = G + np.sqrt(_DAMPING) / pi * np.eye(len(G))
        step = after - before
        expected += np.sum(step * grad) + np.sum(step * (A @ step @ G)) / 2.
      self.assertAllClose(expected, changes[0], 1e-7, 1e-12)
      self.assertNotAllClose(changes[1], changes[0])

  def testDampingStaysWithinItsBounds(self):
    data = dense_net.batches(5)
    for rate in (1., 3.):
      bounds = 0.045, 0.055
      expected = _train_in_numpy(data, 1, 0.7, rate, bounds=bounds)
      self.assertIn(expected[0][-1][0], bounds)
      got = _train(
          data, learning_rate=rate, damping_adaptation_decay=0.7,
          damping_adaptation_interval=1, min_damping=bounds[0],
          max_damping=bounds[1])
      self.assertAllClose(expected[0], got[0], 1e-7, 1e-7)

  def testConstantAndGivenDampingOfInverses(self):
    def multiplied(damping):
      optimizer = kfac.KfacOptimizer(
          0.1, _DECAY, damping, model.layers, precon_damping_mult=0.5)
      return optimizer._fisher_est.damping

    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build()
      self.assertEqual(0.2, multiplied(0.4))
      self.assertEqual(0.2, multiplied(lambda: 0.4))
      variable = tf.get_variable("lambda", initializer=0.4)
      sess.run(variable.initializer)
      self.assertAllClose([0.2, 0.2], sess.run([
          multiplied(variable), multiplied(tf.constant(0.4))]))

  def testGradientsMayBeAppliedWithoutMinimize(self):
    data = dense_net.batches(1)
    expected = _train_in_numpy(data, 1, 0.7)
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build(tf.float64)
      optimizer = _optimizer(model, damping_adaptation_decay=0.7,
                             damping_adaptation_interval=1)
      train_op = optimizer.apply_gradients(
          optimizer.compute_gradients(model.loss))
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      sess.run(tf.global_variables_initializer())
      feed = dict(zip((model.x, model.y), data[0], strict=True))
      for op in (*updates, train_op):
        sess.run(op, feed)
      self.assertAllClose(expected[0][0][:2], sess.run(
          (optimizer.damping, optimizer._rho)), 1e-7, 1e-7)

  def testArguments(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      for kwargs, error, message in (
          ({"loss_fn": None}, TypeError,
           "loss_fn must be given with adapt_damping."),
          ({"train_batch": None}, TypeError,
           "train_batch must be given with adapt_damping."),
          ({"adapted_damping": True}, TypeError,
           "adapted_damping is no argument of KfacOptimizer."),
          ({"max_damping": 1e-9}, ValueError,
           "max_damping must be finite and at least 1e-08, got 1e-09."),
          ({"precon_damping_mult": 0.}, ValueError,
           "precon_damping_mult must be finite and more than 0.0, got 0.0."),
          ({"max_loss_increase": -1.}, ValueError,
           "max_loss_increase must be finite and at least 0.0, got -1.0."),
          ({"max_predicted_decrease": 0.}, ValueError,
           "max_predicted_decrease must be finite and more than 0.0, got "
           "0.0.")):
        with self.assertRaises(error) as caught:
          _optimizer(model, **kwargs)
        self.assertEqual(message, str(caught.exception))
      with self.assertRaisesRegex(
          ValueError, "^max_damping must not be given unless adapt_damping is "
          "True.$"):
        kfac.KfacOptimizer(0.1, 0.9, 0.1, model.layers, max_damping=0.1)


class PredictedDecreaseTest(tf.test.TestCase):

  def testDampingRisesWhileAStepRemovesTooMuch(self):
    data = dense_net.batches(5)
    kwargs = {"damping_adaptation_interval": 1, "damping_adaptation_decay": 0.7}
    unbound = _train_in_numpy(data, 1, 0.7, most=np.inf)[0]
    shares = [-change / loss for _, _, change, loss in unbound]
    # Some steps exceed the bound, others do not.
    most = float(np.median(shares) + min(shares)) / 2.
    expected = _train_in_numpy(data, 1, 0.7, most=most)
    moves = np.sign(np.diff([_DAMPING] + [row[0] for row in expected[0]]))
    self.assertContainsSubset({-1., 1.}, set(moves))
    self.assertNotAllClose(unbound[-1][0], expected[0][-1][0])
    got = _train(data, max_predicted_decrease=most, **kwargs)
    self.assertAllClose(expected[0], got[0], 1e-7, 1e-7)
    self.assertAllClose(expected[1][-1], got[1][-1], 1e-7, 1e-7)

  def testBoundIsAQuarterByDefault(self):
    data = dense_net.batches(2)
    kwargs = {"damping_adaptation_interval": 1, "damping_adaptation_decay": 0.7}
    expected = _train_in_numpy(data, 1, 0.7, most=0.25)
    self.assertNotAllClose(
        expected[0], _train_in_numpy(data, 1, 0.7, most=np.inf)[0])
    self.assertAllClose(expected[0], _train(data, **kwargs)[0], 1e-7, 1e-7)

  def testBoundIsOfTheBestMultipleOfAStep(self):
    # However small the learning rate is, the direction is the same.
    x, y = dense_net.batches(1)[0]
    oracle = dense_net.Kfac(_DAMPING, _DECAY)
    net = oracle.update(x, y)
    precon = oracle.precondition(net.grads)
    share = dense_net.dot(net.grads, precon)**2 / (
        2. * dense_net.dot(precon, oracle.multiply(precon))) / net.loss
    for rate in (1., 1e-3):
      for mult, omega in ((0.99, 1. / 0.7), (1.01, 0.7)):
        trail, _ = _train(
            [(x, y)], learning_rate=rate, momentum_type="regular",
            momentum=0.5, max_predicted_decrease=mult * share,
            damping_adaptation_interval=1, damping_adaptation_decay=0.7,
            loss_fn=lambda _, rate=rate: tf.constant(-1e3, tf.float64))
        self.assertAllClose(_DAMPING * omega, trail[0][0])

  def testNoBoundWhileTheLossIsNotPositive(self):
    data = dense_net.batches(1)
    for offset, omega in ((0., 1. / 0.7), (-100., 0.7)):
      with tf.Graph().as_default(), self.session() as sess:
        model = dense_net.build(tf.float64)
        optimizer = _optimizer(
            model, damping_adaptation_interval=1, damping_adaptation_decay=0.7,
            learning_rate=0.5, max_predicted_decrease=1e-6,
            loss_fn=lambda batch, model=model, offset=offset: offset + (
                dense_net.loss_on(dense_net.logits_of(
                    batch[0], model.variables), batch[1])))
        train_op = optimizer.minimize(model.loss + offset)
        updates = optimizer.cov_update_op, optimizer.inv_update_op
        sess.run(tf.global_variables_initializer())
        feed = dict(zip((model.x, model.y), data[0], strict=True))
        for op in (*updates, train_op):
          sess.run(op, feed)
        rho, damping = sess.run((optimizer._rho, optimizer.damping))
        self.assertGreater(rho, 0.75)
        self.assertAllClose(_DAMPING * omega, damping)


class BadNumbersTest(tf.test.TestCase):

  def _control(self, loss_fn, **kwargs):
    """Makes a DampingControl that judges a step which changes nothing.

    Args:
      loss_fn: Function that returns the loss after the step.
      **kwargs: Of damping.Rule.

    Returns:
      DampingControl, placeholders of the loss before the step and of the
      predicted change, and the op of the step.
    """
    control = damping_lib.DampingControl(_DAMPING)
    control.adapt(damping_lib.Rule(
        batch=None, loss_fn=loss_fn, interval=1, decay=0.5, **kwargs),
                  tf.float32)
    loss, change = (tf.placeholder(tf.float32, []) for _ in range(2))
    variable = tf.get_variable("x", initializer=1.)
    velocity = tf.get_variable("v", initializer=1.)
    state = control.state_before_step(loss, [variable])
    with tf.control_dependencies(state.ops):
      ((step, _),) = control.with_predicted_change(
          [(tf.constant(0.), variable)],
          lambda: quadratic_model.Prediction(change, -change),
          tf.constant(True))
      step = tf.assign_sub(variable, step).op
    return control, loss, change, control.after_step(
        step, state, lambda _: velocity)

  def _run(self, cases, **kwargs):
    """Runs steps.

    Args:
      cases: List of loss before, loss after and predicted change.
      **kwargs: Of damping.Rule.

    Returns:
      List of damping, rho, predicted change, stored loss and rejected steps.
    """
    with tf.Graph().as_default(), self.session() as sess:
      after = tf.placeholder(tf.float32, [])
      control, loss, change, step = self._control(lambda _: after, **kwargs)
      watched = [control.damping, control.rho, control.predicted_change,
                 control._prev_loss]
      if control.num_rejected is not None:
        self.assertEqual(tf.int64, control.num_rejected.dtype.base_dtype)
        watched.append(control.num_rejected)
      sess.run(tf.global_variables_initializer())
      rows = []
      for before_value, after_value, change_value in cases:
        sess.run(step, {loss: before_value, after: after_value,
                        change: change_value})
        rows.append(sess.run(watched))
      return rows

  def testOnlyFiniteNumbersEnter(self):
    good = (4., 3.5, -0.5)
    (start,) = self._run([good])
    self.assertAllClose([_DAMPING / 2., 1., -0.5, 4.], start)
    for bad in (np.nan, np.inf, -np.inf):
      for case, change, loss in (
          ((bad, 3., -0.5), -0.5, 4.), ((8., bad, -0.5), -0.5, 8.),
          ((8., 7., bad), 0., 8.), ((bad, bad, bad), 0., 4.)):
        _, got = self._run([good, case])
        self.assertAllClose([_DAMPING / 2., 1., change, loss], got)

  def testRejectedStepsAreCounted(self):
    # Loss before, loss after -> damping over the initial one, rho, steps.
    table = (((4., 3.5), 0.5, 1., 0), ((4., 6.), 1., -np.inf, 1),
             ((4., np.nan), 2., -np.inf, 2), ((4., np.inf), 4., -np.inf, 3),
             # A bad batch: the step is not to blame.
             ((np.nan, np.nan), 4., -np.inf, 3), ((np.inf, 1.), 4., -np.inf, 3),
             ((4., 3.5), 2., 1., 3))
    rows = self._run([(*losses, -0.5) for losses, *_ in table],
                     max_loss_increase=1.)
    for (_, factor, rho, count), row in zip(table, rows, strict=True):
      self.assertAllClose([factor * _DAMPING, rho], row[:2])
      self.assertEqual(count, row[-1])

  def testCountIsMadeOnlyWhereStepsMayBeRejected(self):
    restored_constants.restore_after(self)

    def names(**kwargs):
      with tf.Graph().as_default():
        self._control(lambda _: tf.constant(0.), **kwargs)
        return [v.op.name for v in tf.global_variables()]

    self.assertIn("num_rejected", names(max_loss_increase=0.))
    self.assertNotIn("num_rejected", names())
    kfac.use_contrib_numerics()
    self.assertNotIn("num_rejected", names(max_loss_increase=0.))


class RejectionTest(tf.test.TestCase):

  def testStepThatIncreasesTheLossIsUndone(self):
    data = dense_net.batches(3)
    for use_resource in (True, False):
      # With a rate of 40 every step overshoots.
      trail, params = _train(
          data, use_resource=use_resource, learning_rate=40.,
          max_loss_increase=0.1, damping_adaptation_interval=2,
          damping_adaptation_decay=0.5)
      start = dense_net.initial_params()
      for step in range(3):
        self.assertAllClose(start, params[step], 0., 0.)
        self.assertEqual(-np.inf, trail[step][1])
        self.assertAllClose(_DAMPING * 4.**(step + 1), trail[step][0])

  def testStepThatReducesTheLossIsKept(self):
    data = dense_net.batches(4)
    kwargs = {"damping_adaptation_interval": 1, "damping_adaptation_decay": 0.7}
    expected = _train_in_numpy(data, 1, 0.7)
    got = _train(data, max_loss_increase=10., **kwargs)
    self.assertAllClose(expected[0], got[0], 1e-7, 1e-7)
    self.assertAllClose(expected[1][-1], got[1][-1], 1e-7, 1e-7)

  def testStepToALossOfNaNIsUndone(self):
    data = dense_net.batches(2)
    trail, params = _train(
        data, max_loss_increase=0.1, damping_adaptation_interval=5,
        damping_adaptation_decay=0.5,
        loss_fn=lambda batch: tf.constant(np.nan, tf.float64))
    self.assertAllClose(dense_net.initial_params(), params[-1], 0., 0.)
    self.assertAllClose(_DAMPING * 4.**5, trail[-1][0])

  def testVelocityOfARejectedStepIsReset(self):
    data = dense_net.batches(1)[0]
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build(tf.float64)
      optimizer = _optimizer(
          model, learning_rate=40., momentum_type="regular", momentum=0.9,
          max_loss_increase=0.1)
      train_op = optimizer.minimize(model.loss)
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      sess.run(tf.global_variables_initializer())
      feed = dict(zip((model.x, model.y), data, strict=True))
      for op in (*updates, train_op):
        sess.run(op, feed)
      for variable in model.variables:
        velocity = sess.run(optimizer.get_slot(variable, "velocity"))
        self.assertAllEqual(np.zeros_like(velocity), velocity)


class CalibrateDampingTest(tf.test.TestCase):

  def testPicksTheBestAndRestoresTheRest(self):
    batch = dense_net.batches(1)[0]
    candidates = (1e-4, 1e-2, 1., 100.)
    losses = {}
    for damping in candidates:
      oracle = dense_net.Kfac(damping, _DECAY)
      oracle.step(*batch, 1., momentum_type="qmodel")
      losses[damping] = dense_net.Net(oracle.params, *batch).loss
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build(tf.float64)
      optimizer = _optimizer(model)
      train_op = optimizer.minimize(model.loss)
      self.assertIsNotNone((optimizer.cov_update_op, optimizer.inv_update_op))
      sess.run(tf.global_variables_initializer())
      others = [v for v in tf.global_variables() if v is not optimizer.damping]
      sess.graph.finalize()
      before = sess.run(others)
      feed = dict(zip((model.x, model.y), batch, strict=True))
      best = kfac.optimizer.calibrate_damping(
          sess, optimizer, train_op, model.loss, feed, candidates)
      self.assertEqual(min(losses, key=losses.get), best)
      self.assertEqual(best, sess.run(optimizer.damping))
      for old, new in zip(before, sess.run(others), strict=True):
        self.assertAllEqual(old, new)

  def testASkippedStepIsNoCandidate(self):
    """With a damping of 1e-30 the step overflows, and nothing moves."""
    batch = dense_net.batches(1)[0]
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build(tf.float32)
      optimizer = _optimizer(model, 1e30, "regular", momentum=0.)
      train_op = optimizer.minimize(model.loss)
      sess.run(tf.global_variables_initializer())
      feed = dict(zip((model.x, model.y), batch, strict=True))
      feed[model.x] = np.full_like(feed[model.x], np.nan)
      with self.assertRaisesRegex(
          ValueError, r"^candidates must have one with a finite loss, got "
          r"\[0.1, 1.0\].$"):
        kfac.optimizer.calibrate_damping(
            sess, optimizer, train_op, tf.constant(1.), feed, (0.1, 1.))

  def testATieIsAnError(self):
    batch = dense_net.batches(1)[0]
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build(tf.float64)
      damping = tf.get_variable("damping", initializer=0.1, trainable=False)
      optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
          num_burnin_steps=3, learning_rate=1., momentum_type="qmodel",
          momentum=0., batch_size=dense_net.BATCH_SIZE, damping=damping,
          layer_collection=model.layers)
      train_op = optimizer.minimize(model.loss)
      self.assertIsNotNone((optimizer.cov_update_op, optimizer.inv_update_op))
      sess.run(tf.global_variables_initializer())
      feed = dict(zip((model.x, model.y), batch, strict=True))
      before = sess.run(tf.global_variables())
      with self.assertRaisesRegex(
          ValueError, r"^candidates must lead to different losses after a run "
          r"of train_op, got [0-9.]+ for each of \[0.1, 1.0\]; during a "
          r"burn-in the parameters do not move\.$"):
        kfac.optimizer.calibrate_damping(
            sess, optimizer, train_op, model.loss, feed, (0.1, 1.))
      for old, new in zip(before, sess.run(tf.global_variables()),
                          strict=True):
        self.assertAllEqual(old, new)

  def testErrorsChangeNothing(self):
    batch = dense_net.batches(1)[0]
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build(tf.float64)
      constant = kfac.KfacOptimizer(0.1, 0.9, 0.1, model.layers)
      with self.assertRaisesRegex(
          ValueError, "^optimizer must have a variable as its damping, got "
          "0.1.$"):
        kfac.optimizer.calibrate_damping(sess, constant, None, model.loss)
      optimizer = _optimizer(model)
      train_op = optimizer.minimize(model.loss)
      self.assertIsNotNone((optimizer.cov_update_op, optimizer.inv_update_op))
      sess.run(tf.global_variables_initializer())
      feed = dict(zip((model.x, model.y), batch, strict=True))
      before = sess.run(tf.global_variables())
      for loss, candidates, message in (
          (model.loss, (), r"one number > 0 or more, got \[\]"),
          (model.loss, (0.,), r"one number > 0 or more, got \[0.0\]"),
          (model.loss * np.nan, (1.,), r"with a finite loss, got \[1.0\]")):
        with self.assertRaisesRegex(
            ValueError, f"^candidates must (be|have one) {message}.$"):
          kfac.optimizer.calibrate_damping(
              sess, optimizer, train_op, loss, feed, candidates)
        for old, new in zip(before, sess.run(tf.global_variables()),
                            strict=True):
          self.assertAllEqual(old, new)


if __name__ == "__main__":
  tf.test.main()
