"""PeriodicInvCovUpdateKfacOpt: an optimizer whose train op runs all updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import optimizer
from kfac.python.ops.kfac_utils import schedules
from kfac.python.ops.optimizer import arguments
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import scalars

__all__ = ["PeriodicInvCovUpdateKfacOpt"]

# KfacOptimizer's default.
_DEFAULT_COV_EMA_DECAY = 0.95


class PeriodicInvCovUpdateKfacOpt(optimizer.KfacOptimizer):
  """A KfacOptimizer that updates its covariances and inverses by itself.

  A run of the train op updates the covariances if they are due, then the
  inverses if they are due, and then steps. An update that is not due costs
  nothing, since it lies in a branch that is not taken. The optimizer counts
  runs in a variable of its own, so that training restored from a checkpoint
  continues the schedule.
  """

  def __init__(self, invert_every: int = 10, cov_update_every: int = 1,
               num_burnin_steps: int = 0, *, amortize: bool = False,
               schedule: schedules.Schedule | None = None,
               **kwargs: hints.Unpack[arguments.Arguments]) -> None:
    """Keeps the arguments; no op is made.

    Args:
      invert_every: Int >= 1, steps from one inverse update to the next.
      cov_update_every: Int >= 1, steps from one covariance update to the next.
        The decay of moving averages becomes `cov_ema_decay` to this power.
      num_burnin_steps: Int >= 0, number of first runs that only update the
        covariances and count the global step; parameters do not change.
      amortize: Whether the inverses are distributed over `invert_every` steps
        in shares of about equal cost, so that no step takes longer than others;
        see schedules.Schedule. The first step computes all.
      schedule: Schedule of the updates after the burn-in, in place of
        `invert_every`, `cov_update_every` and `amortize`.
      **kwargs: Arguments of KfacOptimizer, by name.

    Raises:
      ValueError: If a value is out of range.
    """
    check_int = scalars.check_int
    cov_every = check_int("cov_update_every", cov_update_every, 1)
    inv_every = check_int("invert_every", invert_every, 1)
    if schedule is None:
      schedule = schedules.Schedule(
          cov_every, inv_every, shares=inv_every if amortize else 1)
    self._num_burnin_steps = check_int("num_burnin_steps", num_burnin_steps, 0)
    decay: float | tf.Tensor = kwargs.get(
        "cov_ema_decay", _DEFAULT_COV_EMA_DECAY)
    scalars.check_number("cov_ema_decay", decay, minimum=0., below=1.)
    self._schedule = schedule
    self._num_runs: tf.Variable | None = None
    # Whether parameters move, and the op of the updates.
    self._updates: tuple[tf.Tensor, tf.Operation] | None = None
    kwargs["cov_ema_decay"] = decay ** schedule.cov_every
    super().__init__(**kwargs)

  def minimize(self, loss: hints.TensorLike,
               global_step: hints.Scalar | None = None,
               var_list: Sequence[Any] | None = None,
               gate_gradients: int = tf.train.Optimizer.GATE_OP,
               aggregation_method: int | None = None,
               colocate_gradients_with_ops: bool = True,
               name: str | None = None,
               grad_loss: hints.TensorLike | None = None,
               **kwargs: Any) -> tf.Operation:
    """Makes the train op: the updates that are due, and one step.

    Args:
      loss: See KfacOptimizer.
      global_step: See KfacOptimizer.
      var_list: See KfacOptimizer.
      gate_gradients: See KfacOptimizer.
      aggregation_method: See KfacOptimizer.
      colocate_gradients_with_ops: See KfacOptimizer.
      name: See KfacOptimizer.
      grad_loss: See KfacOptimizer.
      **kwargs: Further arguments of KfacOptimizer.minimize.

    Returns:
      Op.
    """
    self._make_counter()
    return super().minimize(
        loss, global_step=global_step, var_list=var_list,
        gate_gradients=gate_gradients, aggregation_method=aggregation_method,
        colocate_gradients_with_ops=colocate_gradients_with_ops, name=name,
        grad_loss=grad_loss, **kwargs)

  def apply_gradients(self, grads_and_vars: hints.VecsAndVars,
                      global_step: hints.Scalar | None = None,
                      name: str | None = None) -> tf.Operation:
    """Makes the train op of gradients: the updates that are due, and one step.

    Args:
      grads_and_vars: Iterable of (gradient, variable), for each registered
        variable.
      global_step: Variable that counts steps.
      name: Name of the op.

    Returns:
      Op.

    Raises:
      ValueError: If a gradient is missing, or if a parameter is not a resource
        variable, with burn-in and control flow v2.
    """
    if not isinstance(grads_and_vars, list):  # A list may carry the loss.
      grads_and_vars = list(grads_and_vars)
    update_op = self.kfac_update_ops()
    with tf.control_dependencies([update_op]):
      if not self._num_burnin_steps:
        return super().apply_gradients(
            grads_and_vars, global_step=global_step, name=name)
      return self._step_after_burnin(grads_and_vars, global_step, name)

  def _step_after_burnin(self, grads_and_vars, global_step, name):
    """Makes the train op of gradients, with the step in a branch."""
    _check_assignable([variable for _, variable in grads_and_vars])
    apply = super().apply_gradients
    train_ops = tf.get_collection_ref(tf.GraphKeys.TRAIN_OP)
    others = list(train_ops)
    after_burnin, _ = self._built_updates()

    def step(name):
      op = self._workers.cond(
          after_burnin, lambda: apply(grads_and_vars), "step_due")
      if global_step is None:
        return tf.group(op, name=name)
      with tf.control_dependencies([op]):
        count = tf.assign_add(
            global_step, tf.ones([], global_step.dtype.base_dtype))
      return tf.group(op, count, name=name)

    train_op = self._workers.finish(step, name)
    train_ops[:] = others + [train_op]  # without the op inside the branch
    assert self._made_step is not None
    self._made_step = self._made_step._replace(train_op=train_op)
    return train_op

  def _make_update_ops(self):
    """Creates the variables; the train op contains the updates."""
    self._fisher_est.build()

  @property
  def num_runs(self) -> tf.Variable | None:
    """Int64 variable [], the number of runs; None before `minimize`."""
    return self._num_runs

  def kfac_update_ops(self) -> tf.Operation:
    """Makes the op that counts a run and runs the updates that are due.

    The train op contains it.

    Returns:
      Op, the same each time.
    """
    return self._built_updates()[1]

  def _built_updates(self):
    """Returns what _make_updates returned on the first call."""
    if self._updates is None:
      self._make_counter()
      self._fisher_est.build()
      self._updates = self._make_updates()
    return self._updates

  def _make_counter(self):
    """Makes the variable that counts runs, unless it exists."""
    if self._num_runs is None:
      with tf.variable_scope(self.get_name()):
        self._num_runs = plain_variables.make_variable(
            "num_runs", tf.zeros_initializer(), [], tf.int64)

  def _make_updates(self):
    """Makes the op that counts a run and runs the updates that are due.

    Returns:
      Bool tensor, whether parameters move, and the op.
    """
    estimator, schedule = self._fisher_est, self._schedule
    run_if = self._workers.cond
    step = tf.identity(self._num_runs) - self._num_burnin_steps
    after_burnin = step >= 0
    # The new damping is that of the inverses of this run.
    with tf.control_dependencies([self.maybe_pre_update_adapt_damping()]):
      done = run_if(
          tf.logical_or(step < 0, schedule.cov_due(step)),
          estimator.make_cov_update_op_in_branch, "cov_due")
    runs = schedules.inverse_runs(
        estimator, schedule, estimator.inv_update_thunks)
    with tf.control_dependencies([done]):
      inverses = [run_if(after_burnin & is_due(step), make_op, "inv_due")
                  for is_due, make_op in runs]
    with tf.control_dependencies([done] + inverses):
      return after_burnin, self._workers.update(
          lambda: tf.assign_add(self._num_runs, tf.ones([], tf.int64)).op)


def _check_assignable(variables):
  """Raises ValueError for variables that a branch of v2 cannot assign."""
  for variable in variables:
    if (tf.control_flow_v2_enabled()
        and variable.op.type in ("Variable", "VariableV2")):
      raise ValueError(
          "num_burnin_steps must be 0 for reference variables in control flow "
          f"v2, got {variable.name!r}.")
