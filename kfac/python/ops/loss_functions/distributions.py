"""The distributions of the losses: log-density and samples.

Members have the names of `tf.distributions`; `stateless_sample` takes the seed
of a stateless op, an int tensor [2], which alone determines the sample. Values
of any numeric type are cast, and densities include their constants. Formulas:
Bishop 2006, "Pattern recognition and machine learning", appendix B.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.loss_functions import broadcasting
from kfac.python.ops.utils import precision


class Normal:
  """Independent normals, log p(x) = -(x - m)^2 / (2 v) - log(2 pi v) / 2."""

  def __init__(self, mean: tf.Tensor, var: tf.Tensor) -> None:
    """Keeps the parameters.

    Args:
      mean: Float tensor.
      var: Tensor > 0 of the same dtype that broadcasts with the mean.
    """
    self.loc = mean
    self.scale = tf.sqrt(var)
    self._var = var

  def log_prob(self, value: Any) -> tf.Tensor:
    """Returns the log-density of each entry after broadcasting."""
    residual = tf.cast(value, self.loc.dtype) - self.loc
    return -0.5 * (tf.square(residual) / self._var +
                   tf.log(2. * math.pi * self._var))

  def sample(self, seed: int | None = None) -> tf.Tensor:
    """Returns a sample of every entry, given an operation seed."""
    return self._sample(tf.random_normal, seed)

  def stateless_sample(self, seed: tf.Tensor) -> tf.Tensor:
    """Returns a sample of every entry, given a stateless seed."""
    return self._sample(tf.random.stateless_normal, seed)

  def _sample(self, normal, seed):
    """Scales the noise of a random op."""
    shape = broadcasting.Broadcast(self.loc, self._var).shape
    noise = normal(shape, dtype=self.loc.dtype, seed=seed)
    return self.loc + self.scale * noise

  def mean(self) -> tf.Tensor:
    """Returns the mean."""
    return self.loc

  def variance(self) -> tf.Tensor:
    """Returns the variance."""
    return self._var

  def stddev(self) -> tf.Tensor:
    """Returns the standard deviation."""
    return self.scale


class MultivariateNormalDiag(Normal):
  """Normals with a diagonal covariance; one log-density per example."""

  def log_prob(self, value: Any) -> tf.Tensor:
    """Returns the log-density of each example, without the last axis."""
    return tf.reduce_sum(super().log_prob(value), axis=-1)


class Categorical:
  """One of K classes, log p(k) = logit_k - log sum_j exp(logit_j)."""

  def __init__(self, logits: tf.Tensor) -> None:
    """Keeps the parameters.

    Args:
      logits: Float tensor [..., K].
    """
    self.logits = logits
    self.probs = tf.nn.softmax(logits)

  def log_prob(self, value: Any) -> tf.Tensor:
    """Returns the log-probability [...] of classes, ints [...]."""
    return -tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.cast(value, tf.int64), logits=self.logits)

  def sample(self, seed: int | None = None) -> tf.Tensor:
    """Returns classes, int32 [...], given an operation seed."""
    return self._sample(tf.random.categorical, seed)

  def stateless_sample(self, seed: tf.Tensor) -> tf.Tensor:
    """Returns classes, int32 [...], given a stateless seed."""
    return self._sample(tf.random.stateless_categorical, seed)

  def _sample(self, categorical, seed):
    """Draws one class of each row by a random op."""
    shape = tf.shape(self.logits)
    rows = precision.as_wide_tensor(tf.reshape(self.logits, [-1, shape[-1]]))
    classes = categorical(rows, 1, dtype=tf.int32, seed=seed)
    # For logits that are not finite TensorFlow draws the class K, which does
    # not exist. The loss on such a sample is not finite either.
    classes = tf.reshape(tf.minimum(classes, shape[-1] - 1), shape[:-1])
    classes.set_shape(self.logits.shape[:-1])
    return classes


class OnehotCategorical(Categorical):
  """The same with classes, also the sampled ones, as one-hot rows."""

  def log_prob(self, value: Any) -> tf.Tensor:
    """Returns the log-probability [...] of one-hot rows [..., K]."""
    return -tf.nn.softmax_cross_entropy_with_logits_v2(
        labels=tf.cast(value, self.logits.dtype), logits=self.logits)

  def _sample(self, categorical, seed):
    """Draws one class of each row by a random op, as one-hot rows."""
    rows = tf.one_hot(super()._sample(categorical, seed),
                      tf.shape(self.logits)[-1], dtype=tf.int32)
    rows.set_shape(self.logits.shape)
    return rows


class Bernoulli:
  """Independent zeros and ones, log p(1) = -log(1 + exp(-logit))."""

  def __init__(self, logits: tf.Tensor) -> None:
    """Keeps the parameters.

    Args:
      logits: Float tensor.
    """
    self.logits = logits
    self.probs = tf.sigmoid(logits)

  def log_prob(self, value: Any) -> tf.Tensor:
    """Returns the log-probability of each entry."""
    return -tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(value, self.logits.dtype), logits=self.logits)

  def sample(self, seed: int | None = None) -> tf.Tensor:
    """Returns zeros and ones, int32, given an operation seed."""
    return self._sample(tf.random_uniform, seed)

  def stateless_sample(self, seed: tf.Tensor) -> tf.Tensor:
    """Returns zeros and ones, int32, given a stateless seed."""
    return self._sample(tf.random.stateless_uniform, seed)

  def _sample(self, uniform, seed):
    """Compares the probabilities with the numbers of a random op."""
    # A uniform bfloat16 is a multiple of 1 / 128.
    probs = precision.as_wide_tensor(self.probs)
    numbers = uniform(tf.shape(self.logits), dtype=probs.dtype, seed=seed)
    return tf.cast(numbers < probs, tf.int32)

  def mean(self) -> tf.Tensor:
    """Returns p."""
    return self.probs

  def variance(self) -> tf.Tensor:
    """Returns p (1 - p)."""
    # sigmoid(-logit) stays positive where 1 - p would round to zero.
    return self.probs * tf.sigmoid(-self.logits)
