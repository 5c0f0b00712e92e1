"""A deep autoencoder for images, trained with K-FAC, momentum or Adam.

It is a standard benchmark of optimization, and the one of Martens & Grosse
2015, section 13.
"""

import math

import tensorflow.compat.v1 as tf

import kfac
from examples import mlp
from examples import runner

LAYER_SIZES = (784, 1000, 500, 250, 30, 250, 500, 1000, 784)

MOMENTUM = 0.9

_EVALUATION_BATCH = 1000


def build(images, seed=0):
  """Builds the autoencoder: dense layers, each followed by tanh.

  The code layer in the middle and the last layer are linear. In a variable
  scope that reuses variables, another call builds another forward pass.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].
    seed: Seed of the initial weights (Glorot & Bengio 2010). They depend only
      on this seed, not on that of the graph.

  Returns:
    Logits [B, 784] of the pixels; and the layers for `register`, a list of
    ((weights, bias), inputs, outputs) with weights [in, out], bias [out],
    inputs [B, in], and outputs [B, out] before the nonlinearity.
  """
  num_layers = len(LAYER_SIZES) - 1
  layers = []
  activations = images
  for number, size in enumerate(LAYER_SIZES[1:], start=1):
    with tf.variable_scope(f"layer_{number}"):
      params, outputs = mlp.dense(activations, size, seed * num_layers + number)
      layers.append((params, activations, outputs))
      is_linear = number in (num_layers // 2, num_layers)
      activations = outputs if is_linear else tf.tanh(outputs)
  return activations, layers


def example_losses(logits, images):
  """Computes the cross entropy of each image, summed over pixels.

  Args:
    logits: Tensor [B, 784].
    images: Tensor [B, 784], pixels in [0, 1].

  Returns:
    Tensor [B], in nats.
  """
  return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(
      labels=images, logits=logits), axis=1)


def mean_loss(logits, images):
  """Computes the cross entropy of an image, averaged over the batch."""
  return tf.reduce_mean(example_losses(logits, images))


def register(layer_collection, logits, layers, seed=None):
  """Registers the layers, and a Bernoulli distribution for each pixel.

  Args:
    layer_collection: kfac.LayerCollection.
    logits: Logits [B, 784] from `build`.
    layers: Layers from `build`.
    seed: Seed for sampling targets from the predictive distribution, or None.
  """
  for params, inputs, outputs in layers:
    layer_collection.register_fully_connected(params, inputs, outputs)
  register_losses(layer_collection, logits, seed)


def register_losses(layer_collection, logits, seed=None):
  """Registers a Bernoulli distribution for each pixel, and no layers.

  Args:
    layer_collection: See `register`.
    logits: See `register`.
    seed: See `register`.
  """
  layer_collection.register_multi_bernoulli_predictive_distribution(
      logits, seed=seed)


def growing_batch_size(number, first, growth, most):
  """Computes the size of an exponentially growing batch.

  It is min(first exp(number / growth), most), rounded (Martens & Grosse 2015,
  section 13, which counts updates from 1).

  Args:
    number: Number of previous updates.
    first: Batch size of the first update.
    growth: Number of updates in which the batch grows by a factor of e, or
      None for a constant batch size.
    most: Number of training examples.

  Returns:
    Int.
  """
  if growth is None:
    return min(first, most)
  # Beyond the limit, the exponential can overflow.
  exponent = min(number / growth, math.log(most / first) + 1.)
  return min(round(first * math.exp(exponent)), most)


class Trainer:
  """The autoencoder and an optimizer in their own graph, with a session.

  Images are uint8 arrays [B, 784], pixels from 0 to 255. B may differ between
  calls.

  Args:
    optimizer: "kfac", "momentum" or "adam".
    learning_rate: Learning rate of the optimizer.
    seed: Seed of the initial weights and of sampled targets.
    auto: Whether K-FAC finds the layers.
  """

  def __init__(self, optimizer, learning_rate, seed=0, auto=False):
    with tf.Graph().as_default() as graph:
      tf.set_random_seed(seed)
      self._images = tf.placeholder(tf.uint8, [None, LAYER_SIZES[0]])
      images = tf.cast(self._images, tf.float32) / 255.
      with tf.variable_scope("autoencoder"):
        logits, layers = build(images, seed)
      self._loss = mean_loss(logits, images)
      self._weights = {v.op.name: v for v in tf.trainable_variables()}
      if optimizer == "kfac":
        layer_collection = kfac.LayerCollection()
        if auto:
          register_losses(layer_collection, logits, seed)
          runner.register_found_layers(layer_collection)
        else:
          register(layer_collection, logits, layers, seed)
        self._train_op = kfac.recipe.Recipe(
            layer_collection, self._loss,
            learning_rate=learning_rate).minimize()
      elif optimizer == "momentum":
        self._train_op = tf.train.MomentumOptimizer(
            learning_rate, MOMENTUM).minimize(self._loss)
      else:
        self._train_op = tf.train.AdamOptimizer(learning_rate).minimize(
            self._loss)
      self._session = runner.start_session(graph)

  def update(self, images):
    """Runs one update on a batch of images."""
    self._session.run(self._train_op, {self._images: images})

  def evaluate(self, images):
    """Computes the mean loss over images."""
    total = 0.
    for start in range(0, len(images), _EVALUATION_BATCH):
      batch = images[start:start + _EVALUATION_BATCH]
      loss = self._session.run(self._loss, {self._images: batch})
      total += len(batch) * float(loss)
    return total / len(images)

  def get_weights(self):
    """Returns the weights, a dict from variable name to array."""
    return self._session.run(self._weights)

  def close(self):
    """Closes the session."""
    self._session.close()
