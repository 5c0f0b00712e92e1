"""Schedules: which updates are due at a step, and ways to run them.

The number t of an update is 0 at the first step. A covariance update costs
about a second backward pass, an inverse update n^3 for each n x n factor. Both
covariances and inverses change slowly, so that updates need not run at each
step (Martens & Grosse 2015, section 8).
"""

from __future__ import annotations

import functools
import heapq
import operator
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import fisher_factors as ff
from kfac.python.ops.fisher_factors import gradual_inverse
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import run_order
from kfac.python.ops.utils import scalars

# An inverse is computed gradually if it costs more than so many average shares.
# Below that it does not stand out of a step, which has other work to do. And
# elimination in parts takes 2 n^3 operations instead of n^3.
_LARGE = 4


class Schedule:
  """Decides which updates are due.

  At the first update, and at the first `burn_in` ones, all are due. From then
  on covariances are due every `cov_every` updates, and each share of the
  inverses every `inv_every` updates; the shares are evenly spaced. The inverse
  of a factor that is much larger than others belongs to no share: a part of it
  is computed with each share, all from the covariance that the first part read.

  Attributes:
    cov_every: Int, updates from one covariance update to the next.
    inv_every: Int, updates from one inverse update to the next.
    shares: Int, number of shares.
  """

  def __init__(self, cov_every: int = 1, inv_every: int = 5, burn_in: int = 0,
               shares: int = 1) -> None:
    """Makes a schedule.

    Args:
      cov_every: Int >= 1, updates from one covariance update to the next.
      inv_every: Int >= 1, updates from one inverse update to the next.
      burn_in: Int >= 0, number of first updates at which all are due.
      shares: Int >= 1, number of shares over which the inverses are
        distributed; with `inv_every`, one share is due at each update.

    Raises:
      ValueError: If a value is out of range.
    """
    self.cov_every = scalars.check_int("cov_every", cov_every, 1)
    self.inv_every = scalars.check_int("inv_every", inv_every, 1)
    self._burn_in = scalars.check_int("burn_in", burn_in, 0)
    self.shares = scalars.check_int("shares", shares, 1)
    if self.shares > self.inv_every:
      raise ValueError(
          f"shares must be at most inv_every = {self.inv_every}, got "
          f"{self.shares}.")

  def __repr__(self) -> str:  # noqa: D105
    return (f"Schedule(cov_every={self.cov_every}, inv_every={self.inv_every}, "
            f"burn_in={self._burn_in}, shares={self.shares})")

  def cov_due(self, t: int | hints.TensorLike) -> Any:
    """Whether covariances are due.

    Args:
      t: Int or integer tensor of shape [], number of the update.

    Returns:
      Bool, or bool tensor.
    """
    return self.all_due(t) | self._due(t, self.cov_every, 0)

  def inv_due(self, t: int | hints.TensorLike, share: int = 0) -> Any:
    """Whether a share of the inverses is due.

    Args:
      t: Int or integer tensor of shape [], number of the update.
      share: Int in [0, shares).

    Returns:
      Bool, or bool tensor.
    """
    return self.all_due(t) | self._share_due(t, share)

  def part_due(self, t: int | hints.TensorLike) -> Any:
    """Whether a part of the inverses that are computed gradually is due.

    Args:
      t: Int or integer tensor of shape [], number of the update.

    Returns:
      Bool, or bool tensor: whether one share is due, but not all are.
    """
    any_due = functools.reduce(operator.or_, (
        self._share_due(t, share) for share in range(self.shares)))
    return any_due & (t >= self._num_first)

  def all_due(self, t: int | hints.TensorLike) -> Any:
    """Whether all covariances and inverses are due.

    Args:
      t: Int or integer tensor of shape [], number of the update.

    Returns:
      Bool, or bool tensor.
    """
    return t < self._num_first

  @property
  def _num_first(self):
    return max(self._burn_in, 1)

  def _share_due(self, t, share):
    return self._due(
        t, self.inv_every, share * self.inv_every // self.shares)

  def _due(self, t, every, phase):
    # Not "== 0", which compares graph tensors by identity.
    return (t - self._burn_in - phase) % every < 1


def inverse_costs(factors: Sequence[Any]) -> list:
  """Returns the cost of an inverse update of each factor, up to a constant.

  Args:
    factors: Sequence of FisherFactor with variables.

  Returns:
    List of ints: n^3 for a covariance [n, n], 0 for a diagonal one.
  """
  return [0 if isinstance(factor, ff.DiagonalFactor)
          else factor.get_cov().shape.as_list()[0] ** 3 for factor in factors]


def balanced_shares(costs: Sequence[float], num_shares: int) -> list:
  """Distributes work over shares of about equal cost.

  Each item, in order of decreasing cost, goes to the cheapest share so far. The
  most expensive share costs at most 4/3 of the optimum (Graham 1969). A share
  costs at least as much as its most expensive item; see `split_inverses`.

  Args:
    costs: Sequence of numbers >= 0.
    num_shares: Int >= 1.

  Returns:
    List of `num_shares` ascending lists of indices, some of them empty if there
    are fewer items. Equal arguments give equal shares.

  Raises:
    ValueError: If a value is out of range.
  """
  num_shares = scalars.check_int("num_shares", num_shares, 1)
  for cost in costs:
    scalars.check_number("costs", cost, minimum=0)
  shares: list[list[int]] = [[] for _ in range(num_shares)]
  # The length distributes items without cost, too.
  heap: list[tuple[float, int, int]] = [
      (0, 0, share) for share in range(num_shares)]
  for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
    load, length, share = heapq.heappop(heap)
    shares[share].append(index)
    heapq.heappush(heap, (load + costs[index], length + 1, share))
  return [sorted(share) for share in shares]


def split_inverses(estimator: Any, num_shares: int) -> tuple[list, list]:
  """Divides the inverses of all factors into shares of about equal cost.

  Args:
    estimator: FisherEstimator.
    num_shares: Int >= 1.

  Returns:
    List of `num_shares` ascending lists of indices of factors, see
    `balanced_shares`; and the indices of other factors. Each of these costs
    more than four average shares, so that its inverse is computed gradually:
    one part with each share.
  """
  costs = inverse_costs(estimator.factors)
  least = max(_LARGE * sum(costs) / num_shares, gradual_inverse.MIN_ROWS ** 3)
  gradual = [index for index, cost in enumerate(costs)
             if cost > least and estimator.can_be_gradual(index)]
  whole = [index for index in range(len(costs)) if index not in gradual]
  shares = balanced_shares([costs[index] for index in whole], num_shares)
  return [[whole[i] for i in share] for share in shares], gradual


def inverse_runs(estimator: Any, schedule: Schedule,
                 whole_thunks: Sequence[hints.Thunk]) -> list:
  """Lists the inverse updates with the conditions under which they run.

  Args:
    estimator: FisherEstimator.
    schedule: Schedule.
    whole_thunks: Function per factor that returns the op of its whole update.

  Returns:
    List of pairs: a function of the number of the update that returns whether
    it is due, and a function that makes its op. At an update at which all are
    due, every factor is updated as a whole. An inverse that is computed
    gradually then starts with the next update.
  """
  shares, gradual = split_inverses(estimator, schedule.shares)
  runs: list[tuple[Callable, Callable]] = [
      (functools.partial(schedule.inv_due, share=number),
       functools.partial(_group, [whole_thunks[index] for index in share]))
      for number, share in enumerate(shares) if share]
  if gradual:
    parts, restarts = zip(*[
        estimator.gradual_inv_thunks(index, schedule.shares)
        for index in gradual], strict=True)
    wholes = [whole_thunks[index] for index in gradual]
    runs += [
        (schedule.all_due, functools.partial(_group, [*wholes, *restarts])),
        (schedule.part_due, functools.partial(_group, parts))]
  return runs


def _group(thunks):
  return tf.group(*[thunk() for thunk in thunks])


class Updates:
  """The update ops of an optimizer, run by a schedule.

  `run(sess, t, train_op, feed_dict)` for t = 0, 1, ... is a training loop.
  All nodes are made by the constructor. With more than four shares it may also
  make variables, see `gradual_inverse.GradualInverse`: a Saver that is made
  before it does not save these, and an inverse that is under way when a
  checkpoint is saved is then not continued. They need no initializer.
  """

  def __init__(self, optimizer: Any, schedule: Schedule,
               cov_first: bool = False) -> None:
    """Makes the ops.

    Args:
      optimizer: KfacOptimizer or FisherEstimator.
      schedule: Schedule.
      cov_first: Whether covariances that are due are updated before inverses
        and step, so that inverses include the batch of the step, and equal
        programs get equal results. This takes a separate run, which repeats
        the registered forward pass, unless no inverse is due and the step
        could not tell the difference; see `start`.
    """
    estimator = getattr(optimizer, "_fisher_est", optimizer)
    self._schedule = schedule
    self._cov_first = cov_first
    self._cov_op = estimator.cov_update_op
    # Fetches of a step -> whether covariances may be updated in its run.
    self._may_share_a_run: dict[tuple, bool] = {}
    whole_thunks = [lambda op=op: op for op in estimator.inv_update_ops]
    self._inverses = [
        (is_due, make_op()) for is_due, make_op in inverse_runs(
            estimator, schedule, whole_thunks)]

  def ops(self, t: int | hints.TensorLike) -> list:
    """Lists the ops that are due.

    In the session.run of a step their order is undefined: inverses may use old
    or new covariances, and the step old or new inverses. `run` defines it.

    Args:
      t: Int, number of the update.

    Returns:
      List of ops.
    """
    return self._cov_ops(t) + self._inv_ops(t)

  def _cov_ops(self, t):
    return [self._cov_op] if self._schedule.cov_due(t) else []

  def _inv_ops(self, t):
    return [op for is_due, op in self._inverses if is_due(t)]

  def start(self, sess: tf.Session, t: int | hints.TensorLike,
            feed_dict: dict | None = None, step: Any = None) -> list:
    """Runs the updates that must precede a step.

    These are the inverses that are due. With `cov_first`, or at t = 0, where no
    covariances exist yet, the covariances that are due come before them; if
    batches come from a queue, their batch is then not the step's.

    With `cov_first`, covariances are updated together with the step if no
    inverse is due and the step cannot change what they are computed from, nor
    read them (`utils/run_order.py`). It can if the statistics have a forward
    pass of their own, if parameters are reference variables, in blocks that
    keep no inverses, and if damping is adapted and momentum is not "qmodel".

    Args:
      sess: Session.
      t: Int, number of the update.
      feed_dict: Feeds of the model.
      step: Fetches of the step; None if they are unknown.

    Returns:
      List of the ops to run together with the step.
    """
    inv_ops, beside = self._inv_ops(t), self._cov_ops(t)
    if beside and (t == 0 or (self._cov_first and (
        inv_ops or not self._may_share(step)))):
      sess.run(beside, feed_dict)
      beside = []
    if inv_ops:
      sess.run(inv_ops, feed_dict)
    return beside

  def run(self, sess: tf.Session, t: int | hints.TensorLike, train_op: Any,
          feed_dict: dict | None = None) -> Any:
    """Runs a step with the updates that are due.

    Args:
      sess: Session.
      t: Int, number of the update.
      train_op: Fetches: the train op, alone or with others.
      feed_dict: Feeds of the model.

    Returns:
      The values of the fetches.
    """
    beside = self.start(sess, t, feed_dict, train_op)
    return sess.run([train_op, beside], feed_dict)[0]


  def _may_share(self, step):
    """Whether covariances may be updated in the run of a step."""
    if step is None:
      return False
    fetches = tuple(tf.nest.flatten(step, expand_composites=True))
    key = tuple(getattr(fetch, "name", fetch) for fetch in fetches)
    if key not in self._may_share_a_run:
      self._may_share_a_run[key] = run_order.may_share_a_run(
          self._cov_op, fetches, self._cov_op.graph)
    return self._may_share_a_run[key]


class ScheduleHook(tf.train.SessionRunHook):
  """Runs the updates that are due with each step of a monitored session.

  The number of the update is the global step, so that training restored from a
  checkpoint continues the schedule.
  """

  def __init__(self, optimizer: Any, schedule: Schedule, train_op: Any = None,
               global_step: hints.Scalar | None = None,
               cov_first: bool = False) -> None:
    """Keeps the arguments; ops are made by `begin`.

    Args:
      optimizer: KfacOptimizer or FisherEstimator.
      schedule: Schedule.
      train_op: The train op; only runs that fetch it are steps. None if all
        runs are steps.
      global_step: Variable that the train op increments; None for the graph's.
      cov_first: See Updates. With it, training that is killed and restored from
        a checkpoint equals training that was not.
    """
    self._optimizer = optimizer
    self._schedule = schedule
    self._train_op = train_op
    self._global_step = global_step
    self._cov_first = cov_first
    self._updates: Updates | None = None

  def begin(self) -> None:
    """Makes the ops.

    Raises:
      ValueError: If there is no global step.
    """
    if self._global_step is None:
      self._global_step = tf.train.get_global_step()
    if self._global_step is None:
      raise ValueError("global_step must be given if the graph has none, got "
                       "None.")
    self._updates = Updates(
        self._optimizer, self._schedule, self._cov_first)

  def before_run(self, run_context: Any) -> Any:  # noqa: D102
    if not is_step(run_context, self._train_op):
      return None
    assert self._updates is not None  # A session calls `begin` first.
    t = int(run_context.session.run(self._global_step))
    step = run_context.original_args
    return tf.train.SessionRunArgs(self._updates.start(
        run_context.session, t, step.feed_dict, step.fetches))


def is_step(run_context: Any, train_op: Any) -> bool:
  """Whether a run of a monitored session fetches the train op.

  Args:
    run_context: tf.train.SessionRunContext.
    train_op: Op or tensor, or None for any run.

  Returns:
    Boolean.
  """
  if train_op is None:
    return True
  wanted = getattr(train_op, "op", train_op)
  return any(getattr(fetch, "op", fetch) is wanted for fetch in
             tf.nest.flatten(run_context.original_args.fetches))
