"""Models for which a block equals the true Fisher matrix.

F is the mean over examples of J^T H J, in NumPy. J is the Jacobian of the
inputs of the loss with respect to the parameters; H is the Fisher matrix of the
loss.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import estimator
from kfac.python.ops import layer_collection

VAR = 0.3


def jacobian(function, params):
  """Returns the Jacobian [outputs, params] by complex steps."""
  columns = [np.imag(function(params + step)) / 1e-30
             for step in 1e-30j * np.eye(params.size)]
  return np.stack(columns, axis=1)


def mean_fisher(jacobians, loss_fishers):
  """Returns the mean over examples of J^T H J."""
  return np.mean([J.T @ H @ J for J, H in zip(
      jacobians, loss_fishers, strict=True)], axis=0)


def categorical_fisher(logits):
  p = np.exp(logits - np.max(logits))
  p /= np.sum(p)
  return np.diag(p) - np.outer(p, p)


def bernoulli_fisher(logits):
  p = 1. / (1. + np.exp(-logits))
  return np.diag(p * (1. - p))


def conv2d(image, filters, stride=1):
  """VALID convolution of an image [h, w, c], by loops."""
  height, width = filters.shape[:2]
  rows = range(0, image.shape[0] - height + 1, stride)
  columns = range(0, image.shape[1] - width + 1, stride)
  return np.array([[
      np.einsum("hwc,hwco->o", image[r:r + height, c:c + width], filters)
      for c in columns] for r in rows])


def depthwise_conv2d(image, filters):
  channels, multiplier = filters.shape[2:]
  return np.concatenate([
      conv2d(image[..., c:c + 1], filters[:, :, c:c + 1, :])
      for c in range(channels)], axis=-1).reshape(
          image.shape[0] - filters.shape[0] + 1,
          image.shape[1] - filters.shape[1] + 1, channels * multiplier)


class ExactCase(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._rng = np.random.RandomState(11)

  def _normal(self, *shape):
    return self._rng.normal(size=shape)

  def _variable(self, value, name):
    return tf.get_variable(name, initializer=tf.constant(value),
                           use_resource=True)

  def _blocks(self, collection):
    """Returns the matrices of all blocks, after one update in mode exact."""
    fisher = estimator.FisherEstimator(
        collection.registered_variables, 0.95, 0.1, collection,
        estimation_mode="exact")
    update = fisher.cov_update_op
    full = [block.full_fisher_block() for block in collection.get_blocks()]
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      session.run(update)
      return session.run(full)

  def _assertExact(self, actual, expected):
    self.assertGreater(np.max(np.abs(expected)), 1e-3)
    self.assertAllClose(actual, expected, rtol=1e-9, atol=1e-12)


class FullyConnectedKFACBasicFBTest(ExactCase):

  def testIsExactForALinearNetwork(self):
    x, W1, b1, W2 = (self._normal(5, 3), self._normal(3, 2), self._normal(2),
                     self._normal(2, 4))
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      W1_var, b1_var, W2_var = [
          self._variable(value, f"p{i}")
          for i, value in enumerate((W1, b1, W2))]
      hidden = tf.matmul(tf.constant(x), W1_var) + b1_var
      outputs = tf.matmul(hidden, W2_var)
      collection.register_fully_connected(
          (W1_var, b1_var), tf.constant(x), hidden)
      collection.register_fully_connected(W2_var, hidden, outputs)
      collection.register_normal_predictive_distribution(outputs, var=VAR)
      first, second = self._blocks(collection)

    def network(params, item):
      weights, bias = params[:6].reshape(3, 2), params[6:8]
      return (item @ weights + bias) @ params[8:].reshape(2, 4)

    params = np.concatenate([W1.ravel(), b1, W2.ravel()])
    jacobians = [jacobian(lambda p, item=item: network(p, item), params)
                 for item in x]
    expected = mean_fisher(jacobians, len(x) * [np.eye(4) / VAR])
    self._assertExact(first, expected[:8, :8])
    self._assertExact(second, expected[8:, 8:])

  def testIsExactForASingleExample(self):
    x, W, b = self._normal(1, 3), self._normal(3, 4), self._normal(4)
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      params = self._variable(W, "W"), self._variable(b, "b")
      logits = tf.matmul(tf.constant(x), params[0]) + params[1]
      collection.register_fully_connected(params, tf.constant(x), logits)
      collection.register_categorical_predictive_distribution(logits)
      block, = self._blocks(collection)
    J = jacobian(lambda p: x[0] @ p[:12].reshape(3, 4) + p[12:],
                 np.concatenate([W.ravel(), b]))
    self._assertExact(
        block, mean_fisher([J], [categorical_fisher(x[0] @ W + b)]))


class FullyConnectedDiagonalFBTest(ExactCase):

  def testIsTheDiagonalOfTheFisher(self):
    x, W, b = self._normal(6, 3), self._normal(3, 4), self._normal(4)
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      params = self._variable(W, "W"), self._variable(b, "b")
      logits = tf.matmul(tf.constant(x), params[0]) + params[1]
      collection.register_fully_connected(
          params, tf.constant(x), logits, approx="diagonal")
      collection.register_categorical_predictive_distribution(logits)
      block, = self._blocks(collection)
    jacobians = [
        jacobian(lambda p, item=item: item @ p[:12].reshape(3, 4) + p[12:],
                 np.concatenate([W.ravel(), b])) for item in x]
    expected = mean_fisher(
        jacobians, [categorical_fisher(item @ W + b) for item in x])
    self._assertExact(block, np.diag(np.diag(expected)))


class FullyConnectedMultiIndepFBTest(ExactCase):

  def testIsExactIfEachUseHasItsOwnNormalLoss(self):
    x, W = self._normal(3, 5, 2), self._normal(2, 2)  # x: use, example, in
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      W_var = self._variable(W, "W")
      inputs = tf.unstack(tf.constant(x))
      outputs = [tf.matmul(use, W_var) for use in inputs]
      collection.register_fully_connected_multi(W_var, inputs, outputs)
      collection.register_normal_predictive_distribution(
          tf.concat(outputs, axis=1), var=VAR)
      block, = self._blocks(collection)
    jacobians = [
        jacobian(lambda p, item=item: np.ravel(
            x[:, item] @ p.reshape(2, 2)), W.ravel()) for item in range(5)]
    self._assertExact(
        block, mean_fisher(jacobians, 5 * [np.eye(6) / VAR]))


class FullyConnectedSeriesFBTest(ExactCase):

  def testIsExactForASingleUse(self):
    x, W = self._normal(5, 2), self._normal(2, 3)
    jacobians = [jacobian(lambda p, item=item: item @ p.reshape(2, 3),
                          W.ravel()) for item in x]
    expected = mean_fisher(jacobians, 5 * [np.eye(3) / VAR])
    for approx in ("kron_series_1", "kron_series_2"):
      with tf.Graph().as_default():
        collection = layer_collection.LayerCollection()
        W_var = self._variable(W, "W")
        outputs = tf.matmul(tf.constant(x), W_var)
        collection.register_fully_connected_multi(
            W_var, tf.constant(x), outputs, num_uses=1, approx=approx)
        collection.register_normal_predictive_distribution(outputs, var=VAR)
        block, = self._blocks(collection)
      self._assertExact(block, expected)


class ConvKFCBasicFBTest(ExactCase):

  def _check(self, image_shape, filter_shape, stride=1):
    """Compares all blocks of a convolution with a normal loss."""
    x, f, b = (self._normal(4, *image_shape), self._normal(*filter_shape),
               self._normal(filter_shape[-1]))
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      params = self._variable(f, "f"), self._variable(b, "b")
      strides = [1, stride, stride, 1]
      outputs = tf.nn.conv2d(
          tf.constant(x), params[0], strides, "VALID") + params[1]
      collection.register_conv2d(
          params, strides, "VALID", tf.constant(x), outputs)
      collection.register_normal_predictive_distribution(
          tf.reshape(outputs, [4, -1]), var=VAR)
      block, = self._blocks(collection)

    def network(p, item):
      return np.ravel(conv2d(item, p[:f.size].reshape(f.shape), stride) +
                      p[f.size:])

    params = np.concatenate([f.ravel(), b])
    jacobians = [jacobian(lambda p, item=item: network(p, item), params)
                 for item in x]
    size = len(jacobians[0])
    self._assertExact(block, mean_fisher(jacobians, 4 * [np.eye(size) / VAR]))

  def testIsExactForA1x1FilterOn1x1Images(self):
    self._check([1, 1, 3], [1, 1, 3, 2])

  def testIsExactForAFilterAsLargeAsTheImage(self):
    self._check([2, 3, 2], [2, 3, 2, 2])

  def testIsExactForALinearNetwork(self):
    # Then the locations are independent, and G is the same at all of them.
    self._check([3, 3, 2], [2, 2, 2, 2])
    self._check([5, 5, 1], [2, 2, 1, 2], stride=2)


class ConvDiagonalFBTest(ExactCase):

  def testIsTheDiagonalOfTheFisher(self):
    x, f, b, R = (self._normal(4, 3, 3, 2), self._normal(2, 2, 2, 2),
                  self._normal(2), self._normal(8, 3))
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      params = self._variable(f, "f"), self._variable(b, "b")
      outputs = tf.nn.conv2d(
          tf.constant(x), params[0], [1, 1, 1, 1], "VALID") + params[1]
      collection.register_conv2d(
          params, [1, 1, 1, 1], "VALID", tf.constant(x), outputs,
          approx="diagonal")
      logits = tf.matmul(tf.reshape(outputs, [4, -1]), tf.constant(R))
      collection.register_categorical_predictive_distribution(logits)
      block, = self._blocks(collection)

    def network(p, item):
      return np.ravel(conv2d(item, p[:16].reshape(f.shape)) + p[16:]) @ R

    params = np.concatenate([f.ravel(), b])
    expected = mean_fisher(
        [jacobian(lambda p, item=item: network(p, item), params)
         for item in x],
        [categorical_fisher(network(params, item)) for item in x])
    self._assertExact(block, np.diag(np.diag(expected)))


class DepthwiseConvDiagonalFBTest(ExactCase):

  def testIsTheDiagonalOfTheFisher(self):
    x, f, R = (self._normal(4, 3, 2, 2), self._normal(2, 2, 2, 2),
               self._normal(8, 3))
    with tf.Graph().as_default(), self.session() as session:
      collection = layer_collection.LayerCollection()
      filters = self._variable(f, "f")
      outputs = tf.nn.depthwise_conv2d(
          tf.constant(x), filters, [1, 1, 1, 1], "VALID")
      collection.register_depthwise_conv2d(
          filters, tf.constant(x), outputs, [1, 1, 1, 1], "VALID")
      logits = tf.matmul(tf.reshape(outputs, [4, -1]), tf.constant(R))
      collection.register_categorical_predictive_distribution(logits)
      fisher = estimator.FisherEstimator(
          [filters], 0.95, 0., collection, estimation_mode="exact")
      update = fisher.cov_update_op
      (product, _), = fisher.multiply([(tf.ones_like(filters), filters)])
      session.run(tf.global_variables_initializer())
      session.run(update)
      diagonal = session.run(product)

    def network(p, item):
      return np.ravel(depthwise_conv2d(item, p.reshape(f.shape))) @ R

    expected = mean_fisher(
        [jacobian(lambda p, item=item: network(p, item), f.ravel())
         for item in x],
        [categorical_fisher(network(f.ravel(), item)) for item in x])
    self._assertExact(np.ravel(diagonal), np.diag(expected))


class ConvKFCBasicMultiIndepFBTest(ExactCase):

  def testIsExactIfEachUseHasItsOwnNormalLoss(self):
    x, f = self._normal(2, 4, 3, 2, 1), self._normal(2, 1, 1, 2)
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      filters = self._variable(f, "f")
      inputs = tf.unstack(tf.constant(x))
      outputs = [tf.nn.conv2d(use, filters, [1, 1, 1, 1], "VALID")
                 for use in inputs]
      collection.register_conv2d_multi(
          filters, [1, 1, 1, 1], "VALID", inputs, outputs)
      collection.register_normal_predictive_distribution(
          tf.concat([tf.reshape(use, [4, -1]) for use in outputs], axis=1),
          var=VAR)
      block, = self._blocks(collection)
    jacobians = [
        jacobian(lambda p, item=item: np.ravel(
            [conv2d(use[item], p.reshape(f.shape)) for use in x]), f.ravel())
        for item in range(4)]
    size = len(jacobians[0])
    self._assertExact(block, mean_fisher(jacobians, 4 * [np.eye(size) / VAR]))


class EmbeddingKFACFBTest(ExactCase):

  def testIsExactForOneIdPerExampleAndANormalLoss(self):
    ids, W = np.array([0, 2, 2, 1, 2]), self._normal(4, 2)  # 3 does not occur.
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      W_var = self._variable(W, "W")
      outputs = tf.nn.embedding_lookup(W_var, tf.constant(ids))
      collection.register_embedding(W_var, tf.constant(ids), outputs)
      collection.register_normal_predictive_distribution(outputs, var=VAR)
      block, = self._blocks(collection)
    jacobians = [jacobian(lambda p, i=i: p.reshape(4, 2)[i], W.ravel())
                 for i in ids]
    self._assertExact(block, mean_fisher(jacobians, 5 * [np.eye(2) / VAR]))


class EmbeddingKFACMultiIndepFBTest(ExactCase):

  def testIsExactIfEachUseHasItsOwnNormalLoss(self):
    ids, W = np.array([[0, 2, 2], [1, 2, 0]]), self._normal(3, 2)
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      W_var = self._variable(W, "W")
      inputs = tf.unstack(tf.constant(ids))
      outputs = [tf.nn.embedding_lookup(W_var, use) for use in inputs]
      collection.register_embedding_multi(W_var, inputs, outputs)
      collection.register_normal_predictive_distribution(
          tf.concat(outputs, axis=1), var=VAR)
      block, = self._blocks(collection)
    jacobians = [
        jacobian(lambda p, item=item: np.ravel(p.reshape(3, 2)[item]),
                 W.ravel()) for item in ids.T]
    self._assertExact(block, mean_fisher(jacobians, 3 * [np.eye(4) / VAR]))


class GenericCase(ExactCase):

  def _fisher(self, approx):
    """Returns block and true Fisher matrix of a nonlinear network."""
    x, W, b, R = (self._normal(1, 2), self._normal(2, 2), self._normal(2),
                  self._normal(2, 3))
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      params = self._variable(W, "W"), self._variable(b, "b")
      logits = tf.matmul(
          tf.tanh(tf.matmul(tf.constant(x), params[0]) + params[1]),
          tf.constant(R))
      collection.register_generic(params, 1, approx=approx)
      collection.register_multi_bernoulli_predictive_distribution(logits)
      block, = self._blocks(collection)

    def network(p):
      return np.tanh(x[0] @ p[:4].reshape(2, 2) + p[4:]) @ R

    params = np.concatenate([W.ravel(), b])
    return block, mean_fisher(
        [jacobian(network, params)], [bernoulli_fisher(network(params))])


class FullFBTest(GenericCase):

  def testIsExactForASingleExample(self):
    self._assertExact(*self._fisher("full"))


class NaiveDiagonalFBTest(GenericCase):

  def testIsTheDiagonalForASingleExample(self):
    block, expected = self._fisher("diagonal")
    self._assertExact(block, np.diag(np.diag(expected)))


if __name__ == "__main__":
  tf.test.main()
