"""Tests of set_damping_adaptation_params and the rule of adaptation."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.kernel_tests import restored_constants
from kfac.python.ops.optimizer import damping as damping_lib

_DAMPING, _DECAY = 0.05, 0.8


def _adapt(damping, rho, omega, min_damping):
  """The rule in NumPy."""
  if rho < 0.25:
    damping /= omega
  elif rho > 0.75:
    damping *= omega
  return max(damping, min_damping)


class _DampingTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    restored_constants.restore_after(self)

  def _optimizer(self, model, momentum_type="qmodel", learning_rate=1.):
    kwargs = {"momentum_type": momentum_type, "momentum": 0.5}
    if momentum_type == "qmodel":
      kwargs.update(batch_size=dense_net.BATCH_SIZE, momentum=0.)
    return kfac.KfacOptimizer(learning_rate, _DECAY, _DAMPING, model.layers,
                              estimation_mode="exact", **kwargs)

  def _adaptive(self, model, is_chief=True, momentum_type="qmodel",
                learning_rate=1., **kwargs):
    """Makes an optimizer that adapts its damping.

    Args:
      model: dense_net.Model.
      is_chief: Bool.
      momentum_type: As in KfacOptimizer.
      learning_rate: Number.
      **kwargs: Of set_damping_adaptation_params.

    Returns:
      KfacOptimizer, and placeholders of the previous batch.
    """
    optimizer = self._optimizer(model, momentum_type, learning_rate)
    previous = (tf.placeholder(model.x.dtype, model.x.shape),
                tf.placeholder(model.y.dtype, model.y.shape))
    optimizer.set_damping_adaptation_params(
        is_chief, previous, lambda batch: dense_net.loss_on(
            dense_net.logits_of(batch[0], model.variables), batch[1]), **kwargs)
    return optimizer, previous

  def _train(self, data, dtype=tf.float64, use_resource=True, **kwargs):
    """Trains in TensorFlow.

    Args:
      data: List of batches.
      dtype: Dtype of the model.
      use_resource: Whether its variables are resource variables.
      **kwargs: See _adaptive.

    Returns:
      List over steps of damping, rho, predicted change and stored loss; and
      V1 and V2 after the last step.
    """
    trail = []
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build(dtype, use_resource)
      optimizer, previous = self._adaptive(model, **kwargs)
      train_op = optimizer.minimize(
          model.loss, global_step=tf.train.get_or_create_global_step())
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      self.assertEqual(dtype, optimizer.damping.dtype.base_dtype)
      watched = (optimizer.damping, optimizer._rho, optimizer._q_model_change,
                 optimizer._damping._prev_loss)
      sess.run(tf.global_variables_initializer())
      sess.graph.finalize()
      for step, batch in enumerate(data):
        feed = dict(zip((model.x, model.y), batch, strict=True))
        feed.update(zip(previous, data[max(step - 1, 0)], strict=True))
        for op in (*updates, train_op):
          sess.run(op, feed)
        trail.append(sess.run(watched))
      return trail, dense_net.stacked(sess.run(model.variables))

  def _train_in_numpy(self, data, interval, decay=0.99, min_damping=1e-5,
                      follow=True, learning_rate=1., momentum_type="qmodel"):
    """The same in NumPy; `follow`: whether inverses use the damping."""
    oracle = dense_net.Kfac(_DAMPING, _DECAY)
    damping, rho, prev_loss, trail = _DAMPING, 0., 0., []
    for step, (x, y) in enumerate(data):
      if follow:
        oracle.inverse_damping = damping
      if (step + 1) % interval == 0:
        if step:
          loss = dense_net.Net(oracle.params, *data[step - 1]).loss
          rho = (loss - prev_loss) / oracle.change
          damping = _adapt(damping, rho, decay**interval, min_damping)
        damping = max(damping, min_damping)
      oracle.damping = damping
      prev_loss = dense_net.Net(oracle.params, x, y).loss
      oracle.step(x, y, learning_rate, 0.5, momentum_type)
      trail.append((damping, rho, oracle.change, prev_loss))
    return trail, oracle.params

  def _assertSameTraining(self, got, expected, tolerance=1e-7):
    self.assertAllClose(got[0], expected[0], rtol=tolerance, atol=tolerance)
    for one, other in zip(got[1], expected[1], strict=True):
      self.assertAllClose(one, other, rtol=tolerance, atol=tolerance)


class KfacOptimizerTest(_DampingTest):

  def testQmodelAdaptsDampingAndInversesFollow(self):
    data = dense_net.batches(6)
    moves = set()
    for interval, decay, learning_rate in (
        (1, 0.7, 1.), (2, 0.5, 1.), (5, 0.9, 1.), (1, 0.7, 3.)):
      expected = self._train_in_numpy(
          data, interval, decay, learning_rate=learning_rate)
      got = self._train(data, damping_adaptation_interval=interval,
                        damping_adaptation_decay=decay,
                        learning_rate=learning_rate)
      self._assertSameTraining(got, expected)
      dampings = [_DAMPING] + [values[0] for values in got[0]]
      moves.update(np.sign(np.diff(dampings)))
    # It rose, fell and stayed.
    self.assertEqual({-1., 0., 1.}, moves)

  def testMinimumOfDamping(self):
    data = dense_net.batches(4)
    kwargs = {"min_damping": 0.06, "learning_rate": 0.5}
    expected = self._train_in_numpy(data, 1, 0.9, **kwargs)
    self.assertEqual(0.06, min(values[0] for values in expected[0]))
    self._assertSameTraining(self._train(
        data, damping_adaptation_interval=1, damping_adaptation_decay=0.9,
        **kwargs), expected)

  def testRegularAndAdamPredictWithTheApproximation(self):
    data = dense_net.batches(5)
    for momentum_type in ("regular", "adam"):
      kwargs = {"momentum_type": momentum_type, "learning_rate": 0.2}
      expected = self._train_in_numpy(data, 1, 0.7, **kwargs)
      got = self._train(data, damping_adaptation_interval=1,
                        damping_adaptation_decay=0.7, **kwargs)
      self._assertSameTraining(got, expected)

  def testContribNumericsKeepTheDampingOfInverses(self):
    data = dense_net.batches(5)
    expected = [self._train_in_numpy(data, 1, 0.5, follow=follow)
                for follow in (True, False)]
    self.assertNotAllClose(expected[0][1][0], expected[1][1][0])
    kwargs = {"damping_adaptation_interval": 1, "damping_adaptation_decay": 0.5}
    self._assertSameTraining(self._train(data, **kwargs), expected[0])
    kfac.use_contrib_numerics()
    self._assertSameTraining(self._train(data, **kwargs), expected[1])

  def testSinglePrecisionAndReferenceVariables(self):
    data = dense_net.batches(3)
    expected = self._train_in_numpy(data, 2, 0.5)
    kwargs = {"damping_adaptation_interval": 2, "damping_adaptation_decay": 0.5}
    self._assertSameTraining(
        self._train(data, use_resource=False, **kwargs), expected)
    for use_resource in (False, True):
      self._assertSameTraining(self._train(
          data, tf.float32, use_resource, **kwargs), expected, 0.02)

  def testOnlyTheChiefAdapts(self):
    data = dense_net.batches(4)
    trail, params = self._train(
        data, is_chief=False, damping_adaptation_interval=1,
        damping_adaptation_decay=0.5)
    expected = self._train_in_numpy(data, 100)
    self._assertSameTraining((trail, params), expected)
    self.assertAllEqual([_DAMPING] * 4, [values[0] for values in trail])
    self.assertAllEqual([0.] * 4, [values[1] for values in trail])

  def testIsNotTrainedAndIsThePropertyDamping(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = self._optimizer(model)
      self.assertEqual(_DAMPING, optimizer.damping)
      self.assertIsNone(optimizer._rho)
      self.assertIsNone(optimizer._q_model_change)
      optimizer, _ = self._adaptive(model, damping_adaptation_interval=3)
      self.assertIn(optimizer.damping.name,
                    [v.name for v in tf.global_variables()])
      self.assertNotIn(optimizer.damping.name,
                       [v.name for v in tf.trainable_variables()])
      self.assertEqual("KFAC/damping:0", optimizer.damping.name)
      self.assertEqual(3, optimizer.damping_adaptation_interval)

  def testNeedsGlobalStep(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer, _ = self._adaptive(model)
      with self.assertRaisesRegex(
          KeyError,
          r"^'global_step must be given while damping is adapted\.'$"):
        optimizer.minimize(model.loss)
      optimizer.minimize(model.loss, tf.train.get_or_create_global_step())

  def testIsSetOnce(self):
    with tf.Graph().as_default():
      optimizer, previous = self._adaptive(dense_net.build())
      with self.assertRaisesRegex(
          ValueError, r"^set_damping_adaptation_params must be called once, "
          r"and not with adapt_damping\.$"):
        optimizer.set_damping_adaptation_params(True, previous, None)

  def testIsSetBeforeTheInversesAreMade(self):
    for ask in (lambda optimizer, model: optimizer.cov_update_op,
                lambda optimizer, model: optimizer.minimize(model.loss),
                lambda optimizer, model:
                optimizer.make_vars_and_create_op_thunks()):
      with tf.Graph().as_default():
        model = dense_net.build()
        optimizer = self._optimizer(model)
        ask(optimizer, model)
        with self.assertRaisesRegex(
            ValueError, r"^set_damping_adaptation_params must be called before "
            r"the update ops are asked for, so that the damping reaches the "
            r"inverses\.$"):
          optimizer.set_damping_adaptation_params(True, None, None)

  def testMayBeSetLaterIfInversesDoNotFollow(self):
    kfac.use_contrib_numerics()
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = self._optimizer(model)
      self.assertIsNotNone(optimizer.cov_update_op)
      optimizer.set_damping_adaptation_params(
          True, model.x, lambda x: tf.reduce_sum(x))
      optimizer.minimize(model.loss, tf.train.get_or_create_global_step())

  def testValuesOutOfRange(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      for name, value, rule in (
          ("min_damping", -1., "finite and at least 0.0"),
          ("min_damping", float("nan"), "finite and at least 0.0"),
          ("damping_adaptation_decay", 1.,
           "finite and at least 0.0 and less than 1.0"),
          ("damping_adaptation_decay", -0.5,
           "finite and at least 0.0 and less than 1.0"),
          ("damping_adaptation_interval", 0, "a positive int"),
          ("damping_adaptation_interval", 2.5, "a positive int")):
        with self.assertRaises(ValueError) as caught:
          self._adaptive(model, **{name: value})
        self.assertEqual(f"{name} must be {rule}, got {value!r}.",
                         str(caught.exception))


class AdaptedDampingTest(tf.test.TestCase):

  def testRule(self):
    table = (
        # damping, rho, omega, min_damping -> damping
        (0.5, 0.1, 0.5, 0., 1.), (0.5, -3., 0.5, 0., 1.),
        (0.5, -np.inf, 0.5, 0., 1.), (0.5, 0.25, 0.5, 0., 0.5),
        (0.5, 0.5, 0.5, 0., 0.5), (0.5, 0.75, 0.5, 0., 0.5),
        (0.5, 0.8, 0.5, 0., 0.25), (0.5, np.inf, 0.5, 0., 0.5),
        # It does not overflow.
        (2.**127, 0.1, 2.**-1000, 0., 2.**127),
        (0.5, np.nan, 0.5, 0., 0.5), (0.5, 0.8, 0.5, 0.375, 0.375),
        (0.25, 0.5, 0.5, 0.375, 0.375), (0.5, 0.1, 0.5, 2., 2.))
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (tf.float32, tf.float64):
        got = sess.run([damping_lib.next_damping(
            tf.constant(damping, dtype), tf.constant(rho, dtype), omega,
            min_damping) for damping, rho, omega, min_damping, _ in table])
        self.assertEqual(dtype.as_numpy_dtype, got[0].dtype)
        # Powers of two are exact.
        self.assertEqual([row[-1] for row in table], got)


if __name__ == "__main__":
  tf.test.main()
