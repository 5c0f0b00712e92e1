"""Tests of insert_slice_in_zeros."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.loss_functions import loss_oracles as oracles
from kfac.python.ops import loss_functions


class InsertSliceInZerosTest(tf.test.TestCase):

  def testPutsTheSliceAtItsPosition(self):
    piece = np.arange(1., 7.).reshape(2, 1, 3)
    with tf.Graph().as_default():
      for position in range(4):
        expected = np.zeros((2, 4, 3))
        expected[:, position:position + 1] = piece
        for dim, size in ((1, 4), (-2, tf.constant(4))):
          got, = oracles.run(loss_functions.insert_slice_in_zeros(
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


if __name__ == "__main__":
  tf.test.main()
