"""Functions of a step: inner products, clip coefficient, velocity updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars


def inner_product(vectors: Sequence[Any], others: Sequence[Any]) -> tf.Tensor:
  """Sum of elementwise products over two lists of tensors.

  Args:
    vectors: List of tensors or IndexedSlices.
    others: The same, shaped like them.

  Returns:
    Scalar tensor, float32 for half precision.
  """
  return tf.add_n([
      tf.reduce_sum(precision.as_wide_tensor(a) * precision.as_wide_tensor(b))
      for a, b in zip(vectors, others, strict=True)])


def clip_coefficient(squared_norm: tf.Tensor, learning_rate: hints.Scalar,
                     constraint: hints.Scalar) -> tf.Tensor:
  """Computes the scale of an update that satisfies the norm constraint.

  The constraint bounds lr^2 g . F^-1 g, which is twice the approximate KL
  divergence between the model before and after the step (Ba, Grosse & Martens
  2017, section 5).

  Args:
    squared_norm: Scalar tensor g . F^-1 g, with the damped F.
    learning_rate: Scalar lr.
    constraint: Scalar, the bound.

  Returns:
    Scalar tensor min(1, sqrt(constraint / (lr^2 g . F^-1 g))).
  """
  dtype = squared_norm.dtype
  learning_rate = scalars.cast_scalar(learning_rate, dtype)
  scaled = tf.square(learning_rate) * squared_norm
  return tf.minimum(
      tf.ones([], dtype),
      tf.sqrt(scalars.cast_scalar(constraint, dtype) / scaled))


def update_velocities(velocities: Sequence[Any], vectors: Sequence[Any],
                      decay: hints.Scalar,
                      vec_coeff: hints.Scalar = 1.0) -> list:
  """Updates v <- decay v + vec_coeff vec.

  Args:
    velocities: List of variables v.
    vectors: List of tensors or IndexedSlices vec, shaped like them.
    decay: Scalar.
    vec_coeff: Scalar.

  Returns:
    List of tensors, the new velocities.
  """
  results = []
  for velocity, vector in zip(velocities, vectors, strict=True):
    dtype = velocity.dtype.base_dtype
    old, vector = (precision.as_wide_tensor(x) for x in (velocity, vector))
    new = tf.cast(scalars.cast_scalar(decay, old.dtype) * old +
                  scalars.cast_scalar(vec_coeff, old.dtype) * vector, dtype)
    with tf.control_dependencies([tf.assign(velocity, new)]):
      results.append(tf.identity(new))
  return results
