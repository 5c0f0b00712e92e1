"""PeriodicInvCovUpdateKfacOpt: an optimizer whose train op does everything."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import optimizer
from kfac.python.ops.kfac_utils import schedules
from kfac.python.ops.optimizer import arguments
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

__all__ = ["PeriodicInvCovUpdateKfacOpt"]

_DEFAULT_DECAY = inspect.signature(
    optimizer.KfacOptimizer).parameters["cov_ema_decay"].default


class PeriodicInvCovUpdateKfacOpt(optimizer.KfacOptimizer):
  """A KfacOptimizer that updates its covariances and inverses by itself.

  A run of the train op updates the covariances if they are due, then the
  inverses if these are, and then steps. What is not due costs nothing: it lies
  in branches that are not taken. The optimizer counts runs in a variable of
  its own, so training that goes on from a checkpoint goes on in the schedule.
  """

  def __init__(self, invert_every: int = 10, cov_update_every: int = 1,
               num_burnin_steps: int = 0, *, amortize: bool = False,
               **kwargs: hints.Unpack[arguments.Arguments]) -> None:
    """Says how to train; nothing is built yet.

    Args:
      invert_every: Int >= 1, steps from one inverse update to the next.
      cov_update_every: Int >= 1, steps from one covariance update to the next.
        The decay of moving averages becomes `cov_ema_decay` to this power.
      num_burnin_steps: Int >= 0. In as many first runs only the covariances
        are updated and the global step counted; parameters stay.
      amortize: Whether the inverses are dealt out over `invert_every` steps in
        shares of about equal cost, so that no step takes longer than others.
        At the first step all are computed.
      **kwargs: Arguments of KfacOptimizer, by name.

    Raises:
      ValueError: If a value is out of range.
    """
    check_int = scalars.check_int
    cov_every = check_int("cov_update_every", cov_update_every, 1)
    inv_every = check_int("invert_every", invert_every, 1)
    self._num_burnin_steps = check_int("num_burnin_steps", num_burnin_steps, 0)
    decay = kwargs.pop("cov_ema_decay", _DEFAULT_DECAY)
    scalars.check_number("cov_ema_decay", decay, minimum=0., below=1.)
    self._schedule = schedules.Schedule(
        cov_every, inv_every, shares=inv_every if amortize else 1)
    self._num_runs = None
    self._updates = None  # whether the step is due, and the op of the updates
    super().__init__(cov_ema_decay=decay ** cov_every, **kwargs)

  def minimize(self, loss: hints.TensorLike,
               global_step: hints.Scalar | None = None,
               var_list: Sequence[Any] | None = None,
               gate_gradients: int = tf.train.Optimizer.GATE_OP,
               aggregation_method: int | None = None,
               colocate_gradients_with_ops: bool = True,
               name: str | None = None,
               grad_loss: hints.TensorLike | None = None,
               **kwargs: Any) -> tf.Operation:
    """Makes the train op: updates that are due, and one step.

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
    """Makes the train op of gradients: updates that are due, and one step.

    Args:
      grads_and_vars: Iterable of (gradient, variable), for each registered
        variable.
      global_step: Variable to count steps in.
      name: Name of the op.

    Returns:
      Op.

    Raises:
      ValueError: If a gradient is missing, or if with burn-in and control flow
        v2 a parameter is no resource variable.
    """
    grads_and_vars = list(grads_and_vars)
    update_op = self.kfac_update_ops()
    with tf.control_dependencies([update_op]):
      if not self._num_burnin_steps:
        return super().apply_gradients(
            grads_and_vars, global_step=global_step, name=name)
      return self._step_after_burnin(grads_and_vars, global_step, name)

  def _step_after_burnin(self, grads_and_vars, global_step, name):
    """Makes the train op of gradients, whose step lies in a branch."""
    _check_assignable([variable for _, variable in grads_and_vars])
    apply = super().apply_gradients
    train_ops = tf.get_collection_ref(tf.GraphKeys.TRAIN_OP)
    others = list(train_ops)
    ops = [_only_if(self._updates[0], lambda: apply(grads_and_vars))]
    if global_step is not None:
      with tf.control_dependencies(ops):
        ops.append(tf.assign_add(
            global_step, tf.ones([], global_step.dtype.base_dtype)))
    train_op = tf.group(*ops, name=name)
    train_ops[:] = others + [train_op]  # not what lies in the branch
    return train_op

  def kfac_update_ops(self) -> tf.Operation:
    """Makes the op that counts a run and does the updates that are due.

    The train op contains it.

    Returns:
      Op, the same each time.
    """
    if self._updates is None:
      self._make_counter()
      self._fisher_est.build()
      self._updates = self._make_updates()
    return self._updates[1]

  def _make_counter(self):
    """Makes the variable that counts runs, unless there is one."""
    if self._num_runs is None:
      with tf.variable_scope(self.get_name()):
        self._num_runs = tf.get_variable(
            "num_runs", [], tf.int64, tf.zeros_initializer(), trainable=False,
            use_resource=True)

  def _make_updates(self):
    """Makes what kfac_update_ops returns.

    Returns:
      Bool tensor, whether parameters are to move, and op.
    """
    estimator, schedule = self._fisher_est, self._schedule
    step = tf.identity(self._num_runs) - self._num_burnin_steps
    after_burnin = step >= 0
    done = _only_if(
        tf.logical_or(step < 0, schedule.cov_due(step)),
        estimator.make_cov_update_op_in_branch)
    shares = schedules.balanced_shares(
        schedules.inverse_costs(estimator.factors), schedule.shares)
    thunks = estimator.inv_update_thunks
    with tf.control_dependencies([done]):
      inverses = [
          _only_if(after_burnin & schedule.inv_due(step, number),
                   lambda share=share: tf.group(*[thunks[i]() for i in share]))
          for number, share in enumerate(shares) if share]
    with tf.control_dependencies([done] + inverses):
      return after_burnin, tf.assign_add(
          self._num_runs, tf.ones([], tf.int64)).op


def _only_if(condition, make_op):
  """Makes an op that runs another, made in a branch, if a condition holds.

  Args:
    condition: Bool tensor. Together with the control dependencies in force it
      is awaited by all that the branch reads.
    make_op: Function that makes the op.

  Returns:
    Op.
  """
  def taken():
    with tf.control_dependencies([make_op()]):
      return tf.constant(True)

  return tf.cond(tf.identity(condition), taken, lambda: tf.constant(False)).op


def _check_assignable(variables):
  """Raises ValueError for variables that no branch of v2 can assign."""
  for variable in variables:
    if (tf.control_flow_v2_enabled()
        and variable.op.type in ("Variable", "VariableV2")):
      raise ValueError(
          "num_burnin_steps must be 0 where control flow v2 meets reference "
          f"variables, got {variable.name!r}.")
