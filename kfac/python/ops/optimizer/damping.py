"""DampingControl: a constant damping, or one adapted by the reduction ratio.

The reduction ratio rho is the change of the loss over the change that the
quadratic model predicted. The Levenberg-Marquardt rule raises the damping after
a small rho and lowers it after a large one (Martens & Grosse 2015, section
6.5).

On the batch of the step, rho is near 1 even if the step is bad for all other
examples: with little damping, the step fits its batch. What tells is the
prediction itself. Near a minimum of zero, the loss of an example is about e^-m
for a margin m, and its Newton step is predicted to remove half of it. A step
that is predicted to remove half of the loss of a batch thus fits each example
of it, whatever the others need. So a step that is judged on its own batch also
raises the damping if it is predicted to remove more than a given share of the
loss. A small learning rate does not help, because the next steps continue in
the same directions: what counts is the best multiple of the step.
g3doc/tuning.md shows the effect.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.optimizer import quadratic_model
from kfac.python.ops.utils import bad_numbers
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import workers as workers_lib

# Half of the half that a step removes if it fits each example.
MAX_PREDICTED_DECREASE = 0.25


@dataclasses.dataclass(frozen=True)
class Rule:
  """The Levenberg-Marquardt rule: how steps are judged and damping follows.

  Attributes:
    batch: Argument of `loss_fn`: the batch of the step that is judged.
    loss_fn: Function of a batch that returns the loss, as trained.
    is_chief: Whether this process adapts the damping.
    min_damping: Lower bound of the damping.
    max_damping: Upper bound of the damping, or None.
    decay: Damping is divided or multiplied by decay**interval.
    interval: Int, the number of steps between adaptations.
    immediately: Whether a step is judged right after it, or before the next
      one.
    counts_steps: Whether steps are counted here, or by the `global_step` of
      minimize, as in contrib.kfac; then they are judged before the next one.
    prev_batch: The batch of the last step, on which it is judged unless
      `immediately`. With `global_step`, `batch` is this one.
    use_passed_loss: Whether the loss that is passed is that before a step; if
      not, it is `loss_fn` of `batch`.
    decrease_above: Number, the rho above which the damping falls.
    increase_below: Number, the rho below which the damping rises.
    max_loss_increase: The increase of the loss above which a step is rejected,
      or None. If it is given, every step is judged.
    max_predicted_decrease: The share of the loss that the best multiple of a
      step may be predicted to remove: if it is more, the damping rises,
      whatever rho is. None for no bound. There is none while the loss is not
      positive.
    scope: Variable scope in which `loss_fn` is called; the current one of the
      call if None.
  """

  loss_fn: Callable[[Any], hints.TensorLike]
  batch: Any = None
  is_chief: bool = True
  min_damping: Any = 1e-8
  max_damping: hints.Scalar | None = None
  decay: float = 0.95
  interval: int = 5
  immediately: bool = True
  counts_steps: bool = True
  prev_batch: Any = None
  use_passed_loss: bool = True
  decrease_above: float = 0.75
  increase_below: float = 0.25
  max_loss_increase: float | None = None
  max_predicted_decrease: float | None = None
  scope: Any = None

  def __post_init__(self) -> None:
    """Raises ValueError if a value is out of range."""
    scalars.check_number("min_damping", self.min_damping, minimum=0.)
    if self.max_damping is not None and scalars.is_number(self.min_damping):
      scalars.check_number(
          "max_damping", self.max_damping, minimum=self.min_damping)
    scalars.check_number(
        "damping_adaptation_decay", self.decay, minimum=0., below=1.)
    if not isinstance(self.interval, int) or self.interval < 1:
      raise ValueError(
          "damping_adaptation_interval must be a positive int, got "
          f"{self.interval!r}.")
    scalars.check_number("damping_decrease_rho_threshold", self.decrease_above)
    scalars.check_number("damping_increase_rho_threshold", self.increase_below,
                         maximum=self.decrease_above)
    scalars.check_number(
        "max_loss_increase", self.max_loss_increase, minimum=0.)
    scalars.check_number(
        "max_predicted_decrease", self.max_predicted_decrease, above=0.)
    if self.max_loss_increase is not None and not self.immediately:
      raise ValueError(
          "max_loss_increase must be None unless steps are judged immediately, "
          f"got {self.max_loss_increase!r}.")


class _State(NamedTuple):
  """What is read before a step that is judged right after it.

  Attributes:
    ops: Ops that run before the step.
    variables: The variables that the step changes.
    values: Their values before it, if the step may be rejected.
    is_known: Bool tensor [], whether the loss before the step is finite. If it
      is not, the step is not judged: the batch is bad, not the damping.
    due: Bool tensor [], whether the step is judged; None if the rule decides
      when the step is counted.
    judged: Whether `after_step` adds to the step.
  """

  ops: list
  variables: list
  values: list
  is_known: Any = None
  due: Any = None
  judged: bool = False


class DampingControl:
  """The damping of an optimizer.

  A step reads: pre_update_op, before_step -> state_before_step -> the step,
  which includes with_predicted_change -> after_step. With a constant damping,
  none of them makes an op.

  Attributes:
    damping: The damping as it was given; a variable if it is adapted.
    precon_damping_mult: Scalar. The damping of the inverses is this multiple of
      the damping, plus l2_reg.
    l2_reg: Scalar, see there.
    loss: Scalar tensor, the loss before a step; None for the one that is
      passed.
    rule: Rule, or None if the damping is constant.
    rho: Variable [], the last reduction ratio that was finite; -inf for a
      rejected step.
    predicted_change: Variable [], the predicted change of the last step; 0 if
      the step was skipped or the change was not finite, which means that there
      is nothing to judge.
    actual_change: Variable [], the change of the loss by the step last judged;
      rho times what was predicted for it.
    num_steps: Variable [], the number of steps, or None if the rule does not
      judge by it.
    num_rejected: Variable [], the number of rejected steps, int64; None unless
      steps may be rejected.
  """

  def __init__(self, damping: hints.Damping,
               precon_damping_mult: hints.Scalar = 1.,
               l2_reg: hints.Scalar = 0., loss: Any = None,
               workers: workers_lib.Workers = workers_lib.ALONE) -> None:
    """Starts with a constant damping.

    Args:
      damping: Scalar, or a function that returns it.
      precon_damping_mult: See the class; as the following.
      l2_reg: See the class.
      loss: See the class.
      workers: Workers, over which losses are averaged.
    """
    self._workers = workers
    self._passed_before_step = False
    self.damping: Any = damping
    self.rule: Rule | None = None
    self.rho: Any = None
    self.predicted_change: Any = None
    self.actual_change: Any = None
    self._predicted_decrease: Any = None
    self.num_rejected: Any = None
    self._prev_loss: Any = None
    self.num_steps: Any = None
    self._num_judged: Any = None
    self._pre_update_op: tf.Operation | None = None
    self.precon_damping_mult: Any = precon_damping_mult
    self.l2_reg: Any = l2_reg
    self.loss: Any = loss

  @property
  def value(self) -> Any:
    """The damping as a scalar: a function is called."""
    return self.damping() if callable(self.damping) else self.damping

  @property
  def of_inverses(self) -> Any:
    """The damping of the inverses."""
    return _inverse_damping(
        self.damping, self.precon_damping_mult, self.l2_reg)

  @property
  def model_share(self) -> Any:
    """The damping of the quadratic model over that of the inverses, scalar."""
    if _is_zero(self.l2_reg):
      return 1. / self.precon_damping_mult
    value = tf.convert_to_tensor(self.value)
    return value / scalars.cast_scalar(
        _inverse_damping(value, self.precon_damping_mult, self.l2_reg),
        value.dtype)

  @property
  def interval(self) -> int:
    """The number of steps between adaptations."""
    return 5 if self.rule is None else self.rule.interval

  def adapt(self, rule: Rule, dtype: hints.DType) -> None:
    """Makes the damping a variable that follows a rule.

    The variables are created in the current variable scope.

    Args:
      rule: Rule.
      dtype: Dtype of the variables.
    """
    self.rule = rule
    self.damping = plain_variables.make_variable(
        "damping", scalars.cast_scalar(self.value, dtype))
    self.rho, self._prev_loss, self.predicted_change = (
        plain_variables.make_variable(name, tf.zeros([], dtype))
        for name in ("rho", "prev_loss", "q_model_change"))
    if not constants.read("fisher_factors", "CONTRIB_VARIABLES"):
      self.actual_change = plain_variables.make_variable(
          "actual_change", tf.zeros([], dtype))
    if rule.counts_steps:
      self.num_steps = plain_variables.make_variable(
          "num_steps", tf.zeros([], tf.int64))
      if not rule.immediately:
        self._num_judged = plain_variables.make_variable(
            "num_judged", tf.zeros([], tf.int64))
      if rule.max_predicted_decrease is not None:
        self._predicted_decrease = plain_variables.make_variable(
            "predicted_decrease", tf.zeros([], dtype))
    if rule.max_loss_increase is not None and not constants.read(
        "fisher_factors", "CONTRIB_VARIABLES"):
      self.num_rejected = plain_variables.make_variable(
          "num_rejected", tf.zeros([], tf.int64))

  def pre_update_op(self) -> tf.Operation:
    """Makes the op that judges the last step, if the rule counts steps.

    Returns:
      Op, the same each time; it has to run before a step. A step is judged
      once, however often the op runs. It does nothing if steps are judged
      immediately, or by `global_step`.
    """
    rule = self.rule
    if rule is None or rule.immediately or not rule.counts_steps:
      return tf.no_op()
    if self._pre_update_op is None:
      with tf.init_scope():  # Free of what the step waits for.
        self._pre_update_op = self._make_pre_update_op(rule)
    return self._pre_update_op

  def _make_pre_update_op(self, rule):
    number = tf.identity(self.num_steps)
    due = tf.logical_and(tf.equal(number % rule.interval, 0),
                         tf.not_equal(number, self._num_judged))

    def judge():
      op = self._adapt(rule, self._ratio(self._loss(rule, rule.prev_batch)))
      with tf.control_dependencies([op]):
        return tf.assign(self._num_judged, number).op

    return self._workers.cond(due, judge, "judge_last")

  def before_step(self, loss: hints.TensorLike,
                  global_step: hints.Scalar | None) -> list:
    """Makes the ops that judge the last step by `global_step`, as contrib does.

    Args:
      loss: Scalar, the loss before this step.
      global_step: Scalar integer, the number of steps before this one.

    Returns:
      List of ops that have to run before this step.

    Raises:
      KeyError: If there is no `global_step` though it is needed.
    """
    rule = self.rule
    if rule is None or rule.counts_steps:
      return []
    if global_step is None:
      raise KeyError("global_step must be given while damping is adapted.")
    self._passed_before_step = True

    def remember():
      with tf.control_dependencies([
          self._make_judge_last_op(rule, global_step)]):
        return self._make_remember_op(self._mean(loss))

    return [self._workers.update(remember)]

  def state_before_step(self, loss: hints.TensorLike | None,
                        variables: Sequence[Any],
                        global_step: hints.Scalar | None = None) -> _State:
    """Reads what judging a step needs, before the step is made.

    Args:
      loss: Scalar, the loss before the step; None to compute it, as for a
        tensor that is no scalar.
      variables: List of the variables that the step changes.
      global_step: See `before_step`. A step without it, as that of
        SyncReplicasOptimizer, is judged right after it, on the batch of the
        rule.

    Returns:
      State for `after_step`. Its ops have to run before the step.

    Raises:
      KeyError: If there is no `global_step` though it is needed.
      ValueError: If the loss is neither passed, nor can be computed; or if
        there are several workers, and a variable is a reference variable, of
        which they would read the old value.
    """
    rule = self.rule
    if rule is None:
      return _State([], [], [])
    if self._workers.count > 1:
      _check_resources(variables)
    if not rule.counts_steps:
      return self._state_without_before_step(rule, global_step)
    pre_update = [] if rule.immediately else [self.pre_update_op()]
    with tf.control_dependencies(pre_update):
      loss = self._loss_before(rule, loss)
      ops = [self._make_remember_op(loss)]
    values = []
    if rule.max_loss_increase is not None:
      # The result of reading a reference variable may share its memory.
      values = [tf.raw_ops.DeepCopy(x=variable.read_value())
                for variable in variables]
    return _State(
        ops + values, list(variables), values, tf.math.is_finite(loss),
        judged=True)

  def _state_without_before_step(self, rule, global_step):
    """Returns the state if steps are judged by `global_step`."""
    passed, self._passed_before_step = self._passed_before_step, False
    if passed or not rule.is_chief:
      return _State([], [], [])
    if global_step is None:
      raise KeyError("global_step must be given while damping is adapted.")
    due = _is_due(rule, global_step)
    loss = tf.cond(due, lambda: self._loss(rule),
                   lambda: tf.identity(self._prev_loss))
    return _State([self._make_remember_op(loss)], [], [],
                  tf.math.is_finite(loss), due, judged=True)

  def _loss_before(self, rule, passed):
    """Returns the loss before a step, scalar tensor."""
    loss = passed if self.loss is None else self.loss
    if rule.use_passed_loss and loss is not None and (
        tf.convert_to_tensor(loss).shape.rank in (0, None)):
      return self._mean(loss)
    if rule.batch is None:
      raise ValueError(
          "train_batch must be given, or a scalar loss be passed, while the "
          f"damping is adapted, got the loss {loss!r}.")
    return self._loss(rule)

  def with_predicted_change(
      self, steps: hints.Pairs,
      predict: Callable[[], quadratic_model.Prediction],
      usable: tf.Tensor) -> hints.Pairs:
    """Stores what is predicted for a step before the step is made.

    Args:
      steps: List of (tensor, variable).
      predict: Function that returns the Prediction; called only if the damping
        is adapted.
      usable: Boolean tensor []. If it is false, or a prediction is not finite,
        the predicted change is 0, and the step is not judged.

    Returns:
      The steps, which wait until the prediction is stored.
    """
    if self.rule is None:
      return steps
    predicted = predict()
    stores = [_store_or_zero(self.predicted_change, predicted.change, usable)]
    if self._predicted_decrease is not None:
      stores.append(_store_or_zero(
          self._predicted_decrease, predicted.decrease, usable))
    with tf.control_dependencies(stores):
      return [(tf.identity(step), variable) for step, variable in steps]

  def after_step(self, step: tf.Operation, state: _State,
                 velocity_of: Callable[[Any], Any],
                 name: str | None = None) -> tf.Operation:
    """Makes the op that judges a step right after it, if the rule does so.

    Args:
      step: The op of the step.
      state: What `state_before_step` returned.
      velocity_of: Function from a variable to the variable of its velocity.
      name: Name of the op, if the rule judges the step.

    Returns:
      Op that includes the step.
    """
    if self.rule is None or not state.judged:
      return step
    if self.rule.counts_steps and not self.rule.immediately:
      with tf.control_dependencies([step]):
        return tf.group(tf.assign_add(self.num_steps, 1), name=name)
    with tf.control_dependencies([self._workers.after(step, "step")]):
      return self._make_judge_op(self.rule, state, velocity_of, name)

  def _loss(self, rule, batch=None):
    """Returns the loss on a batch, by default that of the rule, a scalar."""
    batch = rule.batch if batch is None else batch
    with tf.variable_scope(rule.scope or tf.get_variable_scope(),
                           auxiliary_name_scope=False):
      return tf.cast(self._mean(rule.loss_fn(batch)), self.rho.dtype)

  def _mean(self, loss):
    """Returns the mean of a loss over the workers, a scalar."""
    if self._workers.count == 1:
      return loss
    return self._workers.mean([tf.reshape(loss, [])], "loss")[0]

  def _make_remember_op(self, loss):
    """Makes the op that stores the loss before a step, if it is finite."""
    loss = tf.cast(loss, self._prev_loss.dtype)
    return tf.assign(
        self._prev_loss, _if_finite(loss, self._prev_loss.read_value())).op

  def _make_judge_last_op(self, rule, global_step):
    """Makes the op that judges the last step if an adaptation is due."""
    if not self._is_chief(rule):
      return tf.no_op()
    return self._workers.cond(
        _is_due(rule, global_step),
        lambda: self._adapt(rule, self._ratio(self._loss(rule))), "judge_last")

  def _is_chief(self, rule):
    """Whether this process adapts the damping; one of several workers does."""
    return rule.is_chief or self._workers.count > 1

  def _make_judge_op(self, rule, state, velocity_of, name):
    """Makes the op that judges the step just made, if an adaptation is due."""
    due = state.due
    if due is None:
      due = tf.equal(tf.assign_add(self.num_steps, 1) % rule.interval, 0)
    if rule.max_loss_increase is None:
      due = tf.logical_and(due, state.is_known)
      return tf.group(self._workers.cond(
          due, lambda: self._adapt(rule, self._ratio(self._loss(rule))),
          "judge"), name=name)
    loss = self._loss(rule)
    limit = self._prev_loss + scalars.cast_scalar(
        rule.max_loss_increase, loss.dtype)
    rejected = tf.logical_and(
        tf.logical_or(tf.is_nan(loss), loss > limit), state.is_known)
    due = tf.logical_and(due, state.is_known)
    rho = tf.where(rejected, tf.constant(-np.inf, loss.dtype),
                   self._ratio(loss))
    return tf.group(
        tf.cond(tf.logical_or(due, rejected), lambda: self._adapt(rule, rho),
                tf.no_op),
        *self._make_count_ops(rejected),
        *_restore(rejected, state, velocity_of), name=name)

  def _make_count_ops(self, rejected):
    """Makes the ops that count a step if it is rejected."""
    if self.num_rejected is None:
      return []
    return [tf.assign_add(self.num_rejected, tf.cast(rejected, tf.int64)).op]

  def _ratio(self, loss):
    """Returns rho of the step after which the loss is `loss`, or NaN."""
    change = tf.convert_to_tensor(self.predicted_change)
    unknown = tf.constant(np.nan, loss.dtype)
    # Before the first step, no change was predicted.
    rho = tf.where(tf.equal(change, 0.), unknown,
                   (loss - self._prev_loss) / change)
    return _if_finite(rho, unknown)

  def _removes_too_much(self, rule):
    """Returns a bool tensor []: whether a step fits its batch too closely."""
    if self._predicted_decrease is None:
      return tf.constant(False)
    loss = tf.convert_to_tensor(self._prev_loss)
    share = scalars.cast_scalar(rule.max_predicted_decrease, loss.dtype)
    return tf.logical_and(loss > 0., self._predicted_decrease > share * loss)

  def _adapt(self, rule, rho):
    """Makes the op that stores rho and adapts the damping to it."""
    judged = tf.where(
        tf.logical_and(self._removes_too_much(rule), tf.math.is_finite(rho)),
        tf.constant(-np.inf, rho.dtype), rho)
    found = [(self.rho, rho)]
    if self.actual_change is not None:
      found.append((self.actual_change, rho * self.predicted_change))
    store = tf.group(*[
        tf.assign(variable, tf.where(
            tf.is_nan(value), variable.read_value(), value))
        for variable, value in found])
    if not self._is_chief(rule):
      return store
    return tf.group(store, tf.assign(self.damping, next_damping(
        tf.convert_to_tensor(self.damping), judged, rule.decay ** rule.interval,
        rule.min_damping, rule.max_damping, rule.increase_below,
        rule.decrease_above)))


def _check_resources(variables):
  """Raises ValueError if one of the variables is a reference variable."""
  for variable in variables:
    if variable.op.type in ("Variable", "VariableV2"):
      raise ValueError(
          "variables must be resource variables if several workers adapt the "
          f"damping, got {variable.name!r}.")


def _is_due(rule, global_step):
  """Whether an adaptation is due after `global_step` steps, bool tensor []."""
  return tf.equal((tf.convert_to_tensor(global_step) + 1) % rule.interval, 0)


def next_damping(damping: tf.Tensor, rho: tf.Tensor, omega: float,
                 min_damping: hints.Scalar,
                 max_damping: hints.Scalar | None = None,
                 increase_below: float = 0.25,
                 decrease_above: float = 0.75) -> tf.Tensor:
  """Computes the damping after a step with reduction ratio rho.

  Args:
    damping: Scalar tensor.
    rho: Scalar tensor, -inf for a step that is bad without a ratio. If it is
      NaN or inf, the damping does not change.
    omega: Number < 1.
    min_damping: Scalar.
    max_damping: Scalar, or None for no bound.
    increase_below: Number.
    decrease_above: Number.

  Returns:
    Scalar tensor within the bounds: damping / omega if rho < increase_below,
    damping * omega if rho > decrease_above, otherwise damping. It is finite if
    the damping and the bounds are.
  """
  omega = scalars.cast_scalar(omega, damping.dtype)
  adapted = tf.where(rho < increase_below,
                     _if_finite(damping / omega, damping), damping)
  adapted = tf.where(tf.logical_and(rho > decrease_above, rho < np.inf),
                     damping * omega, adapted)
  if max_damping is not None:
    adapted = tf.minimum(
        adapted, scalars.cast_scalar(max_damping, damping.dtype))
  return tf.maximum(adapted, scalars.cast_scalar(min_damping, damping.dtype))


def _if_finite(value, otherwise):
  """Returns one scalar tensor if it is finite, or the other one."""
  return tf.where(tf.math.is_finite(value), value, otherwise)


def _store_or_zero(variable, value, usable):
  """Makes the op that stores a scalar, or 0 if it is not finite or usable."""
  value = tf.cast(value, variable.dtype.base_dtype)
  known = tf.logical_and(usable, bad_numbers.is_finite(value))
  return tf.assign(variable, tf.where(known, value, tf.zeros_like(value))).op


def _restore(rejected, state, velocity_of):
  """Makes the ops that undo a step if it is rejected.

  Args:
    rejected: Boolean tensor [].
    state: _State before the step.
    velocity_of: See `DampingControl.after_step`. Velocities become zero, so
      that the next step does not repeat the direction.

  Returns:
    List of ops.
  """
  velocities = [velocity_of(variable) for variable in state.variables]
  olds = state.values + [tf.zeros_like(velocity) for velocity in velocities]
  return [
      tf.assign(variable, tf.where_v2(rejected, old, variable.read_value())).op
      for variable, old in zip(
          [*state.variables, *velocities], olds, strict=True)]


def _is_zero(value):
  return scalars.is_number(value) and value == 0


def _inverse_damping(damping, mult, l2_reg):
  """Returns mult damping + l2_reg for a damping: scalar or function."""
  if scalars.is_one(mult) and _is_zero(l2_reg):
    return damping
  if callable(damping):
    return lambda: _inverse_damping(damping(), mult, l2_reg)
  return scalars.total(scalars.product(damping, mult), l2_reg)
