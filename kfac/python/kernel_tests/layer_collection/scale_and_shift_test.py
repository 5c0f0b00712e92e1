"""Errors of the registration of scale and shift."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.layer_collection import errors_case as errors
from kfac.python.ops import layer_collection as lc


class ScaleAndShiftErrorsTest(errors.ErrorsCase):

  def testShapes(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      c3, c2 = errors.variable("c3", [3]), errors.variable("c2", [2])
      by_example = errors.variable("by_example", [4, 3])
      x = tf.ones([4, 5, 3])
      any_x = tf.placeholder(tf.float32, [None, 5, None])
      cases = [
          (c2, x, x, r"scale \* inputs must broadcast to the shape of outputs "
           r"\(4, 5, 3\), got \(2,\) and \(4, 5, 3\)"),
          ((c3, c2), x, x, r"shift must broadcast to the shape of outputs "
           r"\(4, 5, 3\), got \(2,\)"),
          (c3, x, tf.ones([4, 5, 1]), r"scale \* inputs must broadcast"),
          (errors.variable("deep", [1, 1, 1, 3]), x, x,
           r"scale \* inputs must broadcast"),
          (c3, tf.ones([4, 3]), x,
           r"inputs must have the rank of outputs, got \(4, 3\) and "
           r"\(4, 5, 3\)"),
          (c3, tf.ones([3, 5, 3]), x,
           "outputs must have the batch size of inputs"),
          (by_example, tf.ones([4, 3]), tf.ones([4, 3]),
           "scale must not vary along the batch, axis 0 of outputs "
           r"\(4, 3\), got shape \(4, 3\)"),
          (c3, any_x, any_x, "outputs must have a known size along axis 2, "
           "where scale has 3"),
          (c3, tf.placeholder(tf.float32), tf.placeholder(tf.float32),
           "inputs must have the rank of outputs, got <unknown>"),
          ((c3, c3, c3), x, x,
           r"params must be scale or \(scale, shift\), got 3 of them"),
          ([], x, x, r"params must be scale or \(scale, shift\), got 0"),
          (c3, [x], x, "inputs and outputs must both be tensors or both be "
           "lists over uses, got list and "),
          (c3, [x, x], [x], "outputs must have as many uses as inputs"),
          (c3, [], [], r"outputs must not be an empty list, got \[\]"),
          (c3, [x, tf.ones([4, 3])], [x, tf.ones([4, 3])],
           r"outputs must have one rank for all uses, got \[3, 2\]"),
          (c3, tf.cast(x, tf.float64), x,
           "inputs must have dtype float32, got float64"),
          (c3, 3., x, "inputs must be a tensor or variable, got 3.0"),
      ]
      for params, inputs, outputs, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_scale_and_shift(params, inputs, outputs)
      with self.assertRejected(
          layers, ValueError,
          r"approx must be one of \['diagonal', 'full'\], got 'kron'"):
        layers.register_scale_and_shift(c3, x, x, "kron")

  def testShiftAlone(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      c3, x = errors.variable("c3", [3]), tf.ones([4, 5, 3])
      with self.assertRejected(
          layers, ValueError, "params must be shift, got 2 of them"):
        layers.register_scale_and_shift((c3, c3), None, x)
      with self.assertRejected(
          layers, ValueError, r"outputs must have shape \[batch, ...\], got "):
        layers.register_scale_and_shift(c3, None, tf.placeholder(tf.float32))
      layers.register_scale_and_shift(c3, None, [x, x])
      self.assertEqual(layers.get_use_count_map(), {c3: 2})

  def testUnknownSizesWhereNothingDependsOnThem(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      x = tf.placeholder(tf.float32, [None, None, 3])
      layers.register_scale_and_shift(errors.variable("c3", [3]), x, x)
      block, = layers.get_blocks()
      self.assertEqual(block._broadcast_dims_scale, (1,))


if __name__ == "__main__":
  tf.test.main()
