"""Tests of the quadratic model, and of the momentum type "qmodel"."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.ops.optimizer import quadratic_model


def _optimizer(model, cls=kfac.KfacOptimizer, learning_rate=1., **kwargs):
  return cls(learning_rate, 0.8, 0.05, model.layers, momentum=0.,
             momentum_type="qmodel", batch_size=dense_net.BATCH_SIZE,
             estimation_mode="exact", **kwargs)


class _Watched(kfac.KfacOptimizer):
  """Keeps the results of the quadratic model."""

  def _compute_qmodel_hyperparams(self, *args, **kwargs):
    self.given = super()._compute_qmodel_hyperparams(*args, **kwargs)
    return self.given


class KfacOptimizerTest(tf.test.TestCase):

  def testTrainsWithAlphaAndMuOfTheQuadraticModel(self):
    data = dense_net.batches(5)
    for learning_rate in (1., 0.5):
      oracle = dense_net.Kfac(0.05, 0.8)
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        optimizer = _optimizer(model, _Watched, learning_rate)
        train_op = optimizer.minimize(model.loss)
        updates = optimizer.cov_update_op, optimizer.inv_update_op
        sess.run(tf.global_variables_initializer())
        for number, (x, y) in enumerate(data):
          feed = {model.x: x, model.y: y}
          for op in updates:
            sess.run(op, feed)
          *_, alpha, mu, change = sess.run((train_op, *optimizer.given), feed)
          oracle.step(x, y, learning_rate, momentum_type="qmodel")
          self.assertAllClose([alpha, mu], oracle.coefficients, rtol=1e-8)
          self.assertAllClose(change, oracle.change, rtol=1e-8)
          self.assertLess(change, 0.)
          self.assertEqual(number == 0, mu == 0.)
        got = dense_net.stacked(sess.run(model.variables))
      for one, other in zip(got, oracle.params, strict=True):
        self.assertAllClose(one, other, rtol=1e-8, atol=1e-8)

  def testLearningRateMayBeATensorOrFunction(self):
    data = dense_net.batches(2)
    oracle = dense_net.Kfac(0.05, 0.8)
    for x, y in data:
      oracle.step(x, y, 0.5, momentum_type="qmodel")
    for rate in (lambda: tf.constant(0.5), lambda: (lambda: 0.5)):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        optimizer = _optimizer(model, learning_rate=rate())
        train_op = optimizer.minimize(model.loss)
        updates = optimizer.cov_update_op, optimizer.inv_update_op
        sess.run(tf.global_variables_initializer())
        got = dense_net.train(sess, model, optimizer, train_op, data, updates)
      for one, other in zip(got, oracle.params, strict=True):
        self.assertAllClose(one, other, rtol=1e-8, atol=1e-8)

  def testLossesOfTheQuadraticModelMayBeOthers(self):
    (x, y), (other_x, _) = dense_net.batches(2)
    oracle = dense_net.Kfac(0.05, 0.8)
    net = oracle.update(x, y)
    precon = oracle.precondition(net.grads)
    other = dense_net.Net(oracle.params, other_x[:3], y[:3])
    curvature = (other.fisher_product(precon, precon) +
                 0.05 * dense_net.dot(precon, precon))
    alpha = -dense_net.dot(net.grads, precon) / curvature
    # A list has no coefficients. Four losses at 1 / 4 are the loss.
    for in_a_list in (True, False):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        losses = kfac.LayerCollection()
        logits = dense_net.logits_of(
            tf.constant(other_x[:3]), model.variables)
        for _ in range(1 if in_a_list else 4):
          losses.register_categorical_predictive_distribution(
              logits, coeff=1. if in_a_list else 0.25)
        optimizer = _Watched(
            1., 0.8, 0.05, model.layers, momentum=0., momentum_type="qmodel",
            batch_size=3, estimation_mode="exact",
            qmodel_losses=losses.losses if in_a_list else losses)
        train_op = optimizer.minimize(model.loss)
        updates = optimizer.cov_update_op, optimizer.inv_update_op
        sess.run(tf.global_variables_initializer())
        for op in updates:
          sess.run(op, {model.x: x, model.y: y})
        _, got, *_ = sess.run(
            (train_op, *optimizer.given), {model.x: x, model.y: y})
      self.assertAllClose(alpha, got, rtol=1e-8)

  def testOtherLossesAreOnlyForQmodel(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      with self.assertRaisesRegex(
          ValueError, "^qmodel_losses must be None unless momentum_type is "
          r"'qmodel' or 'qmodel_fixedmu', got \[\].$"):
        kfac.KfacOptimizer(0.1, 0.9, 0.1, model.layers, qmodel_losses=[])

  def testSinglePrecision(self):
    x, y = dense_net.batches(1)[0]
    oracle = dense_net.Kfac(0.05, 0.8)
    oracle.step(x, y, 1., momentum_type="qmodel")
    for use_resource in (False, True):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build(tf.float32, use_resource)
        optimizer = _optimizer(model)
        train_op = optimizer.minimize(model.loss)
        updates = optimizer.cov_update_op, optimizer.inv_update_op
        sess.run(tf.global_variables_initializer())
        got = dense_net.train(
            sess, model, optimizer, train_op, [(x, y)], updates)
      for one, other in zip(got, oracle.params, strict=True):
        self.assertAllClose(one, other, rtol=1e-3, atol=1e-3)

  def testStepMinimizesTheQuadraticModel(self):
    """The model is larger at all neighbours of (alpha, mu)."""
    (x, y), (x2, y2) = dense_net.batches(2)
    oracle = dense_net.Kfac(0.05, 0.8)
    oracle.step(x, y, 1., momentum_type="qmodel")
    start, previous = oracle.params, oracle.velocities
    oracle.step(x2, y2, 1., momentum_type="qmodel")
    step = [new - old for new, old in zip(oracle.params, start, strict=True)]
    net = dense_net.Net(start, x2, y2)

    def change(direction):
      return (dense_net.dot(net.grads, direction) + 0.5 * (
          net.fisher_product(direction, direction) +
          0.05 * dense_net.dot(direction, direction)))

    self.assertAllClose(oracle.change, change(step))
    for coeff in (-1e-3, 1e-3):
      for other in (step, previous):
        moved = [a + coeff * b for a, b in zip(step, other, strict=True)]
        self.assertGreater(change(moved), oracle.change)


class QuadraticModelTest(tf.test.TestCase):

  def testCurvatureOfDirections(self):
    rng = np.random.RandomState(3)
    x, y = dense_net.batches(1)[0]
    params = dense_net.initial_params()
    net = dense_net.Net(params, x, y)
    directions = [[rng.randn(*value.shape) for value in params]
                  for _ in range(3)]
    expected = [[net.fisher_product(a, b) + 0.3 * dense_net.dot(a, b)
                 for b in directions] for a in directions]
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build()
      flat = [[tf.constant(part) for value in direction
               for part in (value[:-1], value[-1])] for direction in directions]
      for damping in (0.3, tf.constant(0.3, tf.float64)):
        got = quadratic_model.curvature(
            model.layers.losses, model.variables, flat, damping,
            dense_net.BATCH_SIZE)
        sess.run(tf.global_variables_initializer())
        self.assertAllClose(
            sess.run(got, {model.x: x, model.y: y}), expected, rtol=1e-9)

  def testMinimum(self):
    c = np.array([1., -3.])
    matrices = [
        np.array([[2., 0.5], [0.5, 4.]]), np.array([[3., 0.], [0., 0.]])]
    expected = [-np.linalg.solve(matrices[0], c), np.array([-1. / 3., 0.])]
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (tf.float32, tf.float64):
        for M, wanted in zip(matrices, expected, strict=True):
          # The gradient along a second direction of zero is zero, too.
          slope = c if M[1, 1] else np.array([1., 0.])
          coefficients, change = sess.run(quadratic_model.minimum(
              tf.constant(M, dtype), tf.constant(slope, dtype)))
          self.assertEqual(dtype.as_numpy_dtype, coefficients.dtype)
          self.assertAllClose(coefficients, wanted)
          self.assertAllClose(
              change, slope @ wanted + wanted @ M @ wanted / 2.)

  def testParallelDirections(self):
    # The second direction is a multiple of the first: the minimum is a line.
    for dtype in (np.float32, np.float64):
      d = np.array([[1., 2.], [-3e-4, -6e-4]], dtype)
      F = np.array([[2., 0.5], [0.5, 1.]], dtype)
      M, c = d @ F @ d.T, d @ np.array([1., -4.], dtype)
      with tf.Graph().as_default(), self.session() as sess:
        coefficients, change = sess.run(quadratic_model.minimum(
            tf.constant(M), tf.constant(c)))
      self.assertAllClose([-c[0] / M[0, 0], 0.], coefficients)
      self.assertAllClose(-c[0]**2 / M[0, 0] / 2., change)

  def testZeroDirectionsGiveNoStep(self):
    # Before the first inverse update P g and the velocity are zero.
    with tf.Graph().as_default(), self.session() as sess:
      coefficients, change = sess.run(quadratic_model.minimum(
          tf.zeros([2, 2]), tf.zeros([2])))
    self.assertAllEqual([0., 0.], coefficients)
    self.assertEqual(0., change)

  def testACurvatureThatIsNotFiniteHasNoMinimum(self):
    with tf.Graph().as_default(), self.session() as sess:
      for bad in (np.inf, np.nan):
        coefficients, change = sess.run(quadratic_model.minimum(
            tf.constant([[bad, 0.], [0., 1.]]), tf.ones([2])))
        self.assertAllEqual([True, True], np.isnan(coefficients))
        self.assertTrue(np.isnan(change))

  def testPredictionForAnUpdate(self):
    rng = np.random.RandomState(0)
    root, g, d = rng.normal(size=(4, 4)), rng.normal(size=4), rng.normal(size=4)
    M = root @ root.T
    # On a fine grid of multiples of d.
    changes = {t: t * g @ d + t**2 * d @ M @ d / 2.
               for t in np.linspace(-20., 20., 400001)}
    with tf.Graph().as_default(), self.session() as sess:
      for scale in (1., -0.1, 0.):
        update = tf.constant(scale * d)
        predicted = sess.run(quadratic_model.prediction(
            [tf.constant(g)], [update], [tf.constant(M @ (scale * d))]))
        self.assertAllClose(
            scale * g @ d + scale**2 * d @ M @ d / 2., predicted.change)
        self.assertAllClose(
            -min(changes.values()) if scale else 0., predicted.decrease)


if __name__ == "__main__":
  tf.test.main()
