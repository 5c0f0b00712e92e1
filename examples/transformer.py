"""A transformer that reads digits row by row, written with layers of Keras.

K-FAC finds its layers: nothing here knows of K-FAC.
"""

import itertools

import keras
import tensorflow.compat.v1 as tf

from examples import mnist

WIDTH = 32
NUM_HEADS = 2
HIDDEN_WIDTH = 64
NUM_BLOCKS = 2

# More than a model has initializers.
_MAX_SEEDS = 1000
# Name of the graph collection that has the layers of a graph.
_COLLECTION = "examples/transformer"


def build(images, seed=0):
  """Builds an encoder over the rows, the mean of its outputs, and a readout.

  Other calls in the same graph build other forward passes of the same layers.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].
    seed: Seed of the initial weights. They depend only on this seed, not on
      that of the graph. Only the first call in a graph uses it.

  Returns:
    Logits [B, 10], and None: K-FAC finds the layers.
  """
  shared = tf.get_collection_ref(_COLLECTION)
  if not shared:
    shared.append(Transformer(seed))
  return shared[0](images), None


class Transformer:
  """The layers, and a forward pass for each call.

  A block normalizes before attention and before its dense layers (Xiong et al.
  2020, "On layer normalization in the transformer architecture").

  Args:
    seed: Seed of the initial weights.
  """

  def __init__(self, seed):
    seeds = itertools.count(_MAX_SEEDS * seed)
    self._embedding = _dense(mnist.IMAGE_SIZE, WIDTH, seeds, name="embedding")
    self._positions = _Positions(seeds)
    self._blocks = [_Block(f"block_{number + 1}", seeds)
                    for number in range(NUM_BLOCKS)]
    self._normalization = keras.layers.LayerNormalization(name="normalization")
    self._readout = _dense(
        WIDTH, mnist.NUM_CLASSES, seeds, name="readout")

  def __call__(self, images):
    """Returns logits [B, 10] of images [B, 784]."""
    size = mnist.IMAGE_SIZE
    # Keras writes a known number of images into the graph, which then has no
    # copy for a part of them.
    images = tf.placeholder_with_default(images, [None, size**2])
    rows = tf.reshape(images, [-1, size, size])
    stream = self._positions(self._embedding(rows))
    for block in self._blocks:
      stream = block(stream)
    outputs = self._normalization(stream)
    return self._readout(tf.reduce_mean(outputs, axis=1))


class _Positions(keras.layers.Layer):
  """Adds a learned vector to each position."""

  def __init__(self, seeds):
    super().__init__(name="positions")
    self._initializer = keras.initializers.RandomNormal(
        stddev=0.02, seed=next(seeds))

  def build(self, input_shape):
    """Creates the vectors [positions, width]."""
    self._vectors = self.add_weight(
        name="vectors", shape=tuple(input_shape[1:]),
        initializer=self._initializer)

  def call(self, inputs):
    """Returns inputs [B, positions, width] plus the vectors."""
    return inputs + self._vectors


class _Block:
  """Attention and two dense layers, each with a residual connection."""

  def __init__(self, name, seeds):
    self._attention_norm = keras.layers.LayerNormalization(
        name=name + "_attention_normalization")
    self._attention = keras.layers.MultiHeadAttention(
        NUM_HEADS, WIDTH // NUM_HEADS, name=name + "_attention",
        kernel_initializer=_Weights(WIDTH, seeds))
    self._hidden_norm = keras.layers.LayerNormalization(
        name=name + "_hidden_normalization")
    self._hidden = _dense(WIDTH, HIDDEN_WIDTH, seeds, activation="gelu",
                          name=name + "_hidden")
    self._outputs = _dense(
        HIDDEN_WIDTH, WIDTH, seeds, name=name + "_outputs")

  def __call__(self, stream):
    """Returns a tensor [B, positions, width] for another one."""
    normalized = self._attention_norm(stream)
    stream = stream + self._attention(normalized, normalized)
    return stream + self._outputs(self._hidden(self._hidden_norm(stream)))


class _Weights(keras.initializers.RandomNormal):
  """Initializes weights so that outputs vary like the inputs.

  A copy has another seed. Attention copies one initializer for its queries,
  keys and values, which would otherwise begin with the same weights.

  Args:
    num_inputs: Number of inputs of each output.
    seeds: Iterator over the seeds.
  """

  def __init__(self, num_inputs, seeds):
    super().__init__(stddev=num_inputs**-0.5, seed=next(seeds))
    self._arguments = {"num_inputs": num_inputs, "seeds": seeds}

  def get_config(self):
    """Returns the arguments of a copy."""
    return self._arguments


def _dense(num_inputs, size, seeds, **settings):
  """Returns a dense layer."""
  return keras.layers.Dense(
      size, kernel_initializer=_Weights(num_inputs, seeds), **settings)
