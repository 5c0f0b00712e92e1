"""Tests of automatic registration of Keras layers, in graphs."""

import importlib.util

import keras
import tensorflow.compat.v1 as tf

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
    "Conv2D": (dict(filters=3, kernel_size=2, activation="relu"), [5, 5, 2],
               ("kernel bias: conv2d 1",)),
    "Conv2D_strided": (dict(filters=3, kernel_size=3, strides=2,
                            padding="same"), [6, 6, 2],
                       ("kernel bias: conv2d 1",)),
    "Conv2D_grouped": (dict(filters=4, kernel_size=2, groups=2), [5, 5, 2],
                       ("kernel: generic", "bias: shift 1")),
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
        "kernel: generic", "recurrent_kernel: generic", "bias: generic")),
    "PReLU": (dict(), [4], ("alpha: scale 1",)),
}


def _rows(layer, rows):
  """Returns rows with the names of a layer's variables before the colon."""
  found = []
  for row in rows:
    names, _, kind = row.partition(":")
    names = " ".join(f"{layer}/{name}" for name in names.split())
    found.append(f"{names}:{kind}")
  return found


def _outer(model, name):
  """Returns a model whose last layer is a dense layer without bias."""
  def build(layers):
    features = tf.reshape(model(), [BATCH, -1])
    dense(layers, features)
  del name
  return build
