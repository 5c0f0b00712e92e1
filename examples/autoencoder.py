"""A deep autoencoder for images, and its training by K-FAC or others.

It is the standard hard case of optimization that K-FAC was first shown on
(Martens & Grosse 2015, section 13).
"""

import math

import tensorflow.compat.v1 as tf

from examples import mlp
from examples import recipe
from kfac.python.ops.kfac_utils import schedules

LAYER_SIZES = (784, 1000, 500, 250, 30, 250, 500, 1000, 784)

MOMENTUM = 0.9

_EVALUATION_BATCH = 1000


def build(images, seed=0):
  """Builds the autoencoder: dense layers with tanh between them.

  There is none after the code layer, which is in the middle, and none after
  the last. In a variable scope that reuses its variables, another call builds
  another pass through the same layers.

  Args:
    images: Tensor [B, 784], pixels in [0, 1].
    seed: Seed of the first weights (Glorot & Bengio 2010), which do not depend
      on anything else.

  Returns:
    Logits [B, 784] of the pixels, and a list of ((weights, bias), inputs,
    outputs), one entry per layer: weights [in, out], bias [out], inputs
    [B, in], and outputs [B, out] before the nonlinearity. That is what
    `register` needs.
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
  """Returns the cross entropy of each image, summed over pixels.

  Args:
    logits: Tensor [B, 784].
    images: Tensor [B, 784], pixels in [0, 1].

  Returns:
    Tensor [B], in nats.
  """
  return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(
      labels=images, logits=logits), axis=1)


def mean_loss(logits, images):
  """Returns the cross entropy of the average image, see example_losses."""
  return tf.reduce_mean(example_losses(logits, images))


def register(layer_collection, logits, layers, seed=None):
  """Tells K-FAC the layers, and the distribution that the logits stand for.

  Args:
    layer_collection: The kfac.LayerCollection to register with.
    logits: Logits [B, 784], from `build`.
    layers: The list that `build` returned with them.
    seed: Seed for drawing pixels from the model's own distribution, or None.
  """
  for params, inputs, outputs in layers:
    layer_collection.register_fully_connected(params, inputs, outputs)
  layer_collection.register_multi_bernoulli_predictive_distribution(
      logits, seed=seed)


def growing_batch_size(number, first, growth, most):
  """Returns the batch size of an update: exponential growth up to a limit.

  It is min(first exp(number / growth), most), rounded (Martens & Grosse 2015,
  section 13, which counts updates from 1).

  Args:
    number: How many updates were done before.
    first: Batch size of the first update.
    growth: Updates in which the batch grows by the factor e, or None if it does
      not grow.
    most: Number of training examples.

  Returns:
    Int.
  """
  if growth is None:
    return min(first, most)
  # Beyond that the exponential may be too large for a float.
  exponent = min(number / growth, math.log(most / first) + 1.)
  return min(round(first * math.exp(exponent)), most)


class Trainer:
  """The autoencoder in a graph of its own, with an optimizer and a session.

  Images are uint8 arrays [B, 784], pixels from 0 to 255; B may change.

  Args:
    optimizer: "kfac", "momentum" or "adam".
    learning_rate: Its learning rate.
    seed: Seed of the first weights and of sampled targets.
  """

  def __init__(self, optimizer, learning_rate, seed=0):
    self._num_updates = 0
    with tf.Graph().as_default() as graph:
      tf.set_random_seed(seed)
      self._images = tf.placeholder(tf.uint8, [None, LAYER_SIZES[0]])
      images = tf.cast(self._images, tf.float32) / 255.
      with tf.variable_scope("autoencoder") as self._scope:
        logits, layers = build(images, seed)
      losses = example_losses(logits, images)
      self._loss = tf.reduce_mean(losses)
      self._weights = {v.op.name: v for v in tf.trainable_variables()}
      self._updates = None
      if optimizer == "kfac":
        self._make_kfac(images, losses, learning_rate, seed)
      elif optimizer == "momentum":
        self._train_op = tf.train.MomentumOptimizer(
            learning_rate, MOMENTUM).minimize(self._loss)
      else:
        self._train_op = tf.train.AdamOptimizer(learning_rate).minimize(
            self._loss)
      config = tf.ConfigProto()
      config.gpu_options.allow_growth = True
      self._session = tf.Session(graph=graph, config=config)
      self._session.run(tf.global_variables_initializer())
      graph.finalize()

  def _build_again(self, images):
    """Builds another pass through the layers that there are."""
    with tf.variable_scope(self._scope, reuse=True):
      return build(images)

  def _build_loss(self, images):
    """Returns the mean loss on images [B, 784] with pixels in [0, 1]."""
    logits, _ = self._build_again(images)
    return mean_loss(logits, images)

  def _make_kfac(self, images, losses, learning_rate, seed):
    """Makes the train op and the updates of K-FAC as the recipe says."""
    def register_pass(layer_collection, examples):
      register(layer_collection,
               *self._build_again(tf.gather(images, examples)), seed)

    optimizer = recipe.make_optimizer(
        register_pass, losses, images, self._build_loss, learning_rate)
    self._train_op = optimizer.minimize(self._loss)
    self._updates = schedules.Updates(
        optimizer, recipe.SCHEDULE, cov_first=True)

  def update(self, images):
    """Does one update by a batch of images."""
    feed = {self._images: images}
    if self._updates is None:
      self._session.run(self._train_op, feed)
    else:
      self._updates.run(
          self._session, self._num_updates, self._train_op, feed)
    self._num_updates += 1

  def evaluate(self, images):
    """Returns the mean loss over images."""
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
