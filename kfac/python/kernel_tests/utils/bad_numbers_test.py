"""Tests of finding, counting and reporting numbers that are not finite."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import graph_modes
from kfac.python.kernel_tests import standard_error
from kfac.python.ops.utils import bad_numbers

_NAN, _INF = float("nan"), float("inf")


class BadNumbersTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.addCleanup(kfac.set_on_bad_numbers, "skip")

  def testIsFinite(self):
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64):
        largest = np.finfo(dtype).max
        value = tf.placeholder(dtype, None)
        finite = bad_numbers.is_finite(value)
        for numbers, expected in (
            ([[0., -3.]], True), (0.4 * largest, True), ([], True),
            ([0., _NAN], False), ([_INF], False), (-_INF, False),
            (0.6 * largest, False), (-0.6 * largest, False)):
          self.assertEqual(expected, sess.run(
              finite, {value: np.asarray(numbers, dtype)}), numbers)

  def testNamesOfBad(self):
    with tf.Graph().as_default(), self.session() as sess:
      numbers = tf.placeholder(tf.float32, [4])
      names = bad_numbers.names_of_bad(["a", "b", "c", "d"], numbers)
      self.assertEqual(
          b"a, c, d", sess.run(names, {numbers: [_NAN, 1., _INF, -_INF]}))

  def testSkippedIsCountedAndReported(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2), tf.Graph().as_default(), (
          self.session()) as sess:
        counter = tf.get_variable(
            "n", initializer=tf.zeros([], tf.int64), use_resource=True)
        finite = tf.placeholder(tf.bool, [])
        counted = bad_numbers.count(finite, counter, "the message")
        uncounted = bad_numbers.count(
            finite, None, lambda: tf.constant("made in the branch"))
        sess.run(counter.initializer)
        with standard_error.captured() as text:
          for step in range(25):
            sess.run([counted, uncounted], {finite: step < 5 or step > 22})
        self.assertEqual(18, sess.run(counter))
        lines = text.getvalue().splitlines()
        self.assertEqual(
            ["kfac: the message (number 1)", "kfac: the message (number 10)"],
            [line for line in lines if "the message" in line])
        self.assertEqual(18, lines.count("kfac: made in the branch"))

  def testRaiseEndsTheRunWithTheMessage(self):
    for v2 in (False, True):
      for action, message in (
          ("skip", None), ("raise", "a constant"),
          ("raise", lambda: tf.constant("a tensor"))):
        kfac.set_on_bad_numbers(action)
        with graph_modes.control_flow(v2), tf.Graph().as_default(), (
            self.session()) as sess:
          finite = tf.placeholder(tf.bool, [])
          checked = bad_numbers.checked(finite, message)
          self.assertTrue(sess.run(checked, {finite: True}))
          if action == "skip":
            self.assertFalse(sess.run(checked, {finite: False}))
            continue
          with self.assertRaisesRegex(
              tf.errors.InvalidArgumentError, "kfac: a (constant|tensor)"):
            sess.run(checked, {finite: False})

  def testUnknownActionIsAnError(self):
    with self.assertRaisesRegex(
        ValueError, r"^utils.ON_BAD_NUMBERS must be one of \['raise', "
        r"'skip'\], got 'ignore'\.$"):
      kfac.set_on_bad_numbers("ignore")


if __name__ == "__main__":
  tf.test.main()
