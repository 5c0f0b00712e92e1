"""Tests of Recipe: what it chooses, copies and trains."""

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

import kfac
from kfac.python.ops.kfac_utils import schedules

NUM_IN, NUM_HIDDEN, NUM_OUT = 6, 5, 3


def make_data(num_examples=200, seed=0):
  """Returns inputs [n, 6], and labels [n] that a line nearly separates."""
  rng = np.random.RandomState(seed)
  inputs = rng.randn(num_examples, NUM_IN).astype(np.float32)
  scores = inputs @ rng.randn(NUM_IN, NUM_OUT) + 0.5 * rng.randn(
      num_examples, NUM_OUT)
  return inputs, np.argmax(scores, axis=1).astype(np.int32)


def build(layers, batch, name=None):
  """Builds a dense net; returns the losses of the examples."""
  inputs, labels = batch
  activations = inputs
  for number, size in enumerate((NUM_HIDDEN, NUM_OUT)):
    weights = tf.get_variable(
        f"w{number}", [activations.shape.as_list()[1], size],
        initializer=tf.glorot_uniform_initializer(seed=number))
    bias = tf.get_variable(
        f"b{number}", [size], initializer=tf.zeros_initializer())
    outputs = tf.matmul(activations, weights) + bias
    layers.register_fully_connected((weights, bias), activations, outputs)
    activations = tf.tanh(outputs)
  layers.register_categorical_predictive_distribution(
      outputs, seed=1, name=name)
  return tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=labels, logits=outputs)


def placeholders(batch_size=None):
  return (tf.placeholder(tf.float32, [batch_size, NUM_IN]),
          tf.placeholder(tf.int32, [batch_size]))


class RecipeTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._graph = tf.Graph()
    self.enter_context(self._graph.as_default())
    tf.set_random_seed(0)
    self._data = make_data()

  def _train(self, recipe, num_steps, batch=None, **fetches):
    """Trains on the data; returns the values of fetches at each step."""
    train_op = recipe.minimize()
    feed = dict(zip(batch, self._data, strict=True)) if batch else None
    with self.session(graph=self._graph) as sess:
      sess.run(tf.global_variables_initializer())
      self._graph.finalize()
      found = []
      for _ in range(num_steps):
        found.append(sess.run(fetches, feed))
        sess.run(train_op, feed)
      self._weights = sess.run(tf.trainable_variables())
    return found

  def _recipe(self, batch, **choices):
    layers = kfac.LayerCollection()
    loss = tf.reduce_mean(build(layers, batch))
    return kfac.recipe.Recipe(layers, loss, **choices)

  def testTrains(self):
    batch = placeholders()
    recipe = self._recipe(batch)
    losses = [values["loss"] for values in self._train(
        recipe, 15, batch, loss=recipe.loss)]
    self.assertLess(losses[-1], losses[0] / 4.)

  def testCopiesEqualAFunction(self):
    for batch_size in (None, 200):
      found = []
      for from_function in (False, True):
        with tf.Graph().as_default() as self._graph:
          tf.set_random_seed(0)
          batch = placeholders(batch_size)
          recipe = (kfac.recipe.Recipe.from_function(build, batch)
                    if from_function else self._recipe(batch))
          self._train(recipe, 5, batch)
          found.append(self._weights)
      self.assertAllClose(*found, rtol=1e-3, atol=1e-4)

  def testStatisticsAndQuadraticModelUseParts(self):
    for batch_size in (None, 200):
      with tf.Graph().as_default() as graph:
        batch = placeholders(batch_size)
        recipe = self._recipe(batch)
        losses = [recipe.optimizer._layers.losses[0].inputs,
                  recipe.optimizer._qmodel_losses.losses[0].inputs,
                  recipe.optimizer._qmodel_example_weights,
                  recipe.optimizer._batch_size]
        with self.session(graph=graph) as sess:
          sess.run(tf.global_variables_initializer())
          statistics, sampled, weights, number = sess.run(
              losses, dict(zip(batch, self._data, strict=True)))
        self.assertLen(statistics, 125)
        self.assertLen(sampled, 111)
        self.assertAllClose(200., np.sum(weights))
        self.assertEqual(200, number)

  def testSmallBatchesAreUsedAsAWhole(self):
    batch = placeholders(50)
    recipe = self._recipe(batch)
    self.assertIs(recipe.optimizer._layers, recipe._pass.layers)
    self.assertIsNone(recipe.optimizer._qmodel_example_weights)
    self.assertEqual(50, recipe.optimizer._batch_size)

  def testAConstantBatchIsUsedAsAWhole(self):
    recipe = self._recipe(tuple(map(tf.constant, self._data)))
    self.assertIs(recipe.optimizer._layers, recipe._pass.layers)
    losses = [values["loss"] for values in self._train(
        recipe, 10, loss=recipe.loss)]
    self.assertLess(losses[-1], losses[0] / 2.)

  def testChoicesAreLoggedInOneLine(self):
    with self.assertLogs(level="INFO") as logs:
      self._recipe(placeholders(200), damping=0.25)
    lines = [line for line in logs.output if "kfac.recipe" in line]
    self.assertLen(lines, 1)
    for choice in ("damping=0.25", "num_statistics_examples=125",
                   "momentum_type='qmodel'", "inv_every=5",
                   "max_predicted_decrease=0.25"):
      self.assertIn(choice, lines[0])

  def testChoicesCanBeOverridden(self):
    batch = placeholders(200)
    schedule = schedules.Schedule(2, 4)
    recipe = self._recipe(
        batch, schedule=schedule, num_statistics_examples=30,
        qmodel_divisor=20, cov_ema_decay=0.5, damping=0.3, min_damping=0.2)
    self.assertEqual(30, recipe.statistics.losses[0].inputs.shape[0])
    self.assertEqual(0.2, recipe.optimizer._damping.rule.min_damping)
    self.assertIs(schedule, recipe.optimizer._schedule)
    self.assertEqual(20, recipe.choices["qmodel_divisor"])
    self._train(recipe, 2, batch)

  def testOtherMomentumTypesAndAConstantDamping(self):
    batch = placeholders(200)
    recipe = self._recipe(
        batch, momentum_type="regular", momentum=0.5, learning_rate=0.05,
        adapt_damping=False)
    losses = [values["loss"] for values in self._train(
        recipe, 10, batch, loss=recipe.loss)]
    self.assertLess(losses[-1], losses[0])

  def testUnknownChoices(self):
    with self.assertRaisesRegex(TypeError, "^rate is no choice of a Recipe.$"):
      self._recipe(placeholders(), rate=1.)

  def testIteratorsYieldOneBatchPerStep(self):
    inputs, labels = make_data(600)
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels))
    batch = tf.data.make_one_shot_iterator(dataset.batch(200)).get_next()
    recipe = self._recipe(batch, damping_adaptation_interval=1)
    control = recipe.optimizer._damping
    with self.session() as sess:
      train_op = recipe.minimize()
      sess.run(tf.global_variables_initializer())
      changes = []
      for _ in range(3):
        sess.run(train_op)
        changes.append(sess.run(control.rho))
      with self.assertRaises(tf.errors.OutOfRangeError):
        sess.run(train_op)
    # The loss after the second step is that of the same batch.
    self.assertBetween(changes[1], 0.3, 3.)

  def testIteratorsAndFeedsTrainAlike(self):
    inputs, labels = make_data(600)
    with tf.Graph().as_default() as self._graph:
      tf.set_random_seed(0)
      dataset = tf.data.Dataset.from_tensor_slices((inputs, labels))
      batch = tf.data.make_one_shot_iterator(dataset.batch(200)).get_next()
      self._train(self._recipe(batch), 3)
      drawn = self._weights
    with tf.Graph().as_default() as graph:
      tf.set_random_seed(0)
      batch = placeholders()
      train_op = self._recipe(batch).minimize()
      with self.session(graph=graph) as sess:
        sess.run(tf.global_variables_initializer())
        for start in (0, 200, 400):
          part = slice(start, start + 200)
          sess.run(train_op, {batch[0]: inputs[part], batch[1]: labels[part]})
        fed = sess.run(tf.trainable_variables())
    self.assertAllClose(fed, drawn, rtol=1e-3, atol=1e-4)

  def testCalibrationDrawsOneBatch(self):
    inputs, labels = make_data(400)
    dataset = tf.data.Dataset.from_tensor_slices((inputs, labels))
    batch = tf.data.make_one_shot_iterator(dataset.batch(200)).get_next()
    recipe = self._recipe(batch)
    train_op = recipe.minimize()
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      before = sess.run(tf.trainable_variables())
      found = recipe.calibrate(sess, candidates=(0.01, 0.1, 1.))
      self.assertAllClose(before, sess.run(tf.trainable_variables()))
      self.assertAllClose(found, sess.run(recipe.optimizer.damping))
      sess.run(train_op)
      with self.assertRaises(tf.errors.OutOfRangeError):
        sess.run(train_op)

  def testMonitoredTrainingSession(self):
    batch = placeholders()
    recipe = self._recipe(batch)
    global_step = tf.train.get_or_create_global_step()
    train_op = recipe.minimize(global_step)
    feed = dict(zip(batch, self._data, strict=True))
    with tf.train.MonitoredTrainingSession(
        hooks=[tf.train.StopAtStepHook(4)]) as sess:
      while not sess.should_stop():
        step, _ = sess.run([global_step, train_op], feed)
    self.assertIn(step, (3, 4))

  def testDropoutKeepsItsMask(self):
    inputs, labels = batch = placeholders()
    layers = kfac.LayerCollection()
    losses = build(layers, (tf.nn.dropout(inputs, rate=0.5), labels))
    with self.assertLogs(level="WARNING") as logs:
      recipe = kfac.recipe.Recipe(
          layers, tf.reduce_mean(losses), damping_adaptation_interval=1)
    self.assertIn("use the whole batch", logs.output[0])
    self.assertIn("random numbers", logs.output[0])
    self.assertIs(recipe.optimizer._layers, layers)
    train_op = recipe.minimize()
    control = recipe.optimizer._damping
    feed = dict(zip(batch, self._data, strict=True))
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      rhos = []
      for _ in range(10):
        sess.run(train_op, feed)
        rhos.append(sess.run(control.rho))
    # With another mask, the change of the loss is that of the masks.
    self.assertAllInRange(rhos, 0.4, 2.5)

  def testLoopsAreRefused(self):
    inputs, labels = placeholders()
    layers = kfac.LayerCollection()
    weights = tf.get_variable("w", [NUM_IN, NUM_OUT])
    outputs = tf.matmul(inputs, weights)
    layers.register_fully_connected(weights, inputs, outputs)
    layers.register_categorical_predictive_distribution(outputs)
    scale = tf.while_loop(
        lambda x: tf.reduce_sum(x) < 0., lambda x: x + 1., [outputs])
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=scale))
    recipe = kfac.recipe.Recipe(layers, loss, momentum_type="regular")
    with self.assertRaisesRegex(ValueError, "cannot be copied: it .*loop"):
      recipe.minimize()

  def testDifferentFirstSizesAreUsedAsAWhole(self):
    inputs, labels = placeholders(200)
    layers = kfac.LayerCollection()
    class_weights = tf.placeholder(tf.float32, [NUM_OUT])
    losses = build(layers, (inputs, labels)) * tf.gather(class_weights, labels)
    with self.assertLogs(level="WARNING") as logs:
      recipe = kfac.recipe.Recipe(layers, tf.reduce_mean(losses))
    self.assertIn("first sizes", logs.output[0])
    self.assertIs(recipe.optimizer._layers, layers)
    feed = {inputs: self._data[0], labels: self._data[1],
            class_weights: np.ones(NUM_OUT)}
    train_op = recipe.minimize()
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      before = sess.run(recipe.loss, feed)
      for _ in range(5):
        sess.run(train_op, feed)
      self.assertLess(sess.run(recipe.loss, feed), before)

  def testRowsOfALossMayBePositions(self):
    inputs = tf.placeholder(tf.float32, [None, 4, NUM_IN])
    labels = tf.placeholder(tf.int32, [None, 4])
    layers = kfac.LayerCollection()
    losses = build(layers, (
        tf.reshape(inputs, [-1, NUM_IN]), tf.reshape(labels, [-1])))
    recipe = kfac.recipe.Recipe(layers, tf.reduce_mean(losses), example_losses=(
        tf.reduce_mean(tf.reshape(losses, [-1, 4]), axis=1)))
    feed = {inputs: self._data[0].reshape(50, 4, NUM_IN),
            labels: self._data[1].reshape(50, 4)}
    feed = {key: np.tile(value, [5] + [1] * (value.ndim - 1))
            for key, value in feed.items()}
    train_op = recipe.minimize()
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      rows, weights, number = sess.run(
          [recipe.optimizer._qmodel_losses.losses[0].inputs,
           recipe.optimizer._qmodel_example_weights,
           recipe.optimizer._batch_size], feed)
      self.assertLen(weights, len(rows))
      self.assertEqual(1000, number)
      self.assertAllClose(1000., np.sum(weights))
      before = sess.run(recipe.loss, feed)
      for _ in range(5):
        sess.run(train_op, feed)
      self.assertLess(sess.run(recipe.loss, feed), before)

  def testAFunctionMustReuseItsVariables(self):
    def build_anew(layers, batch):
      del layers
      with tf.variable_scope(None, "model", reuse=False):
        new = kfac.LayerCollection()
        return build(new, batch)

    with self.assertRaisesRegex(ValueError, "^at least one loss must be "):
      kfac.recipe.Recipe.from_function(build_anew, tuple(
          map(tf.constant, self._data)))

    def build_new(layers, batch):
      with tf.variable_scope(tf.get_default_graph().unique_name("model")):
        return build(layers, batch)

    with self.assertRaisesRegex(
        ValueError, "^build must use the same variables at each call, got "):
      kfac.recipe.Recipe.from_function(build_new, placeholders(200))

  def testAFunctionMayHaveLoops(self):
    def build_loop(layers, batch):
      inputs, labels = batch
      turned = tf.while_loop(
          lambda x: tf.reduce_sum(tf.abs(x)) < 0., lambda x: x + 1., [inputs])
      losses = build(layers, (turned, labels))
      return tf.while_loop(
          lambda x: tf.reduce_sum(x) < 0., lambda x: x + 1., [losses])

    batch = placeholders(200)
    recipe = kfac.recipe.Recipe.from_function(build_loop, batch)
    losses = [values["loss"] for values in self._train(
        recipe, 10, batch, loss=recipe.loss)]
    self.assertLess(losses[-1], losses[0] / 2.)
    self.assertLen(self._weights, 4)

  def testNoBatch(self):
    with self.assertRaisesRegex(
        ValueError, "^batch must have one tensor or more, with equal first "
        "sizes, got none.$"):
      kfac.recipe.Recipe.from_function(build, ())

  def testAnExpectedBatchSizeReplacesAnUnknownOne(self):
    batch = placeholders()
    recipe = self._recipe(batch, batch_size=1000)
    self.assertEqual(0.01, recipe.choices["damping"])
    with tf.Graph().as_default():
      known = self._recipe(placeholders(1000)).choices
    for name in ("cov_ema_decay", "damping"):
      self.assertEqual(known[name], recipe.choices[name])
    self._train(recipe, 2, batch)  # on batches of 200

  def testCalibrationNeedsATrainOp(self):
    recipe = self._recipe(placeholders())
    with self.session() as sess, self.assertRaisesRegex(
        ValueError, "^calibrate must be called after minimize.$"):
      recipe.calibrate(sess)

  def testTowersAreUsedAsAWhole(self):
    inputs, labels = placeholders(200)
    layers, losses = kfac.LayerCollection(), []
    for part in (slice(0, 100), slice(100, 200)):
      with tf.variable_scope("model", reuse=tf.AUTO_REUSE):
        losses.append(build(layers, (inputs[part], labels[part]), name="loss"))
    recipe = kfac.recipe.Recipe(
        layers, tf.reduce_mean(tf.concat(losses, axis=0)))
    self.assertIs(layers, recipe.statistics)
    self.assertEqual(200, recipe.optimizer._batch_size)
    found = self._train(recipe, 10, (inputs, labels), loss=recipe.loss)
    self.assertLess(found[-1]["loss"], found[0]["loss"] / 2.)


if __name__ == "__main__":
  logging.set_verbosity(logging.INFO)
  tf.test.main()
