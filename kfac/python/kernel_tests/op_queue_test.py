"""Tests of the op queue."""

import collections

import tensorflow.compat.v1 as tf

from kfac.python.ops import op_queue


def _ops(count):
  return [tf.no_op(name=f"op{i}") for i in range(count)]


class OpQueueTest(tf.test.TestCase):

  def testEachOpRunsOncePerRound(self):
    with tf.Graph().as_default(), self.session() as sess:
      ops = _ops(5) + [tf.zeros([], name="tensor")]
      queue = op_queue.OpQueue(ops, seed=0)
      self.assertEqual(ops, queue.ops)
      rounds = [[queue.next_op(sess) for _ in ops] for _ in range(20)]
      for drawn in rounds:
        self.assertEqual({op.name for op in ops}, {op.name for op in drawn})
      orders = {tuple(op.name for op in drawn) for drawn in rounds}
      self.assertGreater(len(orders), 10)

  def testEveryOpIsFirstAboutEquallyOften(self):
    with tf.Graph().as_default(), self.session() as sess:
      queue = op_queue.OpQueue(_ops(3), seed=1)
      firsts = collections.Counter()
      for _ in range(300):
        firsts[queue.next_op(sess).name] += 1
        queue.next_op(sess), queue.next_op(sess)
      self.assertLen(firsts, 3)
      # Five standard deviations of a binomial with n = 300, p = 1/3.
      for count in firsts.values():
        self.assertNear(count, 100, 41)

  def testSeedFixesOrder(self):
    orders = []
    for seed in (3, 3, 4):
      with tf.Graph().as_default(), self.session() as sess:
        queue = op_queue.OpQueue(_ops(8), seed=seed)
        orders.append([queue.next_op(sess).name for _ in range(24)])
    self.assertEqual(orders[0], orders[1])
    self.assertNotEqual(orders[0], orders[2])

  def testRunsNothingButTheQueueAndAddsNoOp(self):
    with tf.Graph().as_default() as graph, self.session() as sess:
      failing = tf.debugging.Assert(False, ["run"], name="failing")
      queue = op_queue.OpQueue(iter([failing]))
      graph.finalize()
      self.assertIs(failing, queue.next_op(sess))
      self.assertIs(failing, queue.next_op(sess))

  def testRunsTheSessionOnce(self):
    class CountingSession:

      def __init__(self, sess):
        self.calls = 0
        self._sess = sess

      def run(self, fetches):
        self.calls += 1
        return self._sess.run(fetches)

    with tf.Graph().as_default(), self.session() as sess:
      queue = op_queue.OpQueue(_ops(2))
      counting = CountingSession(sess)
      queue.next_op(counting)
      self.assertEqual(1, counting.calls)

  def testIsBuiltInTheGraphOfItsOps(self):
    graph = tf.Graph()
    with graph.as_default():
      ops = _ops(2)
    queue = op_queue.OpQueue(ops)
    with graph.as_default(), self.session() as sess:
      self.assertIn(queue.next_op(sess), ops)

  def testOpGivenTwiceRunsOncePerRound(self):
    with tf.Graph().as_default(), self.session() as sess:
      first, second = _ops(2)
      queue = op_queue.OpQueue([first, second, first], seed=0)
      self.assertEqual([first, second], queue.ops)
      for _ in range(5):
        self.assertCountEqual(
            [first, second], [queue.next_op(sess) for _ in range(2)])

  def testRejectsNoOpsAndAmbiguousNames(self):
    with self.assertRaisesRegex(
        ValueError, r"^ops must hold at least one op, got none\.$"):
      op_queue.OpQueue([])
    twins = []
    for _ in range(2):
      with tf.Graph().as_default():
        twins.append(tf.no_op(name="twin"))
    with self.assertRaisesRegex(
        ValueError, r"^ops must have different names, got 'twin' twice\.$"):
      op_queue.OpQueue(twins)


if __name__ == "__main__":
  tf.test.main()
