"""Exact products of vectors with the curvature matrices of losses.

Nothing is estimated, damped or averaged. Let J be the Jacobian of the losses'
inputs with respect to some tensors, and F the Fisher matrix of the losses with
respect to their inputs, summed over examples and losses. The Fisher matrix of
the tensors is J^T F J. J v takes one forward-mode pass and J^T u one backward
pass for all losses together (Schraudolph 2002, "Fast curvature matrix-vector
products for second-order gradient descent", section 4; Martens 2014, "New
insights and perspectives on the natural gradient method", section 9.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.loss_functions import coefficients
from kfac.python.ops.utils import hints

__all__ = ["CurvatureMatrixVectorProductComputer"]


class CurvatureMatrixVectorProductComputer:
  """Multiplies by the Fisher, Gauss-Newton and Hessian matrices of losses.

  Let L be the sum of the given losses, each times its coefficient if they are
  those of a LayerCollection, and W the given tensors:

  - the Fisher matrix is J^T F J, with the factor J^T B, where B B^T = F;
  - the generalized Gauss-Newton matrix is J^T H J, with H the Hessian of the
    losses with respect to their inputs, and has the factor J^T B, where
    B B^T = H;
  - the Hessian is that of L.

  The names with `generalized_gauss_newton` are those of contrib.kfac, and the
  names with `ggn` those of kfac 0.2.4.

  Derivatives are partial: the tensors of W are treated as independent, even
  where one depends on another.

  Vectors of parameters, `vecs`, are lists of tensors shaped like W. Vectors of
  the loss space, `loss_inner_vecs`, are lists of tensors with the shapes
  `fisher_factor_inner_shapes`. A tensor of a result is IndexedSlices where
  gradients are, as for an embedding.
  """

  def __init__(self, losses: Any = None,
               wrt_tensors: Sequence[hints.TensorLike] | None = None,
               colocate_gradients_with_ops: bool = True, *,
               layer_collection: Any = None) -> None:
    """Keeps the losses and the tensors; no op is made.

    Args:
      losses: List of LossFunctions, which have no coefficients; or an object
        with an attribute `losses`, such as a LayerCollection, and perhaps
        `loss_coeffs`, a dict from losses to their coefficients.
      wrt_tensors: List of tensors or variables, the W above.
      colocate_gradients_with_ops: Whether gradients are computed on the devices
        of the differentiated ops.
      layer_collection: Another name for `losses`.

    Raises:
      TypeError: If an argument is missing, `losses` is given twice, or
        `wrt_tensors` is not a list or tuple.
      ValueError: If there are no losses.
    """
    if (losses is None) == (layer_collection is None):
      given = "none" if losses is None else "layer_collection too"
      raise TypeError(f"losses must be given once, got {given}.")
    if losses is None:
      losses = layer_collection
    if not isinstance(wrt_tensors, (list, tuple)):
      raise TypeError(
          f"wrt_tensors must be a list of tensors, got {wrt_tensors!r}.")
    self._losses = list(getattr(losses, "losses", losses))
    self._coeffs = getattr(losses, "loss_coeffs", {})
    if not self._losses:
      raise ValueError("losses must hold at least one loss, got none.")
    self._wrt_tensors = list(wrt_tensors)
    self._colocate = colocate_gradients_with_ops

  def _gradients(self, ys, grad_ys):
    """Returns sum_i (d ys_i / d W)^T grad_ys_i for each tensor of W."""
    gradients = tf.gradients(
        ys, self._wrt_tensors, grad_ys=grad_ys,
        stop_gradients=self._wrt_tensors,
        colocate_gradients_with_ops=self._colocate)
    return [tf.zeros_like(x) if g is None else g
            for x, g in zip(self._wrt_tensors, gradients, strict=True)]

  def _inputs(self):
    """Returns the inputs of each loss, a tensor or a tuple of tensors."""
    return [loss.inputs for loss in self._losses]

  def _multiply_jacobian(self, vecs):
    """Returns J v: for each loss, a vector structured like its inputs."""
    return self._multiply_jacobian_many([vecs])[0]

  def _multiply_jacobian_many(self, vecs_list):
    """Returns J v for each of several v, with one backward pass."""
    vecs_list = [_checked_vectors("vecs", vecs, self._wrt_tensors)
                 for vecs in vecs_list]
    inputs = self._inputs()
    jacobian = utils.linearize(
        tf.nest.flatten(inputs), self._wrt_tensors,
        stop_gradients=self._wrt_tensors,
        colocate_gradients_with_ops=self._colocate)
    return [tf.nest.pack_sequence_as(inputs, jacobian(vecs))
            for vecs in vecs_list]

  def _multiply_jacobian_transpose(self, loss_vecs):
    """Returns J^T u; u has, for each loss, a vector like its inputs."""
    return self._gradients(
        tf.nest.flatten(self._inputs()), tf.nest.flatten(loss_vecs))

  def _for_each_loss(self, multiply, loss_vecs, coeff_mode="sqrt"):
    """Applies multiply(loss, vector) to the losses and their vectors.

    Args:
      multiply: Function that multiplies by a matrix of a loss.
      loss_vecs: List of vectors, one per loss.
      coeff_mode: "regular" if the coefficients multiply the matrix, "sqrt" if
        their roots do.

    Returns:
      List of vectors.
    """
    return [self._scaled(loss, multiply(loss, vec), coeff_mode)
            for loss, vec in zip(self._losses, loss_vecs, strict=True)]

  def _scaled(self, loss, value, coeff_mode):
    """Multiplies tensors by the coefficient of a loss, or its root."""
    return coefficients.scaled(value, self._coeffs.get(loss, 1.), coeff_mode)

  def _multiply_factor(self, multiply, loss_inner_vecs):
    """Returns J^T B u, where multiply(loss, vector) is the product with B."""
    if len(loss_inner_vecs) != len(self._losses):
      raise ValueError(
          f"loss_inner_vecs must have length {len(self._losses)}, got "
          f"{len(loss_inner_vecs)}.")
    return self._multiply_jacobian_transpose(
        self._for_each_loss(multiply, loss_inner_vecs))

  def multiply_fisher(self, vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Multiplies by the Fisher matrix.

    Args:
      vecs: List of tensors, numbers or IndexedSlices shaped like W.

    Returns:
      List of tensors shaped like W.

    Raises:
      ValueError: If the vectors do not fit W.
    """
    return self._multiply_jacobian_transpose(self._for_each_loss(
        lambda loss, vec: loss.multiply_fisher(vec),
        self._multiply_jacobian(vecs), "regular"))

  def multiply_fisher_factor_transpose(self,
                                       vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Multiplies by B^T J, from the parameters to the loss space.

    Args:
      vecs: See `multiply_fisher`.

    Returns:
      List of tensors, one per loss.

    Raises:
      ValueError: If the vectors do not fit W.
    """
    return self.multiply_fisher_factor_transpose_many([vecs])[0]

  def multiply_fisher_factor_transpose_many(
      self, vecs_list: Sequence[Sequence[Any]]) -> list:
    """Multiplies several vectors by B^T J, with one backward pass.

    Args:
      vecs_list: List of `vecs`, see `multiply_fisher`.

    Returns:
      List of results of `multiply_fisher_factor_transpose`.

    Raises:
      ValueError: If the vectors do not fit W.
    """
    return [
        self._for_each_loss(
            lambda loss, vec: loss.multiply_fisher_factor_transpose(vec),
            changes)
        for changes in self._multiply_jacobian_many(vecs_list)]

  def multiply_fisher_factor(self,
                             loss_inner_vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Multiplies by J^T B, from the loss space to the parameters.

    Args:
      loss_inner_vecs: List of tensors, one per loss.

    Returns:
      List of tensors shaped like W.

    Raises:
      ValueError: If there is not one vector per loss.
    """
    return self._multiply_factor(
        lambda loss, vec: loss.multiply_fisher_factor(vec), loss_inner_vecs)

  def multiply_hessian(self, vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Multiplies by the Hessian of the total loss on its targets.

    Args:
      vecs: See `multiply_fisher`.

    Returns:
      List of tensors shaped like W.

    Raises:
      ValueError: If the vectors do not fit W, or a loss has no targets.
    """
    vecs = _checked_vectors("vecs", vecs, self._wrt_tensors)
    total_loss = tf.add_n([
        self._scaled(loss, loss.evaluate(), "regular")
        for loss in self._losses])
    gradients = [
        tf.convert_to_tensor(g) for g in self._gradients(total_loss, None)]
    return self._gradients(gradients, vecs)

  def multiply_ggn(self, vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Multiplies by the generalized Gauss-Newton matrix.

    Args:
      vecs: See `multiply_fisher`.

    Returns:
      List of tensors shaped like W.

    Raises:
      ValueError: If the vectors do not fit W.
    """
    return self._multiply_jacobian_transpose(self._for_each_loss(
        lambda loss, vec: loss.multiply_hessian(vec),
        self._multiply_jacobian(vecs), "regular"))

  def multiply_ggn_factor_transpose(self,
                                    vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Multiplies by B^T J, from the parameters to the loss space.

    Args:
      vecs: See `multiply_fisher`.

    Returns:
      List of tensors, one per loss.

    Raises:
      ValueError: If the vectors do not fit W.
    """
    return self._for_each_loss(
        lambda loss, vec: loss.multiply_hessian_factor_transpose(vec),
        self._multiply_jacobian(vecs))

  def multiply_ggn_factor(self,
                          loss_inner_vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Multiplies by J^T B, from the loss space to the parameters.

    Args:
      loss_inner_vecs: List of tensors with the shapes
        `ggn_factor_inner_shapes`.

    Returns:
      List of tensors shaped like W.

    Raises:
      ValueError: If there is not one vector per loss.
    """
    return self._multiply_factor(
        lambda loss, vec: loss.multiply_hessian_factor(vec), loss_inner_vecs)

  def multiply_generalized_gauss_newton(self,
                                        vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Another name of `multiply_ggn`."""
    return self.multiply_ggn(vecs)

  def multiply_generalized_gauss_newton_factor_transpose(
      self, vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Another name of `multiply_ggn_factor_transpose`."""
    return self.multiply_ggn_factor_transpose(vecs)

  def multiply_generalized_gauss_newton_factor(
      self, loss_inner_vecs: Sequence[Any]) -> list[tf.Tensor]:
    """Another name of `multiply_ggn_factor`."""
    return self.multiply_ggn_factor(loss_inner_vecs)

  @property
  def fisher_factor_inner_shapes(self) -> list:
    """List of int tensors: for each loss, the shape of its loss space."""
    return [loss.fisher_factor_inner_shape for loss in self._losses]

  @property
  def fisher_factor_inner_static_shapes(self) -> list:
    """List of TensorShapes, the static parts of these shapes."""
    return [loss.fisher_factor_inner_static_shape for loss in self._losses]

  @property
  def ggn_factor_inner_shapes(self) -> list:
    """List of int tensors: the same for the Gauss-Newton matrix."""
    return [loss.hessian_factor_inner_shape for loss in self._losses]

  @property
  def ggn_factor_inner_static_shapes(self) -> list:
    """List of TensorShapes, the static parts of these shapes."""
    return [loss.hessian_factor_inner_static_shape for loss in self._losses]

  @property
  def generalized_gauss_newton_factor_inner_shapes(self) -> list:
    """Another name of `ggn_factor_inner_shapes`."""
    return self.ggn_factor_inner_shapes


def _checked_vectors(name, vecs, like):
  """Returns vectors, of the number and shapes of `like`, as dense tensors."""
  if len(vecs) != len(like):
    raise ValueError(f"{name} must have length {len(like)}, got {len(vecs)}.")
  vecs = [tf.convert_to_tensor(vec, x.dtype.base_dtype)
          for vec, x in zip(vecs, like, strict=True)]
  for vec, x in zip(vecs, like, strict=True):
    if not vec.shape.is_compatible_with(x.shape):
      raise ValueError(
          f"{name} must be shaped like {x.name} {x.shape}, got {vec.shape}.")
  return vecs
