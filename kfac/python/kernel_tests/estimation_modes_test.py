"""Tests of the estimation modes: the gradients behind the factors.

The oracle is G, the mean over examples of J^T F J, in NumPy. J is the Jacobian
of the parameters of the losses with respect to the outputs of a layer; F is the
Fisher matrix of the losses.
"""

import itertools

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized

from kfac.python.ops import estimation_modes
from kfac.python.ops import estimator
from kfac.python.ops import layer_collection as lc
from kfac.python.ops import loss_functions as lf

VAR = 0.7  # of the normal loss


def _softmax(logits):
  powers = np.exp(logits)
  return powers / np.sum(powers, axis=1, keepdims=True)


def _sigmoid(logits):
  return 1 / (1 + np.exp(-logits))


def _diag(rows):
  return rows[:, :, np.newaxis] * np.eye(rows.shape[1])


class _Net:
  """h = tanh(x trunk); classes = h left; means = h right.

  `classes` are the logits of a softmax; `means` are both the means of a normal
  loss and the logits of Bernoulli variables. One loss depends on `left`, two
  on `right` and all on `trunk`.
  """

  def __init__(self, copies=1, targets=True, wrong=None, coeffs=(1, 1, 1)):
    self.coeffs = coeffs
    rng = np.random.RandomState(1)
    self.x = np.tile(rng.randn(4, 3), [copies, 1])
    self.trunk, self.left, self.right = [
        rng.randn(*shape) for shape in ((3, 3), (3, 4), (3, 2))]
    self.h = np.tanh(self.x @ self.trunk)
    self.classes = self.h @ self.left
    self.means = self.h @ self.right
    size = len(self.x)
    self.targets = (rng.randint(4, size=size), rng.randn(size, 2),
                    rng.randint(2, size=(size, 2)).astype(np.float64))
    if wrong is not None:
      self.targets = (wrong(self.targets[0]), *self.targets[1:])
    self._build(self.targets if targets else (None, None, None))

  def _build(self, targets):
    self.layers = lc.LayerCollection()
    self.variables = [
        tf.get_variable(name, initializer=getattr(self, name))
        for name in ("trunk", "left", "right")]
    trunk, left, right = self.variables
    x = tf.constant(self.x)
    hidden = tf.matmul(x, trunk)
    h = tf.tanh(hidden)
    classes, means = tf.matmul(h, left), tf.matmul(h, right)
    self.outputs = [hidden, classes, means]
    for variable, inputs, outputs in zip(
        self.variables, (x, h, h), self.outputs, strict=True):
      self.layers.register_fully_connected(variable, inputs, outputs)
    self.layers.register_categorical_predictive_distribution(
        classes, seed=3, targets=targets[0], coeff=self.coeffs[0])
    self.layers.register_normal_predictive_distribution(
        means, var=VAR, seed=4, targets=targets[1], coeff=self.coeffs[1])
    self.layers.register_multi_bernoulli_predictive_distribution(
        means, seed=5, targets=targets[2], coeff=self.coeffs[2])

  def fishers(self):
    """Returns J^T F J of each example for hidden, classes and means."""
    p, q = _softmax(self.classes), _sigmoid(self.means)
    a, b, c = self.coeffs
    classes = a * (_diag(p) - p[:, :, np.newaxis] * p[:, np.newaxis])
    means = b * np.eye(2) / VAR + c * _diag(q * (1 - q))
    slopes = _diag(1 - np.square(self.h))
    hidden = slopes @ (self.left @ classes @ self.left.T
                       + self.right @ means @ self.right.T) @ slopes
    return [hidden, classes, means]

  def gradients_on_targets(self):
    """Returns the gradients on the targets: of hidden, classes and means."""
    labels, wanted, bits = self.targets
    classes = _softmax(self.classes) - np.eye(4)[labels]
    means = (self.means - wanted) / VAR + _sigmoid(self.means) - bits
    hidden = (classes @ self.left.T + means @ self.right.T) * (
        1 - np.square(self.h))
    return [hidden, classes, means]


class ModesTest(parameterized.TestCase, tf.test.TestCase):

  def _gradients(self, mode, net, tensors=None, colocate=True, counter=None):
    """Returns values [source][tensor] of compute_gradients."""
    sources = estimation_modes.compute_gradients(
        mode, net.layers, tensors or net.outputs, colocate, counter)
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      return sess.run(sources)

  def _assertCovariance(self, grads, expected):
    """Asserts the second moment of rows, within 5 standard errors."""
    products = grads[:, :, np.newaxis] * grads[:, np.newaxis]
    error = np.std(products, axis=0) / np.sqrt(len(grads))
    self.assertLess(np.max(error), 0.05 * np.max(np.abs(expected)))
    self.assertAllLessEqual(
        np.abs(np.mean(products, axis=0) - expected) - 5 * error, 1e-12)

  @parameterized.product(mode=["exact", "exact_GGN"],
                         coeffs=[(1, 1, 1), (0.25, 4, 0)])
  def testExactIsTheFisherMatrix(self, mode, coeffs):
    with tf.Graph().as_default():
      net = _Net(targets=False, coeffs=coeffs)
      sources = self._gradients(mode, net)
    self.assertLen(sources, 4 + 2 + 2)
    for index, fisher in enumerate(net.fishers()):
      rows = np.stack([source[index] for source in sources], axis=-1)
      self.assertAllClose(rows @ np.swapaxes(rows, 1, 2), fisher)
    # A loss that does not depend on a layer gives zeros.
    for source in sources[:4]:
      self.assertAllEqual(source[2], np.zeros([4, 2]))
    for source in sources[4:]:
      self.assertAllEqual(source[1], np.zeros([4, 4]))

  def testSampledModesHaveTheFisherMatrixAsExpectation(self):
    for mode, counter in itertools.product(
        ("gradients", "curvature_prop", "curvature_prop_GGN"), (None, 7)):
      with tf.Graph().as_default():
        tf.set_random_seed(0)
        net = _Net(copies=5000, targets=False, coeffs=(2, 0.5, 1))
        (source,) = self._gradients(mode, net, counter=counter)
      for grads, fishers in zip(source, net.fishers(), strict=True):
        self._assertCovariance(grads, np.mean(fishers, axis=0))

  def testSampledModesDrawAnewInEachRun(self):
    for mode in ("gradients", "curvature_prop"):
      with tf.Graph().as_default(), self.session() as sess:
        net = _Net(targets=False)
        (source,) = estimation_modes.compute_gradients(
            mode, net.layers, net.outputs, True)
        sess.run(tf.global_variables_initializer())
        first, second = sess.run(source), sess.run(source)
      self.assertNotAllClose(first[0], second[0])

  def testACounterDeterminesSampledModes(self):
    for mode in ("gradients", "curvature_prop"):
      with tf.Graph().as_default(), self.session() as sess:
        net = _Net(targets=False)
        counter = tf.placeholder(tf.int64, [])
        (source,) = estimation_modes.compute_gradients(
            mode, net.layers, net.outputs, True, counter)
        sess.run(tf.global_variables_initializer())
        first, second, other = [
            sess.run(source, {counter: value}) for value in (1, 1, 2)]
      for one, again, another in zip(first, second, other, strict=True):
        self.assertAllEqual(one, again)
        self.assertNotAllClose(one, another)

  def testEmpiricalIsTheGradientOnTargets(self):
    with tf.Graph().as_default():
      net = _Net()
      (source,) = self._gradients("empirical", net)
    for grads, expected in zip(
        source, net.gradients_on_targets(), strict=True):
      self.assertAllClose(grads, expected)

  def testMeanAndVariance(self):
    rng = np.random.RandomState(2)
    x, w = np.tile(rng.randn(2, 3), [5000, 1]), rng.randn(3, 4)
    variances = np.exp((x @ w)[:, 2:])
    # For the mean: 1 / v. For log v, with d v / d log v = v: 1 / (2 v^2) v^2.
    fisher = np.mean(_diag(np.concatenate(
        [1 / variances, np.full_like(variances, 0.5)], axis=1)), axis=0)
    for mode in ("exact", "gradients", "curvature_prop"):
      with tf.Graph().as_default(), self.session() as sess:
        tf.set_random_seed(0)
        layers = lc.LayerCollection()
        variable = tf.get_variable("w", initializer=w)
        outputs = tf.matmul(tf.constant(x), variable)
        layers.register_loss_function(
            lf.NormalMeanVarianceNegativeLogProbLoss(
                outputs[:, :2], tf.exp(outputs[:, 2:]), seed=6),
            outputs, "both")
        sources = estimation_modes.compute_gradients(
            mode, layers, [outputs], True)
        sess.run(tf.global_variables_initializer())
        sources = sess.run(sources)
      if mode == "exact":
        self.assertLen(sources, 4)
        rows = np.stack([source[0] for source in sources], axis=-1)
        self.assertAllClose(
            np.mean(rows @ np.swapaxes(rows, 1, 2), axis=0), fisher)
      else:
        self._assertCovariance(sources[0][0], fisher)

  def testStructureOfTensorsIsKept(self):
    with tf.Graph().as_default():
      net = _Net()
      hidden, classes, means = net.outputs
      tensors = [[hidden, means], classes, (net.variables[0],)]
      (source,) = self._gradients("empirical", net, tensors)
    by_hidden, by_classes, by_means = net.gradients_on_targets()
    self.assertAllClose(source[0][0], by_hidden)
    self.assertAllClose(source[0][1], by_means)
    self.assertAllClose(source[1], by_classes)
    self.assertAllClose(source[2][0], net.x.T @ by_hidden)

  def testFactorsOfAllModes(self):
    for mode in estimation_modes.MODES:
      with tf.Graph().as_default(), self.session() as sess:
        tf.set_random_seed(0)
        net = _Net(copies=1 if mode.startswith("exact") else 5000,
                   targets=mode == "empirical")
        est = estimator.FisherEstimator(
            net.variables, 0., 0.1, net.layers, estimation_mode=mode)
        update = est.cov_update_op
        sess.run(tf.global_variables_initializer())
        sess.run(update)
        blocks = est.blocks
        inputs = sess.run([block._input_factor.get_cov() for block in blocks])
        outputs = sess.run(
            [block._output_factor.get_cov() for block in blocks])
      for cov, data in zip(inputs, (net.x, net.h, net.h), strict=True):
        self.assertAllClose(cov, data.T @ data / len(data))
      if mode == "empirical":
        expected = [g.T @ g / len(g) for g in net.gradients_on_targets()]
      else:
        expected = [np.mean(fisher, axis=0) for fisher in net.fishers()]
      # Of 20000 samples; the standard errors are tested above.
      tolerance = 0.05 if mode in estimation_modes.RANDOM_MODES else 1e-6
      for cov, fisher in zip(outputs, expected, strict=True):
        self.assertAllClose(
            cov, fisher, rtol=0, atol=tolerance * np.max(np.abs(fisher)))

  @parameterized.product(mode=sorted(estimation_modes.MODES), coeff=[0.25, 4])
  def testACoefficientMultipliesTheFactors(self, mode, coeff):
    covs = []
    for value, as_tensor in ((1., False), (coeff, False), (coeff, True)):
      with tf.Graph().as_default(), self.session() as sess:
        net = _Net(coeffs=[tf.constant(value) if as_tensor else value] * 3)
        est = estimator.FisherEstimator(
            net.variables, 0., 0.1, net.layers, estimation_mode=mode)
        update = est.cov_update_op
        sess.run(tf.global_variables_initializer())
        sess.run(update)  # Seeds and a counter determine what is random.
        covs.append(sess.run(
            [block._output_factor.get_cov() for block in est.blocks]))
    for number in covs[1:]:
      for cov, scaled in zip(covs[0], number, strict=True):
        self.assertAllClose(scaled, coeff * cov, 1e-12, 1e-12)

  def testGenericLayerIsExactForOneExample(self):
    rng = np.random.RandomState(3)
    x, w = rng.randn(1, 3), rng.randn(3, 4)
    p = _softmax(x @ w)[0]
    with tf.Graph().as_default(), self.session() as sess:
      layers = lc.LayerCollection()
      variable = tf.get_variable("w", initializer=w)
      layers.register_generic(variable, 1, approx="full")
      layers.register_categorical_predictive_distribution(
          tf.matmul(tf.constant(x), variable))
      est = estimator.FisherEstimator(
          [variable], 0., 0.1, layers, estimation_mode="exact")
      update = est.cov_update_op
      sess.run(tf.global_variables_initializer())
      sess.run(update)
      self.assertAllClose(
          sess.run(est.factors[0].get_cov()),
          np.kron(x.T @ x, np.diag(p) - np.outer(p, p)))

  def testGenericLayersHaveTheFisherMatrixAsExpectationInExactMode(self):
    rng = np.random.RandomState(3)
    x, w = rng.randn(3, 2), rng.randn(2, 3)
    p = _softmax(x @ w)
    fisher = np.mean([np.kron(np.outer(row, row), np.diag(q) - np.outer(q, q))
                      for row, q in zip(x, p, strict=True)], axis=0)
    with tf.Graph().as_default(), self.session() as sess:
      tf.set_random_seed(0)
      layers = lc.LayerCollection()
      variable, other = (
          tf.get_variable(name, initializer=w) for name in ("w", "v"))
      layers.register_generic(variable, 3, approx="full")
      inputs = tf.constant(x)
      logits = tf.matmul(inputs, variable)
      layers.register_categorical_predictive_distribution(logits)
      outputs = tf.matmul(inputs, other)
      layers.register_fully_connected(other, inputs, outputs)
      layers.register_categorical_predictive_distribution(outputs)
      est = estimator.FisherEstimator(
          [variable, other], 0., 0.1, layers, estimation_mode="exact")
      update = est.cov_update_op
      full, _, G = (factor.get_cov() for factor in est.factors)
      sess.run(tf.global_variables_initializer())
      samples = []
      for _ in range(1500):
        sess.run(update)
        samples.append(sess.run(full))
      # Signs do not matter for a layer whose use is known.
      self.assertAllClose(
          sess.run(G), np.mean(
              [np.diag(q) - np.outer(q, q) for q in p], axis=0))
    error = np.std(samples, axis=0) / np.sqrt(len(samples))
    self.assertGreater(np.max(error), 0.)
    self.assertAllLessEqual(
        np.abs(np.mean(samples, axis=0) - fisher) - 5 * error, 1e-12)

  def testMissingTargetsRaiseInEmpiricalMode(self):
    with tf.Graph().as_default():
      net = _Net(targets=False)
      est = estimator.FisherEstimator(
          net.variables, 0.9, 0.1, net.layers, estimation_mode="empirical")
      with self.assertRaisesRegex(
          ValueError, "targets must be given to evaluate "
          "CategoricalLogitsNegativeLogProbLoss, got None"):
        est.make_vars_and_create_op_thunks()
      self.assertFalse(est.made_vars())

  def testTargetsThatDoNotFitRaiseInEmpiricalModeOnly(self):
    for mode in estimation_modes.MODES:
      for wrong in (lambda labels: np.eye(4)[labels],
                    lambda labels: labels.astype(np.float32)):
        with self.subTest(mode=mode), tf.Graph().as_default(), \
            self.session() as sess:
          with self.assertLogs("absl", "WARNING") as logs:
            net = _Net(wrong=wrong)
          self.assertLen(logs.output, 1)
          est = estimator.FisherEstimator(
              net.variables, 0., 0.1, net.layers, estimation_mode=mode)
          if mode == "empirical":
            with self.assertRaisesRegex(
                (ValueError, TypeError),
                "^targets must (have shape|be integers)"):
              est.make_vars_and_create_op_thunks()
            self.assertFalse(est.made_vars())
          else:
            update = est.cov_update_op
            sess.run(tf.global_variables_initializer())
            sess.run(update)

  def testGaussNewtonModesNeedNaturalParameters(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      x = tf.ones([4, 3])
      layers.register_normal_mean_and_variance_predictive_distribution(x, x)
      for mode in ("curvature_prop_GGN", "exact_GGN"):
        with self.assertRaisesRegex(
            NotImplementedError, "NormalMeanVarianceNegativeLogProbLoss has no "
            "Hessian products; use its Fisher products"):
          estimation_modes.compute_gradients(mode, layers, [x], True)

  @parameterized.parameters("exact", "exact_GGN")
  def testExactNeedsAStaticSize(self, mode):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      variable = tf.get_variable("w", [])
      layers.register_generic(variable, 1)
      layers.register_categorical_predictive_distribution(
          tf.placeholder(tf.float32, [None, None]) * variable)
      est = estimator.FisherEstimator(
          [variable], 0.9, 0.1, layers, estimation_mode=mode)
      with self.assertRaisesRegex(
          ValueError, "the inner size of a loss must be static with "
          rf"estimation_mode '{mode}', got \[None\]"):
        est.make_vars_and_create_op_thunks()

  def testGradientsAreColocatedWithTheirOps(self):
    for colocate in (True, False):
      with tf.Graph().as_default():
        layers = lc.LayerCollection()
        with tf.device("/device:CPU:1"):
          x = tf.ones([4, 3])
          y = tf.tanh(x)
        layers.register_normal_predictive_distribution(y)
        ((grad,),) = estimation_modes.compute_gradients(
            "curvature_prop", layers, [x], colocate)
        self.assertEqual(grad.device, "/device:CPU:1" if colocate else "")


if __name__ == "__main__":
  tf.test.main()
