"""Levenberg-Marquardt: damping follows how good the quadratic model was.

rho is the change of the loss over the change that the model foretold
(Martens & Grosse 2015, section 6.5).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


class DampingAdaptation:
  """The adapted damping and what is remembered from step to step.

  A step is judged by the loss on its own batch: either as soon as it is made,
  or at the beginning of the next one.

  Attributes:
    damping: Variable [], the damping.
    rho: Variable [], the last reduction ratio; -inf for a rejected step.
    prev_loss: Variable [], the loss before the last step.
    q_model_change: Variable [], the change that the model foretold for it.
    interval: Int, every how many steps the damping is adapted.
    immediately: Whether a step is judged as soon as it is made.
    max_loss_increase: By how much a step may raise the loss before it is
      rejected, or None.
  """

  def __init__(self, initial_damping: hints.Scalar, dtype: hints.DType,
               batch: Any, loss_fn: Callable[[Any], hints.TensorLike],
               is_chief: bool = True, min_damping: hints.Scalar = 1e-8,
               max_damping: hints.Scalar | None = None,
               decay: hints.Scalar = 0.95, interval: int = 5,
               immediately: bool = True, max_loss_increase: float | None = None,
               scope: str | None = None) -> None:
    """Makes the variables, in the current variable scope.

    Args:
      initial_damping: Scalar.
      dtype: Dtype of the variables.
      batch: What `loss_fn` takes: the batch of the step that is judged.
      loss_fn: Function of a batch that returns the loss, as trained.
      is_chief: Whether this process adapts the damping.
      min_damping: Lower bound of the damping.
      max_damping: Upper bound of the damping, or None.
      decay: Damping is divided or multiplied by decay**interval.
      interval: Int, every how many steps.
      immediately: Whether a step is judged as soon as it is made.
      max_loss_increase: By how much a step may raise the loss before it is
        rejected, or None. Every step is judged then.
      scope: Variable scope in which `loss_fn` is called; the current one of
        the call if None.

    Raises:
      ValueError: If a value is out of range.
    """
    _check_settings(min_damping, max_damping, decay, interval,
                    max_loss_increase, immediately)
    self.interval = interval
    self.immediately = immediately
    self.max_loss_increase = max_loss_increase
    self._is_chief = is_chief
    self._batch = batch
    self._loss_fn = loss_fn
    self._scope = scope
    self._bounds = min_damping, max_damping
    self._decay = decay
    self.damping = _variable(
        "damping", scalars.cast_scalar(initial_damping, dtype))
    self.rho, self.prev_loss, self.q_model_change = (
        _variable(name, tf.zeros([], dtype))
        for name in ("rho", "prev_loss", "q_model_change"))
    if immediately:
      self._num_steps = _variable("num_steps", tf.zeros([], tf.int64))

  def loss(self) -> tf.Tensor:
    """Returns the loss on the batch, scalar tensor."""
    with tf.variable_scope(self._scope or tf.get_variable_scope(),
                           auxiliary_name_scope=False):
      return tf.cast(self._loss_fn(self._batch), self.rho.dtype)

  def make_update_op(self, global_step: hints.Scalar) -> tf.Operation:
    """Makes the op that judges the last step, if it is time.

    It has to run before prev_loss and q_model_change are set for this step.

    Args:
      global_step: Scalar integer, steps made before this one.

    Returns:
      Op.
    """
    if not self._is_chief:
      return tf.no_op()
    due = tf.equal((tf.convert_to_tensor(global_step) + 1) % self.interval, 0)
    return tf.cond(due, lambda: self._adapt(self._ratio(self.loss())), tf.no_op)

  def make_judge_op(self,
                    undo: Callable[[tf.Tensor], Sequence[Any]]) -> tf.Operation:
    """Makes the op that judges the step just made, if it is time.

    Args:
      undo: Function of a boolean tensor [] that returns the ops which undo the
        step if it is true; called only if steps can be rejected.

    Returns:
      Op; to run after the step.
    """
    due = tf.equal(tf.assign_add(self._num_steps, 1) % self.interval, 0)
    if self.max_loss_increase is None:
      return tf.group(tf.cond(
          due, lambda: self._adapt(self._ratio(self.loss())), tf.no_op))
    loss = self.loss()
    limit = self.prev_loss + scalars.cast_scalar(
        self.max_loss_increase, loss.dtype)
    worse = tf.logical_or(tf.is_nan(loss), loss > limit)
    rho = tf.where(worse, tf.constant(-np.inf, loss.dtype), self._ratio(loss))
    return tf.group(
        tf.cond(tf.logical_or(due, worse), lambda: self._adapt(rho), tf.no_op),
        *undo(worse))

  def _ratio(self, loss):
    """Returns rho of the step after which the loss is `loss`."""
    change = tf.convert_to_tensor(self.q_model_change)
    # Before the first step nothing was foretold that could be judged.
    return tf.where(tf.equal(change, 0.), change + float("nan"),
                    (loss - self.prev_loss) / change)

  def _adapt(self, rho):
    """Makes the op that keeps rho and lets damping follow it."""
    keep = tf.assign(self.rho, rho)
    if not self._is_chief:
      return tf.group(keep)
    return tf.group(keep, tf.assign(self.damping, adapted_damping(
        tf.convert_to_tensor(self.damping), rho, self._decay ** self.interval,
        *self._bounds)))

  def make_remember_op(self, loss: hints.TensorLike) -> tf.Operation:
    """Makes the op that keeps the loss of this step.

    Args:
      loss: Scalar, the loss before the step.

    Returns:
      Op.
    """
    return tf.assign(self.prev_loss, tf.cast(loss, self.prev_loss.dtype)).op


def adapted_damping(damping: hints.Scalar, rho: hints.Scalar, omega: float,
                    min_damping: hints.Scalar,
                    max_damping: hints.Scalar | None = None) -> tf.Tensor:
  """The damping after a step with reduction ratio rho.

  Args:
    damping: Scalar tensor.
    rho: Scalar tensor. If it is not a number, damping stays as it is.
    omega: Number < 1.
    min_damping: Scalar.
    max_damping: Scalar, or None for no bound.

  Returns:
    Scalar tensor: damping / omega if rho < 1/4, damping * omega if rho > 3/4,
    but within the bounds.
  """
  omega = scalars.cast_scalar(omega, damping.dtype)
  adapted = tf.where(rho < 0.25, damping / omega, damping)
  adapted = tf.where(rho > 0.75, damping * omega, adapted)
  if max_damping is not None:
    adapted = tf.minimum(
        adapted, scalars.cast_scalar(max_damping, damping.dtype))
  return tf.maximum(adapted, scalars.cast_scalar(min_damping, damping.dtype))


def _check_settings(min_damping, max_damping, decay, interval,
                    max_loss_increase, immediately):
  scalars.check_number("min_damping", min_damping, minimum=0.)
  if max_damping is not None and scalars.is_number(min_damping):
    scalars.check_number("max_damping", max_damping, minimum=min_damping)
  scalars.check_number("damping_adaptation_decay", decay, minimum=0., below=1.)
  if not isinstance(interval, int) or interval < 1:
    raise ValueError(
        "damping_adaptation_interval must be a positive int, got "
        f"{interval!r}.")
  scalars.check_number("max_loss_increase", max_loss_increase, minimum=0.)
  if max_loss_increase is not None and not immediately:
    raise ValueError(
        "max_loss_increase must be None unless steps are judged immediately, "
        f"got {max_loss_increase!r}.")


def _variable(name, initial_value):
  return tf.get_variable(name, initializer=initial_value, trainable=False,
                         use_resource=True)
