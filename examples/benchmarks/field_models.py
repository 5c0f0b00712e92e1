"""Four small classifiers on which settings are tried, see settings.py.

Together they have what the models of examples/ lack: ReLU in dense layers,
batch and layer normalization, gates, attention, and residual connections. The
forward passes create variables with tf.get_variable. Another pass in a scope
that reuses variables therefore shares them.
"""

import collections

import tensorflow.compat.v1 as tf

from examples import mlp
from examples import mnist
from examples import runner

HIDDEN_SIZES = (100, 50)

# Convolutions of 3 x 3 pixels with stride 2.
CHANNELS = (16, 32)
_FILTER_SIZE = 3
_STRIDES = (1, 2, 2, 1)
_POOL_SIZE = 4

NUM_UNITS = 32

# The transformer reads patches of 7 x 7 pixels.
PATCH_SIZE = 7
WIDTH = 32
NUM_HEADS = 2
MLP_WIDTH = 64

# Added to variances before division.
_EPSILON = 1e-5

# A layer for `register`. kind: "dense", "repeated" (a dense layer with several
# uses), "convolution" or "generic".
# params: variable, or tuple of variables.
# inputs, outputs: as the registration of the kind takes them; None for
#   "generic".
# num_uses: number of uses in one tensor, for "repeated"; None for lists.
Layer = collections.namedtuple(
    "Layer", ["kind", "params", "inputs", "outputs", "num_uses"],
    defaults=[None, None, None])


def register(layer_collection, logits, layers, seed=None):
  """Registers the layers, and a categorical distribution over the classes.

  Args:
    layer_collection: kfac.LayerCollection.
    logits: Logits [B, 10] from one of MODELS.
    layers: List of Layers from the same function.
    seed: Seed for sampling targets from the predictive distribution, or None.
  """
  for kind, params, inputs, outputs, num_uses in layers:
    if kind == "dense":
      layer_collection.register_fully_connected(params, inputs, outputs)
    elif kind == "repeated":
      layer_collection.register_fully_connected_multi(
          params, inputs, outputs, num_uses=num_uses)
    elif kind == "convolution":
      layer_collection.register_conv2d(
          params, _STRIDES, "SAME", inputs, outputs)
    else:
      layer_collection.register_generic(params, tf.shape(logits)[0])
  layer_collection.register_categorical_predictive_distribution(
      logits, seed=seed)


def build_perceptron(images):
  """Builds dense layers 784-100-50-10 with ReLU.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].

  Returns:
    Logits [B, 10], and a list of Layers.
  """
  layers = []
  activations = images
  for number, size in enumerate(HIDDEN_SIZES):
    outputs = _dense(f"layer_{number}", activations, size, layers)
    activations = tf.nn.relu(outputs)
  return _dense("readout", activations, mnist.NUM_CLASSES, layers), layers


def build_convnet(images):
  """Builds convolutions with batch normalization, pooling and a dense layer.

  The normalization uses the moments of the batch, also in evaluations.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].

  Returns:
    Logits [B, 10], and a list of Layers.
  """
  layers = []
  activations = tf.reshape(images, [-1, mnist.IMAGE_SIZE, mnist.IMAGE_SIZE, 1])
  for number, channels in enumerate(CHANNELS):
    with tf.variable_scope(f"convolution_{number}"):
      # The normalization would cancel a bias.
      weights = tf.get_variable(
          "weights", [_FILTER_SIZE, _FILTER_SIZE,
                      activations.shape.as_list()[-1], channels],
          initializer=tf.glorot_uniform_initializer())
      outputs = tf.nn.conv2d(activations, weights, _STRIDES, "SAME")
      layers.append(Layer("convolution", weights, activations, outputs))
      activations = tf.nn.relu(_normalize(outputs, [0, 1, 2], layers))
  pooled = tf.nn.avg_pool2d(activations, _POOL_SIZE, _POOL_SIZE, "SAME")
  inputs = tf.reshape(pooled, [-1, pooled.shape[1:].num_elements()])
  return _dense("readout", inputs, mnist.NUM_CLASSES, layers), layers


def build_gru(images):
  """Builds a gated recurrent unit that reads the rows, and a readout.

  With gates r and z, the state h becomes z h + (1 - z) tanh([row, r h] W + b)
  (Cho et al. 2014, section 2.3).

  Args:
    images: Tensor [B, 784], pixels in [0, 1].

  Returns:
    Logits [B, 10], and a list of Layers. The inputs and outputs of the gates
    and of the candidate are lists over the 28 rows.
  """
  rows = tf.unstack(tf.reshape(
      images, [-1, mnist.IMAGE_SIZE, mnist.IMAGE_SIZE]), axis=1)
  state = tf.zeros([tf.shape(images)[0], NUM_UNITS])
  gate_uses, candidate_uses = [], []
  for row in rows:
    # The first row creates the variables, the others share them.
    with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
      gates = tf.sigmoid(_dense(
          "gates", tf.concat([row, state], axis=1), 2 * NUM_UNITS, gate_uses))
      reset, keep = tf.split(gates, 2, axis=1)
      candidate = tf.tanh(_dense(
          "candidate", tf.concat([row, reset * state], axis=1), NUM_UNITS,
          candidate_uses))
    state = keep * state + (1. - keep) * candidate
  layers = [
      Layer("repeated", uses[0].params, [use.inputs for use in uses],
            [use.outputs for use in uses])
      for uses in (gate_uses, candidate_uses)]
  return _dense("readout", state, mnist.NUM_CLASSES, layers), layers


def build_transformer(images):
  """Builds one block of a transformer over 16 patches, and a readout.

  The block normalizes before attention and before its perceptron (Xiong et al.
  2020). The readout takes the mean over patches.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].

  Returns:
    Logits [B, 10], and a list of Layers. Dense layers over patches have one
    tensor [16 * B, size], all examples of the first patch first.
  """
  layers = []
  patches, num_patches = _split_into_patches(images)

  def dense(name, inputs, size):
    return _dense(name, inputs, size, layers, num_uses=num_patches)

  def normalize(name, inputs):
    with tf.variable_scope(name):
      return _normalize(inputs, [1], layers)

  def to_heads(tensor):
    return tf.reshape(
        tensor, [num_patches, -1, NUM_HEADS, WIDTH // NUM_HEADS])

  positions = tf.get_variable(
      "positions", [num_patches, 1, WIDTH],
      initializer=tf.random_normal_initializer(stddev=0.02))
  layers.append(Layer("generic", positions))
  embedded = tf.reshape(
      dense("embedding", patches, WIDTH), [num_patches, -1, WIDTH])
  stream = tf.reshape(embedded + positions, [-1, WIDTH])
  inputs = normalize("attention_norm", stream)
  queries, keys, values = (
      to_heads(dense(name, inputs, WIDTH))
      for name in ("queries", "keys", "values"))
  scores = tf.einsum("tbhd,sbhd->bhts", queries, keys)
  attention = tf.nn.softmax(scores / (WIDTH // NUM_HEADS)**0.5)
  mixed = tf.einsum("bhts,sbhd->tbhd", attention, values)
  stream += dense("projection", tf.reshape(mixed, [-1, WIDTH]), WIDTH)
  hidden = dense("mlp_hidden", normalize("mlp_norm", stream), MLP_WIDTH)
  stream += dense("mlp_outputs", tf.nn.relu(hidden), WIDTH)
  pooled = tf.reduce_mean(
      tf.reshape(stream, [num_patches, -1, WIDTH]), axis=0)
  return _dense("readout", pooled, mnist.NUM_CLASSES, layers), layers


def _split_into_patches(images):
  """Returns patches [patches * B, pixels], and their number in an image."""
  per_side = mnist.IMAGE_SIZE // PATCH_SIZE
  patches = tf.transpose(
      tf.reshape(images, [-1, per_side, PATCH_SIZE, per_side, PATCH_SIZE]),
      [1, 3, 0, 2, 4])
  return tf.reshape(patches, [-1, PATCH_SIZE**2]), per_side**2


def _dense(name, inputs, size, layers, num_uses=None):
  """Appends a dense layer to `layers`, and returns its outputs.

  Args:
    name: Name of the variable scope.
    inputs: Tensor [B, in], or [uses * B, in].
    size: Number of outputs.
    layers: List of Layers.
    num_uses: Number of uses, or None for a layer that is used once.
  """
  with tf.variable_scope(name):
    params, outputs = mlp.dense(inputs, size)
  layers.append(Layer("repeated" if num_uses else "dense", params, inputs,
                      outputs, num_uses))
  return outputs


def _normalize(inputs, axes, layers):
  """Appends scale and shift to `layers`, and returns normalized inputs.

  Args:
    inputs: Tensor [.., n]; scale and shift have shape [n].
    axes: Axes of the mean and variance.
    layers: List of Layers.
  """
  size = inputs.shape.as_list()[-1]
  scale = tf.get_variable("scale", [size], initializer=tf.ones_initializer())
  shift = tf.get_variable("shift", [size], initializer=tf.zeros_initializer())
  layers.append(Layer("generic", (scale, shift)))
  mean, variance = tf.nn.moments(inputs, axes, keepdims=True)
  return (inputs - mean) * tf.rsqrt(variance + _EPSILON) * scale + shift


MODELS = {
    "perceptron": build_perceptron,
    "convnet": build_convnet,
    "gru": build_gru,
    "transformer": build_transformer,
}


def make_pass(name, images, labels):
  """Builds a forward pass of a model; all passes in a graph share variables.

  Args:
    name: One of MODELS.
    images: Tensor [B, 784], pixels in [0, 1].
    labels: Integer tensor [B], classes in [0, 10).

  Returns:
    Logits [B, 10], a list of Layers, and the cross entropies [B].
  """
  with tf.variable_scope(name, reuse=tf.AUTO_REUSE):
    logits, layers = MODELS[name](images)
  return logits, layers, runner.example_losses(logits, labels)
