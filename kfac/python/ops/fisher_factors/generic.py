"""Factors of parameters whose use is not known: from their gradient alone.

The gradient is that of the whole batch, so its outer product over the batch
size is an estimate of the Fisher matrix only as far as the gradients of the
examples are independent with mean zero, as those on sampled targets are.
"""

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import dense
from kfac.python.ops.fisher_factors import diagonal
from kfac.python.ops.fisher_factors import naming


class _GradientOfParameters:
  """Data of a factor: for each source a gradient by all the parameters."""

  _kind = None

  def __init__(self, params_grads, batch_size,
               colocate_cov_ops_with_inputs=False):
    """Makes a factor of gradients.

    Args:
      params_grads: For each source, the gradient of the summed loss by a
        parameter, or a list of those by several.
      batch_size: Number of examples, int or scalar tensor.
      colocate_cov_ops_with_inputs: See FisherFactor.
    """
    super().__init__(colocate_cov_ops_with_inputs)
    self._params_grads = base.as_sources(params_grads)
    self._batch_size = batch_size
    # All towers are in one gradient.
    self._data = tuple((source[0],) for source in self._params_grads)

  @property
  def _var_scope(self):
    return "ff_{}_{}".format(self._kind, naming.scope_string_from_params(
        [self._params_grads, self._batch_size]))

  @property
  def _size(self):
    return sum(grad.shape.num_elements() for grad in self._params_grads[0])

  def _flat_gradient(self, source):
    return utils.tensors_to_column(self._params_grads[source])

  def _over_batch_size(self, value):
    return value / tf.cast(self._batch_size, value.dtype)


class FullFactor(_GradientOfParameters, dense.DenseSquareMatrixFactor):
  """Outer product of the gradient, [parameters, parameters]."""

  _kind = "full"

  @property
  def _cov_shape(self):
    return [self._size, self._size]

  def _compute_new_cov(self, source, tower):
    grad = self._flat_gradient(source)
    return self._over_batch_size(tf.matmul(grad, grad, transpose_b=True))


class NaiveDiagonalFactor(_GradientOfParameters, diagonal.DiagonalFactor):
  """Square of the gradient, [parameters, 1]."""

  _kind = "naivediag"

  @property
  def _cov_shape(self):
    return [self._size, 1]

  def _compute_new_cov(self, source, tower):
    return self._over_batch_size(tf.square(self._flat_gradient(source)))
