"""Tests of bulletins: what tasks write, all of them read.

watchdog_test.py kills the tasks that keep bulletins.
"""

import threading
import time

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.kfac_utils import processes
from kfac.python.ops.kfac_utils import bulletin

TIMEOUT = 60  # Seconds, so that a test cannot hang. No test measures time.

_TASKS = _A, _B, _C = [f"/job:ps/task:{index}" for index in range(3)]

Phase = bulletin.Phase
Row = bulletin.Row


def _wait_for(condition):
  deadline = time.monotonic() + TIMEOUT
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.01)


class NewestTest(tf.test.TestCase):

  def testNewest(self):
    self.assertEqual(bulletin.newest([]), {})
    self.assertEqual(
        bulletin.newest([{"a": Row(5, 9), "b": Row(5, 9, 1), "c": Row(1)},
                         {"a": Row(6, 1), "b": Row(5, 8, 2)}]),
        {"a": Row(6, 1), "b": Row(5, 9, 1), "c": Row(1)})


class BulletinTest(tf.test.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cluster = {"ps": processes.free_addresses(len(_TASKS))}
    cls._servers = {task: tf.train.Server(cluster, "ps", index)
                    for index, task in enumerate(_TASKS)}

  def _bulletin(self, own, make_row, beat_secs=1000.):
    result = bulletin.Bulletin(
        _A, _TASKS, own, self._servers[own].target, make_row, beat_secs)
    result.start()
    self.addCleanup(result.join, TIMEOUT)
    self.addCleanup(result.stop)
    return result

  def testAllReadWhatEachWrites(self):
    rows = {_A: Row(2**62 - 1, 1, 2**62 - 2, Phase.STARTED, 1),
            _B: Row(1, 7)}
    a = self._bulletin(_A, lambda: rows[_A])
    _wait_for(lambda: a.num_visits == 1)
    self.assertEqual(a.rows, {_A: rows[_A]})
    self.assertEqual(a.written, 1)
    b = self._bulletin(_B, lambda: rows[_B])
    _wait_for(lambda: b.num_visits == 1)
    self.assertEqual(b.rows, rows)
    rows[_A] = Row(2, 3)
    a.visit_soon()
    _wait_for(lambda: a.num_visits == 2)
    self.assertEqual(a.rows, rows)

  def testBeats(self):
    beats = iter(range(1, 10**9))
    a = self._bulletin(_C, lambda: Row(3, next(beats)), 0.001)
    _wait_for(lambda: a.num_visits >= 5)
    a.stop()
    a.join(TIMEOUT)
    self.assertFalse(a._thread.is_alive())
    self.assertEqual(a.written, a.num_visits)
    self.assertEqual(a.rows[_C], Row(3, a.written))

  def testMakesANewSessionAfterAFailure(self):
    errors = [None, tf.errors.UnavailableError(None, None, "gone"), None]
    sessions = []
    is_made = threading.Event()

    def make_row():
      is_made.wait(TIMEOUT)
      sessions.append(a._session)
      error = errors[len(sessions) - 1]
      if error is not None:
        raise error
      return Row(4, len(sessions))

    a = self._bulletin(_A, make_row)
    is_made.set()
    _wait_for(lambda: a.num_visits == 1)
    a.visit_soon()
    _wait_for(lambda: a.rows is None)
    self.assertEqual(a.num_visits, 1)
    a.visit_soon()
    _wait_for(lambda: a.num_visits == 2)
    self.assertIs(sessions[0], sessions[1])
    self.assertIsNot(sessions[0], sessions[2])
    self.assertEqual(a.rows[_A], Row(4, 3))


if __name__ == "__main__":
  tf.test.main()
