"""Losses under normal distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops.loss_functions import base
from kfac.python.ops.loss_functions import broadcasting
from kfac.python.ops.loss_functions import checks
from kfac.python.ops.loss_functions import distributions
from kfac.python.ops.loss_functions import inner_space
from kfac.python.ops.utils import hints


def _broadcast(mean, name, var):
  """Returns the Broadcast of a mean with a variance, the argument `name`."""
  try:
    broadcast = broadcasting.Broadcast(mean, var)
  except ValueError as error:
    raise ValueError(
        f"{name} must broadcast with the mean's shape {mean.shape}, got "
        f"{var.shape}.") from error
  if not mean.shape.is_compatible_with(broadcast.static_shape):
    logging.warning(
        "A mean of shape %s is broadcast to %s, the shape with the variance.",
        mean.shape, broadcast.static_shape)
  return broadcast


class NormalMeanNegativeLogProbLoss(
    inner_space.InnerSpaceLoss, base.NaturalParamsNegativeLogProbLoss):
  """Squared error: normal targets whose mean is the inputs; fixed variance.

  F = I / var and B = I / sqrt(var). If the mean is broadcast to the variance's
  shape, F sums over the entries that share a mean (see `Broadcast`).
  """

  def __init__(self, mean: hints.TensorLike, var: hints.Scalar = 0.5,
               targets: hints.TensorLike | None = None,
               seed: int | None = None) -> None:
    """Makes the loss.

    Args:
      mean: Float tensor [B, ...], the inputs.
      var: Number or tensor > 0 that broadcasts with the mean. At 0.5 the loss
        is the sum of squared errors, up to a constant.
      targets: Tensor or array of the shape after broadcasting, or None.
      seed: Int, the operation seed of samples, or None.

    Raises:
      TypeError: If the mean is not floating point, or a tensor is eager.
      ValueError: If a shape does not fit, or a number given as `var` is not
        positive.
    """
    mean = checks.float_tensor("mean", mean, min_rank=1)
    checks.positive("var", var)
    var = checks.graph_tensor("var", var, mean.dtype)
    self._broadcast = _broadcast(mean, "var", var)
    super().__init__(seed=seed)
    self._set_targets(*checks.targets(targets, self._broadcast.static_shape))
    self._mean = mean
    self._var = var
    self._std = tf.sqrt(var)
    self._dist = distributions.Normal(mean, var)
    self._set_inner_shape(self._broadcast.shape, self._broadcast.static_shape)

  @property
  def params(self) -> tf.Tensor:
    """The mean."""
    return self._mean

  def multiply_fisher(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns F v, shaped like v."""
    return self._broadcast.transpose(vector / self._var)

  def multiply_fisher_factor(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns B v, shaped like the mean."""
    return self._broadcast.transpose(vector / self._std)

  def multiply_fisher_factor_transpose(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns B^T v; v is shaped like the mean."""
    return vector / self._std


class NormalMeanVarianceNegativeLogProbLoss(inner_space.InnerSpaceLoss):
  """Normal targets with mean and variance as the inputs.

  Vectors are pairs (mean part, variance part), shaped like the mean and the
  variance. With v the variance, F = diag(1 / v, 1 / (2 v^2)) and
  B = diag(v^-1/2, 1 / (sqrt(2) v)); the inner space [B, 2 n] holds the part of
  the mean first. If the mean or the variance is broadcast, F sums over the
  entries of [B, n] that share a parameter, and B over those of the inner space
  (see `Broadcast`). Since the parameters are not natural, the Hessian depends
  on the targets and may be indefinite. It then has no factor, so that Hessian
  products are not defined.
  """

  def __init__(self, mean: hints.TensorLike, variance: hints.TensorLike,
               targets: hints.TensorLike | None = None,
               seed: int | None = None) -> None:
    """Makes the loss.

    Args:
      mean: Float tensor [B, n].
      variance: Tensor > 0 of the same dtype, of rank 2 or less, that broadcasts
        with the mean, for example [B, 1] or [n].
      targets: Tensor or array [B, n], or None.
      seed: Int, the operation seed of samples, or None.

    Raises:
      AssertionError: If the rank of the mean is not 2, or that of the variance
        is more than 2.
      TypeError: If a dtype does not fit, or a tensor is eager.
      ValueError: If a shape does not fit, or a variance given as numbers is
        not positive.
    """
    checks.positive("variance", variance)
    mean = checks.float_tensor("mean", mean, min_rank=0)
    v = checks.float_tensor("variance", variance, min_rank=0)
    if mean.shape.rank != 2:
      raise AssertionError(f"mean must have rank 2, got shape {mean.shape}.")
    if v.shape.rank is None or v.shape.rank > 2:
      raise AssertionError(
          f"variance must have rank 2 or less, got shape {v.shape}.")
    if v.dtype != mean.dtype:
      raise TypeError(
          f"variance must have the mean's dtype {mean.dtype.name}, got "
          f"{v.dtype.name}.")
    of_mean = _broadcast(mean, "variance", v)
    super().__init__(seed=seed)
    self._set_targets(*checks.targets(targets, of_mean.static_shape))
    self._mean = mean
    self._variance = v
    self._broadcasts = (of_mean, broadcasting.Broadcast(v, mean))
    self._factor = (tf.rsqrt(v), 1. / (math.sqrt(2.) * v))
    self._dist = distributions.MultivariateNormalDiag(mean, v)
    batch_size, size = of_mean.static_shape.as_list()
    self._set_inner_shape(
        of_mean.shape * [1, 2],
        tf.TensorShape([batch_size, None if size is None else 2 * size]))

  @property
  def params(self) -> tuple[tf.Tensor, tf.Tensor]:
    """The pair (mean, variance)."""
    return self._mean, self._variance

  def _factor_transpose(self, vecs):
    """Returns B^T v of a pair v: a list of two tensors [B, n]."""
    return [broadcast.apply(vec) * factor for vec, factor, broadcast in zip(
        vecs, self._factor, self._broadcasts, strict=True)]

  def _factor_product(self, vecs):
    """Returns the pair B v of two tensors [B, n]."""
    mean_part, variance_part = [
        broadcast.transpose(vec * factor) for vec, factor, broadcast in zip(
            vecs, self._factor, self._broadcasts, strict=True)]
    return mean_part, variance_part

  def multiply_fisher(
      self, vecs: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the pair F v of a pair v."""
    return self._factor_product(self._factor_transpose(vecs))

  def multiply_fisher_factor(
      self, vecs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the pair B v of v [B, 2 n]."""
    return self._factor_product(tf.split(vecs, 2, axis=1))

  def multiply_fisher_factor_transpose(
      self, vecs: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns B^T v [B, 2 n] of a pair v."""
    return tf.concat(self._factor_transpose(vecs), axis=1)

  def _no_hessian(self):
    return NotImplementedError(
        f"{type(self).__name__} has no Hessian products; use its Fisher "
        "products.")

  def multiply_hessian(self, vector: Any) -> Any:
    """Raises NotImplementedError."""
    raise self._no_hessian()

  def multiply_hessian_factor(self, vector: tf.Tensor) -> Any:
    """Raises NotImplementedError."""
    raise self._no_hessian()

  def multiply_hessian_factor_transpose(self, vector: Any) -> tf.Tensor:
    """Raises NotImplementedError."""
    raise self._no_hessian()

  def multiply_hessian_factor_replicated_one_hot(self,
                                                 index: Sequence[int]) -> Any:
    """Raises NotImplementedError."""
    raise self._no_hessian()

  @property
  def hessian_factor_inner_shape(self) -> tf.Tensor:
    """Raises NotImplementedError."""
    raise self._no_hessian()

  @property
  def hessian_factor_inner_static_shape(self) -> tf.TensorShape:
    """Raises NotImplementedError."""
    raise self._no_hessian()
