"""Tests of the values of the updates of factors, which programs fetch."""

import functools

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff


def _factors(with_options=True):
  """Returns one factor of each way to update, with registered inverses."""
  rows = oracles.data(6, 2).astype(np.float32)
  multi = ff.FullyConnectedMultiKF(((tf.constant(rows),),), 3)
  if with_options:
    multi.register_option2quants(0.1)
  dense = ff.FullyConnectedKroneckerFactor(((tf.constant(rows),),), True)
  dense.register_inverse(0.1)
  dense.register_cholesky(0.1)
  diagonal = ff.EmbeddingInputKroneckerFactor(
      (tf.constant([0, 1, 1]),), vocab_size=3)
  for factor in (multi, dense, diagonal):
    factor.instantiate_cov_variables()
    factor.instantiate_inv_variables()
  return multi, dense, diagonal


def _variables_of(dense):
  return [variable for kept in dense._kept.values()
          for variable in kept.values()]


class UpdateValuesTest(tf.test.TestCase):

  def testCovarianceUpdateGivesTheNewCovariance(self):
    for debias in (True, False):
      oracles.set_constants(self, ZERO_DEBIAS=debias)
      with tf.Graph().as_default(), self.session() as sess:
        factors = _factors()
        updates = [factor.make_covariance_update_op(0.9) for factor in factors]
        sess.run(tf.global_variables_initializer())
        for _ in range(2):
          for factor, update in zip(factors, updates, strict=True):
            sess.run(tf.assign(factor.get_cov(), -tf.ones_like(
                factor.get_cov())))
            self.assertIsInstance(update, tf.Tensor)
            self.assertEqual(factor.get_cov().dtype.base_dtype, update.dtype)
            self.assertEqual(factor.get_cov().shape, update.shape)
            new = sess.run(update)
            self.assertGreater(np.ptp(new), 0.)
            self.assertAllEqual(sess.run(factor.get_cov()), new)

  def testLagOneCovarianceIsUpdatedToo(self):
    with tf.Graph().as_default(), self.session() as sess:
      multi = _factors()[0]
      update = multi.make_covariance_update_op(0.9)
      sess.run(tf.global_variables_initializer())
      sess.run(update)
      self.assertGreater(np.abs(sess.run(multi.get_cov_dt1())).max(), 0.)

  def testInverseUpdatesGiveTheNewMatrices(self):
    with tf.Graph().as_default(), self.session() as sess:
      factors = _factors()
      multi, dense, diagonal = factors
      covs = [factor.make_covariance_update_op(0.9) for factor in factors]
      updates = dense.make_inverse_update_ops()
      quants = multi.make_inverse_update_ops()
      self.assertEqual([], diagonal.make_inverse_update_ops())
      sess.run(tf.global_variables_initializer())
      variables = _variables_of(dense)
      for _ in range(2):  # While the covariance is zero, and afterwards.
        for update, variable in zip(updates, variables, strict=True):
          self.assertIsInstance(update, tf.Tensor)
          self.assertEqual(variable.dtype.base_dtype, update.dtype)
          self.assertEqual(variable.shape, update.shape)
          self.assertAllEqual(sess.run(update), sess.run(variable))
        self.assertLen(quants, 3)
        for update, value in zip(
            sess.run(quants), sess.run(multi.get_option2quants(0.1)),
            strict=True):
          self.assertAllEqual(update, value)
        sess.run(covs)
      self.assertGreater(np.abs(sess.run(variables[0])).max(), 0.)

  def testControlFlowTakesUpdates(self):
    for use in (
        lambda make: tf.group(*make()),
        lambda make: tf.cond(tf.constant(True), lambda: make()[0],
                             lambda: tf.zeros(make()[0].shape)),
        lambda make: tf.case([(tf.constant(True), lambda: make()[0])],
                             lambda: make()[0]),
        _after):
      for name in ("covariance", "inverse"):
        with tf.Graph().as_default(), self.session() as sess:
          _, dense, _ = _factors(with_options=False)
          first = dense.make_covariance_update_op(0.9)
          run = use(dense.make_inverse_update_ops if name == "inverse" else
                    functools.partial(_covariance_updates, dense))
          sess.run(tf.global_variables_initializer())
          sess.run(first)
          changed = dense.get_cov() if name == "covariance" else (
              _variables_of(dense)[0])
          if name == "covariance":
            sess.run(tf.assign(changed, tf.zeros_like(changed)))
          sess.run(run)
          self.assertGreater(np.abs(sess.run(changed)).max(), 0.)

  def testAnUpdateReadsNothingButItsValue(self):
    with tf.Graph().as_default() as graph:
      _, dense, _ = _factors()
      update = dense.make_covariance_update_op(0.9)
      self.assertEqual("Identity", update.op.type)
      read = update.op.inputs[0].op
      self.assertEqual("ReadVariableOp", read.type)
      self.assertIn("AssignAddVariableOp",
                    [op.type for op in read.control_inputs])
      before = len(graph.get_operations())
      tf.convert_to_tensor(update)
      self.assertLen(graph.get_operations(), before)


def _covariance_updates(factor):
  return [factor.make_covariance_update_op(0.9)]


def _after(make):
  with tf.control_dependencies(make()):
    return tf.constant(1.)


if __name__ == "__main__":
  tf.test.main()
