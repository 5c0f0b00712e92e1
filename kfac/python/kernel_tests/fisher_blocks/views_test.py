"""Tests of views: weights, inputs and outputs that are stored in other ways."""

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized

from kfac.python.kernel_tests.fisher_blocks import exact_test as exact
from kfac.python.ops import estimator
from kfac.python.ops import layer_collection
from kfac.python.ops.fisher_blocks import views

BATCH, POSITIONS = 5, 3
View, Arrangement = views.View, views.Arrangement

# Function from a matrix [4, 6] to weights, and back; view of the weights.
WEIGHTS = {
    "plain": (lambda w: w, lambda w: w, View()),
    "transposed": (lambda w: w.T, lambda w: w.T, View(axes=(1, 0))),
    "heads": (lambda w: w.reshape(4, 2, 3), lambda w: w.reshape(4, 6), View()),
    "heads_first": (
        lambda w: w.reshape(4, 2, 3).transpose(1, 0, 2),
        lambda w: w.transpose(1, 0, 2).reshape(4, 6), View(axes=(1, 0, 2))),
    "two_inputs": (lambda w: w.reshape(2, 2, 6), lambda w: w.reshape(4, 6),
                   View(num_input_axes=2)),
    "vector": (lambda w: w.ravel(), lambda w: w.reshape(4, 6),
               View(shape=(4, 6))),
    "refined": (lambda w: w.reshape(4, 2, 3).transpose(1, 0, 2).reshape(8, 3),
                lambda w: w.reshape(2, 4, 3).transpose(1, 0, 2).reshape(4, 6),
                View(shape=(2, 4, 3), axes=(1, 0, 2))),
}

# Functions from matrices of inputs [rows, 4] and outputs [rows, 6]; both
# Arrangements; whether the first axis holds examples and positions.
DATA: dict = {
    "flat": (lambda x: x, lambda y: y, Arrangement(), Arrangement(), True),
    "positions": (
        lambda x: tf.reshape(x, [BATCH, POSITIONS, 4]),
        lambda y: tf.reshape(y, [BATCH, POSITIONS, 6]),
        Arrangement(), Arrangement(), False),
    "heads": (
        lambda x: tf.reshape(x, [BATCH, POSITIONS, 2, 2]),
        lambda y: tf.reshape(y, [BATCH, POSITIONS, 2, 3]),
        Arrangement(None, 2), Arrangement(None, 2), False),
    "positions_last": (
        lambda x: tf.transpose(tf.reshape(x, [BATCH, POSITIONS, 4]), [0, 2, 1]),
        lambda y: tf.reshape(y, [BATCH, POSITIONS, 6]),
        Arrangement((0, 2, 1)), Arrangement(), False),
    "columns": (tf.transpose, tf.transpose, Arrangement((1, 0)),
                Arrangement((1, 0)), True),
}


class StepsTest(parameterized.TestCase, tf.test.TestCase):
  """All views of a layer give the same step."""

  def _product(self, approx, weights, data):
    """Returns F^-1 times a vector, as a matrix [5, 6]."""
    rng = np.random.RandomState(3)
    store, restore, view = WEIGHTS[weights]
    read, back, inputs, outputs, is_folded = DATA[data]
    view = view._replace(inputs=inputs, outputs=outputs)
    with tf.Graph().as_default(), self.session() as session:
      x = tf.constant(rng.normal(size=[BATCH * POSITIONS, 4]))
      w = tf.get_variable("w", initializer=tf.constant(
          store(rng.normal(size=[4, 6]))))
      b = tf.get_variable("b", initializer=tf.constant(rng.normal(size=6)))
      vector = rng.normal(size=[5, 6])
      registered = read(x)
      rows = view.inputs.rows(registered)
      # What the layer computes has the registered inputs and outputs.
      result = back(tf.matmul(rows, view.to_matrix(w)) + b)
      layers = layer_collection.LayerCollection()
      layers.register_fully_connected(
          (w, b), registered, result, approx, view=view,
          batch_size=BATCH if is_folded else None)
      layers.register_normal_predictive_distribution(tf.reshape(
          tf.tanh(view.outputs.rows(result)), [BATCH, -1]))
      fisher = estimator.FisherEstimator(
          [w, b], 0.95, 0.1, layers, estimation_mode="exact")
      updates = fisher.cov_update_op, fisher.inv_update_op
      products = fisher.multiply_inverse([
          (tf.constant(store(vector[:4])), w), (tf.constant(vector[4]), b)])
      session.run(tf.global_variables_initializer())
      for update in updates:
        session.run(update)
      of_weights, of_bias = session.run([product for product, _ in products])
    return np.concatenate([restore(of_weights), of_bias[np.newaxis]])

  @parameterized.parameters("kron", "diagonal")
  def testAllViewsGiveTheSameStep(self, approx):
    expected = self._product(approx, "plain", "positions")
    for weights in WEIGHTS:
      self.assertAllClose(expected, self._product(approx, weights, "positions"),
                          rtol=1e-9, msg=weights)
    for data in DATA:
      self.assertAllClose(expected, self._product(approx, "transposed", data),
                          rtol=1e-9, msg=data)


class PositionsTest(exact.ExactCase):

  def _block(self, x, W, b, approx):
    with tf.Graph().as_default():
      params = self._variable(W, "W"), self._variable(b, "b")
      layers = layer_collection.LayerCollection()
      outputs = tf.tensordot(tf.constant(x), params[0], 1) + params[1]
      layers.register_fully_connected(params, tf.constant(x), outputs, approx)
      layers.register_normal_predictive_distribution(
          tf.reduce_sum(tf.tanh(outputs), 1), var=exact.VAR)
      block, = self._blocks(layers)
    return block

  def _expected(self, x, W, b):
    params = np.concatenate([W.ravel(), b])
    jacobians = [exact.jacobian(lambda p, item=item: np.sum(np.tanh(
        item @ p[:W.size].reshape(W.shape) + p[W.size:]), 0), params)
                 for item in x]
    return exact.mean_fisher(jacobians, len(x) * [np.eye(b.size) / exact.VAR])

  def testDiagonalIsThatOfTheFisher(self):
    x, W, b = self._normal(6, 4, 3), self._normal(3, 2), self._normal(2)
    block = self._block(x, W, b, "diagonal")
    self._assertExact(np.diag(block), np.diag(self._expected(x, W, b)))

  def testOnePositionIsAPlainLayer(self):
    x, W, b = self._normal(1, 1, 3), self._normal(3, 2), self._normal(2)
    self._assertExact(self._block(x, W, b, "kron"), self._expected(x, W, b))

  def testEqualPositionsAreOneWithMoreWeight(self):
    # A is that of a position, G too; P positions that are independent.
    x, W, b = self._normal(1, 1, 3), self._normal(3, 2), self._normal(2)
    one = self._block(x, W, b, "kron")
    many = self._block(np.repeat(x, 4, axis=1), W, b, "kron")
    self._assertExact(many, 4. * one)


class ViewTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.enter_context(tf.Graph().as_default())

  def testWeightsToMatrixAndBack(self):
    matrix = np.arange(24.).reshape(4, 6)
    for name, (store, _, view) in WEIGHTS.items():
      weights = store(matrix)
      self.assertEqual([4, 6], view.matrix_shape(weights.shape), name)
      tensor = view.to_matrix(weights)
      back = view.from_matrix(tensor, weights.shape)
      with self.session() as session:
        self.assertAllEqual(matrix, session.run(tensor), name)
        self.assertAllEqual(weights, session.run(back), name)

  def testParametersToMatrixAndBack(self):
    view = View(axes=(1, 0))
    bias = np.ones([2, 3])
    vector = tf.constant(np.ones([6, 4])), tf.constant(bias)
    matrix = views.params_to_matrix(view, vector)
    self.assertEqual([5, 6], matrix.shape)
    self.assertEqual([[6, 4], [2, 3]], [
        part.shape.as_list()
        for part in views.matrix_to_params(view, vector, matrix)])
    self.assertEqual([4, 6], views.params_to_matrix(view, vector[0]).shape)
    self.assertEqual([6, 4], views.matrix_to_params(
        view, vector[0], tf.ones([4, 6])).shape)
    plain = tf.ones([4, 6]), tf.ones([6])
    self.assertEqual([5, 6], views.params_to_matrix(None, plain).shape)

  def testLayerOutputs(self):
    x, w, b = tf.ones([2, 3, 4]), tf.ones([6, 4]), tf.ones([2, 3])
    outputs = views.layer_outputs(View(axes=(1, 0)), (w, b), x)
    with self.session():
      self.assertAllEqual(np.full([6, 6], 5.), outputs.eval())
      self.assertAllEqual(np.full([2, 6], 4.), views.layer_outputs(
          None, tf.ones([4, 6]), tf.ones([2, 4])).eval())

  def testRowsAndFeatures(self):
    matrix = tf.ones([2, 3])
    self.assertIs(matrix, Arrangement().rows(matrix))
    columns = Arrangement((1, 0))
    self.assertEqual([3, 2], columns.rows(matrix).shape)
    self.assertEqual([1], columns.row_axes(2))
    heads = Arrangement((0, 2, 1, 3), 2)
    self.assertEqual([0, 2], heads.row_axes(4))
    self.assertEqual([10, 21], heads.rows(tf.ones([2, 3, 5, 7])).shape)
    self.assertEqual([0, 1], Arrangement().row_axes(3))

  def testNumberOfPositions(self):
    def count(inputs, outputs, batch_size=None, view=views.DENSE):
      return views.num_positions(view, inputs, outputs, batch_size)
    known, flat = tf.ones([5, 3, 2, 4]), tf.ones([30, 6])
    unknown = tf.placeholder(tf.float32, [None, None, 2, 4])
    batch = tf.placeholder(tf.float32, [None, 3, 2, 4])
    self.assertEqual(1, count(tf.ones([5, 4]), tf.ones([5, 6])))
    self.assertEqual(6, count(known, flat))
    self.assertEqual(6, count(batch, flat))
    self.assertEqual(6, count(known, known, 5))
    self.assertEqual(3, count(flat, flat, 10))
    self.assertEqual(6, count(unknown, known))
    columns = View(inputs=Arrangement((1, 0)), outputs=Arrangement((1, 0)))
    self.assertEqual(2, count(tf.ones([4, 10]), tf.ones([6, 10]), 5, columns))
    with self.session() as session:
      self.assertEqual([6, 15, 3], session.run(
          [count(unknown, unknown), count(unknown, unknown, tf.constant(2)),
           count(flat, flat, tf.constant(10))],
          {unknown: np.ones([5, 3, 2, 4])}))


if __name__ == "__main__":
  tf.test.main()
