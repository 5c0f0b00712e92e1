"""NumPy oracles of losses, and a function that evaluates tensors."""

import numpy as np
import tensorflow.compat.v1 as tf

NUM_SAMPLES = 20000

# Abstract members of LossFunction; targets may be left to the base.
HESSIAN = [
    "multiply_hessian", "multiply_hessian_factor",
    "multiply_hessian_factor_transpose",
    "multiply_hessian_factor_replicated_one_hot",
    "hessian_factor_inner_shape", "hessian_factor_inner_static_shape"]
FISHER = [name.replace("hessian", "fisher") for name in HESSIAN]


def log_softmax(logits):
  """Returns the logarithms of probabilities."""
  logits = logits - logits.max(axis=-1, keepdims=True)
  return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def sigmoid(x):
  """Returns 1 / (1 + exp(-x))."""
  return 1. / (1. + np.exp(-x))


def normal_loss(x, mean, var):
  """Returns -log p(x) of independent normal variables, summed."""
  return np.sum((x - mean)**2 / (2 * var) + np.log(2 * np.pi * var) / 2)


def run(*tensors):
  """Returns the values of tensors, in a new session."""
  with tf.Session() as sess:
    return sess.run(tensors)
