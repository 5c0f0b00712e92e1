"""A small convolutional network for digits, in one tower or in several."""

import collections

import tensorflow.compat.v1 as tf

from examples import mnist

NUM_FILTERS = 32
FILTER_SIZES = (5, 3)
PADDINGS = ("VALID", "SAME")
# Window size and stride of the max-pooling after each convolution.
POOL_SIZES = (2, 3)
_STRIDES = [1, 1, 1, 1]

# A layer for `register`: (weights, bias), the inputs, and the outputs before
# the nonlinearity.
Layer = collections.namedtuple("Layer", ["params", "inputs", "outputs"])

# A copy of the model: the logits of its part of the batch, and its layers.
Tower = collections.namedtuple("Tower", ["logits", "layers"])


def build(images, residual=False):
  """Builds two convolutions, each with ReLU and pooling, and a dense layer.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].
    residual: Whether the input of the second convolution is added to its
      output after the ReLU.

  Returns:
    Logits [B, 10], and a list of three Layers.
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
  """Builds a convolution with NUM_FILTERS filters, and returns its Layer."""
  channels = inputs.shape.as_list()[-1]
  weights, bias = make_params(
      [filter_size, filter_size, channels, NUM_FILTERS])
  outputs = tf.nn.conv2d(
      inputs, weights, strides=_STRIDES, padding=padding) + bias
  return Layer((weights, bias), inputs, outputs)


def make_params(shape):
  """Creates weights of a shape, and a bias of the last size of the shape."""
  weights = tf.get_variable(
      "weights", shape, initializer=tf.glorot_uniform_initializer())
  return weights, tf.get_variable(
      "bias", shape[-1:], initializer=tf.zeros_initializer())


def register(layer_collection, logits, layers, seed=None, reuse=False):
  """Registers the layers, and a categorical distribution over the classes.

  Args:
    layer_collection: kfac.LayerCollection.
    logits: Logits [B, 10] from `build`.
    layers: Layers from `build`.
    seed: Seed for sampling targets from the predictive distribution, or None.
    reuse: tf.AUTO_REUSE if other towers of the model are registered too.
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
  """Builds one tower per device; all towers share the weights.

  Args:
    images: Tensor [B, 784], pixels in [0, 1]. Each tower gets B / len(devices)
      of them, rounded up or down.
    devices: List of devices, one per tower.
    residual: See `build`.

  Returns:
    Logits [B, 10] of all images in order, and a list of Towers.
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
  """Registers all towers as parts of the same layers and the same loss.

  Args:
    layer_collection: kfac.LayerCollection.
    logits: Logits [B, 10] from `build_towers`. They are ignored, because the
      logits of the towers are registered.
    towers: Towers from `build_towers`.
    seed: See `register`; each tower has its own seed.
  """
  del logits
  for number, tower in enumerate(towers):
    register(layer_collection, tower.logits, tower.layers,
             _tower_seed(seed, number), reuse=tf.AUTO_REUSE)


def register_tower_losses(layer_collection, logits, towers, seed=None):
  """Registers the logits of all towers, and no layers.

  Args:
    layer_collection: kfac.LayerCollection.
    logits: See `register_towers`.
    towers: See `register_towers`.
    seed: See `register_towers`.
  """
  del logits
  for number, tower in enumerate(towers):
    layer_collection.register_categorical_predictive_distribution(
        tower.logits, seed=_tower_seed(seed, number), name="digits",
        reuse=tf.AUTO_REUSE)


def _tower_seed(seed, number):
  """Returns the seed of a tower, or None."""
  return None if seed is None else seed + number
