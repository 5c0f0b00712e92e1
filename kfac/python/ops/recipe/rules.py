"""The settings of the recipe, and the rules by which they depend on the model.

The quadratic model determines the step size and the momentum (Martens & Grosse
2015, sections 6.4 and 7). The damping adapts to the error of the change of the
loss that the quadratic model predicts (section 6.5), but rises while steps are
predicted to remove too large a share of the loss. The gradient is computed from
the whole batch, the statistics and the quadratic model from a part of it
(section 8). g3doc/performance.md reports the results, g3doc/recipe.md the
reasons.

Rules depend on the number of examples in a batch and on the operations that a
step takes, never on the time that it takes: the same program has the same
settings on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from kfac.python.ops import fisher_blocks as fb
from kfac.python.ops import utils
from kfac.python.ops.kfac_utils import schedules

# Arguments of KfacOptimizer that are the same for all models.
SETTINGS = {
    # The quadratic model determines the step size and the momentum at every
    # update. A learning rate of 1 does not scale the step.
    "momentum_type": "qmodel",
    "learning_rate": 1.,
    "momentum": 0.,
    "adapt_damping": True,
    "damping_adaptation_interval": 5,
    # Per update: in an interval the damping changes by 0.97**5.
    "damping_adaptation_decay": 0.97,
    "min_damping": 1e-4,
    # The inverses use a tenth of the damping of the quadratic model. The
    # quadratic model shortens a step that is too long as a result.
    "precon_damping_mult": 0.1,
}
# The statistics use the first 1 / STATISTICS_DIVISOR of the batch, but at least
# MIN_EXAMPLES if it has so many: what makes them reliable is the number of
# examples, not their share.
STATISTICS_DIVISOR = 4
MIN_EXAMPLES = 125
# The moving averages extend over so many covariance updates that these have
# EXAMPLES_PER_ROW examples for each row of the widest covariance, within the
# bounds.
AVERAGED_UPDATES = (10., 40.)
EXAMPLES_PER_ROW = 3.
# The quadratic model uses the 1 / QMODEL_DIVISOR of the batch with the largest
# losses, and a sample of the same size that represents the other examples. A
# smaller divisor makes them about MIN_EXAMPLES if the batch is small.
QMODEL_DIVISOR = 8
# Bounds of the initial damping, which is then adapted, and the batch size whose
# initial damping would be 1. The damping has to exceed the sampling noise of
# the batch, which falls as the inverse of the batch size: with 0.01, recurrent
# networks and autoencoders train badly in small batches; with 0.1, most
# networks start slowly in large ones.
LEAST_DAMPING, MOST_DAMPING = 0.01, 0.1
WHOLE_DAMPING = 5
# Bounds of the share of the loss that a step may be predicted to remove, and
# the batch size whose share would be 1. A step that removes half of the loss
# fits each example of its batch (see optimizer/damping.py). The larger the
# batch, the more the fit holds for other examples.
LEAST_DECREASE, MOST_DECREASE = 0.25, 0.5
WHOLE_DECREASE = 1500
# Inverses are updated at each of the first BURN_IN updates, and then so rarely
# that they take at most INVERSE_SHARE of the operations of the gradients, but
# every INV_EVERY[0] to INV_EVERY[1] updates. The same for covariances.
BURN_IN = 10
INVERSE_SHARE, INV_EVERY = 0.15, (5, 20)
COVARIANCE_SHARE, COV_EVERY = 0.1, (1, 4)


class Layer(NamedTuple):
  """The sizes of a layer with Kronecker factors.

  Attributes:
    num_in: Int, the rows of A.
    num_out: Int, the rows of G.
    num_rows: Number of rows of the inputs: examples, times uses or locations.
    num_statistics_rows: Number of those that the statistics use.
  """

  num_in: int
  num_out: int
  num_rows: float
  num_statistics_rows: float


def num_statistics_examples(batch_size: Any) -> Any:
  """Computes the number of examples for the statistics.

  Args:
    batch_size: Int or integer tensor [], the number of examples in the batch.

  Returns:
    Int or integer tensor [].
  """
  quarter = (batch_size - 1) // STATISTICS_DIVISOR + 1
  return _clip(MIN_EXAMPLES, quarter, batch_size)


def qmodel_divisor(batch_size: Any) -> Any:
  """Computes the argument `one_in` of sample_examples.

  Args:
    batch_size: Int or integer tensor [], the number of examples in the batch.

  Returns:
    Int or integer tensor [] from 1 to QMODEL_DIVISOR.
  """
  return _clip(2 * batch_size // MIN_EXAMPLES, 1, QMODEL_DIVISOR)


def initial_damping(batch_size: Any) -> float:
  """Computes the argument `damping` of KfacOptimizer.

  Args:
    batch_size: Int or integer tensor [], the number of examples in the batch.

  Returns:
    Float; for a tensor, that of small batches.
  """
  if tf.is_tensor(batch_size):
    return MOST_DAMPING
  return _clip(WHOLE_DAMPING / batch_size, LEAST_DAMPING, MOST_DAMPING)


def max_predicted_decrease(batch_size: Any) -> Any:
  """Computes the argument `max_predicted_decrease` of KfacOptimizer.

  Args:
    batch_size: Int or integer tensor [], the number of examples in the batch.

  Returns:
    Float or float tensor [].
  """
  return _clip(batch_size / WHOLE_DECREASE, LEAST_DECREASE, MOST_DECREASE)


def _clip(value, least, most):
  """Returns a value within bounds: a number, or a tensor if one of them is."""
  if any(map(tf.is_tensor, (value, least, most))):
    return tf.clip_by_value(value, least, most)
  return min(max(value, least), most)


def choose(layer_collection: Any, batch_size: Any,
           expected_size: int | None = None) -> dict:
  """Makes the choices that depend on the model.

  Args:
    layer_collection: LayerCollection with the layers of the whole batch.
    batch_size: Int or integer tensor [], the number of examples in the batch.
    expected_size: Int, the usual number if it is a tensor; None if unknown.

  Returns:
    Dict by the names of the choices of Recipe.
  """
  expected = expected_size or batch_size
  layers = [] if tf.is_tensor(expected) else kronecker_layers(
      layer_collection, expected)
  chosen = schedule(layers)
  return {
      "cov_ema_decay": cov_ema_decay(layers, chosen.cov_every),
      "damping": initial_damping(expected),
      "num_statistics_examples": num_statistics_examples(batch_size),
      "qmodel_divisor": qmodel_divisor(batch_size),
      "max_predicted_decrease": max_predicted_decrease(batch_size),
      "schedule": chosen}


def schedule(layers: Sequence[Layer]) -> schedules.Schedule:
  """Chooses the schedule of covariances and inverses.

  The operations of gradients, covariances and inverses are those of
  g3doc/performance.md.

  Args:
    layers: List of Layer; empty if the sizes are unknown.

  Returns:
    Schedule.
  """
  def every(cost, share, bounds):
    gradients = sum(6. * x.num_rows * x.num_in * x.num_out for x in layers)
    if not gradients:
      return bounds[0]
    return _clip(math.ceil(cost / (share * gradients)), *bounds)

  covariances = sum(x.num_statistics_rows * (x.num_in**2 + x.num_out**2)
                    for x in layers)
  inverses = sum(2. * (x.num_in**3 + x.num_out**3) for x in layers)
  return schedules.Schedule(
      every(covariances, COVARIANCE_SHARE, COV_EVERY),
      every(inverses, INVERSE_SHARE, INV_EVERY), BURN_IN)


def cov_ema_decay(layers: Sequence[Layer], cov_every: int) -> float:
  """Computes the argument `cov_ema_decay` of KfacOptimizer.

  Args:
    layers: List of Layer; empty if the sizes are unknown.
    cov_every: Int, updates from one covariance update to the next.

  Returns:
    Float, the decay in one update.
  """
  wanted = max((
      EXAMPLES_PER_ROW * max(layer.num_in, layer.num_out)
      / layer.num_statistics_rows for layer in layers), default=0.)
  num_updates = _clip(wanted, *AVERAGED_UPDATES)
  return (1. - 1. / num_updates) ** (1. / cov_every)


def kronecker_layers(layer_collection: Any, batch_size: int) -> list[Layer]:
  """Lists the sizes of the layers with Kronecker factors.

  Args:
    layer_collection: LayerCollection with the layers of the whole batch.
    batch_size: Int, the number of examples.

  Returns:
    List of Layer.
  """
  layers = []
  share = num_statistics_examples(batch_size) / batch_size
  for params, block in layer_collection.fisher_blocks.items():
    if isinstance(block, fb.KroneckerProductFB):
      weights, *bias = utils.ensure_sequence(params)
      *sizes, num_out = weights.shape.as_list()
      num_rows = sum(
          _num_elements(outputs, batch_size) / num_out
          for outputs in tf.nest.flatten(block.tensors_to_compute_grads()))
      layers.append(Layer(math.prod(sizes) + len(bias), num_out, num_rows,
                          share * num_rows))
  return layers


def _num_elements(tensor, batch_size):
  """Returns the number of elements, with batch_size for unknown sizes."""
  return math.prod(batch_size if size is None else size
                   for size in tensor.shape.as_list())
