"""Tests that layers in half precision train as those in float32 do."""

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized

import kfac

BATCH_SIZE, CLASSES, STEPS = 32, 3, 8
PRECISION = {"float16": 0.02, "bfloat16": 0.1}


def _variable(name, shape, dtype, rng, scale=0.5):
  return tf.Variable(
      tf.constant(scale * rng.randn(*shape), dtype), name=name,
      use_resource=True)


def _dense(layers, dtype, rng, approx=None):
  x = tf.constant(rng.randn(BATCH_SIZE, 5), dtype)
  w = _variable("w", [5, CLASSES], dtype, rng)
  b = _variable("b", [CLASSES], dtype, rng)
  logits = tf.matmul(x, w) + b
  layers.register_fully_connected((w, b), x, logits, approx=approx)
  return logits


def _dense_diagonal(layers, dtype, rng):
  return _dense(layers, dtype, rng, approx="diagonal")


def _conv(layers, dtype, rng, approx=None):
  x = tf.constant(rng.randn(BATCH_SIZE, 5, 5, 2), dtype)
  w = _variable("w", [3, 3, 2, CLASSES], dtype, rng, 0.2)
  outputs = tf.nn.conv2d(x, w, [1, 1, 1, 1], "VALID")
  layers.register_conv2d(w, [1, 1, 1, 1], "VALID", x, outputs, approx=approx)
  return tf.reduce_mean(outputs, axis=[1, 2])


def _conv_diagonal(layers, dtype, rng):
  return _conv(layers, dtype, rng, approx="diagonal")


def _embedding(layers, dtype, rng):
  ids = tf.constant(rng.randint(4, size=[BATCH_SIZE]))
  w = _variable("w", [4, CLASSES], dtype, rng)
  logits = tf.nn.embedding_lookup(w, ids)
  layers.register_embedding(w, ids, logits)
  return logits


def _series(layers, dtype, rng):
  uses = 3
  w = _variable("w", [5, CLASSES], dtype, rng)
  inputs = [tf.constant(rng.randn(BATCH_SIZE, 5), dtype) for _ in range(uses)]
  outputs = [tf.matmul(x, w) for x in inputs]
  layers.register_fully_connected_multi(
      w, inputs, outputs, approx="kron_series_2")
  return tf.add_n(outputs)


def _generic(layers, dtype, rng):
  x = tf.constant(rng.randn(BATCH_SIZE, 5), dtype)
  w = _variable("w", [5, CLASSES], dtype, rng)
  layers.register_generic(w, BATCH_SIZE, approx="full")
  return tf.matmul(x, w)


def _mean_loss(logits, targets):
  return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=targets, logits=tf.cast(logits, tf.float32)))


def _train(model, dtype, mode="exact", momentum_type="regular", steps=STEPS,
           **kwargs):
  """Trains a model of one layer.

  Returns:
    Its variables after some steps, as float64 arrays, and the dtypes of the
    variables that the optimizer made, by name.
  """
  rng = np.random.RandomState(0)
  qmodel = momentum_type == "qmodel"
  with tf.Graph().as_default(), tf.Session() as sess:
    tf.set_random_seed(1)
    layers = kfac.LayerCollection()
    logits = model(layers, dtype, rng)
    targets = tf.constant(rng.randint(CLASSES, size=[BATCH_SIZE]))
    layers.register_categorical_predictive_distribution(
        logits, seed=2, targets=targets)
    loss = _mean_loss(logits, targets)
    variables = tf.trainable_variables()
    if "adapt_damping" in kwargs:
      x = tf.constant(np.random.RandomState(0).randn(BATCH_SIZE, 5), dtype)
      kwargs.update(train_batch=x, loss_fn=lambda x: _mean_loss(
          tf.matmul(x, variables[0]) + variables[1], targets))
    optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
        layer_collection=layers, damping=0.1, estimation_mode=mode,
        cov_ema_decay=0.999, invert_every=1, momentum_type=momentum_type,
        learning_rate=1. if qmodel else 0.05,
        batch_size=BATCH_SIZE if qmodel else None,
        momentum=0. if qmodel else 0.9, **kwargs)
    train_op = optimizer.minimize(loss)
    made = {v.op.name: v.dtype.base_dtype for v in tf.global_variables()
            if v not in variables}
    sess.run(tf.global_variables_initializer())
    for _ in range(steps):
      sess.run(train_op)
    return [np.float64(value) for value in sess.run(variables)], made


class HalfPrecisionTest(parameterized.TestCase, tf.test.TestCase):

  def _check(self, dtype, *args, **kwargs):
    expected, _ = _train(*args, dtype=tf.float32, **kwargs)
    got, made = _train(*args, dtype=dtype, **kwargs)
    start, _ = _train(*args, dtype=tf.float32, steps=0, **kwargs)
    for one, other, before in zip(expected, got, start, strict=True):
      self.assertAllEqual(np.isfinite(other), np.ones_like(other, bool))
      moved = np.abs(one - before).max()
      self.assertGreater(moved, 0.05)
      self.assertAllClose(one, other, 0., PRECISION[dtype.name] * max(moved, 1))
    for name, made_dtype in made.items():
      if made_dtype.is_integer:
        continue
      self.assertEqual(dtype if name.endswith("/KFAC") else tf.float32,
                       made_dtype, name)

  @parameterized.parameters(
      *[(dtype, model) for dtype in (tf.float16, tf.bfloat16) for model in (
          _dense, _dense_diagonal, _conv, _conv_diagonal, _embedding, _series,
          _generic)])
  def testTrainsAsFloat32(self, dtype, model):
    self._check(dtype, model)

  @parameterized.parameters(
      *[(dtype, model, momentum_type)
        for dtype in (tf.float16, tf.bfloat16)
        for model in (_dense, _conv, _embedding)
        for momentum_type in ("adam", "qmodel")])
  def testMomentumTypes(self, dtype, model, momentum_type):
    self._check(dtype, model, momentum_type=momentum_type)

  @parameterized.parameters(tf.float16, tf.bfloat16)
  def testSampledTargetsAreThoseOfFloat32(self, dtype):
    for mode in ("gradients", "empirical", "curvature_prop"):
      self._check(dtype, _dense, mode=mode)

  @parameterized.parameters(tf.float16, tf.bfloat16)
  def testAdaptedDampingAndClipping(self, dtype):
    self._check(dtype, _dense, adapt_damping=True,
                damping_adaptation_interval=2, norm_constraint=0.01)

  @parameterized.parameters(tf.float16, tf.bfloat16)
  def testMovingAverageOfManyUpdates(self, dtype):
    rows = np.random.RandomState(0).randint(-2, 3, size=[8, 3])
    with tf.Graph().as_default(), tf.Session() as sess:
      factor = kfac.fisher_factors.FullyConnectedKroneckerFactor(
          ((tf.constant(rows, dtype),),))
      factor.instantiate_cov_variables()
      update = factor.make_covariance_update_op(0.999)
      sess.run(tf.global_variables_initializer())
      for _ in range(300):
        cov = sess.run(update)
      self.assertEqual(np.float32, cov.dtype)
      self.assertAllClose(rows.T.dot(rows) / 8., cov, 1e-5, 1e-5)
      counter, = [v for v in tf.global_variables() if "local_step" in v.name]
      self.assertEqual(300., sess.run(counter))


if __name__ == "__main__":
  tf.test.main()
