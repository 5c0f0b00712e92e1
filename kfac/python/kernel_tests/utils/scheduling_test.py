"""Tests of batch_execute in utils."""

import contextlib
import functools

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import graph_modes
from kfac.python.ops.utils import scheduling


@contextlib.contextmanager
def _new_graph(control_flow_v2=False):
  """Enters a graph with one kind of control flow."""
  with graph_modes.control_flow(control_flow_v2), tf.Graph().as_default():
    yield


def _kinds():
  """Yields the supported pairs (control_flow_v2, use_resource)."""
  yield False, False
  yield False, True
  yield True, True  # Branches of v2 cannot assign to a RefVariable.


def _counters(count, use_resource):
  return [tf.get_variable(f"c{i}", [], tf.int32, tf.zeros_initializer(),
                          use_resource=use_resource) for i in range(count)]


def _increments(counters):
  return [functools.partial(tf.assign_add, counter, 1) for counter in counters]


def _expected_runs(count, batch_size, steps):
  """Returns how often each thunk runs, `batch_size` in turn per step."""
  runs = np.zeros([steps, count], np.int32)
  for turn in range(steps * batch_size):
    runs[turn // batch_size, turn % count] += 1
  return runs


class BatchExecuteTest(tf.test.TestCase):

  def testThunksTakeTurns(self):
    for (v2, use_resource), (count, batch_size) in [
        (kind, sizes) for kind in _kinds()
        for sizes in ((5, 3), (4, 2), (3, 1), (1, 1), (3, 3))]:
      with _new_graph(v2), self.session() as sess:
        counters = _counters(count, use_resource)
        step = tf.get_variable("step", [], tf.int64, tf.zeros_initializer(),
                               use_resource=use_resource)
        results = scheduling.batch_execute(
            step, _increments(counters), batch_size)
        self.assertLen(results, count)
        self.assertEqual(
            [0] * count, _run(sess, [], counters, initialize=True))
        next_step = tf.assign_add(step, 1)
        wanted = _expected_runs(count, batch_size, steps=7)
        for done, runs in zip(np.cumsum(wanted, axis=0), wanted, strict=True):
          self.assertAllEqual(runs, np.array(sess.run(results), np.int32))
          self.assertAllEqual(done, sess.run(counters))
          sess.run(next_step)

  def testGroupOfTheResultsRunsThem(self):
    for v2, use_resource in _kinds():
      with _new_graph(v2), self.session() as sess:
        counters = _counters(3, use_resource)
        together = tf.group(*scheduling.batch_execute(
            1, _increments(counters), 2))
        self.assertAllEqual([1, 0, 1], _run(sess, together, counters, True))

  def testThunksMayReturnListsOpsAndNone(self):
    for v2, use_resource in _kinds():
      with _new_graph(v2), self.session() as sess:
        a, b, c, d = counters = _counters(4, use_resource)
        thunks = [
            lambda a=a, b=b: [tf.assign_add(a, 1), (tf.assign_add(b, 1),)],
            lambda c=c: tf.group(tf.assign_add(c, 1)),
            lambda: None,
            lambda d=d: [None, tf.assign_add(d, 1)]]
        results = scheduling.batch_execute(0, thunks, 4)
        self.assertAllEqual([1, 1, 1, 1], _run(sess, results, counters, True))

  def testBatchLargerThanTheListRunsEachOnce(self):
    with _new_graph(), self.session() as sess:
      counters = _counters(2, use_resource=False)
      results = scheduling.batch_execute(
          3, _increments(counters), np.int64(7))
      self.assertAllEqual([1, 1], _run(sess, results, counters, True))

  def testStepMayHaveAnyIntegerDtype(self):
    with _new_graph(), self.session() as sess:
      for step in (np.int32(2**31 - 1), np.int64(2**62), 12):
        fed = tf.placeholder_with_default(step, [])
        runs = sess.run(scheduling.batch_execute(fed, [tf.no_op] * 5, 3))
        first = int(step) * 3 % 5
        wanted = np.isin(np.arange(5), [(first + i) % 5 for i in range(3)])
        self.assertAllEqual(wanted, runs)

  def testNoThunksGiveNothing(self):
    with _new_graph():
      self.assertEqual([], scheduling.batch_execute(0, [], 2))

  def testOpsAreInAScopeOfTheName(self):
    with _new_graph():
      named, = scheduling.batch_execute(0, [tf.no_op], 1, name="turns")
      unnamed, = scheduling.batch_execute(0, [tf.no_op], 1)
      self.assertStartsWith(named.op.name, "turns/")
      self.assertStartsWith(unnamed.op.name, "batch_execute/")

  def testRefusesBatchSizesThatAreNotCounts(self):
    with _new_graph():
      for batch_size in (0, -1, 1.5, None, True):
        with self.assertRaisesRegex(
            ValueError, f"batch_size must be an int >= 1, got {batch_size}"):
          scheduling.batch_execute(0, [tf.no_op], batch_size)


def _run(sess, fetches, counters, initialize=False):
  if initialize:
    sess.run(tf.global_variables_initializer())
  sess.run(fetches)
  return sess.run(counters)


if __name__ == "__main__":
  tf.test.main()
