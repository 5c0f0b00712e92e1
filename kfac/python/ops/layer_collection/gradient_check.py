"""Compares the registered inputs and outputs with the gradient of the losses.

The gradient with respect to the parameters of a layer is the sum over examples
and uses of what the inputs and the gradients with respect to the outputs say,
a g^T in a dense layer. If a registration swaps, doubles or misses a use, the
two differ.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import towers


def gradient_check(layers: Any, loss: tf.Tensor | None) -> dict:
  """See LayerCollection.gradient_check."""
  if not layers.losses:
    raise ValueError("at least one loss must be registered before "
                     "gradient_check, got none.")
  if loss is not None and (not isinstance(loss, tf.Tensor) or loss.shape.rank):
    raise ValueError(f"loss must be a scalar tensor, got {loss!r}.")
  with layers.graph.as_default():
    total = layers.total_sampled_loss() if loss is None else loss
    blocks = {
        layers.fisher_blocks.layer_name(block): (params, block)
        for params, block in layers.fisher_blocks.items()
        if isinstance(block, towers.InputOutputMultiTower)}
    return {name: _distance(total, params, block)
            for name, (params, block) in blocks.items()}


def _distance(loss, params, block):
  """Returns the largest relative distance of a parameter's gradients."""
  variables = params if isinstance(params, tuple) else (params,)
  exact = _gradients(loss, variables)
  # Constants: the layer's outputs depend on nothing but these reads.
  values = tuple(tf.stop_gradient(tf.identity(variable))
                 for variable in variables)
  sums = [tf.zeros_like(value) for value in values]
  for inputs, outputs in _uses(block):
    [grad] = _gradients(loss, [outputs])
    if inputs is None:  # A shift, of any inputs.
      inputs = tf.zeros_like(outputs)
    if inputs.dtype.is_floating:  # In mixed precision, half of the weights'.
      inputs = tf.cast(inputs, values[0].dtype)
    computed = block.layer_outputs(
        values if isinstance(params, tuple) else values[0], inputs)
    sums = [total + part for total, part in zip(
        sums, _pulled_back(block, computed, grad, values), strict=True)]
  return tf.reduce_max(tf.stack([
      _relative(one, other) for one, other in zip(sums, exact, strict=True)]))


def _gradients(loss, tensors):
  grads = tf.gradients(loss, list(tensors))
  return [tf.zeros_like(tf.convert_to_tensor(tensor)) if grad is None
          else tf.convert_to_tensor(grad)
          for tensor, grad in zip(tensors, grads, strict=True)]


def _uses(block):
  """Yields inputs and outputs of each use in each tower."""
  for inputs, outputs in zip(block._inputs, block._outputs, strict=True):
    if not isinstance(outputs, (list, tuple)):
      is_list = isinstance(inputs, (list, tuple))
      yield (tf.concat(inputs, 0) if is_list else inputs), outputs
      continue
    inputs = inputs if isinstance(inputs, (list, tuple)) else (
        [None] * len(outputs) if inputs is None
        else tf.split(inputs, len(outputs)))
    yield from zip(inputs, outputs, strict=True)


def _pulled_back(block, computed, grad, values):
  """Returns the gradients with respect to the parameters of one use."""
  grad = block._output_rows(grad)
  if computed.shape.rank is not None and grad.shape.rank != computed.shape.rank:
    grad = tf.reshape(grad, tf.shape(computed))
  if computed.dtype != grad.dtype:
    grad = tf.cast(grad, computed.dtype)
  return [tf.zeros_like(value) if part is None else tf.convert_to_tensor(part)
          for value, part in zip(values, tf.gradients(
              computed, list(values), grad_ys=grad), strict=True)]


def _relative(one, other):
  """Returns |one - other| / |other|, 0 if both are zero."""
  one, other = (tf.cast(value, tf.float64) for value in (one, other))
  distance = tf.norm(one - other)
  return tf.cast(tf.where(tf.equal(distance, 0.), distance, distance /
                          tf.maximum(tf.norm(other), 1e-30)), tf.float32)
