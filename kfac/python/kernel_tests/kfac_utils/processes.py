"""Clusters of real processes, which are forked, killed and started again.

A program of tasks is watchdog_program.py, or one that calls its `main`.
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

TIMEOUT = 100  # Seconds, so that a test cannot hang.

_ROOT = pathlib.Path(__file__).parents[4]


class Nursery:
  """A program's process, which forks the processes of tasks."""

  def __init__(self, program):
    """Starts the process.

    Args:
      program: Path of the program.
    """
    self._process = subprocess.Popen(
        [sys.executable, program],
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

  def signal(self, number):  # noqa: D102
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
          self.name, self.status(), self.errors()[-8:])
      time.sleep(0.05)
    return self.events(kind)

  def wait(self):
    """Waits for the end; returns the status."""
    deadline = time.monotonic() + TIMEOUT
    while self.status() is None:
      assert time.monotonic() < deadline, f"{self.name} hangs."
      time.sleep(0.05)
    return self.status()


def free_addresses(count):
  """Returns free addresses on this machine."""
  sockets = [socket.socket() for _ in range(count)]
  for each in sockets:
    each.bind(("127.0.0.1", 0))
  addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
  for each in sockets:
    each.close()
  return addresses


class Cluster:
  """Processes of two workers and of servers.

  Attributes:
    tasks: Dict from the name of a task to its Task.
    cluster: Dict from jobs to addresses.
  """

  def __init__(self, nursery, folder, num_servers=1, arguments=None,
               **options):
    """Prepares a cluster.

    Args:
      nursery: Nursery.
      folder: Path of a new folder.
      num_servers: Int.
      arguments: Dict of further entries of tasks, or None.
      **options: Of the Watchdog.
    """
    self._arguments = arguments or {}
    self.tasks = {}
    self._nursery = nursery
    self._folder = folder
    self._options = {"beat_secs": 0.2, **options}
    addresses = free_addresses(num_servers + 2)
    self.cluster = {"worker": addresses[num_servers:]}
    if num_servers:
      self.cluster["ps"] = addresses[:num_servers]

  def start(self):
    """Starts all tasks; returns the cluster."""
    for job in self.cluster:
      for index in range(len(self.cluster[job])):
        self.start_task(job, index)
    return self

  def start_task(self, job, index):
    """Starts a task, or restarts one that was killed."""
    task = Task(self._nursery, {
        **self._arguments, "cluster": self.cluster, "job": job, "index": index,
        "folder": self._folder, "options": self._options},
                tempfile.mktemp(dir=self._folder))
    self.tasks[task.name] = task

  def restart(self, name):
    """Kills a task and starts it again."""
    task = self.tasks[name]
    task.signal(signal.SIGKILL)
    assert task.wait() == -signal.SIGKILL
    self.start_task(task.arguments["job"], task.arguments["index"])

  def stop(self):
    """Lets the training end."""
    pathlib.Path(self._folder, "stop").touch()
