"""Blocks of parameters whose use is not known, made of their gradient."""

from kfac.python.ops.fisher_blocks import base
from kfac.python.ops.fisher_blocks import single_factor
from kfac.python.ops.fisher_factors import generic


class _GenericFB(single_factor.SingleFactorFB):
  """Towers only count examples: the gradient by the parameters is of all."""

  _factor_type = None

  def __init__(self, layer_collection, params, batch_size=None):
    """Starts a block.

    Args:
      layer_collection: LayerCollection that keeps the factors.
      params: Variable, or tuple of variables.
      batch_size: Number of examples of a first tower, int or scalar tensor.
    """
    super().__init__(layer_collection)
    self._params = params
    self._batch_sizes = []
    if batch_size is not None:
      self.register_additional_tower(batch_size)

  def register_additional_tower(self, batch_size):
    """Adds the examples of another tower.

    Args:
      batch_size: Number of examples, int or scalar tensor.
    """
    self._batch_sizes.append(batch_size)

  @property
  def num_registered_towers(self):  # noqa: D102
    return len(self._batch_sizes)

  @property
  def _batch_size(self):
    return sum(self._batch_sizes)

  def tensors_to_compute_grads(self):
    """Returns the parameters."""
    return self._params

  def instantiate_factors(self, grads_list, damping):  # noqa: D102
    self._set_factor(
        self._factor_type,
        (base.maybe_tuple(grads_list), self._batch_size), damping)


class FullFB(_GenericFB):
  """F is the outer product of the gradient over the batch size."""

  _factor_type = generic.FullFactor


class NaiveDiagonalFB(_GenericFB, single_factor.DiagonalFB):
  """F is the square of the gradient over the batch size."""

  _factor_type = generic.NaiveDiagonalFactor
