"""Inverses in a background thread, with a bound on their age.

Steps use the current inverses while new ones are computed, as in Anil et al.
2020 (https://arxiv.org/abs/2002.09018, section 5). This saves time if cores or
a device are idle, or if inverses run on other devices than the step.

A step that reads a stored matrix during its assignment sees the old or the new
one, never parts of both, since stored matrices are resource variables. Matrices
of different factors, and several of one factor, may come from different
updates.
"""

from __future__ import annotations

import threading
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.kfac_utils import schedules
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import workers


class BackgroundInverses:
  """Runs inverse updates in a thread whenever covariances have changed.

  Within its context, a step of training is

      sess.run(optimizer.cov_update_op, feed_dict)
      inverses.step()
      sess.run(train_op, feed_dict)
  """

  def __init__(self, session: tf.Session, inv_ops: Any, max_age: int) -> None:
    """Starts the thread, which waits for the first step.

    Args:
      session: Session; it must be open until `stop`.
      inv_ops: Op or list of ops.
      max_age: Int >= 0, the largest number of covariance updates that the
        inverses may lack. With 0 nothing runs in parallel.

    Raises:
      ValueError: If `max_age` is out of range.
    """
    self._session = session
    self._inv_ops = inv_ops
    self._max_age = scalars.check_int("max_age", max_age, 0)
    self._changed = threading.Condition()
    # `_changed` guards all of these.
    self._num_updates = 0
    # The number of updates that the inverses contain; None before the first.
    self._done: int | None = None
    self._error: BaseException | None = None
    self._raised = False
    self._stopped = False
    self._thread = threading.Thread(
        target=self._run, name="BackgroundInverses", daemon=True)
    self._thread.start()

  def _run(self):
    """Runs the inverse updates until `stop`: the body of the thread."""
    try:
      started = 0
      while self._await_updates(started):
        with self._changed:
          started = self._num_updates
        self._session.run(self._inv_ops)
        with self._changed:
          self._done = started
          self._changed.notify_all()
    except BaseException as error:  # noqa: BLE001  `step` or `stop` raises it
      with self._changed:
        self._error = error
        self._changed.notify_all()

  def _await_updates(self, seen):
    """Waits for updates beyond those seen; returns False after `stop`."""
    with self._changed:
      self._changed.wait_for(
          lambda: self._stopped or self._num_updates > seen)
      return not self._stopped

  def step(self) -> None:
    """Reports a covariance update, and waits until `age` is at most `max_age`.

    Call it before each train step. The first call waits for the first inverses.

    Raises:
      RuntimeError: If `stop` was called.
      Exception: The error of an inverse update.
    """
    with self._changed:
      if self._stopped:
        raise RuntimeError("step must be called before stop.")
      self._num_updates += 1
      self._changed.notify_all()
      self._changed.wait_for(
          lambda: self._error is not None or self._stopped or self._is_recent())
      if self._error is not None:
        self._raised = True
        raise self._error
      if not self._is_recent():
        raise RuntimeError("step must be called before stop.")

  def _is_recent(self):
    """Whether the age of the inverses is at most `max_age`."""
    return (self._done is not None
            and self._num_updates - self._done <= self._max_age)

  @property
  def age(self) -> int | None:
    """Number of updates that the inverses lack; None before the first."""
    with self._changed:
      return None if self._done is None else self._num_updates - self._done

  def stop(self) -> None:
    """Ends the thread after its current update; further calls do nothing.

    Raises:
      Exception: The error of an inverse update, unless `step` raised it.
    """
    self._join()
    if self._error is not None and not self._raised:
      self._raised = True
      raise self._error

  def _join(self):
    with self._changed:
      self._stopped = True
      self._changed.notify_all()
    self._thread.join()

  def __enter__(self):
    """Returns itself."""
    return self

  def __exit__(self, error_type, error, traceback):
    """Stops; an error of the block takes precedence over the thread's."""
    if error_type is None:
      self.stop()
    else:
      self._join()


class BackgroundInversesHook(tf.train.SessionRunHook):
  """Updates covariances with each step, and inverses in the background.

  With `max_age` 0 nothing runs in parallel: covariances are updated before the
  inverses, and these before the step, so that equal programs get equal results,
  also if they are restored from a checkpoint in between.

  Otherwise covariances are updated beside the step. In each new session,
  including one restored from a checkpoint, the hook then runs a covariance and
  an inverse update before the first step.
  """

  def __init__(self, optimizer: Any, max_age: int,
               train_op: Any = None) -> None:
    """Keeps the arguments; ops are made by `begin`.

    Args:
      optimizer: KfacOptimizer or FisherEstimator.
      max_age: See BackgroundInverses.
      train_op: The train op; only runs that fetch it are steps. None if all
        runs are steps.

    Raises:
      ValueError: If `max_age` is out of range; or not 0 with several workers,
        which must run the same ops in the same order.
    """
    self._optimizer = optimizer
    self._max_age = scalars.check_int("max_age", max_age, 0)
    if max_age and getattr(optimizer, "_workers", workers.ALONE).count > 1:
      raise ValueError(
          f"max_age must be 0 with several workers, got {max_age}.")
    self._train_op = train_op
    self._cov_op: tf.Operation = None
    self._inv_op: tf.Operation = None
    self._inverses: BackgroundInverses | None = None

  def begin(self) -> None:
    """Makes the ops."""
    self._cov_op = self._optimizer.cov_update_op
    self._inv_op = self._optimizer.inv_update_op

  def after_create_session(self, session: tf.Session, coord: Any) -> None:
    """Ends the thread of an earlier session, if there was one."""
    if self._inverses is not None:
      self._inverses._join()
    self._inverses = None

  def before_run(self, run_context: Any) -> Any:  # noqa: D102
    if not schedules.is_step(run_context, self._train_op):
      return None
    is_first = self._inverses is None
    if self._inverses is None:
      self._inverses = BackgroundInverses(
          run_context.session, self._inv_op, self._max_age)
    in_order = self._max_age == 0
    if is_first or in_order:
      run_context.session.run(
          self._cov_op, run_context.original_args.feed_dict)
    self._inverses.step()
    return tf.train.SessionRunArgs([] if in_order else self._cov_op)

  def end(self, session: tf.Session) -> None:
    """Stops the thread."""
    if self._inverses is not None:
      self._inverses.stop()
