"""A or G of a dense layer of which only the diagonal is kept."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import covariance
from kfac.python.ops.fisher_factors import diagonal
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision


class DiagonalKroneckerFactor(diagonal.DiagonalFactor):
  """The diagonal of FullyConnectedKroneckerFactor, [n (+ 1), 1]."""

  def __init__(self, tensors: hints.Sources, has_bias: bool = False,
               dtype: hints.DType | None = None) -> None:
    """Initializes the factor of activations or of gradients.

    Args:
      tensors: For each source and tower a tensor [batch, n]; or one tensor.
      has_bias: Whether a 1 is appended to each row.
      dtype: Dtype of the covariance; that of the tensors if None. At least
        float32.
    """
    super().__init__()
    self._tensors = base.as_sources(tensors)
    self._has_bias = has_bias
    self._data = self._tensors
    self._cov_dtype = dtype

  @property
  def _var_scope(self):
    return "ff_diagkron_" + naming.scope_string_from_params(
        [self._tensors, self._has_bias])

  @property
  def _cov_shape(self):
    return [self._tensors[0][0].shape.as_list()[1] + int(self._has_bias), 1]

  @property
  def _dtype(self):
    return precision.wide_dtype(
        self._cov_dtype or self._tensors[0][0].dtype)

  def _rows(self, source, tower):
    """Returns the rows [examples, n] whose second moments are taken."""
    rows = tf.convert_to_tensor(self._tensors[source][tower])
    return covariance.first_examples(tf.cast(rows, self._dtype))

  def _compute_new_cov(self, source, tower):
    return covariance.compute_diagonal(
        self._rows(source, tower), has_bias=self._has_bias)


class DiagonalMultiKF(DiagonalKroneckerFactor):
  """The diagonal of FullyConnectedMultiKF, over examples and uses."""

  def __init__(self, tensors: hints.Sources, num_uses: int,
               has_bias: bool = False,
               dtype: hints.DType | None = None) -> None:
    """Initializes the factor of activations or of gradients.

    Args:
      tensors: For each source and tower a tensor [uses * batch, n], the uses
        one after the other.
      num_uses: Number of uses.
      has_bias: As in DiagonalKroneckerFactor.
      dtype: As in DiagonalKroneckerFactor.
    """
    super().__init__(tensors, has_bias, dtype)
    self._num_uses = num_uses

  def _tower_batch_size(self, source, tower):
    return super()._tower_batch_size(source, tower) // self._num_uses

  def _rows(self, source, tower):
    # The first rows are those of the first use.
    rows = tf.convert_to_tensor(self._tensors[source][tower])
    return tf.cast(rows, self._dtype)
