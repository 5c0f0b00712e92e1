"""The quadratic model of the loss, which determines alpha and mu.

For a step alpha d1 + mu d2, the predicted change of the loss is
  c . (alpha, mu) + (alpha, mu) M (alpha, mu)^T / 2
with c_i = g . d_i and M_ij = d_i F d_j + damping d_i . d_j, where F is the
exact Fisher matrix of the mini-batch (Martens & Grosse 2015, sections 6.4 and
7).
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import curvature_matrix_vector_products as cmvp
from kfac.python.ops.optimizer import steps
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import workers as workers_lib


def curvature(losses: Any, variables: Sequence[Any],
              directions: Sequence[Sequence[Any]], damping: hints.Scalar,
              batch_size: hints.Scalar,
              example_weights: hints.TensorLike | None = None,
              workers: workers_lib.Workers = workers_lib.ALONE) -> tf.Tensor:
  """Computes M.

  Args:
    losses: List of losses, summed over the examples; or a LayerCollection, with
      the coefficients of its losses.
    variables: List of variables.
    directions: List of directions d_i, each a list of tensors.
    damping: Scalar.
    batch_size: Scalar, the number of examples, or the sum of their weights.
    example_weights: Tensor [examples], weights of the examples' terms in F, or
      None.
    workers: Workers. The directions are those of the chief, and F is that of
      the joint batch.

  Returns:
    Symmetric matrix [directions, directions].
  """
  directions = tf.nest.pack_sequence_as(directions, workers.from_chief(
      tf.nest.flatten(directions), "directions"))
  computer = cmvp.CurvatureMatrixVectorProductComputer(losses, variables)
  # d F d' = (B^T J d) . (B^T J d') takes no products with J^T.
  in_loss_space = computer.multiply_fisher_factor_transpose_many(directions)
  in_loss_space = [tf.nest.flatten(product) for product in in_loss_space]
  if example_weights is not None:
    in_loss_space = [[_times_roots(term, example_weights) for term in product]
                     for product in in_loss_space]
  [fisher] = workers.mean([_gram(in_loss_space)], "curvature")
  dtype = fisher.dtype
  return (fisher / scalars.cast_scalar(batch_size, dtype) +
          scalars.cast_scalar(damping, dtype) * _gram(directions))


def _times_roots(term, weights):
  """Returns a tensor [examples, ...] times the roots of weights [examples]."""
  roots = tf.sqrt(tf.cast(weights, term.dtype))
  return term * tf.reshape(roots, [-1] + [1] * (term.shape.ndims - 1))


def _gram(vectors):
  rows = [[None] * len(vectors) for _ in vectors]
  for i, one in enumerate(vectors):
    for j, other in enumerate(vectors[:i + 1]):
      rows[i][j] = rows[j][i] = steps.inner_product(one, other)
  return tf.convert_to_tensor(rows)


def minimum(M: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Minimises the model; along d1 alone if the directions are parallel.

  Args:
    M: Matrix [2, 2], positive semidefinite.
    c: Vector [2].

  Returns:
    (alpha, mu) [2] = -M^-1 c, or (-c_1 / M_11, 0) if d2 is zero or a multiple
    of d1 to rounding, and (0, 0) if d1 is zero too; and the predicted change,
    c . (alpha, mu) / 2. All are NaN if M is not finite.
  """
  # For directions of unit length in the metric M, M = [[1, rho], [rho, 1]].
  lengths = tf.sqrt(tf.linalg.diag_part(M))
  known = tf.where(lengths > 0., lengths, tf.ones_like(lengths))
  unit_c, rho = c / known, M[0, 1] / known[0] / known[1]
  first_only = tf.stack([-unit_c[0] / known[0], tf.zeros([], c.dtype)])
  determinant = 1. - tf.square(rho)
  one_direction = tf.logical_or(
      tf.equal(M[1, 1], 0.), determinant < 10. * np.finfo(
          c.dtype.as_numpy_dtype).eps)
  # Not zero, so that the value that is not selected is finite.
  determinant = tf.where(one_direction, tf.ones_like(rho), determinant)
  both = -(unit_c - rho * unit_c[::-1]) / determinant / known
  coefficients = tf.where(one_direction, first_only, both)
  # An infinite M would pass for a minimum at zero.
  coefficients += tf.reduce_sum(0. * M)
  return coefficients, tf.reduce_sum(c * coefficients) / 2.


def minimum_for_mu(M: tf.Tensor, c: tf.Tensor,
                   mu: hints.Scalar) -> tuple[tf.Tensor, tf.Tensor]:
  """Minimises the model over alpha, for a given mu.

  Args:
    M: Matrix [2, 2], positive semidefinite.
    c: Vector [2].
    mu: Scalar.

  Returns:
    (alpha, mu) [2] with alpha = -(c_1 + mu M_12) / M_11, or 0 if d1 is zero;
    and the predicted change, c . (alpha, mu) + (alpha, mu) M (alpha, mu)^T / 2.
    All are NaN if M is not finite.
  """
  mu = scalars.cast_scalar(mu, c.dtype)
  alpha = -tf.math.divide_no_nan(c[0] + mu * M[0, 1], M[0, 0])
  # An infinite M would pass for a minimum at zero.
  coefficients = tf.stack([alpha, mu]) + tf.reduce_sum(0. * M)
  return coefficients, of_multiple(M, c, coefficients, 1.).change


def of_multiple(M: tf.Tensor, c: tf.Tensor, coefficients: tf.Tensor,
                multiple: hints.Scalar) -> Prediction:
  """Evaluates the model for a multiple of alpha d1 + mu d2.

  Args:
    M: Matrix [2, 2].
    c: Vector [2].
    coefficients: Vector (alpha, mu) [2].
    multiple: Scalar.

  Returns:
    Prediction.
  """
  multiple = scalars.cast_scalar(multiple, c.dtype)
  slope = tf.reduce_sum(c * coefficients)
  curvature_along = tf.reduce_sum(
      coefficients * tf.linalg.matvec(M, coefficients))
  return Prediction(
      multiple * slope + tf.square(multiple) * curvature_along / 2.,
      tf.math.divide_no_nan(tf.square(slope), 2. * curvature_along))


class Prediction(NamedTuple):
  """What the model predicts for an update d.

  Attributes:
    change: Scalar tensor, the change of the loss.
    decrease: Scalar tensor >= 0, the decrease of the loss by the best multiple
      of d, which does not depend on the length of d.
  """

  change: tf.Tensor
  decrease: tf.Tensor


def prediction(grads: Sequence[Any], updates: Sequence[Any],
               fisher_products: Sequence[Any]) -> Prediction:
  """Evaluates the model for an update d, given (F + damping I) d.

  Args:
    grads: List of gradients g.
    updates: List of updates d, shaped like them.
    fisher_products: List of (F + damping I) d, shaped like them.

  Returns:
    Prediction: g . d + d . (F + damping I) d / 2, and
    (g . d)^2 / (2 d . (F + damping I) d), which is 0 if d is.
  """
  slope = steps.inner_product(grads, updates)
  curvature_along = steps.inner_product(updates, fisher_products)
  return Prediction(slope + curvature_along / 2., tf.math.divide_no_nan(
      tf.square(slope), 2. * curvature_along))


def predictor(grads_and_vars: Sequence[Any], updates: Sequence[Any],
              multiply: Callable[[], Sequence[Any]]) -> Callable[
                  [], Prediction]:
  """Returns a function that evaluates the model for an update d.

  Args:
    grads_and_vars: List of (g, variable).
    updates: List of (d, variable), in any order.
    multiply: Function that returns the list of ((F + damping I) d, variable),
      in the order of `updates`. It is called by the result.
  """
  grads = {variable: grad for grad, variable in grads_and_vars}

  def predict():
    return prediction([grads[variable] for _, variable in updates],
                      [update for update, _ in updates],
                      [product for product, _ in multiply()])
  return predict
