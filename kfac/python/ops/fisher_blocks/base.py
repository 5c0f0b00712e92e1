"""FisherBlock: the approximation of the Fisher matrix of one layer."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


def _package_func(func, func_id):
  """Attaches an id to a damping function, see PackagedFunc."""
  return naming.PackagedFunc(func, func_id)


class FisherBlock(abc.ABC):
  """An approximation of the Fisher matrix F of the parameters of one layer.

  Towers are registered first. Then the estimator passes gradients and a damping
  to `instantiate_factors` and registers the powers to prepare. After that, the
  block multiplies vectors that are shaped like the parameters.
  """

  def __init__(self, layer_collection: Any) -> None:
    """Initializes a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
    """
    self._layer_collection = layer_collection

  # Names of the attributes that all towers of a layer share.
  _settings: Sequence[str] = ()

  @property
  def num_graph_uses(self) -> float:
    """The number of uses of the parameters in the graph; inf if unknown."""
    return float("inf")

  def check_same_settings(self, other: FisherBlock) -> None:
    """Raises ValueError if a block of the same type has other settings.

    Args:
      other: FisherBlock, made for another tower of the same layer.
    """
    for name in self._settings:
      mine, others = getattr(self, name), getattr(other, name)
      if mine != others:
        raise ValueError(
            "params must be reused with the settings of the registered layer, "
            f"got another {name.strip('_')}, {others!r} instead of {mine!r}.")

  def _make_factor(self, role: str, cls: type, args: tuple) -> Any:
    """Makes a factor, or returns that of another layer with the same arguments.

    Args:
      role: What the factor is in the block: "A" or "G" in a Kronecker product,
        "F" if it is the whole block. A new factor is named after the layer
        and its role.
      cls: Class of the factor.
      args: Tuple of hashable arguments of its constructor.

    Returns:
      FisherFactor.
    """
    layers = self._layer_collection
    layer = layers.fisher_blocks.layer_name(self)
    return layers.make_or_get_factor(cls, args, layer and f"{layer}/{role}")

  @property
  def _num_replications(self):
    """The number of times that the parameters are applied per example.

    It determines the scale of F, the normalisation of the damping and the
    renormalisation of products.
    """
    return 1

  @abc.abstractmethod
  def instantiate_factors(self, grads_list: Sequence[Any],
                          damping: hints.Scalar) -> None:
    """Makes the factors; their variables are created later.

    Args:
      grads_list: For each source (backward pass), the gradients with respect to
        what `tensors_to_compute_grads` returns, in the same structure.
      damping: Scalar: a number, tensor or variable.
    """

  def factor_data(self, grads_list: Sequence[Any]) -> list[tuple[Any, tuple]]:
    """Returns the data of the factors for other gradients.

    With them, a covariance update in a branch uses gradients that are computed
    in that branch. A class that defines `instantiate_factors` defines this
    method too, or its covariance updates in branches use the gradients of
    `instantiate_factors`.

    Args:
      grads_list: As in `instantiate_factors`.

    Returns:
      List of (factor of this block, arguments of its constructor).
    """
    del grads_list
    return []

  @abc.abstractmethod
  def register_matpower(self, exp: float) -> None:
    """Announces the use of multiply_matpower(vector, exp).

    Args:
      exp: Number.
    """

  @abc.abstractmethod
  def register_cholesky(self) -> None:
    """Announces the use of multiply_cholesky."""

  @abc.abstractmethod
  def register_cholesky_inverse(self) -> None:
    """Announces the use of multiply_cholesky_inverse."""

  def register_inverse(self) -> None:
    """Announces the use of multiply_inverse."""
    self.register_matpower(-1)

  @abc.abstractmethod
  def multiply_matpower(self, vector: hints.Vector, exp: float) -> Any:
    """Multiplies a vector by a power of the damped block.

    Args:
      vector: Tensor, or tuple of tensors, shaped like the parameters.
      exp: Number.

    Returns:
      (F + damping I)^exp vector, structured like the vector.
    """

  def multiply_inverse(self, vector: hints.Vector) -> Any:
    """Returns (F + damping I)^-1 vector, see multiply_matpower."""
    return self.multiply_matpower(vector, -1)

  def multiply(self, vector: hints.Vector,
               damping_mult: hints.Scalar = 1.) -> Any:
    """Multiplies a vector by the damped block.

    Args:
      vector: As in multiply_matpower.
      damping_mult: Scalar > 0, multiplies the damping.

    Returns:
      (F + damping_mult damping I) vector, structured like the vector.

    Raises:
      NotImplementedError: If the block does not define it for another
        multiple than 1.
    """
    if scalars.is_one(damping_mult):
      return self.multiply_matpower(vector, 1)
    return self._multiply_with(vector, damping_mult)

  def _multiply_with(self, vector, damping_mult):
    """Does what `multiply` does, for a multiple that is not 1."""
    raise NotImplementedError(
        f"{type(self).__name__} must define multiply(vector, damping_mult).")

  @abc.abstractmethod
  def multiply_cholesky(self, vector: hints.Vector,
                        transpose: bool = False) -> Any:
    """Multiplies a vector by L with L L^T = F + damping I.

    Args:
      vector: As in multiply_matpower.
      transpose: Whether to multiply by L^T instead.

    Returns:
      The product, structured like the vector.
    """

  @abc.abstractmethod
  def multiply_cholesky_inverse(self, vector: hints.Vector,
                                transpose: bool = False) -> Any:
    """Multiplies a vector by L^-1 with L L^T = F + damping I.

    Args:
      vector: As in multiply_matpower.
      transpose: Whether to multiply by L^-T instead.

    Returns:
      The product, structured like the vector.
    """

  @abc.abstractmethod
  def tensors_to_compute_grads(self) -> Any:
    """Returns the tensors with respect to which losses are differentiated."""

  @property
  @abc.abstractmethod
  def num_registered_towers(self) -> int:
    """The number of towers that are registered."""

  def layer_outputs(self, params: hints.Vector, inputs: Any) -> Any:
    """Returns what the layer computes from the inputs of one use.

    Args:
      params: Tensor, or tuple of tensors: the parameters.
      inputs: Inputs of a use, as they were registered.

    Returns:
      Tensor; None if the block does not know what its layer computes.
    """
    del params, inputs

  def register_additional_tower(self, *args: Any, **kwargs: Any) -> None:
    """Adds the data of another tower; its arguments depend on the layer.

    Args:
      *args: What the layer registers.
      **kwargs: The same.

    Raises:
      NotImplementedError: If the block does not define it.
    """
    raise NotImplementedError(
        f"{type(self).__name__} must define register_additional_tower.")

  @property
  def num_registered_minibatches(self) -> int:
    """Same as num_registered_towers (1.5 to 1.7)."""
    return self.num_registered_towers

  def register_additional_minibatch(self, *args: Any, **kwargs: Any) -> None:
    """Same as register_additional_tower (1.5 to 1.7)."""
    self.register_additional_tower(*args, **kwargs)


def maybe_tuple(obj: Any) -> Any:
  """Returns (nested) lists as tuples, which are hashable.

  Args:
    obj: Any object.

  Returns:
    A tuple if `obj` is a list or tuple, otherwise `obj`.
  """
  if isinstance(obj, (list, tuple)):
    return tuple(maybe_tuple(item) for item in obj)
  return obj
