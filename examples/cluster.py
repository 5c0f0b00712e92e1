"""Starts the processes of a cluster on this machine, and ends them.

One process leads: the others end with it. If another one fails, all end, and
its error is shown. A signal to the parent is passed on to the leader, which may
report what it has. No process outlives the parent, not even if that is killed.
"""

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from examples import interrupts

HOST = "127.0.0.1"
# A forked process has the modules of its parent, whose import takes seconds.
# Elsewhere than on Linux, libraries may not work in one.
_METHOD = "fork" if sys.platform == "linux" else "spawn"
_POLL_SECS = 0.2


class Task(NamedTuple):
  """What a process does.

  Attributes:
    name: Name of the process in messages.
    function: Function of a module, without arguments but for `args`. With an
      error it calls sys.exit.
    args: Arguments of the function.
  """

  name: str
  function: Callable[..., Any]
  args: tuple = ()


class ProcessError(Exception):
  """A process other than the leader has failed; the message is its output."""


def free_addresses(count):
  """Returns addresses of this machine whose ports are free.

  Args:
    count: Int, number of addresses "127.0.0.1:PORT".
  """
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for each in sockets:
      each.bind((HOST, 0))
    return [f"{HOST}:{each.getsockname()[1]}" for each in sockets]


def run(leader, others):
  """Runs tasks, each in a process, until the leader ends or another one fails.

  The output of the leader is that of this process. From the others, only the
  error of the first one that fails is shown. `interrupts` must have caught the
  signals.

  Args:
    leader: Task.
    others: List of Tasks, started before the leader.

  Returns:
    Exit status of the leader, as in a shell.

  Raises:
    ProcessError: If another process has failed.
  """
  interrupts.keep_results()  # The leader ends first if a signal comes.
  with tempfile.TemporaryDirectory() as folder:
    children = [
        _Child(task, os.path.join(folder, str(number)))
        for number, task in enumerate(others)]
    children.append(_Child(leader))
    with interrupts.cleanup(lambda: _end(children, folder)):
      for child in children:
        child.start()
      return _await(children[-1], children[:-1])


def _await(leader, others):
  """Waits for the leader; see `run`."""
  is_signal_sent = False
  while leader.status() is None:
    if interrupts.requested() and not is_signal_sent:
      leader.send(interrupts.exit_status() - 128)
      is_signal_sent = True
    _raise_if_failed(leader, others)
    multiprocessing.connection.wait(
        [child.sentinel for child in [leader, *others]
         if child.status() is None], _POLL_SECS)
  return leader.status()


def _raise_if_failed(leader, others):
  """Raises ProcessError if a process has failed, and not the leader before."""
  for child in others:
    # A leader that fails, too, has told why.
    if child.status() and leader.status() is None:
      raise ProcessError(child.error())


def _end(children, folder):
  """Ends all children at once."""
  for child in children:
    child.kill()
  # If a signal ends this process, nothing else removes it.
  shutil.rmtree(folder, ignore_errors=True)


class _Child:
  """A process of a Task."""

  def __init__(self, task, path=None):
    """Does not start it.

    Args:
      task: The Task.
      path: Path of the file for the output, or None for that of this process.
    """
    self._name = task.name
    self._path = path
    self._process = multiprocessing.get_context(_METHOD).Process(
        target=_run_child, args=(task, path), name=task.name)

  def start(self):
    """Starts the process."""
    self._process.start()

  @property
  def sentinel(self):
    """What multiprocessing.connection.wait waits for."""
    return self._process.sentinel

  def status(self):
    """Returns the exit status as in a shell, or None if the process runs."""
    code = self._process.exitcode
    return 128 - code if code is not None and code < 0 else code

  def error(self):
    """Returns what the process has printed, or how it has ended."""
    with open(self._path, encoding="utf-8", errors="replace") as stream:
      printed = stream.read().strip()
    if self._process.exitcode < 0:
      name = signal.Signals(-self._process.exitcode).name
      return f"{self._name} was ended by {name}."
    return printed or f"{self._name} ended with status {self.status()}."

  def send(self, number):
    """Sends a signal."""
    if self.status() is None:
      os.kill(self._process.pid, number)

  def kill(self):
    """Ends the process, if it was started."""
    if self._process.pid is not None:
      self._process.kill()
      self._process.join()


def _run_child(task, path):
  """Does the task; the body of a process."""
  # Ctrl-C reaches only the parent, which decides who ends.
  os.setpgid(0, 0)
  threading.Thread(target=_end_with_parent, daemon=True).start()
  if path is not None:
    with open(path, "ab") as stream:
      for number in (1, 2):
        os.dup2(stream.fileno(), number)
  task.function(*task.args)


def _end_with_parent():
  """Ends this process when its parent has ended."""
  multiprocessing.parent_process().join()
  os._exit(1)
