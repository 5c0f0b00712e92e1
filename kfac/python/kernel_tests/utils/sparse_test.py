"""Tests of the products with IndexedSlices in utils."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import sparse

_ROWS = [4, 1, 4]  # Row 4 occurs twice: its values are summed.


def _slices(values, n=6, dtype=np.float64, known=True):
  return tf.IndexedSlices(
      tf.constant(values, dtype), tf.constant(_ROWS),
      tf.constant([n, values.shape[1]]) if known else None)


def _dense(values, n=6):
  result = np.zeros([n, values.shape[1]])
  np.add.at(result, _ROWS, values)
  return result


class MatmulSparseDenseTest(tf.test.TestCase):

  def testEqualsTheDenseProduct(self):
    rng = np.random.RandomState(0)
    a, b = rng.randn(3, 4), rng.randn(4, 5)
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
      with tf.Graph().as_default(), self.session() as sess:
        slices = _slices(a, dtype=dtype)
        plain = sparse.matmul_sparse_dense(slices, b.astype(dtype))
        transposed = sparse.matmul_sparse_dense(
            slices, tf.constant(b.T, dtype), transpose_b=True)
        for product in (plain, transposed):
          self.assertIsInstance(product, tf.IndexedSlices)
          result, shape, indices = sess.run((
              tf.convert_to_tensor(product), product.dense_shape,
              product.indices))
          self.assertEqual(dtype, result.dtype)
          self.assertAllClose(_dense(a).dot(b), result, rtol=tolerance,
                              atol=tolerance)
          self.assertAllEqual([6, 5], shape)
          self.assertAllEqual(_ROWS, indices)

  def testUnknownDenseShapeStaysUnknown(self):
    a, b = np.ones([3, 2]), np.array([[1., 2.], [3., 4.]])
    with tf.Graph().as_default(), self.session() as sess:
      product = sparse.matmul_sparse_dense(_slices(a, known=False), b)
      self.assertIsNone(product.dense_shape)
      self.assertAllEqual(a.dot(b), sess.run(product.values))

  def testOpsAreInAScopeOfTheName(self):
    with tf.Graph().as_default():
      product = sparse.matmul_sparse_dense(
          _slices(np.ones([3, 2])), np.eye(2), name="p")
      self.assertStartsWith(product.values.op.name, "p/")

  def testArgumentErrors(self):
    with tf.Graph().as_default():
      a = _slices(np.ones([3, 2]))
      with self.assertRaisesRegex(ValueError, "transpose_a must be False.*Tr"):
        sparse.matmul_sparse_dense(a, np.eye(2), transpose_a=True)
      with self.assertRaisesRegex(ValueError, "A must be IndexedSlices.*eye"):
        sparse.matmul_sparse_dense(tf.eye(2), np.eye(2))
      vector = tf.IndexedSlices(tf.zeros([3]), tf.constant(_ROWS))
      with self.assertRaisesRegex(ValueError, "A must be IndexedSlices of a"):
        sparse.matmul_sparse_dense(vector, np.eye(2))
      with self.assertRaisesRegex(ValueError, r"B must be a matrix.*\(2,\)"):
        sparse.matmul_sparse_dense(a, np.ones([2]))


class MatmulDiagSparseTest(tf.test.TestCase):

  def testEqualsTheDenseProduct(self):
    rng = np.random.RandomState(1)
    diagonal, b = rng.randn(6), rng.randn(3, 4)
    for dtype, tolerance in ((np.float32, 1e-6), (np.float64, 1e-14)):
      with tf.Graph().as_default(), self.session() as sess:
        product = sparse.matmul_diag_sparse(
            diagonal.astype(dtype), _slices(b, dtype=dtype), name="p")
        self.assertStartsWith(product.values.op.name, "p/")
        result, shape, indices = sess.run((
            tf.convert_to_tensor(product), product.dense_shape,
            product.indices))
        self.assertEqual(dtype, result.dtype)
        self.assertAllClose(np.diag(diagonal).dot(_dense(b)), result,
                            rtol=tolerance, atol=tolerance)
        self.assertAllEqual([6, 4], shape)
        self.assertAllEqual(_ROWS, indices)

  def testUnknownDenseShapeStaysUnknown(self):
    with tf.Graph().as_default(), self.session() as sess:
      product = sparse.matmul_diag_sparse(
          np.arange(6.), _slices(np.ones([3, 2]), known=False))
      self.assertIsNone(product.dense_shape)
      self.assertAllEqual([[4., 4.], [1., 1.], [4., 4.]],
                          sess.run(product.values))

  def testArgumentErrors(self):
    with tf.Graph().as_default():
      with self.assertRaisesRegex(ValueError, "B must be IndexedSlices.*eye"):
        sparse.matmul_diag_sparse(np.ones([2]), tf.eye(2))
      with self.assertRaisesRegex(ValueError, r"A_diag must be a v.*\(6, 6\)"):
        sparse.matmul_diag_sparse(np.eye(6), _slices(np.ones([3, 2])))


if __name__ == "__main__":
  tf.test.main()
