"""The moving average of a covariance."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_factors import variables
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars


class MovingAverage:
  """C <- decay C + (1 - decay) new, optionally corrected for its initial value.

  With ZERO_DEBIAS, C after t updates is the average of the t values with
  weights proportional to decay^(t-s), that is, the sum above divided by
  1 - decay^t (Kingma & Ba 2015, section 3). Equivalently, each update moves C
  towards the new value by (1 - decay) / (1 - decay^t), so only t is stored.
  """

  def __init__(self, variable: tf.Variable, name: str) -> None:
    """Creates the counter of updates if ZERO_DEBIAS is set.

    Args:
      variable: The variable that holds the average.
      name: Scope below the current one for the counter.
    """
    self.variable = variable
    self._num_updates: tf.Variable | None = None
    if constants.read("fisher_factors", "ZERO_DEBIAS"):
      with tf.variable_scope(name):
        self._num_updates = variables.make_variable(
            "local_step", [], variable.dtype.base_dtype,
            tf.zeros_initializer())

  def update(self, new_value: hints.TensorLike, decay: hints.Scalar,
             weight: hints.Scalar | None = None) -> tf.Tensor:
    """Makes the op that includes a new value in the average.

    Args:
      new_value: Tensor, shaped like the variable.
      decay: Scalar in [0, 1).
      weight: Scalar, the weight of the new value; 1 - decay if None. With
        ZERO_DEBIAS a constant weight has no effect.

    Returns:
      Tensor, the new average, read after the update.
    """
    dtype = self.variable.dtype.base_dtype
    wide = precision.wide_dtype(dtype)  # A user's variable may be narrower.
    past = scalars.cast_scalar(decay, wide)
    old = precision.as_wide_tensor(self.variable)
    new_value = tf.cast(new_value, wide)
    if self._num_updates is None:
      present = (1. - past if weight is None
                 else scalars.cast_scalar(weight, wide))
      return tf.convert_to_tensor(tf.assign(
          self.variable, tf.cast(past * old + present * new_value, dtype)))
    step = tf.assign_add(self._num_updates, tf.ones([], wide))
    rate = (1. - past) / (1. - tf.pow(past, step))
    return tf.convert_to_tensor(tf.assign_add(
        self.variable, tf.cast(rate * (new_value - old), dtype)))
