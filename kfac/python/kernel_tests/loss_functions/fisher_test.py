"""Products of losses with F and B equal enumerated expectations."""

import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import loss_functions

BATCH_SIZE = 3


# Oracles in NumPy, for one example, with parameters as one vector. Densities
# take complex parameters: a derivative is Im f(x + i h) / h, which is accurate.


def gradient(function, params):
  steps = 1e-30j * np.eye(params.size)
  return np.array([np.imag(function(params + s)) / 1e-30 for s in steps])


def fisher(log_density, outcomes, params):
  """Returns the expectation of score score^T over weighted outcomes."""
  total = 0.
  for weight, outcome in outcomes:
    score = gradient(lambda p, x=outcome: log_density(p, x), params)
    total = total + weight * np.outer(score, score)
  return total


def normal_log_density(mean, var, x):
  return np.sum(-(x - mean)**2 / (2 * var) - np.log(2 * np.pi * var) / 2)


def normal_outcomes(mean, var):
  """Gauss-Hermite nodes, exact for polynomials of degree 9 per dimension."""
  nodes, weights = np.polynomial.hermite_e.hermegauss(5)
  weights = weights / weights.sum()
  for picks in itertools.product(range(5), repeat=mean.size):
    picks = list(picks)
    yield np.prod(weights[picks]), mean + np.sqrt(var) * nodes[picks]


def categorical_log_density(logits, k):
  shift = np.max(logits.real)
  return logits[k] - shift - np.log(np.sum(np.exp(logits - shift)))


def categorical_outcomes(logits):
  for k in range(logits.size):
    yield np.exp(categorical_log_density(logits, k)), k


def bernoulli_log_density(logits, x):
  return np.sum(-np.log(1 + np.exp(np.where(x > 0, -logits, logits))))


def bernoulli_outcomes(logits):
  for x in itertools.product([0, 1], repeat=logits.size):
    x = np.array(x)
    yield np.exp(bernoulli_log_density(logits, x)), x


class Model:
  """A loss, its parameters as arrays, and the exact F of each example."""

  def __init__(self, make, params, fishers, targets):
    self.make = make  # From tensors like `params`, and targets.
    self.params = params
    self.fishers = fishers
    self.targets = targets


def make_models(dtype=np.float64):
  rng = np.random.RandomState(0)
  # Rounded first, so that the oracle sees the same numbers.
  def array(*shape):
    return rng.randn(*shape).astype(dtype).astype(np.float64)
  mean = array(BATCH_SIZE, 2)
  variance = np.exp(array(BATCH_SIZE, 2)).astype(dtype).astype(np.float64)
  logits = array(BATCH_SIZE, 4)
  labels = np.array([2, 0, 3])
  bits = np.array([[1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 0]])
  categorical = [fisher(categorical_log_density, categorical_outcomes(row), row)
                 for row in logits]

  def mean_fishers(var):
    return [
        fisher(lambda p, x, v=v: normal_log_density(p, v, x),
               normal_outcomes(m, v), m)
        for m, v in zip(mean, np.broadcast_to(var, mean.shape), strict=True)]

  module = loss_functions
  return {
      "normal_mean": Model(
          lambda m, t=None: module.NormalMeanNegativeLogProbLoss(m, targets=t),
          [mean], mean_fishers(0.5), array(BATCH_SIZE, 2)),
      "normal_mean_row_of_variances": Model(
          lambda m, t=None: module.NormalMeanNegativeLogProbLoss(
              m, np.array([0.25, 3.]), t),
          [mean], mean_fishers([0.25, 3.]), array(BATCH_SIZE, 2)),
      "normal_mean_variance": Model(
          module.NormalMeanVarianceNegativeLogProbLoss, [mean, variance],
          [fisher(lambda p, x: normal_log_density(p[:2], p[2:], x),
                  normal_outcomes(m, v), np.concatenate([m, v]))
           for m, v in zip(mean, variance, strict=True)],
          array(BATCH_SIZE, 2)),
      "categorical": Model(
          module.CategoricalLogitsNegativeLogProbLoss, [logits], categorical,
          labels),
      "onehot_categorical": Model(
          module.OnehotCategoricalLogitsNegativeLogProbLoss, [logits],
          categorical, np.eye(4)[labels]),
      "multi_bernoulli": Model(
          module.MultiBernoulliNegativeLogProbLoss, [logits],
          [fisher(bernoulli_log_density, bernoulli_outcomes(row), row)
           for row in logits], bits),
  }


def unit_vectors(size, dtype):
  """Lists, for each coordinate, a batch of its unit vector."""
  return [np.tile(row, (BATCH_SIZE, 1)) for row in np.eye(size, dtype=dtype)]


def structured(vec, num_params):
  """Cuts [B, n] into the structure of the parameters."""
  parts = np.split(vec, num_params, axis=1)
  return parts[0] if num_params == 1 else tuple(parts)


def joined(structure):
  """Joins the parts of a vector of parameters to [B, n]."""
  return np.concatenate(structure, axis=1) if isinstance(
      structure, (list, tuple)) else structure


def columns_to_matrices(columns):
  """Stacks columns [B, n] of the matrices of all examples to [B, n, k]."""
  return np.stack(columns, axis=2)


class LossFunctionFisherTest(tf.test.TestCase):

  def _matrices(self, model, dtype, kind):
    """Returns dense F, B, B^T and B from its columns."""
    with tf.Graph().as_default(), self.session() as sess:
      params = [tf.constant(p, dtype) for p in model.params]
      loss = model.make(*params)
      multiply = getattr(loss, "multiply_" + kind)
      factor = getattr(loss, f"multiply_{kind}_factor")
      transpose = getattr(loss, f"multiply_{kind}_factor_transpose")
      one_hot = getattr(
          loss, f"multiply_{kind}_factor_replicated_one_hot")
      shape = getattr(loss, f"{kind}_factor_inner_shape")
      static_shape = getattr(loss, f"{kind}_factor_inner_static_shape")
      size = sum(p.shape[1] for p in model.params)
      inner_size = static_shape.as_list()[1]
      structures = [structured(unit, len(params))
                    for unit in unit_vectors(size, dtype)]
      results = sess.run([
          [multiply(s) for s in structures],
          [factor(tf.constant(u)) for u in unit_vectors(inner_size, dtype)],
          [transpose(s) for s in structures],
          [one_hot((i,)) for i in range(inner_size)],
          shape])
      self.assertAllEqual(results.pop(), static_shape.as_list())
      for array in tf.nest.flatten(results):
        self.assertEqual(array.dtype, dtype)
      return [columns_to_matrices([joined(column) for column in columns])
              for columns in results]

  def _check(self, dtype, tolerance):
    for name, model in make_models(dtype).items():
      kinds = ["fisher"] + ["hessian"] * (name != "normal_mean_variance")
      for kind in kinds:
        with self.subTest(loss=name, kind=kind):
          product, factor, transpose, one_hot = self._matrices(
              model, dtype, kind)
          exact = np.stack(model.fishers)
          self.assertAllClose(product, exact, tolerance, tolerance)
          self.assertAllClose(
              factor @ factor.swapaxes(1, 2), exact, tolerance, tolerance)
          self.assertAllClose(
              transpose, factor.swapaxes(1, 2), tolerance, tolerance)
          self.assertAllClose(one_hot, factor, tolerance, tolerance)

  def testProductsEqualEnumeratedFisher(self):
    self._check(np.float64, 1e-12)

  def testProductsEqualEnumeratedFisherInFloat32(self):
    self._check(np.float32, 2e-5)

  def testCategoricalFactorIsTheNamedOne(self):
    # B is not unique given B B^T = F; other code relies on diag(q) - p q^T.
    model = make_models()["categorical"]
    _, factor, _, _ = self._matrices(model, np.float64, "fisher")
    for logits, matrix in zip(model.params[0], factor, strict=True):
      probs = np.exp(logits) / np.exp(logits).sum()
      roots = np.sqrt(probs)
      self.assertAllClose(
          matrix, np.diag(roots) - np.outer(probs, roots), 1e-12, 1e-12)

  def testHessianOfNaturalParamsIsFisherForAnyTargets(self):
    for name, model in make_models().items():
      if name == "normal_mean_variance":
        continue
      with self.subTest(loss=name), tf.Graph().as_default(), \
          self.session() as sess:
        params = tf.constant(model.params[0])
        loss = model.make(params, model.targets)
        grad, = tf.gradients(loss.evaluate(), params)
        columns = sess.run([
            tf.gradients(grad, params, grad_ys=tf.constant(unit))[0]
            for unit in unit_vectors(model.params[0].shape[1], np.float64)])
        self.assertAllClose(columns_to_matrices(columns),
                            np.stack(model.fishers), 1e-10, 1e-10)

  def testUnknownBatchAndSizesAreReadWhenRun(self):
    for name, model in make_models().items():
      with self.subTest(loss=name), tf.Graph().as_default(), \
          self.session() as sess:
        fed = [tf.placeholder(tf.float64, [None, None]) for _ in model.params]
        loss = model.make(*fed)
        fixed = model.make(*[tf.constant(p) for p in model.params])
        self.assertIsNone(loss.fisher_factor_inner_static_shape.as_list()[0])
        feed = dict(zip(fed, model.params, strict=True))
        got, expected, shape = sess.run(
            [loss.multiply_fisher_factor_replicated_one_hot((1,)),
             fixed.multiply_fisher_factor_replicated_one_hot((1,)),
             loss.fisher_factor_inner_shape], feed)
        self.assertAllClose(joined(got), joined(expected))
        self.assertAllEqual(
            shape, fixed.fisher_factor_inner_static_shape.as_list())

  def testLogitsOfMoreDimensionsAreMoreExamples(self):
    # Logits [B, T, K] equal B * T examples; an index has two parts.
    logits = np.random.RandomState(1).randn(2, 3, 4)
    for make in (loss_functions.CategoricalLogitsNegativeLogProbLoss,
                 loss_functions.MultiBernoulliNegativeLogProbLoss):
      with self.subTest(loss=make.__name__), tf.Graph().as_default(), \
          self.session() as sess:
        deep = make(tf.constant(logits))
        flat = make(tf.constant(logits.reshape(6, 4)))
        vec = np.random.RandomState(2).randn(2, 3, 4)
        for method in ("multiply_fisher", "multiply_fisher_factor",
                       "multiply_fisher_factor_transpose"):
          got, expected = sess.run([
              getattr(deep, method)(tf.constant(vec)),
              getattr(flat, method)(tf.constant(vec.reshape(6, 4)))])
          self.assertAllClose(got.reshape(6, 4), expected)
        got, expected = sess.run([
            deep.multiply_fisher_factor_replicated_one_hot((1, 2)),
            flat.multiply_fisher_factor_replicated_one_hot((2,))])
        other_times = [0, 2]
        self.assertAllEqual(got[:, other_times], np.zeros((2, 2, 4)))
        self.assertAllClose(got[:, 1], expected.reshape(2, 3, 4)[:, 1])

  def testSaturatedLogitsKeepTheirFisher(self):
    # 1 - p would round to zero in float32.
    logits = np.array([[30., -30.]], np.float32)
    with tf.Graph().as_default(), self.session() as sess:
      loss = loss_functions.MultiBernoulliNegativeLogProbLoss(
          tf.constant(logits))
      got = sess.run(loss.multiply_fisher(tf.ones([1, 2])))
    self.assertAllClose(got / np.exp(-30.), [[1., 1.]], 1e-5)


if __name__ == "__main__":
  tf.test.main()
