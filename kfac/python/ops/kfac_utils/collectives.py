"""CollectiveWorkers: workers of one step, each with all variables.

There are no servers. Gradients, covariances and losses are averaged by
collective ops of TensorFlow, which send them around a ring of the workers, so
that the bytes that a worker sends do not depend on their number. Each worker
inverts its share of the factors and sends the results to the others (Ba, Grosse
& Martens 2017, section 3).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.kfac_utils import schedules
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import stateless_seeds
from kfac.python.ops.utils import workers

__all__ = ["CollectiveWorkers", "InitialValuesHook"]

_GROUP_KEY = 1
_MAX_KEY = 2 ** 31 - 1


class CollectiveWorkers(workers.Workers):
  """Workers that have all variables, and average by collective ops.

  Each worker is a tf.train.Server of one job, and builds the same graph:

      together = collectives.CollectiveWorkers(count, index)
      server = tf.train.Server(cluster, "worker", index, config=together.config)
      with tf.device(together.device):
        ...  # the model, and KfacOptimizer(..., workers=together)
      with tf.train.MonitoredTrainingSession(
          server.target, checkpoint_dir=path if index == 0 else None,
          hooks=[collectives.InitialValuesHook(together)],
          config=together.config) as session:

  All run the same ops in the same order. If one of them ends, runs of the
  others fail with UnavailableError, and all have to start again.

  Attributes:
    device: Name of the device of this worker.
    config: ConfigProto for the server and for sessions.
  """

  def __init__(self, count: int, index: int, job: str = "worker",
               name: str = "kfac") -> None:
    """Makes no op.

    Args:
      count: Int >= 1, number of workers.
      index: Int in [0, count), number of this worker.
      job: Name of the job of the workers.
      name: Name, the same in all workers; another one for each graph that the
        same servers run.

    Raises:
      ValueError: If a value is out of range.
    """
    self._name = name
    self._take_place(count, index)
    self.device = f"/job:{job}/task:{index}"
    self.config = tf.ConfigProto()
    self.config.experimental.collective_group_leader = (
        f"/job:{job}/replica:0/task:0")
    self._names: set[str] = set()
    self._owners: list[int] = []

  def mean(self, tensors: Sequence[Any],  # noqa: D102
           name: str) -> list:
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    if self.count == 1:
      return tensors
    return _by_dtype(tensors, lambda flat: tf.raw_ops.CollectiveReduce(
        input=flat, merge_op="Add", final_op="Div", subdiv_offsets=[0],
        **self._keys(name)))

  def share(self, factors: Sequence[Any],  # noqa: D102
            index: int) -> list:
    factor = factors[index]
    inverses = factor.get_inv_vars()
    if self.count == 1 or not inverses:
      return factor.make_inverse_update_ops()
    if len(self._owners) != len(factors):
      self._owners = _inverse_owners(factors, self.count)
    count = factor.num_updates_kept
    kept = inverses if count is None else [*inverses, count]
    if self._owners[index] != self.index:
      return self._receive_values(kept)[:len(inverses)]
    with tf.control_dependencies(factor.make_inverse_update_ops()):
      return self._send_values(kept)[:len(inverses)]

  def broadcast(self, variables: Sequence[Any]) -> tf.Operation:
    """Makes the op that gives variables the values that the chief has.

    Args:
      variables: List of variables, the same in all workers.
    """
    if self.count == 1:
      return tf.no_op()
    return tf.group(*(self._send_values(variables) if self.index == 0
                      else self._receive_values(variables)))

  def _send_values(self, variables):
    """Returns the values of variables, read now and sent to the others."""
    values = [tf.identity(variable.read_value()) for variable in variables]

    def send(flat):
      return tf.raw_ops.CollectiveBcastSend(
          input=flat, shape=flat.shape, **self._keys("values"))

    with tf.control_dependencies(_by_dtype(values, send)):
      return [tf.identity(value) for value in values]

  def _receive_values(self, variables):
    """Assigns what another worker sends to variables; returns the values."""
    def receive(flat):
      return tf.raw_ops.CollectiveBcastRecv(
          T=flat.dtype, shape=flat.shape, **self._keys("values"))

    values = _by_dtype([tf.zeros(variable.shape, variable.dtype.base_dtype)
                        for variable in variables], receive)
    with tf.control_dependencies([
        tf.assign(variable, value).op
        for variable, value in zip(variables, values, strict=True)]):
      return [tf.identity(value) for value in values]

  def _keys(self, name):
    """Returns the attributes that tell a collective op from all others."""
    name = plain_variables.unique_name(name, self._names)
    return {"group_size": self.count, "group_key": _GROUP_KEY,
            "instance_key": stateless_seeds.hash_of(
                self._name, name) % _MAX_KEY}


class InitialValuesHook(tf.train.SessionRunHook):
  """Gives all workers the variables that the chief has, in each new session.

  The chief alone restores and saves checkpoints.
  """

  def __init__(self, together: CollectiveWorkers) -> None:
    """Keeps the argument.

    Args:
      together: CollectiveWorkers.
    """
    self._workers = together
    self._op: tf.Operation | None = None

  def begin(self) -> None:
    """Makes the op."""
    with tf.device(self._workers.device):
      self._op = self._workers.broadcast(tf.global_variables())

  def after_create_session(self, session: tf.Session, coord: Any) -> None:
    """Runs the op."""
    session.run(self._op)


def _inverse_owners(factors: Sequence[Any], count: int) -> list[int]:
  """Distributes inverse updates over workers, balanced by cost.

  Args:
    factors: Sequence of FisherFactor with variables.
    count: Int >= 1, number of workers.

  Returns:
    List of the number of the worker that inverts each factor.
  """
  owners = [0] * len(factors)
  shares = schedules.balanced_shares(schedules.inverse_costs(factors), count)
  for worker, share in enumerate(shares):
    for index in share:
      owners[index] = worker
  return owners


def _by_dtype(tensors, function):
  """Applies a function of a vector to all entries of tensors.

  Args:
    tensors: List of tensors of known shapes.
    function: Function of a vector [n] of one dtype that returns one, or an op.

  Returns:
    List of tensors; or of ops.
  """
  results: list[Any] = [None] * len(tensors)
  dtypes = dict.fromkeys(tensor.dtype.base_dtype for tensor in tensors)
  for dtype in dtypes:
    indices = [i for i, t in enumerate(tensors) if t.dtype.base_dtype == dtype]
    sizes = [tensors[i].shape.num_elements() for i in indices]
    flat = function(tf.concat(
        [tf.reshape(tensors[i], [-1]) for i in indices], axis=0))
    if isinstance(flat, tf.Operation):
      results[indices[0]] = flat
      continue
    ends = list(itertools.accumulate(sizes))
    for i, size, end in zip(indices, sizes, ends, strict=True):
      results[i] = tf.reshape(flat[end - size:end], tensors[i].shape)
  return [result for result in results if result is not None]
