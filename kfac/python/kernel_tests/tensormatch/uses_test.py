"""Tests of the data flow, and of layouts of weights."""

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import views
from kfac.python.ops.tensormatch import uses

PLAIN = views.Arrangement()


class LayoutTest(tf.test.TestCase):

  def testPlain(self):
    layout = uses.Layout.of_shape([4, 1, 3])
    self.assertEqual((((3, 4),), (), ((1, 3),)), layout.axes)
    self.assertTrue(layout.is_plain)
    self.assertFalse(layout.transposed([2, 1, 0]).is_plain)

  def testReshapes(self):
    layout = uses.Layout.of_shape([4, 6])
    heads = layout.reshaped([4, 2, 3])
    self.assertEqual((((6, 4),), ((3, 2),), ((1, 3),)), heads.axes)
    self.assertEqual((((6, 4), (3, 2)), ((1, 3),)),
                     layout.reshaped([8, 3]).axes)
    # Reshaping a transposed matrix may cut an axis unevenly.
    self.assertIsNone(layout.transposed([1, 0]).reshaped([4, 6]))

  def testViews(self):
    layout = uses.Layout.of_shape([4, 6])
    for shape, (one, inputs, outputs), expected in (
        ([4, 6], (layout, [0], [1]), None),
        ([4, 6], (layout, [1], [0]), views.View((4, 6), (1, 0))),
        ([4, 6], (layout.transposed([1, 0]), [1], [0]), None),
        ([4, 6], (layout.reshaped([4, 2, 3]), [0], [1, 2]), None),
        ([4, 2, 3], (uses.Layout.of_shape([4, 2, 3]), [0], [1, 2]),
         views.View((4, 2, 3))),
        ([24], (uses.Layout.of_shape([24]).reshaped([4, 6]), [0], [1]),
         views.View((4, 6)))):
      found = one.view(shape, inputs, outputs, PLAIN, PLAIN)
      self.assertEqual(expected, found)


class DataFlowTest(tf.test.TestCase):

  def testConsumersInOrder(self):
    with tf.Graph().as_default():
      x = tf.placeholder(tf.float32, [5, 4])
      w = tf.get_variable("w", [4, 4])
      first = tf.matmul(x, tf.identity(w), name="first")
      second = tf.matmul(first, w, transpose_b=True, name="second")
      tf.exp(w)
      loss = tf.reduce_sum(second) + 0. * tf.cast(tf.shape(w)[0], tf.float32)
      flow = uses.DataFlow([loss], 5)
      found = list(flow.consumers_of(w))
      self.assertEqual([("first", 1), ("second", 1)], [
          (use.op.name, use.position) for use in found])
      self.assertIn(first.op, flow)
      self.assertIs(second.op, flow.only_consumer(first))
      self.assertTrue(flow.is_end(loss))
      self.assertIsNone(flow.only_consumer(loss))
      self.assertIsNone(flow.only_consumer(x[:2]))
      self.assertTrue(flow.has_examples(first))
      self.assertFalse(flow.has_examples(found[0].tensor))
      self.assertLess(flow.order(first.op), flow.order(second.op))

  def testEachOpIsVisitedOnce(self):
    visits = []

    class Counted(uses.DataFlow):

      def consumers(self, tensor):
        visits.append(tensor)
        return super().consumers(tensor)

    with tf.Graph().as_default():
      w = tf.get_variable("w", [4, 4])
      h = tf.placeholder(tf.float32, [5, 4])
      for _ in range(50):
        h = tf.tanh(h @ w)
      flow = Counted([h], 5)
      self.assertLen(list(flow.consumers_of(w)), 50)
    self.assertLess(len(visits), 2 * 50 + 10)


if __name__ == "__main__":
  tf.test.main()
