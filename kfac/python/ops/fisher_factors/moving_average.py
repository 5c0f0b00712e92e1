"""The moving average of a covariance."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_factors import variables
from kfac.python.ops.utils import bad_numbers
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars


class MovingAverage:
  """C <- decay C + (1 - decay) new, optionally corrected for its initial value.

  With ZERO_DEBIAS, C after t updates is the average of the t values with
  weights proportional to decay^(t-s), that is, the sum above divided by
  1 - decay^t (Kingma & Ba 2015, section 3). Equivalently, each update moves C
  towards the new value by (1 - decay) / (1 - decay^t), so only t is stored.

  A new value that is not finite is skipped and counted.

  Attributes:
    variable: The variable that holds the average.
    num_updates: Float variable [], the number of updates; None if there is none
      (contrib's variables, without ZERO_DEBIAS).
    num_skipped: Integer variable [], the number of skipped updates; None with
      contrib's variables.
  """

  def __init__(self, variable: tf.Variable, name: str) -> None:
    """Creates the counters.

    Args:
      variable: The variable that holds the average.
      name: Scope below the current one for the counters.
    """
    self.variable = variable
    self.num_updates: tf.Variable | None = None
    self.num_skipped: tf.Variable | None = None
    self._zero_debias = constants.read("fisher_factors", "ZERO_DEBIAS")
    contrib = constants.read("fisher_factors", "CONTRIB_VARIABLES")
    with tf.variable_scope(name):
      if self._zero_debias or not contrib:
        self.num_updates = variables.make_variable(
            "local_step", [], variable.dtype.base_dtype,
            tf.zeros_initializer())
      if not contrib:
        self.num_skipped = plain_variables.make_variable(
            "num_skipped", tf.zeros_initializer(), [], tf.int64)

  def update(self, new_value: hints.TensorLike, decay: hints.Scalar,
             weight: hints.Scalar | None = None,
             finite: tf.Tensor | None = None) -> tf.Tensor:
    """Makes the op that includes a new value in the average.

    Args:
      new_value: Tensor, shaped like the variable.
      decay: Scalar in [0, 1).
      weight: Scalar, the weight of the new value; 1 - decay if None. With
        ZERO_DEBIAS a constant weight has no effect.
      finite: Boolean tensor [], whether the new value is finite; None to check
        each of its entries.

    Returns:
      Tensor, the new average, read after the update.

    Raises:
      tf.errors.InvalidArgumentError: In the session, if the new value is not
        finite and ON_BAD_NUMBERS is "raise".
    """
    dtype = self.variable.dtype.base_dtype
    wide = precision.wide_dtype(dtype)  # A user's variable may be narrower.
    new_value = tf.cast(new_value, wide)
    message = (f"{self.variable.op.name} was not updated, since the new "
               "covariance is not finite")
    finite = bad_numbers.checked(
        bad_numbers.is_finite(new_value) if finite is None else finite, message)
    past = scalars.cast_scalar(decay, wide)
    old = precision.as_wide_tensor(self.variable)
    one = tf.ones([], wide)
    included = tf.cast(finite, wide)
    # The product with a rate of zero is zero, whatever the other factor is.
    if self._zero_debias:
      step = tf.maximum(tf.convert_to_tensor(self.num_updates) + included, one)
      rate = (1. - past) / (1. - tf.pow(past, step))
      change = tf.math.multiply_no_nan(new_value - old, included * rate)
      update = tf.assign_add(self.variable, tf.cast(change, dtype))
    else:
      present = (1. - past if weight is None
                 else scalars.cast_scalar(weight, wide))
      new = tf.where_v2(finite, past, one) * old + tf.math.multiply_no_nan(
          new_value, included * present)
      update = tf.assign(self.variable, tf.cast(new, dtype))
    skipped = bad_numbers.count(finite, self.num_skipped, message)
    if self.num_updates is not None:
      # Counted last, so that who reads the counter first sees the average.
      with tf.control_dependencies([update]):
        update = tf.assign_add(self.num_updates, included)
    with tf.control_dependencies([update, skipped]):
      return self.variable.read_value()

  def is_known(self) -> tf.Tensor:
    """Whether the average was ever updated, or assigned.

    A covariance that is zero after an update is known to be zero. A read of the
    average that waits for the result sees the update.

    Returns:
      Boolean tensor [].
    """
    assigned = is_assigned(self.variable)
    if self.num_updates is None:
      return assigned
    return tf.logical_or(self.num_updates > 0., assigned)


def is_assigned(covariance: hints.TensorLike) -> tf.Tensor:
  """Whether a covariance is not zero, boolean tensor []."""
  covariance = tf.convert_to_tensor(covariance)
  shape = covariance.shape.as_list()
  if len(shape) == 2 and shape[0] == shape[1]:
    covariance = tf.linalg.diag_part(covariance)
  return tf.reduce_any(tf.not_equal(covariance, 0))
