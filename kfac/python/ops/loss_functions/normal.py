"""Losses under normal distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.loss_functions import base
from kfac.python.ops.loss_functions import checks
from kfac.python.ops.loss_functions import distributions
from kfac.python.ops.loss_functions import inner_space
from kfac.python.ops.utils import hints


class NormalMeanNegativeLogProbLoss(
    inner_space.InnerSpaceLoss, base.NaturalParamsNegativeLogProbLoss):
  """Squared error: normal targets whose mean is the inputs; fixed variance.

  F = I / var and B = I / sqrt(var).
  """

  def __init__(self, mean: hints.TensorLike, var: hints.Scalar = 0.5,
               targets: hints.TensorLike | None = None,
               seed: int | None = None) -> None:
    """Makes the loss.

    Args:
      mean: Float tensor [B, ...], the inputs.
      var: Number or tensor > 0 that broadcasts to the mean's shape. At 0.5 the
        loss is the sum of squared errors, up to a constant.
      targets: Tensor or array shaped like the mean, or None.
      seed: Int, the operation seed of samples, or None.

    Raises:
      TypeError: If the mean is not floating point, or a tensor is eager.
      ValueError: If a shape does not fit, or a number given as `var` is not
        positive.
    """
    mean = checks.float_tensor("mean", mean, min_rank=1)
    super().__init__(
        seed=seed, targets=checks.targets(targets, mean.shape))
    self._mean = mean
    self._var = self._checked_var(var)
    self._std = tf.sqrt(self._var)
    self._dist = distributions.Normal(mean, self._var)
    self._set_inner_shape(tf.shape(mean), mean.shape)

  def _checked_var(self, var):
    """Returns `var` as a tensor of the mean's dtype."""
    checks.positive("var", var)
    var = checks.graph_tensor("var", var, self._mean.dtype)
    shape = self._mean.shape
    try:
      fits = shape.is_compatible_with(
          tf.broadcast_static_shape(shape, var.shape))
    except ValueError:
      fits = False
    if not fits:
      raise ValueError(
          f"var must broadcast to the mean's shape {shape}, got {var.shape}.")
    return var

  @property
  def params(self) -> tf.Tensor:
    """The mean."""
    return self._mean

  def multiply_fisher(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns F v, shaped like v."""
    return vector / self._var

  def multiply_fisher_factor(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns B v, shaped like v."""
    return vector / self._std

  def multiply_fisher_factor_transpose(self, vector: tf.Tensor) -> tf.Tensor:
    """Returns B^T v, shaped like v."""
    return self.multiply_fisher_factor(vector)  # B is diagonal.


class NormalMeanVarianceNegativeLogProbLoss(inner_space.InnerSpaceLoss):
  """Normal targets with mean and variance as the inputs.

  Vectors are pairs (mean part, variance part), each [B, n]. With v the
  variance, F = diag(1 / v, 1 / (2 v^2)) and B = diag(v^-1/2, 1 / (sqrt(2) v));
  the inner space [B, 2 n] holds the mean part first. Since the parameters are
  not natural, the Hessian depends on the targets and may be indefinite. It then
  has no factor, so that Hessian products are not defined.
  """

  def __init__(self, mean: hints.TensorLike, variance: hints.TensorLike,
               targets: hints.TensorLike | None = None,
               seed: int | None = None) -> None:
    """Makes the loss.

    Args:
      mean: Float tensor [B, n].
      variance: Tensor > 0 of the same shape and dtype.
      targets: Tensor or array [B, n], or None.
      seed: Int, the operation seed of samples, or None.

    Raises:
      AssertionError: If the mean or the variance does not have rank 2.
      TypeError: If a dtype does not fit, or a tensor is eager.
      ValueError: If a shape does not fit, or a variance given as numbers is
        not positive.
    """
    checks.positive("variance", variance)
    mean = checks.float_tensor("mean", mean, min_rank=0)
    v = checks.float_tensor("variance", variance, min_rank=0)
    for name, tensor in (("mean", mean), ("variance", v)):
      if tensor.shape.rank != 2:
        raise AssertionError(
            f"{name} must have rank 2, got shape {tensor.shape}.")
    if v.dtype != mean.dtype:
      raise TypeError(
          f"variance must have the mean's dtype {mean.dtype.name}, got "
          f"{v.dtype.name}.")
    if not v.shape.is_compatible_with(mean.shape):
      raise ValueError(
          f"variance must have the mean's shape {mean.shape}, got {v.shape}.")
    super().__init__(seed=seed, targets=checks.targets(targets, mean.shape))
    self._mean = mean
    self._variance = v
    self._factor = (tf.rsqrt(v), 1. / (math.sqrt(2.) * v))
    self._dist = distributions.MultivariateNormalDiag(mean, v)
    batch_size, size = mean.shape.as_list()
    self._set_inner_shape(
        tf.shape(mean) * [1, 2],
        tf.TensorShape([batch_size, None if size is None else 2 * size]))

  @property
  def params(self) -> tuple[tf.Tensor, tf.Tensor]:
    """The pair (mean, variance)."""
    return self._mean, self._variance

  def _multiply_by_factor(self, mean_vec, variance_vec):
    """Returns B, which is diagonal, times a vector given in its two parts."""
    return mean_vec * self._factor[0], variance_vec * self._factor[1]

  def multiply_fisher(
      self, vecs: Sequence[tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the pair F v of a pair v."""
    return self._multiply_by_factor(*self._multiply_by_factor(*vecs))

  def multiply_fisher_factor(
      self, vecs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the pair B v of v [B, 2 n]."""
    return self._multiply_by_factor(*tf.split(vecs, 2, axis=1))

  def multiply_fisher_factor_transpose(
      self, vecs: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns B^T v [B, 2 n] of a pair v."""
    return tf.concat(self._multiply_by_factor(*vecs), axis=1)

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
