"""Properties of registered layers: they train, and towers do not matter."""

import hypothesis
import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized
from hypothesis import strategies as st

import kfac
from kfac.python.kernel_tests import random_layers
from kfac.python.ops.layer_collection import approximations


class LayersTest(tf.test.TestCase):

  def testEachKindOfTheTableHasALayer(self):
    self.assertCountEqual(
        random_layers.LAYERS, approximations.APPROXIMATIONS)


class StepTest(parameterized.TestCase, tf.test.TestCase):

  @random_layers.over_rows
  @random_layers.examples(3)
  @hypothesis.given(data=st.data())
  def testOneStepGivesFiniteParameters(self, kind, approx, data):
    case = data.draw(random_layers.cases(kind, approx))
    modes = ["gradients", "empirical", "curvature_prop", "exact"]
    if kind == "generic":
      modes.remove("exact")
    mode = data.draw(st.sampled_from(modes))
    with tf.Graph().as_default(), tf.Session() as session:
      layer = random_layers.Layer(case)
      layers = kfac.LayerCollection()
      inputs, _, loss = layer.add_tower(layers)
      optimizer = kfac.KfacOptimizer(
          learning_rate=0.1, cov_ema_decay=0.9, damping=0.1,
          layer_collection=layers, estimation_mode=mode)
      train_op = optimizer.minimize(loss)
      ops = [optimizer.cov_update_op, optimizer.inv_update_op, train_op]
      session.run(tf.global_variables_initializer())
      before = session.run(layer.params)
      for op in ops:
        session.run(op, layer.feed)
      after = session.run(layer.params)
    moved = 0.
    for old, new in zip(tf.nest.flatten(before), tf.nest.flatten(after),
                        strict=True):
      self.assertEqual(old.dtype, new.dtype)
      self.assertAllEqual(np.isfinite(np.float64(new)), np.ones_like(old, bool))
      moved = max(moved, np.max(np.abs(np.float64(new) - np.float64(old))))
    self.assertGreater(moved, 0.)


if __name__ == "__main__":
  tf.test.main()
