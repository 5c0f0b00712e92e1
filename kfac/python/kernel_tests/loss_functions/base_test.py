"""Tests of the interface of losses, and of what they have in common."""

import inspect
import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.loss_functions import loss_oracles as oracles
from kfac.python.ops import loss_functions
from kfac.python.ops import loss_functions_lib


class ModuleTest(tf.test.TestCase):

  def testLibExportsThePublicNames(self):
    for name in loss_functions.__all__:
      self.assertIs(getattr(loss_functions_lib, name),
                    getattr(loss_functions, name))


class LossFunctionTest(tf.test.TestCase):
  """Members that a user's class inherits."""

  def testAbstractMembersAreThoseAUserMustDefine(self):
    expected = {
        "LossFunction": oracles.HESSIAN + ["inputs"],
        "NegativeLogProbLoss":
            oracles.HESSIAN + oracles.FISHER + ["params", "sample"],
        "NaturalParamsNegativeLogProbLoss":
            oracles.FISHER + ["params", "sample"],
        "DistributionNegativeLogProbLoss":
            oracles.HESSIAN + oracles.FISHER + ["params"],
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
        loss_functions.LossFunction, oracles.HESSIAN,
        inputs=property(lambda self: self.x),
        _evaluate=lambda self, targets: tf.reduce_sum(self.x * targets))
    with tf.Graph().as_default():
      x = tf.constant([1., 2.])
      loss = cls(targets=3. * x)
      loss.x = x
      grad, = tf.gradients(loss.evaluate(), x)
      value, grad = oracles.run(loss.evaluate(), grad)
      self.assertAllClose(value, 15.)
      # The targets depend on x, but are constants.
      self.assertAllClose(grad, [3., 6.])
      self.assertLen(loss.input_minibatches, 1)
      self.assertIs(loss.input_minibatches[0], x)
      self.assertEqual(loss.num_registered_minibatches, 1)

  def testUserLossWithoutAValueRaises(self):
    cls = self._subclass(
        loss_functions.LossFunction, oracles.HESSIAN + ["inputs"])
    with tf.Graph().as_default():
      with self.assertRaisesRegex(
          NotImplementedError, r"^UserLoss must define _evaluate\(targets\)"):
        cls(targets=tf.ones([2])).evaluate()
      with self.assertRaisesRegex(ValueError, "^targets must.*UserLoss.*None"):
        cls().evaluate()

  def _laplace(self, **members):
    """Returns a loss of a distribution that this package does not have."""
    return self._subclass(
        loss_functions.DistributionNegativeLogProbLoss,
        oracles.HESSIAN + oracles.FISHER,
        params=property(lambda self: self.dist.loc), **members)

  def testUserDistributionAsProperty(self):
    with tf.Graph().as_default():
      laplace = tf.distributions.Laplace(tf.constant([0., 1.]), 2.)
      loss = self._laplace(
          dist=property(lambda self: laplace),
          targets=property(lambda self: tf.constant([3., 0.])))(seed=5)
      self.assertIs(loss.inputs, laplace.loc)
      value, first, second = oracles.run(
          loss.evaluate(), loss.sample(5), loss.sample(5))
      self.assertAllClose(value, 2 * np.log(4.) + (3. + 1.) / 2.)
      self.assertAllEqual(first, second)

  def testUserDistributionAsArgument(self):
    with tf.Graph().as_default():
      laplace = tf.distributions.Laplace(tf.constant([0., 1.]), 2.)
      loss = self._laplace()(
          dist=laplace, targets=tf.constant([3., 0.]), seed=5)
      self.assertIs(loss.dist, laplace)
      value, = oracles.run(loss.evaluate())
      self.assertAllClose(value, 2 * np.log(4.) + (3. + 1.) / 2.)

  def _counted(self, loss, x):
    """Returns two evaluations of the gradient on one counted sample."""
    grad, = tf.gradients(loss.evaluate_on_counted_sample(
        tf.constant(3, tf.int64), 0), x)
    with tf.Session() as sess:
      return sess.run(grad), sess.run(grad)

  def testUserSamplesAreUsedThoughTheyHaveNoCounter(self):
    ours = loss_functions.NormalMeanNegativeLogProbLoss

    class OwnSample(ours):

      def sample(self, seed):
        del seed
        return 7. * tf.ones_like(self.params)

    class OwnEvaluation(ours):

      def evaluate_on_sample(self, seed=None):
        del seed
        return tf.reduce_sum(7. * self.params)

    class OwnBoth(OwnSample):

      def stateless_sample(self, seed):
        del seed
        return 5. * tf.ones_like(self.params)

    class OwnDistribution(ours):
      dist = property(
          lambda self: tf.distributions.Normal(self.params, tf.sqrt(0.5)))

    with tf.Graph().as_default():
      x = tf.zeros([30])
      for cls, expected in ((OwnSample, -14.), (OwnEvaluation, 7.),
                            (OwnBoth, -10.)):
        first, second = self._counted(cls(x, seed=1), x)
        self.assertAllClose(first, 30 * [expected])
        self.assertAllEqual(first, second)
      self.assertAllEqual(*self._counted(ours(x, seed=1), x))
      self.assertNotAllClose(*self._counted(OwnDistribution(x, seed=1), x))
    with tf.Graph().as_default():
      laplace = tf.distributions.Laplace(tf.zeros([30]), 2.)
      self.assertNotAllClose(*self._counted(
          self._laplace()(dist=laplace), laplace.loc))

  def testMissingDistributionRaises(self):
    loss = self._laplace()()
    with self.assertRaisesRegex(
        NotImplementedError, "^UserLoss must define dist or pass it"):
      loss.dist  # noqa: B018

  def testHessianOfNaturalParamsIsTheirFisher(self):
    cls = self._subclass(
        loss_functions.NaturalParamsNegativeLogProbLoss,
        ["params", "sample"],
        **{name: (lambda self, v, name=name: (name, v))
           for name in oracles.FISHER if "shape" not in name},
        fisher_factor_inner_shape="shape",
        fisher_factor_inner_static_shape="static shape")
    loss = cls()
    for hessian, fisher in zip(oracles.HESSIAN, oracles.FISHER, strict=True):
      if "shape" in hessian:
        self.assertEqual(getattr(loss, hessian), getattr(loss, fisher))
      else:
        self.assertEqual(getattr(loss, hessian)(7), (fisher, 7))


  def testBothSpellingsOfTheHessianAreOne(self):
    with tf.Graph().as_default():
      loss = loss_functions.MultiBernoulliNegativeLogProbLoss(
          tf.constant([[0.5, -1.]], tf.float64))
      self.assertEqual(loss.dtype, tf.float64)
      v = tf.constant([[2., 3.]], tf.float64)
      results = oracles.run(*[
          [getattr(loss, f"multiply_{name}")(v),
           getattr(loss, f"multiply_{name}_factor")(v),
           getattr(loss, f"multiply_{name}_factor_transpose")(v),
           getattr(loss, f"multiply_{name}_factor_replicated_one_hot")([1]),
           getattr(loss, f"{name}_factor_inner_shape")]
          for name in ("hessian", "ggn")])
      for one, other in zip(*results, strict=True):
        self.assertAllEqual(one, other)
      self.assertEqual(loss.ggn_factor_inner_static_shape.as_list(), [1, 2])
      pair = loss_functions.NormalMeanVarianceNegativeLogProbLoss(v, v)
      self.assertEqual(pair.dtype, tf.float64)
      with self.assertRaisesRegex(NotImplementedError, "no Hessian products"):
        pair.multiply_ggn((v, v))

  def testUserLossMayDefineEitherSpelling(self):
    names = [name.replace("hessian", "ggn") for name in oracles.HESSIAN]
    cls = self._subclass(
        loss_functions.LossFunction, names, inputs=property(lambda self: 1.),
        multiply_ggn=lambda self, vector: 2 * vector,
        ggn_factor_inner_shape=property(lambda self: 3))
    loss = cls()
    self.assertEqual(loss.multiply_hessian(4), 8)
    self.assertEqual(loss.multiply_ggn(4), 8)
    self.assertEqual(loss.hessian_factor_inner_shape, 3)


class AllLossesTest(tf.test.TestCase):
  """Properties of all losses."""

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
          # The value may be equal for all samples; the gradient is not.
          return tf.gradients(loss.evaluate_on_sample(**kwargs), a)[0]
        first, again, given, zero = oracles.run(
            grad(make(a, seed=1)), grad(make(a, seed=1)),
            grad(make(a, seed=2), seed=1), grad(make(a, seed=1), seed=0))
      self.assertAllEqual(first, again)
      self.assertAllEqual(first, given)
      self.assertNotAllClose(first, zero)

  def testCountedSamplesAreAFunctionOfCounterIndexAndSeed(self):
    for make in self._makers():
      with tf.Graph().as_default():
        a = tf.zeros([30, 4])
        counter = tf.placeholder(tf.int64, [])

        def grad(index, seed, a=a, make=make, counter=counter):
          return tf.gradients(make(a, seed=seed).evaluate_on_counted_sample(
              counter, index), a)[0]

        grads = [grad(0, 1), grad(0, 1), grad(1, 1), grad(0, 2), grad(0, None)]
        with tf.Session() as sess:
          first, again, *others = sess.run(grads, {counter: 2**62})
          others += sess.run(grads, {counter: 2**62 + 1})[1:]
        self.assertAllEqual(first, again)
      for one, other in itertools.combinations([first, *others], 2):
        self.assertNotAllClose(one, other)

  def testEvaluateNeedsTargets(self):
    for make in self._makers():
      with tf.Graph().as_default():
        loss = make(tf.zeros([3, 4]))
        message = ("^targets must be given to evaluate "
                   f"{type(loss).__name__}, got None")
        with self.assertRaisesRegex(ValueError, message):
          loss.evaluate()

  def testTargetsThatDoNotFitAreRefusedOnlyWhenUsed(self):
    one_hot = np.eye(4)[[0, 1, 2]]
    module = loss_functions
    normal, normal_variance, categorical, onehot, bernoulli = self._makers()
    for make, targets, error, message in (
        (normal, np.zeros(3), ValueError, r"shape \(3, 4\), got \(3,\)\.$"),
        (normal_variance, np.zeros([5, 4]), ValueError, r"shape \(3, 4\)"),
        (categorical, one_hot.astype(np.int32), ValueError,
         r"shape \(3,\), got \(3, 4\) \(one-hot rows are for the class"),
        (categorical, one_hot, ValueError, r"shape \(3,\), got \(3, 4\)"),
        (categorical, np.zeros(3), TypeError, "be integers, got float64"),
        (onehot, [0, 1, 2], ValueError, r"shape \(3, 4\), got \(3,\)\.$"),
        (bernoulli, np.zeros([3, 1, 4]), ValueError, "shape"),
        (bernoulli, np.full([3, 4], "a"), TypeError, "be numbers, got string"),
        (categorical, [[0], [1, 2]], TypeError, "be a tensor, got list"),
        (normal, object(), TypeError, "be a tensor, got object"),
    ):
      with self.subTest(message), tf.Graph().as_default():
        a = tf.zeros([3, 4])
        with self.assertLogs("absl", "WARNING") as logs:
          loss = make(a, targets=targets, seed=1)
        self.assertLen(logs.output, 1)
        self.assertRegex(logs.output[0], "targets must .*only if.*empirical")
        # What does not use the targets works.
        fisher, grad = oracles.run(
            loss.multiply_fisher(loss.params),
            tf.gradients(loss.evaluate_on_sample(), a)[0])
        self.assertAllEqual([3, 4], tf.nest.flatten(fisher)[0].shape)
        self.assertAllEqual([3, 4], grad.shape)
        for _ in range(2):
          with self.assertRaisesRegex(error, "^targets must .*" + message):
            loss.evaluate()
    with tf.Graph().as_default(), self.assertNoLogs("absl", "WARNING"):
      module.CategoricalLogitsNegativeLogProbLoss(
          tf.zeros([3, 4]), [0, 1, 2]).evaluate()

  def testTargetsAreConstants(self):
    with tf.Graph().as_default():
      x = tf.ones([3, 4])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(x, targets=2. * x)
      on_targets = tf.gradients(loss.evaluate(), x)[0]
      self.assertAllClose(oracles.run(on_targets), [-2. * np.ones((3, 4))])

  def testSecondDerivativesOfSampledLossExist(self):
    for make in self._makers():
      with tf.Graph().as_default():
        a = tf.zeros([3, 4])
        grad, = tf.gradients(make(a, seed=1).evaluate_on_sample(), a)
        second, = oracles.run(tf.gradients(tf.reduce_sum(grad[:, 0]), a)[0])
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
    if not tf.executing_eagerly():  # Without eager mode it is a graph's.
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
