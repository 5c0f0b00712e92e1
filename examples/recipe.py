"""The recipe: one setting of K-FAC for all models and data sets.

The quadratic model picks step size and momentum (Martens & Grosse 2015,
sections 6.4 and 7); damping follows how well it foretells the loss (section
6.5); statistics are those of a small part of each batch, and so is the
quadratic model (section 8), the gradient is that of all of it. What it reaches
is measured in g3doc/performance.md.
"""

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.ops.kfac_utils import schedules

# Arguments of KfacOptimizer.
RECIPE = {
    # The quadratic model picks step size and momentum at every update ...
    "momentum_type": "qmodel",
    # ... and so they are left as they are.
    "learning_rate": 1.,
    "momentum": 0.,
    # Statistics are remembered for about ten updates.
    "cov_ema_decay": 0.9,
    # The damping to begin with, from which it follows how well the quadratic
    # model foretells the change of the loss.
    "damping": 0.1,
    "adapt_damping": True,
    "damping_adaptation_interval": 2,
    # Per update: after an interval damping changes by 0.97**2 at most.
    "damping_adaptation_decay": 0.97,
    "min_damping": 1e-4,
    # The inverses are damped by a tenth of it. Thus the direction is bolder
    # than the quadratic model, which shortens the step where that is too bold.
    "precon_damping_mult": 0.1,
}
# The statistics are those of the batch's first examples, one in so many.
STATISTICS_ONE_IN = 4
# The quadratic model is that of the examples with the largest losses, one in so
# many of the batch, and of as many that stand for the others.
QUADRATIC_MODEL_ONE_IN = 8
# Covariances are updated at every update; the inverses at those of the
# burn-in, and every so many updates after it.
SCHEDULE = schedules.Schedule(cov_every=1, inv_every=5, burn_in=20)


def make_optimizer(register_pass, example_losses, train_batch, loss_fn,
                   learning_rate=RECIPE["learning_rate"]):
  """Makes the optimizer.

  Args:
    register_pass: Function of (layer_collection, examples) that builds a pass
      through the model for these examples of the batch, int tensor [n], and
      registers its layers and loss.
    example_losses: Tensor [B], the loss of each example of the pass that is
      trained.
    train_batch: The whole batch as `loss_fn` takes it, tensors [B, ...].
    loss_fn: Function of it that builds the mean loss, with the variables that
      there are.
    learning_rate: Scalar by which the steps of the quadratic model are scaled.

  Returns:
    KfacOptimizer.
  """
  # Not that of the losses: no other pass may depend on the one that is trained.
  batch_size = tf.shape(tf.nest.flatten(train_batch)[0])[0]
  first = tf.range((batch_size - 1) // STATISTICS_ONE_IN + 1)
  sampled, weights = kfac.optimizer.sample_examples(
      example_losses, QUADRATIC_MODEL_ONE_IN)
  statistics, quadratic_model = kfac.LayerCollection(), kfac.LayerCollection()
  register_pass(statistics, first)
  register_pass(quadratic_model, sampled)
  return kfac.KfacOptimizer(
      **dict(RECIPE, learning_rate=learning_rate),
      layer_collection=statistics, qmodel_losses=quadratic_model,
      qmodel_example_weights=weights, batch_size=batch_size,
      train_batch=train_batch, loss_fn=loss_fn)
