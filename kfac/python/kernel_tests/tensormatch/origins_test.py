"""Tests of the origins of values: data, parameters, or neither."""

import tensorflow.compat.v1 as tf

from kfac.python.ops.tensormatch import origins

DATA, PARAMETERS, NEITHER = (
    origins.DATA, origins.PARAMETERS, origins.NEITHER)


class OriginsTest(tf.test.TestCase):

  def testOrigins(self):
    with tf.Graph().as_default() as graph:
      x = tf.placeholder(tf.float32, [6, 4])
      rate = tf.placeholder(tf.float32, [])
      w = tf.get_variable("w", [4, 4])
      product = tf.identity(w) @ (2. * w)
      rows = tf.gather(w, tf.range(4))
      looked_up = tf.gather(w, tf.constant([1, 2, 3, 1, 2, 3]))
      learned = tf.tile(w[:1], [6, 1])
      pairs = [
          (x, DATA), (x @ product, DATA), (product, PARAMETERS),
          (rate, NEITHER), (rows, PARAMETERS), (looked_up, DATA),
          (learned, DATA), (tf.tile(w, [1, 2]), PARAMETERS),
          (tf.shape(x)[0], NEITHER), (tf.constant([[1.]] * 6), DATA),
          (tf.constant([[1.]] * 4), NEITHER), (tf.constant(2.), NEITHER),
          (tf.random.normal([6, 4]), DATA),
          (tf.random.normal([4, 4]), NEITHER), (tf.zeros([12, 4]), DATA)]
      found = origins.of_ops(graph.get_operations(), 6)
    for tensor, origin in pairs:
      self.assertEqual(origin, found[tensor.op], tensor.name)

  def testUnknownBatch(self):
    with tf.Graph().as_default() as graph:
      constant = tf.constant([[1.]] * 4)
      found = origins.of_ops(graph.get_operations(), None)
    self.assertEqual(DATA, found[constant.op])


if __name__ == "__main__":
  tf.test.main()
