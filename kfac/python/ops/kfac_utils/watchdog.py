"""No process of a cluster hangs when a task is lost or restarted.

Every process of a cluster of TensorFlow servers has a Watchdog, which beats on
bulletins (see bulletin.py) and reads the beats of the others:

* A task that is silent for too long is lost: every other process ends with
  LostTaskError, or is ended if it hangs in TensorFlow.
* If training is synchronous, a restart of any task leads all others back to the
  last checkpoint. Workers join a generation, a period of training without a
  restart, and no worker trains until all have joined.
"""

from __future__ import annotations

import atexit
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops.kfac_utils import bulletin
from kfac.python.ops.utils import scalars

_POLL_SECS = 0.1
# A process that is told to stop and hangs is ended after this time.
_LEAVE_SECS = 5.
# Largest number of seconds in which the last row of a task is written.
_LAST_ROW_SECS = 5.
# Longer than a visit of a bulletin.
_END_SECS = 3.
# Modules in which a thread hangs if a task is lost.
_HANGING = ("tensorflow.python.client", "tensorflow.python.training")

Phase = bulletin.Phase

_ALL_AGAIN = "it has restarted, and all have to start again"


class LostTaskError(RuntimeError):
  """A task of the cluster is lost; the message is one line that names it."""


class Signs:
  """When other tasks showed signs of life.

  Time is given, never read. Its clock advances by at most a quarter of
  `grace_secs` between two updates, so that a process that was stopped does not
  find that all others were silent. While no bulletin can be read, only keepers
  are found to be lost.
  """

  def __init__(self, tasks: Sequence[str], keepers: Sequence[str],
               grace_secs: float, start_secs: float, now: float) -> None:
    """Starts the clock.

    Args:
      tasks: Names of the other tasks.
      keepers: Names of the tasks that keep bulletins. An access to its bulletin
        is the only sign of life of a keeper.
      grace_secs: Float > 0, how long a task may be silent.
      start_secs: Float > 0, how long its first sign of life may take.
      now: Float, the time in seconds.
    """
    # Keepers come first: without them, the others seem to be silent as well.
    self._tasks = sorted(tasks, key=lambda task: task not in keepers)
    self._keepers = keepers
    self._grace_secs = grace_secs
    self._start_secs = start_secs
    self._max_gap = grace_secs / 4.
    self._given = now
    self._clock = 0.
    self._seen: dict[str, float] = {}
    self._beats: dict[str, tuple[int, int]] = {}
    self._finished: set[str] = set()
    # When a bulletin was read last, and since when without a gap.
    self._read = self._readable = -self._max_gap

  def update(self, now: float, accessed: Iterable[str],
             rows: Mapping[str, bulletin.Row]) -> None:
    """Takes notice of signs of life.

    Args:
      now: Float, the time in seconds.
      accessed: Names of the keepers to which an access has succeeded since the
        last update.
      rows: Dict from the name of a task to its newest row.
    """
    self._clock += min(max(now - self._given, 0.), self._max_gap)
    self._given = now
    for keeper in accessed:
      self._seen[keeper] = self._clock
      if self._clock - self._read >= self._max_gap:
        self._readable = self._clock
      self._read = self._clock
    for task, row in rows.items():
      if task not in self._keepers and self._beats.get(task) != row[:2]:
        self._beats[task] = row[:2]
        self._seen[task] = self._clock
    self._finished = {task for task, row in rows.items()
                      if row.phase == Phase.FINISHED}

  def lost(self) -> tuple[str, str] | None:
    """Returns the name of a lost task and the reason, or None.

    A task that has finished is not lost, unless it keeps a bulletin.
    """
    is_readable = self._clock - self._read < self._max_gap
    for task in self._tasks:
      seen = self._seen.get(task)
      if seen is None:
        if self._clock > self._start_secs:
          return task, f"it has not started within {self._start_secs:g} s"
        continue
      if task not in self._keepers:
        if not is_readable or task in self._finished:
          continue
        seen = max(seen, self._readable)
      if self._clock - seen > self._grace_secs:
        return task, f"no sign of life for {self._clock - seen:.0f} s"
    return None


def reported(rows: Mapping[str, bulletin.Row], tasks: Sequence[str],
             own: str) -> tuple[str, str] | None:
  """Returns the name of a task that another reports as lost, or None.

  Args:
    rows: Dict from the name of a task to its newest row.
    tasks: Names of all tasks; rows contain their numbers.
    own: Name of the task whose report does not count.

  Returns:
    The name and the reason.
  """
  for task, row in rows.items():
    if row.phase == Phase.REPORTING and task != own:
      return tasks[row.generation], f"{task} reports it"
  return None


def left(rows: Mapping[str, bulletin.Row], joined: Mapping[str, int],
         generation: int) -> str | None:
  """Returns the name of a task that has left a generation, or None.

  Args:
    rows: Dict from the name of a task to its newest row.
    joined: Dict from the name of each task that must stay to its incarnation.
    generation: Int, what they have joined.
  """
  for task, incarnation in joined.items():
    row = rows.get(task)
    if row is not None and (row.incarnation, row.generation) != (
        incarnation, generation):
      return task
  return None


def _names(cluster):
  """Returns the names of all tasks, a dict from a job to a list."""
  spec = tf.train.ClusterSpec(cluster)
  return {job: [f"/job:{job}/task:{index}" for index in spec.task_indices(job)]
          for job in spec.jobs}


def _check_task(what, job, index, names):
  """Returns the name of a task; raises ValueError if there is none."""
  name = f"/job:{job}/task:{index}"
  if name not in names.get(job, []):
    raise ValueError(f"{what} must be a task of the cluster, got {name}.")
  return name


def _new_incarnation():
  """Returns a random int below 2**62, larger in later milliseconds."""
  return (time.time_ns() // 10**6 << 20 | random.getrandbits(20)) % 2**62


def _stop(session, coord, error):
  """Lets the run of a session end, and the main thread raise an error."""
  try:
    # The close follows at once, so that queue runners have no time to close
    # queues that are shared with other sessions.
    coord.request_stop((type(error), error, None))
  except type(error):
    pass  # The session was closed before.
  session.close()


def _requested(coord):
  """Returns the error which a coordinator was requested to raise, or None."""
  try:
    coord.raise_requested_exception()
  except BaseException as error:  # noqa: BLE001  It may be of any type.
    return error
  return None


def _is_in_tensorflow(thread_id):
  """Whether a thread makes, runs or closes a session."""
  frame = sys._current_frames().get(thread_id)
  while frame is not None:
    if frame.f_globals.get("__name__", "").startswith(_HANGING):
      return True
    frame = frame.f_back
  return False


def _end_process(line):
  """Ends the process, also if its main thread hangs."""
  sys.stderr.write(line + "\n")
  sys.stderr.flush()
  os._exit(1)


class Watchdog(tf.train.SessionRunHook):
  """Watches the other tasks of a cluster; joins them if it is synchronous.

  A server process calls `serve`. The chief and the other workers pass it as a
  hook to a MonitoredTrainingSession, the chief twice:

      watchdog = Watchdog(cluster, job, index, server.target)
      ...  # Build the graph.
      with tf.train.MonitoredTrainingSession(
          server.target, is_chief, folder, chief_only_hooks=[watchdog],
          hooks=[watchdog], config=...) as sess:

  As the chief's first hook it joins before a checkpoint is saved, and as the
  last one it finishes after the last checkpoint. Other workers ignore
  `chief_only_hooks`.

  The generation is random. The chief announces it in its new session; workers
  join it in theirs. If a worker has trained before, its last step may have come
  after the chief restored the checkpoint. Once all have joined, the chief then
  restores it again, in another session. Then it starts the generation. A worker
  that restarts or leaves its session leaves the generation; the chief, and then
  all others, leave it as well: their sessions end with AbortedError, and
  MonitoredTrainingSession makes new ones.
  """

  def __init__(self, cluster: Any, job: str, index: int, target: str, *,
               chief: tuple[str, int] = ("worker", 0), servers: str = "ps",
               synchronous: bool = True, restarts: bool = True,
               beat_secs: float = 1., grace_secs: float = 20.,
               start_secs: float = 120.,
               on_join: Callable[[tf.Session, int], Any] | None = None) -> None:
    """Keeps the arguments; `start` starts the threads.

    Args:
      cluster: tf.train.ClusterSpec, or dict from jobs to addresses.
      job: Job of this process's task.
      index: Int, its index.
      target: Target of this process's server.
      chief: Job and index of the chief.
      servers: The job whose tasks keep the bulletins. If the cluster has no
        such job, the chief's task keeps the only one. The tasks of all other
        jobs are workers.
      synchronous: Whether a restart of any task leads all others back to the
        last checkpoint. If False, only lost tasks are found.
      restarts: Whether that is possible. If False, as with collective ops, a
        task that restarts is lost.
      beat_secs: Float > 0, seconds between two beats.
      grace_secs: Float, at least 8 * `beat_secs`, how long a task may be
        silent. It includes a restart until `start`.
      start_secs: Float > 0, how long the first sign of life of a task may take.
      on_join: Function of the session and the generation, called after the
        join. The chief calls it before any other worker goes on. It must not
        wait for other tasks. Only called if `synchronous`.

    Raises:
      ValueError: If a task is not in the cluster, the chief is a server, or a
        time is out of range.
    """
    names = _names(cluster)
    self._own = _check_task("job and index", job, index, names)
    self._chief = _check_task("chief", *chief, names)
    if chief[0] == servers:
      raise ValueError(f"chief must not be a server, got {self._chief}.")
    scalars.check_number("beat_secs", beat_secs, above=0)
    scalars.check_number("grace_secs", grace_secs, minimum=8 * beat_secs)
    scalars.check_number("start_secs", start_secs, above=0)
    self._tasks = [task for job in sorted(names) for task in names[job]]
    self._servers = names.get(servers, [])
    self._workers = [task for task in self._tasks if task not in self._servers]
    self._keepers = self._servers or [self._chief]
    self._synchronous = synchronous
    self._restarts = restarts
    self._beat_secs = beat_secs
    self._grace_secs = grace_secs
    self._start_secs = start_secs
    self._on_join = on_join
    self._bulletins = [
        bulletin.Bulletin(keeper, self._tasks, self._own, target,
                          self._next_row, beat_secs)
        for keeper in self._keepers]
    self._thread: threading.Thread | None = None
    self._stopped = threading.Event()
    # `_lock` guards all of these.
    self._lock = threading.RLock()
    self._row = bulletin.Row(_new_incarnation())
    self._session: tf.Session | None = None
    self._coord: Any = None
    # Whether a step has begun in the session, so that it can be aborted.
    self._armed = False
    self._aborted: tf.errors.AbortedError | None = None
    # Name of a lost task and the reason, if the main thread finds it.
    self._found: tuple[str, str] | None = None
    self._lost: LostTaskError | None = None
    self._ending = False
    # What was joined: the incarnations of the tasks that must not restart.
    self._generation = 0
    self._joined: dict[str, int] = {}
    self._joined_servers: dict[str, int] = {}
    # The generation that all have joined while the chief restores again.
    self._clean = 0
    # Facts about the main thread.
    self._main_thread = threading.get_ident()
    self._raised = False
    self._num_listed = 0

  @property
  def generation(self) -> int:
    """The generation that was joined last; 0 before the first."""
    return self._generation

  def start(self) -> None:
    """Starts to beat and to watch; further calls do nothing.

    `begin` and `serve` call it. A program that builds a large graph calls it
    before, because other tasks miss its beats in the meantime.
    """
    if self._thread is None:
      self._thread = threading.Thread(
          target=self._watch, name="Watchdog", daemon=True)
      self._thread.start()
      for each in self._bulletins:
        each.start()
      atexit.register(self._end_threads)

  def _next_row(self):
    """Returns the own row with a new beat."""
    with self._lock:
      self._row = self._row._replace(beat=self._row.beat + 1)
      return self._row

  def _write(self, **changes):
    """Changes the own row and writes it soon.

    Args:
      **changes: New values of fields of the row.

    Returns:
      Int, the beat with which the change is written, or an earlier one.
    """
    with self._lock:
      self._row = self._row._replace(**changes)
      beat = self._row.beat
    for each in self._bulletins:
      each.visit_soon()
    return beat + 1

  def _rows(self):
    """Returns the newest row of every other task, as far as they are known."""
    contents = [each.rows for each in self._bulletins]
    rows = bulletin.newest(rows for rows in contents if rows is not None)
    rows.pop(self._own, None)
    return rows

  def _watch(self):
    """Looks for lost and restarted tasks: the body of the thread."""
    signs = Signs([task for task in self._tasks if task != self._own],
                  self._keepers, self._grace_secs, self._start_secs,
                  time.monotonic())
    visits = [0] * len(self._bulletins)
    while not self._stopped.wait(self._beat_secs / 4.):
      earlier, visits = visits, [each.num_visits for each in self._bulletins]
      accessed = [each.keeper for each, before, after
                  in zip(self._bulletins, earlier, visits, strict=True)
                  if after > before]
      rows = self._rows()
      signs.update(time.monotonic(), accessed, rows)
      lost = (self._found or reported(rows, self._tasks, self._own)
              or signs.lost())
      if lost and not self._is_over(rows):
        self._give_up(*lost)
        return
      self._check_generation(rows)

  def _is_over(self, rows):
    """Whether no task can be lost any more from the view of this one."""
    return self._ending or (
        self._own in self._servers and self._has_finished(self._chief, rows))

  def _has_finished(self, task, rows):
    return task in rows and rows[task].phase == Phase.FINISHED

  def _check_generation(self, rows):
    """Aborts the session if a task has left the generation."""
    with self._lock:
      if not self._armed or self._ending:
        return
      task = left(rows, self._joined, self._generation)
      for server in self._servers if self._own == self._chief else []:
        if server in rows and rows[server].incarnation != (
            self._joined_servers.setdefault(server, rows[server].incarnation)):
          task = server
      if task is None:
        return
      if not self._restarts:
        self._found = task, _ALL_AGAIN
        return
      self._armed = False
      self._aborted = tf.errors.AbortedError(
          None, None, f"{task} has restarted; training goes on from the last "
          "checkpoint.")
      args = self._session, self._coord, self._aborted
    logging.info("%s", self._aborted.message)
    self._write(generation=0, phase=Phase.WAITING)
    threading.Thread(target=_stop, args=args, daemon=True).start()

  def _give_up(self, task, reason):
    """Ends the training because a task is lost."""
    error = LostTaskError(f"{task} is lost: {reason}.")
    self._write(generation=self._tasks.index(task), phase=Phase.REPORTING)
    if self._own in self._keepers:
      # Others read it here. They come again with their next beat.
      time.sleep(min(2 * self._beat_secs, 2.))
    with self._lock:
      if self._ending:
        return
      self._lost = error
      session, coord = self._session, self._coord
    if session is not None:
      threading.Thread(
          target=_stop, args=(session, coord, error), daemon=True).start()
    deadline = time.monotonic() + _LEAVE_SECS
    while not self._has_left(error, coord):
      if time.monotonic() > deadline:
        _end_process(str(error))
      time.sleep(_POLL_SECS)

  def _has_left(self, error, coord):
    """Whether the main thread has raised the error and is out of TensorFlow."""
    was_raised = self._raised or (
        coord is not None and coord.joined and _requested(coord) is error)
    return was_raised and not _is_in_tensorflow(self._main_thread)

  def _raise_if_lost(self):
    with self._lock:
      if self._lost is not None:
        self._raised = True
        raise self._lost

  def _poll(self):
    """Waits a moment and returns new rows."""
    self._raise_if_lost()
    for each in self._bulletins:
      each.visit_soon()
    time.sleep(_POLL_SECS)
    self._raise_if_lost()
    return self._rows()

  def begin(self) -> None:
    """Starts to beat and to watch.

    Raises:
      RuntimeError: If the task has finished.
    """
    if self._ending:
      raise RuntimeError("A Watchdog cannot be used after its end.")
    if self._session is not None:  # Of an earlier MonitoredSession.
      self._session, self._num_listed = None, 0
    self._num_listed += 1
    self.start()

  def after_create_session(self, session: tf.Session, coord: Any) -> None:
    """Joins the other workers if training is synchronous.

    Args:
      session: The new session.
      coord: Its tf.train.Coordinator.

    Raises:
      LostTaskError: If a task is lost.
      tf.errors.AbortedError: If the checkpoint must be restored again.
    """
    with self._lock:
      if session is self._session:
        return  # Listed more than once.
      self._session, self._coord = session, coord
      self._armed, self._aborted = False, None
      self._main_thread = threading.get_ident()
    self._raise_if_lost()
    if not self._synchronous:
      return
    while self._joined and not self._restarts:
      self._find_restarted(self._poll())
    if self._own == self._chief:
      self._lead(session, coord)
    else:
      self._follow()
    self._call_on_join(session)
    self._write(phase=Phase.STARTED, trained=1)

  def _find_restarted(self, rows):
    """Finds that a task is lost if it is not the one that was joined."""
    for task, incarnation in self._joined.items():
      if task in rows and rows[task].incarnation != incarnation:
        self._found = task, _ALL_AGAIN

  def _call_on_join(self, session):
    try:
      if self._on_join is not None:
        self._on_join(session, self._generation)
    except Exception:
      self._raise_if_lost()  # If so, the session was closed because of it.
      raise

  def _lead(self, session, coord):
    """Joins as the chief: announces a generation and waits for all workers."""
    generation = self._clean or random.randrange(1, 2**62)
    self._write(generation=generation, phase=Phase.JOINED)
    followers = [task for task in self._workers if task != self._own]
    rows = self._rows()
    while not all(task in rows and rows[task].generation == generation
                  and rows[task].phase == Phase.JOINED for task in followers):
      self._check_unfinished(followers, rows)
      rows = self._poll()
    if not self._clean and any(rows[task].trained for task in followers):
      self._clean = generation
      # In this order, because queue runners close queues when they must stop.
      session.close()
      coord.request_stop()
      raise tf.errors.AbortedError(
          None, None, "All workers have left their sessions; the checkpoint is "
          "restored again.")
    self._clean = 0
    with self._lock:
      self._generation = generation
      self._joined = {task: rows[task].incarnation for task in followers}
      self._joined_servers = {
          task: rows[task].incarnation for task in self._servers
          if task in rows}

  def _follow(self):
    """Joins as a worker: waits until the chief starts a generation."""
    self._write(generation=0, phase=Phase.WAITING)
    generation = 0
    while True:
      rows = self._poll()
      self._check_unfinished([self._chief], rows)
      chief = rows.get(self._chief, bulletin.Row(0))
      if chief.phase == Phase.JOINED and chief.generation != generation:
        generation = chief.generation
        self._write(generation=generation, phase=Phase.JOINED)
      elif chief.phase == Phase.STARTED and chief.generation == generation:
        break
    with self._lock:
      self._generation = generation
      self._joined = {self._chief: chief.incarnation}

  def _check_unfinished(self, tasks, rows):
    """Finds that a task is lost if it has finished but must join."""
    for task in tasks:
      if self._has_finished(task, rows):
        self._found = task, "it finished before all had joined"

  def before_run(self, run_context: Any) -> None:
    """From now on the session is aborted if the generation ends."""
    with self._lock:
      if self._aborted is None and self._session is not None:
        self._armed = self._synchronous

  def end(self, session: tf.Session) -> None:
    """Marks the task as finished, in the last call if listed more than once.

    Args:
      session: The session.

    Raises:
      LostTaskError: If a task was lost before.
      tf.errors.AbortedError: If a task restarted before.
    """
    self._raise_if_lost()
    with self._lock:
      if self._aborted is not None:
        raise self._aborted
      self._num_listed -= 1
      if self._num_listed > 0:
        return
      self._ending = True
    self._finish()

  def serve(self) -> None:
    """Keeps a bulletin until the chief has finished; in place of server.join.

    Then it waits for the other workers, at most `grace_secs`.

    Raises:
      LostTaskError: If a task is lost.
    """
    self._main_thread = threading.get_ident()
    self.start()
    while not self._has_finished(self._chief, self._rows()):
      self._raise_if_lost()
      time.sleep(_POLL_SECS)
    with self._lock:
      self._ending = True
    self._finish()

  def _finish(self):
    """Writes that the task has finished, and ends the threads.

    A keeper first waits until the workers have read and written the same.
    """
    beat = self._write(phase=Phase.FINISHED)
    deadline = time.monotonic() + _LAST_ROW_SECS
    while (any(each.written < beat for each in self._bulletins)
           and time.monotonic() < deadline):
      time.sleep(_POLL_SECS)
    if self._own in self._keepers:
      self._await_workers()
    self._end_threads()

  def _end_threads(self):
    """Ends the threads; a thread that hangs is left behind.

    Python aborts at its exit if a thread comes back from TensorFlow then.
    """
    atexit.unregister(self._end_threads)
    self._stopped.set()
    for each in self._bulletins:
      each.stop()
    deadline = time.monotonic() + _END_SECS
    for each in self._bulletins:
      each.join(max(deadline - time.monotonic(), 0.))

  def _await_workers(self):
    """Waits until all workers have finished, at most `grace_secs`."""
    deadline = time.monotonic() + self._grace_secs
    workers = [task for task in self._workers if task != self._own]
    while time.monotonic() < deadline:
      rows = self._rows()
      if all(self._has_finished(task, rows) for task in workers):
        return
      time.sleep(_POLL_SECS)
