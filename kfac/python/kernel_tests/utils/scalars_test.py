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


class ShownTest(tf.test.TestCase):

  def testIsOneShortLine(self):
    self.assertEqual(scalars.shown("a b"), "'a b'")
    self.assertEqual(
        scalars.shown(np.ones([2, 2])), "array([[1., 1.], [1., 1.]])")
    text = scalars.shown("x" * 1000)
    self.assertEqual(text, "'" + "x" * 199 + "...")


if __name__ == "__main__":
  tf.test.main()
