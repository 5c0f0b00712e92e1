"""Properties of towers: parts of a batch give the blocks of the whole."""

import hypothesis
import tensorflow.compat.v1 as tf
from absl.testing import parameterized
from hypothesis import strategies as st

import kfac
from kfac.python.kernel_tests import random_layers
from kfac.python.ops import estimator


class TowersTest(parameterized.TestCase, tf.test.TestCase):

  def _product(self, layer, splits, strategy, name):
    """Registers parts of the batch, and returns what towers must not change.

    Args:
      layer: random_layers.Layer.
      splits: Indices where one tower ends and the next begins.
      strategy: TOWER_STRATEGY.
      name: Name of the estimator.

    Returns:
      Update ops, and the covariances and the product with a vector.
    """
    layers = kfac.LayerCollection()
    bounds = [0, *splits, layer.case.batch_size]
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
      layer.add_tower(layers, slice(start, stop), reuse=start > 0)
    (block,) = layers.get_blocks()
    self.assertEqual(block.num_registered_towers, len(bounds) - 1)
    before = kfac.fisher_factors.TOWER_STRATEGY
    kfac.fisher_factors.set_global_constants(tower_strategy=strategy)
    try:
      fisher = estimator.FisherEstimator(
          layers.registered_variables, 0., 0.1, layers,
          estimation_mode="empirical", name=name)
      ops = [fisher.cov_update_op, fisher.inv_update_op]
    finally:
      kfac.fisher_factors.set_global_constants(tower_strategy=before)
    return ops, [[factor.get_cov() for factor in fisher.factors],
                 block.multiply_inverse(self._vector)]

  @random_layers.over_rows
  @random_layers.examples(2)
  @hypothesis.given(data=st.data())
  def testTowersEqualOne(self, kind, approx, data):
    case = data.draw(random_layers.cases(
        kind, approx, ["float64"], batch_sizes=[4]))
    # "separate" is the mean over towers, which must have the same size.
    splits = data.draw(st.sampled_from([[2], [1], [1, 2]]))
    with tf.Graph().as_default(), tf.Session() as session:
      layer = random_layers.Layer(case)
      self._vector = layer.placeholders()
      builds = [self._product(layer, [], "concat", "one"),
                self._product(layer, splits, "concat", "several")]
      if splits == [2]:
        builds.append(self._product(layer, splits, "separate", "separate"))
      session.run(tf.global_variables_initializer())
      for index in (0, 1):
        session.run([ops[index] for ops, _ in builds], layer.feed)
      feed = {**layer.feed, **random_layers.feed(
          self._vector, layer.random_vector(0))}
      one, *others = session.run([values for _, values in builds], feed)
      for other in others:
        self.assertAllClose(one, other, rtol=1e-8, atol=1e-10)



if __name__ == "__main__":
  tf.test.main()
