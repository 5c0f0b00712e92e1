"""Tests of the casts from and to half precision."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import precision


class PrecisionTest(tf.test.TestCase):

  def testHalfPrecisionGoesToFloat32AndBack(self):
    for dtype in (tf.float16, tf.bfloat16):
      self.assertEqual(tf.float32, precision.wide_dtype(dtype))
      with tf.Graph().as_default(), self.session() as sess:
        slices = tf.IndexedSlices(
            tf.ones([2, 3], dtype), tf.constant([0, 2]), tf.constant([4, 3]))
        variable = tf.Variable(tf.ones([2], dtype), use_resource=True)
        vector = (slices, [variable, tf.ones([3])])
        wide = precision.widen(vector)
        self.assertIsInstance(wide[0], tf.IndexedSlices)
        self.assertIs(slices.indices, wide[0].indices)
        self.assertEqual([tf.float32] * 3,
                         [part.dtype for part in (wide[0], *wide[1])])
        back = precision.cast_like(vector, wide)
        self.assertEqual([dtype, dtype, tf.float32],
                         [part.dtype for part in (back[0], *back[1])])
        self.assertEqual(tf.float32, precision.as_wide_tensor(variable).dtype)
        sess.run(tf.global_variables_initializer())
        self.assertAllEqual(np.ones([2]), np.float32(sess.run(back[1][0])))

  def testOtherDtypesPassThroughWithoutAnOp(self):
    for dtype in (tf.float32, tf.float64):
      with tf.Graph().as_default() as graph:
        tensor = tf.ones([2], dtype)
        variable = tf.Variable(tensor, use_resource=True)
        count = len(graph.get_operations())
        self.assertEqual(dtype, precision.wide_dtype(dtype))
        self.assertIs(tensor, precision.as_wide_tensor(tensor))
        wide = precision.widen((tensor, variable))
        self.assertIs(tensor, wide[0])
        self.assertIs(variable, wide[1])
        self.assertIs(tensor, precision.cast_like(variable, tensor))
        self.assertLen(graph.get_operations(), count)


if __name__ == "__main__":
  tf.test.main()
