"""The quadratic model of the loss, which picks alpha and mu.

For a step alpha d1 + mu d2 it is
  change = c . (alpha, mu) + (alpha, mu) M (alpha, mu)^T / 2,
with c_i = g . d_i and M_ij = d_i F d_j + damping d_i . d_j, F the exact Fisher
matrix of the mini-batch (Martens & Grosse 2015, sections 6.4 and 7).
"""

import tensorflow.compat.v1 as tf

from kfac.python.ops import curvature_matrix_vector_products as cmvp
from kfac.python.ops.optimizer import norm_constraint
from kfac.python.ops.utils import scalars


def curvature(losses, variables, directions, damping, batch_size):
  """Computes M.

  Args:
    losses: List of losses, summed over the cases.
    variables: List of variables.
    directions: List of directions d_i, each a list of tensors.
    damping: Scalar.
    batch_size: Scalar, the number of cases.

  Returns:
    Symmetric matrix [directions, directions].
  """
  computer = cmvp.CurvatureMatrixVectorProductComputer(losses, variables)
  # d F d' = (B^T J d) . (B^T J d'), so there is no need to go back.
  in_loss_space = computer.multiply_fisher_factor_transpose_many(directions)
  fisher = _gram([tf.nest.flatten(product) for product in in_loss_space])
  dtype = fisher.dtype
  return (fisher / scalars.cast_scalar(batch_size, dtype) +
          scalars.cast_scalar(damping, dtype) * _gram(directions))


def _gram(vectors):
  rows = [[None] * len(vectors) for _ in vectors]
  for i, one in enumerate(vectors):
    for j, other in enumerate(vectors[:i + 1]):
      rows[i][j] = rows[j][i] = norm_constraint.inner_product(one, other)
  return tf.convert_to_tensor(rows)


def minimum(M, c):
  """Minimises the model; without a second direction, in the first alone.

  Args:
    M: Matrix [2, 2].
    c: Vector [2].

  Returns:
    (alpha, mu) [2] = -M^-1 c, or (-c_1 / M_11, 0) if d2 is zero; and the
    change of the model, c . (alpha, mu) / 2.
  """
  first_only = tf.stack([-c[0] / M[0, 0], tf.zeros([], c.dtype)])
  # d2 is zero: damped or not, M has a row of zeros. The identity in its place
  # keeps the branch that is not taken solvable.
  no_second = tf.equal(M[1, 1], 0.)
  solvable = tf.where(no_second, tf.eye(2, dtype=M.dtype), M)
  both = -tf.linalg.solve(solvable, c[:, None])[:, 0]
  coefficients = tf.where(no_second, first_only, both)
  return coefficients, tf.reduce_sum(c * coefficients) / 2.
