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
from typing import Union

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


# A real number; or a tensor, variable or array of shape [].
Scalar = Union[float, TensorLike]

# A damping, or the function that returns it.
Damping = Union[Scalar, Callable[[], Scalar]]

# A learning rate, or the function that returns it.
LearningRate = Damping

# The parameters of a layer, or tensors of their shapes: one tensor, or weights
# and bias.
Vector = Union[TensorLike, Sequence[TensorLike]]

# One tensor or several, e.g. one for each use.
OneOrMore = Union[TensorLike, Sequence[TensorLike]]

# Data of a factor: a list over towers, and over sources and towers.
Towers = Union[OneOrMore, Sequence[Any]]
Sources = Union[OneOrMore, Sequence[Sequence[Any]]]

# (vector, variable) for each variable, as an argument.
VecsAndVars = Iterable[tuple[Any, Any]]

# (vector, variable) for each variable, as a result.
Pairs = list[tuple[tf.Tensor, tf.Variable]]

# A function that makes an op or variables when it is called.
Thunk = Callable[[], Any]

# Names of devices.
Devices = Sequence[Any]

# Lengths of axes.
Shape = Union[tf.TensorShape, Sequence[Any], TensorLike]

# A tf.DType, or an argument of tf.as_dtype.
DType = Union[tf.DType, type, str]

# Whether a layer is registered again; a string stands for the variable scope.
Reuse = Union[bool, str, None]
