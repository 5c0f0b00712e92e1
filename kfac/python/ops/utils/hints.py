"""Types of arguments and results: scalars, vectors, thunks.

TensorFlow ships no types, so that a checker reads `tf.Tensor` as Any. Arguments
of public functions are therefore described by a protocol, which rejects a
string where a tensor is needed. Functions that do not convert their arguments
name tf.Tensor.
"""

import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import tensorflow.compat.v1 as tf

if sys.version_info >= (3, 11):
  from typing import Unpack
else:

  class _Anything:
    """Stands for any arguments where Python cannot list them."""

    def __getitem__(self, arguments):
      return Any

  Unpack: Any = _Anything()

__all__ = [
    "DType",
    "Damping",
    "Devices",
    "LearningRate",
    "OneOrMore",
    "Pairs",
    "Reuse",
    "Scalar",
    "Shape",
    "Sources",
    "TensorLike",
    "Thunk",
    "Towers",
    "Unpack",
    "VecsAndVars",
    "Vector",
]


class TensorLike(Protocol):
  """A tensor, variable, IndexedSlices or array."""

  @property
  def dtype(self) -> Any:
    """Type of the entries."""

  @property
  def shape(self) -> Any:
    """Lengths of the axes."""


Scalar = float | TensorLike
"""A real number; or a tensor, variable or array of shape []."""

Damping = Scalar | Callable[[], Scalar]
"""A damping, or the function that returns it."""

LearningRate = Damping
"""A learning rate, or the function that returns it."""

Vector = TensorLike | Sequence[TensorLike]
"""The parameters of a layer, or tensors of their shapes.

One tensor, or weights and bias.
"""

OneOrMore = TensorLike | Sequence[TensorLike]
"""One tensor, or several: over uses, or all that is differentiated."""

Towers = OneOrMore | Sequence[Any]
"""Data of a factor, over towers."""

Sources = OneOrMore | Sequence[Sequence[Any]]
"""Data of a factor, over sources and towers."""

VecsAndVars = Iterable[tuple[Any, Any]]
"""(vector, variable) for each variable."""

Pairs = list[tuple[tf.Tensor, tf.Variable]]
"""The result: (vector, variable) for each variable."""

Thunk = Callable[[], Any]
"""A function that makes ops or variables when it is called."""

Devices = Sequence[Any]
"""Names of devices, over which ops are distributed."""

Shape = tf.TensorShape | Sequence[Any] | TensorLike
"""Lengths of axes."""

DType = tf.DType | type | str
"""A tf.DType, or what tf.as_dtype takes."""

Reuse = bool | str | None
"""Whether a layer is registered again.

A string stands for the variable scope.
"""
