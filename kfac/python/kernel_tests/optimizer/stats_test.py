"""The stats of steps and factors equal NumPy's, and cost nothing unfetched."""

import os
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.kernel_tests import graph_modes
from kfac.python.ops import fisher_factors
from kfac.python.ops import linear_operator as lo
from kfac.python.ops.optimizer import damping as damping_lib
from kfac.python.ops.optimizer import stats as stats_lib

_DAMPING, _DECAY, _RATE = 0.05, 0.8, 0.1


def _settings(momentum_type="regular", **kwargs):
  """Returns arguments of an optimizer of this momentum type."""
  kwargs = {"learning_rate": _RATE, "cov_ema_decay": _DECAY,
            "damping": _DAMPING, "estimation_mode": "exact",
            "momentum_type": momentum_type, **kwargs}
  if momentum_type == "qmodel":
    kwargs.update(momentum=0., batch_size=dense_net.BATCH_SIZE)
  return kwargs


def _adaptation(model, **kwargs):
  """Returns arguments that adapt the damping after each step."""
  return {"adapt_damping": True, "damping_adaptation_interval": 1,
          "damping_adaptation_decay": 0.7, "train_batch": (model.x, model.y),
          "loss_fn": lambda batch: dense_net.loss_on(
              dense_net.logits_of(batch[0], model.variables), batch[1]),
          **kwargs}


def _feed(model, batch):
  return dict(zip((model.x, model.y), batch, strict=True))


def _initialize(sess):
  """Initializes the variables, and forbids further nodes."""
  sess.run(tf.global_variables_initializer())
  sess.graph.finalize()


def _expected(oracle, batch, momentum_type="regular", **kwargs):
  """Makes a step in NumPy; returns the stats of it."""
  old = oracle.params
  grads = dense_net.Net(old, *batch).grads
  oracle.step(*batch, _RATE, momentum_type=momentum_type, **kwargs)
  step = [new - value for new, value in zip(oracle.params, old, strict=True)]
  norms = [np.sqrt(dense_net.dot(v, v)) for v in (grads, step)]
  alpha, mu = -1., 0.9
  if momentum_type == "qmodel":
    alpha, mu = oracle.coefficients
  elif kwargs:
    alpha = -min(1., np.sqrt(kwargs["norm_constraint"] / (
        _RATE**2 * dense_net.dot(grads, oracle.precondition(grads)))))
  return {"gradient_norm": norms[0], "step_norm": norms[1],
          "cosine": -dense_net.dot(grads, step) / np.prod(norms),
          "alpha": alpha, "mu": mu, "predicted_change": oracle.change}


def _conditions(oracle):
  """Returns the conditions of the damped A and G of both layers."""
  damped = oracle._damped([None, None], oracle.damping)
  return [np.linalg.cond(matrix) for A, G, _ in damped for matrix in (A, G)]


class StepTest(tf.test.TestCase):

  def _assertEqualsNumPy(self, momentum_type, use_resource=True,
                         dtype=tf.float64, tolerance=1e-9, adapt=False,
                         **kwargs):
    """Compares the stats of three steps, and their conditions, with NumPy."""
    oracle = dense_net.Kfac(_DAMPING, _DECAY)
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build(dtype, use_resource)
      # The interval is never reached: the damping does not change.
      adaptation = _adaptation(
          model, damping_adaptation_interval=9) if adapt else {}
      optimizer = kfac.KfacOptimizer(
          layer_collection=model.layers,
          **_settings(momentum_type, **kwargs, **adaptation))
      train_op = optimizer.minimize(model.loss)
      stats = optimizer.stats()
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      _initialize(sess)
      for batch in dense_net.batches(3):
        feed = _feed(model, batch)
        for op in updates:
          sess.run(op, feed)
        expected = _expected(oracle, batch, momentum_type, **kwargs)
        self.assertCountEqual(stats_lib.OF_STEP, expected)
        # Read before the step, whose damping it is.
        got = sess.run({name: value for name, value in stats.items()
                        if name.startswith("condition/")})
        self.assertAllClose(_conditions(oracle), list(got.values()),
                            1e4 * tolerance, 0.)
        got, _ = sess.run(
            [{name: stats[name] for name in expected}, train_op], feed)
        self.assertAllClose(expected, got, tolerance, tolerance)
      self.assertAllClose(
          oracle.params, dense_net.stacked(sess.run(model.variables)),
          tolerance, tolerance)

  def testRegularMomentum(self):
    self._assertEqualsNumPy("regular", use_resource=False)

  def testNormConstraintIsAlpha(self):
    self._assertEqualsNumPy("regular", norm_constraint=1e-3)

  def testAdamMomentum(self):
    self._assertEqualsNumPy("adam")

  def testQuadraticModel(self):
    self._assertEqualsNumPy("qmodel")
    self._assertEqualsNumPy(
        "qmodel", use_resource=False, dtype=tf.float32, tolerance=1e-3)

  def testAdaptedDampingHasTheSameValues(self):
    for momentum_type in ("regular", "qmodel"):
      self._assertEqualsNumPy(momentum_type, adapt=True)

  def testSparseGradientsAndHalfPrecision(self):
    table, ids, y = np.eye(4, 3), np.array([3, 0, 3]), np.array([0, 1, 2])
    with tf.Graph().as_default(), tf.Session() as sess:
      params = tf.get_variable(
          "table", initializer=table.astype(np.float16))
      logits = tf.nn.embedding_lookup(params, ids)
      layers = kfac.LayerCollection()
      layers.register_embedding(params, tf.constant(ids, tf.int32), logits)
      layers.register_categorical_predictive_distribution(logits)
      optimizer = kfac.KfacOptimizer(
          layer_collection=layers, **_settings("regular"))
      train_op = optimizer.minimize(
          dense_net.loss_on(tf.cast(logits, tf.float32), y))
      stats = optimizer.stats()
      _initialize(sess)
      got, _ = sess.run([stats, train_op])
    p = np.exp(table[ids]) / np.sum(np.exp(table[ids]), 1, keepdims=True)
    grad = np.zeros_like(table)
    np.add.at(grad, ids, (p - np.eye(3)[y]) / 3.)
    self.assertAllClose(np.linalg.norm(grad), got["gradient_norm"], 1e-3)
    # No inverse exists yet, and the diagonal factor never has one.
    self.assertEqual((0., 0.), (got["step_norm"], got["cosine"]))
    self.assertEqual(
        [1, 2], [sum(name.startswith(kind) for name in got)
                 for kind in ("age/", "condition/")])

  def testCosineIsMinusOneAgainstTheGradientAndZeroWithoutOne(self):
    with tf.Graph().as_default(), self.session() as sess:
      tiny = [tf.constant([3e-30, 4e-30], tf.float64), tf.zeros([2, 1])]
      tiny[1] = tf.cast(tiny[1], tf.float64)
      other = [tf.constant([-3e30, -4e30], tf.float64), tiny[1]]
      zero = [tf.zeros_like(vector) for vector in tiny]
      self.assertAllClose([5e-30, -1., 0., 0.], sess.run([
          stats_lib.norm(tiny), stats_lib.cosine(tiny, other),
          stats_lib.cosine(tiny, zero), stats_lib.cosine(zero, tiny)]),
          1e-12, 0.)

  def testSubclassMayMakeItsOwnSteps(self):
    class Doubled(kfac.KfacOptimizer):

      def _compute_update_steps(self, grads_and_vars):
        steps = super()._compute_update_steps(grads_and_vars)
        return ((2. * step, variable) for step, variable in steps)

    x, y = dense_net.batches(1)[0]
    oracle = dense_net.Kfac(_DAMPING, _DECAY)
    expected = _expected(oracle, (x, y))
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      optimizer = Doubled(layer_collection=model.layers, **_settings())
      train_op = optimizer.minimize(model.loss)
      stats = optimizer.stats()
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      _initialize(sess)
      feed = {model.x: x, model.y: y}
      for op in updates:
        sess.run(op, feed)
      got, _ = sess.run([stats, train_op], feed)
    self.assertAllClose(2. * expected["step_norm"], got["step_norm"])
    self.assertAllClose(expected["cosine"], got["cosine"])
    for name in ("alpha", "mu", "predicted_change"):
      self.assertNotIn(name, got)


class FetchTest(tf.test.TestCase):

  def _build(self, sess, cls=kfac.KfacOptimizer, stats=True, **kwargs):
    """Returns a model, its train op and the stats, after a first step."""
    model = dense_net.build()
    optimizer = cls(layer_collection=model.layers, **_settings(**kwargs))
    train_op = optimizer.minimize(model.loss)
    made = optimizer.stats() if stats else None
    updates = optimizer.cov_update_op, optimizer.inv_update_op
    _initialize(sess)
    feed = _feed(model, dense_net.batches(1)[0])
    for op in (*updates, train_op):
      sess.run(op, feed)
    return model, train_op, made, feed

  def _executed(self, stats):
    """Returns the names of the nodes that a step runs."""
    with tf.Graph().as_default(), tf.Session() as sess:
      _, train_op, _, feed = self._build(sess, stats=stats)
      metadata = tf.RunMetadata()
      sess.run(train_op, feed, run_metadata=metadata, options=tf.RunOptions(
          trace_level=tf.RunOptions.FULL_TRACE))
    return {node.node_name for device in metadata.step_stats.dev_stats
            for node in device.node_stats}

  def testStepDoesNoWorkForStats(self):
    executed = self._executed(stats=True)
    self.assertNotEmpty(executed)
    self.assertEqual(self._executed(stats=False), executed)

  def testStateIsReadWithoutFeedOrChange(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      _, _, stats, _ = self._build(sess)
      variables = tf.global_variables()
      before = sess.run(variables)
      state = {name: tensor for name, tensor in stats.items()
               if name not in stats_lib.OF_STEP}
      self.assertAllClose(_DAMPING, sess.run(state)["damping"])
      self.assertAllClose(before, sess.run(variables), 0., 0.)

  def testValueOfAStepRunsAllOfItOnce(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      model, train_op, stats, feed = self._build(sess)
      saved = sess.run(tf.global_variables())
      sess.run(train_op, feed)
      expected = sess.run(tf.global_variables())
      self.assertNotAllClose(saved[0], expected[0])
      for fetches in ([stats["mu"]], [stats["gradient_norm"], train_op],
                      [stats[name] for name in stats_lib.OF_STEP]):
        for variable, value in zip(tf.global_variables(), saved, strict=True):
          variable.load(value, sess)
        sess.run(fetches, feed)
        self.assertAllClose(
            expected, sess.run(tf.global_variables()), 0., 0.)

  def testTensorsAreMadeOnce(self):
    with tf.Graph().as_default() as graph:
      model = dense_net.build()
      optimizer = kfac.KfacOptimizer(
          layer_collection=model.layers, **_settings())
      train_op = optimizer.minimize(model.loss)
      with tf.control_dependencies([train_op]):
        stats = optimizer.stats()
      graph.finalize()
      self.assertEqual(stats, optimizer.stats())
      self.assertNotIn(train_op, stats["damping"].op.control_inputs)

  def testIsCalledAfterMinimizeAndBeforeTheGraphIsFinal(self):
    with tf.Graph().as_default() as graph:
      model = dense_net.build()
      optimizer = kfac.KfacOptimizer(
          layer_collection=model.layers, **_settings())
      with self.assertRaisesRegex(
          ValueError,
          "^stats must be called after minimize or apply_gradients.$"):
        optimizer.stats()
      optimizer.minimize(model.loss)
      graph.finalize()
      with self.assertRaisesRegex(
          ValueError,
          "^stats must first be called before the graph is finalized.$"):
        optimizer.stats()

  def testStepInABranchHasNoValuesButTheGradient(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2), tf.Graph().as_default(), (
          tf.Session()) as sess:
        model, train_op, stats, feed = self._build_with_burnin(sess)
        self.assertEqual(
            {"gradient_norm"}, set(stats_lib.OF_STEP).intersection(stats))
        for step in range(3):
          params = dense_net.stacked(sess.run(model.variables))
          got, _ = sess.run([stats, train_op], feed)
          grads = dense_net.Net(
              params, feed[model.x], feed[model.y]).grads
          self.assertAllClose(
              np.sqrt(dense_net.dot(grads, grads)), got["gradient_norm"])
          moved = dense_net.stacked(sess.run(model.variables))
          self.assertEqual(step >= 2, not np.allclose(params[0], moved[0]))

  def testPredictedChangeOfAStepInABranchIsThatOfItsVariable(self):
    oracle = dense_net.Kfac(_DAMPING, _DECAY)
    with tf.Graph().as_default(), tf.Session() as sess:
      _, train_op, stats, feed = self._build_with_burnin(sess, adapt=True)
      self.assertEqual({"gradient_norm", "predicted_change"},
                       set(stats_lib.OF_STEP).intersection(stats))
      got = [sess.run([stats["predicted_change"], train_op], feed)[0]
             for _ in range(3)]
    x_and_y = dense_net.batches(1)[0]
    self.assertAllClose(
        [0., 0., _expected(oracle, x_and_y)["predicted_change"]], got)

  def testStepInABranchOfTheProgramHasNoValues(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2), tf.Graph().as_default():
        model = dense_net.build()
        optimizer = kfac.KfacOptimizer(
            layer_collection=model.layers, **_settings())
        grads_and_vars = optimizer.compute_gradients(model.loss)

        def step(optimizer=optimizer, grads_and_vars=grads_and_vars):
          with tf.control_dependencies([
              optimizer.apply_gradients(grads_and_vars)]):
            return tf.constant(True)

        tf.cond(tf.constant(True), step, lambda: tf.constant(False))
        stats = optimizer.stats()
        self.assertEmpty(set(stats_lib.OF_STEP).intersection(stats))
        self.assertIn("damping", stats)

  def _build_with_burnin(self, sess, adapt=False):
    model = dense_net.build()
    optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
        1, 1, num_burnin_steps=2, layer_collection=model.layers,
        **_settings(**_adaptation(model) if adapt else {}))
    train_op = optimizer.minimize(model.loss)
    stats = optimizer.stats()
    _initialize(sess)
    return model, train_op, stats, _feed(model, dense_net.batches(1)[0])

  def testOptimizerThatRunsItsUpdatesHasTheSameValues(self):
    oracle = dense_net.Kfac(_DAMPING, _DECAY)
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
          1, 1, layer_collection=model.layers, **_settings())
      train_op = optimizer.minimize(model.loss)
      stats = optimizer.stats()
      _initialize(sess)
      for batch in dense_net.batches(3):
        expected = _expected(oracle, batch)
        got, _ = sess.run([stats, train_op], _feed(model, batch))
        self.assertAllClose(
            expected, {name: got[name] for name in expected}, 1e-9, 1e-9)
      got = sess.run({name: stats[name] for name in stats
                      if name not in stats_lib.OF_STEP})
      self.assertAllEqual(4 * [0.], [value for name, value in got.items()
                                     if name.startswith("age/")])


class DampingTest(tf.test.TestCase):

  def testChangesAreThoseOfTheStepLastJudged(self):
    oracle = dense_net.Kfac(_DAMPING, _DECAY)
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      optimizer = kfac.KfacOptimizer(layer_collection=model.layers, **_settings(
          "qmodel", **_adaptation(model, damping_adaptation_interval=2)))
      train_op = optimizer.minimize(model.loss)
      stats = optimizer.stats()
      names = "rho", "actual_change", "damping"
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      _initialize(sess)
      self.assertEqual([0., 0.], sess.run([stats[n] for n in names[:2]]))
      for step, batch in enumerate(dense_net.batches(4)):
        feed = _feed(model, batch)
        for op in updates:
          sess.run(op, feed)
        oracle.damping = oracle.inverse_damping = sess.run(stats["damping"])
        before = dense_net.Net(oracle.params, *batch).loss
        predicted = _expected(oracle, batch, "qmodel")["predicted_change"]
        got, _ = sess.run([stats["predicted_change"], train_op], feed)
        self.assertAllClose(predicted, got, 1e-9, 1e-9)
        if step % 2:
          actual = dense_net.Net(oracle.params, *batch).loss - before
          expected = actual / predicted, actual
        got = sess.run([stats[name] for name in names])
        if step:  # The values of step 1 are also those after step 2.
          self.assertAllClose(expected, got[:2], 1e-8, 1e-8)
      self.assertNotEqual(_DAMPING, got[2])

  def testRejectedStepHasItsValues(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      optimizer = kfac.KfacOptimizer(layer_collection=model.layers, **_settings(
          learning_rate=1e3, **_adaptation(model, max_loss_increase=0.)))
      train_op = optimizer.minimize(model.loss)
      stats = optimizer.stats()
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      _initialize(sess)
      feed = _feed(model, dense_net.batches(1)[0])
      for op in updates:
        sess.run(op, feed)
      before = sess.run(model.variables)
      norm, _ = sess.run([stats["step_norm"], train_op], feed)
      self.assertAllClose(before, sess.run(model.variables), 0., 0.)
      self.assertGreater(norm, 1.)
      self.assertEqual(-np.inf, sess.run(stats["rho"]))

  def testStepsThatAreJudgedBeforeTheNext(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      global_step = tf.train.create_global_step()
      optimizer = kfac.KfacOptimizer(
          layer_collection=model.layers, **_settings())
      optimizer.set_damping_adaptation_params(
          is_chief=True, prev_train_batch=(model.x, model.y),
          loss_fn=_adaptation(model)["loss_fn"], damping_adaptation_interval=1)
      train_op = optimizer.minimize(model.loss, global_step)
      stats = optimizer.stats()
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      _initialize(sess)
      feed = _feed(model, dense_net.batches(1)[0])
      losses, params, predicted = [], [], []
      for _ in range(2):
        for op in updates:
          sess.run(op, feed)
        params.append(dense_net.stacked(sess.run(model.variables)))
        losses.append(sess.run(model.loss, feed))
        predicted.append(
            sess.run([stats["predicted_change"], train_op], feed)[0])
      actual = losses[1] - losses[0]
      got = sess.run([stats[name] for name in ("rho", "actual_change")])
    oracle = dense_net.Kfac(_DAMPING, _DECAY)
    batch = feed[model.x], feed[model.y]
    self.assertAllClose(
        _expected(oracle, batch)["predicted_change"], predicted[0])
    self.assertAllClose([actual / predicted[0], actual], got)

  def testConstantDampingHasNoRatioAndCountersAreShown(self):
    with tf.Graph().as_default(), self.session() as sess:
      control = damping_lib.DampingControl(lambda: tf.constant(0.5))
      self.assertAllClose(
          {"damping": 0.5}, sess.run(stats_lib.of_optimizer(control)))
      control.num_rejected = tf.constant(3, tf.int64)
      self.assertAllClose(
          {"damping": 0.5, "rejected_steps": 3, "skipped_steps": 4},
          sess.run(stats_lib.of_optimizer(control, tf.constant(4))))

  def testPropertiesOfTheSuccessor(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = kfac.KfacOptimizer(
          layer_collection=model.layers, **_settings(learning_rate=0.3))
      self.assertEqual((0.3, 0.9), (optimizer.learning_rate,
                                    optimizer.momentum))
      for name in ("rho", "qmodel_change", "counter"):
        self.assertIsNone(getattr(optimizer, name))
      optimizer = kfac.KfacOptimizer(
          layer_collection=model.layers, **_settings(**_adaptation(model)))
      self.assertEqual(
          ["KFAC/rho", "KFAC/q_model_change", "KFAC/num_steps"],
          [variable.op.name for variable in (
              optimizer.rho, optimizer.qmodel_change, optimizer.counter)])


class FactorTest(tf.test.TestCase):

  def _build(self, cls=kfac.KfacOptimizer, *args):
    """Returns an optimizer, its train op, stats, and the feed."""
    model = dense_net.build()
    optimizer = cls(*args, layer_collection=model.layers, **_settings())
    train_op = optimizer.minimize(model.loss)
    return (optimizer, train_op, optimizer.stats(),
            _feed(model, dense_net.batches(1)[0]))

  def _ages(self, stats):
    return [tensor for name, tensor in stats.items()
            if name.startswith("age/")]

  def testAgeCountsTheUpdatesThatInversesLack(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      optimizer, _, stats, feed = self._build()
      ages = self._ages(stats)
      cov, inv = optimizer.cov_update_op, optimizer.inv_update_op
      single = optimizer.inv_update_ops[1]
      _initialize(sess)
      self.assertLen(ages, 4)
      seen = []
      # While covariances are zero, an update of the inverses keeps nothing.
      for op in (inv, cov, cov, inv, cov, inv, cov, cov, cov, single):
        sess.run(op, feed)
        seen.append(sess.run(ages))
      self.assertAllEqual([0, 1, 2, 0, 1, 0, 1, 2, 3],
                          [values[0] for values in seen[:-1]])
      for values in seen[:-1]:
        self.assertAllEqual(4 * [values[0]], values)
      self.assertAllEqual([3, 0, 3, 3], seen[-1])

  def testAgeIsThatOfTheScheduleAndSurvivesARestart(self):
    path = os.path.join(self.get_temp_dir(), "model")
    seen = []
    for part in range(2):
      with tf.Graph().as_default(), tf.Session() as sess:
        _, train_op, stats, feed = self._build(
            kfac.PeriodicInvCovUpdateKfacOpt, 3, 1)
        ages = self._ages(stats)
        saver = tf.train.Saver()
        _initialize(sess)
        if part:
          saver.restore(sess, path)
          seen.append(sess.run(ages)[0])
        for _ in range(5):
          sess.run(train_op, feed)
          seen.append(sess.run(ages)[0])
        saver.save(sess, path)
    self.assertAllEqual([0, 1, 2, 0, 1, 1, 2, 0, 1, 2, 0], seen)

  def testWithoutACounterOrVariablesOfOurOwnThereIsNoAge(self):
    for debias in (False, True):
      patched = {"ZERO_DEBIAS": debias, "CONTRIB_VARIABLES": True}
      with unittest.mock.patch.multiple(fisher_factors, **patched), (
          tf.Graph().as_default()):
        _, _, stats, _ = self._build()
        self.assertEmpty(self._ages(stats))
        self.assertEmpty([variable.name for variable in tf.global_variables()
                          if "num_updates_kept" in variable.name])
        self.assertLen(
            [tensor for name, tensor in stats.items()
             if name.startswith("condition/")], 4)

  def testConditionOfDenseAndDiagonal(self):
    rng = np.random.RandomState(3)
    root = rng.randn(4, 4)
    cov, diagonal = root @ root.T, rng.rand(5)
    with tf.Graph().as_default(), self.session() as sess:
      matrix = lo.LinearOperatorFullMatrix(tf.constant(cov))
      got = sess.run([
          stats_lib.condition(matrix, 0.1),
          stats_lib.condition(matrix, tf.constant(1e-3)),
          stats_lib.condition(
              lo.LinearOperatorDiag(tf.constant(diagonal, tf.float32)), 0.1)])
    self.assertAllClose(
        [np.linalg.cond(cov + 0.1 * np.eye(4)),
         np.linalg.cond(cov + 1e-3 * np.eye(4)),
         (diagonal.max() + 0.1) / (diagonal.min() + 0.1)], got, 1e-6, 0.)

  def testConditionOfWhatIsNotPositiveOrNotFinite(self):
    with tf.Graph().as_default(), self.session() as sess:
      singular = lo.LinearOperatorFullMatrix(tf.ones([3, 3]))
      bad = [lo.LinearOperatorFullMatrix(tf.fill([3, 3], value))
             for value in (np.nan, np.inf)]
      bad.append(lo.LinearOperatorDiag(tf.constant([1., np.nan])))
      self.assertAllEqual(
          [np.inf, np.nan, np.nan, np.nan, np.nan], sess.run(
              [stats_lib.condition(singular, -1.)]
              + [stats_lib.condition(cov, 0.1) for cov in bad]
              + [stats_lib.condition(singular, np.nan)]))

  def testConditionIsTheLargestOfAllDampings(self):
    data = np.random.RandomState(0).randn(9, 3)
    with tf.Graph().as_default(), self.session() as sess:
      dense = fisher_factors.FullyConnectedMultiKF(
          [[tf.constant(data)]], num_uses=3)
      dense.register_matpower(-1, 0.5)
      dense.register_option1quants(0.01)
      grads = tf.constant(data[:1])
      diagonal = fisher_factors.NaiveDiagonalFactor((grads,), 1)
      diagonal.register_matpower(-1, 0.25)
      diagonal.register_cholesky(0.5)
      diagonal.register_cholesky_inverse(0.5)
      self.assertEqual([[0.5, 0.01], [0.25, 0.5]], [
          [damping() for damping in factor.damping_funcs]
          for factor in (dense, diagonal)])
      stats, updates = [], []
      for factor in (dense, diagonal):
        factor.instantiate_cov_variables()
        factor.instantiate_inv_variables()
        updates.append(factor.make_covariance_update_op(0.))
        stats.append(stats_lib.of_factor(factor))
      sess.run(tf.global_variables_initializer())
      sess.run(updates)
      got = sess.run(stats)
      dense.num_skipped_updates.load(2, sess)
      self.assertEqual(2, sess.run(stats[0]["skipped_updates"]))
    cov, square = data.T @ data / 9., data[0]**2
    self.assertAllClose(
        [{"age": 1., "condition": np.linalg.cond(cov + 0.01 * np.eye(3)),
          "skipped_updates": 0},
         {"condition": (square.max() + 0.25) / (square.min() + 0.25),
          "skipped_updates": 0}], got)


if __name__ == "__main__":
  tf.test.main()
