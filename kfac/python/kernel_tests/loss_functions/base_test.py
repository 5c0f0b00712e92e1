"""Values, samples, interface and errors of the losses."""

import inspect
import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import loss_functions
from kfac.python.ops import loss_functions_lib

NUM_SAMPLES = 20000


def log_softmax(logits):
  logits = logits - logits.max(axis=-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def sigmoid(x):
  return 1. / (1. + np.exp(-x))


def normal_loss(x, mean, var):
  return np.sum((x - mean)**2 / (2 * var) + np.log(2 * np.pi * var) / 2)


def run(*tensors):
  with tf.Session() as sess:
    return sess.run(tensors)


class ModuleTest(tf.test.TestCase):

  def testLibExportsThePublicNames(self):
    for name in loss_functions.__all__:
      self.assertIs(getattr(loss_functions_lib, name),
                    getattr(loss_functions, name))


class InsertSliceInZerosTest(tf.test.TestCase):

  def testPutsTheSliceAtItsPosition(self):
    piece = np.arange(1., 7.).reshape(2, 1, 3)
    with tf.Graph().as_default():
      for position in range(4):
        expected = np.zeros((2, 4, 3))
        expected[:, position:position + 1] = piece
        for dim, size in ((1, 4), (-2, tf.constant(4))):
          got, = run(loss_functions.insert_slice_in_zeros(
              tf.constant(piece), dim, size, position))
          self.assertAllEqual(got, expected)

  def testErrorsNameArgumentRuleAndValue(self):
    insert = loss_functions.insert_slice_in_zeros
    with tf.Graph().as_default():
      x = tf.ones([1, 2])
      with self.assertRaisesRegex(
          ValueError, r"^slice_to_insert must have size 1 .* 1, .*\[1, 2\]"):
        insert(x, 1, 3, 0)
      with self.assertRaisesRegex(ValueError, "^slice_to_insert must.*None"):
        insert(tf.placeholder(tf.float32, [None, 2]), 0, 3, 0)
      for position in (3, -1):
        with self.assertRaisesRegex(
            ValueError, f"^position must lie within 3, got {position}"):
          insert(x, 0, 3, position)
      for dim in (2, -3):
        with self.assertRaisesRegex(
            ValueError, f"^dim must lie within rank 2, got {dim}"):
          insert(x, dim, 3, 0)


class LossFunctionTest(tf.test.TestCase):
  """What a user's class gets from the bases."""

  # LossFunction's share; targets may be left to the base.
  HESSIAN = [
      "multiply_hessian", "multiply_hessian_factor",
      "multiply_hessian_factor_transpose",
      "multiply_hessian_factor_replicated_one_hot",
      "hessian_factor_inner_shape", "hessian_factor_inner_static_shape"]
  FISHER = [name.replace("hessian", "fisher") for name in HESSIAN]

  def testAbstractMembersAreThoseAUserHasToWrite(self):
    expected = {
        "LossFunction": self.HESSIAN + ["inputs"],
        "NegativeLogProbLoss":
            self.HESSIAN + self.FISHER + ["params", "sample"],
        "NaturalParamsNegativeLogProbLoss":
            self.FISHER + ["params", "sample"],
        "DistributionNegativeLogProbLoss":
            self.HESSIAN + self.FISHER + ["params"],
    }
    for name in loss_functions.__all__:
      item = getattr(loss_functions, name)
      if inspect.isclass(item):
        self.assertCountEqual(
            item.__abstractmethods__, expected.get(name, []), name)

  def _subclass(self, base, abstract, **members):
    """A user's class that defines the abstract members and `members`."""
    def unused(self, *args):
      raise AssertionError
    body = {name: property(unused) if "shape" in name else unused
            for name in abstract}
    body.update(members)
    return type("UserLoss", (base,), body)

  def testUserLossNeedsOnlyTheAbstractMembersAndItsValue(self):
    cls = self._subclass(
        loss_functions.LossFunction, self.HESSIAN,
        inputs=property(lambda self: self.x),
        _evaluate=lambda self, targets: tf.reduce_sum(self.x * targets))
    with tf.Graph().as_default():
      x = tf.constant([1., 2.])
      loss = cls(targets=3. * x)
      loss.x = x
      grad, = tf.gradients(loss.evaluate(), x)
      value, grad = run(loss.evaluate(), grad)
      self.assertAllClose(value, 15.)
      # The targets depend on x, but are constants.
      self.assertAllClose(grad, [3., 6.])
      self.assertLen(loss.input_minibatches, 1)
      self.assertIs(loss.input_minibatches[0], x)
      self.assertEqual(loss.num_registered_minibatches, 1)

  def testUserLossWithoutAValueSaysSo(self):
    cls = self._subclass(
        loss_functions.LossFunction, self.HESSIAN + ["inputs"])
    with tf.Graph().as_default():
      with self.assertRaisesRegex(
          NotImplementedError, r"^UserLoss must define _evaluate\(targets\)"):
        cls(targets=tf.ones([2])).evaluate()
      with self.assertRaisesRegex(ValueError, "^targets must.*UserLoss.*None"):
        cls().evaluate()

  def _laplace(self, **members):
    """A loss after a distribution that this package does not have."""
    return self._subclass(
        loss_functions.DistributionNegativeLogProbLoss,
        self.HESSIAN + self.FISHER,
        params=property(lambda self: self.dist.loc), **members)

  def testUserDistributionAsProperty(self):
    with tf.Graph().as_default():
      laplace = tf.distributions.Laplace(tf.constant([0., 1.]), 2.)
      loss = self._laplace(
          dist=property(lambda self: laplace),
          targets=property(lambda self: tf.constant([3., 0.])))(seed=5)
      self.assertIs(loss.inputs, laplace.loc)
      value, first, second = run(
          loss.evaluate(), loss.sample(5), loss.sample(5))
      self.assertAllClose(value, 2 * np.log(4.) + (3. + 1.) / 2.)
      self.assertAllEqual(first, second)

  def testUserDistributionAsArgument(self):
    with tf.Graph().as_default():
      laplace = tf.distributions.Laplace(tf.constant([0., 1.]), 2.)
      loss = self._laplace()(
          dist=laplace, targets=tf.constant([3., 0.]), seed=5)
      self.assertIs(loss.dist, laplace)
      value, = run(loss.evaluate())
      self.assertAllClose(value, 2 * np.log(4.) + (3. + 1.) / 2.)

  def testNoDistributionIsSaid(self):
    loss = self._laplace()()
    with self.assertRaisesRegex(
        NotImplementedError, "^UserLoss must define dist or pass it"):
      loss.dist  # noqa: B018

  def testNaturalParamsLendTheirFisherToTheHessian(self):
    cls = self._subclass(
        loss_functions.NaturalParamsNegativeLogProbLoss,
        ["params", "sample"],
        **{name: (lambda self, v, name=name: (name, v))
           for name in self.FISHER if "shape" not in name},
        fisher_factor_inner_shape="shape",
        fisher_factor_inner_static_shape="static shape")
    loss = cls()
    for hessian, fisher in zip(self.HESSIAN, self.FISHER, strict=True):
      if "shape" in hessian:
        self.assertEqual(getattr(loss, hessian), getattr(loss, fisher))
      else:
        self.assertEqual(getattr(loss, hessian)(7), (fisher, 7))


class NormalMeanNegativeLogProbLossTest(tf.test.TestCase):

  def testEvaluatesTheWholeLogDensity(self):
    rng = np.random.RandomState(0)
    mean, x = rng.randn(3, 2), rng.randn(3, 2)
    for dtype in (np.float32, np.float64):
      with tf.Graph().as_default():
        m = tf.constant(mean, dtype)
        losses, expected = [], []
        for var in (0.5, 0.1, 2, [0.5, 3.], np.array([[1.], [2.], [0.1]])):
          for given in (var, tf.constant(var, dtype)):
            losses.append(loss_functions.NormalMeanNegativeLogProbLoss(
                m, given, x).evaluate())
            expected.append(normal_loss(
                x, mean, np.broadcast_to(np.array(var), (3, 2))))
        got = run(*losses)
        self.assertEqual(got[0].dtype, dtype)
        # In float64 a variance of 0.1 must not go through float32.
        tolerance = 1e-5 if dtype == np.float32 else 1e-14
        self.assertAllClose(got, expected, tolerance, tolerance)

  def testDefaultVarianceGivesSquaredError(self):
    with tf.Graph().as_default():
      m = tf.constant([[1., 2.]])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(
          m, targets=[[0., 5.]])
      grad, var = run(tf.gradients(loss.evaluate(), m)[0],
                      loss.dist.variance())
    self.assertAllClose(grad, [[2., -6.]])  # Of (1 - 0)^2 + (2 - 5)^2.
    self.assertAllClose(var, 0.5)

  def testParamsAndTargetsAreTheTensorsGiven(self):
    with tf.Graph().as_default():
      m, x = tf.ones([3, 2]), tf.zeros([3, 2])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(m, targets=x)
      for got in (loss.params, loss.inputs, loss.dist.loc, loss.dist.mean()):
        self.assertIs(got, m)
      self.assertIs(loss.targets, x)
      self.assertIsNone(
          loss_functions.NormalMeanNegativeLogProbLoss(m).targets)

  def testSamplesHaveMeanAndVariance(self):
    # Six standard errors of a mean, and of a variance of normals.
    with tf.Graph().as_default():
      mean = np.tile([[1., -2.]], (NUM_SAMPLES, 1))
      loss = loss_functions.NormalMeanNegativeLogProbLoss(
          tf.constant(mean), [0.25, 4.])
      sample, std = run(loss.sample(seed=1), loss.dist.stddev())
    self.assertAllClose(std, [0.5, 2.])
    error = np.array([0.5, 2.]) / np.sqrt(NUM_SAMPLES)
    self.assertAllLess(np.abs(sample.mean(0) - [1., -2.]) / error, 6.)
    error = np.array([0.25, 4.]) * np.sqrt(2. / NUM_SAMPLES)
    self.assertAllLess(np.abs(sample.var(0) - [0.25, 4.]) / error, 6.)

  def testSamplesAreConstants(self):
    # A sample is mean + noise: were it not cut off, the gradient was zero.
    with tf.Graph().as_default():
      m = tf.ones([50, 2])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(m, seed=1)
      grad, = run(tf.gradients(loss.evaluate_on_sample(), m)[0])
    self.assertGreater(np.abs(grad).min(), 0.)

  def testErrorsNameArgumentRuleAndValue(self):
    make = loss_functions.NormalMeanNegativeLogProbLoss
    with tf.Graph().as_default():
      m = tf.ones([3, 2])
      with self.assertRaisesRegex(
          TypeError, "^mean must be floating point, got int32"):
        make(tf.ones([3, 2], tf.int32))
      with self.assertRaisesRegex(
          ValueError, r"^mean must have rank 1 or more, got shape \(\)"):
        make(tf.constant(1.))
      for var in (0., -0.5, np.array([1., -0.5]), float("nan")):
        with self.assertRaisesRegex(
            ValueError, f"^var must be positive, got {np.min(var)}"):
          make(m, var)
      for var in ([1., 2., 3.], np.ones((5, 3, 2)), tf.ones([3])):
        with self.assertRaisesRegex(
            ValueError, r"^var must broadcast to the mean's shape \(3, 2\), "
            r"got \({}".format(np.shape(var)[0] if not tf.is_tensor(var)
                               else 3)):
          make(m, var)
      with self.assertRaisesRegex(
          ValueError, r"^targets must have shape \(3, 2\), got \(3,\)"):
        make(m, targets=np.zeros(3))
      with self.assertRaisesRegex(TypeError, "^targets must be numbers.*str"):
        make(m, targets=np.array([["a", "b"]] * 3))


class NormalMeanVarianceNegativeLogProbLossTest(tf.test.TestCase):

  def testEvaluatesTheWholeLogDensity(self):
    rng = np.random.RandomState(0)
    mean, x = rng.randn(3, 2), rng.randn(3, 2)
    variance = np.exp(rng.randn(3, 2))
    with tf.Graph().as_default():
      m, v = tf.constant(mean), tf.constant(variance)
      loss = loss_functions.NormalMeanVarianceNegativeLogProbLoss(m, v, x)
      value, per_case, grads = run(
          loss.evaluate(), loss.dist.log_prob(x),
          tf.gradients(loss.evaluate(), [m, v]))
      self.assertIs(loss.params[0], m)
      self.assertIs(loss.params[1], v)
    self.assertAllClose(value, normal_loss(x, mean, variance), 1e-13)
    self.assertAllEqual(per_case.shape, [3])
    self.assertAllClose(grads[0], (mean - x) / variance)
    self.assertAllClose(
        grads[1], 1 / (2 * variance) - (mean - x)**2 / (2 * variance**2))

  def testSamplesHaveMeanAndVariance(self):
    with tf.Graph().as_default():
      mean = np.tile([[1., -2.]], (NUM_SAMPLES, 1))
      variance = np.tile([[0.25, 4.]], (NUM_SAMPLES, 1))
      sample, = run(loss_functions.NormalMeanVarianceNegativeLogProbLoss(
          tf.constant(mean), tf.constant(variance)).sample(seed=2))
    error = np.array([0.5, 2.]) / np.sqrt(NUM_SAMPLES)
    self.assertAllLess(np.abs(sample.mean(0) - [1., -2.]) / error, 6.)
    error = np.array([0.25, 4.]) * np.sqrt(2. / NUM_SAMPLES)
    self.assertAllLess(np.abs(sample.var(0) - [0.25, 4.]) / error, 6.)

  def testHessianIsNotOffered(self):
    with tf.Graph().as_default():
      loss = loss_functions.NormalMeanVarianceNegativeLogProbLoss(
          tf.ones([3, 2]), tf.ones([3, 2]))
      message = "^NormalMeanVariance.* has no Hessian products"
      for name in LossFunctionTest.HESSIAN:
        with self.assertRaisesRegex(NotImplementedError, message):
          member = getattr(loss, name)
          member(loss.params)

  def testErrorsNameArgumentRuleAndValue(self):
    make = loss_functions.NormalMeanVarianceNegativeLogProbLoss
    with tf.Graph().as_default():
      m = tf.ones([3, 2])
      with self.assertRaisesRegex(
          AssertionError, r"^mean must have rank 2, got shape \(3,\)"):
        make(tf.ones([3]), m)
      with self.assertRaisesRegex(
          AssertionError, r"^variance must have rank 2, got shape \(3, 2, 1\)"):
        make(m, tf.ones([3, 2, 1]))
      with self.assertRaisesRegex(
          ValueError, r"^variance must have the mean's shape \(3, 2\), got .1"):
        make(m, tf.ones([1, 2]))
      with self.assertRaisesRegex(
          TypeError, "^variance must have the mean's dtype float32, .*float64"):
        make(m, tf.ones([3, 2], tf.float64))
      with self.assertRaisesRegex(
          TypeError, "^variance must be floating point, got int32"):
        make(m, tf.ones([3, 2], tf.int32))
      with self.assertRaisesRegex(
          ValueError, "^variance must be positive, got -1"):
        make(m, -np.ones([3, 2], np.float32))
      with self.assertRaisesRegex(ValueError, r"^targets must.*got \(2, 3\)"):
        make(m, m, tf.ones([2, 3]))
      for index in ((4,), (-1,)):
        with self.assertRaisesRegex(
            ValueError, r"^index must lie within \[4\], got "):
          make(m, m).multiply_fisher_factor_replicated_one_hot(index)


class CategoricalLogitsNegativeLogProbLossTest(tf.test.TestCase):

  def testEvaluatesCrossEntropy(self):
    logits = np.random.RandomState(0).randn(3, 4)
    labels = np.array([2, 0, 3])
    expected = -log_softmax(logits)[np.arange(3), labels].sum()
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
      with tf.Graph().as_default():
        a = tf.constant(logits, dtype)
        make = loss_functions.CategoricalLogitsNegativeLogProbLoss
        values = run(*[
            make(a, targets).evaluate() for targets in (
                labels, labels.tolist(), labels.astype(np.uint8),
                tf.constant(labels, tf.int32), tf.constant(labels, tf.int64))])
        probs, = run(make(a).dist.probs)
      self.assertEqual(values[0].dtype, dtype)
      self.assertAllClose(values, [expected] * 5, tolerance, tolerance)
      self.assertAllClose(probs, np.exp(log_softmax(logits)), tolerance)

  def testHugeLogitsStayFinite(self):
    with tf.Graph().as_default():
      a = tf.constant([[1e4, -1e4]])
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(a, [1])
      self.assertAllClose(run(loss.evaluate()), [2e4])

  def testSequencesOfCases(self):
    logits = np.random.RandomState(0).randn(2, 3, 4)
    labels = np.array([[0, 1, 2], [3, 3, 0]])
    with tf.Graph().as_default():
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(
          tf.constant(logits), labels)
      value, sample = run(loss.evaluate(), loss.sample(1))
    picked = np.take_along_axis(log_softmax(logits), labels[..., None], -1)
    self.assertAllClose(value, -picked.sum())
    self.assertAllEqual(sample.shape, [2, 3])

  def testSamplesHaveTheirFrequencies(self):
    probs = np.array([0.1, 0.2, 0.7])
    logits = np.log(np.tile(probs, (NUM_SAMPLES, 1))) + 3.
    with tf.Graph().as_default():
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(
          tf.constant(logits))
      onehot_loss = loss_functions.OnehotCategoricalLogitsNegativeLogProbLoss(
          tf.constant(logits))
      sample, onehot = run(loss.sample(3), onehot_loss.sample(4))
    self.assertAllEqual(sample.shape, [NUM_SAMPLES])
    self.assertAllEqual(onehot.sum(axis=1), np.ones(NUM_SAMPLES))
    error = np.sqrt(probs * (1 - probs) / NUM_SAMPLES)
    for frequencies in (np.bincount(sample, minlength=3) / NUM_SAMPLES,
                        onehot.mean(axis=0)):
      self.assertAllLess(np.abs(frequencies - probs) / error, 6.)

  def testAdditionalMinibatchesJoinTheBatch(self):
    rng = np.random.RandomState(0)
    logits = rng.randn(6, 4)
    labels = np.array([0, 3, 1, 2, 2, 0])
    for make, targets in (
        (loss_functions.CategoricalLogitsNegativeLogProbLoss, labels),
        (loss_functions.OnehotCategoricalLogitsNegativeLogProbLoss,
         np.eye(4)[labels])):
      with self.subTest(loss=make.__name__), tf.Graph().as_default():
        parts = [tf.constant(part) for part in np.split(logits, [3, 5])]
        whole = make(tf.constant(logits), targets)
        loss = make(parts[0], targets[:3])
        self.assertEqual(loss.num_registered_minibatches, 1)
        # Another integer type is cast to the first's.
        loss.register_additional_minibatch(
            parts[1], targets[3:5].astype(np.int32))
        loss.register_additional_minibatch(logits=parts[2], targets=targets[5:])
        self.assertEqual(loss.num_registered_minibatches, 3)
        for got, part in zip(loss.input_minibatches, parts, strict=True):
          self.assertIs(got, part)
        vec = rng.randn(6, 4)
        got, expected = [run(
            one.evaluate(), one.multiply_fisher(vec),
            one.multiply_fisher_factor(vec),
            one.multiply_fisher_factor_transpose(vec),
            one.multiply_fisher_factor_replicated_one_hot((2,)),
            one.fisher_factor_inner_shape, one.params) for one in (loss, whole)]
        for g, e in zip(got, expected, strict=True):
          self.assertAllClose(g, e)
        grads = run(*tf.gradients(loss.evaluate(), parts))
        self.assertAllClose(
            np.concatenate(grads),
            np.exp(log_softmax(logits)) - np.eye(4)[labels])
        self.assertAllEqual(
            run(loss.sample(1))[0].shape, np.shape(targets))

  def testErrorsNameArgumentRuleAndValue(self):
    make = loss_functions.CategoricalLogitsNegativeLogProbLoss
    with tf.Graph().as_default():
      a = tf.ones([5, 10])
      with self.assertRaisesRegex(
          TypeError, "^logits must be floating point, got int32"):
        make(tf.ones([5, 10], tf.int32))
      with self.assertRaisesRegex(
          ValueError, r"^logits must have rank 2 or more, got shape \(5,\)"):
        make(tf.ones([5]))
      with self.assertRaisesRegex(
          ValueError, r"^targets must have shape \(5,\), got \(6,\)"):
        make(a, np.zeros(6, np.int32))
      with self.assertRaisesRegex(
          ValueError, r"^targets must have .*got \(5, 10\) .*OnehotCatego"):
        make(a, np.zeros((5, 10), np.int32))
      with self.assertRaisesRegex(
          TypeError, "^targets must be integers, got float32"):
        make(a, tf.zeros([5]))
      loss = make(a)
      factor = loss.multiply_fisher_factor_replicated_one_hot
      for index in ((10,), (-1,)):
        with self.assertRaisesRegex(
            ValueError, r"^index must lie within \[10\], got \(-?1"):
          factor(index)
      with self.assertRaisesRegex(ValueError, "^index must have length .*0, 1"):
        factor((0, 1))
      for index in (3, (0.5,), None):
        with self.assertRaisesRegex(TypeError, "^index must be a tuple of in"):
          factor(index)
      unknown = make(tf.placeholder(tf.float32))
      with self.assertRaisesRegex(ValueError, r"^index needs .*known rank"):
        unknown.multiply_fisher_factor_replicated_one_hot((0,))

  def testErrorsOfAdditionalMinibatches(self):
    with tf.Graph().as_default():
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(
          tf.ones([5, 10]))
      register = loss.register_additional_minibatch
      with self.assertRaisesRegex(
          ValueError, r"^logits must have shape \(10,\) .*got \(9,\)"):
        register(tf.ones([5, 9]))
      with self.assertRaisesRegex(
          TypeError, "^logits must be float32 as before, got float64"):
        register(tf.ones([5, 10], tf.float64))
      with self.assertRaisesRegex(
          ValueError, "^targets must be given for all minibatches or none"):
        register(tf.ones([2, 10]), [1, 2])
      with self.assertRaisesRegex(ValueError, r"^targets .*\(2,\), got \(3,\)"):
        register(tf.ones([2, 10]), [1, 2, 3])
      self.assertEqual(loss.num_registered_minibatches, 1)


class OnehotCategoricalLogitsNegativeLogProbLossTest(tf.test.TestCase):

  def testEqualsTheLossOfIntegerTargets(self):
    logits = np.random.RandomState(0).randn(3, 4)
    labels = [2, 0, 3]
    with tf.Graph().as_default():
      a = tf.constant(logits)
      values = run(
          loss_functions.CategoricalLogitsNegativeLogProbLoss(
              a, labels).evaluate(),
          *[loss_functions.OnehotCategoricalLogitsNegativeLogProbLoss(
              a, np.eye(4, dtype=dtype)[labels]).evaluate()
            for dtype in (np.float32, np.float64, np.int32, np.bool_)])
    self.assertAllClose(values, [values[0]] * 5, 1e-13)

  def testErrorsNameArgumentRuleAndValue(self):
    with tf.Graph().as_default():
      with self.assertRaisesRegex(
          ValueError, r"^targets must have shape \(5, 10\), got \(5,\)"):
        loss_functions.OnehotCategoricalLogitsNegativeLogProbLoss(
            tf.ones([5, 10]), np.zeros(5, np.int32))


class MultiBernoulliNegativeLogProbLossTest(tf.test.TestCase):

  def testEvaluatesCrossEntropyOfAnyNumericType(self):
    logits = np.random.RandomState(0).randn(3, 4)
    bits = np.array([[1, 0, 0, 1], [0, 0, 1, 1], [1, 1, 1, 0]])
    expected = -np.sum(np.log(np.where(bits, sigmoid(logits),
                                       sigmoid(-logits))))
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
      with tf.Graph().as_default():
        values = run(*[
            loss_functions.MultiBernoulliNegativeLogProbLoss(
                tf.constant(logits, dtype), bits.astype(t)).evaluate()
            for t in (np.int32, np.int64, np.uint8, np.bool_, np.float32,
                      np.float64)])
      self.assertEqual(values[0].dtype, dtype)
      self.assertAllClose(values, [expected] * 6, tolerance, tolerance)

  def testHugeLogitsStayFinite(self):
    with tf.Graph().as_default():
      loss = loss_functions.MultiBernoulliNegativeLogProbLoss(
          tf.constant([[1e4, -1e4]]), [[0, 0]])
      self.assertAllClose(run(loss.evaluate()), [1e4])

  def testSamplesHaveTheirFrequencies(self):
    logits = np.array([-2., 0., 1.])
    with tf.Graph().as_default():
      loss = loss_functions.MultiBernoulliNegativeLogProbLoss(
          tf.constant(np.tile(logits, (NUM_SAMPLES, 1))))
      sample, mean, variance = run(
          loss.sample(5), loss.dist.mean()[0], loss.dist.variance()[0])
    probs = sigmoid(logits)
    self.assertAllClose(mean, probs)
    self.assertAllClose(variance, probs * (1 - probs))
    self.assertAllEqual(np.unique(sample), [0, 1])
    error = np.sqrt(probs * (1 - probs) / NUM_SAMPLES)
    self.assertAllLess(np.abs(sample.mean(axis=0) - probs) / error, 6.)
    # Neighbours are independent.
    correlations = np.corrcoef(sample.T) - np.eye(3)
    self.assertAllLess(np.abs(correlations) * np.sqrt(NUM_SAMPLES), 6.)

  def testErrorsNameArgumentRuleAndValue(self):
    make = loss_functions.MultiBernoulliNegativeLogProbLoss
    with tf.Graph().as_default():
      with self.assertRaisesRegex(
          ValueError, r"^targets must have shape \(5, 10\), got \(5,\)"):
        make(tf.ones([5, 10]), np.zeros(5, np.int32))
      with self.assertRaisesRegex(TypeError, "^logits must be floating.*int64"):
        make(tf.ones([5, 10], tf.int64))
      with self.assertRaisesRegex(ValueError, "^logits must have rank 2"):
        make(tf.ones([5]))


class AllLossesTest(tf.test.TestCase):
  """What the classes have in common."""

  def _makers(self):
    module = loss_functions
    return [
        module.NormalMeanNegativeLogProbLoss,
        lambda a, **kw: module.NormalMeanVarianceNegativeLogProbLoss(
            a, tf.exp(tf.convert_to_tensor(a)), **kw),
        module.CategoricalLogitsNegativeLogProbLoss,
        module.OnehotCategoricalLogitsNegativeLogProbLoss,
        module.MultiBernoulliNegativeLogProbLoss]

  def testSeedOfTheConstructorIsUsedUnlessOneIsGiven(self):
    for make in self._makers():
      with tf.Graph().as_default():
        a = tf.zeros([30, 4])
        def grad(loss, a=a, **kwargs):
          # A value may be the same for all samples, a gradient is not.
          return tf.gradients(loss.evaluate_on_sample(**kwargs), a)[0]
        first, again, given, zero = run(
            grad(make(a, seed=1)), grad(make(a, seed=1)),
            grad(make(a, seed=2), seed=1), grad(make(a, seed=1), seed=0))
      self.assertAllEqual(first, again)
      self.assertAllEqual(first, given)
      self.assertNotAllClose(first, zero)

  def testEvaluateNeedsTargets(self):
    for make in self._makers():
      with tf.Graph().as_default():
        loss = make(tf.zeros([3, 4]))
        message = ("^targets must be given to evaluate "
                   f"{type(loss).__name__}, got None")
        with self.assertRaisesRegex(ValueError, message):
          loss.evaluate()

  def testTargetsAreConstants(self):
    with tf.Graph().as_default():
      x = tf.ones([3, 4])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(x, targets=2. * x)
      on_targets = tf.gradients(loss.evaluate(), x)[0]
      self.assertAllClose(run(on_targets), [-2. * np.ones((3, 4))])

  def testSecondDerivativesOfSampledLossExist(self):
    for make in self._makers():
      with tf.Graph().as_default():
        a = tf.zeros([3, 4])
        grad, = tf.gradients(make(a, seed=1).evaluate_on_sample(), a)
        second, = run(tf.gradients(tf.reduce_sum(grad[:, 0]), a)[0])
        self.assertGreater(np.abs(second[:, 0]).min(), 0.)

  def testUnknownShapesAreAllowed(self):
    for make in self._makers()[:1] + self._makers()[2:]:
      with tf.Graph().as_default(), tf.Session() as sess:
        a = tf.placeholder(tf.float32)
        loss = make(a, targets=tf.placeholder(tf.int32), seed=1)
        self.assertIsNone(loss.fisher_factor_inner_static_shape.rank)
        sample, vec, shape = sess.run(
            [loss.sample(1), loss.multiply_fisher(tf.ones([3, 4])),
             loss.fisher_factor_inner_shape], {a: np.zeros((3, 4))})
        self.assertEqual(sample.shape[0], 3)
        self.assertAllEqual(vec.shape, [3, 4])
        self.assertAllEqual(shape, [3, 4])

  def testPropertiesAddNoOps(self):
    for make in self._makers():
      with tf.Graph().as_default() as graph:
        loss = make(tf.zeros([3, 4]))
        graph.finalize()
        for name in ("params", "inputs", "targets", "dist", "input_minibatches",
                     "fisher_factor_inner_shape",
                     "fisher_factor_inner_static_shape"):
          getattr(loss, name)

  def testVariablesOfBothKinds(self):
    for use_resource, make in itertools.product(
        (False, True), self._makers()):
      with tf.Graph().as_default(), tf.Session() as sess:
        v = tf.get_variable("v", [3, 4], tf.float64,
                            tf.zeros_initializer(), use_resource=use_resource)
        loss = make(v, seed=1)
        sess.run(tf.global_variables_initializer())
        grad = sess.run(tf.gradients(loss.evaluate_on_sample(), v)[0])
        self.assertEqual(grad.dtype, np.float64)
        self.assertGreater(np.abs(grad).max(), 0.)

  def testEagerTensorsAreRefused(self):
    make = loss_functions.CategoricalLogitsNegativeLogProbLoss
    eager, labels = tf.zeros([3, 4]), tf.zeros([3], tf.int32)
    if not tf.executing_eagerly():  # The same is a graph's where that is off.
      self.assertIs(make(eager, labels).params, eager)
      return
    with tf.Graph().as_default():
      a = tf.zeros([3, 4])
      with self.assertRaisesRegex(
          TypeError, "^logits must be used while a tf.Graph is built, .*eager"):
        make(eager)
      with self.assertRaisesRegex(TypeError, "^targets must be used .*eager"):
        make(a, labels)
      with self.assertRaisesRegex(TypeError, "^var must be used .*eager"):
        loss_functions.NormalMeanNegativeLogProbLoss(a, eager)
    with self.assertRaisesRegex(TypeError, "^logits .*ndarray in eager mode"):
      make(np.zeros((3, 4)))


if __name__ == "__main__":
  tf.test.main()
