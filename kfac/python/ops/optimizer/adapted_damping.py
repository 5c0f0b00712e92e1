"""The damping of an optimizer, constant or adapted, as its users see it."""

import tensorflow.compat.v1 as tf

from kfac.python.ops.optimizer import damping_adaptation
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import scalars


class AdaptedDamping:
  """Mixin of optimizers with an `_initial_damping` and a `_fisher_est`."""

  _adaptation = None

  def set_damping_adaptation_params(self, is_chief, prev_train_batch, loss_fn,
                                    min_damping=1e-5,
                                    damping_adaptation_decay=0.99,
                                    damping_adaptation_interval=5):
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
    if self._adaptation is not None:
      raise ValueError("set_damping_adaptation_params must be called once.")
    follow = constants.read("optimizer", "ADAPTED_DAMPING_REACHES_INVERSES")
    if follow and self._fisher_est.made_factors():
      raise ValueError(
          "set_damping_adaptation_params must be called before the update ops "
          "are asked for, so that the damping reaches the inverses.")
    scalars.check_number("min_damping", min_damping, minimum=0.)
    scalars.check_number("damping_adaptation_decay", damping_adaptation_decay,
                         minimum=0., below=1.)
    if (not isinstance(damping_adaptation_interval, int)
        or damping_adaptation_interval < 1):
      raise ValueError(
          "damping_adaptation_interval must be a positive int, got {!r}."
          .format(damping_adaptation_interval))
    registered = self._layers.registered_variables
    dtype = registered[0].dtype.base_dtype if registered else tf.float32
    with tf.variable_scope(self.get_name()):
      self._adaptation = damping_adaptation.DampingAdaptation(
          self._initial_damping, dtype, is_chief, prev_train_batch, loss_fn,
          min_damping, damping_adaptation_decay, damping_adaptation_interval)
    if follow:
      self._fisher_est.set_damping(self.damping)

  @property
  def damping(self):
    """The damping as it was given; a variable once it is adapted."""
    if self._adaptation is None:
      return self._initial_damping
    return self._adaptation.damping

  @property
  def damping_adaptation_interval(self):
    """Int, every how many steps damping is adapted."""
    return 5 if self._adaptation is None else self._adaptation.interval

  @property
  def _rho(self):
    return self._adaptation and self._adaptation.rho

  @property
  def _q_model_change(self):
    return self._adaptation and self._adaptation.q_model_change

  def _adapt(self, loss, global_step):
    """Ops that a step has to wait for if damping is adapted."""
    if self._adaptation is None:
      return []
    if global_step is None:
      raise KeyError("global_step must be given while damping is adapted.")
    update_op = self._adaptation.make_update_op(global_step)
    with tf.control_dependencies([update_op]):
      return [self._adaptation.make_remember_op(loss)]

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
