"""Tests of automatic registration of Keras layers, in graphs."""

import importlib.util

import keras
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests.layer_collection import automatic_case as case

BATCH = case.BATCH
Case = case.Case
data, dense, ids = case.data, case.dense, case.ids

# The first layer of a model -> shape of its inputs, rows of the report.
LAYERS = {
    "Dense": (dict(units=3, activation="tanh"), [4],
              ("kernel bias: dense 1",)),
    "Dense_positions": (dict(units=3), [5, 4], ("kernel bias: dense 1",)),
    "Dense_without_bias": (dict(units=3, use_bias=False), [4],
                           ("kernel: dense 1",)),
    "EinsumDense": (
        dict(equation="abc,cde->abde", output_shape=(None, 2, 3),
             bias_axes="de"), [5, 4], ("kernel bias: dense 1",)),
    "Conv1D": (dict(filters=3, kernel_size=2, padding="same"), [5, 2],
               ("kernel bias: convolution 1",)),
    "Conv1D_strided": (dict(filters=3, kernel_size=3, strides=2), [7, 2],
                       ("kernel bias: convolution 1",)),
    "Conv1D_dilated": (
        dict(filters=3, kernel_size=2, dilation_rate=2, padding="causal"),
        [7, 2], ("kernel bias: convolution 1",)),
    "Conv2D": (dict(filters=3, kernel_size=2, activation="relu"), [5, 5, 2],
               ("kernel bias: conv2d 1",)),
    "Conv2D_strided": (dict(filters=3, kernel_size=3, strides=2,
                            padding="same"), [6, 6, 2],
                       ("kernel bias: conv2d 1",)),
    "Conv2D_grouped": (dict(filters=4, kernel_size=2, groups=2), [5, 5, 2],
                       ("kernel: generic", "bias: shift 1")),
    "Conv2D_dilated": (
        dict(filters=3, kernel_size=2, dilation_rate=2), [6, 6, 2],
        ("kernel bias: convolution 1",)),
    "Conv3D": (dict(filters=3, kernel_size=2), [4, 3, 4, 2],
               ("kernel bias: convolution 1",)),
    "DepthwiseConv2D": (dict(kernel_size=2, depth_multiplier=2), [5, 5, 2],
                        ("kernel: depthwise_conv2d 1", "bias: shift 1")),
    "SeparableConv2D": (dict(filters=3, kernel_size=2), [5, 5, 2], (
        "depthwise_kernel: depthwise_conv2d 1",
        "pointwise_kernel bias: conv2d 1")),
    "BatchNormalization": (dict(), [4], ("gamma beta: scale and shift 1",)),
    "BatchNormalization_images": (
        dict(), [3, 3, 4], ("gamma beta: scale and shift 1",)),
    "BatchNormalization_without_scale": (
        dict(scale=False), [4], ("beta: shift 1",)),
    "LayerNormalization": (dict(), [5, 4], ("gamma beta: scale and shift 1",)),
    "LayerNormalization_without_shift": (
        dict(center=False), [5, 4], ("gamma: scale 1",)),
    "GroupNormalization": (dict(groups=2), [9, 4],
                           ("gamma beta: scale and shift 1",)),
    "LSTM": (dict(units=3, unroll=True), [3, 2], (
        "kernel bias: dense 3", "recurrent_kernel: dense 3")),
    "SimpleRNN": (dict(units=3, unroll=True), [3, 2], (
        "kernel bias: dense 3", "recurrent_kernel: dense 3")),
    "GRU": (dict(units=3, unroll=True, reset_after=False), [3, 2], (
        "kernel bias: dense 3", "recurrent_kernel: generic")),
    "LSTM_in_a_loop": (dict(units=3), [3, 2], (
        "kernel: generic", "recurrent_kernel: generic", "bias: generic")),
    "RMSNormalization": (dict(), [4], ("scale: scale 1",)),
    "PReLU": (dict(), [4], ("alpha: scale 1",)),
}


# Reasons of generic layers, by the keys of LAYERS.
REASONS = {
    "Conv2D_grouped": {"kernel": "is used inside a function"},
    "GRU": {"recurrent_kernel": "is cut into parts"},
    "LSTM_in_a_loop": {name: "is used inside a loop" for name in (
        "kernel", "recurrent_kernel", "bias")},
}


# What differs in Keras 2.
KERAS_2_ROWS = {
    "BatchNormalization_images": ("gamma: generic", "beta: generic"),
    "DepthwiseConv2D": ("depthwise_kernel: depthwise_conv2d 1",
                        "bias: shift 1"),
}
# Whether it trains is a branch in the graph.
KERAS_2_REASONS = {
    "BatchNormalization_images": {name: "is used inside a branch" for name in (
        "gamma", "beta")},
}


def _libraries():
  """Returns the modules of layers that are installed, by name."""
  return {name: library.layers for name, library in _installed().items()}


def _installed():
  """Returns the installed libraries, by name."""
  found = {"keras": keras}
  if importlib.util.find_spec("tf_keras") is not None:
    found["tf_keras"] = importlib.import_module("tf_keras")
  return found


def _cases(name, library):
  """Yields Cases of the layers of a library.

  Args:
    name: Its name.
    library: Module, of Keras 2 or 3.
  """
  is_old = library.__version__.startswith("2.")
  for layer, (arguments, shape, rows) in LAYERS.items():
    kind = getattr(library.layers, layer.split("_")[0], None)
    if kind is None:
      continue
    reasons = REASONS.get(layer, {})
    if is_old:
      rows = KERAS_2_ROWS.get(layer, rows)
      reasons = KERAS_2_REASONS.get(layer, reasons)
    # Keras 3 cannot run its loop with control flow v1.
    yield Case(f"{name}_{layer}", _after(kind(**arguments), data(
        BATCH, *shape)), (*rows, "w: dense 1"), reasons,
        runs=layer != "LSTM_in_a_loop")


def _after(layer, *call, **kwargs):
  """Returns a function that ends a model behind a layer's outputs."""
  def build(layers):
    h = tf.cast(layer(*call, **kwargs), tf.float32)
    dense(layers, tf.reshape(tf.tanh(h), [BATCH, h.shape[1:].num_elements()]))
  return build


class AutomaticKerasTest(case.AutomaticCase):

  def testLayers(self):
    for name, library in _installed().items():
      self.check(*_cases(name, library))

  def testEmbedding(self):
    for library, layers in _libraries().items():
      self.check(Case(
          library, _after(layers.Embedding(9, 4), ids(9, BATCH, 5)),
          ("embeddings: embedding 1", "w: dense 1")))

  def testTrainingOfBatchNormalization(self):
    found = ("gamma beta: scale and shift 1", "w: dense 1")
    for library, layers in _libraries().items():
      self.check(*[
          Case(f"{library}_{len(shape)}", _after(
              layers.BatchNormalization(), data(BATCH, *shape), training=True),
               found)
          for shape in ([4], [3, 4], [3, 3, 4])])

  def testAttention(self):
    for library, layers in _libraries().items():
      x = data(BATCH, 5, 4)
      self.check(Case(
          library, _after(layers.MultiHeadAttention(2, 3), x, x), (
              "query/kernel query/bias: dense 1",
              "key/kernel key/bias: dense 1",
              "value/kernel value/bias: dense 1",
              "attention_output/kernel attention_output/bias: dense 1",
              "w: dense 1")))

  def testSharedModel(self):
    tower = keras.Sequential([
        keras.layers.Dense(3, activation="relu"),
        keras.layers.BatchNormalization()])
    self.check(Case("siamese", _after(
        lambda x: tower(x, training=True) * tower(x * x, training=True),
        data(BATCH, 4)), ("kernel bias: dense 2",
                          "gamma beta: scale and shift 2", "w: dense 1")))

  def testMixedPrecision(self):
    layers = keras.layers
    policy = {"dtype": "mixed_float16"}
    def half(*shape):  # Not all of Keras 2 casts inputs by itself.
      return tf.cast(data(BATCH, *shape), tf.float16)
    self.check(
        Case("dense", _after(layers.Dense(3, **policy), half(5, 4)),
             ("kernel bias: dense 1", "w: dense 1")),
        Case("conv", _after(layers.Conv2D(3, 2, **policy), half(
            4, 4, 2)), ("kernel bias: conv2d 1", "w: dense 1")),
        Case("norm", _after(layers.LayerNormalization(**policy), half(
            5, 4)), ("gamma beta: scale and shift 1", "w: dense 1")),
        limit=0.01)

  def testKerasVariablesInTheList(self):
    layers = kfac.LayerCollection()
    model = keras.Sequential([
        keras.layers.Dense(4), keras.layers.LayerNormalization()])
    dense(layers, model(data(BATCH, 4)))
    report = layers.auto_register_layers(model.trainable_variables)
    self.assertEqual(
        ["dense", "scale and shift"], [row.kind for row in report])
    layers.auto_register_layers()
    self.assertCountEqual(
        tf.trainable_variables(), layers.registered_variables)

  def testKerasVariablesInAGroup(self):
    layers = kfac.LayerCollection()
    layer = keras.layers.Dense(4)
    dense(layers, layer(data(BATCH, 4)))
    layers.define_linked_parameters([layer.kernel, layer.bias], "diagonal")
    report = layers.auto_register_layers()
    self.assertEqual(["diagonal", "kron"], [
        row.approximation for row in report])


if __name__ == "__main__":
  tf.test.main()
