"""Estimation modes: the gradients g from which factors are computed.

Each mode is a function of (layer_collection, tensors, colocate, counter) that
returns a list over sources (backward passes) of gradients with respect to the
tensors. The counter determines what is random; None leaves that to the state of
random ops. The gradients of a loss are multiplied by the root of its
coefficient, so that their second moments are multiplied by the coefficient.

Attributes:
  SIGNS_IN_EXACT_MODE: Whether mode "exact" is right for parameters of unknown
    use, see _exact; with contrib.kfac's numerics it is not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.loss_functions import coefficients
from kfac.python.ops.loss_functions import inner_space
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import stateless_seeds
from kfac.python.ops.utils import workers

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
  loss = layer_collection.total_sampled_loss(
      **_coeff_mode(layer_collection), counter=counter)
  return [_gradients(loss, tensors, colocate)]


def _empirical(layer_collection, tensors, colocate, counter):
  """Gradients of the losses on the registered targets: one source."""
  del counter
  loss = layer_collection.total_loss(**_coeff_mode(layer_collection))
  return [_gradients(loss, tensors, colocate)]


def _coeff_mode(layer_collection):
  """Returns the argument of the total loss for gradients times sqrt(coeff)."""
  # Without coefficients, a subclass may redefine the total loss without them.
  coeffs = layer_collection.loss_coeffs.values()
  if all(scalars.is_one(coeff) for coeff in coeffs):
    return {}
  return {"coeff_mode": "sqrt"}


class _Matrix:
  """The factor B of the Fisher or the Gauss-Newton matrix of a loss.

  It has a factor sqrt(coeff), so that B B^T is coeff times the matrix.
  """

  def __init__(self, layer_collection, loss, number, name):
    """Keeps what is needed.

    Args:
      layer_collection: LayerCollection.
      loss: One of its losses.
      number: The number of the loss among them.
      name: "fisher" or "ggn".
    """
    self._coeff = layer_collection.loss_coeffs[loss]
    self._loss = loss
    self._number = number
    self._name = name
    self.shape = getattr(loss, f"{name}_factor_inner_shape")
    self.static_shape = getattr(loss, f"{name}_factor_inner_static_shape")

  def multiply(self, vector):
    """Returns B times a vector."""
    multiply = getattr(self._loss, f"multiply_{self._name}_factor")
    return coefficients.scaled(multiply(vector), self._coeff, "sqrt")

  def signs(self, shape, counter):
    """Returns random signs of a shape."""
    number = workers.current().numbered(self._number)
    seed = (None if counter is None else
            stateless_seeds.stateless_seed(counter, "signs", number))
    return utils.generate_random_signs(
        shape, dtype=_dtype(self._loss), stateless_seed=seed)

  def column(self, index, signs):
    """Returns column `index` of B for each example, times its sign if given."""
    if signs is not None:
      one_hot = inner_space.replicated_one_hot(
          [index], self.shape, self.static_shape, _dtype(self._loss))
      return self.multiply(signs * one_hot)
    columns = getattr(
        self._loss, f"multiply_{self._name}_factor_replicated_one_hot")
    return coefficients.scaled(columns([index]), self._coeff, "sqrt")


def _curvature_prop(layer_collection, tensors, colocate, counter,
                    matrix="fisher"):
  """Backpropagates B u for random signs u, F = B B^T for a loss: one source.

  Source: Martens, Sutskever & Swersky 2012.
  """
  inputs, vectors = [], []
  for number, loss in enumerate(layer_collection.losses):
    B = _Matrix(layer_collection, loss, number, matrix)
    inputs.append(loss.inputs)
    vectors.append(B.multiply(B.signs(B.shape, counter)))
  return [_gradients(tf.nest.flatten(inputs), tensors, colocate,
                     grad_ys=tf.nest.flatten(vectors))]


def _exact(layer_collection, tensors, colocate, counter, matrix="fisher"):
  """Backpropagates each column of B, F = B B^T for a loss: one source each.

  The gradient with respect to a parameter of unknown use is a sum over the
  examples, whose square has terms of pairs of examples. With a random sign for
  each example their expectation is zero; nothing else depends on the signs.
  """
  has_params = SIGNS_IN_EXACT_MODE and any(
      hasattr(tensor, "initializer") for tensor in tensors)
  sources = []
  for number, loss in enumerate(layer_collection.losses):
    B = _Matrix(layer_collection, loss, number, matrix)
    inner_shape = B.static_shape.as_list()[1:]
    if len(inner_shape) != 1 or None in inner_shape:
      raise ValueError(
          "the inner size of a loss must be static with estimation_mode "
          f"{'exact' if matrix == 'fisher' else 'exact_GGN'!r}, got "
          f"{inner_shape}.")
    signs = B.signs([B.shape[0], 1], counter) if has_params else None
    for index in range(inner_shape[0]):
      sources.append(_gradients(
          tf.nest.flatten(loss.inputs), tensors, colocate,
          grad_ys=tf.nest.flatten(B.column(index, signs))))
  return sources


def _dtype(loss):
  return tf.nest.flatten(loss.inputs)[0].dtype.base_dtype


MODES: dict[str, Callable[..., list]] = {
    "gradients": _sampled,
    "empirical": _empirical,
    "curvature_prop": _curvature_prop,
    "exact": _exact,
    "curvature_prop_GGN": functools.partial(_curvature_prop, matrix="ggn"),
    "exact_GGN": functools.partial(_exact, matrix="ggn"),
}

# The modes whose gradients are random.
RANDOM_MODES = frozenset(
    ["gradients", "curvature_prop", "curvature_prop_GGN"])


def is_random(mode: str, layer_collection: Any) -> bool:
  """Returns whether the gradients of a mode are random.

  Args:
    mode: Key of MODES.
    layer_collection: LayerCollection. "exact" and "exact_GGN" are random only
      if it has parameters of unknown use.
  """
  return mode in RANDOM_MODES or (
      mode in ("exact", "exact_GGN") and SIGNS_IN_EXACT_MODE
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
