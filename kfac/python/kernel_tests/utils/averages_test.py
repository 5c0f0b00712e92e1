"""Tests of MovingAverageVariable and AccumulatorVariable in utils."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import graph_modes
from kfac.python.ops import utils

_VALUES = np.random.RandomState(0).randn(4, 3)


class MovingAverageVariableTest(tf.test.TestCase):

  def _make(self, **kwargs):
    return utils.MovingAverageVariable("average", [3], tf.float64, **kwargs)

  def _averages(self, average, decays, weights, **constants):
    """Returns the averages after each value, fed as tensors."""
    x, decay, weight = (tf.placeholder(tf.float64, shape)
                        for shape in ([3], [], []))
    op = average.add_to_average(x, decay, weight)
    seen = []
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      for value in zip(_VALUES, decays, weights, strict=True):
        sess.run(op, dict(zip((x, decay, weight), value, strict=True)))
        seen.append(sess.run(average.value))
    return seen

  def testIsTheWeightedSumOverTheTotalWeight(self):
    decays, weights = [0.9, 0.5, 1., 0.25], [2., 0.5, 1., 3.]
    for initializer in (tf.zeros_initializer(), tf.ones_initializer()):
      with tf.Graph().as_default():
        average = self._make(initializer=initializer)
        self.assertEqual(tf.float64, average.dtype)
        seen = self._averages(average, decays, weights)
      total, weighted, expected = 0., np.zeros(3), []
      for value, decay, weight in zip(_VALUES, decays, weights, strict=True):
        total = decay * total + weight
        weighted = decay * weighted + weight * value
        expected.append(weighted / total)
      self.assertAllClose(expected, seen, rtol=1e-12)

  def testSumWithoutNormalization(self):
    decays, weights = [0.9, 0.5, 1., 0.25], [2., 0.5, 1., 3.]
    with tf.Graph().as_default():
      seen = self._averages(
          self._make(normalize_value=False, initializer=tf.ones_initializer()),
          decays, weights)
    weighted, expected = np.ones(3), []
    for value, decay, weight in zip(_VALUES, decays, weights, strict=True):
      weighted = decay * weighted + weight * value
      expected.append(weighted)
    self.assertAllClose(expected, seen, rtol=1e-12)

  def testResetInABranch(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2), tf.Graph().as_default(), (
          self.session()) as sess:
        average = self._make(initializer=tf.ones_initializer())
        add = average.add_to_average(_VALUES[0])

        def reset(average=average):
          with tf.control_dependencies([average.reset()]):
            return tf.constant(True)

        reset_op = tf.cond(
            tf.constant(True), reset, lambda: tf.constant(False))
        sess.run(tf.global_variables_initializer())
        self.assertAllClose(np.ones(3), sess.run(average.value))
        for _ in range(2):
          sess.run(add)
          self.assertAllClose(_VALUES[0], sess.run(average.value))
          sess.run(reset_op)
          self.assertAllClose(np.ones(3), sess.run(average.value))

  def testAddsNothingWithoutWeight(self):
    with tf.Graph().as_default(), self.session() as sess:
      average = self._make()
      add = average.add_to_average(_VALUES[0], weight=0.)
      sess.run(tf.global_variables_initializer())
      sess.run(add)
      self.assertAllEqual(np.zeros(3), sess.run(average.value))

  def testNegativeWeights(self):
    with tf.Graph().as_default():
      average = self._make()
      for name in ("decay", "weight"):
        with self.assertRaisesRegex(
            ValueError, f"^{name} must be finite and at least 0.0, got -1.$"):
          average.add_to_average(_VALUES[0], **{name: -1})


class AccumulatorVariableTest(tf.test.TestCase):

  def testIsTheMeanSinceTheLastReset(self):
    with tf.Graph().as_default(), self.session() as sess:
      accumulator = utils.AccumulatorVariable("mean", [3], tf.float64)
      x = tf.placeholder(tf.float64, [3])
      add, value = accumulator.accumulate(x), accumulator.value
      read_and_reset = accumulator.read_value_and_reset()
      reset = accumulator.reset()
      sess.run(tf.global_variables_initializer())
      self.assertAllEqual(np.zeros(3), sess.run(value))
      for part in (_VALUES[:3], _VALUES[3:]):
        for row in part:
          sess.run(add, {x: row})
        self.assertAllClose(part.mean(0), sess.run(value), rtol=1e-12)
        self.assertAllClose(part.mean(0), sess.run(read_and_reset), rtol=1e-12)
        self.assertAllEqual(np.zeros(3), sess.run(value))
      sess.run(add, {x: _VALUES[0]})
      sess.run(reset)
      self.assertAllEqual(np.zeros(3), sess.run(value))


if __name__ == "__main__":
  tf.test.main()
