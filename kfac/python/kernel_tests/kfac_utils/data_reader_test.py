"""Tests of readers of the first rows, and of what both readers share."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.kfac_utils import data_reader
from kfac.python.ops.kfac_utils import data_reader_alt

_X = np.random.RandomState(0).randn(6, 2).astype(np.float32)
_Y = np.arange(6)
# Name of the second argument of the classes of each module.
_SECOND = {data_reader: "max_batch_size", data_reader_alt: "num_examples"}


class VariableBatchReaderTest(tf.test.TestCase):

  def testFirstRows(self):
    with tf.Graph().as_default(), self.session() as sess:
      dataset = [tf.constant(_X), tf.constant(_Y)]
      reader = data_reader.VariableBatchReader(dataset, 5)
      size = tf.placeholder(tf.int64, [])
      variable = tf.get_variable("size", initializer=4, trainable=False)
      sess.run(tf.global_variables_initializer())
      for value, feed, number in ((3, {}, 3), (size, {size: 2}, 2),
                                  (size, {size: 5}, 5), (variable, {}, 4)):
        x, y = reader(value)
        x, y = sess.run([x, y], feed)
        self.assertAllEqual(_X[:number], x)
        self.assertAllEqual(_Y[:number], y)
      self.assertEqual([3, 2], reader(3)[0].shape.as_list())

  def testAnyStructure(self):
    with tf.Graph().as_default(), self.session() as sess:
      batch = data_reader.VariableBatchReader({"x": _X, "y": (_Y,)}, 6)(2)
      self.assertAllEqual(_Y[:2], sess.run(batch)["y"][0])
      self.assertAllEqual(
          _Y[:2], sess.run(data_reader.VariableBatchReader(_Y, 6)(2)))


class CachedDataReaderTest(tf.test.TestCase):

  def testKeepsThePreviousBatch(self):
    for module in _SECOND:
      with tf.Graph().as_default(), self.session() as sess:
        rows = tf.data.Dataset.from_tensor_slices(np.arange(40.)).batch(5)
        data = tf.data.make_one_shot_iterator(rows).get_next()
        tensors = [tf.ensure_shape(data, [5]), 2. * data]
        reader = module.CachedDataReader(tensors, 5)
        size = tf.placeholder(tf.int32, [])
        batch, cached = reader(size), reader.cached_batch
        self.assertEqual([None], cached[0].shape.as_list())
        sess.run(tf.global_variables_initializer())
        previous = np.zeros([0])
        for number in (3, 5, 1, 4):
          now, before = sess.run([batch, cached], {size: number})
          self.assertAllEqual([previous, 2. * previous], before)
          self.assertLen(now[0], number)
          self.assertAllEqual(2. * now[0], now[1])
          self.assertAllEqual(now, sess.run(cached))
          previous = now[0]
        # A part of the batch is enough to keep all of it.
        now = sess.run(batch[0], {size: 2})
        self.assertAllEqual([now, 2. * now], sess.run(cached))

  def testIsRestoredFromACheckpoint(self):
    path = f"{self.get_temp_dir()}/cache"
    for module in _SECOND:
      last = None
      for _ in range(2):
        with tf.Graph().as_default(), self.session() as sess:
          reader = module.CachedDataReader([_X], 6)
          batch, saver = reader(4), tf.train.Saver()
          sess.run(tf.global_variables_initializer())
          if last is None:
            last = sess.run(batch)
            saver.save(sess, path)
          else:
            saver.restore(sess, path)
            self.assertAllEqual(last, sess.run(reader.cached_batch))

  def testVariablesAreNotTrained(self):
    for module in _SECOND:
      with tf.Graph().as_default():
        module.CachedDataReader([_X, _Y], 6)
        self.assertLen(tf.global_variables(), 2)
        self.assertEmpty(tf.trainable_variables())


class WrongArgumentsTest(tf.test.TestCase):

  def testBatchSizeOutOfRange(self):
    for module in _SECOND:
      for reader_type in (module.VariableBatchReader, module.CachedDataReader):
        with tf.Graph().as_default(), self.session() as sess:
          reader = reader_type([_X], 5)
          for value, rule in ((0, "be an int >= 1"), (2.5, "be an int >= 1"),
                              (6, "be from 1 to 5")):
            with self.assertRaisesRegex(
                ValueError, f"^batch_size must {rule}, got {value}.$"):
              reader(value)
          size = tf.placeholder(tf.int32, [])
          batch = reader(size)
          sess.run(tf.global_variables_initializer())
          for value in (0, 6):
            with self.assertRaisesRegex(
                tf.errors.InvalidArgumentError,
                "batch_size must be from 1 to 5"):
              sess.run(batch, {size: value})

  def testTooFewRows(self):
    for module, name in _SECOND.items():
      for data, shape in (([_X, _Y[:3]], r"\(3,\)"), (1., r"\(\)")):
        with tf.Graph().as_default(), self.assertRaisesRegex(
            ValueError, f"^dataset must have at least {name} = 5 rows, got "
            rf"shape {shape}\.$"):
          module.VariableBatchReader(data, 5)
      with self.assertRaisesRegex(
          ValueError, f"^{name} must be an int >= 1, got 0.$"):
        module.VariableBatchReader([_X], 0)


if __name__ == "__main__":
  tf.test.main()
