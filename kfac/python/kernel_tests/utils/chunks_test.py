"""Tests of sums over chunks of a batch."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import chunks


class SumOverChunksTest(tf.test.TestCase):

  def _products(self, seen=None):
    def function(a, b):
      if seen is not None:
        seen.append(a.shape.as_list()[0])
      return tf.matmul(a, b, transpose_a=True)
    return function

  def testIsTheSumForEveryBatchAndChunk(self):
    with tf.Graph().as_default(), self.session() as sess:
      x = tf.placeholder(tf.float64, [None, 3])
      y = tf.placeholder(tf.float64, [None, 2])
      sums = [chunks.sum_over_chunks(self._products(), [x, y], size)
              for size in (1, 2, 3, 7, tf.constant(2))]
      for size in range(8):
        rng = np.random.RandomState(size)
        a, b = rng.randn(size, 3), rng.randn(size, 2)
        for total in sess.run(sums, {x: a, y: b}):
          self.assertAllClose(a.T @ b, total, 1e-12, 1e-12)

  def testStaticBatchesHaveStaticChunks(self):
    for size, chunk, expected in [
        (7, 3, [1, 3]), (6, 3, [3, 3]), (4, 3, [1, 3]), (3, 3, [3]),
        (2, 3, [2])]:
      a = np.random.RandomState(size).randn(size, 2)
      seen = []
      with tf.Graph().as_default(), self.session() as sess:
        total = chunks.sum_over_chunks(
            self._products(seen), [tf.constant(a), tf.constant(a)], chunk)
        self.assertEqual([2, 2], total.shape.as_list())
        self.assertAllClose(a.T @ a, sess.run(total), 1e-12, 1e-12)
      # A loop may be built more than once.
      self.assertEqual(expected, sorted(set(seen)) if size != 6 else seen[:2])

  def testOneChunkNeedsNoLoop(self):
    for size, has_loop in ((3, False), (4, True)):
      with tf.Graph().as_default() as graph:
        x = tf.zeros([size, 2])
        chunks.sum_over_chunks(self._products(), [x, x], 3)
        types = {op.type for op in graph.get_operations()}
      self.assertEqual(has_loop, any("While" in t or "Merge" in t
                                     for t in types))


if __name__ == "__main__":
  tf.test.main()
