"""A recurrent network that reads digits row by row, and its registration."""

import collections

import tensorflow.compat.v1 as tf

from examples import mnist

NUM_UNITS = 64

# The layers for `register`. The recurrent layer is used once per row; its
# `inputs` and `outputs` are lists with one tensor per use.
Layers = collections.namedtuple("Layers", ["recurrent", "readout"])
Layer = collections.namedtuple("Layer", ["params", "inputs", "outputs"])


def build(images):
  """Builds h <- tanh([row, h] W + b), and a readout of the last h.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].

  Returns:
    Logits [B, 10], and Layers. The recurrent Layer has W [28 + 64, 64], a list
    of 28 inputs [B, 28 + 64] and a list of 28 outputs [B, 64] before tanh. The
    readout has single tensors.
  """
  size = mnist.IMAGE_SIZE
  rows = tf.unstack(tf.reshape(images, [-1, size, size]), axis=1)
  # For any number of images, also in a copy of the graph for a part of them.
  state = tf.zeros_like(tf.tile(images[:, :1], [1, NUM_UNITS]))
  inputs, outputs = [], []
  with tf.variable_scope("recurrent"):
    recurrent = _make_params(size + NUM_UNITS, NUM_UNITS)
  for row in rows:
    inputs.append(tf.concat([row, state], axis=1))
    outputs.append(tf.matmul(inputs[-1], recurrent[0]) + recurrent[1])
    state = tf.tanh(outputs[-1])
  with tf.variable_scope("readout"):
    readout = _make_params(NUM_UNITS, mnist.NUM_CLASSES)
  logits = tf.matmul(state, readout[0]) + readout[1]
  return logits, Layers(Layer(recurrent, inputs, outputs),
                        Layer(readout, state, logits))


def _make_params(num_in, num_out):
  """Creates orthogonal weights [in, out] and a bias [out]."""
  weights = tf.get_variable("weights", [num_in, num_out],
                            initializer=tf.orthogonal_initializer())
  return weights, tf.get_variable(
      "bias", [num_out], initializer=tf.zeros_initializer())


def register(layer_collection, logits, layers, seed=None,
             approximation="kron_indep"):
  """Registers the layers, and a categorical distribution over the classes.

  Args:
    layer_collection: kfac.LayerCollection.
    logits: Logits [B, 10] from `build`.
    layers: Layers from `build`.
    seed: Seed for sampling targets from the predictive distribution, or None.
    approximation: Fisher approximation of the recurrent layer, "kron_indep",
      "kron_series_1" or "kron_series_2".
  """
  layer_collection.register_fully_connected_multi(
      *layers.recurrent, approx=approximation)
  layer_collection.register_fully_connected(*layers.readout)
  layer_collection.register_categorical_predictive_distribution(
      logits, seed=seed)
