"""Tests of the transformer, its registration and its program."""

import contextlib
import io
import math
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from examples import extras
from examples import mnist
from examples import runner
from examples import runner_test
from examples import transformer
from examples import transformer_digits_main

# Layers of an attention, as they end its variables' names.
ATTENTION = ("query", "key", "value", "attention_output")


class SmallTestCase(runner_test.RunnerTestCase):
  """Shrinks the transformer, and has a graph with images for one test."""

  def setUp(self):
    super().setUp()
    for name, size in (("WIDTH", 6), ("HIDDEN_WIDTH", 8)):
      self.enterContext(
          unittest.mock.patch.object(transformer, name, size))
    self.enterContext(tf.Graph().as_default())
    tf.set_random_seed(0)
    self._images = np.random.RandomState(0).rand(5, 784).astype(np.float32)

  def _values(self, fetches, feed=None):
    """Returns the values of tensors with initial weights."""
    with self.session() as sess:
      sess.run(tf.global_variables_initializer())
      return sess.run(fetches, feed)


class TransformerTest(SmallTestCase):

  def testLogitsEqualNumpy(self):
    logits, _ = transformer.build(tf.constant(self._images))
    logits, weights = self._values(
        [logits, {v.op.name: v for v in tf.trainable_variables()}])
    self.assertAllClose(logits, predict(weights, self._images), atol=1e-4)

  def testPassesShareTheLayersOfTheirGraph(self):
    logits = [transformer.build(tf.constant(images))[0]
              for images in (self._images, self._images[::-1])]
    self.assertLen(tf.trainable_variables(), 39)
    first, second = self._values(logits)
    self.assertAllClose(first, second[::-1], atol=1e-5)
    with tf.Graph().as_default():
      transformer.build(tf.constant(self._images))
      self.assertLen(tf.trainable_variables(), 39)

  def testWeightsDependOnlyOnTheSeedAndDifferBetweenLayers(self):
    found = []
    for seed, graph_seed in ((0, 0), (0, 1), (1, 0)):
      with tf.Graph().as_default():
        tf.set_random_seed(graph_seed)
        transformer.build(tf.constant(self._images), seed)
        found.append(self._values(
            [v for v in tf.trainable_variables()
             if v.op.name.endswith(("kernel", "vectors"))]))
    for first, same, other in zip(*found, strict=True):
      self.assertAllEqual(first, same)
      self.assertNotAllClose(first, other)
    starts = [float(values.flat[0]) for values in found[0]]
    self.assertLen(set(np.round(starts, 6)), len(starts))


class RegistrationTest(SmallTestCase):

  def _register(self, batch_size):
    """Returns the images, the LayerCollection and the report."""
    images = tf.placeholder(tf.float32, [batch_size, 784])
    logits, _ = transformer.build(images)
    layer_collection = kfac.LayerCollection()
    runner.register_categorical(layer_collection, logits, None, seed=1)
    return images, layer_collection, runner.register_found_layers(
        layer_collection)

  def testEachLayerIsFound(self):
    for batch_size in (5, None):
      with self.subTest(batch_size=batch_size), tf.Graph().as_default():
        _, layer_collection, report = self._register(batch_size)
        layer_collection.create_subgraph()
        layer_collection.check_registration(tf.trainable_variables())
        self.assertEqual((), report.generic)
        rows = {row.variables[0].split(":")[0]: row for row in report}
        dense = ["embedding/kernel", "readout/kernel"]
        layers = ["hidden", "outputs",
                  *(f"attention/{part}" for part in ATTENTION)]
        for block in ("block_1", "block_2"):
          dense += [f"{block}_{layer}/kernel" for layer in layers]
        self.assertCountEqual(
            dense, [name for name, row in rows.items() if row.kind == "dense"])
        for name in dense:
          self.assertLen(rows[name].variables, 2, name)  # With the bias.
          rank = 2 if name == "readout/kernel" else 3
          graph = tf.get_default_graph()
          inputs, = rows[name].inputs
          outputs, = rows[name].outputs
          self.assertGreaterEqual(
              graph.get_tensor_by_name(inputs).shape.rank, rank, name)
          self.assertGreaterEqual(
              graph.get_tensor_by_name(outputs).shape.rank, rank, name)
        for name, row in rows.items():
          if name.endswith("gamma"):
            self.assertEqual("scale and shift", row.kind)
          elif name not in dense:
            self.assertEqual("shift", row.kind)

  def testGradientCheckPasses(self):
    images, layer_collection, report = self._register(None)
    distances = self._values(
        layer_collection.gradient_check(), {images: self._images})
    self.assertLen(distances, len(report))
    for name, distance in distances.items():
      self.assertLess(distance, 1e-4, name)


class ProgramTest(SmallTestCase):

  def setUp(self):
    super().setUp()
    self.enterContext(
        unittest.mock.patch.object(transformer, "NUM_BLOCKS", 1))

  def _run(self, *args):
    """Returns the histories and the printed output."""
    self._parse("--batch_size=20", "--evaluate_every=2", *args)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), unittest.mock.patch.object(
        extras, "import_or_none", return_value=None):
      histories = runner.run(transformer_digits_main.EXPERIMENT)
    return histories, printed.getvalue()

  def testTrainsWithEachOptimizerAndComparesValidationLosses(self):
    # A warning would say that K-FAC cannot use parts of the batch.
    with self.assertNoLogs("absl", "WARNING"):
      histories, printed = self._run(
          "--compare", "--updates=4", "--batch_size=60")
    self.assertLen(histories, 3)
    for history in histories:
      self.assertEqual(history.updates, [0, 2, 4])
      self.assertEqual(history.losses[0], histories[0].losses[0])
      self.assertLess(history.losses[-1], history.losses[0])
    self.assertIn("lowest validation loss", printed)
    num_images = len(mnist.load(self._dir).test_labels)
    self.assertIn(f"the mean over {num_images} validation images", printed)
    self.assertIn("at which the validation loss is at most", printed)
    self.assertNotIn("training loss", printed)

  def testLossIsThatOfTheTestImages(self):
    self._parse("--updates=1", "--batch_size=20")
    data = mnist.load(self._dir)
    trainer = runner.Trainer(
        transformer_digits_main.EXPERIMENT, "adam", 0.001, 20)
    loss, accuracy = trainer.evaluate(data.test_images, data.test_labels)
    trainer.close()
    (history,), _ = self._run("--optimizer=adam", "--updates=1")
    self.assertAllClose(loss, history.losses[0])
    self.assertAllClose(accuracy, history.accuracies[0])


def predict(weights, images):
  """Computes the logits in float64 from weights by name."""
  def dense(name, inputs):
    kernel = weights[name + "/kernel"].astype(np.float64)
    kernel = kernel.reshape(inputs.shape[-1], -1)
    return inputs @ kernel + weights[name + "/bias"].ravel()

  def normalize(name, inputs):
    centered = inputs - inputs.mean(axis=-1, keepdims=True)
    variances = (centered**2).mean(axis=-1, keepdims=True)
    return (centered / np.sqrt(variances + 1e-3) * weights[name + "/gamma"]
            + weights[name + "/beta"])

  def heads(name, inputs):
    outputs = dense(name, inputs)
    return outputs.reshape(*outputs.shape[:2], transformer.NUM_HEADS, -1)

  stream = dense("embedding", images.reshape(-1, 28, 28).astype(np.float64))
  stream = stream + weights["positions/vectors"]
  for block in ("block_1", "block_2"):
    inputs = normalize(block + "_attention_normalization", stream)
    query, key, value = (
        heads(f"{block}_attention/{name}", inputs) for name in ATTENTION[:3])
    scores = np.einsum("bthd,bshd->bhts", query, key)
    scores = np.exp(scores / np.sqrt(query.shape[-1]))
    scores /= scores.sum(axis=-1, keepdims=True)
    mixed = np.einsum("bhts,bshd->bthd", scores, value)
    stream = stream + dense(block + "_attention/attention_output",
                            mixed.reshape(stream.shape))
    hidden = dense(block + "_hidden",
                   normalize(block + "_hidden_normalization", stream))
    gelu = hidden * (0.5 + 0.5 * np.vectorize(math.erf)(hidden / 2.**0.5))
    stream = stream + dense(block + "_outputs", gelu)
  outputs = normalize("normalization", stream)
  return dense("readout", outputs.mean(axis=1))


if __name__ == "__main__":
  tf.test.main()
