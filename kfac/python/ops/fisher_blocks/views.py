"""Views: how the tensors of a dense layer are read as matrices.

A dense layer multiplies rows [rows, in] by a matrix [in, out]. In a model, the
weights may be stored transposed or with more axes, such as [in, heads, size] in
an attention layer; and the inputs and outputs may have several axes of rows,
such as examples and positions, and several axes of features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.utils import hints


class Arrangement(NamedTuple):
  """Which axes of inputs or outputs are rows, and which are features.

  Attributes:
    axes: All axes, those of the rows first; None if they are in this order.
    num_features: Number of axes of features, which are the last ones.
  """

  axes: tuple[int, ...] | None = None
  num_features: int = 1

  def row_axes(self, rank: int) -> list[int]:
    """Returns the axes of rows of a tensor of this rank."""
    axes = list(range(rank)) if self.axes is None else list(self.axes)
    return axes[:rank - self.num_features]

  def rows(self, tensor: Any) -> Any:
    """Returns a tensor as [rows, features], itself if it is such a matrix."""
    if self.axes is None and tensor.shape.rank == 2 and self.num_features == 1:
      return tensor
    if self.axes is not None:
      tensor = tf.transpose(tensor, self.axes)
    return tf.reshape(tensor, [-1, self.size(tensor.shape.as_list())])

  def size(self, shape: Sequence[Any]) -> int:
    """Returns the number of features of a tensor whose rows come first."""
    return int(np.prod(shape[len(shape) - self.num_features:], dtype=int))


class View(NamedTuple):
  """How weights, inputs and outputs of a dense layer are read as matrices.

  Attributes:
    shape: Shape to which the weights are reshaped first; None for their own.
    axes: Axes of that shape in the order of the matrix: first those of the
      inputs, then those of the outputs; None for the given order.
    num_input_axes: Number of axes of the inputs.
    inputs: Arrangement of the inputs.
    outputs: Arrangement of the outputs.
  """

  shape: tuple[int, ...] | None = None
  axes: tuple[int, ...] | None = None
  num_input_axes: int = 1
  inputs: Arrangement = Arrangement()
  outputs: Arrangement = Arrangement()

  def matrix_shape(self, shape: Sequence[int]) -> list[int]:
    """Returns [in, out] of weights of this shape."""
    sizes = list(self.shape or shape)
    sizes = [sizes[axis] for axis in self._axes(len(sizes))]
    return [int(np.prod(sizes[:self.num_input_axes], dtype=int)),
            int(np.prod(sizes[self.num_input_axes:], dtype=int))]

  def to_matrix(self, weights: hints.TensorLike) -> tf.Tensor:
    """Returns weights, or a tensor of their shape, as a matrix [in, out]."""
    weights = tf.convert_to_tensor(weights)
    matrix_shape = self.matrix_shape(weights.shape.as_list())
    if self.axes is not None:
      sizes = self.shape or weights.shape.as_list()
      weights = tf.transpose(tf.reshape(weights, sizes), self.axes)
    return tf.reshape(weights, matrix_shape)

  def from_matrix(self, matrix: tf.Tensor, shape: Sequence[int]) -> tf.Tensor:
    """Undoes `to_matrix` for weights of this shape."""
    if self.axes is not None:
      sizes = list(self.shape or shape)
      matrix = tf.reshape(matrix, [sizes[axis] for axis in self.axes])
      matrix = tf.transpose(matrix, np.argsort(self.axes))
    return tf.reshape(matrix, shape)

  def _axes(self, rank):
    return range(rank) if self.axes is None else self.axes


DENSE = View()


def num_positions(view: View, inputs: Any, outputs: Any,
                  batch_size: Any = None) -> Any:
  """Counts the rows per example: how often the weights are applied.

  Args:
    view: View of the layer.
    inputs: Tensor [.., in].
    outputs: Tensor [.., out].
    batch_size: Number of examples, int or scalar tensor; None if it is the size
      of the first axis of rows.

  Returns:
    Int; a scalar tensor if sizes are unknown.
  """
  counts = []
  for tensor, arrangement in ((inputs, view.inputs), (outputs, view.outputs)):
    axes = arrangement.row_axes(tensor.shape.rank)
    if batch_size is None and len(axes) == 1:
      continue  # Only examples, or examples and positions in one axis.
    counted = axes if batch_size is not None else axes[1:]
    sizes = [tensor.shape.as_list()[axis] for axis in counted]
    if None not in sizes and (
        batch_size is None or not isinstance(batch_size, tf.Tensor)):
      return int(np.prod(sizes, dtype=int)) // (batch_size or 1)
    counts.append((tensor, counted))
  if not counts:
    return 1
  tensor, counted = counts[0]
  rows = tf.reduce_prod(tf.gather(tf.shape(tensor), counted))
  return rows if batch_size is None else rows // batch_size


def params_to_matrix(view: View | None, vector: Any) -> Any:
  """Returns a layer's parameters as a matrix [in (+ 1), out].

  Args:
    view: View of the layer; None for weights that are such a matrix.
    vector: Tensor, or pair (weights, bias), shaped like the parameters.
  """
  if view is None or isinstance(vector, tf.IndexedSlices):
    return utils.layer_params_to_mat2d(vector)
  if isinstance(vector, (list, tuple)):
    weights, bias = vector
    return utils.layer_params_to_mat2d((view.to_matrix(weights), bias))
  return view.to_matrix(vector)


def matrix_to_params(view: View | None, vector: Any,
                     matrix: Any) -> Any:
  """Undoes `params_to_matrix`.

  Args:
    view: The same.
    vector: The same, for structure and shapes.
    matrix: Tensor [in (+ 1), out].
  """
  if view is None or isinstance(matrix, tf.IndexedSlices):
    return utils.mat2d_to_layer_params(vector, matrix)
  if not isinstance(vector, (list, tuple)):
    return view.from_matrix(matrix, vector.shape.as_list())
  weights, bias = vector
  return (view.from_matrix(matrix[:-1], weights.shape.as_list()),
          tf.reshape(matrix[-1], bias.shape))


def layer_outputs(view: View | None, params: Any,
                  inputs: tf.Tensor) -> tf.Tensor:
  """Returns inputs W + b of a dense layer.

  Args:
    view: View of the layer; None for matrices.
    params: W, or pair (W, b).
    inputs: Tensor, arranged as the view says.

  Returns:
    Tensor [rows, out].
  """
  view = view or DENSE
  weights, *bias = params if isinstance(params, (list, tuple)) else [params]
  outputs = tf.matmul(view.inputs.rows(inputs), view.to_matrix(weights))
  return outputs + tf.reshape(bias[0], [-1]) if bias else outputs
