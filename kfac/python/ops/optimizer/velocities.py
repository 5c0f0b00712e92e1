"""Velocities: the moving sums of gradients or updates behind momentum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


def update_velocities(velocities: Sequence[Any], vectors: Sequence[Any],
                      decay: hints.Scalar,
                      vec_coeff: hints.Scalar = 1.0) -> list:
  """Sets v <- decay v + vec_coeff vec.

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
    new = (scalars.cast_scalar(decay, dtype) * velocity +
           scalars.cast_scalar(vec_coeff, dtype) * tf.convert_to_tensor(vector))
    with tf.control_dependencies([tf.assign(velocity, new)]):
      results.append(tf.identity(new))
  return results
