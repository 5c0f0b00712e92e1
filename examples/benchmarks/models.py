"""The models that are measured: forward pass, registration and settings.

The forward passes create variables with tf.get_variable. Another pass in a
scope that reuses variables therefore shares them.
"""

import collections

import tensorflow.compat.v1 as tf

import kfac
from examples import autoencoder
from examples import convnet
from examples import mlp
from examples import mnist

WIDTH = 4096

# num_inputs: size of an example.
# build: function of inputs [B, num_inputs] that returns outputs and layers.
# register: function of (layer_collection, outputs, layers).
# loss: function of (outputs, inputs) that returns the mean loss. The targets
#   are arbitrary, because they do not affect the time.
# batch_size: number of examples in a batch.
Model = collections.namedtuple(
    "Model", ["num_inputs", "build", "register", "loss", "batch_size"])


def _class_loss(logits, inputs):
  labels = tf.cast(inputs[:, 0] * mnist.NUM_CLASSES, tf.int32)
  return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=labels, logits=logits))


def build_convnet(images):
  """Builds 5x5x32 and 5x5x64 convolutions with pooling, and a dense layer.

  Args:
    images: Tensor [B, 784].

  Returns:
    Logits [B, 10], and a list of (parameters, inputs, outputs).
  """
  layers = []
  activations = tf.reshape(images, [-1, mnist.IMAGE_SIZE, mnist.IMAGE_SIZE, 1])
  for number, channels in enumerate((32, 64)):
    with tf.variable_scope(f"conv_{number}"):
      params = convnet.make_params(
          [5, 5, activations.shape.as_list()[-1], channels])
      outputs = tf.nn.conv2d(
          activations, params[0], [1, 1, 1, 1], "SAME") + params[1]
      layers.append((params, activations, outputs))
      activations = tf.nn.max_pool2d(tf.nn.relu(outputs), 2, 2, "SAME")
  with tf.variable_scope("dense"):
    inputs = tf.reshape(activations, [-1, 7 * 7 * 64])
    params = convnet.make_params([7 * 7 * 64, mnist.NUM_CLASSES])
    logits = tf.matmul(inputs, params[0]) + params[1]
    layers.append((params, inputs, logits))
  return logits, layers


def register_convnet(layer_collection, logits, layers):
  """Registers the layers and logits of build_convnet."""
  *convolutions, dense = layers
  for params, inputs, outputs in convolutions:
    layer_collection.register_conv2d(
        params, [1, 1, 1, 1], "SAME", inputs, outputs)
  layer_collection.register_fully_connected(*dense)
  layer_collection.register_categorical_predictive_distribution(logits)


def build_wide(inputs):
  """Builds one dense layer.

  Args:
    inputs: Tensor [B, WIDTH].

  Returns:
    Outputs [B, WIDTH], and a list of (parameters, inputs, outputs).
  """
  params = convnet.make_params([WIDTH, WIDTH])
  outputs = tf.matmul(inputs, params[0]) + params[1]
  return outputs, [(params, inputs, outputs)]


def register_wide(layer_collection, outputs, layers):
  """Registers the layer and outputs of build_wide."""
  layer_collection.register_fully_connected(*layers[0])
  layer_collection.register_normal_predictive_distribution(outputs)


def _square_loss(outputs, inputs):
  return tf.reduce_mean(tf.reduce_sum(tf.square(outputs - inputs), axis=1))


MODELS = {
    "autoencoder": Model(
        784, autoencoder.build, autoencoder.register, autoencoder.mean_loss,
        1000),
    "autoencoder_4000": Model(
        784, autoencoder.build, autoencoder.register, autoencoder.mean_loss,
        4000),
    "perceptron": Model(784, mlp.build, mlp.register, _class_loss, 500),
    "convnet": Model(784, build_convnet, register_convnet, _class_loss, 500),
    "wide": Model(WIDTH, build_wide, register_wide, _square_loss, 1000),
}


def make_inputs(model, batch_size, seed=0):
  """Creates a variable [batch_size, num_inputs] of random numbers in [0, 1)."""
  return tf.get_variable(
      "inputs", [batch_size, model.num_inputs], trainable=False,
      initializer=tf.random_uniform_initializer(seed=seed), use_resource=True)


def make_pass(model, inputs):
  """Builds a forward pass of the model; all passes share the variables.

  Args:
    model: Model.
    inputs: Tensor [B, num_inputs].

  Returns:
    Outputs, layers and the mean loss.
  """
  with tf.variable_scope("model", reuse=tf.AUTO_REUSE):
    outputs, layers = model.build(inputs)
  return outputs, layers, model.loss(outputs, inputs)


def make_optimizer(model, outputs, layers, **settings):
  """Registers a forward pass and creates a KfacOptimizer."""
  layer_collection = kfac.LayerCollection()
  model.register(layer_collection, outputs, layers)
  return kfac.KfacOptimizer(layer_collection=layer_collection, **settings)
