"""Half precision: what is computed in float32 for data of 16 bits.

Sums over examples, moving averages and inverses need more digits than float16
and bfloat16 have: a decay of 0.999 rounds to 1, and a bfloat16 counter stops at
256. Data of other types pass through, and no op is made for them.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints

_HALF = (tf.float16, tf.bfloat16)


def wide_dtype(dtype: hints.DType) -> tf.DType:
  """Returns float32 for float16 and bfloat16, otherwise the dtype itself."""
  dtype = tf.as_dtype(dtype).base_dtype
  return tf.float32 if dtype in _HALF else dtype


def as_wide_tensor(value: Any) -> tf.Tensor:
  """Returns a tensor, variable or array as a tensor of at least float32."""
  tensor = tf.convert_to_tensor(value)
  return tf.cast(tensor, wide_dtype(tensor.dtype))


def widen(vector: Any) -> Any:
  """Casts the half precision parts of a vector to float32.

  Args:
    vector: Tensor, IndexedSlices, or tuple or list of them.

  Returns:
    The same structure. Other parts are the same objects.
  """
  if isinstance(vector, (tuple, list)):
    return tuple(widen(part) for part in vector)
  return _cast(vector, wide_dtype(vector.dtype))


def cast_like(template: Any, vector: Any) -> Any:
  """Undoes `widen` for a result.

  Args:
    template: What `widen` was applied to.
    vector: Result of its structure.

  Returns:
    The vector, with the dtypes of the template where that is half precision.
  """
  if isinstance(template, (tuple, list)):
    return tuple(cast_like(*parts)
                 for parts in zip(template, vector, strict=True))
  dtype = template.dtype.base_dtype
  return _cast(vector, dtype) if dtype in _HALF else vector


def _cast(tensor, dtype):
  if tensor.dtype.base_dtype == dtype:
    return tensor
  if isinstance(tensor, tf.IndexedSlices):
    return tf.IndexedSlices(tf.cast(tensor.values, dtype), tensor.indices,
                            tensor.dense_shape)
  return tf.cast(tf.convert_to_tensor(tensor), dtype)
