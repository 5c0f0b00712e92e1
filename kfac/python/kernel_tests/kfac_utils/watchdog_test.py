"""Tests of the watchdog: who is lost, and clusters of real processes.

The processes run watchdog_program.py. Waits end with an error after a long
time; no test requires that something is fast.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.kfac_utils import watchdog_program as program
from kfac.python.ops.kfac_utils import bulletin

TIMEOUT = 100  # Seconds, so that a test cannot hang.

_ROOT = pathlib.Path(__file__).parents[4]
_PS = "/job:ps/task:0"
_CHIEF = "/job:worker/task:0"
_WORKER = "/job:worker/task:1"

Phase = bulletin.Phase
Row = bulletin.Row


class Nursery:
  """The program's process, which forks the processes of tasks."""

  def __init__(self):
    self._process = subprocess.Popen(
        [sys.executable, program.__file__],
        env={**os.environ, "PYTHONPATH": str(_ROOT)}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True, start_new_session=True)

  def ask(self, command):
    """Returns the answer to a command."""
    self._process.stdin.write(json.dumps(command) + "\n")
    self._process.stdin.flush()
    return json.loads(self._process.stdout.readline())

  def close(self):
    """Kills everything."""
    try:
      os.killpg(self._process.pid, signal.SIGKILL)
    except ProcessLookupError:
      pass
    self._process.communicate()


class Task:
  """A process of a task.

  Attributes:
    name: Name of the task.
    arguments: The task of the program.
  """

  def __init__(self, nursery, arguments, prefix):
    """Starts the process; its output is in files whose paths have a prefix."""
    self.name = f"/job:{arguments['job']}/task:{arguments['index']}"
    self.arguments = arguments
    self._nursery = nursery
    self._files = [pathlib.Path(f"{prefix}.{name}") for name in ("out", "err")]
    self._number = nursery.ask([arguments, *map(str, self._files)])
    self._status = None

  def signal(self, number):
    os.kill(self._number, number)

  def status(self):
    """Returns the exit status or minus the signal; None while it runs."""
    if self._status is None:
      self._status = self._nursery.ask(self._number)
    return self._status

  def errors(self):
    """Returns the lines of standard error."""
    file = self._files[1]
    return file.read_text().splitlines() if file.exists() else []

  def events(self, kind=None):
    """Returns the list of the events of a kind, or of all events."""
    file = self._files[0]
    lines = file.read_text().splitlines(keepends=True) if file.exists() else []
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return [event for event in events if kind in (None, event[0])]

  def wait_for(self, kind, count):
    """Waits for a number of events of a kind; returns them."""
    deadline = time.monotonic() + TIMEOUT
    while len(self.events(kind)) < count:
      assert self.status() is None and time.monotonic() < deadline, (
          self.name, self.status(), self.errors())
      time.sleep(0.05)
    return self.events(kind)

  def wait(self):
    """Waits for the end; returns the status."""
    deadline = time.monotonic() + TIMEOUT
    while self.status() is None:
      assert time.monotonic() < deadline, f"{self.name} hangs."
      time.sleep(0.05)
    return self.status()


def _addresses(count):
  """Returns free addresses on this machine."""
  sockets = [socket.socket() for _ in range(count)]
  for each in sockets:
    each.bind(("127.0.0.1", 0))
  addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
  for each in sockets:
    each.close()
  return addresses


class ClusterTest(tf.test.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls._nursery = Nursery()
    cls.addClassCleanup(cls._nursery.close)

  def _start(self, num_servers=1, **options):
    """Starts a cluster with two workers.

    Args:
      num_servers: Int.
      **options: Of the Watchdog.

    Returns:
      Dict from the name of a task to a Task.
    """
    self._folder = tempfile.mkdtemp(dir=self.get_temp_dir())
    addresses = _addresses(num_servers + 2)
    cluster = {"worker": addresses[num_servers:]}
    if num_servers:
      cluster["ps"] = addresses[:num_servers]
    tasks = [
        self._start_task({
            "cluster": cluster, "job": job, "index": index,
            "folder": self._folder, "options": {"beat_secs": 0.2, **options}})
        for job in cluster for index in range(len(cluster[job]))]
    return {task.name: task for task in tasks}

  def _start_task(self, arguments):
    return Task(self._nursery, arguments, tempfile.mktemp(dir=self._folder))

  def _assertEndsWell(self, tasks):
    """Lets the training end."""
    pathlib.Path(self._folder, "stop").touch()
    for task in tasks.values():
      self.assertEqual(task.wait(), 0, task.errors())

  def _assertLed(self, name, num_servers=1):
    """Asserts that a restart of a task leads all back."""
    tasks = self._start(num_servers)
    steps = tasks[_CHIEF].wait_for("step", program.SAVE_STEPS + 3)
    (_, earlier, zero), = tasks[_WORKER].events("joined")
    self.assertEqual(zero, 0)
    tasks[name].signal(signal.SIGKILL)
    self.assertEqual(tasks[name].wait(), -signal.SIGKILL)
    tasks[name] = self._start_task(tasks[name].arguments)
    (_, generation, restored), other = [
        tasks[worker].wait_for("joined", 1 if worker == name else 2)[-1]
        for worker in (_CHIEF, _WORKER)]
    self.assertEqual([_, generation, restored], other)
    self.assertNotEqual(generation, earlier)
    # A checkpoint may have been saved after `steps` were read.
    self.assertGreaterEqual(
        restored, steps[-1][1] // program.SAVE_STEPS * program.SAVE_STEPS)
    self.assertEqual(restored % program.SAVE_STEPS, 0)
    self._assertEndsWell(tasks)
    events = tasks[_CHIEF].events()
    joined = events.index(["joined", generation, restored])
    self.assertEqual(events[joined + 1], ["step", restored + 1])

  def testNormalEnd(self):
    for num_servers in range(3):
      tasks = self._start(num_servers)
      tasks[_CHIEF].wait_for("step", 3)
      self._assertEndsWell(tasks)

  def testKilledAndRestarted(self):
    for name in (_WORKER, _CHIEF, _PS):
      self._assertLed(name)

  def _assertLost(self, name, num_servers=1):
    tasks = self._start(num_servers, grace_secs=4.)
    tasks[_CHIEF].wait_for("step", 3)
    tasks.pop(name).signal(signal.SIGKILL)
    for task in tasks.values():
      self.assertNotEqual(task.wait(), 0)
      lines = [line for line in task.errors() if " is lost" in line]
      self.assertLen(lines, 1)
      self.assertStartsWith(lines[0], f"{name} is lost: ")

  def testLost(self):
    for name in (_WORKER, _CHIEF, _PS):
      self._assertLost(name)


if __name__ == "__main__":
  tf.test.main()
