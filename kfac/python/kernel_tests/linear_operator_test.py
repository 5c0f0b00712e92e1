"""Tests of the linear operators that multiply from both sides."""

import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import linear_operator as lo

_FLAGS = tuple(itertools.product((False, True), repeat=2))


def _slices(values, indices, rows):
  return tf.IndexedSlices(
      tf.constant(values), tf.constant(indices),
      tf.constant([rows, values.shape[1]]))


def _dense(values, indices, rows):
  dense = np.zeros([rows, values.shape[1]], values.dtype)
  np.add.at(dense, indices, values)
  return dense


class LinearOperatorFullMatrixTest(tf.test.TestCase):

  def testMultipliesFromBothSides(self):
    rng = np.random.RandomState(0)
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64):
        # Square, so that one x fits all; not symmetric, so that a lost
        # transpose shows.
        m, x = rng.randn(3, 3).astype(dtype), rng.randn(3, 3).astype(dtype)
        operator = lo.LinearOperatorFullMatrix(tf.constant(m))
        values = sess.run([
            (operator.matmul(x, adjoint=adjoint, adjoint_arg=adjoint_arg),
             operator.matmul_right(
                 x, adjoint=adjoint, adjoint_arg=adjoint_arg))
            for adjoint, adjoint_arg in _FLAGS])
        for (adjoint, adjoint_arg), (left, right) in zip(
            _FLAGS, values, strict=True):
          m_used = m.T if adjoint else m
          x_used = x.T if adjoint_arg else x
          self.assertEqual(dtype, left.dtype)
          self.assertEqual(dtype, right.dtype)
          self.assertAllClose(m_used @ x_used, left)
          self.assertAllClose(x_used @ m_used, right)

  def testShapesMayDiffer(self):
    rng = np.random.RandomState(1)
    m, x = rng.randn(3, 4), rng.randn(2, 3)
    with tf.Graph().as_default(), self.session() as sess:
      operator = lo.LinearOperatorFullMatrix(tf.constant(m))
      right = operator.matmul_right(tf.constant(x))
      adjoint = operator.matmul_right(
          tf.constant(x.T), adjoint_arg=True)
      self.assertEqual([2, 4], right.shape.as_list())
      self.assertAllClose([x @ m] * 2, sess.run([right, adjoint]))

  def testComplexAdjointConjugates(self):
    rng = np.random.RandomState(2)
    m, x = (rng.randn(2, 2) + 1j * rng.randn(2, 2) for _ in range(2))
    with tf.Graph().as_default(), self.session() as sess:
      operator = lo.LinearOperatorFullMatrix(tf.constant(m))
      plain, adjoint = sess.run((
          operator.matmul_right(tf.constant(x)),
          operator.matmul_right(tf.constant(x), adjoint=True)))
      self.assertAllClose(x @ m, plain)
      self.assertAllClose(x @ m.conj().T, adjoint)

  def testRightProductOfSlicesStaysSparse(self):
    rng = np.random.RandomState(3)
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64):
        m = rng.randn(3, 4).astype(dtype)
        values, indices = rng.randn(3, 3).astype(dtype), [5, 0, 5]
        product = lo.LinearOperatorFullMatrix(tf.constant(m)).matmul_right(
            _slices(values, indices, rows=6))
        self.assertIsInstance(product, tf.IndexedSlices)
        dense = sess.run(tf.convert_to_tensor(product))
        self.assertEqual(dtype, dense.dtype)
        self.assertAllClose(_dense(values, indices, 6) @ m, dense)

  def testOtherProductsOfSlicesRaise(self):
    with tf.Graph().as_default():
      operator = lo.LinearOperatorFullMatrix(tf.eye(2))
      x = _slices(np.ones([1, 2], np.float32), [1], rows=2)
      with self.assertRaisesRegex(
          NotImplementedError, "^matmul takes IndexedSlices only for a "
          r"diagonal operator, got LinearOperatorFullMatrix\.$"):
        operator.matmul(x)
      _check_adjoints_raise(self, operator, x)

  def testTakesVariablesOfBothKinds(self):
    m = np.arange(4.).reshape(2, 2)
    for use_resource in (False, True):
      with tf.Graph().as_default(), self.session() as sess:
        variable = tf.get_variable(
            "m", initializer=m, use_resource=use_resource)
        operator = lo.LinearOperatorFullMatrix(variable)
        products = (operator.matmul(variable), operator.matmul_right(variable))
        sess.run(tf.global_variables_initializer())
        self.assertAllClose((m @ m, m @ m), sess.run(products))

  def testIsAnOperatorOfTensorFlow(self):
    m = np.array([[4., 1.], [1., 3.]])
    with tf.Graph().as_default(), self.session() as sess:
      operator = lo.LinearOperatorFullMatrix(
          tf.constant(m), is_non_singular=True, is_self_adjoint=True,
          is_positive_definite=True, is_square=True, name="cov")
      self.assertIsInstance(operator, tf.linalg.LinearOperatorFullMatrix)
      self.assertIsInstance(operator, lo.LinearOperatorExtras)
      self.assertEqual("cov", operator.name)
      solved, product = sess.run((
          operator.solve(tf.eye(2, dtype=tf.float64)),
          operator.matmul(operator).to_dense()))
      self.assertAllClose(np.linalg.inv(m), solved)
      self.assertAllClose(m @ m, product)

  def testOpsAreInTheNamedScope(self):
    with tf.Graph().as_default():
      operator = lo.LinearOperatorFullMatrix(tf.eye(2))
      x = _slices(np.ones([1, 2], np.float32), [1], rows=2)
      product = operator.matmul_right(tf.eye(2), name="precondition")
      self.assertStartsWith(product.name, "precondition/")
      product = operator.matmul_right(x, name="sparse")
      self.assertStartsWith(product.values.name, "sparse/")


class LinearOperatorDiagTest(tf.test.TestCase):

  def testMultipliesFromBothSides(self):
    rng = np.random.RandomState(4)
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64):
        diag, x = rng.randn(3).astype(dtype), rng.randn(3, 3).astype(dtype)
        operator = lo.LinearOperatorDiag(tf.constant(diag))
        values = sess.run([
            (operator.matmul(x, adjoint=adjoint, adjoint_arg=adjoint_arg),
             operator.matmul_right(
                 x, adjoint=adjoint, adjoint_arg=adjoint_arg))
            for adjoint, adjoint_arg in _FLAGS])
        for (_, adjoint_arg), (left, right) in zip(
            _FLAGS, values, strict=True):
          x_used = x.T if adjoint_arg else x
          self.assertEqual(dtype, right.dtype)
          self.assertAllClose(np.diag(diag) @ x_used, left)
          self.assertAllClose(x_used @ np.diag(diag), right)

  def testLeftProductOfSlicesStaysSparse(self):
    rng = np.random.RandomState(5)
    with tf.Graph().as_default(), self.session() as sess:
      for dtype in (np.float32, np.float64):
        diag = rng.randn(6).astype(dtype)
        values, indices = rng.randn(3, 2).astype(dtype), [5, 0, 5]
        product = lo.LinearOperatorDiag(tf.constant(diag)).matmul(
            _slices(values, indices, rows=6))
        self.assertIsInstance(product, tf.IndexedSlices)
        dense = sess.run(tf.convert_to_tensor(product))
        self.assertEqual(dtype, dense.dtype)
        self.assertAllClose(
            np.diag(diag) @ _dense(values, indices, 6), dense)

  def testOtherProductsOfSlicesRaise(self):
    with tf.Graph().as_default():
      operator = lo.LinearOperatorDiag(tf.ones([2]))
      x = _slices(np.ones([1, 2], np.float32), [1], rows=2)
      with self.assertRaisesRegex(
          NotImplementedError, "^matmul_right takes IndexedSlices only for a "
          r"dense operator, got LinearOperatorDiag\.$"):
        operator.matmul_right(x)
      _check_adjoints_raise(self, operator, x)

  def testIsAnOperatorOfTensorFlow(self):
    with tf.Graph().as_default(), self.session() as sess:
      operator = lo.LinearOperatorDiag(
          tf.constant([2., 4.]), is_non_singular=True, is_self_adjoint=True,
          is_positive_definite=True, is_square=True, name="cov")
      self.assertIsInstance(operator, tf.linalg.LinearOperatorDiag)
      self.assertIsInstance(operator, lo.LinearOperatorExtras)
      self.assertAllClose(
          np.diag([.5, .25]), sess.run(operator.solve(tf.eye(2))))


def _check_adjoints_raise(test, operator, x):
  for method, flags in itertools.product(
      (operator.matmul, operator.matmul_right), _FLAGS[1:]):
    with test.assertRaisesRegex(
        NotImplementedError, "^adjoint and adjoint_arg must be False for "
        rf"IndexedSlices, got {flags[0]} and {flags[1]}\.$"):
      method(x, adjoint=flags[0], adjoint_arg=flags[1])


if __name__ == "__main__":
  tf.test.main()
