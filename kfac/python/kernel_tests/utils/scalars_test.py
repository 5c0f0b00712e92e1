"""Tests of checks of scalars."""

import re

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import scalars


class CheckIntTest(tf.test.TestCase):

  def testIntsOfAnyKind(self):
    for value in (2, np.int64(2)):
      self.assertIs(type(scalars.check_int("n", value, 2)), int)
    for value in (1, 2., True, None, "2"):
      with self.assertRaisesRegex(ValueError, re.escape(
          f"n must be an int >= 2, got {value!r}.")):
        scalars.check_int("n", value, 2)


class IsOneTest(tf.test.TestCase):

  def testOnlyTheNumberIs(self):
    with tf.Graph().as_default():
      for value, expected in (
          (1, True), (1., True), (np.float32(1.), True), (np.array(1.), True),
          (2, False), (0.5, False), (None, False), (tf.constant(1.), False)):
        self.assertIs(expected, scalars.is_one(value))


class ProductTest(tf.test.TestCase):

  def testNumbersAndTensors(self):
    self.assertEqual(0.1 * 0.3, scalars.product(0.1, 0.3))
    with tf.Graph().as_default(), self.session() as sess:
      given = tf.constant(0.1)
      self.assertIs(given, scalars.product(given, 1.))
      wide = tf.constant(0.1, tf.float64)
      for value, mult, expected in (
          (wide, 0.3, 0.1 * 0.3), (0.1, tf.constant(0.3, tf.float64),
                                   0.1 * 0.3),
          (wide, tf.constant(0.25), 0.1 * 0.25)):
        self.assertEqual(
            np.float64(expected), sess.run(scalars.product(value, mult)))
      self.assertEqual(
          tf.float32, scalars.product(given, wide).dtype)


class TotalTest(tf.test.TestCase):

  def testNumbersAndTensors(self):
    self.assertEqual(0.1 + 0.3, scalars.total(0.1, 0.3))
    with tf.Graph().as_default(), self.session() as sess:
      given = tf.constant(0.1)
      self.assertIs(given, scalars.total(given, 0.))
      wide = tf.constant(0.1, tf.float64)
      for value, summand, expected in (
          (wide, 0.3, 0.1 + 0.3), (0.1, tf.constant(0.3, tf.float64),
                                   0.1 + 0.3),
          (wide, tf.constant(0.25), 0.1 + 0.25)):
        self.assertEqual(
            np.float64(expected), sess.run(scalars.total(value, summand)))
      self.assertEqual(tf.float32, scalars.total(given, wide).dtype)


class ShownTest(tf.test.TestCase):

  def testIsOneShortLine(self):
    self.assertEqual(scalars.shown("a b"), "'a b'")
    self.assertEqual(
        scalars.shown(np.ones([2, 2])), "array([[1., 1.], [1., 1.]])")
    text = scalars.shown("x" * 1000)
    self.assertEqual(text, "'" + "x" * 199 + "...")


if __name__ == "__main__":
  tf.test.main()
