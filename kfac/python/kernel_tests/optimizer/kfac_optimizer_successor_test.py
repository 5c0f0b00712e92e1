"""What KfacOptimizer has from kfac 0.2.4, against NumPy."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net

_DAMPING, _DECAY, _RATE = 0.05, 0.8, 0.1


class _Oracle(dense_net.Kfac):
  """The oracle with mu fixed, clipped "adam" steps and weight decay."""

  def move(self, x, y, momentum_type="adam", learning_rate=_RATE, momentum=0.9,
           constraint=np.inf, decay=0., rescale=1.):
    net = self.update(x, y)
    if momentum_type == "adam":
      self._accumulate(net.grads, momentum, 1.)
      steps = self.precondition(self.velocities)
      norm = learning_rate**2 * dense_net.dot(self.velocities, steps)
      scale = min(1., np.sqrt(constraint / norm))
    else:
      precon = self.precondition(net.grads)
      previous = [-learning_rate * v for v in self.velocities]
      directions = precon, previous
      M = np.array([[net.fisher_product(a, b) + self.damping *
                     dense_net.dot(a, b) for b in directions]
                    for a in directions])
      c = np.array([dense_net.dot(net.grads, d) for d in directions])
      alpha = -(c[0] + momentum * M[0, 1]) / M[0, 0]
      best = np.array([alpha, momentum])
      self.coefficients, scale = best, rescale
      self.change = rescale * c @ best + rescale**2 * best @ M @ best / 2.
      self._accumulate(precon, momentum, -alpha)
      steps = self.velocities
    self.params = [
        value - learning_rate * (scale * step + decay * value)
        for value, step in zip(self.params, steps, strict=True)]


class KfacOptimizerTest(tf.test.TestCase):

  def _assertTrains(self, oracle_kwargs, learning_rate=_RATE, **kwargs):
    """Compares training with NumPy; returns predicted changes and oracle."""
    data = dense_net.batches(4)
    for use_resource in (True, False):
      oracle = _Oracle(_DAMPING, _DECAY)
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build(use_resource=use_resource)
        optimizer = kfac.KfacOptimizer(
            learning_rate, _DECAY, _DAMPING, model.layers,
            estimation_mode="exact", batch_size=dense_net.BATCH_SIZE, **kwargs)
        train_op = optimizer.minimize(model.loss)
        change = optimizer.stats()["predicted_change"]
        updates = optimizer.cov_update_op, optimizer.inv_update_op
        sess.run(tf.global_variables_initializer())
        for x, y in data:
          feed = {model.x: x, model.y: y}
          for op in updates:
            sess.run(op, feed)
          _, predicted = sess.run((train_op, change), feed)
          oracle.move(x, y, kwargs["momentum_type"], **oracle_kwargs)
          if kwargs["momentum_type"] != "adam":
            self.assertAllClose(oracle.change, predicted, 1e-8, 1e-10)
        got = dense_net.stacked(sess.run(model.variables))
      for one, other in zip(got, oracle.params, strict=True):
        self.assertAllClose(one, other, rtol=1e-8, atol=1e-8)

  def testFixedMuMinimizesTheQuadraticModelOverAlpha(self):
    for momentum in (0., 0.6):
      self._assertTrains(
          {"learning_rate": 1., "momentum": momentum}, learning_rate=None,
          momentum=momentum, momentum_type="qmodel_fixedmu")

  def testFixedMuWithRescaledUpdates(self):
    self._assertTrains(
        {"learning_rate": 1., "momentum": 0.6, "rescale": 0.5},
        learning_rate=None, momentum=0.6, momentum_type="qmodel_fixedmu",
        qmodel_update_rescale=0.5)

  def testNormConstraintClipsStepsOfAdam(self):
    for constraint in (1e-4, 1e3):
      self._assertTrains({"constraint": constraint}, momentum_type="adam",
                         norm_constraint=constraint)

  def testWeightDecayIsAddedToTheFinishedUpdate(self):
    self._assertTrains({"decay": 0.1}, momentum_type="adam",
                       use_weight_decay=True)
    self._assertTrains({"decay": 0.3, "constraint": 1e-4},
                       momentum_type="adam", use_weight_decay=True,
                       weight_decay_coeff=0.3, norm_constraint=1e-4)

  def testAStepThatIsNotFiniteDoesNotDecay(self):
    x, y = dense_net.batches(1)[0]
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      optimizer = kfac.KfacOptimizer(
          0.1, 0.9, 0.1, model.layers, use_weight_decay=True)
      train_op = optimizer.minimize(model.loss)
      sess.run(tf.global_variables_initializer())
      before = sess.run(model.variables)
      sess.run(train_op, {model.x: np.nan * x, model.y: y})
      self.assertAllEqual(before[0], sess.run(model.variables[0]))

  def testTheLossMayBeAVector(self):
    x, y = dense_net.batches(1)[0]
    results = []
    for as_vector in (False, True):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        optimizer = kfac.KfacOptimizer(
            0.1, 0.9, 0.1, model.layers, estimation_mode="exact")
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=model.y,
            logits=dense_net.logits_of(model.x, model.variables))
        train_op = optimizer.minimize(each, grad_loss=tf.fill(
            [len(y)], tf.constant(1. / len(y), tf.float64))
                                     ) if as_vector else (
                                         optimizer.minimize(model.loss))
        updates = optimizer.cov_update_op, optimizer.inv_update_op
        sess.run(tf.global_variables_initializer())
        results.append(dense_net.train(
            sess, model, optimizer, train_op, [(x, y)], updates))
    for one, other in zip(*results, strict=True):
      self.assertAllClose(one, other, 1e-10, 1e-10)

  def testListsOfVariablesAndProperties(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      for optimizer in (
          kfac.KfacOptimizer(0.1, 0.9, 0.1, model.layers),):
        self.assertIs(model.layers, optimizer.layers)
        self.assertEqual("Fisher", optimizer.mat_type)
        covs, invs = optimizer.get_cov_vars(), optimizer.get_inv_vars()
        self.assertLen(optimizer.factors, 4)
        self.assertEqual([f.get_cov() for f in optimizer.factors], covs)
        self.assertLen(invs, 4)
        self.assertEmpty({v.name for v in covs} & {v.name for v in invs})
        self.assertEqual(
            model.variables[::-1],
            optimizer.check_var_list(model.variables[::-1]))
        with self.assertRaisesRegex(
            ValueError, "^var_list must be the variables of the optimizer"):
          optimizer.check_var_list(model.variables[:1])


class AdaptDampingTest(tf.test.TestCase):

  def _optimizer(self, model, momentum_type="qmodel_fixedmu", cls=None,
                 **kwargs):
    self.x_before = tf.placeholder(tf.float64, model.x.shape)
    self.y_before = tf.placeholder(tf.int32, model.y.shape)
    kwargs.setdefault("loss_fn", lambda batch: dense_net.loss_on(
        dense_net.logits_of(batch[0], model.variables), batch[1]))
    kwargs.setdefault("damping_adaptation_decay", 0.7)
    kwargs.setdefault("damping_adaptation_interval", 1)
    return (cls or kfac.KfacOptimizer)(
        learning_rate=1., cov_ema_decay=_DECAY, damping=_DAMPING,
        layer_collection=model.layers, momentum=0.5,
        momentum_type=momentum_type, batch_size=dense_net.BATCH_SIZE,
        estimation_mode="exact", adapt_damping=True,
        prev_train_batch=(self.x_before, self.y_before),
        update_damping_immediately=False, max_predicted_decrease=None, **kwargs)

  def _train(self, data, cls=None, apart=False, **kwargs):
    """Returns damping and rho after each run, and V1, V2 after all."""
    trail = []
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      optimizer = self._optimizer(model, cls=cls, **kwargs)
      train_op = optimizer.minimize(model.loss)
      judge = optimizer.maybe_pre_update_adapt_damping()
      self.assertIs(judge, optimizer.maybe_pre_update_adapt_damping())
      ops = [train_op] if cls else [
          judge, optimizer.cov_update_op, optimizer.inv_update_op, train_op]
      sess.run(tf.global_variables_initializer())
      sess.graph.finalize()
      before = data[0]
      for x, y in data:
        feed = {model.x: x, model.y: y, self.x_before: before[0],
                self.y_before: before[1]}
        for op in ops:
          sess.run(op, feed)
        trail.append(sess.run((optimizer.damping, optimizer.rho)))
        before = x, y
      self.assertEqual(len(data), sess.run(optimizer.counter))
      return trail, dense_net.stacked(sess.run(model.variables))

  def _numpy(self, data, interval=1, thresholds=(0.25, 0.75), l2_reg=0.):
    oracle = _Oracle(_DAMPING, _DECAY)
    damping, rho, trail, before = _DAMPING, 0., [], None
    for number, (x, y) in enumerate(data):
      if number and number % interval == 0:
        loss = dense_net.Net(oracle.params, *data[number - 1]).loss
        rho = (loss - before) / oracle.change
        if rho < thresholds[0]:
          damping /= 0.7**interval
        elif rho > thresholds[1]:
          damping *= 0.7**interval
        damping = max(damping, 1e-8)
      oracle.damping, oracle.inverse_damping = damping, damping + l2_reg
      before = dense_net.Net(oracle.params, x, y).loss
      oracle.move(x, y, "qmodel_fixedmu", 1., 0.5)
      trail.append((damping, rho))
    return trail, oracle.params

  def testAStepIsJudgedInTheNextRun(self):
    data = dense_net.batches(6)
    for interval in (1, 2):
      expected = self._numpy(data, interval)
      for cls in (None, kfac.PeriodicInvCovUpdateKfacOpt):
        kwargs = {"damping_adaptation_interval": interval}
        if cls:
          kwargs["invert_every"] = 1
        trail, params = self._train(data, cls, **kwargs)
        self.assertAllClose(expected[0], trail, 1e-7, 1e-7)
        self.assertAllClose(expected[1][-1], params[-1], 1e-7, 1e-7)

  def testThresholds(self):
    data = dense_net.batches(5)
    thresholds = (0.9, 1.1)
    expected = self._numpy(data, thresholds=thresholds)[0]
    self.assertNotAllClose(expected, self._numpy(data)[0])
    trail, _ = self._train(data, damping_increase_rho_threshold=0.9,
                           damping_decrease_rho_threshold=1.1)
    self.assertAllClose(expected, trail, 1e-7, 1e-7)

  def testL2RegIsAddedToTheDampingOfTheInverses(self):
    data = dense_net.batches(4)
    expected = self._numpy(data, l2_reg=0.2)
    trail, params = self._train(data, l2_reg=0.2)
    self.assertAllClose(expected[0], trail, 1e-7, 1e-7)
    self.assertAllClose(expected[1][-1], params[-1], 1e-7, 1e-7)

  def testThePredictionHasTheDampingOfTheModel(self):
    """With l2_reg, it is that of an optimizer whose damping is the sum."""
    x, y = dense_net.batches(1)[0]
    results = []
    for damping, l2_reg in ((0.05, 0.2), (0.25, 0.)):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        optimizer = kfac.KfacOptimizer(
            0.1, _DECAY, damping, model.layers, estimation_mode="exact",
            l2_reg=l2_reg)
        train_op = optimizer.minimize(model.loss)
        change = optimizer.stats()["predicted_change"]
        sess.run(tf.global_variables_initializer())
        feed = {model.x: x, model.y: y}
        for op in (optimizer.cov_update_op, optimizer.inv_update_op):
          sess.run(op, feed)
        _, predicted = sess.run((train_op, change), feed)
        results.append((dense_net.stacked(sess.run(model.variables)),
                        predicted))
    self.assertAllClose(results[0][0][0], results[1][0][0], 1e-9, 1e-9)
    # Less damping is less curvature, and more of a decrease.
    self.assertLess(results[0][1], results[1][1])

  def testWhichLossIsThatBeforeTheStep(self):
    x, y = dense_net.batches(1)[0]

    def stored(loss=None, late=False, **kwargs):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        given = None if loss is None else tf.constant(loss, tf.float64)
        optimizer = self._optimizer(
            model, train_batch=(model.x, model.y),
            **({} if late else {"loss": given}), **kwargs)
        if late:
          optimizer.set_loss(given)
        train_op = optimizer.minimize(2. * model.loss)
        sess.run(tf.global_variables_initializer())
        feed = {model.x: x, model.y: y, self.x_before: x, self.y_before: y}
        for op in (optimizer.cov_update_op, optimizer.inv_update_op, train_op):
          sess.run(op, feed)
        return sess.run(optimizer._damping._prev_loss)

    loss = dense_net.Net(dense_net.initial_params(), x, y).loss
    self.assertAllClose(2. * loss, stored())
    self.assertAllClose(loss, stored(use_passed_loss=False))
    self.assertAllClose(7., stored(7.))
    self.assertAllClose(7., stored(7., late=True))

  def testErrors(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      base = {"adapt_damping": True, "loss_fn": tf.reduce_sum}
      for kwargs, error, message in (
          ({"adapt_damping": True}, TypeError,
           r"^loss_fn must be given with adapt_damping\.$"),
          (base, TypeError, r"^train_batch must be given with adapt_damping\."),
          ({**base, "update_damping_immediately": False}, TypeError,
           r"^prev_train_batch must be given unless update_damping_immediately "
           r"is True\.$"),
          ({**base, "update_damping_immediately": False,
            "prev_train_batch": 1., "use_passed_loss": False}, TypeError,
           r"^train_batch must be given unless use_passed_loss is True\.$"),
          ({**base, "train_batch": 1., "damping_decrease_rho_threshold": 0.1},
           ValueError, r"^damping_increase_rho_threshold must be finite and at "
           r"most 0\.1, got 0\.25\.$")):
        with self.assertRaisesRegex(error, message):
          kfac.KfacOptimizer(0.1, 0.9, 0.1, model.layers, **kwargs)

  def testALossIsNeeded(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = self._optimizer(model)
      pairs = optimizer.compute_gradients(model.loss)
      with self.assertRaisesRegex(
          ValueError, r"^train_batch must be given, or a scalar loss be passed,"
          r" while the damping is adapted, got the loss None\.$"):
        optimizer.apply_gradients(list(pairs))

  def testThePreviousBatchHasNoEffectOnImmediateUpdates(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      with self.assertLogs("absl", "WARNING") as logs:
        optimizer = kfac.KfacOptimizer(
            0.1, 0.9, 0.1, model.layers, adapt_damping=True, train_batch=1.,
            prev_train_batch=1., loss_fn=lambda batch: tf.constant(batch))
      self.assertIn("prev_train_batch has no effect", logs.output[0])
      # Nothing is left for the next run.
      self.assertEqual(
          "NoOp", optimizer.maybe_pre_update_adapt_damping().type)


if __name__ == "__main__":
  tf.test.main()
