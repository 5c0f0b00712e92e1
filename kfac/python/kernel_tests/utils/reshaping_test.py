"""Tests of the reshaping functions in utils."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import utils


def _slices(values, indices, rows):
  return tf.IndexedSlices(
      tf.constant(values), tf.constant(indices),
      tf.constant([rows] + list(np.shape(values)[1:])))


class ColumnTest(tf.test.TestCase):

  def testTensorsBecomeOneColumn(self):
    rng = np.random.RandomState(0)
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64):
        a, b, c = (rng.randn(*shape).astype(dtype)
                   for shape in ((2, 3), (4,), (1, 2, 2)))
        tensors = [tf.constant(x) for x in (a, b, c)]
        single, flat, nested = sess.run((
            utils.tensors_to_column(tensors[2]),
            utils.tensors_to_column(tensors[:2]),
            utils.tensors_to_column((tensors[0], [tensors[1], tensors[2]]))))
        self.assertEqual(dtype, nested.dtype)
        self.assertAllEqual(c.reshape(4, 1), single)
        self.assertAllEqual(
            np.concatenate([a.ravel(), b])[:, None], flat)
        self.assertAllEqual(
            np.concatenate([a.ravel(), b, c.ravel()])[:, None], nested)

  def testIndexedSlicesBecomeDense(self):
    with tf.Graph().as_default(), self.session() as sess:
      sparse = _slices([[1., 2.], [3., 4.], [5., 6.]], [2, 0, 2], rows=4)
      dense = np.array([[3., 4.], [0., 0.], [6., 8.], [0., 0.]])
      alone, paired = sess.run((utils.tensors_to_column(sparse),
                                utils.tensors_to_column((sparse, [7.]))))
      self.assertAllEqual(dense.reshape(8, 1), alone)
      self.assertAllEqual(np.append(dense, 7.)[:, None], paired)

  def testColumnBecomesTensorsAgain(self):
    rng = np.random.RandomState(1)
    a, b, c = rng.randn(2, 3), rng.randn(4), rng.randn(1, 2, 2)
    with tf.Graph().as_default(), self.session() as sess:
      single = tf.constant(c)
      template = (tf.constant(a), [tf.constant(b), single])
      back = utils.column_to_tensors(
          template, utils.tensors_to_column(template))
      self.assertIsInstance(back, tuple)
      self.assertIsInstance(back[1], tuple)
      self.assertEqual(
          [[2, 3], [4], [1, 2, 2]],
          [x.shape.as_list() for x in (back[0],) + back[1]])
      back, single_back = sess.run((back, utils.column_to_tensors(
          single, utils.tensors_to_column(single))))
      self.assertAllEqual(a, back[0])
      self.assertAllEqual(b, back[1][0])
      self.assertAllEqual(c, back[1][1])
      self.assertAllEqual(c, single_back)

  def testTemplateMayHaveUnknownShapeOrBeSparse(self):
    with tf.Graph().as_default(), self.session() as sess:
      unknown = tf.placeholder(tf.float64, [None, 2])
      sparse = tf.IndexedSlices(
          tf.constant([[1.]]), tf.constant([1]), tf.placeholder(tf.int64, [2]))
      column = np.arange(9.)[:, None]
      first, second = sess.run(
          utils.column_to_tensors((unknown, sparse), tf.constant(column)),
          {unknown: np.zeros([3, 2]), sparse.dense_shape: [3, 1]})
      self.assertAllEqual(column[:6].reshape(3, 2), first)
      self.assertAllEqual(column[6:].reshape(3, 1), second)

  def testRejectsColumnOfAnotherSize(self):
    with tf.Graph().as_default():
      template = (tf.zeros([2, 3]), tf.zeros([3]))
      with self.assertRaisesRegex(
          ValueError, "^colvec must have the 9 entries of tensors_template, "
          r"got 10\.$"):
        utils.column_to_tensors(template, tf.zeros([10, 1]))


class Mat2dTest(tf.test.TestCase):

  def testFilterFlattensToRowsOfOutputs(self):
    weights = np.random.RandomState(0).randn(3, 2, 4, 5)
    with tf.Graph().as_default(), self.session() as sess:
      template = tf.constant(weights)
      mat2d = utils.layer_params_to_mat2d(template)
      self.assertEqual([24, 5], mat2d.shape.as_list())
      back = utils.mat2d_to_layer_params(template, mat2d)
      self.assertEqual([3, 2, 4, 5], back.shape.as_list())
      mat2d, back = sess.run((mat2d, back))
      self.assertAllEqual(weights.reshape(24, 5), mat2d)
      self.assertAllEqual(weights, back)

  def testBiasIsLastRow(self):
    rng = np.random.RandomState(1)
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64):
        weights = rng.randn(3, 4, 5).astype(dtype)
        bias = rng.randn(5).astype(dtype)
        pair = (tf.constant(weights), tf.constant(bias))
        for template in (pair, list(pair)):
          mat2d = utils.layer_params_to_mat2d(template)
          back = utils.mat2d_to_layer_params(template, mat2d)
          self.assertIsInstance(back, tuple)
          mat2d, back = sess.run((mat2d, back))
          self.assertEqual(dtype, mat2d.dtype)
          self.assertAllEqual(
              np.vstack([weights.reshape(12, 5), bias]), mat2d)
          self.assertAllEqual(weights, back[0])
          self.assertAllEqual(bias, back[1])

  def testTakesUnknownShapes(self):
    weights = np.arange(12.).reshape(2, 3, 2)
    with tf.Graph().as_default(), self.session() as sess:
      template = tf.placeholder(tf.float64, [None, None, None])
      mat2d = utils.layer_params_to_mat2d(template)
      mat2d, back = sess.run(
          (mat2d, utils.mat2d_to_layer_params(template, mat2d)),
          {template: weights})
      self.assertAllEqual(weights.reshape(6, 2), mat2d)
      self.assertAllEqual(weights, back)

  def testTakesVariablesOfBothKinds(self):
    weights, bias = np.arange(6.).reshape(3, 2), np.array([7., 8.])
    for use_resource in (False, True):
      with tf.Graph().as_default(), self.session() as sess:
        pair = tuple(
            tf.get_variable(name, initializer=value, use_resource=use_resource)
            for name, value in (("weights", weights), ("bias", bias)))
        mat2d = utils.layer_params_to_mat2d(pair)
        column = utils.tensors_to_column(pair)
        back = utils.mat2d_to_layer_params(pair, mat2d)
        sess.run(tf.global_variables_initializer())
        mat2d, column, back = sess.run((mat2d, column, back))
        self.assertAllEqual(np.vstack([weights, bias]), mat2d)
        self.assertAllEqual(np.append(weights, bias)[:, None], column)
        self.assertAllEqual(weights, back[0])
        self.assertAllEqual(bias, back[1])

  def testIndexedSlicesPassThrough(self):
    with tf.Graph().as_default():
      sparse = _slices([[1., 2.]], [1], rows=3)
      self.assertIs(sparse, utils.layer_params_to_mat2d(sparse))
      self.assertIs(sparse, utils.mat2d_to_layer_params(sparse, sparse))
      self.assertIs(
          sparse, utils.mat2d_to_layer_params(tf.zeros([3, 2]), sparse))

  def testSparseWeightsWithBiasBecomeDense(self):
    with tf.Graph().as_default(), self.session() as sess:
      sparse = _slices([[1., 2.]], [1], rows=2)
      mat2d = sess.run(utils.layer_params_to_mat2d((sparse, [3., 4.])))
      self.assertAllEqual([[0., 0.], [1., 2.], [3., 4.]], mat2d)

  def testRejectsWhatCannotBeUndone(self):
    with tf.Graph().as_default():
      sparse = _slices([[1., 2.]], [1], rows=3)
      dense = tf.zeros([3, 2])
      with self.assertRaisesRegex(
          TypeError, "^mat2d must be dense for a template with a bias, got "
          r"IndexedSlices\.$"):
        utils.mat2d_to_layer_params((dense, tf.zeros([2])), sparse)
      with self.assertRaisesRegex(
          TypeError, "^mat2d must be IndexedSlices as vector_template is, "
          r"got \w+\.$"):
        utils.mat2d_to_layer_params(sparse, dense)

  def testRejectsOtherNumbersOfParts(self):
    with tf.Graph().as_default():
      dense = tf.zeros([3, 2])
      for parts in ([dense], (dense, dense, dense), ()):
        message = (r"must be a tensor or \(weights, bias\), got "
                   rf"{len(parts)} parts\.$")
        with self.assertRaisesRegex(ValueError, "^vector " + message):
          utils.layer_params_to_mat2d(parts)
        with self.assertRaisesRegex(ValueError, "^vector_template " + message):
          utils.mat2d_to_layer_params(parts, dense)


class KroneckerProductTest(tf.test.TestCase):

  def testEqualsNumpy(self):
    rng = np.random.RandomState(0)
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64):
        mat1 = rng.randn(2, 3).astype(dtype)
        mat2 = rng.randn(4, 5).astype(dtype)
        product = utils.kronecker_product(tf.constant(mat1), mat2)
        self.assertEqual([8, 15], product.shape.as_list())
        self.assertEqual(dtype, product.dtype)
        self.assertAllEqual(np.kron(mat1, mat2), sess.run(product))

  def testTakesUnknownShapes(self):
    rng = np.random.RandomState(1)
    values = rng.randn(2, 3), rng.randn(4, 5)
    with tf.Graph().as_default(), self.session() as sess:
      mats = (tf.placeholder(tf.float64, [None, 3]),
              tf.placeholder(tf.float64, [None, None]))
      product = sess.run(utils.kronecker_product(*mats),
                         {mats[0]: values[0], mats[1]: values[1]})
      self.assertAllEqual(np.kron(*values), product)


if __name__ == "__main__":
  tf.test.main()
