"""A small convolutional network for digits, in one tower or in several."""

import collections

import tensorflow.compat.v1 as tf

from examples import mnist

NUM_FILTERS = 32
FILTER_SIZES = (5, 3)
PADDINGS = ("VALID", "SAME")
# Sides of the squares of which the maximum is taken after each convolution.
POOL_SIZES = (2, 3)
_STRIDES = [1, 1, 1, 1]

# What `register` needs to know of one layer: the pair (weights, bias), and the
# tensors before and after it, the latter before the nonlinearity.
Layer = collections.namedtuple("Layer", ["params", "inputs", "outputs"])

# One copy of the model: its part of the logits, and its layers.
Tower = collections.namedtuple("Tower", ["logits", "layers"])


def build(images, residual=False):
  """Builds two convolutions, each with ReLU and pooling, and a dense layer.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].
    residual: Whether the input of the second convolution is added to its
      output.

  Returns:
    Logits [B, 10], and the list of the three Layers.
  """
  size = mnist.IMAGE_SIZE
  layers = []
  activations = tf.reshape(images, [-1, size, size, 1])
  for number, padding in enumerate(PADDINGS):
    with tf.variable_scope(f"conv_{number + 1}"):
      layers.append(_convolve(activations, FILTER_SIZES[number], padding))
    outputs = tf.nn.relu(layers[-1].outputs)
    # The first convolution changes the shape.
    if residual and number > 0:
      outputs += activations
    pool_size = POOL_SIZES[number]
    activations = tf.nn.max_pool2d(
        outputs, pool_size, pool_size, padding="VALID")
  num_in = activations.shape[1:].num_elements()
  with tf.variable_scope("dense"):
    inputs = tf.reshape(activations, [-1, num_in])
    params = make_params([num_in, mnist.NUM_CLASSES])
    logits = tf.matmul(inputs, params[0]) + params[1]
  layers.append(Layer(params, inputs, logits))
  return logits, layers


def _convolve(inputs, filter_size, padding):
  """Makes a convolution with NUM_FILTERS filters, and its Layer."""
  channels = inputs.shape.as_list()[-1]
  weights, bias = make_params(
      [filter_size, filter_size, channels, NUM_FILTERS])
  outputs = tf.nn.conv2d(
      inputs, weights, strides=_STRIDES, padding=padding) + bias
  return Layer((weights, bias), inputs, outputs)


def make_params(shape):
  """Makes weights of a shape, and the bias of its last size."""
  weights = tf.get_variable(
      "weights", shape, initializer=tf.glorot_uniform_initializer())
  return weights, tf.get_variable(
      "bias", shape[-1:], initializer=tf.zeros_initializer())


def register(layer_collection, logits, layers, seed=None, reuse=False):
  """Tells K-FAC the layers, and the distribution that the logits stand for.

  Args:
    layer_collection: The kfac.LayerCollection to register with.
    logits: Logits [B, 10], from `build`.
    layers: The list that `build` returned with them.
    seed: Seed for drawing targets from the model's own distribution, or None.
    reuse: tf.AUTO_REUSE if there may be other towers of the same model.
  """
  *convolutions, dense = layers
  for layer, padding in zip(convolutions, PADDINGS, strict=True):
    layer_collection.register_conv2d(
        layer.params, _STRIDES, padding, layer.inputs, layer.outputs,
        reuse=reuse)
  layer_collection.register_fully_connected(*dense, reuse=reuse)
  layer_collection.register_categorical_predictive_distribution(
      logits, seed=seed, name="digits", reuse=reuse)


def build_towers(images, devices, residual=False):
  """Builds a tower per device; all have the same weights.

  Args:
    images: Tensor [B, 784], pixels in [0, 1]. Each tower gets B / len(devices)
      of them, rounded up or down.
    devices: List of the towers' devices.
    residual: See `build`.

  Returns:
    Logits [B, 10] of all images in order, and the list of Towers.
  """
  size = images.shape.as_list()[0]
  if size is None:
    size = tf.shape(images)[0]
  towers = []
  for number, device in enumerate(devices):
    start, end = (size * k // len(devices) for k in (number, number + 1))
    with tf.device(device), tf.name_scope(f"tower_{number}"):
      with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
        towers.append(Tower(*build(images[start:end], residual)))
  return tf.concat([tower.logits for tower in towers], axis=0), towers


def register_towers(layer_collection, logits, towers, seed=None):
  """Tells K-FAC the towers: each layer and the loss once, with several parts.

  Args:
    layer_collection: The kfac.LayerCollection to register with.
    logits: Logits [B, 10], from `build_towers`; its parts are registered.
    towers: The list that `build_towers` returned with them.
    seed: See `register`; each tower draws by one of its own.
  """
  del logits
  for number, tower in enumerate(towers):
    register(layer_collection, tower.logits, tower.layers,
             None if seed is None else seed + number, reuse=tf.AUTO_REUSE)
