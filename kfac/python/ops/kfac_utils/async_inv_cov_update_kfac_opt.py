"""AsyncInvCovUpdateKfacOpt: an optimizer with all updates in the background."""

from __future__ import annotations

import threading
from typing import Any

import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops import optimizer
from kfac.python.ops.kfac_utils import background
from kfac.python.ops.kfac_utils import schedules
from kfac.python.ops.utils import devices
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import workers

__all__ = ["AsyncInvCovUpdateKfacOpt"]

_MAX_NUM_COV_INV_UPDATE_THREADS = 10
# Covariance updates that the inverses may lack; more would only take time from
# the inverses and from the steps.
_MAX_AGE = 10


class AsyncInvCovUpdateKfacOpt(optimizer.KfacOptimizer):
  """A KfacOptimizer whose covariances and inverses are updated by threads.

  They run beside the steps, as often as they can, from `run_cov_inv_ops` to
  `stop_cov_inv_ops`:

      sess.run(tf.global_variables_initializer())
      optimizer.run_cov_inv_ops(sess)
      for _ in range(num_steps):
        sess.run(train_op)
      optimizer.stop_cov_inv_ops(sess)

  The threads feed nothing, so that the batches must come from the graph, such
  as those of a tf.data iterator. A covariance update reads a batch of its own.
  """

  def __init__(self, cov_devices: hints.Devices | None,
               inv_devices: hints.Devices | None,
               num_cov_inv_update_threads: int | None = None,
               **kwargs: Any) -> None:
    """Keeps the arguments; no op is made.

    Args:
      cov_devices: Names of devices that covariances and their updates are
        assigned to in turn, or None to leave the choice to TensorFlow.
      inv_devices: The same for the updates of inverses.
      num_cov_inv_update_threads: Int >= 1, the number of updates that run at
        the same time: one of the covariances, and the others of inverses. With
        1 they run in turn. By default one more than there are devices for
        inverses, at most 10.
      **kwargs: Further arguments of KfacOptimizer, by name.

    Raises:
      ValueError: If a value is out of range.
    """
    together = kwargs.get("workers", workers.ALONE)
    if together.count > 1:
      raise ValueError(
          "workers must be one process, since threads update at any time, got "
          f"{together.count} workers.")
    devices.check("cov_devices", cov_devices)
    devices.check("inv_devices", inv_devices)
    if num_cov_inv_update_threads is None:
      num_cov_inv_update_threads = min(
          1 + len(inv_devices or [None]), _MAX_NUM_COV_INV_UPDATE_THREADS)
    self._num_threads = scalars.check_int(
        "num_cov_inv_update_threads", num_cov_inv_update_threads, 1)
    self._next_op: tf.Operation | None = None
    self._updates: _Updates | None = None
    super().__init__(
        cov_devices=cov_devices, inv_devices=inv_devices, **kwargs)

  def apply_gradients(self, grads_and_vars: hints.VecsAndVars,
                      global_step: hints.Scalar | None = None,
                      name: str | None = None) -> tf.Operation:
    """Makes the op that preconditions gradients and steps.

    Args:
      grads_and_vars: See KfacOptimizer.
      global_step: Variable that counts steps.
      name: Name of the op.

    Returns:
      Op. Its steps use the inverses that the threads left last.
    """
    return super().apply_gradients(
        grads_and_vars, global_step=global_step, name=name)

  @property
  def next_op(self) -> tf.Operation:
    """Op that updates all covariances, and then all inverses.

    The threads do the same by other ops. The first access makes it.
    """
    if self._next_op is None:
      with tf.init_scope():
        with tf.control_dependencies([self.cov_update_op]):
          self._next_op = tf.group(
              *[thunk() for thunk in self.inv_update_thunks])
    return self._next_op

  def run_cov_inv_ops(self, sess: tf.Session) -> None:
    """Runs all updates once, and starts the threads.

    Args:
      sess: Session, with initialized variables.

    Raises:
      RuntimeError: If the threads run already.
      Exception: The error of the first update.
    """
    if self._updates is not None:
      raise RuntimeError(
          "run_cov_inv_ops must be called once before stop_cov_inv_ops.")
    sess.run(self.cov_update_op)
    sess.run(self.inv_update_op)
    costs = schedules.inverse_costs(self._fisher_est.factors)
    ops = self.inv_update_ops
    shares = schedules.balanced_shares(costs, max(1, self._num_threads - 1))
    self._updates = _Updates(
        sess, self.cov_update_op,
        [[ops[index] for index in share] for share in shares if share],
        0 if self._num_threads == 1 else _MAX_AGE)

  def stop_cov_inv_ops(self, sess: tf.Session) -> None:
    """Ends the threads after their current updates, if they run.

    Args:
      sess: The session of `run_cov_inv_ops`.

    Raises:
      ValueError: If it is another session.
      Exception: The error of an update, which also ended the threads; but not
        the end of the data.
    """
    updates = self._updates
    if updates is None:
      return
    if sess is not updates.session:
      raise ValueError(
          f"sess must be the session of run_cov_inv_ops, got {sess!r}.")
    self._updates = None
    updates.stop()


class _Updates:
  """Threads that update covariances and, after them, inverses.

  Attributes:
    session: The session.
  """

  def __init__(self, session, cov_op, inv_shares, max_age):
    """Starts the threads.

    Args:
      session: Session.
      cov_op: Op of the covariances.
      inv_shares: List of lists of ops, one for each thread.
      max_age: See BackgroundInverses; 0 for updates in turn.
    """
    self.session = session
    self._cov_op = cov_op
    self._inverses = [background.BackgroundInverses(session, ops, max_age)
                      for ops in inv_shares]
    self._stopped = threading.Event()
    self._error: Exception | None = None
    self._thread = threading.Thread(
        target=self._run, name="BackgroundCovariances", daemon=True)
    self._thread.start()

  def _run(self):
    """Updates until `stop`: the body of the thread of the covariances."""
    try:
      while not self._stopped.is_set():
        self.session.run(self._cov_op)
        for inverses in self._inverses:
          inverses.step()
    except tf.errors.OutOfRangeError:
      logging.info("Updates in the background ended with the data.")
    except Exception as error:  # noqa: BLE001  `stop` raises it
      logging.error("Updates in the background ended: %s", error)
      self._error = error

  def stop(self):
    """Ends the threads, and raises the error of an update."""
    self._stopped.set()
    self._thread.join()
    error = self._error
    for inverses in self._inverses:
      try:
        inverses.stop()
      except Exception as other:  # noqa: BLE001  raised after all have ended
        error = error or other
    if error is not None:
      raise error
