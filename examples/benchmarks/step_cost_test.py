"""Tests of the benchmark and its models."""

import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf

from examples.benchmarks import models
from examples.benchmarks import step_cost

_SMALL = models.MODELS["perceptron"]._replace(batch_size=16)


class ModelsTest(tf.test.TestCase):

  def testAllVariablesOfConvnetAndWideLayerAreRegistered(self):
    for name, num_layers in (("convnet", 3), ("wide", 1)):
      with tf.Graph().as_default(), \
          unittest.mock.patch.object(models, "WIDTH", 8):
        model = models.MODELS[name]._replace(
            num_inputs=8 if name == "wide" else 784)
        outputs, layers, loss = models.make_pass(
            model, models.make_inputs(model, 2))
        optimizer = models.make_optimizer(
            model, outputs, layers, learning_rate=0.1, damping=1.)
        optimizer.minimize(loss)
        self.assertLen(optimizer._layers.fisher_blocks, num_layers)
        self.assertLen(tf.trainable_variables(), 2 * num_layers)

  def testConvnetEqualsNumpyAtOnePixel(self):
    model = models.MODELS["convnet"]
    with tf.Graph().as_default(), self.session() as sess:
      _, layers, _ = models.make_pass(model, models.make_inputs(model, 1))
      sess.run(tf.global_variables_initializer())
      (weights, bias), inputs, outputs = sess.run(layers[1])
    self.assertEqual((1, 14, 14, 64), outputs.shape)
    expected = np.einsum("xyi,xyio->o", inputs[0, 2:7, 4:9], weights) + bias
    self.assertAllClose(expected, outputs[0, 4, 6], atol=1e-5)


class BenchmarkTest(tf.test.TestCase):

  def testMeasuresEveryPhaseAndSchedule(self):
    variants = {variant for _, variant in step_cost.SCHEDULES.values()}
    benchmark = step_cost.Benchmark(_SMALL, variants)
    self.addCleanup(benchmark.session.close)
    num_nodes = len(benchmark.session.graph.get_operations())
    phases = benchmark.time_phases(2)
    self.assertEqual({
        "forward", "forward and backward", "sampled backward", "covariances",
        "inverses", "preconditioning", "quadratic model",
        "rest of the step"}, set(phases))
    self.assertGreater(phases["forward and backward"], 0.)
    steps = benchmark.compare_steps(2)
    self.assertEqual(set(step_cost.SCHEDULES), set(steps))
    self.assertGreater(min(min(pair) for pair in steps.values()), 0.)
    self.assertGreaterEqual(benchmark.slowest_step("recommended", 3), 1.)
    # A run adds no node.
    self.assertEqual(num_nodes, len(benchmark.session.graph.get_operations()))

  def testComputesTheSizeOfTheTensors(self):
    params = 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10
    factors = 785**2 + 128**2 + 129**2 + 64**2 + 65**2 + 10**2
    activations = 16 * (784 + 2 * 128 + 2 * 64 + 10)
    self.assertAllClose(
        4 * (3 * params + 2 * factors + activations) / 2**20,
        step_cost.count_memory(_SMALL))


if __name__ == "__main__":
  tf.test.main()
