"""The recipe: one configuration of K-FAC for all models and data sets.

The quadratic model determines the step size and the momentum (Martens & Grosse
2015, sections 6.4 and 7). The damping adapts to the error of the change of the
loss that the quadratic model predicts (section 6.5), but rises while steps are
predicted to remove too large a share of the loss. The gradient is computed from
the whole batch, the statistics and the quadratic model from a part of it
(section 8). g3doc/performance.md reports the results, g3doc/tuning.md what the
bound of the share does.

The settings are the same for all batch sizes, except for two. The first is the
share of the loss. A step that removes half of the loss fits each example of its
batch (see optimizer/damping.py). The larger the batch, the more the fit holds
for other examples, and the fewer updates undo it: the bound is half of a half,
and grows with the batch size from 375 to 750 examples to the whole half.

The second is the part of the batch. With 500 examples or more, it is a quarter.
What makes the statistics reliable is the number of examples, not their share: a
quarter of 50 would be 12 examples, for the covariance [785, 785] of an image.
So the part does not shrink below a quarter of 500: with fewer than 125
examples, the statistics and the quadratic model use the whole batch.
"""

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.ops.kfac_utils import schedules

# Arguments of KfacOptimizer.
RECIPE = {
    # The quadratic model determines the step size and the momentum at every
    # update. A learning rate of 1 does not scale the step.
    "momentum_type": "qmodel",
    "learning_rate": 1.,
    "momentum": 0.,
    # The statistics average over about ten updates.
    "cov_ema_decay": 0.9,
    # The initial damping, which is then adapted.
    "damping": 0.1,
    "adapt_damping": True,
    "damping_adaptation_interval": 2,
    # Per update: in an interval the damping changes by at most 0.97**2.
    "damping_adaptation_decay": 0.97,
    "min_damping": 1e-4,
    # The inverses use a tenth of the damping of the quadratic model. The
    # quadratic model shortens a step that is too long as a result.
    "precon_damping_mult": 0.1,
}
# The statistics use the first 1 / STATISTICS_DIVISOR of the batch, but at least
# MIN_EXAMPLES if it has so many.
STATISTICS_DIVISOR = 4
MIN_EXAMPLES = 125
# The quadratic model uses the 1 / QMODEL_DIVISOR of the batch with the largest
# losses, and a sample of the same size that represents the other examples. A
# smaller divisor makes them about MIN_EXAMPLES if the batch is small.
QMODEL_DIVISOR = 8
# Bounds of the share of the loss that a step may be predicted to remove, and
# the batch size whose share would be 1.
LEAST_DECREASE, MOST_DECREASE = 0.25, 0.5
WHOLE_DECREASE = 1500
# Covariances are updated at every update, inverses at each of the first 20
# updates and at every fifth update after that.
SCHEDULE = schedules.Schedule(cov_every=1, inv_every=5, burn_in=20)


def num_statistics_examples(batch_size):
  """Computes the number of examples for the statistics.

  Args:
    batch_size: Int or integer tensor [], the number of examples in the batch.

  Returns:
    Integer tensor [].
  """
  quarter = (batch_size - 1) // STATISTICS_DIVISOR + 1
  return tf.maximum(quarter, tf.minimum(batch_size, MIN_EXAMPLES))


def qmodel_divisor(batch_size):
  """Computes the argument `one_in` of sample_examples.

  Args:
    batch_size: Int or integer tensor [], the number of examples in the batch.

  Returns:
    Integer tensor [] from 1 to QMODEL_DIVISOR.
  """
  return tf.clip_by_value(2 * batch_size // MIN_EXAMPLES, 1, QMODEL_DIVISOR)


def max_predicted_decrease(batch_size):
  """Computes the argument `max_predicted_decrease` of KfacOptimizer.

  Args:
    batch_size: Int or integer tensor [], the number of examples in the batch.

  Returns:
    Float tensor [].
  """
  return tf.clip_by_value(
      batch_size / WHOLE_DECREASE, LEAST_DECREASE, MOST_DECREASE)


def make_optimizer(register_pass, example_losses, train_batch, loss_fn,
                   learning_rate=RECIPE["learning_rate"]):
  """Creates the optimizer.

  Args:
    register_pass: Function of (layer_collection, examples) that builds a
      forward pass for some examples of the batch, given by their indices (int
      tensor [n]), and registers its layers and loss.
    example_losses: Tensor [B], the loss of each example in the pass that
      computes the gradient.
    train_batch: The whole batch in the form that `loss_fn` takes, one or more
      tensors [B, ...].
    loss_fn: Function of `train_batch` that builds the mean loss with the
      existing variables.
    learning_rate: Scalar, multiplies the steps of the quadratic model.

  Returns:
    KfacOptimizer.
  """
  # From the batch, because the passes for the statistics and for the quadratic
  # model may not depend on the pass that computes the gradient.
  batch_size = tf.shape(tf.nest.flatten(train_batch)[0])[0]
  first = tf.range(num_statistics_examples(batch_size))
  sampled, weights = kfac.optimizer.sample_examples(
      example_losses, qmodel_divisor(batch_size))
  statistics, quadratic_model = kfac.LayerCollection(), kfac.LayerCollection()
  register_pass(statistics, first)
  register_pass(quadratic_model, sampled)
  settings = {"max_predicted_decrease": max_predicted_decrease(batch_size),
              **RECIPE, "learning_rate": learning_rate}
  return kfac.KfacOptimizer(
      **settings,
      layer_collection=statistics, qmodel_losses=quadratic_model,
      qmodel_example_weights=weights, batch_size=batch_size,
      train_batch=train_batch, loss_fn=loss_fn)
