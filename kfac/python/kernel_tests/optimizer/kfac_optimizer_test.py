"""KfacOptimizer trains as its oracle in NumPy, for every order of calls."""

import itertools

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net

_DAMPING, _DECAY, _RATE = 0.05, 0.8, 0.1


def _optimizer(model, cls=kfac.KfacOptimizer, learning_rate=_RATE, **kwargs):
  return cls(learning_rate, _DECAY, _DAMPING, model.layers,
             estimation_mode="exact", **kwargs)


def _numpy_params(data, **kwargs):
  """Returns V1 and V2 after training in NumPy."""
  oracle = dense_net.Kfac(_DAMPING, _DECAY)
  for x, y in data:
    oracle.step(x, y, **{"learning_rate": _RATE, **kwargs})
  return oracle.params


class KfacOptimizerTest(tf.test.TestCase):

  def _train(self, data, dtype=tf.float64, use_resource=True, **kwargs):
    """Returns V1 and V2 after training in a new graph."""
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build(dtype, use_resource)
      optimizer = _optimizer(model, **kwargs)
      train_op = optimizer.minimize(model.loss)
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      sess.run(tf.global_variables_initializer())
      # A run adds no node.
      sess.graph.finalize()
      return dense_net.train(sess, model, optimizer, train_op, data, updates)

  def _assertTrains(self, data, expected, **kwargs):
    for one, other in zip(self._train(data, **kwargs), expected, strict=True):
      self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)

  def testRegularMomentumPreconditionsFirst(self):
    data = dense_net.batches(4)
    for momentum in (0., 0.7):
      self._assertTrains(data, _numpy_params(data, momentum=momentum),
                         momentum=momentum)
    self._assertTrains(data, _numpy_params(data, momentum=0.9))

  def testAdamMomentumPreconditionsLast(self):
    data = dense_net.batches(4)
    expected = _numpy_params(data, momentum=0.7, momentum_type="adam")
    self._assertTrains(data, expected, momentum=0.7, momentum_type="Adam")
    self.assertNotAllClose(expected[0], _numpy_params(data, momentum=0.7)[0])

  def testNormConstraintClipsLongSteps(self):
    data = dense_net.batches(4)
    free = _numpy_params(data)
    for constraint, clips in ((1e-4, True), (1e3, False)):
      expected = _numpy_params(data, norm_constraint=constraint)
      self.assertEqual(clips, not np.allclose(free[0], expected[0]))
      self._assertTrains(data, expected, norm_constraint=constraint)

  def testLearningRateIsNumberTensorOrFunction(self):
    data = dense_net.batches(2)
    expected = _numpy_params(data, norm_constraint=1e-3)
    with tf.Graph().as_default(), tf.Session() as sess:
      for number, rate in enumerate((
          np.float32(0.1), tf.constant(_RATE, tf.float64), lambda: _RATE,
          lambda: tf.constant(_RATE, tf.float64))):
        with tf.variable_scope(f"model{number}"):
          model = dense_net.build()
        optimizer = _optimizer(model, learning_rate=rate, norm_constraint=1e-3,
                               var_list=model.variables)
        train_op = optimizer.minimize(model.loss)
        updates = optimizer.cov_update_op, optimizer.inv_update_op
        sess.run(tf.global_variables_initializer())
        got = dense_net.train(
            sess, model, optimizer, train_op, data, updates)
        # float32(0.1) is 0.1 to seven digits.
        self.assertAllClose(got, expected, rtol=1e-6)

  def testDampingMomentumAndConstraintMayBeTensors(self):
    data = dense_net.batches(2)
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      optimizer = kfac.KfacOptimizer(
          tf.constant(_RATE, tf.float64), _DECAY,
          tf.constant(_DAMPING, tf.float64), model.layers,
          momentum=tf.constant(0.9, tf.float64), estimation_mode="exact",
          norm_constraint=tf.constant(1e-3, tf.float64))
      train_op = optimizer.minimize(model.loss)
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      sess.run(tf.global_variables_initializer())
      got = dense_net.train(sess, model, optimizer, train_op, data, updates)
    expected = _numpy_params(data, norm_constraint=1e-3)
    self.assertAllClose(got, expected, rtol=1e-9, atol=1e-9)

  def testDtypesAndKindsOfVariables(self):
    data = dense_net.batches(3)
    expected = _numpy_params(data)
    self._assertTrains(data, expected, use_resource=False)
    for use_resource in (False, True):
      got = self._train(data, tf.float32, use_resource)
      self.assertEqual(np.float32, got[0].dtype)
      for one, other in zip(got, expected, strict=True):
        self.assertAllClose(one, other, rtol=1e-3, atol=1e-4)

  def testEmbeddingGradientsAreIndexedSlices(self):
    for momentum_type in ("regular", "adam"):
      with tf.Graph().as_default(), tf.Session() as sess:
        got, expected = self._embedding(sess, momentum_type)
      self.assertAllClose(got, expected, rtol=1e-9, atol=1e-12)

  def _embedding(self, sess, momentum_type):
    """Trains an embedding for two steps, in TensorFlow and in NumPy."""
    rng = np.random.RandomState(2)
    table = rng.randn(5, 3)
    ids, y = np.array([4, 0, 4, 2]), np.array([0, 1, 2, 2])
    params = tf.get_variable("table", initializer=table)
    logits = tf.nn.embedding_lookup(params, ids)
    layers = kfac.LayerCollection()
    layers.register_embedding(params, tf.constant(ids, tf.int32), logits)
    layers.register_categorical_predictive_distribution(
        logits, targets=tf.constant(y, tf.int32))
    optimizer = kfac.KfacOptimizer(
        _RATE, 0., _DAMPING, layers, momentum=0.5, estimation_mode="exact",
        momentum_type=momentum_type,
        norm_constraint=1e-3 if momentum_type == "regular" else None)
    loss = dense_net.loss_on(logits, y)
    (gradient, _), = optimizer.compute_gradients(loss)
    self.assertIsInstance(gradient, tf.IndexedSlices)
    train_op = optimizer.minimize(loss)
    updates = optimizer.cov_update_op, optimizer.inv_update_op
    sess.run(tf.global_variables_initializer())
    A = np.diag(np.bincount(ids, minlength=5) / 4.)
    velocity = np.zeros_like(table)
    for _ in range(2):
      for op in (*updates, train_op):
        sess.run(op)
      p = np.exp(table[ids]) / np.sum(np.exp(table[ids]), 1, keepdims=True)
      G = np.mean([np.diag(q) - np.outer(q, q) for q in p], axis=0)
      left, right = (np.linalg.inv(factor)
                     for factor in dense_net.damp(A, G, _DAMPING))
      g = np.zeros_like(table)
      np.add.at(g, ids, (p - np.eye(3)[y]) / 4.)
      if momentum_type == "adam":
        velocity = 0.5 * velocity + g
        step = left @ velocity @ right
      else:
        precon = left @ g @ right
        norm = _RATE**2 * np.sum(g * precon)
        velocity = 0.5 * velocity + min(1., np.sqrt(1e-3 / norm)) * precon
        step = velocity
      table = table - _RATE * step
    return sess.run(params), table

  def testIsAGradientDescentOptimizerWithVelocitySlots(self):
    data = dense_net.batches(3)
    oracle = dense_net.Kfac(_DAMPING, _DECAY)
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build()
      optimizer = _optimizer(model)
      self.assertIsInstance(optimizer, tf.train.GradientDescentOptimizer)
      self.assertEqual("KFAC", optimizer.get_name())
      train_op = optimizer.minimize(model.loss)
      self.assertEqual(["velocity"], optimizer.get_slot_names())
      slots = [optimizer.get_slot(v, "velocity") for v in model.variables]
      sess.run(tf.global_variables_initializer())
      self.assertAllEqual(
          np.zeros([4, 3]), sess.run(optimizer.get_slot(
              model.variables[2], "velocity"))[:, :3])
      dense_net.train(sess, model, optimizer, train_op, data)
      got = dense_net.stacked(sess.run(slots))
    for x, y in data:
      oracle.step(x, y, _RATE)
    for one, other in zip(got, oracle.velocities, strict=True):
      self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)

  def testVariablesIsAListAndAMethod(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = _optimizer(model)
      self.assertEqual(
          [v.name for v in model.variables],
          [v.name for v in optimizer.variables])
      self.assertEqual(optimizer.variables, optimizer.registered_variables)
      self.assertIsInstance(optimizer.variables, list)
      self.assertEmpty(optimizer.variables())
      optimizer.minimize(model.loss)
      self.assertCountEqual(
          [optimizer.get_slot(v, "velocity").name for v in model.variables],
          [v.name for v in optimizer.variables()])
      # Read at every access.
      late = tf.get_variable("late", [])
      self.assertLen(optimizer.variables, 5)
      self.assertIn(late.name, [v.name for v in optimizer.variables])
      fixed = _optimizer(model, var_list=tuple(model.variables))
      self.assertLen(fixed.variables, 4)

  def testNothingIsBuiltByTheConstructor(self):
    with tf.Graph().as_default() as graph:
      model = dense_net.build()
      before = graph.as_graph_def()
      optimizer = _optimizer(model)
      self.assertEqual(before, graph.as_graph_def())
      self.assertEqual(_DAMPING, optimizer.damping)
      self.assertEqual(5, optimizer.damping_adaptation_interval)

  def testStepsWithAMonitoredSession(self):
    data = dense_net.batches(6)
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = _optimizer(model)
      global_step = tf.train.get_or_create_global_step()
      train_op = optimizer.minimize(model.loss, global_step)
      cov_op, inv_op = optimizer.cov_update_op, optimizer.inv_update_op
      with tf.train.MonitoredTrainingSession(
          checkpoint_dir=self.get_temp_dir(), log_step_count_steps=None,
          hooks=[tf.train.StopAtStepHook(last_step=5)]) as sess:
        steps = 0
        while not sess.should_stop():
          feed = dict(zip((model.x, model.y), data[steps], strict=True))
          for op in (cov_op, inv_op, train_op):
            sess.run(op, feed)
          steps += 1
      self.assertEqual(5, steps)
      with self.session() as sess:
        tf.train.Saver().restore(
            sess, tf.train.latest_checkpoint(self.get_temp_dir()))
        self.assertEqual(5, sess.run(global_step))
        got = dense_net.stacked(sess.run(model.variables))
    for one, other in zip(got, _numpy_params(data[:5]), strict=True):
      self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)

  def testSaverSavesTheWholeState(self):
    data = dense_net.batches(4)
    path = self.get_temp_dir() + "/model"
    for part in (0, 1):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        optimizer = _optimizer(model)
        train_op = optimizer.minimize(model.loss)
        updates = optimizer.cov_update_op, optimizer.inv_update_op
        sess.run(tf.global_variables_initializer())
        saver = tf.train.Saver()
        if part:
          saver.restore(sess, path)
        got = dense_net.train(sess, model, optimizer, train_op,
                              data[2 * part:2 * part + 2], updates)
        saver.save(sess, path)
    for one, other in zip(got, _numpy_params(data), strict=True):
      self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)


class ApplyGradientsTest(tf.test.TestCase):

  def testTakesAnIterableAndCountsSteps(self):
    data = dense_net.batches(3)
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build()
      optimizer = _optimizer(model)
      gradients, variables = zip(
          *optimizer.compute_gradients(model.loss), strict=True)
      self.assertEqual([v.name for v in model.variables],
                       [v.name for v in variables])
      # As in SyncReplicasOptimizer, other code computes the gradients.
      gradients = [tf.identity(gradient) for gradient in gradients]
      global_step = tf.train.get_or_create_global_step()
      pairs = zip(reversed(gradients), reversed(variables), strict=True)
      train_op = optimizer.apply_gradients(pairs, global_step, name="step")
      self.assertStartsWith(train_op.name, "step")
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      sess.run(tf.global_variables_initializer())
      got = dense_net.train(sess, model, optimizer, train_op, data, updates)
      self.assertEqual(3, sess.run(global_step))
    for one, other in zip(got, _numpy_params(data), strict=True):
      self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)

  def testMinimizeTrainsTheGivenVariables(self):
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build()
      optimizer = _optimizer(model)
      self.assertIsNot(
          None, optimizer.minimize(model.loss, var_list=model.variables[::-1]))
      pairs = optimizer.compute_gradients(model.loss, model.variables[::-1])
      x, y = dense_net.batches(1)[0]
      sess.run(tf.global_variables_initializer())
      b2, w2, b1, w1 = sess.run([gradient for gradient, _ in pairs],
                                {model.x: x, model.y: y})
    net = dense_net.Net(dense_net.initial_params(), x, y)
    got = dense_net.stacked([w1, b1, w2, b2])
    for one, other in zip(got, net.grads, strict=True):
      self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)

  def testRejectsOtherVariablesAndMissingGradients(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = _optimizer(model)
      for method in (optimizer.minimize, optimizer.compute_gradients):
        with self.assertRaisesRegex(
            ValueError, r"^var_list must be the variables of the optimizer, "
            r"\['layer0/b:0', .*'layer1/w:0'\], got \['layer0/w:0'\]\.$"):
          method(model.loss, var_list=model.variables[:1])
      pairs = optimizer.compute_gradients(model.loss)
      with self.assertRaisesRegex(
          ValueError, r"^grads_and_vars must have a gradient for each variable,"
          r" got None for layer1/b:0\.$"):
        optimizer.apply_gradients(pairs[:-1] + [(None, pairs[-1][1])])
      for wrong in (pairs[:-1], pairs + pairs[:1]):
        with self.assertRaisesRegex(
            ValueError, r"^vecs_and_vars must have each registered variable "
            r"once, got \[.*\], registered are \[.*\]\.$"):
          optimizer.apply_gradients(wrong)


class LazyBuildTest(tf.test.TestCase):

  def _optimizer_and_ops(self, model, way):
    """Builds the ops in one of several ways.

    Args:
      model: dense_net.Model.
      way: Its name.

    Returns:
      The optimizer, train op, covariance and inverse update op.
    """
    optimizer = _optimizer(model)
    train_ops, updates = [], []

    def minimize():
      train_ops.append(optimizer.minimize(model.loss))

    def apply_gradients():
      train_ops.append(optimizer.apply_gradients(
          optimizer.compute_gradients(model.loss)))

    def properties():
      updates.extend((optimizer.cov_update_op, optimizer.inv_update_op))

    def lists():
      updates.extend(tf.group(*ops) for ops in (
          optimizer.cov_update_ops, optimizer.inv_update_ops))

    def thunk_properties():
      updates.extend(tf.group(*[thunk() for thunk in thunks]) for thunks in (
          optimizer.cov_update_thunks, optimizer.inv_update_thunks))

    def thunks():
      updates.extend(tf.group(*[thunk() for thunk in made]) for made in
                     optimizer.make_vars_and_create_op_thunks())

    def four_thunks():
      made = optimizer.create_ops_and_vars_thunks()
      results = [[thunk() for thunk in kind] for kind in made]
      updates.extend((tf.group(*results[1]), tf.group(*results[3])))

    steps = {step.__name__: step for step in (
        minimize, apply_gradients, properties, lists, thunk_properties, thunks,
        four_thunks)}
    for name in way.split(", "):
      steps[name]()
    return optimizer, train_ops[0], updates

  def testAllWaysGiveTheSameNumbersAndVariableNames(self):
    data = dense_net.batches(2)
    expected = _numpy_params(data)
    names = []
    for way in ("properties, minimize", "minimize, properties",
                "minimize, thunk_properties", "thunks, minimize",
                "four_thunks, minimize", "lists, apply_gradients",
                "apply_gradients, thunk_properties", "apply_gradients, lists"):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        optimizer, train_op, updates = self._optimizer_and_ops(model, way)
        names.append([v.name for v in tf.global_variables()])
        sess.run(tf.global_variables_initializer())
        got = dense_net.train(sess, model, optimizer, train_op, data, updates)
      for one, other in zip(got, expected, strict=True):
        self.assertAllClose(one, other, rtol=1e-9, atol=1e-9, msg=way)
    self.assertLen(names, 8)
    for other in names[:5]:
      self.assertCountEqual(names[0], other)
    # Without minimize, velocities are outside of its scope.
    for other in names[5:]:
      self.assertCountEqual(
          names[0], ["KFAC/" + name if name.endswith("/KFAC:0") else name
                     for name in other])
    # Two layers, A and G; the velocities of four variables.
    inside = [name for name in names[0] if name.startswith("KFAC/")]
    self.assertLen([n for n in inside if n.startswith("KFAC/FisherEstimator/")
                    and n.endswith(("/A/matpower_exp-1:0",
                                    "/G/matpower_exp-1:0"))], 4)
    self.assertLen([n for n in inside if n.endswith("/KFAC:0")], 4)
    self.assertLen([n for n in names[0] if n.startswith("layer")], 4)

  def testMinimizeBuildsWhatItNeeds(self):
    for way in ("minimize", "apply_gradients"):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        _, train_op, updates = self._optimizer_and_ops(model, way)
        self.assertEmpty(updates)
        sess.run(tf.global_variables_initializer())
        x, y = dense_net.batches(1)[0]
        sess.run(train_op, {model.x: x, model.y: y})
        got = dense_net.stacked(sess.run(model.variables))
      # Inverses start at zero: variables do not change before the first update.
      for one, other in zip(got, dense_net.initial_params(), strict=True):
        self.assertAllEqual(one, other)

  def testPropertiesAreMadeOnce(self):
    with tf.Graph().as_default() as graph:
      model = dense_net.build()
      optimizer = _optimizer(model)
      first = (optimizer.cov_update_op, optimizer.inv_update_op,
               *optimizer.cov_update_ops, *optimizer.inv_update_ops)
      count = len(graph.get_operations())
      second = (optimizer.cov_update_op, optimizer.inv_update_op,
                *optimizer.cov_update_ops, *optimizer.inv_update_ops)
      self.assertEqual(first, second)
      self.assertLen(graph.get_operations(), count)
      self.assertLen(optimizer.cov_update_ops, 4)
      self.assertLen(optimizer.cov_update_thunks, 4)
      self.assertLen(optimizer.inv_update_thunks, 4)
      self.assertLen(optimizer.inv_updates_dict, 4)

  def testMakeOpsAndVarsOf18(self):
    data = dense_net.batches(2)
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build()
      optimizer = _optimizer(model)
      (cov_ops, cov_op, inv_ops, inv_op, cov_thunks,
       inv_thunks) = optimizer.make_ops_and_vars()
      for made in (cov_ops, inv_ops, cov_thunks, inv_thunks):
        self.assertLen(made, 4)
      inverses = [v.name for v in tf.global_variables() if "matpower" in v.name]
      self.assertLen(inverses, 4)
      for name in inverses:
        self.assertStartsWith(name, "KFAC/layer")
      train_op = optimizer.minimize(model.loss)
      sess.run(tf.global_variables_initializer())
      got = dense_net.train(
          sess, model, optimizer, train_op, data, (cov_op, inv_op))
    for one, other in zip(got, _numpy_params(data), strict=True):
      self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)

  def testThunksCanBeMadeOnce(self):
    methods = ("make_vars_and_create_op_thunks", "create_ops_and_vars_thunks",
               "make_ops_and_vars")
    for first, second in itertools.product(methods, methods):
      with tf.Graph().as_default():
        optimizer = _optimizer(dense_net.build())
        getattr(optimizer, first)()
        with self.assertRaisesRegex(
            ValueError, r"^make_vars_and_create_op_thunks, .* and "
            r"make_ops_and_vars must be called once, one of them\.$"):
          getattr(optimizer, second)()

  def testThunksAfterTheVariables(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = _optimizer(model)
      optimizer.minimize(model.loss)
      with self.assertRaisesRegex(
          ValueError, r"^create_ops_and_vars_thunks and "
          r"make_vars_and_create_op_thunks must be called once\.$"):
        optimizer.create_ops_and_vars_thunks()


class OverriddenMembersTest(tf.test.TestCase):

  def _params(self, cls, data, **kwargs):
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      optimizer = _optimizer(model, cls, **kwargs)
      train_op = optimizer.minimize(model.loss)
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      sess.run(tf.global_variables_initializer())
      return dense_net.train(sess, model, optimizer, train_op, data, updates)

  def testUpdateVelocitiesIsUsed(self):
    class Halved(kfac.KfacOptimizer):

      def _update_velocities(self, vecs_and_vars, decay, vec_coeff=1.0):
        return super()._update_velocities(
            vecs_and_vars, decay, 0.5 * vec_coeff)

    data = dense_net.batches(1)
    for momentum_type, kwargs in (
        ("regular", {}), ("adam", {}),
        ("qmodel", {"momentum": 0., "batch_size": dense_net.BATCH_SIZE})):
      kwargs["momentum_type"] = momentum_type
      got, full = (self._params(cls, data, **kwargs)
                   for cls in (Halved, kfac.KfacOptimizer))
      for one, other, start in zip(
          got, full, dense_net.initial_params(), strict=True):
        self.assertAllClose(2. * (one - start), other - start)

  def testClippingIsUsed(self):
    class Norm(kfac.KfacOptimizer):

      def _squared_fisher_norm(self, grads_and_vars, precon_grads_and_vars):
        return 4. * super()._squared_fisher_norm(
            grads_and_vars, precon_grads_and_vars)

    class Coefficient(kfac.KfacOptimizer):

      def _update_clip_coeff(self, grads_and_vars, precon_grads_and_vars):
        return 0.5 * super()._update_clip_coeff(
            grads_and_vars, precon_grads_and_vars)

    data = dense_net.batches(1)
    expected = _numpy_params(data, norm_constraint=1e-4 / 4.)
    for cls in (Norm, Coefficient):
      got = self._params(cls, data, norm_constraint=1e-4)
      for one, other in zip(got, expected, strict=True):
        self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)

  def testQmodelHyperparamsAreUsed(self):
    class Fixed(kfac.KfacOptimizer):

      def _compute_qmodel_hyperparams(self, *args, **kwargs):
        alpha, mu, change = super()._compute_qmodel_hyperparams(*args, **kwargs)
        return 0. * alpha - 1., 0. * mu + 0.5, change

    data = dense_net.batches(3)
    got = self._params(Fixed, data, momentum_type="qmodel", momentum=0.,
                       batch_size=dense_net.BATCH_SIZE)
    expected = _numpy_params(data, momentum=0.5)
    for one, other in zip(got, expected, strict=True):
      self.assertAllClose(one, other, rtol=1e-9, atol=1e-9)

  def testFisherEstIsUsed(self):
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build()
      optimizer = _optimizer(model)
      optimizer._fisher_est.multiply_inverse = list
      train_op = optimizer.minimize(model.loss)
      sess.run(tf.global_variables_initializer())
      x, y = dense_net.batches(1)[0]
      sess.run(train_op, {model.x: x, model.y: y})
      got = dense_net.stacked(sess.run(model.variables))
    params = dense_net.initial_params()
    grads = dense_net.Net(params, x, y).grads
    for one, start, grad in zip(got, params, grads, strict=True):
      self.assertAllClose(one, start - _RATE * grad)


if __name__ == "__main__":
  tf.test.main()
