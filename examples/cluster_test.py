"""Tests of the processes of a cluster, without TensorFlow."""

import os
import pathlib
import signal
import sys
import textwrap
import time

from examples import cluster
from examples import interrupts_test

# The process that leads tells the numbers of all.
PROGRAM = """
import os, signal, sys, time
from examples import cluster, interrupts

def lead(seconds, status):
  interrupts.catch()
  interrupts.keep_results()
  print("leads", os.getpid(), flush=True)
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    if interrupts.requested():
      print("reports", flush=True)
      sys.exit(interrupts.exit_status())
    time.sleep(0.01)
  sys.exit(status)

def help_(seconds, error):
  print("helps", os.getpid(), file=sys.stderr, flush=True)
  open(f"helper_{os.getpid()}", "w").close()
  time.sleep(seconds)
  sys.exit(error)

def die():
  os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
  cluster._METHOD = sys.argv[1]
  interrupts.catch()
  try:
    sys.exit(cluster.run(*eval(sys.argv[2])))
  except cluster.ProcessError as error:
    sys.exit(f"error: {error}")
"""
METHODS = ("fork", "spawn")


class ClusterTest(interrupts_test.ProcessCase):

  def setUp(self):
    super().setUp()
    self._path = pathlib.Path(self._dir, "program.py")
    self._path.write_text(textwrap.dedent(PROGRAM), encoding="utf-8")

  def _start_cluster(self, leader, *others, method="fork"):
    """Starts the program with tasks, pieces of Python."""
    tasks = [f"cluster.Task({str(number)!r}, {task})"
             for number, task in enumerate((leader, *others))]
    return self._start(
        str(self._path), method, f"({tasks[0]}, [{', '.join(tasks[1:])}])")

  def _check(self, process, status):
    """Waits for the end, before all tasks would end, and returns the output."""
    output = process.communicate(timeout=30)[0].decode()
    self.assertEqual(process.returncode, status, output)
    self._check_no_helpers()
    return output

  def _helpers(self):
    """Returns the numbers of the processes that have not led."""
    return [int(path.name.removeprefix("helper_"))
            for path in pathlib.Path(self._dir).glob("helper_*")]

  def _check_no_helpers(self):
    """Asserts that no process runs, after at most some seconds."""
    deadline = time.monotonic() + 10.
    while running := [pid for pid in self._helpers() if is_running(pid)]:
      self.assertLess(time.monotonic(), deadline, running)
      time.sleep(0.05)

  def testOthersEndWithTheLeader(self):
    for method in METHODS:
      for status in (0, 1, 130):
        with self.subTest(method=method, status=status):
          process = self._start_cluster(
              f"lead, (.5, {status})", "help_, (60, 0)", "help_, (0, 0)",
              method=method)
          # Nothing of what the others print is shown.
          output = self._check(process, status)
          self.assertRegex(output, r"\Aleads \d+\n\Z")

  def testFailureOfAnotherEndsAll(self):
    for method in METHODS:
      with self.subTest(method=method):
        process = self._start_cluster(
            "lead, (60, 0)", "help_, (60, 0)", "help_, (.5, 'no data.')",
            method=method)
        output = self._check(process, 1)
        self.assertRegex(output, r"error: helps \d+\nno data\.\n\Z")

  def testProcessThatIsKilledIsNamed(self):
    process = self._start_cluster(
        "lead, (60, 0)", "help_, (60, 0)", "die, ()")
    self.assertIn("error: 2 was ended by SIGKILL.\n", self._check(process, 1))

  def testFailureWithoutOutputIsNamed(self):
    process = self._start_cluster("lead, (60, 0)", "sys.exit, (7,)")
    self.assertIn("error: 1 ended with status 7.\n", self._check(process, 1))

  def testFailureOfTheLeaderIsItsOwn(self):
    process = self._start_cluster("sys.exit, ('no leader.',)",
                                  "help_, (60, 0)")
    self.assertEqual(self._check(process, 1), "no leader.\n")

  def testSignalIsPassedOnToTheLeader(self):
    for number in (signal.SIGINT, signal.SIGTERM):
      with self.subTest(number=number):
        process = self._start_cluster("lead, (60, 0)", "help_, (60, 0)")
        self._read_until(process, b"leads ")
        process.send_signal(number)
        self.assertIn("reports\n", self._check(process, 128 + number))

  def testSecondSignalEndsAllAtOnce(self):
    process = self._start_cluster("time.sleep, (60,)", "help_, (60, 0)")
    self._await_helper()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    self._check(process, 143)

  def testNoProcessOutlivesTheParent(self):
    for method in METHODS:
      with self.subTest(method=method):
        process = self._start_cluster(
            "lead, (60, 0)", "help_, (60, 0)", "help_, (60, 0)",
            method=method)
        output = self._read_until(process, b"\n")
        self._await_helper()
        process.kill()
        process.wait()
        self._check_no_helpers()
        leader = int(output.split()[1])
        deadline = time.monotonic() + 10.
        while is_running(leader):
          self.assertLess(time.monotonic(), deadline)
          time.sleep(0.05)

  def _await_helper(self):
    deadline = time.monotonic() + 20.
    while not self._helpers():
      self.assertLess(time.monotonic(), deadline)
      time.sleep(0.05)


class AddressesTest(interrupts_test.ProcessCase):

  def testAddressesDiffer(self):
    addresses = cluster.free_addresses(5)
    self.assertEqual(len(set(addresses)), 5)
    for address in addresses:
      self.assertRegex(address, r"\A127\.0\.0\.1:\d+\Z")


def is_running(pid):
  """Whether a process runs; one that nobody has waited for does not."""
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  if sys.platform != "linux":
    return True
  try:
    stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
  except OSError:
    return False
  return stat.rpartition(")")[2].split()[0] != "Z"


if __name__ == "__main__":
  interrupts_test.unittest.main()
