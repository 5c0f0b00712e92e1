"""Tests of the op queue."""

import collections
import concurrent.futures
import os
import threading
from unittest import mock

import tensorflow.compat.v1 as tf

from kfac.python.ops import fisher_factors
from kfac.python.ops import op_queue


def _ops(count):
  return [tf.no_op(name=f"op{i}") for i in range(count)]


def _names(queue, sess, count):
  """Returns the names of the next ops."""
  return [queue.next_op(sess).name for _ in range(count)]


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

  def testOrderOfTheOpsDoesNotMatter(self):
    drawn = []
    for step in (1, -1):
      with tf.Graph().as_default(), self.session() as sess:
        queue = op_queue.OpQueue(_ops(5)[::step], seed=0)
        drawn.append(_names(queue, sess, 15))
    self.assertEqual(*drawn)

  def testSeedOfTheGraphFixesOrder(self):
    orders = []
    for seed in (3, 3, 4, None, None):
      with tf.Graph().as_default(), self.session() as sess:
        if seed is not None:
          tf.set_random_seed(seed)
        queue = op_queue.OpQueue(_ops(8))
        if seed == 3 and not orders:  # An initializer changes nothing.
          sess.run(tf.global_variables_initializer())
        orders.append(_names(queue, sess, 24))
        self.assertLen(set(orders[-1][:8]), 8)
    self.assertEqual(orders[0], orders[1])
    self.assertLen({tuple(order) for order in orders}, 4)

  def testErrorReachesTheCallerAndTheQueueGoesOn(self):
    with tf.Graph().as_default(), self.session() as sess:
      bad = tf.placeholder_with_default(True, [])
      failing = tf.debugging.Assert(tf.logical_not(bad), ["inverse"])
      ops = [*_ops(3), failing]
      queue = op_queue.OpQueue(ops, seed=0)
      for _ in range(2):
        drawn = []
        for _ in ops:
          drawn.append(queue.next_op(sess))
          if drawn[-1] is failing:
            with self.assertRaisesRegex(
                tf.errors.InvalidArgumentError, "inverse"):
              sess.run(drawn[-1])
          else:
            sess.run(drawn[-1])
        self.assertCountEqual(ops, drawn)
      sess.run(failing, {bad: False})

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


class CounterTest(tf.test.TestCase):
  """The variable that counts draws."""

  def _counter(self):
    variable, = tf.global_variables()
    self.assertEqual(("op_queue/num_draws:0", tf.int64, []), (
        variable.name, variable.dtype.base_dtype, variable.shape))
    return variable

  def testContinuesWhereAProgramWasKilled(self):
    path = os.path.join(self.get_temp_dir(), "model")
    for seed in (5, None):
      with self.subTest(seed=seed):
        with tf.Graph().as_default(), tf.Session() as sess:
          queue = op_queue.OpQueue(_ops(6), seed)
          sess.run(tf.global_variables_initializer())
          saver = tf.train.Saver()
          before = _names(queue, sess, 15)
          saver.save(sess, path)
          after = _names(queue, sess, 15)
        self.assertLen(set(before[12:] + after[:3]), 6)
        for _ in range(2):
          with tf.Graph().as_default(), tf.Session() as sess:
            queue = op_queue.OpQueue(_ops(6), seed)
            tf.train.Saver().restore(sess, path)
            self.assertEqual(after, _names(queue, sess, 15))

  def testIsInitializedByTheFirstDrawIfNothingElseDid(self):
    for seed in (0, None):
      with tf.Graph().as_default() as graph, tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        queue = op_queue.OpQueue(_ops(3), seed)
        graph.finalize()
        self.assertLen(set(_names(queue, sess, 3)), 3)
        count, first = sess.run([self._counter(), self._counter()])
        self.assertEqual(0, count % 3)
        self.assertEqual(count, first)

  def testSessionsOfOneServerShareTheRounds(self):
    server = tf.train.Server.create_local_server()

    def draw(shared_by):
      with tf.Graph().as_default(), tf.Session(server.target) as sess:
        queue = op_queue.OpQueue(_ops(5))  # Two graphs, as in two programs.
        shared_by.wait()
        return _names(queue, sess, 50)

    with tf.Graph().as_default(), tf.Session(server.target) as sess:
      op_queue.OpQueue(_ops(5))
      sess.run(tf.global_variables_initializer())
    with concurrent.futures.ThreadPoolExecutor() as threads:
      barrier = threading.Barrier(2)
      drawn = [thread.result() for thread in [
          threads.submit(draw, barrier) for _ in range(2)]]
    counts = collections.Counter(drawn[0] + drawn[1])
    self.assertEqual(5 * [20], list(counts.values()))

  def testSessionsTakeTurnsInARound(self):
    server = tf.train.Server.create_local_server()
    with tf.Graph().as_default() as graph:
      queue = op_queue.OpQueue(_ops(6), seed=0)
    with tf.Session(server.target, graph) as first, (
        tf.Session(server.target, graph)) as second:
      for _ in range(4):
        names = (_names(queue, first, 2) + _names(queue, second, 3)
                 + _names(queue, first, 1))
        self.assertLen(set(names), 6)

  def testIsBesideTheGlobalStepElseWhereTheDeviceScopeSays(self):
    for with_step, late, device in (
        (True, False, "/job:ps/task:0"), (True, True, "/job:ps/task:0"),
        (False, False, "/job:ps/task:0"), (False, True, "")):
      with tf.Graph().as_default():
        with tf.device(tf.train.replica_device_setter(ps_tasks=2)):
          if with_step:
            tf.train.create_global_step()
          if not late:
            op_queue.OpQueue(_ops(2))
        if late:
          op_queue.OpQueue(_ops(2))
        self.assertEqual(f"{device}/device:CPU:0",
                         tf.global_variables()[-1].device)

  def testQueuesHaveTheirOwn(self):
    with tf.Graph().as_default():
      op_queue.OpQueue(_ops(2)), op_queue.OpQueue(_ops(2))
      self.assertEqual(["op_queue/num_draws", "op_queue/num_draws_1"],
                       [v.op.name for v in tf.global_variables()])

  def testContribsCheckpointsHaveNone(self):
    with mock.patch.object(fisher_factors, "CONTRIB_VARIABLES", True), (
        tf.Graph().as_default()), self.session() as sess:
      queue = op_queue.OpQueue(_ops(4))
      self.assertEmpty(tf.global_variables())
      self.assertLen(tf.local_variables(), 1)
      self.assertLen(set(_names(queue, sess, 4)), 4)


if __name__ == "__main__":
  tf.test.main()
