"""Tests of readers of random rows; data_reader_test tests what is shared."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.kfac_utils import data_reader_alt

_ROWS = 20
_X = np.stack([np.arange(_ROWS), np.arange(_ROWS) ** 2], axis=1)


class VariableBatchReaderTest(tf.test.TestCase):

  def testNoRowTwice(self):
    with tf.Graph().as_default(), self.session() as sess:
      tf.set_random_seed(0)
      reader = data_reader_alt.VariableBatchReader(
          [tf.constant(_X), tf.constant(_X[:, 0])], _ROWS)
      batch = reader(7)
      self.assertEqual([7, 2], batch[0].shape.as_list())
      counts, seen = np.zeros(_ROWS), set()
      for _ in range(200):
        x, y = sess.run(batch)
        self.assertLen(set(y), 7)
        self.assertAllEqual(_X[y], x)
        counts[y] += 1
        seen.add(tuple(y))
      # Each row is drawn as often as others: 70 times, with a deviation of 7.
      self.assertAllLess(np.abs(counts - 70.), 35.)
      self.assertLen(seen, 200)
      self.assertAllEqual(
          range(_ROWS), sorted(sess.run(reader(tf.constant(_ROWS)))[1]))

  def testOnlyTheFirstExamples(self):
    with tf.Graph().as_default(), self.session() as sess:
      reader = data_reader_alt.VariableBatchReader([_X], 5)
      self.assertAllEqual(
          _X[:5], np.sort(sess.run(reader(5))[0], axis=0))


if __name__ == "__main__":
  tf.test.main()
