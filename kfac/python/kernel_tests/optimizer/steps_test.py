"""Velocities, the clip coefficient and inner products."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import standard_error
from kfac.python.ops.optimizer import steps
from kfac.python.ops.utils import bad_numbers


def _variables(names):
  return [tf.get_variable(name, []) for name in names]


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


  def testACoefficientOfZeroIgnoresTheVector(self):
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64, np.float16):
        velocity = tf.Variable(np.array([1., 2.], dtype), use_resource=True)
        usable = tf.placeholder(tf.bool, [])
        vector = tf.placeholder(dtype, [2])
        new, = steps.update_velocities(
            [velocity], [vector], *steps.keep_unless(usable, 0.5, -4.))
        step = steps.zero_unless(usable, vector)
        sess.run(velocity.initializer)
        for values in ([np.nan, 1.], [np.inf, -np.inf]):
          got, zero = sess.run([new, step], {usable: False, vector: values})
          self.assertAllEqual([1., 2.], got)
          self.assertAllEqual([0., 0.], zero)
        got, same = sess.run([new, step], {usable: True, vector: [1., 2.]})
        self.assertAllEqual([-3.5, -7.], got)
        self.assertAllEqual([1., 2.], same)


  def testFiniteOrZero(self):
    with tf.Graph().as_default(), self.session() as sess:
      for value, expected in ((2., 2.), (np.nan, 0.), (-np.inf, 0.)):
        self.assertEqual(
            expected, sess.run(steps.finite_or_zero(tf.constant(value))))
      self.assertEqual(3, sess.run(steps.finite_or_zero(tf.constant(3))))


class CheckStepTest(tf.test.TestCase):

  def testFindsWhateverIsNotFinite(self):
    with tf.Graph().as_default(), self.session() as sess:
      dense, alpha = tf.placeholder(tf.float32, [2]), tf.placeholder(
          tf.float64, [])
      sparse = tf.IndexedSlices(
          tf.placeholder(tf.float64, [1, 2]), [1], [2, 2])
      finite = steps.check_step(
          list(zip((dense, sparse), _variables("ab"), strict=True)),
          {"alpha": alpha, "a number": 0.5, "the loss": None}, None)
      both = steps.are_finite([dense, sparse])
      for change, expected, vectors in (
          ({}, True, True), ({dense: [np.nan, 0.]}, False, False),
          ({dense: [np.inf, -np.inf]}, False, False),
          ({dense: [3e30, -3e30]}, False, False),
          ({sparse.values: [[0., -np.inf]]}, False, False),
          ({alpha: np.nan}, False, True)):
        feed = {dense: [1., 2.], sparse.values: [[3., 4.]], alpha: 1., **change}
        with standard_error.captured() as text:
          self.assertEqual((expected, vectors), sess.run((finite, both), feed))
        self.assertEqual(expected, not text.getvalue())

  def testMessageNamesAll(self):
    self.addCleanup(bad_numbers.set_on_bad_numbers, "skip")
    bad_numbers.set_on_bad_numbers("raise")
    with tf.Graph().as_default(), self.session() as sess:
      bad = tf.constant(np.nan)
      finite = steps.check_step(
          list(zip((tf.ones([2]), bad, bad), _variables("abc"), strict=True)),
          {"the loss": bad}, None)
      with self.assertRaisesRegex(
          tf.errors.InvalidArgumentError,
          "kfac: a step was skipped, since these are not finite: the gradient "
          "or update of b, the gradient or update of c, the loss; it may be "
          f"{bad_numbers.CAUSES}"):
        sess.run(finite)


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
