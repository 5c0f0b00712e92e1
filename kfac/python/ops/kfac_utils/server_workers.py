"""ServerWorkers: workers of one step, whose variables are on servers.

Worker 0, the chief, computes what all workers need and updates the variables.
The others help: each sends what it has computed from its part of the batch
through a queue of its own on a server. Values are added in the order of the
workers, so that a step does not depend on which of them is the fastest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import workers

__all__ = ["ServerWorkers"]


class ServerWorkers(workers.Workers):
  """Workers whose variables are on parameter servers.

  Each worker builds the same graph with its own number, under
  tf.train.replica_device_setter, and runs the same ops in the same order.

  Messages carry the number of a session of the chief, which `start` sets: what
  an earlier session has left in a queue is dropped.
  """

  def __init__(self, count: int, index: int, num_servers: int = 1, *,
               worker_job: str = "worker", server_job: str = "ps") -> None:
    """Makes no op.

    Args:
      count: Int >= 1, number of workers, the chief included.
      index: Int in [0, count), number of this worker; 0 is the chief.
      num_servers: Int >= 1, number of servers, over which the queues are
        distributed.
      worker_job: Name of the job of the workers.
      server_job: Name of the job of the servers.

    Raises:
      ValueError: If a value is out of range.
    """
    self._take_place(count, index)
    self.updates = self.index == 0
    self._num_servers = scalars.check_int("num_servers", num_servers, 1)
    self._worker_job, self._server_job = worker_job, server_job
    self._names: set[str] = set()
    self._helping: list[list[tf.Operation]] = []
    self._session_number: _SessionNumber | None = None

  def mean(self, tensors: Sequence[Any],  # noqa: D102
           name: str) -> list:
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    name, device = self._channel(name)
    with tf.name_scope("mean_over_workers"):
      if not self.updates:
        self._help_with(self._send(tensors, name, self.index, device))
        return tensors
      return self._mean_with(tensors, [
          self._receive(tensors, name, index, device)
          for index in range(1, self.count)], device)

  def _mean_with(self, tensors, received, device):
    """Returns the mean of own tensors and those of the others."""
    means = []
    for tensor, *others in zip(tensors, *received, strict=True):
      with tf.device(device):  # One tensor leaves the server, not all.
        total = [tf.add_n(others)] if others else []
      means.append(tf.add_n([tensor, *total]) / self.count)
    return means

  def from_chief(self, tensors: Sequence[Any],  # noqa: D102
                 name: str) -> list:
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    name, device = self._channel(name)
    with tf.name_scope("from_chief"):
      if not self.updates:
        return self._receive(tensors, name, self.index, device)
      with tf.control_dependencies([
          self._send(tensors, name, index, device)
          for index in range(1, self.count)]):
        return [tf.identity(tensor) for tensor in tensors]

  def update(self, make_op: workers.MakeOp) -> Any:  # noqa: D102
    return self._help_with(self._in_branch(make_op))

  def _in_branch(self, make_op):
    if self.updates:
      return make_op()
    with self._collecting() as helping:
      make_op()
    return tf.group(*helping)

  def share(self, factors: Sequence[Any],  # noqa: D102
            index: int) -> list:
    if not self.updates:
      return []
    return factors[index].make_inverse_update_ops()

  def after(self, op: tf.Operation, name: str) -> tf.Operation:  # noqa: D102
    with tf.control_dependencies([op] if self.updates else []):
      [done] = self.from_chief([tf.constant(True)], name)
    return self._help_with(done.op)

  def finish(self, make_op: Callable[[str | None], tf.Operation],  # noqa: D102
             name: str | None = None) -> tf.Operation:
    if self.updates:
      return tf.group(self.after(make_op(None), "finish"), name=name)
    with self._collecting() as helping:
      make_op(None)
      self.after(tf.no_op(), "finish")
    return self._help_with(tf.group(*helping, name=name))

  def start(self, session: tf.Session, number: int) -> None:
    """Sets the number of the session, before the first step.

    Args:
      session: Session.
      number: Int, the same in all workers, and another one each time that one
        of them, or a server, starts again.
    """
    if self._session_number is not None:
      self._session_number.set(session, number)

  @contextlib.contextmanager
  def _collecting(self):
    """Context of the list of ops that a helper has to run for what it makes."""
    self._helping.append([])
    try:
      yield self._helping[-1]
    finally:
      self._helping.pop()

  def _help_with(self, op):
    if not self.updates and self._helping:
      self._helping[-1].append(op)
    return op

  def _channel(self, name):
    """Returns a unique name, and the server of its queues."""
    server = len(self._names) % self._num_servers
    return (plain_variables.unique_name(name, self._names),
            f"/job:{self._server_job}/task:{server}/device:CPU:0")

  def _queue(self, tensors, name, index):
    """Returns the queue of a helper for messages shaped like tensors."""
    for tensor in tensors:
      if not tensor.shape.is_fully_defined():
        raise ValueError(
            f"the shape of {tensor.name} must be known with several workers, "
            f"got {tensor.shape}.")
    return tf.FIFOQueue(
        -1, [tf.int64] + [tensor.dtype for tensor in tensors],
        [[]] + [tensor.shape for tensor in tensors],
        shared_name=f"kfac/{name}/{self._worker_job}_{index}")

  def _send(self, tensors, name, index, device):
    """Makes the op that sends tensors to or from a helper."""
    number = self._number()
    with tf.device(device):
      return self._queue(tensors, name, index).enqueue([number, *tensors])

  def _receive(self, like, name, index, device):
    """Returns the next tensors to or from a helper, of the same session."""
    number = self._number()
    with tf.device(device):
      queue = self._queue(like, name, index)
      message = tf.while_loop(
          lambda sent, *tensors: tf.not_equal(sent, number),
          lambda *message: queue.dequeue(), queue.dequeue(),
          back_prop=False, parallel_iterations=1)
    return message[1:]

  def _number(self):
    """Returns the number of the session, a tensor on this worker."""
    if self._session_number is None:
      with tf.init_scope(), tf.device(
          f"/job:{self._worker_job}/task:{self.index}/device:CPU:0"):
        self._session_number = _SessionNumber()
    return self._session_number.read()


class _SessionNumber:
  """A local variable of this worker that holds the number of the session."""

  def __init__(self):
    """Creates the variable and its op."""
    # The settings of variable scopes do not reach it.
    self._variable = tf.Variable(
        tf.zeros([], tf.int64), trainable=False, name="kfac_session_number",
        collections=[tf.GraphKeys.LOCAL_VARIABLES], use_resource=True)
    self._new = tf.placeholder(tf.int64, [])
    self._assign = tf.assign(self._variable, self._new).op

  def read(self) -> tf.Tensor:
    """Returns the number, read where the tensor is made."""
    return self._variable.read_value()

  def set(self, session: tf.Session, number: int) -> None:
    """Sets the number in a session."""
    session.run(self._assign, {self._new: number})
