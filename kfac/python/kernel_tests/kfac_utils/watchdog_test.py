"""Tests of the watchdog: who is lost, and clusters of real processes.

The processes run watchdog_program.py. Waits end with an error after a long
time; no test requires that something is fast.
"""

import random
import signal
import tempfile
import time

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.kfac_utils import processes
from kfac.python.kernel_tests.kfac_utils import watchdog_program as program
from kfac.python.ops.kfac_utils import bulletin
from kfac.python.ops.kfac_utils import watchdog

_PS = "/job:ps/task:0"
_CHIEF = "/job:worker/task:0"
_WORKER = "/job:worker/task:1"

_CLUSTER = {"ps": ["localhost:1"], "worker": ["localhost:2", "localhost:3"]}

Phase = bulletin.Phase
Row = bulletin.Row


def _rows(**rows):
  """Returns a dict from names of tasks to rows."""
  names = {"ps": _PS, "chief": _CHIEF, "worker": _WORKER}
  return {names[name]: row for name, row in rows.items()}


class SignsTest(tf.test.TestCase):
  """The grace is 20 s, a first sign of life may take 100 s."""

  def _signs(self, keepers=(_PS,)):
    self._now = 1000.
    self._beat = 0
    return watchdog.Signs(
        [_CHIEF, _WORKER, _PS], keepers, 20., 100., self._now)

  def _pass(self, signs, seconds, accessed=(_PS,), beating=(), silent=None):
    """Lets time pass, one second after the other."""
    for _ in range(seconds):
      self._now += 1.
      self._beat += 1
      rows = {task: Row(5, self._beat) for task in beating}
      signs.update(self._now, accessed, {**rows, **(silent or {})})

  def testBeatingTasksAreNotLost(self):
    signs = self._signs()
    self._pass(signs, 300, beating=[_CHIEF, _WORKER])
    self.assertIsNone(signs.lost())

  def testSilentTaskIsLost(self):
    signs = self._signs()
    self._pass(signs, 50, beating=[_CHIEF, _WORKER])
    silent = {_WORKER: Row(5, self._beat)}
    self._pass(signs, 20, beating=[_CHIEF], silent=silent)
    self.assertIsNone(signs.lost())
    self._pass(signs, 1, beating=[_CHIEF], silent=silent)
    self.assertEqual(signs.lost(), (_WORKER, "no sign of life for 21 s"))
    # It is also lost if its row is gone, and not if it beats again.
    self._pass(signs, 1, beating=[_CHIEF])
    self.assertEqual(signs.lost(), (_WORKER, "no sign of life for 22 s"))
    self._pass(signs, 1, beating=[_CHIEF, _WORKER])
    self.assertIsNone(signs.lost())

  def testRestartedTaskIsNotLost(self):
    signs = self._signs()
    self._pass(signs, 50, beating=[_CHIEF, _WORKER])
    self._pass(signs, 15, beating=[_CHIEF])
    self._pass(signs, 15, beating=[_CHIEF], silent={_WORKER: Row(6, 1)})
    self.assertIsNone(signs.lost())

  def testTaskMayStartLate(self):
    signs = self._signs()
    self._pass(signs, 100, beating=[_CHIEF])
    self.assertIsNone(signs.lost())
    self._pass(signs, 1, beating=[_CHIEF])
    self.assertEqual(
        signs.lost(), (_WORKER, "it has not started within 100 s"))

  def testFinishedTaskIsNotLostUnlessItKeepsABulletin(self):
    finished = {_WORKER: Row(5, 99, 7, Phase.FINISHED)}
    for keepers in (_PS,), (_WORKER,):
      signs = self._signs(keepers)
      self._pass(signs, 5, accessed=[_PS, *keepers], silent=finished,
                 beating=[_CHIEF, _PS])
      self._pass(signs, 25, accessed=[_PS], beating=[_CHIEF, _PS],
                 silent=finished)
      self.assertEqual(
          signs.lost(),
          (_WORKER, "no sign of life for 25 s") if _WORKER in keepers else None)

  def testOnlyTheKeeperIsLostIfItsBulletinCannotBeRead(self):
    signs = self._signs()
    self._pass(signs, 50, beating=[_CHIEF, _WORKER])
    silent = {_CHIEF: Row(5, 50), _WORKER: Row(5, 50)}
    self._pass(signs, 20, accessed=[], silent=silent)
    self.assertIsNone(signs.lost())
    self._pass(signs, 1, accessed=[], silent=silent)
    self.assertEqual(signs.lost(), (_PS, "no sign of life for 21 s"))

  def testOthersHaveTimeAfterTheRestartOfAKeeper(self):
    signs = self._signs()
    self._pass(signs, 50, beating=[_CHIEF, _WORKER])
    self._pass(signs, 15, accessed=[])
    self._pass(signs, 20)
    self.assertIsNone(signs.lost())
    self._pass(signs, 2)
    self.assertEqual(signs.lost(), (_CHIEF, "no sign of life for 21 s"))

  def testTimeInWhichThisProcessWasStoppedDoesNotCount(self):
    signs = self._signs()
    self._pass(signs, 50, beating=[_CHIEF, _WORKER])
    self._now += 1000.
    self._pass(signs, 1, accessed=[])
    self.assertIsNone(signs.lost())
    self._pass(signs, 10, beating=[_CHIEF, _WORKER])
    self.assertIsNone(signs.lost())


class RowsTest(tf.test.TestCase):

  def testReported(self):
    tasks = [_CHIEF, _PS, _WORKER]
    rows = _rows(ps=Row(5, 3, 0, Phase.STARTED),
                 chief=Row(6, 4, 2, Phase.REPORTING))
    self.assertEqual(watchdog.reported(rows, tasks, _PS),
                     (_WORKER, f"{_CHIEF} reports it"))
    self.assertIsNone(watchdog.reported(rows, tasks, _CHIEF))

  def testLeft(self):
    joined = {_CHIEF: 5, _WORKER: 6}
    for worker, name in [
        (Row(6, 3, 77), None), (Row(6, 9, 77, Phase.FINISHED), None),
        (Row(7, 1, 77), _WORKER), (Row(6, 3, 0), _WORKER),
        (Row(6, 3, 78), _WORKER)]:
      rows = _rows(chief=Row(5, 3, 77), worker=worker, ps=Row(1))
      self.assertEqual(watchdog.left(rows, joined, 77), name)
    # A keeper that has restarted does not know all rows at once.
    self.assertIsNone(watchdog.left({}, joined, 77))


class WatchdogTest(tf.test.TestCase):

  def _make(self, job="worker", index=0, **options):
    return watchdog.Watchdog(_CLUSTER, job, index, "", **options)

  def testArguments(self):
    for message, options in [
        ("job and index must be a task of the cluster, got /job:worker/task:2.",
         {"index": 2}),
        ("job and index must be a task of the cluster, got /job:eval/task:0.",
         {"job": "eval"}),
        ("chief must be a task of the cluster, got /job:chief/task:0.",
         {"chief": ("chief", 0)}),
        ("chief must not be a server, got /job:ps/task:0.",
         {"chief": ("ps", 0)}),
        ("beat_secs must be finite and more than 0, got 0.", {"beat_secs": 0}),
        ("grace_secs must be finite and at least 16.0, got 15.",
         {"beat_secs": 2., "grace_secs": 15}),
        ("start_secs must be finite and more than 0, got -1.",
         {"start_secs": -1})]:
      with self.assertRaisesWithLiteralMatch(ValueError, message):
        self._make(**options)

  def testClusterMayBeASpec(self):
    watchdog.Watchdog(
        tf.train.ClusterSpec(_CLUSTER), "ps", 0, "")
    dog = self._make()
    self.assertEqual(dog.generation, 0)

  def testIncarnationsOfLaterProcessesAreLarger(self):
    first = watchdog._new_incarnation()
    time.sleep(0.01)
    second = watchdog._new_incarnation()
    self.assertBetween(first, 1, second - 1)
    self.assertLess(second, 2**62)

  def testStopLetsTheMainThreadRaise(self):
    session, coord = tf.Session(), tf.train.Coordinator()
    error = watchdog.LostTaskError("lost")
    self.assertIsNone(watchdog._requested(coord))
    watchdog._stop(session, coord, error)
    self.assertIs(watchdog._requested(coord), error)
    with self.assertRaisesRegex(RuntimeError, "closed"):
      session.run([])
    with self.assertRaises(watchdog.LostTaskError):
      coord.join()
    watchdog._stop(session, coord, error)  # Nobody is there to raise it.

  def testCannotBeUsedAfterItsEnd(self):
    dog = self._make()
    dog._finish = lambda: None
    dog.end(None)
    with self.assertRaisesRegex(
        RuntimeError, "A Watchdog cannot be used after its end."):
      dog.begin()

  def testEndRaisesIfATaskIsLostOrRestarted(self):
    for name, error in [
        ("_lost", watchdog.LostTaskError("lost")),
        ("_aborted", tf.errors.AbortedError(None, None, "restarted"))]:
      dog = self._make()
      setattr(dog, name, error)
      with self.assertRaisesRegex(type(error), str(error)):
        dog.end(None)

  def testRestartOfAServerAborts(self):
    dog = self._make()
    dog._session, dog._coord = tf.Session(), tf.train.Coordinator()
    dog._joined_servers = {_PS: 5}
    dog.before_run(None)
    dog._check_generation(_rows(ps=Row(5, 3)))
    self.assertFalse(dog._coord.should_stop())
    dog._check_generation(_rows(ps=Row(6, 1)))
    dog._coord.wait_for_stop(processes.TIMEOUT)
    with self.assertRaisesRegex(
        tf.errors.AbortedError, "/job:ps/task:0 has restarted; training goes "
        "on from the last checkpoint."):
      dog._coord.join()


class ClusterTest(tf.test.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls._nursery = processes.Nursery(program.__file__)
    cls.addClassCleanup(cls._nursery.close)

  def _cluster(self, num_servers=1, **options):
    folder = tempfile.mkdtemp(dir=self.get_temp_dir())
    return processes.Cluster(self._nursery, folder, num_servers, **options)

  def _assertEndsWell(self, cluster):
    cluster.stop()
    for task in cluster.tasks.values():
      self.assertEqual(task.wait(), 0, task.errors())

  def _assertEndsWithLoss(self, task, line):
    """Asserts that a task ends, and names another one on one line.

    Args:
      task: Task.
      line: Regular expression.
    """
    self.assertNotIn(task.wait(), (0, -signal.SIGABRT), task.errors())
    lines = [each for each in task.errors() if "is lost" in each]
    self.assertLen(lines, 1)
    self.assertRegex(lines[0], f"^{line}[.]$")

  def testNormalEnd(self):
    clusters = [self._cluster(count).start() for count in (0, 1, 2)]
    for cluster in clusters:
      cluster.tasks[_CHIEF].wait_for("step", 3)
    for cluster in clusters:
      self._assertEndsWell(cluster)

  def _assertLedBack(self, name, num_servers=1):
    """Asserts that a restart of a task leads all to the last checkpoint."""
    cluster = self._cluster(num_servers).start()
    tasks = cluster.tasks
    steps = tasks[_CHIEF].wait_for("step", program.SAVE_STEPS + 3)
    (_, earlier, start), = tasks[_WORKER].wait_for("joined", 1)
    self.assertEqual(start, 0)
    cluster.restart(name)
    chief, worker = [
        tasks[task].wait_for("joined", 1 if task == name else 2)[-1]
        for task in (_CHIEF, _WORKER)]
    self.assertEqual(chief, worker)
    _, generation, restored = chief
    self.assertNotEqual(generation, earlier)
    # Another checkpoint may have been saved after `steps` were read.
    last_save = steps[-1][1] // program.SAVE_STEPS * program.SAVE_STEPS
    self.assertGreaterEqual(restored, last_save)
    self.assertEqual(restored % program.SAVE_STEPS, 0)
    self._assertEndsWell(cluster)
    events = tasks[_CHIEF].events()
    self.assertEqual(events[events.index(chief) + 1], ["step", restored + 1])

  def testRestartOfAWorkerLeadsAllBack(self):
    self._assertLedBack(_WORKER)

  def testRestartOfTheChiefLeadsAllBack(self):
    self._assertLedBack(_CHIEF)

  def testRestartOfAServerLeadsAllBack(self):
    self._assertLedBack(_PS)

  def testRestartsWithoutServersLeadAllBack(self):
    self._assertLedBack(_CHIEF, num_servers=0)

  def testAllGoOnAfterRestartsAtAnyMoment(self):
    rng = random.Random(1)
    cluster = self._cluster(num_servers=2).start()
    for _ in range(4):
      time.sleep(rng.uniform(0., 1.5))  # Also in a join, or before it.
      for name in rng.sample(sorted(cluster.tasks), rng.randint(1, 2)):
        cluster.restart(name)
    cluster.tasks[_CHIEF].wait_for(
        "step", len(cluster.tasks[_CHIEF].events("step")) + 5)
    self._assertEndsWell(cluster)

  def testRestartInAsynchronousTrainingLeadsNobodyBack(self):
    cluster = self._cluster(synchronous=False).start()
    cluster.tasks[_CHIEF].wait_for("step", 3)
    cluster.restart(_WORKER)
    steps = cluster.tasks[_CHIEF].wait_for(
        "step", len(cluster.tasks[_CHIEF].events("step")) + 5)
    self.assertEqual([step for _, step in steps],
                     list(range(1, len(steps) + 1)))
    self._assertEndsWell(cluster)
    self.assertEmpty(cluster.tasks[_CHIEF].events("joined"))

  def testLostTaskEndsAll(self):
    clusters = {
        case: self._cluster(case[1], grace_secs=5.).start() for case in [
            (_WORKER, 1, signal.SIGKILL), (_CHIEF, 1, signal.SIGKILL),
            (_PS, 1, signal.SIGKILL), (_CHIEF, 0, signal.SIGSTOP)]}
    for cluster in clusters.values():
      cluster.tasks[_CHIEF].wait_for("step", 3)
    for (name, _, number), cluster in clusters.items():
      cluster.tasks.pop(name).signal(number)
    for (name, *_), cluster in clusters.items():
      for task in cluster.tasks.values():
        self._assertEndsWithLoss(task, f"{name} is lost: (no sign of life for "
                                 r"\d+ s|/job:\w+/task:. reports it)")

  def testTaskThatNeverStartsIsLost(self):
    cluster = self._cluster(start_secs=3.)
    cluster.start_task("ps", 0)
    cluster.start_task("worker", 0)
    for task in cluster.tasks.values():
      self._assertEndsWithLoss(
          task, f"{_WORKER} is lost: (it has not started within 3 s|"
          "/job:.* reports it)")

  def testTaskMayStartLate(self):
    cluster = self._cluster(grace_secs=4., start_secs=90.)
    cluster.start_task("ps", 0)
    cluster.start_task("worker", 0)
    time.sleep(6.)  # Longer than any other silence may last.
    cluster.start_task("worker", 1)
    cluster.tasks[_CHIEF].wait_for("step", 1)
    self._assertEndsWell(cluster)


if __name__ == "__main__":
  tf.test.main()
