"""Levenberg-Marquardt: damping follows how good the quadratic model was.

rho is the change of the loss over the change that the model foretold
(Martens & Grosse 2015, section 6.5).
"""

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import scalars


class DampingAdaptation:
  """The adapted damping and what is remembered from step to step.

  Attributes:
    damping: Variable [], the damping.
    rho: Variable [], the last reduction ratio.
    prev_loss: Variable [], the loss before the last step.
    q_model_change: Variable [], the change that the model foretold for it.
    interval: Int, every how many steps the damping is adapted.
  """

  def __init__(self, initial_damping, dtype, is_chief, prev_train_batch,
               loss_fn, min_damping, decay, interval):
    """Makes the variables, in the current variable scope.

    Args:
      initial_damping: Scalar.
      dtype: Dtype of the variables.
      is_chief: Whether this process adapts the damping.
      prev_train_batch: What `loss_fn` takes: the batch of the last step.
      loss_fn: Function of a batch that returns the loss, as trained.
      min_damping: Lower bound of the damping.
      decay: Damping is divided or multiplied by decay**interval.
      interval: Int, every how many steps.
    """
    self.interval = interval
    self._is_chief = is_chief
    self._prev_train_batch = prev_train_batch
    self._loss_fn = loss_fn
    self._min_damping = min_damping
    self._decay = decay
    self.damping = _variable(
        "damping", scalars.cast_scalar(initial_damping, dtype))
    self.rho, self.prev_loss, self.q_model_change = (
        _variable(name, tf.zeros([], dtype))
        for name in ("rho", "prev_loss", "q_model_change"))

  def make_update_op(self, global_step):
    """Makes the op that adapts the damping if it is time.

    It has to run before prev_loss and q_model_change are set for this step.

    Args:
      global_step: Scalar integer, steps made before this one.

    Returns:
      Op.
    """
    if not self._is_chief:
      return tf.no_op()
    due = tf.equal((tf.convert_to_tensor(global_step) + 1) % self.interval, 0)

    def adapt():
      loss = tf.cast(self._loss_fn(self._prev_train_batch), self.rho.dtype)
      change = tf.convert_to_tensor(self.q_model_change)
      # Before the first step nothing was foretold that could be judged.
      rho = tf.where(tf.equal(change, 0.), change + float("nan"),
                     (loss - self.prev_loss) / change)
      return tf.group(
          tf.assign(self.rho, rho),
          tf.assign(self.damping, adapted_damping(
              tf.convert_to_tensor(self.damping), rho,
              self._decay ** self.interval, self._min_damping)))

    return tf.cond(due, adapt, tf.no_op)

  def make_remember_op(self, loss):
    """Makes the op that keeps the loss of this step.

    Args:
      loss: Scalar, the loss before the step.

    Returns:
      Op.
    """
    return tf.assign(self.prev_loss, tf.cast(loss, self.prev_loss.dtype)).op


def adapted_damping(damping, rho, omega, min_damping):
  """The damping after a step with reduction ratio rho.

  Args:
    damping: Scalar tensor.
    rho: Scalar tensor. If it is not a number, damping stays as it is.
    omega: Number < 1.
    min_damping: Scalar.

  Returns:
    Scalar tensor: damping / omega if rho < 1/4, damping * omega if rho > 3/4,
    but not less than min_damping.
  """
  omega = scalars.cast_scalar(omega, damping.dtype)
  adapted = tf.where(rho < 0.25, damping / omega, damping)
  adapted = tf.where(rho > 0.75, damping * omega, adapted)
  return tf.maximum(adapted, scalars.cast_scalar(min_damping, damping.dtype))


def _variable(name, initial_value):
  return tf.get_variable(name, initializer=initial_value, trainable=False,
                         use_resource=True)
