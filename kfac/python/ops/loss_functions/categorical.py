"""Losses of categorical distributions."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.loss_functions import base
from kfac.python.ops.loss_functions import checks
from kfac.python.ops.loss_functions import distributions
from kfac.python.ops.loss_functions import inner_space
from kfac.python.ops.utils import hints


def _dot(left, right):
  """Returns the inner products of rows, keeping a last axis of size 1."""
  return tf.reduce_sum(left * right, axis=-1, keepdims=True)


class CategoricalLogitsNegativeLogProbLoss(
    inner_space.InnerSpaceLoss, base.NaturalParamsNegativeLogProbLoss):
  """Softmax cross entropy with integer targets.

  With p the probabilities of one example and q = sqrt(p), F = diag(p) - p p^T
  and B = diag(q) - p q^T; B B^T = F because q^T q = 1.
  """

  _DISTRIBUTION = distributions.Categorical

  def __init__(self, logits: hints.TensorLike,
               targets: hints.TensorLike | None = None,
               seed: int | None = None) -> None:
    """Makes the loss.

    Args:
      logits: Float tensor [B, ..., K] of unnormalized log-probabilities, the
        inputs.
      targets: Classes, ints [B, ...], or None.
      seed: Int, the operation seed of samples, or None.

    Raises:
      TypeError: If the logits are not floating point, or a tensor is eager.
      ValueError: If the rank of the logits is too small.
    """
    logits = checks.float_tensor("logits", logits, min_rank=2)
    super().__init__(seed=seed)
    self._set_targets(*self._checked_targets(targets, logits))
    self._logits_minibatches = [logits]
    self._set_logits(logits)

  def _set_logits(self, logits):
    """Makes the tensors that depend on the logits of all minibatches."""
    self._logits = logits
    self._dist = self._DISTRIBUTION(logits)
    self._probs = self._dist.probs
    self._sqrt_probs = tf.sqrt(self._probs)
    self._set_inner_shape(tf.shape(logits), logits.shape)

  def _checked_targets(self, targets, logits):
    """Returns the pair of `checks.targets`."""
    return checks.targets(
        targets, logits.shape[:-1], integer=True, hint=" (one-hot rows are for "
        "the class OnehotCategoricalLogitsNegativeLogProbLoss)")

  def register_additional_minibatch(
      self, logits: hints.TensorLike,
      targets: hints.TensorLike | None = None) -> None:
    """Appends examples: the loss is that of all minibatches in one batch.

    Register all minibatches before the loss or its products are used.

    Args:
      logits: Like the constructor's, of any batch size.
      targets: Like the constructor's, given if those were.

    Raises:
      TypeError: If the dtype of the logits does not fit, or a tensor is eager.
      ValueError: If the shape of the logits does not fit.
    """
    logits = checks.float_tensor("logits", logits, min_rank=2)
    first = self._logits_minibatches[0]
    if logits.dtype != first.dtype:
      raise TypeError(
          f"logits must be {first.dtype.name} as before, got "
          f"{logits.dtype.name}.")
    if not logits.shape[1:].is_compatible_with(first.shape[1:]):
      raise ValueError(
          f"logits must have shape {first.shape[1:]} behind the batch, got "
          f"{logits.shape[1:]}.")
    self._append_targets(*self._checked_targets(targets, logits))
    self._logits_minibatches.append(logits)
    self._set_logits(tf.concat([self._logits, logits], axis=0))

  def _append_targets(self, targets, error):
    """Appends the targets of a minibatch, or keeps the error."""
    if (targets is None) != (self._targets is None):
      error = ValueError("targets must be given for all minibatches or none, "
                         f"got {targets} after {self._targets}.")
    first = self._targets
    if first is None or error is not None or self._targets_error is not None:
      self._set_targets(first, error)
    else:
      more = tf.cast(targets, first.dtype)
      self._targets = tf.concat([first, more], axis=0)

  @property
  def input_minibatches(self) -> list:
    """List of the logits of each registered minibatch."""
    return list(self._logits_minibatches)

  @property
  def params(self) -> tf.Tensor:
    """The logits."""
    return self._logits

  def multiply_fisher(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns F v, shaped like v."""
    return self._probs * (vector - _dot(self._probs, vector))

  def multiply_fisher_factor(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns B v, shaped like v."""
    return (self._sqrt_probs * vector -
            self._probs * _dot(self._sqrt_probs, vector))

  def multiply_fisher_factor_transpose(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns B^T v, shaped like v."""
    return self._sqrt_probs * (vector - _dot(self._probs, vector))


class OnehotCategoricalLogitsNegativeLogProbLoss(
    CategoricalLogitsNegativeLogProbLoss):
  """Softmax cross entropy with targets and samples as one-hot rows.

  Targets are [B, ..., K], of any numeric type; rows may also be probabilities.
  """

  _DISTRIBUTION = distributions.OnehotCategorical

  def _checked_targets(self, targets, logits):
    return checks.targets(targets, logits.shape)
