"""A bulletin on a server: every task of a cluster writes a row and reads all.

The bulletin is a hash table on the device of the task that keeps it. It needs
no initialization, it is in no checkpoint, and it is lost with its task: after a
restart it is empty, and every task writes its row again with its next beat.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow.compat.v1 as tf
from absl import logging

_TABLE = "kfac_watchdog"
# A run on a keeper that is frozen, not dead, ends after this time.
_RUN_SECS = 2.
# How long to wait for the end of a thread that may wait for a dead keeper.
_DEAD_SECS = 0.5


class Phase(enum.IntEnum):
  """What a task is doing."""

  # It belongs to no generation: it starts, or it has left its session.
  WAITING = 0
  # It waits for the start of its generation; the chief has announced it.
  JOINED = 1
  # It trains in its generation.
  STARTED = 2
  FINISHED = 3
  # It has found a lost task, whose number is in the row's `generation`.
  REPORTING = 4


class Row(NamedTuple):
  """What a task tells the others.

  Attributes:
    incarnation: Int > 0, random, larger for a process that started later.
    beat: Int >= 0, counts the rows of an incarnation.
    generation: Int, see Watchdog; 0 for none.
    phase: A Phase.
    trained: 1 if this incarnation has trained in any session, else 0.
  """

  incarnation: int
  beat: int = 0
  generation: int = 0
  phase: int = Phase.WAITING
  trained: int = 0


def newest(bulletins: Iterable[dict[str, Row]]) -> dict[str, Row]:
  """Returns the newest row of every task.

  Args:
    bulletins: Contents of bulletins, dicts from the name of a task to its row.
  """
  rows: dict[str, Row] = {}
  for bulletin in bulletins:
    for task, row in bulletin.items():
      if task not in rows or row[:2] > rows[task][:2]:
        rows[task] = row
  return rows


class Bulletin:
  """Writes to one bulletin and reads it, in a thread of its own.

  The thread alone waits if the keeper does not answer. It makes a new session
  after every failure; the first run of a session on a dead keeper lasts until
  the keeper is back.

  Attributes:
    keeper: Name of the task that keeps the bulletin.
    rows: Its rows at the last visit, a dict from the name of a task to its
      Row; None if that visit failed or there was none.
    num_visits: Int, the number of successful visits.
    written: Int, the beat of the last row that was written.
  """

  def __init__(self, keeper: str, tasks: Sequence[str], own: str, target: str,
               make_row: Callable[[], Row], beat_secs: float) -> None:
    """Makes the graph; `start` starts the thread.

    Args:
      keeper: Name of the task that keeps the bulletin, "/job:ps/task:0".
      tasks: Names of all tasks.
      own: Name of this process's task.
      target: Target of this process's server.
      make_row: Function that returns the row to be written.
      beat_secs: Float > 0, seconds between two visits.
    """
    self.keeper = keeper
    self.rows: dict[str, Row] | None = None
    self.num_visits = 0
    self.written = -1
    self._tasks = list(tasks)
    self._target = target
    self._make_row = make_row
    self._beat_secs = beat_secs
    # Without filters a session waits until all tasks have started.
    self._config = tf.ConfigProto(device_filters=[keeper, own])
    self._wake = threading.Event()
    self._stopped = False
    self._session: tf.Session | None = None
    # Whether a run of the session has succeeded, so that each run ends.
    self._is_open = False
    self._graph = tf.Graph()
    with self._graph.as_default(), tf.device(f"{keeper}/device:CPU:0"):
      self._make_ops(own)
    self._thread = threading.Thread(
        target=self._run, name=f"Bulletin{keeper}", daemon=True)

  def _make_ops(self, own):
    size = len(Row._fields)
    table = tf.raw_ops.MutableHashTableOfTensorsV2(
        key_dtype=tf.string, value_dtype=tf.int64, value_shape=[size],
        shared_name=_TABLE)
    self._own_row = tf.placeholder(tf.int64, [size])
    write = tf.raw_ops.LookupTableInsertV2(
        table_handle=table, keys=[own], values=self._own_row[tf.newaxis])
    with tf.control_dependencies([write]):
      self._all_rows = tf.raw_ops.LookupTableFindV2(
          table_handle=table, keys=self._tasks,
          default_value=tf.zeros([size], tf.int64))

  def start(self) -> None:
    """Starts the thread."""
    self._thread.start()

  def visit_soon(self) -> None:
    """Lets the thread write and read at once, if it can."""
    self._wake.set()

  def stop(self) -> None:
    """Ends the thread after its current visit; does not wait for it."""
    self._stopped = True
    self._wake.set()

  def join(self, timeout: float) -> None:
    """Waits for the end of the thread, shortly if the keeper seems dead.

    Args:
      timeout: Float, the largest number of seconds.
    """
    self._thread.join(
        timeout if self._is_open else min(timeout, _DEAD_SECS))

  def _run(self):
    """Visits until `stop`: the body of the thread."""
    while not self._stopped:
      self._wake.clear()
      try:
        self._visit()
      except tf.errors.DeadlineExceededError:
        self.rows = None  # The session is good if the keeper goes on.
      except Exception as error:  # noqa: BLE001  A visit may fail in any way.
        logging.debug("No access to %s: %s", self.keeper, error)
        self.rows = None
        self._close()
      self._wake.wait(self._beat_secs)
    self._close()

  def _visit(self):
    """Writes the own row and reads all."""
    if self._session is None:
      self._session = tf.Session(
          self._target, graph=self._graph, config=self._config)
    row = self._make_row()
    values = self._session.run(
        self._all_rows, {self._own_row: row},
        tf.RunOptions(timeout_in_ms=int(1000 * _RUN_SECS)))
    self._is_open = True
    rows = [Row(*value) for value in values.tolist()]
    self.rows = {task: row for task, row in zip(self._tasks, rows, strict=True)
                 if row.incarnation}
    self.written = row.beat
    self.num_visits += 1

  def _close(self):
    session, self._session = self._session, None
    if session is not None:
      try:
        session.close()
      except tf.errors.OpError:
        pass  # The keeper is dead.
    self._is_open = False
