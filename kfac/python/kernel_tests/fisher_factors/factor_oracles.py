"""NumPy oracles of factors, and a function that runs a factor."""

from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import fisher_factors

# (spatial size, filter, strides, dilations) of two-dimensional convolutions.
CONVOLUTIONS = [
    ([4, 5], [3, 3], [1, 1], [1, 1]),
    ([5, 4], [2, 3], [2, 1], [1, 1]),
    ([6, 7], [2, 2], [1, 1], [2, 3]),
    ([3, 4], [1, 1], [1, 1], [1, 1]),
]


def set_constants(test, **values):
  """Sets constants of fisher_factors until a test ends.

  Args:
    test: The TestCase.
    **values: The constants by their name.
  """
  for name, value in values.items():
    patcher = mock.patch.object(fisher_factors, name, value)
    patcher.start()
    test.addCleanup(patcher.stop)


def data(*shape, seed=0, dtype=np.float64):
  """Returns random numbers of a shape."""
  return np.random.RandomState(seed).randn(*shape).astype(dtype)


def new_cov(sess, factor):
  """Returns the covariance that a factor computes from its data.

  Args:
    sess: Session.
    factor: FisherFactor; its variables are made here.

  Returns:
    Array, the covariance.
  """
  factor.instantiate_cov_variables()
  update = factor.make_covariance_update_op(0.)
  sess.run(tf.global_variables_initializer())
  sess.run(update)
  return sess.run(tf.convert_to_tensor(factor.get_cov()))


def first_attempts(graph, before=0):
  """Lists the types of ops, without those of further attempts at an inverse.

  Args:
    graph: Graph.
    before: Number of its first ops to leave out.

  Returns:
    List of strings.
  """
  # Control flow v1 has the body of a loop in the graph itself.
  return [op.type for op in graph.get_operations()[before:]
          if "while" not in op.name]


def with_ones(rows):
  """Returns an array with a last column of ones."""
  return np.concatenate([rows, np.ones(rows.shape[:-1] + (1,))], -1)


def second_moment(rows):
  """Returns the mean outer product [n, n] of rows, by a loop."""
  total = np.zeros([rows.shape[1], rows.shape[1]])
  for row in rows:
    total += np.outer(row, row)
  return total / len(rows)


def power(matrix, exp):
  """Returns a symmetric positive definite matrix to a power."""
  eigenvalues, Q = np.linalg.eigh(matrix)
  return Q @ np.diag(eigenvalues ** exp) @ Q.T


def patches(images, size, strides, rates, padding):
  """Extracts the patch of each location of a convolution.

  Args:
    images: Array [batch, height, width, channels].
    size: Height and width of the filter.
    strides: Two ints.
    rates: Two ints, the dilations.
    padding: "SAME" or "VALID".

  Returns:
    Array [batch, locations, filter height * filter width * channels].
  """
  spans = [rate * (n - 1) + 1 for rate, n in zip(rates, size, strict=True)]
  counts, pads = [], []
  for length, span, stride in zip(
      images.shape[1:3], spans, strides, strict=True):
    if padding == "VALID":
      counts.append((length - span) // stride + 1)
      pads.append((0, 0))
    else:
      counts.append(-(-length // stride))
      total = max((counts[-1] - 1) * stride + span - length, 0)
      pads.append((total // 2, total - total // 2))
  padded = np.pad(images, [(0, 0)] + pads + [(0, 0)])
  seen = []
  for y in range(counts[0]):
    for x in range(counts[1]):
      top, left = y * strides[0], x * strides[1]
      seen.append(padded[:, top:top + spans[0]:rates[0],
                         left:left + spans[1]:rates[1]])
  return np.stack(seen, 1).reshape(len(images), len(seen), -1)
