"""Tests of the registration of layer objects, with variables as attributes.

`tf.layers` exists up to TensorFlow 2.15, `tf.keras.layers` in all versions.
"""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac


def _kinds():
  """Returns {name: module with Conv2D, Dense and Flatten}."""
  kinds = {"keras": tf.keras.layers}
  if hasattr(getattr(tf, "layers", None), "Dense"):  # Not with Keras 3.
    kinds["layers"] = tf.layers
  return kinds


def _value(variable):
  """Returns the tf.Variable of a layer's variable, which Keras 3 wraps."""
  if isinstance(variable, (tf.Variable, tf.compat.v2.Variable)):
    return variable
  return variable.value


class LayerObjectsTest(tf.test.TestCase):

  def _train(self, layers):
    """Trains a small network.

    Args:
      layers: Module with Conv2D, Dense and Flatten.

    Returns:
      Losses before each of 20 steps, outputs of a layer, and the same from
      its kernel and bias.
    """
    rng = np.random.RandomState(0)
    images = rng.randn(64, 6, 6, 1).astype(np.float32)
    labels = (images[:, :3].sum((1, 2, 3)) > images[:, 3:].sum((1, 2, 3)))
    convolution = layers.Conv2D(3, 3, strides=1, padding="same")
    dense = layers.Dense(2)
    inputs = tf.constant(images)
    maps = convolution(inputs)
    features = layers.Flatten()(tf.nn.tanh(maps))
    logits = dense(features)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels.astype(np.int32), logits=logits))

    collection = kfac.LayerCollection()
    collection.register_conv2d(
        (_value(convolution.kernel), _value(convolution.bias)), (1, 1, 1, 1),
        "SAME", inputs, maps)
    collection.register_fully_connected(
        (_value(dense.kernel), _value(dense.bias)), features, logits)
    collection.register_categorical_predictive_distribution(logits)
    optimizer = kfac.KfacOptimizer(
        0.1, 0.95, 0.01, collection,
        var_list=[_value(variable) for layer in (convolution, dense)
                  for variable in (layer.kernel, layer.bias)])
    train_op = optimizer.minimize(loss)
    by_hand = tf.matmul(features, _value(dense.kernel)) + _value(dense.bias)
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      sess.run([_value(v).initializer for layer in (convolution, dense)
                for v in (layer.kernel, layer.bias)])
      losses = []
      for _ in range(20):
        losses.append(sess.run(loss))
        sess.run([optimizer.cov_update_op, optimizer.inv_update_op])
        sess.run(train_op)
      return (losses,) + tuple(sess.run([logits, by_hand]))

  def testTrain(self):
    for name, layers in _kinds().items():
      with self.subTest(name), tf.Graph().as_default():
        tf.set_random_seed(1)
        losses, outputs, by_hand = self._train(layers)
        self.assertLess(losses[-1], 0.5 * losses[0])
        self.assertAllClose(outputs, by_hand, rtol=1e-4, atol=1e-4)


if __name__ == "__main__":
  tf.test.main()
