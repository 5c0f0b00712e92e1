"""Tests of the variables of factors, and of their initial values."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors
from kfac.python.ops.fisher_factors import variables


class InitializerTest(tf.test.TestCase):

  def testZerosOrIdentityByConstant(self):
    cases = [
        ("INIT_COVARIANCES_AT_ZERO", fisher_factors.covariance_initializer,
         [3, 3], np.eye(3)),
        ("INIT_COVARIANCES_AT_ZERO",
         fisher_factors.diagonal_covariance_initializer,
         [3, 2], np.ones([3, 2])),
        ("INIT_INVERSES_AT_ZERO", fisher_factors.inverse_initializer,
         [3, 3], np.eye(3)),
    ]
    with tf.Graph().as_default(), self.session() as sess:
      for constant, initializer, shape, otherwise in cases:
        for at_zero in (True, False):
          oracles.set_constants(self, **{constant: at_zero})
          for dtype in (tf.float32, tf.float64):
            value = sess.run(initializer(shape, dtype, partition_info=None))
            self.assertEqual(dtype.as_numpy_dtype, value.dtype)
            self.assertAllEqual(0. * otherwise if at_zero else otherwise,
                                value)

  def testVariablesAreResourcesThatAreNotTrained(self):
    with tf.Graph().as_default():
      variable = variables.make_variable(
          "v", [2, 2], tf.float64, fisher_factors.inverse_initializer)
      self.assertEqual([], tf.trainable_variables())
      self.assertEqual("VarHandleOp", variable.op.type)
      self.assertEqual(tf.float64, variable.dtype)


if __name__ == "__main__":
  tf.test.main()
