"""Tests of automatic registration: uses that are never guessed."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import graph_modes
from kfac.python.kernel_tests.layer_collection import automatic_case as case

BATCH = case.BATCH
Case = case.Case
data, dense, head, ids, var = (
    case.data, case.dense, case.head, case.ids, case.var)


def _model(function, *shape):
  """A model whose first part is function(inputs [batch, 4], variable v)."""
  def build(layers):
    dense(layers, tf.tanh(function(data(BATCH, 4), var(
        "v", *(shape or [4, 4])))))
  return build


def _generic(reason, **others):
  """The rest of a Case whose variable v is generic."""
  rows = tuple(f"{name}: {kind}" for name, kind in others.items())
  return ("v: generic", *rows, "w: dense 1"), {"v": reason}


def _loop(x, v):
  return tf.while_loop(lambda i, y: i < 3,
                       lambda i, y: (i + 1, tf.tanh(y @ v)), [0, x])[1]


def _branch(x, v):
  return tf.cond(tf.reduce_sum(x) > 100., lambda: x, lambda: x @ v)


def _parts(x, v):
  return x @ tf.concat([v, var("u", 4, 2)], 1)


def _masked(x, v):
  return x @ (v * data(4, 4))


def _weight_norm(x, v):
  return x @ (v * tf.rsqrt(tf.reduce_sum(v * v, 0, keepdims=True)))


def _penalty(layers):
  """A loss that contains the gradient of the outputs."""
  x = data(BATCH, 4)
  h = tf.tanh(x @ var("v", 4, 5) + var("b", 5))
  outputs = h @ var("w", 5, 1) + var("c", 1)
  gradient, = tf.gradients(outputs, x)
  layers.register_normal_predictive_distribution(outputs)
  layers.register_normal_predictive_distribution(gradient)


def _tied(layers):
  table = var("t", 9, 5)
  h = tf.nn.embedding_lookup(table, ids(9, BATCH)) @ var("w", 5, 5)
  head(layers, tf.matmul(tf.tanh(h), table, transpose_b=True))


class UnknownTest(case.AutomaticCase):

  def testControlFlow(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2):
        self.check(
            Case(f"loop_{v2}", _model(_loop), *_generic(
                "is used inside a loop")),
            Case(f"branch_{v2}", _model(_branch), *_generic(
                "is used inside a branch")))

  def testFunctions(self):
    def function(x, v):
      return tf.function(lambda x: x @ v, autograph=False)(x)
    # Only resource variables can be captured.
    with tf.variable_scope(tf.get_variable_scope(), use_resource=True):
      self.check(Case("function", _model(function), *_generic(
          "is used inside a function")))

  def testTwoKindsOfUse(self):
    two = "is used in two ways"
    self.check(
        Case("tied", _tied, ("t: generic", "w: dense 1"),
             {"t": f"{two}, embedding and dense"}),
        Case("transpose", _model(
            lambda x, v: tf.matmul(tf.tanh(x @ v), v, transpose_b=True)),
             *_generic(f"{two}, with different shapes or settings")),
        Case("penalty", _penalty, (
            "v: generic", "b: shift 1", "w: generic", "c: shift 1"),
             {"v": two, "w": ".*"}),
        Case("shapes", _model(lambda x, v: tf.tanh(x @ v) @ tf.reshape(
            v, [4, 4]) + tf.tanh(x[:, :2] @ tf.reshape(v, [2, 8]))[:, :4]),
             *_generic(f"{two}, with different shapes or settings")))

  def testPartsOfVariables(self):
    parts = "is cut into parts or part of a concatenation"
    self.check(
        Case("slice", _model(lambda x, v: x @ v[:, :2]), *_generic(parts)),
        Case("split", _model(lambda x, v: tf.multiply(*[
            x @ part for part in tf.split(v, 2, 1)])), *_generic(parts)),
        Case("unstacked", _model(lambda x, v: x * tf.unstack(v)[0]),
             *_generic(parts)),
        Case("concatenated", _model(_parts), (
            "v: generic", "u: generic", "w: dense 1"),
             {"v": parts, "u": parts}))

  def testComputedWeights(self):
    self.check(
        Case("product", _model(lambda x, v: x @ (v * var("u", 4, 4))), (
            "v: generic", "u: generic", "w: dense 1"),
             {"v": "is used by MatMul", "u": "is used by MatMul"}),
        Case("mask", _model(_masked), *_generic("is used by MatMul")),
        Case("norm", _model(_weight_norm), *_generic("is used by")),
        Case("sum", _model(lambda x, v: x @ (v + var("u", 4, 4))), (
            "v: generic", "u: generic", "w: dense 1"),
             {"v": "is used by MatMul", "u": "is used by MatMul"}),
        Case("exponential", _model(lambda x, v: x * tf.exp(v), 4),
             *_generic("is used by Exp, which is no known layer")),
        Case("outer", _model(lambda x, v: x @ (v * var("u", BATCH, 1, 4))[
            :, :, 0][:4], 4, 1), ("v: generic", "u: generic", "w: dense 1"),
             {"v": ".*", "u": ".*"}))

  def testBiasOfUnknownWeights(self):
    self.check(Case("bias", _model(
        lambda x, v: x @ (2. * v) + var("b", 4)), *_generic(
            "is used by MatMul", b="shift 1")))

  def testRowsThatAreNoExamples(self):
    def chosen(x, v):
      rows = tf.boolean_mask(x, x[:, 0] > -9.)
      return tf.reshape(rows @ v, [BATCH, 4])
    def time_major(x, v):
      y = tf.tensordot(tf.stack([x, x, x, 2. * x]), v, 1)
      return tf.reduce_mean(y, 0)
    self.check(
        Case("chosen", _model(chosen), *_generic(
            "has outputs with an unknown number of rows, where the losses "
            "have 6 examples")),
        Case("time_major", _model(time_major), *_generic(
            "has outputs with 4 rows, where the losses have 6 examples")))

  def testFoldedShift(self):
    self.check(Case("shift", _model(lambda x, v: tf.reshape(
        tf.reshape(x, [-1, 2]) + v, [BATCH, 4]), 2), *_generic(
            "has 2 rows per example in a layer of kind shift")))


if __name__ == "__main__":
  tf.test.main()
