"""The loss of independent zeros and ones."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.loss_functions import base
from kfac.python.ops.loss_functions import checks
from kfac.python.ops.loss_functions import distributions
from kfac.python.ops.loss_functions import inner_space
from kfac.python.ops.utils import hints


class MultiBernoulliNegativeLogProbLoss(
    inner_space.InnerSpaceLoss, base.NaturalParamsNegativeLogProbLoss):
  """Sigmoid cross entropy.

  With p the probabilities, F = diag(p (1 - p)) and B its square root.
  """

  def __init__(self, logits: hints.TensorLike,
               targets: hints.TensorLike | None = None,
               seed: int | None = None) -> None:
    """Makes the loss.

    Args:
      logits: Float tensor [B, ...] of log-odds, the inputs.
      targets: Numbers in [0, 1] of any numeric type or bool, shaped like the
        logits; or None.
      seed: Int, the operation seed of samples, or None.

    Raises:
      TypeError: If the logits are not floating point, or a tensor is eager.
      ValueError: If the rank of the logits is too small.
    """
    logits = checks.float_tensor("logits", logits, min_rank=2)
    super().__init__(seed=seed)
    self._set_targets(*checks.targets(targets, logits.shape))
    self._logits = logits
    self._dist = distributions.Bernoulli(logits)
    self._fisher = self._dist.variance()
    self._factor = tf.sqrt(self._fisher)
    self._set_inner_shape(tf.shape(logits), logits.shape)

  @property
  def params(self) -> tf.Tensor:
    """The logits."""
    return self._logits

  def multiply_fisher(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns F v, shaped like v."""
    return vector * self._fisher

  def multiply_fisher_factor(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns B v, shaped like v."""
    return vector * self._factor

  def multiply_fisher_factor_transpose(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns B^T v, shaped like v."""
    return self.multiply_fisher_factor(vector)  # B is diagonal.
