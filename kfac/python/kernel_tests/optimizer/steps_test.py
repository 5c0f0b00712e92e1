"""Velocities, the clip coefficient and inner products."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.optimizer import steps


class UpdateVelocitiesTest(tf.test.TestCase):

  def testAddsDenseAndSparseVectors(self):
    with tf.Graph().as_default(), self.session() as sess:
      for use_resource in (False, True):
        velocities = [tf.Variable(value, use_resource=use_resource)
                      for value in (np.array([1., 2.]), np.eye(2))]
        sparse = tf.IndexedSlices(
            tf.constant([[1., 2.], [3., 4.]], tf.float64), [1, 1], [2, 2])
        new = steps.update_velocities(
            velocities, [tf.constant([4., 8.], tf.float64), sparse],
            tf.constant(0.5), 0.25)
        sess.run(tf.global_variables_initializer())
        for result, variable, expected in zip(
            sess.run(new), sess.run(velocities),
            ([1.5, 3.], [[0.5, 0.], [1., 2.]]), strict=True):
          self.assertAllEqual(expected, result)
          self.assertAllEqual(expected, variable)


class NormConstraintTest(tf.test.TestCase):

  def testClipCoefficient(self):
    with tf.Graph().as_default(), self.session() as sess:
      for norm, rate, constraint, expected in (
          (4., 0.5, 0.25, 0.5), (4., 0.5, 1., 1.), (4., 0.5, 2., 1.),
          (9., tf.constant(1.), 1., 1. / 3.), (0., 1., 1., 1.),
          (4., 0., 1., 1.)):
        got = sess.run(steps.clip_coefficient(
            tf.constant(norm, tf.float64), rate, constraint))
        self.assertEqual(np.float64, got.dtype)
        self.assertNear(expected, got, 1e-15)

  def testInnerProductOfSparseAndDense(self):
    with tf.Graph().as_default(), self.session() as sess:
      sparse = tf.IndexedSlices(tf.constant([[1., 2.], [3., 4.]]), [1, 1],
                                [2, 2])
      ones = tf.constant([[9., 9.], [1., 10.]])
      self.assertEqual(4. + 60. + 5., sess.run(
          steps.inner_product(
              [sparse, tf.constant(1.)], [ones, tf.constant(5.)])))


if __name__ == "__main__":
  tf.test.main()
