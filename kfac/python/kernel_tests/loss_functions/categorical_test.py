"""Values, samples and errors of the losses of categorical distributions."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.loss_functions import loss_oracles as oracles
from kfac.python.ops import loss_functions


class CategoricalLogitsNegativeLogProbLossTest(tf.test.TestCase):

  def testEvaluatesCrossEntropy(self):
    logits = np.random.RandomState(0).randn(3, 4)
    labels = np.array([2, 0, 3])
    expected = -oracles.log_softmax(logits)[np.arange(3), labels].sum()
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
      with tf.Graph().as_default():
        a = tf.constant(logits, dtype)
        make = loss_functions.CategoricalLogitsNegativeLogProbLoss
        values = oracles.run(*[
            make(a, targets).evaluate() for targets in (
                labels, labels.tolist(), labels.astype(np.uint8),
                tf.constant(labels, tf.int32), tf.constant(labels, tf.int64))])
        probs, = oracles.run(make(a).dist.probs)
      self.assertEqual(values[0].dtype, dtype)
      self.assertAllClose(values, [expected] * 5, tolerance, tolerance)
      self.assertAllClose(probs, np.exp(oracles.log_softmax(logits)), tolerance)

  def testHugeLogitsStayFinite(self):
    with tf.Graph().as_default():
      a = tf.constant([[1e4, -1e4]])
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(a, [1])
      self.assertAllClose(oracles.run(loss.evaluate()), [2e4])

  def testSequences(self):
    logits = np.random.RandomState(0).randn(2, 3, 4)
    labels = np.array([[0, 1, 2], [3, 3, 0]])
    with tf.Graph().as_default():
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(
          tf.constant(logits), labels)
      value, sample = oracles.run(loss.evaluate(), loss.sample(1))
    picked = np.take_along_axis(
        oracles.log_softmax(logits), labels[..., None], -1)
    self.assertAllClose(value, -picked.sum())
    self.assertAllEqual(sample.shape, [2, 3])

  def testSamplesHaveTheirFrequencies(self):
    probs = np.array([0.1, 0.2, 0.7])
    logits = np.log(np.tile(probs, (oracles.NUM_SAMPLES, 1))) + 3.
    with tf.Graph().as_default():
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(
          tf.constant(logits))
      onehot_loss = loss_functions.OnehotCategoricalLogitsNegativeLogProbLoss(
          tf.constant(logits))
      results = oracles.run(
          [loss.sample(3), onehot_loss.sample(4)],
          [one.stateless_sample(tf.constant([3, 4]))
           for one in (loss, onehot_loss)])
    error = np.sqrt(probs * (1 - probs) / oracles.NUM_SAMPLES)
    for sample, onehot in results:
      self.assertAllEqual(sample.shape, [oracles.NUM_SAMPLES])
      self.assertAllEqual(onehot.sum(axis=1), np.ones(oracles.NUM_SAMPLES))
      for frequencies in (
          np.bincount(sample, minlength=3) / oracles.NUM_SAMPLES,
          onehot.mean(axis=0)):
        self.assertAllLess(np.abs(frequencies - probs) / error, 6.)
    # A stateless seed gives both losses the same classes.
    self.assertAllEqual(results[1][0], np.argmax(results[1][1], axis=1))

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
        # Other integer types are cast to the first one.
        loss.register_additional_minibatch(
            parts[1], targets[3:5].astype(np.int32))
        loss.register_additional_minibatch(logits=parts[2], targets=targets[5:])
        self.assertEqual(loss.num_registered_minibatches, 3)
        for got, part in zip(loss.input_minibatches, parts, strict=True):
          self.assertIs(got, part)
        vec = rng.randn(6, 4)
        got, expected = [oracles.run(
            one.evaluate(), one.multiply_fisher(vec),
            one.multiply_fisher_factor(vec),
            one.multiply_fisher_factor_transpose(vec),
            one.multiply_fisher_factor_replicated_one_hot((2,)),
            one.fisher_factor_inner_shape, one.params) for one in (loss, whole)]
        for g, e in zip(got, expected, strict=True):
          self.assertAllClose(g, e)
        grads = oracles.run(*tf.gradients(loss.evaluate(), parts))
        self.assertAllClose(
            np.concatenate(grads),
            np.exp(oracles.log_softmax(logits)) - np.eye(4)[labels])
        self.assertAllEqual(
            oracles.run(loss.sample(1))[0].shape, np.shape(targets))

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
        make(a, np.zeros(6, np.int32)).evaluate()
      with self.assertRaisesRegex(
          ValueError, r"^targets must have .*got \(5, 10\) .*OnehotCatego"):
        make(a, np.zeros((5, 10), np.int32)).evaluate()
      with self.assertRaisesRegex(
          TypeError, "^targets must be integers, got float32"):
        make(a, tf.zeros([5])).evaluate()
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
      self.assertEqual(loss.num_registered_minibatches, 1)

  def testTargetsOfAdditionalMinibatchesAreRefusedOnlyWhenUsed(self):
    for first, second, message in (
        (None, [1, 2], "be given for all minibatches or none"),
        ([0, 1, 2], None, "be given for all minibatches or none"),
        ([0, 1, 2], [1, 2, 3], r"have shape \(2,\), got \(3,\)"),
        ([0, 1, 2], [[0] * 10, [1] * 10], r"have shape \(2,\), got \(2, 10\)"),
        ([0, 1], [1, 2], r"have shape \(3,\), got \(2,\)"),
        ([0, 1], [1, 2, 3], r"have shape \(3,\), got \(2,\)")):
      with self.subTest(message), tf.Graph().as_default():
        a, b = tf.ones([3, 10]), tf.ones([2, 10])
        with self.assertLogs("absl", "WARNING") as logs:
          loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(a, first)
          loss.register_additional_minibatch(b, second)
        self.assertLen(logs.output, 1)
        self.assertEqual([5, 10], loss.params.shape.as_list())
        oracles.run(loss.evaluate_on_sample(1))
        with self.assertRaisesRegex(ValueError, "^targets must " + message):
          loss.evaluate()


class OnehotCategoricalLogitsNegativeLogProbLossTest(tf.test.TestCase):

  def testEqualsTheLossOfIntegerTargets(self):
    logits = np.random.RandomState(0).randn(3, 4)
    labels = [2, 0, 3]
    with tf.Graph().as_default():
      a = tf.constant(logits)
      values = oracles.run(
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
            tf.ones([5, 10]), np.zeros(5, np.int32)).evaluate()


if __name__ == "__main__":
  tf.test.main()
