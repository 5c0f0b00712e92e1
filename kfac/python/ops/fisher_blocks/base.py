"""FisherBlock: the approximation of the Fisher matrix of one layer."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

from kfac.python.ops.fisher_blocks import contrib_aliases
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints


def _package_func(func, func_id):
  """Packs a damping function with an id, see PackagedFunc."""
  return naming.PackagedFunc(func, func_id)


class FisherBlock(contrib_aliases.OldNames, abc.ABC):
  """The Fisher matrix F of the parameters of one layer, approximately.

  Towers are registered first; then the estimator passes gradients and a
  damping to `instantiate_factors`, registers what will be wanted, and from
  then on vectors, shaped like the parameters, can be multiplied.
  """

  def __init__(self, layer_collection: Any) -> None:
    """Starts a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
    """
    self._layer_collection = layer_collection

  @property
  def _num_replications(self):
    """How often the parameters are applied per example.

    The scale of F, the normalisation of the damping and the renormalisation
    of products all follow from it.
    """
    return 1

  @abc.abstractmethod
  def instantiate_factors(self, grads_list: Sequence[Any],
                          damping: hints.Scalar) -> None:
    """Makes the factors, without variables yet.

    Args:
      grads_list: For each source (backward pass) the gradients by what
        `tensors_to_compute_grads` returns, in the same structure.
      damping: Scalar: a number, tensor or variable.
    """

  @abc.abstractmethod
  def register_matpower(self, exp: float) -> None:
    """Announces that multiply_matpower(vector, exp) will be called.

    Args:
      exp: Number.
    """

  @abc.abstractmethod
  def register_cholesky(self) -> None:
    """Announces that multiply_cholesky will be called."""

  @abc.abstractmethod
  def register_cholesky_inverse(self) -> None:
    """Announces that multiply_cholesky_inverse will be called."""

  def register_inverse(self) -> None:
    """Announces that multiply_inverse will be called."""
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

  def multiply(self, vector: hints.Vector) -> Any:
    """Returns (F + damping I) vector, see multiply_matpower."""
    return self.multiply_matpower(vector, 1)

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
    """Returns the tensors by which the losses are to be differentiated."""

  @property
  @abc.abstractmethod
  def num_registered_towers(self) -> int:
    """Number of towers registered so far."""


def maybe_tuple(obj: Any) -> Any:
  """Returns (nested) lists as tuples, which can be keys, anything else as is.

  Args:
    obj: Any object.

  Returns:
    A tuple if `obj` is a list or tuple, else `obj`.
  """
  if isinstance(obj, (list, tuple)):
    return tuple(maybe_tuple(item) for item in obj)
  return obj
