"""The norm constraint: no step changes the model by more than so much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


def inner_product(vectors: Sequence[Any], others: Sequence[Any]) -> tf.Tensor:
  """Sum of elementwise products over two lists of tensors.

  Args:
    vectors: List of tensors or IndexedSlices.
    others: The same, shaped like them.

  Returns:
    Scalar tensor.
  """
  return tf.add_n([
      tf.reduce_sum(tf.convert_to_tensor(a) * tf.convert_to_tensor(b))
      for a, b in zip(vectors, others, strict=True)])


def clip_coefficient(squared_norm: hints.Scalar, learning_rate: hints.Scalar,
                     constraint: hints.Scalar) -> tf.Tensor:
  """By what to scale an update so that it respects the constraint.

  Args:
    squared_norm: Scalar tensor g . F^-1 g, the squared norm of the update
      F^-1 g by the damped F.
    learning_rate: Scalar.
    constraint: Scalar, bound of lr^2 times this norm.

  Returns:
    Scalar tensor min(1, sqrt(constraint / (lr^2 norm))) (Ba, Grosse & Martens
    2017, section 5).
  """
  dtype = squared_norm.dtype
  learning_rate = scalars.cast_scalar(learning_rate, dtype)
  scaled = tf.square(learning_rate) * squared_norm
  return tf.minimum(
      tf.ones([], dtype),
      tf.sqrt(scalars.cast_scalar(constraint, dtype) / scaled))
