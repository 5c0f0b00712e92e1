"""params_stats: gradients of the estimation's losses, and who uses them."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.ops import estimator
from kfac.python.ops import params_stats

_BATCH_SIZE = dense_net.BATCH_SIZE


def _estimator(model, mode, **kwargs):
  return estimator.FisherEstimator(
      model.variables, 0.9, 0.1, model.layers, estimation_mode=mode,
      compute_params_stats=True, batch_size=_BATCH_SIZE, **kwargs)


def _probabilities(x):
  """Returns inputs of the second layer, its weights and the probabilities."""
  first, second = dense_net.initial_params()
  hidden = np.tanh(np.hstack([x, np.ones([len(x), 1])]) @ first)
  logits = np.hstack([hidden, np.ones([len(x), 1])]) @ second
  p = np.exp(logits)
  return first, second, hidden, p / np.sum(p, axis=1, keepdims=True)


def _grads(x, by_logits):
  """Returns the gradients of W1, b1, W2, b2, given those of the logits."""
  _, second, hidden, _ = _probabilities(x)
  by_hidden = by_logits @ second[:-1].T * (1. - hidden**2)
  return [x.T @ by_hidden, by_hidden.sum(0), hidden.T @ by_logits,
          by_logits.sum(0)]


class ParamsStatsTest(tf.test.TestCase):

  def _assertStats(self, mode, by_logits):
    """Compares with the gradients that NumPy backpropagates."""
    x, y = dense_net.batches(1)[0]
    for use_resource in (True, False):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build(use_resource=use_resource)
        stats = _estimator(model, mode).params_stats
        sess.run(tf.global_variables_initializer())
        got = sess.run(stats, {model.x: x, model.y: y})
      for one, other in zip(got, _grads(x, by_logits), strict=True):
        self.assertAllClose(other / _BATCH_SIZE, one, 1e-9, 1e-12)

  def testEmpiricalIsTheGradientOfTheLosses(self):
    x, y = dense_net.batches(1)[0]
    p = _probabilities(x)[-1]
    # Losses are sums over the examples.
    self._assertStats("empirical", p - np.eye(3)[y])

  def testExactIsTheSumOverTheSources(self):
    x, _ = dense_net.batches(1)[0]
    p = _probabilities(x)[-1]
    # B = diag(sqrt(p)) - p sqrt(p)^T, times a vector of ones.
    root = np.sqrt(p)
    self._assertStats("exact", root - p * root.sum(1, keepdims=True))

  def testExactWithGenericLayersHasNoSigns(self):
    x, y = dense_net.batches(1)[0]
    results = []
    for generic in (False, True):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build(register=not generic)
        if generic:
          logits = dense_net.logits_of(model.x, model.variables)
          model.layers.register_generic(tuple(model.variables), _BATCH_SIZE)
          model.layers.register_categorical_predictive_distribution(logits)
        stats = _estimator(model, "exact").params_stats
        sess.run(tf.global_variables_initializer())
        results.append(sess.run(stats, {model.x: x, model.y: y}))
    for one, other in zip(*results, strict=True):
      self.assertAllClose(one, other, 1e-9, 1e-12)

  def testExactHasTheRootOfTheCoefficientOfALoss(self):
    x, y = dense_net.batches(1)[0]
    for mode in ("exact", "exact_GGN"):
      results = []
      for coeff in (1., 4.):
        with tf.Graph().as_default(), tf.Session() as sess:
          model = dense_net.build(register=False)
          logits = dense_net.logits_of(model.x, model.variables)
          model.layers.register_generic(tuple(model.variables), _BATCH_SIZE)
          model.layers.register_categorical_predictive_distribution(
              logits, coeff=coeff)
          stats = _estimator(model, mode).params_stats
          sess.run(tf.global_variables_initializer())
          results.append(sess.run(stats, {model.x: x, model.y: y}))
      for one, four in zip(*results, strict=True):
        self.assertAllClose(2. * one, four, 1e-9, 1e-12)

  def testSampledIsOneWithTheSamplesOfTheFactors(self):
    x, y = dense_net.batches(1)[0]
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      est = _estimator(model, "gradients")
      stats = est.params_stats
      G = est.cov_update_thunks[-1]()
      sess.run(tf.global_variables_initializer())
      got, cov = sess.run((stats, G), {model.x: x, model.y: y})
    p = _probabilities(x)[-1]
    # The sampled classes are those that give both.
    found = []
    for number in range(3**_BATCH_SIZE):
      classes = [number // 3**i % 3 for i in range(_BATCH_SIZE)]
      g = p - np.eye(3)[classes]
      if (np.allclose(g.sum(0) / _BATCH_SIZE, got[3]) and np.allclose(
          _grads(x, g)[2] / _BATCH_SIZE, got[2])):
        found.append(g.T @ g / _BATCH_SIZE)
    self.assertLen(found, 1)
    # The covariance is an average with a bias that is removed when it is read.
    self.assertAllClose(found[0], cov / (1. - 0.9) if not np.allclose(
        found[0], cov) else cov, 1e-6, 1e-9)

  def testCurvaturePropIsTheSameForAllVariables(self):
    x, y = dense_net.batches(1)[0]
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      stats = _estimator(model, "curvature_prop").params_stats
      sess.run(tf.global_variables_initializer())
      got = sess.run(stats, {model.x: x, model.y: y})
    # The columns of B sum to p-weighted zero: so does B u over the classes.
    self.assertAllClose(0., got[3].sum(), 1e-9, 1e-9)
    self.assertGreater(np.abs(got[3]).max(), 0.)

  def testOrderIsThatOfTheVariables(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      reordered = model._replace(variables=model.variables[::-1])
      self.assertEqual(
          [v.shape.as_list() for v in reordered.variables],
          [s.shape.as_list() for s in _estimator(
              reordered, "gradients").params_stats])

  def testErrors(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      with self.assertRaisesRegex(
          ValueError, r"^batch_size must be given with compute_params_stats, "
          r"got None\.$"):
        estimator.FisherEstimator(
            model.variables, 0.9, 0.1, model.layers, compute_params_stats=True)
      with self.assertRaisesRegex(
          ValueError, r"^compute_params_stats must be True, got False\.$"):
        est = estimator.FisherEstimator(
            model.variables, 0.9, 0.1, model.layers)
        self.assertIsNone(est.params_stats)

  def testModes(self):
    self.assertTrue(params_stats.are_of_sources("gradients"))
    self.assertFalse(params_stats.are_of_sources("exact"))


def _ip_p(pairs, others):
  return tf.add_n([tf.reduce_sum(a * b) for (a, _), (b, _) in zip(
      pairs, others, strict=True)])


def _sprod_p(scalar, pairs):
  return [(scalar * a, v) for a, v in pairs]


def _sum_p(pairs, others):
  return [(a + b, v) for (a, v), (b, _) in zip(pairs, others, strict=True)]


class _Centred(kfac.PeriodicInvCovUpdateKfacOpt):
  """Removes the mean gradient s from F: (F + damping I - s s^T)^-1.

  By the formula of Sherman and Morrison, from two products with the
  preconditioner.
  """

  def _multiply_preconditioner(self, vecs_and_vars):
    multiply = super()._multiply_preconditioner
    self.calls = getattr(self, "calls", 0) + 2
    stats = list(zip(self.params_stats, self.registered_variables, strict=True))
    P_v, P_s = multiply(vecs_and_vars), multiply(stats)
    scale = _ip_p(P_v, stats) / (1. - _ip_p(P_s, stats))
    return _sum_p(P_v, _sprod_p(scale, P_s))


class SubclassTest(tf.test.TestCase):

  def testMayCombineTwoProductsWithThePreconditioner(self):
    for momentum_type in ("regular", "adam", "qmodel_fixedmu"):
      with tf.Graph().as_default(), tf.Session() as sess:
        model = dense_net.build()
        optimizer = _Centred(
            learning_rate=0.1, damping=0.1, layer_collection=model.layers,
            momentum=0.9, momentum_type=momentum_type, cov_update_every=1,
            invert_every=1, estimation_mode="empirical",
            compute_params_stats=True, batch_size=_BATCH_SIZE)
        train_op = optimizer.minimize(model.loss)
        self.assertEqual(2, optimizer.calls)
        sess.run(tf.global_variables_initializer())
        sess.graph.finalize()
        x, y = dense_net.batches(1)[0]
        feed = {model.x: x, model.y: y}
        first = sess.run(model.loss, feed)
        for _ in range(10):
          sess.run(train_op, feed)
        self.assertLess(sess.run(model.loss, feed), first)

  def testTheFirstStepIsThatOfTheFormula(self):
    x, y = dense_net.batches(1)[0]
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      optimizer = _Centred(
          learning_rate=0.1, damping=0.1, layer_collection=model.layers,
          estimation_mode="empirical", compute_params_stats=True,
          batch_size=_BATCH_SIZE)
      pairs = optimizer.compute_gradients(model.loss)
      train_op = optimizer.apply_gradients(pairs)
      sess.run(tf.global_variables_initializer())
      before = sess.run(model.variables)
      sess.run(train_op, {model.x: x, model.y: y})
      after = sess.run(model.variables)
      # With the inverses of that step, each column of P from a unit vector.
      sizes = [value.size for value in before]
      feeds = [tf.placeholder(tf.float64, v.shape) for v in model.variables]
      product = [p for p, _ in optimizer._fisher_est.multiply_inverse(
          list(zip(feeds, model.variables, strict=True)))]
      P = np.stack([_flat(sess.run(product, dict(zip(
          feeds, _parts(column, sizes, before), strict=True))))
                    for column in np.eye(sum(sizes))])
    p = _probabilities(x)[-1]
    g = _flat(_grads(x, (p - np.eye(3)[y]) / _BATCH_SIZE))
    # Here the statistics are the gradient of the loss itself.
    centred = np.linalg.inv(np.linalg.inv(P) - np.outer(g, g))
    self.assertAllClose(
        -0.1 * centred @ g, _flat(after) - _flat(before), 1e-6, 1e-9)


def _flat(values):
  return np.concatenate([np.ravel(value) for value in values])


def _parts(vector, sizes, like):
  return [part.reshape(value.shape) for part, value in zip(
      np.split(vector, np.cumsum(sizes)[:-1]), like, strict=True)]


if __name__ == "__main__":
  tf.test.main()
