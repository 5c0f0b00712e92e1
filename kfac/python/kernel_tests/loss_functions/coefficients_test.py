"""Tests of coefficients: what they may be, and what they multiply."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.loss_functions import coefficients


class CoefficientsTest(tf.test.TestCase):

  def testNumbersAndScalarTensorsAreAccepted(self):
    with tf.Graph().as_default():
      for coeff in (0, 1, 0.5, np.float32(2), np.array(3.),
                    tf.constant(2.), tf.constant(2), tf.placeholder(tf.float64),
                    tf.get_variable("c", []),
                    tf.get_variable("r", [], use_resource=True)):
        coefficients.check(coeff)

  def testOthersAreRefused(self):
    with tf.Graph().as_default():
      for coeff in (-0.1, np.nan, np.inf, "1", None, [1.], True,
                    np.array([1.]), tf.ones([1]), tf.constant("1")):
        with self.assertRaisesRegex(
            ValueError,
            "^coeff must be a number >= 0 or a scalar tensor, got "):
          coefficients.check(coeff)

  def testScaledMultipliesByThePowerOfTheMode(self):
    with tf.Graph().as_default(), self.session() as sess:
      value = (tf.constant([1., -2.]), [tf.constant(3., tf.float64)])
      for coeff in (9, tf.constant(9.), tf.constant(9)):
        for mode, power in (("regular", 9.), ("sqrt", 3.), ("off", 1.)):
          first, (second,) = sess.run(
              coefficients.scaled(value, coeff, mode))
          self.assertAllEqual(first, [power, -2. * power])
          self.assertEqual(second, 3. * power)
          self.assertEqual(second.dtype, np.float64)

  def testNothingIsAddedWhereNothingChanges(self):
    with tf.Graph().as_default():
      value = tf.constant([1., -2.])
      for mode in coefficients.MODES:
        self.assertIs(coefficients.scaled(value, 1., mode), value)
      self.assertIs(coefficients.scaled(value, 4., "off"), value)

  def testTheRootOfZeroHasNoDerivative(self):
    with tf.Graph().as_default(), self.session() as sess:
      coeff, x = tf.constant(0.), tf.constant(2.)
      value = coefficients.scaled(x, coeff, "sqrt")
      self.assertEqual(tf.gradients(value, [coeff]), [None])
      self.assertAllEqual(sess.run(tf.gradients(value, [x])), [0.])


if __name__ == "__main__":
  tf.test.main()
