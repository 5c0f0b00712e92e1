"""Tests of the filters of depthwise convolutions."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_blocks import graph_case as case
from kfac.python.ops import fisher_blocks as fb


class DepthwiseFiltersTest(case.GraphCase):

  def testEmbeddedFilterDoesTheSame(self):
    f, x = self._normal(2, 3, 2, 3), self._normal(4, 3, 4, 2)
    embedded = fb.depthwise_conv2d_filter_to_conv2d_filter(tf.constant(f))
    expected = np.zeros([2, 3, 2, 6])
    for c in range(2):
      expected[:, :, c, 3 * c:3 * c + 3] = f[:, :, c]
    with self.session() as session:
      self.assertAllEqual(session.run(embedded), expected)
      self.assertAllClose(*session.run([
          tf.nn.depthwise_conv2d(
              tf.constant(x), tf.constant(f), case.ONES, "SAME"),
          tf.nn.conv2d(tf.constant(x), embedded, case.ONES, "SAME")]))

  def testEmbeddingIsInvertible(self):
    f, whole = self._normal(2, 3, 2, 3), self._normal(2, 3, 2, 6)
    with self.session() as session:
      back = session.run(fb.conv2d_filter_to_depthwise_conv2d_filter(
          fb.depthwise_conv2d_filter_to_conv2d_filter(tf.constant(f))))
      self.assertAllEqual(back, f)
      cut = session.run(
          fb.conv2d_filter_to_depthwise_conv2d_filter(tf.constant(whole)))
    expected = np.stack([whole[:, :, c, 3 * c:3 * c + 3] for c in range(2)], 2)
    self.assertAllEqual(cut, expected)

  def testNameScopes(self):
    for function, last in ((fb.depthwise_conv2d_filter_to_conv2d_filter, 3),
                           (fb.conv2d_filter_to_depthwise_conv2d_filter, 6)):
      result = function(tf.zeros([1, 1, 2, last]), name="mine")
      self.assertStartsWith(result.op.name, "mine")


if __name__ == "__main__":
  tf.test.main()
