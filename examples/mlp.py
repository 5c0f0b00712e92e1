"""A multilayer perceptron for digits, and its registration with K-FAC."""

import tensorflow.compat.v1 as tf

LAYER_SIZES = (784, 128, 64, 10)


def build(images):
  """Builds the network, with tanh between its dense layers.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].

  Returns:
    Logits [B, 10]; and the layers for `register`, a list of ((weights, bias),
    inputs, outputs) with weights [in, out], bias [out], inputs [B, in], and
    outputs [B, out] before the nonlinearity.
  """
  layers: list[tuple] = []
  activations = images
  for number, size in enumerate(LAYER_SIZES[1:], start=1):
    with tf.variable_scope(f"layer_{number}"):
      if layers:
        activations = tf.tanh(activations)
      params, outputs = dense(activations, size)
    layers.append((params, activations, outputs))
    activations = outputs
  return activations, layers


def dense(inputs, size, seed=None):
  """Builds a dense layer in the current variable scope.

  Args:
    inputs: Tensor [B, in].
    size: Number of outputs.
    seed: Seed of the initial weights, or None.

  Returns:
    (weights, bias), and inputs * weights + bias.
  """
  weights = tf.get_variable(
      "weights", [inputs.shape.as_list()[-1], size],
      initializer=tf.glorot_uniform_initializer(seed=seed))
  bias = tf.get_variable("bias", [size], initializer=tf.zeros_initializer())
  return (weights, bias), tf.matmul(inputs, weights) + bias


def register(layer_collection, logits, layers, seed=None):
  """Registers the layers, and a categorical distribution over the classes.

  Args:
    layer_collection: kfac.LayerCollection.
    logits: Logits [B, 10] from `build`.
    layers: Layers from `build`.
    seed: Seed for sampling targets from the predictive distribution, or None.
  """
  for params, inputs, outputs in layers:
    layer_collection.register_fully_connected(params, inputs, outputs)
  layer_collection.register_categorical_predictive_distribution(
      logits, seed=seed)
