"""Factors of parameters of unknown use, from their gradient alone.

The gradient is that of the whole batch. Its outer product over the batch size
estimates the Fisher matrix because the gradients of the examples, on targets
that are sampled from the model, are independent and have mean zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import dense
from kfac.python.ops.fisher_factors import diagonal
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import workers


class _ParameterGradients:
  """For each source, the gradient with respect to all parameters of a layer.

  Attributes:
    sources: Tuple over sources of tuples over parameters of tensors.
    batch_size: Number of examples, int or scalar tensor.
  """

  def __init__(self, params_grads, batch_size):
    self.sources = base.as_sources(params_grads)
    self.batch_size = batch_size

  @property
  def data(self):
    """The data of a factor: one tower, since the gradient is of all towers."""
    return tuple((source[0],) for source in self.sources)

  @property
  def scope(self):
    """The part of a factor's scope name that identifies its data."""
    return naming.scope_string_from_params([self.sources, self.batch_size])

  @property
  def num_params(self):
    """The number of entries of all parameters."""
    return sum(grad.shape.num_elements() for grad in self.sources[0])

  def column(self, source):
    """Returns the gradient of a source as a column [num_params, 1].

    With n workers it is the gradient of the joint batch over the root of n, so
    that its square over the batch size of one worker is what the square of the
    former over the joint batch size is.
    """
    together = workers.current()
    [column] = together.mean([utils.tensors_to_column(
        precision.widen(self.sources[source]))], "gradient")
    return column if together.count == 1 else together.count ** 0.5 * column

  def mean(self, total):
    """Returns a sum over examples, divided by the batch size."""
    return total / tf.cast(self.batch_size, total.dtype)


class _OfJointBatch:
  """A factor whose data are those of all workers, so that it has no mean."""

  def _over_workers(self, statistic):
    return statistic


class FullFactor(_OfJointBatch, dense.DenseSquareMatrixFactor):
  """Outer product of the gradient, [parameters, parameters]."""

  def __init__(self, params_grads: Sequence[Any], batch_size: hints.Scalar,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes the factor of the gradients of parameters.

    Args:
      params_grads: For each source, the gradient of the summed loss with
        respect to a parameter, or a list of those with respect to several.
      batch_size: Number of examples, int or scalar tensor.
      colocate_cov_ops_with_inputs: See FisherFactor.
    """
    super().__init__(colocate_cov_ops_with_inputs)
    self._gradients = _ParameterGradients(params_grads, batch_size)
    self._data = self._gradients.data

  def _tower_batch_size(self, source, tower):
    return self._gradients.batch_size

  @property
  def _var_scope(self):
    return f"ff_full_{self._gradients.scope}"

  @property
  def _cov_shape(self):
    return 2 * [self._gradients.num_params]

  def _compute_new_cov(self, source, tower):
    grad = self._gradients.column(source)
    return self._gradients.mean(tf.matmul(grad, grad, transpose_b=True))


class NaiveDiagonalFactor(_OfJointBatch, diagonal.DiagonalFactor):
  """Square of the gradient, [parameters, 1]."""

  def __init__(self, params_grads: Sequence[Any], batch_size: hints.Scalar,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes the factor of the gradients of parameters.

    Args:
      params_grads: As in FullFactor.
      batch_size: As in FullFactor.
      colocate_cov_ops_with_inputs: See FisherFactor.
    """
    super().__init__(colocate_cov_ops_with_inputs)
    self._gradients = _ParameterGradients(params_grads, batch_size)
    self._data = self._gradients.data

  def _tower_batch_size(self, source, tower):
    return self._gradients.batch_size

  @property
  def _var_scope(self):
    return f"ff_naivediag_{self._gradients.scope}"

  @property
  def _cov_shape(self):
    return [self._gradients.num_params, 1]

  def _compute_new_cov(self, source, tower):
    return self._gradients.mean(tf.square(self._gradients.column(source)))
