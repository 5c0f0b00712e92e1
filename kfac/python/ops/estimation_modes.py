"""Estimation modes: the gradients g from which factors are computed.

Each mode is a function of (layer_collection, tensors, colocate, counter) that
returns a list over sources (backward passes) of gradients with respect to the
tensors. The counter determines what is random; None leaves that to the state of
random ops.

Attributes:
  SIGNS_IN_EXACT_MODE: Whether mode "exact" is right for parameters of unknown
    use, see _exact; with contrib.kfac's numerics it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.loss_functions import inner_space
from kfac.python.ops.utils import stateless_seeds

SIGNS_IN_EXACT_MODE = True


def _gradients(ys, tensors, colocate, grad_ys=None):
  """Returns gradients, with zeros for tensors that `ys` do not depend on."""
  grads = tf.gradients(ys, tensors, grad_ys=grad_ys,
                       colocate_gradients_with_ops=colocate)
  return [tf.zeros_like(tensor) if grad is None else grad
          for tensor, grad in zip(tensors, grads, strict=True)]


def _sampled(layer_collection, tensors, colocate, counter):
  """Gradients of the losses on targets sampled from the model: one source.

  Source: Martens & Grosse 2015, section 5.
  """
  loss = layer_collection.total_sampled_loss(counter)
  return [_gradients(loss, tensors, colocate)]


def _empirical(layer_collection, tensors, colocate, counter):
  """Gradients of the losses on the registered targets: one source."""
  del counter
  return [_gradients(layer_collection.total_loss(), tensors, colocate)]


def _curvature_prop(layer_collection, tensors, colocate, counter):
  """Backpropagates B u for random signs u, F = B B^T for a loss: one source.

  Source: Martens, Sutskever & Swersky 2012.
  """
  inputs, vectors = [], []
  for index, loss in enumerate(layer_collection.losses):
    signs = _signs(loss, loss.fisher_factor_inner_shape, counter, index)
    inputs.append(loss.inputs)
    vectors.append(loss.multiply_fisher_factor(signs))
  return [_gradients(tf.nest.flatten(inputs), tensors, colocate,
                     grad_ys=tf.nest.flatten(vectors))]


def _exact(layer_collection, tensors, colocate, counter):
  """Backpropagates each column of B, F = B B^T for a loss: one source each.

  The gradient with respect to a parameter of unknown use is a sum over the
  examples, whose square has terms of pairs of examples. With a random sign for
  each example their expectation is zero; nothing else depends on the signs.
  """
  has_params = SIGNS_IN_EXACT_MODE and any(
      hasattr(tensor, "initializer") for tensor in tensors)
  sources = []
  for number, loss in enumerate(layer_collection.losses):
    inner_shape = loss.fisher_factor_inner_static_shape.as_list()[1:]
    if len(inner_shape) != 1 or None in inner_shape:
      raise ValueError(
          "the inner size of a loss must be static with estimation_mode "
          f"'exact', got {inner_shape}.")
    signs = None
    if has_params:
      signs = _signs(loss, [loss.fisher_factor_inner_shape[0], 1], counter,
                     number)
    for index in range(inner_shape[0]):
      column = _column(loss, index, signs)
      sources.append(_gradients(
          tf.nest.flatten(loss.inputs), tensors, colocate,
          grad_ys=tf.nest.flatten(column)))
  return sources


def _signs(loss, shape, counter, number):
  """Returns random signs for a loss, given its number among the losses."""
  seed = (None if counter is None else
          stateless_seeds.stateless_seed(counter, "signs", number))
  return utils.generate_random_signs(
      shape, dtype=_dtype(loss), stateless_seed=seed)


def _column(loss, index, signs):
  """Returns column `index` of B for each example, times its sign if given."""
  if signs is None:
    return loss.multiply_fisher_factor_replicated_one_hot([index])
  one_hot = inner_space.replicated_one_hot(
      [index], loss.fisher_factor_inner_shape,
      loss.fisher_factor_inner_static_shape, _dtype(loss))
  return loss.multiply_fisher_factor(signs * one_hot)


def _dtype(loss):
  return tf.nest.flatten(loss.inputs)[0].dtype.base_dtype


MODES = {
    "gradients": _sampled,
    "empirical": _empirical,
    "curvature_prop": _curvature_prop,
    "exact": _exact,
}

# The modes whose gradients are random.
RANDOM_MODES = frozenset(["gradients", "curvature_prop"])


def is_random(mode: str, layer_collection: Any) -> bool:
  """Returns whether the gradients of a mode are random.

  Args:
    mode: Key of MODES.
    layer_collection: LayerCollection. "exact" is random only if it has
      parameters of unknown use.
  """
  return mode in RANDOM_MODES or (
      mode == "exact" and SIGNS_IN_EXACT_MODE
      and bool(layer_collection.generic_registrations))


def compute_gradients(mode: str, layer_collection: Any, tensors: Sequence[Any],
                      colocate: bool,
                      counter: tf.Tensor | None = None) -> list:
  """Differentiates the losses of a model with respect to some of its tensors.

  Args:
    mode: Key of MODES.
    layer_collection: LayerCollection with losses.
    tensors: Nested list of tensors.
    colocate: Whether gradients are computed on the devices of the
      differentiated ops.
    counter: Int64 tensor [] that determines what RANDOM_MODES draw; None if
      that comes from ops with a state.

  Returns:
    List over sources of gradients, structured like `tensors`.
  """
  flat = tf.nest.flatten(tensors)
  return [tf.nest.pack_sequence_as(tensors, source)
          for source in MODES[mode](
              layer_collection, flat, colocate, counter)]
