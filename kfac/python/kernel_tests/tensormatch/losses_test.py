"""The losses found in a graph are the loss: same value, same gradients."""

import keras
import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized

import kfac
from kfac.python.ops.layer_collection import calls

_ROWS = 4
_LABELS = np.array([0, 2, 1, 1])
_nn, _losses, _mean, _sum = tf.nn, tf.losses, tf.reduce_mean, tf.reduce_sum


def _softmax(m):
  return _nn.softmax_cross_entropy_with_logits_v2(labels=m.onehot, logits=m.y)


def _sparse(m):
  return _nn.sparse_softmax_cross_entropy_with_logits(
      labels=m.labels, logits=m.y)


def _sigmoid(m):
  return _nn.sigmoid_cross_entropy_with_logits(labels=m.t, logits=m.y)


def _stable_sigmoid(m):
  return (tf.maximum(m.y, 0.) - m.y * m.t + tf.log1p(tf.exp(-tf.abs(m.y))))


def _keras(name, **arguments):
  """Returns a loss of Keras; without a dtype Keras 3 computes in float32."""
  if not keras.__version__.startswith("2."):
    arguments["dtype"] = "float64"
  return getattr(keras.losses, name)(**arguments)


_B, _C, _O, _N = (f"register_{kind}_predictive_distribution" for kind in (
    "multi_bernoulli", "categorical", "onehot_categorical", "normal"))

# (name, loss of the model, methods, coefficients; None for a tensor).
_CASES = (
    ("softmax", lambda m: _mean(_softmax(m)), [_C], [1.]),
    ("softmax_rows", lambda m: _mean(
        _nn.softmax_cross_entropy_with_logits_v2(labels=m.t, logits=m.y)),
     [_O], [1.]),
    ("sparse", lambda m: _mean(_sparse(m)), [_C], [1.]),
    ("sum", lambda m: _sum(_sparse(m)), [_C], [None]),
    ("by_batch", lambda m: _sum(_sparse(m)) / tf.cast(
        tf.shape(m.x)[0], tf.float64), [_C], [None]),
    ("sigmoid", lambda m: _mean(_sigmoid(m)), [_B], [1. / 3]),
    ("sigmoid_sum", lambda m: _mean(_sum(_sigmoid(m), axis=1)), [_B], [1.]),
    ("by_hand", lambda m: _mean(_stable_sigmoid(m)), [_B], [1. / 3]),
    ("squared_difference", lambda m: _mean(
        tf.squared_difference(m.t, m.y)), [_N], [1. / 3]),
    ("square", lambda m: _mean(_sum(tf.square(m.y - m.t), 1)), [_N], [1.]),
    ("power", lambda m: _mean((m.y - m.t) ** 2), [_N], [1. / 3]),
    ("product", lambda m: _mean((m.y - m.t) * (m.y - m.t)), [_N], [1. / 3]),
    ("l2_loss", lambda m: _nn.l2_loss(m.y - m.t), [_N], [None]),
    ("one_number", lambda m: _mean(tf.square(m.y[:, 0] - 1.)), [_N], [1.]),
    ("residual", lambda m: _mean(tf.square(m.y * m.t)), [_N], [1. / 3]),
    ("two_sides", lambda m: _mean(tf.square(m.y - 2. * m.x @ m.w)), [_N],
     [1. / 3]),
    ("weighted_sum", lambda m: _mean(_sparse(m)) + 0.5 * _mean(
        _sigmoid(m)) / 2., [_C, _B], [1., 1. / 12]),
    ("many", lambda m: tf.add_n([_mean(_sparse(m)), 2. * _mean(_sparse(m))]),
     [_C, _C], [1., 2.]),
    ("tensor", lambda m: m.scale * _mean(_sparse(m)), [_C], [None]),
    ("regularized", lambda m: _mean(_sparse(m)) + 0.1 * _nn.l2_loss(m.w)
     + _sum(tf.square(m.w - 1.)), [_C], [1.]),
    ("positions", lambda m: _mean(_nn.sigmoid_cross_entropy_with_logits(
        labels=m.images, logits=m.images * m.w[0, 0])), [_B], [1. / 6]),
    ("tf_softmax", lambda m: _losses.softmax_cross_entropy(m.onehot, m.y),
     [_C], [1.]),
    ("tf_sparse", lambda m: _losses.sparse_softmax_cross_entropy(
        m.labels, m.y, weights=0.5), [_C], [0.5]),
    ("tf_sigmoid", lambda m: _losses.sigmoid_cross_entropy(m.t, m.y), [_B],
     [1. / 3]),
    ("tf_mean_squared_error", lambda m: _losses.mean_squared_error(m.t, m.y),
     [_N], [1. / 3]),
    ("keras_binary", lambda m: _keras("BinaryCrossentropy", from_logits=True)(
        m.t, m.y), [_B], [1. / 3]),
    ("keras_squared", lambda m: _keras("MeanSquaredError")(m.t, m.y), [_N],
     [1. / 3]),
    ("keras_categorical", lambda m: _keras(
        "CategoricalCrossentropy", from_logits=True)(m.onehot, m.y), None,
     [1.]),
    ("keras_sparse", lambda m: _keras(
        "SparseCategoricalCrossentropy", from_logits=True)(m.labels, m.y),
     [_C], [1.]),
    ("keras_probabilities", lambda m: _keras("CategoricalCrossentropy")(
        m.onehot, tf.nn.softmax(m.y)), None, [1.]),
)


class _Model:
  """y = x w in the current graph, with targets of all kinds."""

  def __init__(self, rows=None):
    rng = np.random.RandomState(0)
    self.x = tf.placeholder(tf.float64, [rows, 2])
    self.labels = tf.placeholder(tf.int64, [rows])
    self.t = tf.placeholder(tf.float64, [rows, 3])
    self.images = tf.placeholder(tf.float64, [rows, 2, 3])
    self.scale = tf.get_variable("scale", initializer=np.array(0.7),
                                 trainable=False)
    self.onehot = tf.one_hot(self.labels, 3, dtype=tf.float64)
    self.w = tf.get_variable("w", initializer=rng.randn(2, 3))
    self.y = self.x @ self.w
    self.feed = {self.x: rng.randn(_ROWS, 2), self.labels: _LABELS,
                 self.t: np.array(rng.rand(_ROWS, 3)),
                 self.images: rng.rand(_ROWS, 2, 3)}


class RegisterLossesOfTest(parameterized.TestCase, tf.test.TestCase):

  @parameterized.parameters(
      *[(rows, *case) for case in _CASES for rows in (None, _ROWS)])
  def testTheRegisteredLossesAreTheLoss(
      self, rows, name, make, methods, coeffs):
    with tf.Graph().as_default(), self.session() as sess:
      model = _Model(rows)
      loss = make(model)
      layers = kfac.LayerCollection()
      found = layers.register_losses_of(loss)
      if methods is not None:
        self.assertEqual([method for method, _ in found], methods)
      self.assertLen(layers.losses, len(found))
      for expected, (_, arguments) in zip(coeffs, found, strict=True):
        if expected is not None:
          self.assertAlmostEqual(arguments["coeff"], expected, 12)
        elif rows is None:
          self.assertIsInstance(arguments["coeff"], tf.Tensor)
      total = layers.total_loss() / _ROWS
      # L2 terms depend on w only.
      of = model.w if name == "positions" else model.y
      gradients = [tf.gradients(value, of)[0] for value in (loss, total)]
      sess.run(tf.global_variables_initializer())
      one, other = sess.run(gradients, model.feed)
    self.assertAllClose(one, other, 1e-6, 1e-8)
    self.assertGreater(np.max(np.abs(one)), 1e-4)

  @parameterized.parameters(
      (lambda m: _mean(_sparse(m) * m.t[:, 0]),
       r"\(Mul\): its weight strided_slice:0 may differ between examples"),
      (lambda m: _losses.mean_squared_error(m.t, m.y, weights=m.t),
       "may differ between examples, which a coeff cannot"),
      (lambda m: _mean(tf.abs(m.y)), r"Abs \(Abs\): it is no sum, mean or"),
      (lambda m: tf.exp(_mean(_sparse(m))), r"Exp \(Exp\): it is no sum"),
      (lambda m: -_mean(_sparse(m)), "its weight -1.0 is negative"),
      (lambda m: _mean(_sparse(m)) * _mean(_sigmoid(m)), "it is not linear"),
      (lambda m: _mean(_sparse(m)) * m.w[0, 0],
       "its weight strided_slice:0 depends on variables"),
      (lambda m: _mean(_nn.sigmoid_cross_entropy_with_logits(
          labels=m.x @ m.w, logits=m.y)), "its targets matmul_1:0 depend on"),
      (lambda m: _nn.l2_loss(m.w), "got no term that depends on data and on"),
      (lambda m: _mean(m.t), "got no term that depends on data and on"),
      (lambda m: _mean(_sparse(m)) / 0., "it is divided by zero"),
      (lambda m: _mean(_sparse(m)[:, tf.newaxis] + _mean(_sigmoid(m))),
       "its summands differ in shape"),
      (lambda m: tf.square(_mean(m.y) - 1.), "its prediction must have a batch"
       ))
  def testOthersAreRefusedWithTheReason(self, make, reason):
    with tf.Graph().as_default():
      layers = kfac.LayerCollection()
      loss = make(_Model())
      with self.assertRaisesRegex(
          ValueError, "^loss must be a weighted sum of softmax cross entropies,"
          f" sigmoid .*{reason}") as caught:
        layers.register_losses_of(loss)
      self.assertNotIn("\n", str(caught.exception))
      self.assertEmpty(layers.losses)

  def testAllReasonsAreNamed(self):
    with tf.Graph().as_default():
      model = _Model()
      with self.assertRaisesRegex(
          ValueError, r"Abs \(Abs\): it is no .*; Tanh \(Tanh\): it is no "):
        kfac.LayerCollection().register_losses_of(
            _mean(tf.abs(model.y)) + _mean(_sparse(model)) + _mean(
                tf.tanh(model.y)))

  def testNumbersOfExamplesNeedABatchSize(self):
    with tf.Graph().as_default():
      model = _Model(_ROWS)
      folded = tf.reshape(model.images * model.w[0, 0], [2 * _ROWS, 3])
      loss = _mean(_sparse(model)) + _mean(tf.square(folded - 1.))
      layers = kfac.LayerCollection()
      with self.assertRaisesRegex(
          ValueError, r"predictions of \[4, 8\] examples, where batch_size"):
        layers.register_losses_of(loss)
      found = layers.register_losses_of(loss, batch_size=_ROWS)
      self.assertAllClose([1., 1. / 6], [args["coeff"] for _, args in found])

  def testConstantsAreDataWithoutPlaceholders(self):
    with tf.Graph().as_default():
      w = tf.get_variable("w", [2, 3])
      y = tf.constant([[1., 2.]]) @ w
      layers = kfac.LayerCollection()
      found = layers.register_losses_of(
          _mean(tf.square(y - [[1., 2., 3.]])) + _nn.l2_loss(w))
      self.assertLen(found, 1)

  def testVariables(self):
    with tf.Graph().as_default():
      model = _Model()
      loss = _mean(_sparse(model))
      with self.assertRaisesRegex(ValueError, "got no term"):
        kfac.LayerCollection().register_losses_of(loss, [model.scale])
      self.assertLen(
          kfac.LayerCollection().register_losses_of(loss, [model.w]), 1)

  def testKerasLayers(self):
    with tf.Graph().as_default():
      dense = keras.layers.Dense(3)
      x = tf.placeholder(tf.float32, [None, 2])
      y = dense(x)
      loss = keras.losses.MeanSquaredError()(tf.zeros_like(y), y)
      layers = kfac.LayerCollection()
      ((_, arguments),) = layers.register_losses_of(
          loss, dense.trainable_variables)
      self.assertIs(arguments["mean"], y)

  def testTheRegistrationsAreRecorded(self):
    with tf.Graph().as_default():
      model = _Model()
      layers = kfac.LayerCollection()
      layers.register_losses_of(_mean(_sparse(model)))
      self.assertEqual([_C], [call.method for call in layers._calls])
      self.assertLen(calls.tensors(layers), 2)

  def testBadArguments(self):
    with tf.Graph().as_default():
      layers = kfac.LayerCollection()
      model = _Model()
      with self.assertRaisesRegex(ValueError, "^loss must have rank 0, got "):
        layers.register_losses_of(_sparse(model))
      with self.assertRaisesRegex(ValueError, "^loss must be a tensor or var"):
        layers.register_losses_of(1.)
      with self.assertRaisesRegex(ValueError, "^batch_size must be a positive"):
        layers.register_losses_of(_mean(_sparse(model)), batch_size=0)

  def testEndlessSumsAreRefused(self):
    with tf.Graph().as_default():
      total = _mean(_sparse(_Model()))
      for _ in range(20):
        total = total + total
      with self.assertRaisesRegex(ValueError, "more than 10000 summands"):
        kfac.LayerCollection().register_losses_of(total)


if __name__ == "__main__":
  tf.test.main()
