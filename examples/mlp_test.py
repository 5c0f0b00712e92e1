"""Tests of the perceptron and its registration."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from examples import mlp
from examples import mlp_mnist_main
from examples import registrations
from examples import runner
from examples import runner_test


class MlpTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.enter_graph = tf.Graph().as_default()
    self.enter_graph.__enter__()
    self.addCleanup(self.enter_graph.__exit__, None, None, None)
    tf.set_random_seed(0)
    self._images = np.random.RandomState(0).rand(5, 784).astype(np.float32)

  def testLogitsEqualNumpy(self):
    logits, layers = mlp.build(tf.constant(self._images))
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      logits, params = sess.run([logits, [layer[0] for layer in layers]])
    self.assertEqual([weights.shape for weights, _ in params],
                     [(784, 128), (128, 64), (64, 10)])
    expected = self._images
    for number, (weights, bias) in enumerate(params):
      if number:
        expected = np.tanh(expected)
      expected = expected @ weights + bias
    self.assertAllClose(logits, expected, atol=1e-5)

  def testLayersHaveInputsAndOutputs(self):
    logits, layers = mlp.build(tf.constant(self._images))
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      for (weights, bias), inputs, outputs in sess.run(layers):
        self.assertAllClose(outputs, inputs @ weights + bias, atol=1e-5)
    self.assertIs(layers[-1][2], logits)

  def testRegistersAllVariables(self):
    logits, layers = mlp.build(tf.constant(self._images))
    layer_collection = kfac.LayerCollection()
    mlp.register(layer_collection, logits, layers, seed=1)
    layer_collection.create_subgraph()
    layer_collection.check_registration(tf.trainable_variables())
    self.assertLen(layer_collection.fisher_blocks, 3)
    self.assertLen(layer_collection.losses, 1)

  def testFoundLayersAreTheRegisteredOnes(self):
    registered, found = registrations.describe_both(
        mlp.build, mlp.register, runner.register_categorical)
    self.assertLen(registered, 3)
    self.assertEqual(registered, found)


class AutomaticTest(runner_test.RunnerTestCase):

  def testTrainsLikeTheRegisteredLayers(self):
    registered, found = registrations.losses_of_both(
        mlp_mnist_main.EXPERIMENT, self._argv()[1:])
    self.assertAllClose(registered, found, rtol=1e-5)
    self.assertLess(registered[-1], 0.9 * registered[0])


if __name__ == "__main__":
  tf.test.main()
