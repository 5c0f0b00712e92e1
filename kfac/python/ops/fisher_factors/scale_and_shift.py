"""Factors of scale and shift, from the exact gradient of each example.

Of outputs = scale * inputs + shift, the gradient of an example with respect to
the scale is the sum of g * inputs over the axes along which the scale is
broadcast; that with respect to the shift is the sum of g over the shift's.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import covariance
from kfac.python.ops.fisher_factors import dense
from kfac.python.ops.fisher_factors import diagonal
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision

# Approximation -> shape of its covariance given the number of parameters, and
# the covariance of the gradients [batch, parameters].
_APPROXIMATIONS: dict[str, tuple[Callable, Callable]] = {
    "full": (lambda size: [size, size], covariance.compute_cov),
    "diagonal": (
        lambda size: [size, 1],
        lambda grads: tf.reduce_mean(tf.square(grads), axis=0)[:, tf.newaxis]),
}


class ScaleAndShiftFactor(base.FisherFactor):
  """Mean over examples of the outer product of the gradient, or its square.

  The gradients with respect to the scale come first, then those with respect
  to the shift.
  """

  def __init__(self, inputs: Any, outputs_grads: hints.Sources,
               broadcast_dims_scale: Sequence[int] | None,
               broadcast_dims_shift: Sequence[int] | None = None,
               has_shift: bool = True, approx: str = "full",
               has_scale: bool = True) -> None:
    """Initializes the factor of a layer.

    Args:
      inputs: For each tower the inputs [batch, ...], which broadcast to the
        outputs, or a tuple of them over uses. None without a scale.
      outputs_grads: For each source and tower the gradient of the summed loss
        with respect to the outputs, [batch, ...], or a tuple over uses.
      broadcast_dims_scale: The axes of the outputs along which the scale is
        broadcast, without the batch's axis 0. None without a scale.
      broadcast_dims_shift: The same of the shift; None if they are the scale's.
      has_shift: Whether there is a shift.
      approx: "full" or "diagonal".
      has_scale: Whether there is a scale.

    Raises:
      ValueError: If `approx` is something else, or if there is neither a scale
        nor a shift.
    """
    super().__init__()
    if approx not in _APPROXIMATIONS:
      raise ValueError(
          f"approx must be one of {sorted(_APPROXIMATIONS)}, got {approx!r}.")
    if not (has_scale or has_shift):
      raise ValueError(
          "has_scale or has_shift must be True, got False for both.")
    self._approx = approx
    self._inputs = _by_use(inputs) if has_scale else None
    self._outputs_grads = tuple(
        _by_use(source) for source in base.as_towers(outputs_grads))
    self._scale_dims = tuple(broadcast_dims_scale or ()) if has_scale else None
    self._shift_dims = tuple(
        (broadcast_dims_scale if broadcast_dims_shift is None
         else broadcast_dims_shift) or ()) if has_shift else None
    self._data = tuple(tuple(uses[0] for uses in source)
                       for source in self._outputs_grads)

  @property
  def _var_scope(self):
    return f"ff_scaleshift_{self._approx}_" + naming.scope_string_from_params(
        [self._inputs, self._outputs_grads, self._scale_dims,
         self._shift_dims])

  @property
  def _num_params(self):
    """The number of entries of scale and shift."""
    sizes = self._outputs_grads[0][0][0].shape.as_list()
    return sum(_size(sizes, dims) for dims in (
        self._scale_dims, self._shift_dims) if dims is not None)

  @property
  def _cov_shape(self):
    return _APPROXIMATIONS[self._approx][0](self._num_params)

  def _compute_new_cov(self, source, tower):
    return _APPROXIMATIONS[self._approx][1](
        self._example_grads(source, tower))

  def _example_grads(self, source, tower):
    """Returns the gradient of each example, [batch, parameters]."""
    total = []
    for use, grads in enumerate(self._outputs_grads[source][tower]):
      grads = precision.as_wide_tensor(grads)
      parts = []
      if self._inputs is not None:
        inputs = precision.as_wide_tensor(self._inputs[tower][use])
        parts.append(_sum_over(grads * inputs, self._scale_dims))
      if self._shift_dims is not None:
        parts.append(_sum_over(grads, self._shift_dims))
      total.append(tf.concat(parts, axis=1))
    return tf.add_n(total)


class ScaleAndShiftFullFactor(ScaleAndShiftFactor,
                              dense.DenseSquareMatrixFactor):
  """Mean over examples of the outer product, [parameters, parameters]."""

  def __init__(self, inputs: Any, outputs_grads: hints.Sources,
               broadcast_dims_scale: Sequence[int] | None,
               broadcast_dims_shift: Sequence[int] | None = None,
               has_shift: bool = True, has_scale: bool = True) -> None:
    """Initializes the factor of a layer, see ScaleAndShiftFactor."""
    super().__init__(inputs, outputs_grads, broadcast_dims_scale,
                     broadcast_dims_shift, has_shift, "full", has_scale)


class ScaleAndShiftDiagonalFactor(ScaleAndShiftFactor,
                                  diagonal.DiagonalFactor):
  """Mean over examples of the squared gradient, [parameters, 1]."""

  def __init__(self, inputs: Any, outputs_grads: hints.Sources,
               broadcast_dims_scale: Sequence[int] | None,
               broadcast_dims_shift: Sequence[int] | None = None,
               has_shift: bool = True, has_scale: bool = True) -> None:
    """Initializes the factor of a layer, see ScaleAndShiftFactor."""
    super().__init__(inputs, outputs_grads, broadcast_dims_scale,
                     broadcast_dims_shift, has_shift, "diagonal", has_scale)


def _by_use(towers):
  """Returns towers as tuples over uses; a bare tensor is one of each."""
  return tuple(base.as_towers(uses) for uses in base.as_towers(towers))


def _size(sizes, dims):
  """Returns the number of elements of a parameter.

  Args:
    sizes: The sizes of the outputs, list of ints or None.
    dims: The axes along which the parameter is broadcast.
  """
  size = 1
  for axis, length in enumerate(sizes):
    if axis and axis not in dims:
      size *= length
  return size


def _sum_over(tensor, dims):
  """Returns the sum over axes, with the rest as columns: [batch, columns]."""
  size = _size(tensor.shape.as_list(), dims)
  total = tf.reduce_sum(tensor, axis=dims) if dims else tensor
  return tf.reshape(total, [-1, size])
