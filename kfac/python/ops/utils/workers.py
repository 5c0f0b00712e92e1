"""Workers: processes that make each step together, each on a part of the batch.

All workers build the same graph. What depends on the batch (gradients,
covariances, losses) is averaged over them, as if it were one process with the
joint batch, of which each worker has an equal part. Three kinds differ in how
the means are computed, and in who updates variables:

    Workers                          one process
    kfac_utils.ServerWorkers         variables are on servers; the chief, worker
                                     0, updates them, the others help: they send
                                     what they have computed
    kfac_utils.CollectiveWorkers     each has all variables, and updates its own
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import scalars

MakeOp = Callable[[], Any]


class Workers:
  """One process, which has the whole batch: means are the values themselves.

  Attributes:
    count: Int, number of workers.
    index: Int, number of this worker; 0 is the chief.
    updates: Whether this process updates variables. A worker that does not runs
      only what `update`, `cond` and `after` return, and no other op that has
      effects.
  """

  count = 1
  index = 0
  updates = True

  def _take_place(self, count, index):
    """Sets count and index, or raises ValueError."""
    self.count = scalars.check_int("count", count, 1)
    if not isinstance(index, int) or not 0 <= index < count:
      raise ValueError(f"index must be an int in [0, {count}), got {index!r}.")
    self.index = index

  def mean(self, tensors: Sequence[Any], name: str) -> list:
    """Averages tensors over the workers.

    Args:
      tensors: List of tensors of known shapes, or of IndexedSlices.
      name: Name, the same in all workers.

    Returns:
      List of tensors. Where `updates` is false, they are the arguments.
    """
    del name
    return list(tensors)

  def from_chief(self, tensors: Sequence[Any], name: str) -> list:
    """Gives all workers what only the chief knows.

    Args:
      tensors: List of tensors of known shapes. A worker that does not update
        variables does not compute them.
      name: Name, the same in all workers.

    Returns:
      List of the chief's tensors, or of equal ones.
    """
    del name
    return list(tensors)

  def update(self, make_op: MakeOp) -> Any:
    """Makes an op that updates variables, or that helps the chief to do so.

    Args:
      make_op: Function that returns the op or a tensor. It is called by all
        workers.

    Returns:
      What `make_op` returns; or an op that only sends what this worker adds to
      the means that `make_op` uses.
    """
    return make_op()

  def share(self, factors: Sequence[Any], index: int) -> list:
    """Makes the update of a factor's inverses, which one worker may compute.

    Args:
      factors: Sequence of all FisherFactors.
      index: Index of the factor.

    Returns:
      List of tensors, the new matrices, or of ops.
    """
    return factors[index].make_inverse_update_ops()

  def after(self, op: tf.Operation, name: str) -> tf.Operation:
    """Makes the op that waits for an op of the chief.

    Args:
      op: Op that updates variables.
      name: Name, the same in all workers.

    Returns:
      Op that includes `op` where it is run.
    """
    del name
    return op

  def finish(self, make_op: Callable[[str | None], tf.Operation],
             name: str | None = None) -> tf.Operation:
    """Makes the op of a step, which ends when the step of the chief has.

    Args:
      make_op: Function of the name of the op; see `update`.
      name: Name of the op, or None.

    Returns:
      Op.
    """
    return make_op(name)

  def cond(self, condition: tf.Tensor, make_op: MakeOp,
           name: str = "cond") -> tf.Operation:
    """Makes an op that runs another one, made in a branch, if the chief says.

    Args:
      condition: Bool tensor [], that of the chief counts. The branch runs after
        it and after the current control dependencies.
      make_op: See `update`.
      name: Name, the same in all workers.

    Returns:
      Op.
    """
    [condition] = self.from_chief([condition], name)

    def taken():
      with tf.control_dependencies([self._in_branch(make_op)]):
        return tf.constant(True)

    return self._help_with(tf.cond(
        tf.identity(condition), taken, lambda: tf.constant(False)).op)

  def numbered(self, index: int) -> int:
    """Returns the number of a loss of this worker among those of all.

    The losses of all workers are numbered as those of as many towers.

    Args:
      index: Int, the number of the loss among those of this worker.
    """
    return index * self.count + self.index

  @contextlib.contextmanager
  def building(self) -> Iterator[None]:
    """Context in which these are the `current` workers."""
    before = current()
    _building.workers = self
    try:
      yield
    finally:
      _building.workers = before

  def _in_branch(self, make_op):
    """Does what `update` does, in a graph of its own."""
    return make_op()

  def _help_with(self, op):
    """Returns an op, which a helper has to run."""
    return op


ALONE = Workers()
# Each thread builds a graph of its own.
_building = threading.local()


def current() -> Workers:
  """Returns the workers of the ops being built; `ALONE` by default."""
  return getattr(_building, "workers", ALONE)
