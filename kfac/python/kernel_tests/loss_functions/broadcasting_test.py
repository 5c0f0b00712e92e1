"""Normal distributions whose mean or variance is shared by several entries."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.loss_functions import fisher_test
from kfac.python.kernel_tests.loss_functions import loss_oracles as oracles
from kfac.python.ops import estimation_modes
from kfac.python.ops import estimator
from kfac.python.ops import layer_collection as lc
from kfac.python.ops import loss_functions
from kfac.python.ops import optimizer

# Shapes of the mean and of the variance; the distribution has 3 x 2 entries.
SHAPES = [((3, 2), (3, 1)), ((3, 2), (1, 2)), ((3, 2), (2,)), ((3, 2), ()),
          ((3, 2), (1, 1)), ((3, 2), (1,)), ((3, 1), (3, 2)), ((1, 2), (3, 2)),
          ((3, 1), (1, 2)), ((3, 2), (3, 2))]


def arrays(mean_shape, var_shape):
  """Returns a mean and a variance."""
  rng = np.random.RandomState(0)
  return rng.randn(*mean_shape), np.exp(np.asarray(rng.randn(*var_shape)))


def exact_fisher(mean, var):
  """Sums the Fisher matrices of the entries, in the joined flat parameters."""
  params = np.concatenate([mean.ravel(), var.ravel()])
  total = 0.
  for entry in np.ndindex(3, 2):

    def log_density(p, x, entry=entry):
      m = np.broadcast_to(p[:mean.size].reshape(mean.shape), (3, 2))[entry]
      v = np.broadcast_to(p[mean.size:].reshape(var.shape), (3, 2))[entry]
      return fisher_test.normal_log_density(m, v, x)

    outcomes = fisher_test.normal_outcomes(
        np.array([np.broadcast_to(mean, (3, 2))[entry]]),
        np.array([np.broadcast_to(var, (3, 2))[entry]]))
    total = total + fisher_test.fisher(log_density, outcomes, params)
  return total


def units(shapes):
  """Lists the unit vectors of a space, each a list of arrays of the shapes."""
  sizes = [int(np.prod(shape)) for shape in shapes]
  return [
      [part.reshape(shape) for part, shape in zip(
          np.split(row, np.cumsum(sizes)[:-1]), shapes, strict=True)]
      for row in np.eye(sum(sizes))]


def flat(structure):
  """Joins arrays to one vector."""
  return np.concatenate([np.ravel(x) for x in tf.nest.flatten(structure)])


def matrix(columns):
  """Stacks vectors, each given as arrays, as columns."""
  return np.stack([flat(column) for column in columns], axis=1)


class SharedParametersTest(tf.test.TestCase):

  def _check_products(self, make, params, fisher, static=True):
    shapes = [param.shape for param in params]
    with tf.Graph().as_default(), self.session() as sess:
      fed = [
          tf.placeholder(tf.float64, shape if static else [None] * len(shape))
          for shape in shapes]
      loss = make(*fed)
      columns = loss.fisher_factor_inner_static_shape.as_list()[1]

      def structure(parts):
        parts = [tf.constant(part) for part in parts]
        return tuple(parts) if len(parts) == 2 else parts[0]

      inner = [3, 2 * len(params)]
      products = [
          [loss.multiply_fisher(structure(unit)) for unit in units(shapes)],
          [loss.multiply_fisher_factor(tf.constant(unit[0]))
           for unit in units([inner])],
          [loss.multiply_fisher_factor_transpose(structure(unit))
           for unit in units(shapes)],
          [loss.multiply_fisher_factor_replicated_one_hot((column,))
           for column in range(inner[1])]]
      if static:
        self.assertEqual(inner[1], columns)
        for vector in tf.nest.flatten(products[:2]):
          self.assertIn(tuple(vector.shape.as_list()), shapes)
      products, shape = sess.run([products, loss.fisher_factor_inner_shape],
                                 dict(zip(fed, params, strict=True)))
    self.assertAllEqual(inner, shape)
    product, factor, transpose, one_hot = [matrix(p) for p in products]
    self.assertAllClose(fisher, product, 1e-12, 1e-12)
    self.assertAllClose(fisher, factor @ factor.T, 1e-12, 1e-12)
    self.assertAllClose(factor.T, transpose, 1e-12, 1e-12)
    for column in range(inner[1]):
      self.assertAllClose(
          factor[:, column::inner[1]].sum(1), one_hot[:, column], 1e-12, 1e-12)

  def testProductsOfMeanAndVarianceEqualTheExactFisher(self):
    for shapes in SHAPES:
      for static in (True, False):
        with self.subTest(shapes=shapes, static=static):
          params = arrays(*shapes)
          self._check_products(
              loss_functions.NormalMeanVarianceNegativeLogProbLoss, params,
              exact_fisher(*params), static)

  def testProductsOfTheMeanEqualTheExactFisher(self):
    for shapes in SHAPES:
      for static in (True, False):
        with self.subTest(shapes=shapes, static=static):
          mean, var = arrays(*shapes)
          self._check_products(
              lambda m, var=var: loss_functions.NormalMeanNegativeLogProbLoss(
                  m, tf.constant(var)),
              [mean], exact_fisher(mean, var)[:mean.size, :mean.size], static)

  def testEvaluatesTheWholeLogDensity(self):
    x = np.random.RandomState(1).randn(3, 2)
    for shapes in SHAPES:
      mean, var = arrays(*shapes)
      with self.subTest(shapes=shapes), tf.Graph().as_default():
        m, v = tf.constant(mean), tf.constant(var)
        loss = loss_functions.NormalMeanVarianceNegativeLogProbLoss(m, v, x)
        fixed = loss_functions.NormalMeanNegativeLogProbLoss(m, v, x)
        got, also, grads = oracles.run(
            loss.evaluate(), fixed.evaluate(),
            tf.gradients(loss.evaluate(), [m, v]))
        full = np.broadcast_to(var, (3, 2))
        self.assertAllClose(oracles.normal_loss(x, mean, full), got, 1e-13)
        self.assertAllClose(got, also, 1e-13)
        expected = fisher_test.gradient(
            lambda p, mean=mean, var=var: -fisher_test.normal_log_density(
                np.broadcast_to(p[:mean.size].reshape(mean.shape), (3, 2)),
                np.broadcast_to(p[mean.size:].reshape(var.shape), (3, 2)), x),
            flat([mean, var]))
        self.assertAllClose(expected, flat(grads))

  def testSamplesDifferInEveryEntry(self):
    for shapes in SHAPES:
      with self.subTest(shapes=shapes), tf.Graph().as_default():
        m, v = [tf.constant(array) for array in arrays(*shapes)]
        for make in (loss_functions.NormalMeanVarianceNegativeLogProbLoss,
                     loss_functions.NormalMeanNegativeLogProbLoss):
          loss = make(m, v)
          sample = loss.sample(1)
          self.assertEqual([3, 2], sample.shape.as_list())
          noise, = oracles.run((sample - m) / tf.sqrt(v))
          self.assertLen(set(noise.ravel().round(6)), 6)

  def testBroadcastMeanIsWarnedOf(self):
    with tf.Graph().as_default():
      for make in (loss_functions.NormalMeanVarianceNegativeLogProbLoss,
                   loss_functions.NormalMeanNegativeLogProbLoss):
        with self.assertLogs("absl", "WARNING") as logs:
          make(tf.ones([3, 1]), tf.ones([3, 2]))
        self.assertLen(logs.output, 1)
        self.assertIn("mean of shape (3, 1) is broadcast to (3, 2), the shape "
                      "with the variance", logs.output[0])


class _Regression:
  """Outputs [B, 3] of one layer: two means and a logarithm of a variance."""

  def __init__(self, copies=1):
    rng = np.random.RandomState(2)
    self.x = np.tile(rng.randn(4, 2), [copies, 1])
    self.w = 0.1 * rng.randn(2, 3)
    self.targets = np.tile(0.5 * rng.randn(4, 2), [copies, 1])
    self.layers = lc.LayerCollection()
    self.variable = tf.get_variable("w", initializer=self.w)
    x = tf.constant(self.x)
    outputs = tf.matmul(x, self.variable)
    self.layers.register_fully_connected(self.variable, x, outputs)
    self.loss = loss_functions.NormalMeanVarianceNegativeLogProbLoss(
        outputs[:, :2], tf.exp(outputs[:, 2:]), self.targets, seed=3)
    self.layers.register_loss_function(self.loss, outputs, "normal")

  def output_factor(self, mode):
    """Returns G, the average over the examples."""
    targets, outputs = self.targets, self.x @ self.w
    var = np.exp(outputs[:, 2:])
    if mode == "empirical":
      residual = outputs[:, :2] - targets
      scores = np.concatenate(
          [residual / var,
           np.sum(1 - residual**2 / var, axis=1, keepdims=True) / 2], axis=1)
      return scores.T @ scores / len(scores)
    # The chain rule for v = exp(s): two entries contribute 1 / 2 each.
    precision = np.mean(1 / var)
    return np.diag([precision, precision, 1.])


class TrainingTest(tf.test.TestCase):

  def testFactorsInAllModes(self):
    for mode in [m for m in estimation_modes.MODES if "GGN" not in m]:
      with self.subTest(mode=mode), tf.Graph().as_default(), \
          self.session() as sess:
        tf.set_random_seed(4)
        net = _Regression(copies=10000)
        est = estimator.FisherEstimator(
            [net.variable], 0., 0.1, net.layers, estimation_mode=mode)
        update = est.cov_update_op
        sess.run(tf.global_variables_initializer())
        sess.run(update)
        g, = [factor for factor in est.factors
              if factor.get_cov().shape.as_list() == [3, 3]]
        sampled = mode in ("gradients", "curvature_prop")
        tolerance = 0.1 if sampled else 1e-10
        self.assertAllClose(net.output_factor(mode), sess.run(g.get_cov()),
                            tolerance, tolerance)

  def testVariancePerExampleTrains(self):
    for momentum_type in ("regular", "qmodel"):
      with self.subTest(momentum_type), tf.Graph().as_default():
        net = _Regression()
        self._train(net.loss.evaluate(), [net.variable], net.layers,
                    momentum_type)

  def testVariancesOfTheWholeBatchTrain(self):
    for shape in ((1, 2), (2,), ()):
      with self.subTest(shape=shape), tf.Graph().as_default():
        rng = np.random.RandomState(2)
        layers = lc.LayerCollection()
        weights = tf.get_variable("w", initializer=np.zeros([2, 2]))
        log_var = tf.get_variable("v", initializer=np.zeros(shape))
        x = tf.constant(rng.randn(4, 2))
        mean = tf.matmul(x, weights)
        layers.register_fully_connected(weights, x, mean)
        layers.register_generic(log_var, 4)
        loss = loss_functions.NormalMeanVarianceNegativeLogProbLoss(
            mean, tf.exp(log_var), 0.5 * rng.randn(4, 2), seed=3)
        layers.register_loss_function(loss, mean, "normal")
        self._train(loss.evaluate(), [weights, log_var], layers, "regular")

  def _train(self, loss, variables, layers, momentum_type):
    is_regular = momentum_type == "regular"
    kfac = optimizer.KfacOptimizer(
        0.02 if is_regular else 1., 0.9, 1., layers, var_list=variables,
        batch_size=4, momentum=0.9 if is_regular else 0.,
        momentum_type=momentum_type)
    loss = loss / 4.  # The batch has four examples.
    step = kfac.minimize(loss)
    with self.session(graph=tf.get_default_graph()) as sess:
      sess.run(tf.global_variables_initializer())
      before = sess.run(loss)
      for _ in range(10):
        sess.run(kfac.cov_update_op)
        sess.run(kfac.inv_update_op)
        sess.run(step)
      after = sess.run(loss)
    self.assertLess(after, before - 0.1)


if __name__ == "__main__":
  tf.test.main()
