"""Properties of covariances: random layers against NumPy in float64."""

import itertools

import hypothesis
import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized
from hypothesis import strategies as st

import kfac
from kfac.python.kernel_tests import random_layers
from kfac.python.ops import estimator

KRONECKER = [row for row in random_layers.ROWS if row in (
    ("fully_connected", "kron"), ("conv2d", "kron"), ("convolution", "kron"),
    ("fully_connected_multi", "kron_indep"), ("conv2d_multi", "kron_indep"))]
TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "float16": 2e-3,
             "bfloat16": 2e-2}


def patches(case, images):
  """Extracts what the filter sees at each location, by a loop.

  Args:
    case: random_layers.Case.
    images: Array [batch, spatial..., channels].

  Returns:
    Array [batch * locations, filter sizes * channels].
  """
  pads, counts = [(0, 0)], []
  for n, k, stride, rate in zip(
      images.shape[1:-1], case.filter_size, case.strides, case.dilations,
      strict=True):
    span = 1 + rate * (k - 1)
    if case.padding == "SAME":
      counts.append(-(-n // stride))
      total = max(0, (counts[-1] - 1) * stride + span - n)
      pads.append((total // 2, total - total // 2))
    else:
      counts.append(1 + (n - span) // stride)
      pads.append((0, 0))
  padded = np.pad(images, [*pads, (0, 0)])
  found = []
  for location in itertools.product(*map(range, counts)):
    window = tuple(
        slice(i * stride, i * stride + 1 + rate * (k - 1), rate)
        for i, k, stride, rate in zip(
            location, case.filter_size, case.strides, case.dilations,
            strict=True))
    found.append(padded[(slice(None), *window)].reshape(len(images), -1))
  return np.concatenate(found)


def second_moment(rows):
  return rows.T @ rows / len(rows)


class KroneckerFactorsTest(parameterized.TestCase, tf.test.TestCase):

  def testTheRowsWithAnOracleAreInTheTable(self):
    self.assertLen(KRONECKER, 5)

  @parameterized.named_parameters(("_".join(row), *row) for row in KRONECKER)
  @random_layers.examples(8)
  @hypothesis.given(data=st.data())
  def testCovariancesEqualNumpy(self, kind, approx, data):
    case = data.draw(random_layers.cases(kind, approx))
    with tf.Graph().as_default(), tf.Session() as session:
      layer = random_layers.Layer(case)
      layers = kfac.LayerCollection()
      inputs, outputs, _ = layer.add_tower(layers)
      grads = tf.gradients(layers.total_loss(), outputs)
      fisher = estimator.FisherEstimator(
          layers.registered_variables, 0., 0.1, layers,
          estimation_mode="empirical")
      update = fisher.cov_update_op
      factors = [factor.get_cov() for factor in fisher.factors]
      session.run(tf.global_variables_initializer())
      session.run(update, layer.feed)
      (A, G), inputs, grads = session.run(
          [factors, inputs, grads], layer.feed)
    rows = np.concatenate([
        patches(case, np.float64(use)) for use in inputs])
    if case.has_bias:
      rows = np.concatenate([rows, np.ones([len(rows), 1])], axis=1)
    tolerance = TOLERANCE[case.dtype]
    self._check(A, second_moment(rows), tolerance)
    rows = np.concatenate([
        np.float64(use).reshape(-1, case.num_out) for use in grads])
    self._check(G, second_moment(rows), tolerance)

  def _check(self, cov, expected, tolerance):
    self.assertIn(cov.dtype, (np.float32, np.float64))
    self.assertAllClose(cov, cov.T, rtol=0., atol=0.)
    self.assertAllClose(cov, expected, rtol=tolerance,
                        atol=tolerance * np.max(expected))


if __name__ == "__main__":
  tf.test.main()
