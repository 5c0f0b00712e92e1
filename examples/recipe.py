"""The recipe: one setting of K-FAC for all models and data sets.

The quadratic model picks step size and momentum (Martens & Grosse 2015,
sections 6.4 and 7); damping follows how well it foretells the loss (section
6.5); statistics are those of a small part of each batch (section 8), gradient
and quadratic model those of all of it. What it reaches is measured in
g3doc/performance.md.
"""

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
# The statistics are those of the batch's first cases, one in so many. The
# quadratic model needs all cases: on a part of them it would not see what the
# gradient is made of, once a classifier is wrong about few cases.
CURVATURE_FRACTION = 4
# Covariances are updated at every update; the inverses at those of the
# burn-in, and every so many updates after it.
SCHEDULE = schedules.Schedule(cov_every=1, inv_every=5, burn_in=20)


def make_optimizer(register_pass, batch_size, train_batch, loss_fn,
                   learning_rate=RECIPE["learning_rate"]):
  """Makes the optimizer.

  Args:
    register_pass: Function of (layer_collection, part) that registers layers
      and loss of the pass that is trained, if `part` is None, or else of
      another pass that it builds through the model, on that slice of the batch.
    batch_size: Int or int tensor of shape [].
    train_batch: The whole batch, in whatever form `loss_fn` takes it.
    loss_fn: Function of it that builds the mean loss, with the variables that
      there are.
    learning_rate: Scalar by which the steps of the quadratic model are scaled.

  Returns:
    KfacOptimizer.
  """
  part = (batch_size - 1) // CURVATURE_FRACTION + 1
  statistics, quadratic_model = kfac.LayerCollection(), kfac.LayerCollection()
  register_pass(statistics, slice(None, part))
  register_pass(quadratic_model, None)
  return kfac.KfacOptimizer(
      **dict(RECIPE, learning_rate=learning_rate),
      layer_collection=statistics, qmodel_losses=quadratic_model,
      batch_size=batch_size, train_batch=train_batch, loss_fn=loss_fn)
