"""Products through examples equal those with the gradient, and cost less."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import graph_modes
from kfac.python.ops import fisher_blocks
from kfac.python.ops import linear_operator
from kfac.python.ops.fisher_blocks import outer_products

WIDTH, OUT = 12, 10


class Layer:
  """A dense layer with a squared loss on few examples."""

  def __init__(self, num_examples, use_bias=True, static=True, loss=None):
    rng = np.random.RandomState(0)
    self.values = rng.randn(num_examples, WIDTH)
    self.inputs = tf.placeholder(
        tf.float64, [num_examples if static else None, WIDTH])
    self.weights = tf.get_variable(
        "w", initializer=rng.randn(WIDTH, OUT))
    self.params = self.weights
    self.outputs = tf.matmul(self.inputs, self.weights)
    if use_bias:
      bias = tf.get_variable("b", initializer=rng.randn(OUT))
      self.params = (self.weights, bias)
      self.outputs += bias
    self.loss = tf.reduce_mean(tf.reduce_sum(tf.tanh(self.outputs), 1))
    if loss is not None:
      self.loss = loss(self)
    self.grads = tf.gradients(self.loss, tf.nest.flatten(self.params))
    self.vector = tuple(self.grads) if use_bias else self.grads[0]

  def feed(self):
    return {self.inputs: self.values}


def operators(num_inputs, seed=1):
  """Returns two dense operators, not symmetric."""
  rng = np.random.RandomState(seed)
  return [linear_operator.LinearOperatorFullMatrix(
      tf.constant(rng.randn(size, size))) for size in (num_inputs, OUT)]


def new_matmuls(function):
  """Returns the result of a function, and the number of products it made."""
  graph = tf.get_default_graph()
  before = set(graph.get_operations())
  result = function()
  return result, sum(op.type == "MatMul" for op in graph.get_operations()
                     if op not in before)


class FindOuterProductsTest(tf.test.TestCase):

  def testTheirProductIsTheGradient(self):
    for use_bias in (True, False):
      for static in (True, False):
        with tf.Graph().as_default(), tf.Session() as sess:
          layer = Layer(3, use_bias, static)
          x, y = outer_products.find_outer_products(layer.vector)
          sess.run(tf.global_variables_initializer())
          x, y, grads = sess.run([x, y, layer.grads], layer.feed())
          self.assertAllClose(
              x.T @ y, np.vstack([np.reshape(g, [-1, OUT]) for g in grads]))

  def testFoundInAllGraphModes(self):
    for use_resource in (False, True):
      for control_flow in (False, True):
        with graph_modes.control_flow(control_flow), tf.Graph().as_default():
          with tf.variable_scope("", use_resource=use_resource):
            layer = Layer(3)
          self.assertIsNotNone(outer_products.find_outer_products(layer.vector))

  def testFoundBehindGatedGradients(self):
    optimizers = tf.train.Optimizer
    for gate in (optimizers.GATE_NONE, optimizers.GATE_OP,
                 optimizers.GATE_GRAPH):
      with tf.Graph().as_default():
        layer = Layer(3)
        grads = [grad for grad, _ in tf.train.GradientDescentOptimizer(
            1.).compute_gradients(layer.loss, gate_gradients=gate)]
        self.assertIsNotNone(outer_products.find_outer_products(tuple(grads)))

  def testNoneIfTheGradientHasOtherTerms(self):
    def twice(layer):
      other = tf.matmul(2. * layer.inputs, layer.weights)
      return layer.loss + tf.reduce_mean(other)

    def decayed(layer):
      return layer.loss + tf.nn.l2_loss(layer.weights)

    for loss in (twice, decayed):
      with tf.Graph().as_default():
        self.assertIsNone(outer_products.find_outer_products(
            Layer(3, loss=loss).vector))

  def testNoneForOtherVectors(self):
    with tf.Graph().as_default():
      grad, bias_grad = Layer(3).grads
      for weights in (2. * grad, tf.clip_by_norm(grad, 1.),
                      tf.matmul(grad, tf.eye(OUT, dtype=grad.dtype)),
                      tf.matmul(grad, tf.ones([4, WIDTH], grad.dtype),
                                True, True),
                      tf.IndexedSlices(grad, tf.range(WIDTH))):
        self.assertIsNone(outer_products.find_outer_products(weights))
      self.assertIsNone(outer_products.find_outer_products(
          (2. * grad, bias_grad)))
      self.assertIsNone(outer_products.find_outer_products(
          tf.Variable(np.ones([WIDTH, OUT]))))


class MultiplyTest(tf.test.TestCase):

  def testEqualsTheProductWithTheGradient(self):
    for use_bias in (True, False):
      for static in (True, False):
        for num_examples in (2, 40):
          self._check(num_examples, use_bias, static)

  def _check(self, num_examples, use_bias, static):
    with tf.Graph().as_default(), tf.Session() as sess:
      layer = Layer(num_examples, use_bias, static)
      M_A, M_G = operators(WIDTH + use_bias)
      matrix = kfac.utils.layer_params_to_mat2d(layer.vector)
      products = [
          outer_products.multiply((M_A, M_G), adjoints, matrix, layer.vector)
          for adjoints in ((False, False), (True, False), (False, True))]
      sess.run(tf.global_variables_initializer())
      products, V, A, G = sess.run(
          [products, matrix, M_A.to_dense(), M_G.to_dense()], layer.feed())
    self.assertAllClose(A @ V @ G, products[0])
    self.assertAllClose(A.T @ V @ G, products[1])
    self.assertAllClose(A @ V @ G.T, products[2])

  def testUsesTheCheaperProduct(self):
    limit = outer_products.max_num_examples(WIDTH, OUT)
    for num_examples, num_products in ((limit, 3), (limit + 1, 2)):
      with tf.Graph().as_default():
        layer = Layer(num_examples, use_bias=False)
        _, made = new_matmuls(lambda layer=layer: outer_products.multiply(
            operators(WIDTH), (False, False), layer.vector, layer.vector))
        self.assertEqual(num_products, made)

  def testUnknownBatchIsDecidedInTheGraph(self):
    was_v2 = isinstance(tf.TensorShape([1])[0], int)
    switch = {True: tf.enable_v2_tensorshape, False: tf.disable_v2_tensorshape}
    self.addCleanup(switch[was_v2])
    for v2 in (True, False):
      switch[v2]()
      with tf.Graph().as_default() as graph:
        layer = Layer(3, static=False)
        outer_products.multiply(
            operators(WIDTH + 1), (False, False),
            kfac.utils.layer_params_to_mat2d(layer.vector), layer.vector)
        types = {op.type for op in graph.get_operations()}
      self.assertNotEmpty(types & {"If", "StatelessIf", "Switch"})
      # The examples are copied in the branch.
      if "Switch" not in types:
        self.assertNotIn("OneHot", types)

  def testLimitIsWhereOperationCountsAreEqual(self):
    for a, g in ((785, 1000), (4097, 4096), (10, 3), (1, 1)):
      def through_examples(n, a=a, g=g):
        return 2 * n * a * a + 2 * n * g * g + 2 * n * a * g
      limit = outer_products.max_num_examples(a, g)
      through_gradient = 2 * a * a * g + 2 * a * g * g
      self.assertLessEqual(through_examples(limit), through_gradient)
      self.assertGreater(through_examples(limit + 1), through_gradient)

  def testDiagonalOperatorsGoThroughTheGradient(self):
    with tf.Graph().as_default():
      layer = Layer(1, use_bias=False)
      diagonal = linear_operator.LinearOperatorDiag(
          tf.ones([WIDTH], tf.float64))
      _, made = new_matmuls(lambda: outer_products.multiply(
          (diagonal, operators(WIDTH)[1]), (False, False), layer.vector,
          layer.vector))
      self.assertEqual(1, made)


class OptimizerTest(tf.test.TestCase):

  def _train(self, static, change=lambda grads: grads, **settings):
    """Trains on few examples, and returns the parameters."""
    with tf.Graph().as_default(), tf.Session() as sess:
      tf.set_random_seed(0)
      layer = Layer(3, static=static)
      layers = kfac.LayerCollection()
      layers.register_fully_connected(
          layer.params, layer.inputs, layer.outputs)
      layers.register_normal_predictive_distribution(layer.outputs, seed=1)
      optimizer = kfac.KfacOptimizer(
          0.1, 0.9, 0.1, layers, estimation_mode="exact", **settings)
      grads_and_vars = optimizer.compute_gradients(layer.loss)
      train_op = optimizer.apply_gradients(change(grads_and_vars))
      sess.run(tf.global_variables_initializer())
      for _ in range(3):
        for op in (optimizer.cov_update_op, optimizer.inv_update_op, train_op):
          sess.run(op, layer.feed())
      return sess.run(layer.params)

  def testStepsAreTheSame(self):
    def times_one(grads_and_vars):
      return [(1. * grad, variable) for grad, variable in grads_and_vars]

    for settings in ({}, {"momentum_type": "adam"},
                     {"momentum_type": "qmodel", "momentum": 0.,
                      "batch_size": 3}):
      through_gradient = self._train(True, times_one, **settings)
      for static in (True, False):
        self.assertAllClose(
            through_gradient, self._train(static, **settings), rtol=1e-9)

  def testOtherPowersAndRootsAreTheSame(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      layer = Layer(3)
      layers = kfac.LayerCollection()
      block = fisher_blocks.FullyConnectedKFACBasicFB(layers, has_bias=True)
      block.register_additional_tower(layer.inputs, layer.outputs)
      layers.fisher_blocks[layer.params] = block
      block.instantiate_factors(([tf.gradients(
          layer.loss, layer.outputs)[0]],), 0.5)
      block.register_matpower(-0.5)
      block.register_cholesky()
      for factor in layers.get_factors():
        factor.instantiate_cov_variables()
        factor.instantiate_inv_variables()
      multiply = (lambda vector: block.multiply_matpower(vector, -0.5),
                  block.multiply_cholesky,
                  lambda vector: block.multiply_cholesky(vector, True))
      times_one = tuple(1. * grad for grad in layer.grads)
      pairs = [(f(layer.vector), f(times_one)) for f in multiply]
      updates = [op for factor in layers.get_factors() for op in (
          factor.make_covariance_update_op(0.),
          *factor.make_inverse_update_ops())]
      sess.run(tf.global_variables_initializer())
      for op in updates:
        sess.run(op, layer.feed())
      for through_examples, through_gradient in sess.run(pairs, layer.feed()):
        self.assertAllClose(through_gradient, through_examples)


if __name__ == "__main__":
  tf.test.main()
