"""Factors of a dense layer: A or G, and the diagonal of the whole block."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import covariance
from kfac.python.ops.fisher_factors import dense
from kfac.python.ops.fisher_factors import diagonal
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision


class FullyConnectedKroneckerFactor(dense.DenseSquareMatrixFactor):
  """A = E[a a^T], or G = E[g g^T] (Martens & Grosse 2015, section 3)."""

  def __init__(self, tensors: hints.Sources, has_bias: bool = False,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes the factor of activations or of gradients.

    Args:
      tensors: For each source and tower a tensor [batch, n]; or one tensor.
      has_bias: Whether a 1 is appended to each row.
      colocate_cov_ops_with_inputs: See FisherFactor.
    """
    super().__init__(colocate_cov_ops_with_inputs)
    self._tensors = base.as_sources(tensors)
    self._has_bias = has_bias
    self._data = self._tensors

  @property
  def _var_scope(self):
    return "ff_fckron_" + naming.scope_string_from_params(
        [self._tensors, self._has_bias])

  @property
  def _cov_shape(self):
    size = self._tensors[0][0].shape.as_list()[1] + int(self._has_bias)
    return [size, size]

  def _compute_new_cov(self, source, tower):
    rows = precision.as_wide_tensor(self._tensors[source][tower])
    return self._with_assumed_mean(covariance.compute_cov(
        covariance.first_examples(rows), has_bias=self._has_bias))

  def _with_assumed_mean(self, moments):
    return (covariance.with_assumed_mean(moments) if self._has_bias
            else moments)


class FullyConnectedDiagonalFactor(diagonal.DiagonalFactor):
  """Mean over examples of the squared gradient per example, [in (+ 1), out].

  The gradient of an example is a g^T, so its elementwise square is the outer
  product of the squares of a and g.
  """

  def __init__(self, inputs: hints.Towers, outputs_grads: hints.Sources,
               has_bias: bool = False,
               colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes the factor of a layer.

    Args:
      inputs: For each tower the inputs [batch, in]; or one tensor.
      outputs_grads: For each source and tower the gradient of the summed loss
        with respect to the outputs, [batch, out].
      has_bias: Whether the layer has a bias.
      colocate_cov_ops_with_inputs: See FisherFactor.
    """
    super().__init__(colocate_cov_ops_with_inputs)
    self._inputs = base.as_towers(inputs)
    self._outputs_grads = base.as_sources(outputs_grads)
    self._has_bias = has_bias
    self._data = self._outputs_grads

  @property
  def _var_scope(self):
    return "ff_diagfc_" + naming.scope_string_from_params(
        [self._inputs, self._outputs_grads])

  @property
  def _cov_shape(self):
    return [self._inputs[0].shape.as_list()[1] + int(self._has_bias),
            self._outputs_grads[0][0].shape.as_list()[1]]

  def _compute_new_cov(self, source, tower):
    inputs = precision.as_wide_tensor(self._inputs[tower])
    if self._has_bias:
      inputs = covariance.append_homog(inputs)
    grads = precision.as_wide_tensor(self._outputs_grads[source][tower])
    return covariance.compute_cov(tf.square(inputs), tf.square(grads))
