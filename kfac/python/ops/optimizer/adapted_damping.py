"""The damping of an optimizer, constant or adapted, as its users see it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.optimizer import damping_adaptation
from kfac.python.ops.optimizer import rejection
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


class AdaptedDamping:
  """Mixin of optimizers with an `_initial_damping` and a `_fisher_est`."""

  _adaptation = None
  _precon_damping_mult = 1.

  def set_damping_adaptation_params(
      self, is_chief: bool, prev_train_batch: Any,
      loss_fn: Callable[[Any], hints.TensorLike],
      min_damping: hints.Scalar = 1e-5, damping_adaptation_decay: float = 0.99,
      damping_adaptation_interval: int = 5) -> None:
    """Lets damping follow how good the quadratic model is.

    `minimize` then needs `global_step`.

    Args:
      is_chief: Whether this process adapts the damping.
      prev_train_batch: What `loss_fn` takes: the batch of the last step.
      loss_fn: Function of a batch that returns the loss, as trained.
      min_damping: Lower bound of the damping.
      damping_adaptation_decay: Damping is divided or multiplied by this to
        the power of the interval; in (0, 1).
      damping_adaptation_interval: Int, every how many steps.

    Raises:
      ValueError: If it was called before, if the inverses are already made
        and so cannot follow, or if a value is out of range.
    """
    self._start_adaptation(
        is_chief=is_chief, batch=prev_train_batch, loss_fn=loss_fn,
        min_damping=min_damping, decay=damping_adaptation_decay,
        interval=damping_adaptation_interval, immediately=False)

  def _start_adaptation(self, **settings):
    """Makes the damping a variable that follows; see DampingAdaptation."""
    if self._adaptation is not None:
      raise ValueError("set_damping_adaptation_params must be called once, and "
                       "not with adapt_damping.")
    follow = constants.read("optimizer", "ADAPTED_DAMPING_REACHES_INVERSES")
    if follow and self._fisher_est.made_factors():
      raise ValueError(
          "set_damping_adaptation_params must be called before the update ops "
          "are asked for, so that the damping reaches the inverses.")
    registered = self._layers.registered_variables
    dtype = registered[0].dtype.base_dtype if registered else tf.float32
    settings["scope"] = tf.get_variable_scope()
    with tf.variable_scope(self.get_name()):
      self._adaptation = damping_adaptation.DampingAdaptation(
          self._initial_damping, dtype, **settings)
    if follow:
      self._fisher_est.set_damping(self._of_inverses(self.damping))

  def _of_inverses(self, damping):
    """Returns precon_damping_mult times a damping, in whatever form it is."""
    mult = self._precon_damping_mult
    if scalars.is_number(mult) and mult == 1:
      return damping
    if callable(damping):
      return lambda: self._of_inverses(damping())
    if scalars.is_number(damping) and scalars.is_number(mult):
      return damping * mult
    damping = tf.convert_to_tensor(damping)
    return damping * scalars.cast_scalar(mult, damping.dtype)

  @property
  def damping(self) -> Any:
    """The damping as it was given; a variable once it is adapted."""
    if self._adaptation is None:
      return self._initial_damping
    return self._adaptation.damping

  @property
  def damping_adaptation_interval(self) -> int:
    """Int, every how many steps damping is adapted."""
    return 5 if self._adaptation is None else self._adaptation.interval

  @property
  def _rho(self):
    return self._adaptation and self._adaptation.rho

  @property
  def _q_model_change(self):
    return self._adaptation and self._adaptation.q_model_change

  def _judge_last_step(self, loss, global_step):
    """Ops that a step has to wait for if the last one is judged first."""
    if self._adaptation is None or self._adaptation.immediately:
      return []
    if global_step is None:
      raise KeyError("global_step must be given while damping is adapted.")
    update_op = self._adaptation.make_update_op(global_step)
    with tf.control_dependencies([update_op]):
      return [self._adaptation.make_remember_op(loss)]

  def _judge_step(self, make_step, loss, variables):
    """Makes a step, and judges it if damping is adapted immediately.

    Args:
      make_step: Function that makes the op of the step.
      loss: Scalar, the loss before it; None to compute it.
      variables: List of the variables that it changes.

    Returns:
      Op.
    """
    if self._adaptation is None or not self._adaptation.immediately:
      return make_step()
    before = [self._adaptation.make_remember_op(
        self._adaptation.loss() if loss is None else loss)]
    kept = []
    if self._adaptation.max_loss_increase is not None:
      kept = rejection.keep(variables)
    with tf.control_dependencies(before + kept):
      step = make_step()
    with tf.control_dependencies([step]):
      return self._adaptation.make_judge_op(
          lambda rejected: rejection.undo(
              rejected, variables, kept,
              [self._velocity(variable) for variable in variables]))

  def _remember_change(self, steps, change):
    """Lets a step keep what the quadratic model foretells for it.

    Args:
      steps: List of (tensor, variable).
      change: Function that returns the change of the loss that is foretold;
        called only if damping is adapted.

    Returns:
      The steps, which wait until the change is kept.
    """
    if self._adaptation is None:
      return steps
    remember = tf.assign(
        self._q_model_change, tf.cast(change(), self._q_model_change.dtype))
    with tf.control_dependencies([remember]):
      return [(tf.identity(step), variable) for step, variable in steps]
