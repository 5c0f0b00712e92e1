"""The gradient of an estimation's losses with respect to each variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.loss_functions import coefficients
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

_EXACT_MODES = ("exact", "exact_GGN")


def are_of_sources(mode: str) -> bool:
  """Whether they are the gradients of the mode's sources.

  In the exact modes these may have random signs, and there are many of them.

  Args:
    mode: Key of estimation_modes.MODES.
  """
  return mode not in _EXACT_MODES


def from_sources(sources: Sequence[Sequence[Any]],
                 batch_size: hints.Scalar) -> list:
  """Sums gradients over sources, and divides by the batch size.

  Args:
    sources: For each source, a list with the gradient of each variable.
    batch_size: Scalar.

  Returns:
    List of tensors.
  """
  return [_over(tf.add_n([tf.convert_to_tensor(grad) for grad in grads]),
                batch_size) for grads in zip(*sources, strict=True)]


def exact(mode: str, layers: Any, variables: Sequence[Any], colocate: bool,
          batch_size: hints.Scalar) -> list:
  """Backpropagates the sum of the columns of B, F = B B^T for a loss.

  A backward pass is linear, so that one of B 1 is the sum over the sources.

  Args:
    mode: "exact" or "exact_GGN".
    layers: LayerCollection with losses.
    variables: List of n variables.
    colocate: See FisherEstimator.
    batch_size: Scalar.

  Returns:
    List of n tensors.
  """
  matrix = "ggn" if mode.endswith("GGN") else "fisher"
  inputs: list = []
  vectors: list = []
  for loss in layers.losses:
    its_inputs = tf.nest.flatten(loss.inputs)
    dtype = its_inputs[0].dtype.base_dtype
    product = getattr(loss, f"multiply_{matrix}_factor")(
        tf.ones(getattr(loss, f"{matrix}_factor_inner_shape"), dtype))
    inputs += its_inputs
    vectors += tf.nest.flatten(coefficients.scaled(
        product, layers.loss_coeffs[loss], "sqrt"))
  grads = tf.gradients(inputs, variables, grad_ys=vectors,
                       colocate_gradients_with_ops=colocate)
  return [_over(tf.zeros_like(variable) if grad is None else
                tf.convert_to_tensor(grad), batch_size)
          for grad, variable in zip(grads, variables, strict=True)]


def _over(tensor, batch_size):
  return tensor / scalars.cast_scalar(batch_size, tensor.dtype)
