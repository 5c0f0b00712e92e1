"""Products with A and G through the gradient or, if cheaper, the examples.

The gradient of a dense layer's weights is V = X^T Y, where X are the inputs of
all examples and Y the gradients with respect to the outputs. Then
  M_A V M_G = (X M_A^T)^T (Y M_G),
which costs less if there are fewer examples than the layer is wide. The order
of the two products in M_A V M_G has no effect on the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import linear_operator
from kfac.python.ops.utils import hints


def multiply(operators: Sequence[Any], adjoints: Sequence[bool],
             matrix: hints.TensorLike, vector: hints.Vector) -> Any:
  """Returns M_A V M_G, computed by whichever order takes fewer operations.

  Args:
    operators: M_A [a, a] and M_G [g, g], linear operators.
    adjoints: Whether to transpose M_A, and whether to transpose M_G.
    matrix: V [a, g], tensor or IndexedSlices.
    vector: The same in the structure of the parameters, see
      find_outer_products.

  Returns:
    Tensor [a, g], IndexedSlices if V is.
  """
  def through_gradient():
    # Sparse gradients have no products with transposed operators.
    dense = tf.convert_to_tensor(matrix) if any(adjoints) else matrix
    product = operators[0].matmul(dense, adjoint=adjoints[0])
    return operators[1].matmul_right(product, adjoint=adjoints[1])

  if not all(isinstance(operator, linear_operator.LinearOperatorFullMatrix)
             for operator in operators):
    return through_gradient()
  weights, bias = _weights_and_bias(vector)
  factors = _factors(weights)
  if factors is None:
    return through_gradient()

  def through_examples():
    # Their copies are made in this branch, and run only if it is taken.
    x, y = find_outer_products(vector)
    return tf.matmul(operators[0].matmul_right(x, adjoint=not adjoints[0]),
                     operators[1].matmul_right(y, adjoint=adjoints[1]),
                     transpose_a=True)

  limit = max_num_examples(*(int(operator.range_dimension)
                          for operator in operators))
  if bias is not None:
    limit -= 1  # The bias adds a row.
  num_examples = factors[0].shape.as_list()[0]
  if num_examples is None:
    return tf.cond(tf.shape(factors[0])[0] <= limit,
                   through_examples, through_gradient)
  return through_examples() if num_examples <= limit else through_gradient()


def max_num_examples(num_inputs: int, num_outputs: int) -> int:
  """Returns the number of examples up to which their use costs less.

  With a inputs, g outputs and n examples, the products through the examples
  take 2 n (a^2 + g^2 + a g) floating-point operations, those through the
  gradient 2 a g (a + g).

  Args:
    num_inputs: Int a, with the bias.
    num_outputs: Int g.
  """
  a, g = num_inputs, num_outputs
  return a * g * (a + g) // (a * a + g * g + a * g)


def find_outer_products(vector: hints.Vector) -> Any:
  """Finds X and Y of a gradient that was computed as V = X^T Y.

  The op that made the tensor decides, not an assumption about the model. A
  gradient that was clipped, or includes weight decay, has no such factors.

  Args:
    vector: Tensor, IndexedSlices, or pair (weights, bias).

  Returns:
    Tensors X [n, a] and Y [n, g], or None. With a bias, n is the number of
    examples plus 1.
  """
  weights, bias = _weights_and_bias(vector)
  factors = _factors(weights)
  if factors is None:
    return None
  # They wait for the gradient, which may itself wait for the reads of variables
  # that are about to change.
  with tf.control_dependencies([weights]):
    x, y = (tf.identity(factor) for factor in factors)
  if bias is None:
    return x, y
  # The last row is the bias's input 1 and the gradient of the bias.
  num_inputs = tf.shape(x)[1]
  one = tf.one_hot([num_inputs], num_inputs + 1, dtype=x.dtype)
  return (tf.concat([tf.pad(x, [[0, 0], [0, 1]]), one], axis=0),
          tf.concat([y, tf.reshape(bias, [1, -1])], axis=0))


def _weights_and_bias(vector):
  return vector if isinstance(vector, tuple) else (vector, None)


def _factors(matrix):
  """Returns X and Y if the matrix was computed as X^T Y."""
  if not isinstance(matrix, tf.Tensor):
    return None
  op = matrix.op
  while op.type == "Identity":
    op = op.inputs[0].op
  if (op.type != "MatMul" or not op.get_attr("transpose_a")
      or op.get_attr("transpose_b")):
    return None
  return tuple(op.inputs)
