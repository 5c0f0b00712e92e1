"""Properties of all blocks: each is a positive definite matrix."""

import hypothesis
import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized
from hypothesis import strategies as st

import kfac
from kfac.python.kernel_tests import random_layers
from kfac.python.ops import estimator

# The error of one product undone by another, relative to the norms.
TOLERANCE = {"float64": 1e-9, "float32": 1e-3}
DAMPING = 0.1


def _estimator(layers, mode, **kwargs):
  return estimator.FisherEstimator(
      layers.registered_variables, 0., DAMPING, layers,
      estimation_mode=mode, **kwargs)


class Products:
  """Products of the block of one layer with vectors."""

  def __init__(self, case, session, mode="empirical"):
    """Builds a layer, and updates its block.

    Args:
      case: random_layers.Case.
      session: Session of the default graph.
      mode: Estimation mode.
    """
    self._session = session
    self._layer = layer = random_layers.Layer(case)
    layers = kfac.LayerCollection()
    _, outputs, _ = layer.add_tower(layers)
    self.is_general = case.approx not in random_layers.ONLY_INVERSE
    fisher = _estimator(layers, mode, exps=(1, -1) if self.is_general
                        else (-1,))
    ops = [fisher.cov_update_op, fisher.inv_update_op]
    (block,) = layers.get_blocks()
    self._vector = layer.placeholders()
    self._products = {"inverse": block.multiply_inverse(self._vector)}
    if self.is_general:
      self._products["multiply"] = block.multiply(self._vector)
    session.run(tf.global_variables_initializer())
    for op in ops:
      session.run(op, layer.feed)
    # The number of replications, and the shape of the outputs of one use.
    self.replications, self.output_shape = session.run(
        [tf.convert_to_tensor(block._num_replications), tf.shape(outputs[0])],
        layer.feed)

  def __call__(self, name, column):
    """Multiplies a column by the block or its inverse.

    Args:
      name: "multiply" or "inverse".
      column: Array [parameters].

    Returns:
      float64 array [parameters].
    """
    return np.float64(random_layers.flat(self._session.run(
        self._products[name],
        {**self._layer.feed, **random_layers.feed(self._vector, column)})))

  def random_vectors(self, count):
    """Returns a list of vectors."""
    return [self._layer.random_vector(seed) for seed in range(count)]


class BlockTest(parameterized.TestCase, tf.test.TestCase):

  def _check_symmetric_positive(self, products, name, tolerance):
    """Checks u . F v = v . F u and v . F v > 0 for some vectors."""
    vectors = products.random_vectors(3)
    images = [products(name, vector) for vector in vectors]
    for u, Fu in zip(vectors, images, strict=True):
      self.assertGreater(u @ Fu, 0.)
      for v, Fv in zip(vectors, images, strict=True):
        scale = np.linalg.norm(u) * np.linalg.norm(Fv)
        self.assertAllClose(u @ Fv, v @ Fu, rtol=0., atol=tolerance * scale)

  @random_layers.over_rows
  @random_layers.examples(3)
  @hypothesis.given(data=st.data())
  def testBlockIsPositiveDefiniteAndInverted(self, kind, approx, data):
    case = data.draw(random_layers.cases(kind, approx, sorted(TOLERANCE)))
    tolerance = TOLERANCE[case.dtype]
    with tf.Graph().as_default(), tf.Session() as session:
      products = Products(case, session)
      self._check_replications(case, products)
      self._check_symmetric_positive(products, "inverse", tolerance)
      if not products.is_general:
        return
      self._check_symmetric_positive(products, "multiply", tolerance)
      if (kind, approx) == ("depthwise_conv2d", "kron") and case.num_in > 1:
        return  # Both are restrictions of products that undo each other.
      for v in products.random_vectors(2):
        product = products("multiply", v)
        again = products("inverse", product)
        # The largest eigenvalue of the inverse is at most 1 / damping.
        scale = np.linalg.norm(v) + np.linalg.norm(product) / DAMPING
        self.assertAllClose(again, v, rtol=0., atol=tolerance * scale)

  def _check_replications(self, case, products):
    """Checks the number of locations times the number of uses."""
    expected = 1
    if kind_has_locations(case.kind):
      expected = np.prod(products.output_shape[1:-1])
    if case.kind.endswith("_multi") and case.approx.startswith("kron_indep"):
      expected *= case.num_uses
    if case.approx not in random_layers.ONLY_INVERSE:
      self.assertEqual(products.replications, expected)


def kind_has_locations(kind):
  """Returns whether the parameters are used at several locations."""
  return "conv" in kind


if __name__ == "__main__":
  tf.test.main()
