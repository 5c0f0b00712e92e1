"""Tests of training nets whose layers registered themselves."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests.layer_collection import automatic_case as case

BATCH = 64


def _net(x):
  """Returns the logits of a small convnet with norms and attention."""
  def norm(h, name, axes):
    size = h.shape.as_list()[-1]
    mean, variance = tf.nn.moments(h, axes, keepdims=True)
    with tf.variable_scope(name):
      gamma = tf.get_variable("gamma", [size], initializer=(
          tf.ones_initializer()))
      beta = tf.get_variable("beta", [size], initializer=(
          tf.zeros_initializer()))
    return tf.nn.batch_normalization(h, mean, variance, beta, gamma, 1e-3)
  h = tf.nn.conv2d(x, case.var("f", 3, 3, 1, 4), 2, "SAME") + case.var("fb", 4)
  h = tf.nn.relu(norm(h, "batch", [0, 1, 2]))
  h = tf.reshape(h, [-1, 9, 4])
  # A dense layer over positions.
  h = tf.tensordot(h, case.var("v", 4, 4), 1) + case.var("vb", 4) + case.var(
      "place", 9, 4)
  h = tf.nn.relu(norm(h, "layer", [2]))
  h = tf.reshape(h, [-1, 36])
  return h @ case.var("w", 36, 3) + case.var("c", 3)


def _batch(rng):
  """Returns images of one of three patterns, in noise, and their classes."""
  labels = rng.randint(3, size=BATCH)
  patterns = np.random.RandomState(7).normal(size=[3, 6, 6, 1])
  images = patterns[labels] + 0.7 * rng.normal(size=[BATCH, 6, 6, 1])
  return images.astype("f4"), labels


ROWS = ["conv2d", "scale and shift", "dense", "shift", "scale and shift",
        "dense"]


class TrainingTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.enter_context(tf.Graph().as_default())
    tf.set_random_seed(2)
    self._images = tf.placeholder(tf.float32, [None, 6, 6, 1])
    self._labels = tf.placeholder(tf.int32, [None])
    self._logits = _net(self._images)
    self._example_losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=self._labels, logits=self._logits)
    self._loss = tf.reduce_mean(self._example_losses)
    self._layers = kfac.LayerCollection()
    self._layers.register_categorical_predictive_distribution(self._logits)

  def _train(self, ops, steps):
    rng = np.random.RandomState(1)
    losses = []
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      for _ in range(steps):
        images, labels = _batch(rng)
        feed = {self._images: images, self._labels: labels}
        for op in ops[:-1]:
          session.run(op, feed)
        losses.append(session.run([self._loss, ops[-1]], feed)[0])
    return losses

  def testOptimizer(self):
    report = self._layers.auto_register_layers()
    self.assertEqual(ROWS, [row.kind for row in report])
    optimizer = kfac.KfacOptimizer(
        0.05, 0.9, 0.05, self._layers, momentum=0.9, norm_constraint=0.01)
    step = optimizer.minimize(self._loss)
    losses = self._train(
        [optimizer.cov_update_op, optimizer.inv_update_op, step], 100)
    self.assertLess(np.mean(losses[-10:]), 0.2 * losses[0])

  def testRecipe(self):
    self._layers.auto_register_layers()
    with self.assertNoLogs(level="WARNING"):
      recipe = kfac.recipe.Recipe(
          self._layers, self._loss, [self._images, self._labels],
          batch_size=BATCH, num_statistics_examples=BATCH // 2,
          qmodel_divisor=2)
    self.assertIsNot(recipe.statistics, self._layers)
    self.assertEqual(
        [type(block) for block in self._layers.get_blocks()],
        [type(block) for block in recipe.statistics.get_blocks()])
    self.assertEqual(
        [9], [block._num_positions for block in recipe.statistics.get_blocks()
              if getattr(block, "_view", None) is not None])
    losses = self._train([recipe.minimize()], 30)
    self.assertLess(np.mean(losses[-3:]), 0.5 * losses[0])


class BuiltRecipeTest(tf.test.TestCase):
  """A recipe of a function that registers its layers automatically."""

  def testFunctionMayHaveLoops(self):
    def build(layers, x):
      # A loop cannot be copied: the loss after a step is built again.
      x = tf.while_loop(lambda x: tf.reduce_sum(tf.abs(x)) < 0.,
                        lambda x: x + 1., [x])
      v = tf.get_variable("v", [4, 3], initializer=(
          tf.random_normal_initializer(0., 1., seed=1)))
      outputs = tf.tanh(x @ v) * tf.get_variable(
          "g", [3], initializer=tf.ones_initializer())
      layers.register_normal_predictive_distribution(outputs)
      layers.auto_register_layers()
      return tf.reduce_sum(tf.square(outputs), 1)

    with tf.Graph().as_default(), self.session() as session:
      x = tf.placeholder(tf.float32, [8, 4])
      recipe = kfac.recipe.Recipe.from_function(
          build, x, num_statistics_examples=4)
      step = recipe.minimize()
      feed = {x: np.random.RandomState(0).normal(size=[8, 4])}
      session.run(tf.global_variables_initializer())
      before = session.run(recipe.loss, feed)
      for _ in range(5):
        session.run(step, feed)
      self.assertLess(session.run(recipe.loss, feed), before)


class FoldedRecipeTest(tf.test.TestCase):
  """A recipe of layers whose rows are examples and positions."""

  def setUp(self):
    super().setUp()
    self.enter_context(tf.Graph().as_default())
    tf.set_random_seed(2)

  def testBatchSizeIsThatOfTheCopy(self):
    x = tf.placeholder(tf.float32, [8, 3, 4])
    ids = tf.placeholder(tf.int32, [8, 3])
    h = tf.reshape(x, [-1, 4]) + tf.nn.embedding_lookup(
        case.var("t", 5, 4), tf.reshape(ids, [-1]))
    h = tf.tanh(h @ case.var("v", 4, 2) + case.var("b", 2))
    outputs = tf.reshape(h, [-1, 6]) @ case.var("w", 6, 2)
    loss = tf.reduce_mean(tf.reduce_sum(tf.square(outputs), 1))
    layers = kfac.LayerCollection()
    layers.register_normal_predictive_distribution(outputs)
    report = layers.auto_register_layers()
    self.assertEqual(["embedding", "dense", "dense"],
                     [row.kind for row in report])
    recipe = kfac.recipe.Recipe(
        layers, loss, [x, ids], num_statistics_examples=4, qmodel_divisor=2)
    self.assertIsNot(recipe.statistics, layers)
    step = recipe.minimize()
    rng = np.random.RandomState(0)
    feed = {x: rng.normal(size=[8, 3, 4]), ids: rng.randint(5, size=[8, 3])}
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      self.assertEqual([3, 3], session.run(
          [block._num_positions
           for block in recipe.statistics.get_blocks()[:2]], feed))
      before = session.run(loss, feed)
      for _ in range(5):
        session.run(step, feed)
      self.assertLess(session.run(loss, feed), before)


if __name__ == "__main__":
  tf.test.main()
