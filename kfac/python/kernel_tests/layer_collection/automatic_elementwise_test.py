"""Tests of automatic registration: biases, scales and shifts."""

from unittest import mock

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests.layer_collection import automatic_case as case
from kfac.python.ops.tensormatch import uses

BATCH = case.BATCH
Case = case.Case
data, dense, head, ids, var = (
    case.data, case.dense, case.head, case.ids, case.var)


def _model(function, *shape):
  """A model whose first part is function(inputs of a shape)."""
  def build(layers):
    h = tf.tanh(function(data(BATCH, *(shape or [4]))))
    dense(layers, tf.reshape(h, [BATCH, h.shape[1:].num_elements()]))
  return build


def _cell(steps=3, first_biased=0):
  """An LSTM's cell with separate weights of inputs and state."""
  def function(x):
    k, r, b = var("k", 2, 12), var("r", 3, 12), var("b", 12)
    h = c = tf.zeros([BATCH, 3])
    for step in range(steps):
      gates = x[:, step] @ k + h @ r
      if step >= first_biased:
        gates = gates + b
      i, f, o, g = tf.split(gates, 4, 1)
      c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
      h = tf.sigmoid(o) * tf.tanh(c)
    return h
  return _model(function, steps, 2)


def _biased(function, *bias):
  """A model of function(x W, b), x W of shape [batch, 6]."""
  return _model(lambda x: function(x @ var("v", 4, 6), var("b", *bias)))


JOINED = ("v b: dense 1", "w: dense 1")
APART = ("v: dense 1", "b: shift 1", "w: dense 1")


class BiasTest(case.AutomaticCase):

  def testJoinsTheLayer(self):
    self.check(
        Case("add", _biased(lambda h, b: h + b, 6), JOINED),
        Case("bias_add", _biased(tf.nn.bias_add, 6), JOINED),
        Case("add_n", _biased(lambda h, b: tf.add_n(
            [tf.broadcast_to(b, [BATCH, 6]), h]), 6), JOINED),
        Case("row", _biased(lambda h, b: b + h, 1, 6), JOINED),
        Case("reshaped", _biased(
            lambda h, b: tf.reshape(h, [BATCH, 3, 2]) + b, 3, 2), JOINED),
        Case("column", _biased(
            lambda h, b: h[:, :, tf.newaxis] + b, 6, 1), APART),
        Case("expanded", _biased(
            lambda h, b: tf.expand_dims(h, 2) + b, 6, 1), JOINED),
        Case("behind_a_sum", _biased(
            lambda h, b: h + data(BATCH, 6) + b, 6), JOINED),
        Case("squeezed", _model(lambda x: tf.squeeze(
            x @ var("v", 4, 1), 1)[:, tf.newaxis] + var("b")), (
                "v: dense 1", "b: shift 1", "w: dense 1")),
        Case("scalar", _model(lambda x: tf.expand_dims(tf.squeeze(
            x @ var("v", 4, 1), 1) + var("b"), 1)), JOINED))

  def testDoesNotJoinTheLayer(self):
    self.check(
        Case("taken_twice", _biased(
            lambda h, b: tf.concat([h + b, tf.tanh(h)], 1), 6), APART),
        Case("behind_a_nonlinearity", _biased(
            lambda h, b: tf.tanh(h) + b, 6), APART),
        Case("of_positions", _biased(
            lambda h, b: tf.reshape(h, [BATCH, 2, 3]) + b, 2, 1), APART),
        Case("smaller", _biased(
            lambda h, b: tf.reshape(h, [BATCH, 3, 2]) + b, 2), APART),
        Case("negative", _biased(lambda h, b: h - b, 6), (
            "v: dense 1", "b: scale 1", "w: dense 1")),
        # Six positions by two features, then the other way around.
        Case("of_other_axis", _model(lambda x: tf.expand_dims(
            x @ var("v", 4, 6), 2) + data(BATCH, 6, 6) + var("b", 6)), APART),
        Case("positions_as_features", _model(lambda x: tf.reshape(
            tf.tensordot(x, var("v", 4, 2), 1), [BATCH, 2, 2]) + var("b", 2, 1),
            2, 4), APART),
        Case("rows_moved", _model(lambda x: tf.einsum(
            "bpi,io->bop", x, var("v", 4, 3)) + var("b", 3), 3, 4), APART))

  def testRecurrentCells(self):
    self.check(
        Case("lstm", _cell(), ("k b: dense 3", "r: dense 3", "w: dense 1")),
        Case("bias_in_some_uses", _cell(first_biased=1), (
            "k: dense 3", "r: dense 3", "b: shift 2", "w: dense 1")))

  def testSharedByTwoLayers(self):
    def function(x):
      b = var("b", 4)
      return tf.tanh(x @ var("v", 4, 4) + b) @ var("u", 4, 4) + b
    def same_sum(x):
      return x @ var("v", 4, 4) + x @ var("u", 4, 4) + var("b", 4)
    self.check(
        Case("two_uses", _model(function), (
            "b: shift 2", "v: dense 1", "u: dense 1", "w: dense 1")),
        Case("one_sum", _model(same_sum), (
            "v b: dense 1", "u: dense 1", "w: dense 1")))

  def testOnItsOwn(self):
    self.check(
        Case("positions", _model(lambda x: x + var("b", 5, 4), 5, 4),
             ("b: shift 1", "w: dense 1")),
        Case("of_a_scale", _model(
            lambda x: x @ var("v", 4, 4) + x * var("g", 4) + var("b", 4)),
             ("v b: dense 1", "g: scale 1", "w: dense 1")))


def _normalised(x, axes, gamma, beta, epsilon=1e-3):
  mean, variance = tf.nn.moments(x, axes, keepdims=True)
  return (x - mean) * tf.rsqrt(variance + epsilon) * gamma + beta


def _params(size=4):
  return var("gamma", size), var("beta", size)


def _group_norm(x):
  grouped = tf.reshape(x, [BATCH, 9, 2, 2])
  gamma, beta = _params()
  return tf.reshape(_normalised(
      grouped, [1, 3], tf.reshape(gamma, [1, 1, 2, 2]),
      tf.reshape(beta, [1, 1, 2, 2])), [BATCH, 9, 4])


def _moments_inside(x):
  """Batch normalisation as Keras 3 and tf.nn write it, from one gamma."""
  mean, variance = tf.nn.moments(x, [0])
  gamma, beta = _params()
  return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


def _inference(x):
  gamma, beta = _params()
  mean = tf.get_variable("mean", [4], trainable=False)
  return tf.nn.batch_normalization(x, mean, tf.ones([4]), beta, gamma, 1e-3)


def _expanded(x):
  """Gamma in two products that meet again."""
  mean, variance = tf.nn.moments(x, [0])
  gamma, beta = _params()
  return x * gamma * tf.rsqrt(variance) + (
      beta - mean * gamma * tf.rsqrt(variance))


def _fused(is_training, data_format="NHWC"):
  def function(x):
    gamma, beta = _params()
    moments = {} if is_training else {"mean": tf.zeros([4]),
                                      "variance": tf.ones([4])}
    return tf.nn.fused_batch_norm(
        x, gamma, beta, is_training=is_training, data_format=data_format,
        **moments)[0]
  return function


def _zero_scale(x):
  gamma = tf.get_variable("gamma", [4], initializer=tf.zeros_initializer())
  return x + gamma * x


NORM = ("gamma beta: scale and shift 1", "w: dense 1")


class LongSumsTest(case.AutomaticCase):
  """Sums of many layers, in which each bias is behind all layers before it."""

  def _steps(self, build, count):
    """Registers a sum; returns its report and how many tensors were followed.

    Args:
      build: Function of a sum and inputs that returns the sum with one more.
      count: Number of summands.
    """
    layers = kfac.LayerCollection()
    with tf.variable_scope(f"{build.__name__}_{count}") as scope:
      x = data(BATCH, 4)
      h = x
      for number in range(count):
        with tf.variable_scope(f"layer{number}"):
          h = build(h, x)
      dense(layers, h)
      variables = scope.trainable_variables()
    followed = []
    counted = {name: _counted(getattr(uses.DataFlow, name), followed)
               for name in ("consumers", "only_consumer")}
    with mock.patch.multiple(uses.DataFlow, **counted):
      report = layers.auto_register_layers(variables)
    return case.describe(report, f"{scope.name}/"), len(followed)

  def _checkLinear(self, build, row):
    count = 80
    rows, few = self._steps(build, count)
    self.assertEqual((*[row] * count, "w: dense 1"), rows)
    _, many = self._steps(build, 2 * count)
    self.assertLess(many, 2.1 * few)

  def testLayers(self):
    def layer(total, x):
      return total + x @ var("v", 4, 4) + var("b", 4)
    self._checkLinear(layer, "v b: dense 1")

  def testScales(self):
    def scale(total, x):
      return total + tf.tanh(x) * var("g", 4)
    self._checkLinear(scale, "g: scale 1")

  def testParameters(self):
    layers = kfac.LayerCollection()
    total = tf.add_n([var("b", 4)])
    for number in range(40):
      total = total + var(f"b{number}", 4)
    dense(layers, data(BATCH, 4) + total)
    report = layers.auto_register_layers()
    kinds = [row.kind for row in report]
    # The last ones are close to the sum with the inputs.
    self.assertEqual(["generic", "shift", "dense"], [
        kinds[0], kinds[-2], kinds[-1]])


def _counted(function, calls):
  """Returns a function that notes each call in a list."""
  def counted(*args):
    calls.append(args)
    return function(*args)
  return counted


class ScaleAndShiftTest(case.AutomaticCase):

  def testNormalisation(self):
    self.check(
        Case("batch_by_hand", _model(
            lambda x: _normalised(x, [0], *_params())), NORM),
        Case("batch_of_images", _model(
            lambda x: _normalised(x, [0, 1, 2], *_params()), 3, 3, 4), NORM),
        Case("tf_nn", _model(_moments_inside), NORM),
        Case("inference", _model(_inference), NORM),
        Case("expanded", _model(_expanded), (
            "gamma: scale 2", "beta: shift 1", "w: dense 1")),
        Case("layer", _model(
            lambda x: _normalised(x, [2], *_params()), 3, 4), NORM),
        Case("group", _model(_group_norm, 9, 4), NORM),
        Case("rms", _model(lambda x: x * tf.rsqrt(
            tf.reduce_mean(x * x, -1, keepdims=True)) * var("gamma", 4)),
             ("gamma: scale 1", "w: dense 1")),
        Case("fused", _model(_fused(True), 3, 3, 4), NORM),
        Case("fused_inference", _model(_fused(False), 3, 3, 4), NORM),
        Case("zero", _model(_zero_scale), ("gamma: scale 1", "w: dense 1")))

  def testBehindDenseLayers(self):
    def function(x):
      h = x @ var("v", 4, 4) + var("b", 4)
      return _normalised(h, [0], *_params())
    self.check(Case("norm", _model(function), (
        "v b: dense 1", "gamma beta: scale and shift 1", "w: dense 1")))

  def testSeveralUses(self):
    def function(x):
      gamma, beta = _params()
      for _ in range(2):
        x = tf.tanh(_normalised(x, [1], gamma, beta))
      return x
    self.check(Case("twice", _model(function), (
        "gamma beta: scale and shift 2", "w: dense 1")))

  def testOtherScales(self):
    self.check(
        Case("division", _model(lambda x: var("g", 4) / (1. + x * x)),
             ("g: scale 1", "w: dense 1")),
        Case("difference", _model(lambda x: x - var("g", 4) * x),
             ("g: scale 1", "w: dense 1")),
        Case("scalar", _model(lambda x: var("g") * x),
             ("g: scale 1", "w: dense 1")),
        Case("of_positions", _model(lambda x: var("g", 5, 1) * x, 5, 4),
             ("g: scale 1", "w: dense 1")),
        Case("of_a_matrix", _model(lambda x: var("g", 5, 4) * x, 5, 4),
             ("g: scale 1", "w: dense 1")),
        Case("one_shift_of_two", _model(
            lambda x: x * var("g", 4) + tf.tanh(x) * var("h", 4)
            + var("b", 4)), ("g b: scale and shift 1", "h: scale 1",
                             "w: dense 1")))

  def testNoScales(self):
    def channels_first(x):
      gamma, beta = _params(3)
      return _normalised(x, [0, 2, 3], tf.reshape(gamma, [1, 3, 1, 1]),
                         tf.reshape(beta, [1, 3, 1, 1]))
    def channels_first_later(x):
      gamma = var("gamma", 3) * 2.
      return x * tf.reshape(gamma, [1, 3, 1, 1])
    reshaped = "is reshaped before it scales or shifts"
    self.check(
        Case("channels_first", _model(channels_first, 3, 3, 3), (
            "gamma: generic", "beta: generic", "w: dense 1"),
             {"gamma": reshaped, "beta": reshaped}),
        Case("channels_first_later", _model(channels_first_later, 3, 3, 3), (
            "gamma: generic", "w: dense 1"),
             {"gamma": "is used by Reshape, which is no known layer"}),
        Case("channels_first_bias", _model(lambda x: tf.nn.bias_add(
            x, var("b", 3), "NCHW"), 3, 3, 3), ("b: generic", "w: dense 1"),
             {"b": "is used by BiasAdd, which is no known layer"}),
        Case("fused_channels_first", _model(
            _fused(True, "NCHW"), 4, 3, 3), (
                "gamma: generic", "beta: generic", "w: dense 1"),
             {"gamma": "is in a normalisation whose channels are not last",
              "beta": "is in a normalisation whose channels are not last"},
             runs=False),
        Case("squared", _model(lambda x: var("g", 4) ** 2 * x), (
            "g: generic", "w: dense 1"), {"g": "is used by Pow"}),
        Case("product", _model(
            lambda x: tf.expand_dims(x, 1) * (var("g", 4) * var("h", BATCH, 4))
            ), ("g: scale 1", "h: scale 1", "w: dense 1")))


if __name__ == "__main__":
  tf.test.main()
