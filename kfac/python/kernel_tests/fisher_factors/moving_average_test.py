"""Tests of the moving average of covariances."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors
from kfac.python.ops.fisher_factors import moving_average
from kfac.python.ops.fisher_factors import variables
from kfac.python.ops.utils import bad_numbers


class MovingAverageTest(tf.test.TestCase):

  def _averages(self, values, decay, weight=None, dtype=np.float64, start=0.):
    """Returns the average after each value."""
    with tf.Graph().as_default(), self.session() as sess:
      variable = variables.make_variable(
          "v", values[0].shape, tf.as_dtype(dtype),
          tf.constant_initializer(start))
      average = moving_average.MovingAverage(variable, "v")
      value = tf.placeholder(dtype, values[0].shape)
      update = average.update(value, decay, weight)
      self.assertEqual(variable.shape, update.shape)
      sess.run(tf.global_variables_initializer())
      tf.get_default_graph().finalize()
      averages = []
      for one in values:
        new = sess.run(update, {value: one})
        self.assertAllEqual(new, sess.run(variable))
        averages.append(new)
      return averages

  def testZeroDebiasIsAWeightedMeanOfTheValues(self):
    values = oracles.data(5, 2, 3)
    for decay in (0., 0.3, 0.95):
      for start in (0., 7.):
        averages = self._averages(values, decay, start=start)
        for t, got in enumerate(averages, 1):
          weights = decay ** np.arange(t - 1., -1., -1.)
          expected = np.average(values[:t], axis=0, weights=weights)
          self.assertAllClose(expected, got, 1e-12, 1e-12)

  def testWithoutZeroDebiasTheInitialValueCounts(self):
    oracles.set_constants(self, ZERO_DEBIAS=False)
    values = oracles.data(4, 2)
    expected = np.full([2], 2.)
    for value, got in zip(
        values, self._averages(values, 0.8, start=2.), strict=True):
      expected = 0.8 * expected + 0.2 * value
      self.assertAllClose(expected, got, 1e-12, 1e-12)

  def testValuesThatAreNotFiniteAreSkippedAndCounted(self):
    values = oracles.data(3, 2)
    for debias in (True, False):
      oracles.set_constants(self, ZERO_DEBIAS=debias)
      expected = self._averages(values, 0.8)
      with tf.Graph().as_default(), self.session() as sess:
        variable = variables.make_variable(
            "v", [2], tf.float64, tf.zeros_initializer())
        average = moving_average.MovingAverage(variable, "v")
        value = tf.placeholder(tf.float64, [2])
        update = average.update(value, 0.8)
        sess.run(tf.global_variables_initializer())
        skipped = 0
        for good, after in zip(values, expected, strict=True):
          for bad in (np.nan, np.inf, 1.7e308):
            before = sess.run(variable)
            self.assertAllEqual(
                before, sess.run(update, {value: [good[0], bad]}))
            skipped += 1
          self.assertAllEqual(after, sess.run(update, {value: good}))
        self.assertEqual(
            [skipped, 3.], sess.run([average.num_skipped, average.num_updates]))

  def testRaiseNamesTheVariable(self):
    self.addCleanup(bad_numbers.set_on_bad_numbers, "skip")
    bad_numbers.set_on_bad_numbers("raise")
    with tf.Graph().as_default(), self.session() as sess:
      variable = variables.make_variable(
          "some_cov", [2], tf.float64, tf.zeros_initializer())
      average = moving_average.MovingAverage(variable, "v")
      update = average.update(tf.constant([0., np.nan], tf.float64), 0.8)
      sess.run(tf.global_variables_initializer())
      with self.assertRaisesRegex(
          tf.errors.InvalidArgumentError, "kfac: some_cov was not updated, "
          "since the new covariance is not finite"):
        sess.run(update)
      self.assertAllEqual([0., 0.], sess.run(variable))

  def testContribsVariablesHaveNoCounterOfSkippedValues(self):
    oracles.set_constants(self, CONTRIB_VARIABLES=True)
    for debias, names in ((True, ["v:0", "v/local_step:0"]), (False, ["v:0"])):
      oracles.set_constants(self, ZERO_DEBIAS=debias)
      with tf.Graph().as_default(), self.session() as sess:
        variable = variables.make_variable(
            "v", [2], tf.float64, tf.zeros_initializer())
        average = moving_average.MovingAverage(variable, "v")
        self.assertEqual(names, [v.name for v in tf.global_variables()])
        known = average.is_known()
        updates = [average.update(tf.constant(value, tf.float64), 0.5)
                   for value in ([np.nan, 1.], [2., 0.])]
        sess.run(tf.global_variables_initializer())
        for update, expected in zip(updates, (False, True), strict=True):
          sess.run(update)
          self.assertEqual(expected, sess.run(known))

  def testFloat32(self):
    values = oracles.data(3, 2, dtype=np.float32)
    got = self._averages(values, 0.5, dtype=np.float32)[-1]
    self.assertEqual(np.float32, got.dtype)
    self.assertAllClose(
        np.average(values, axis=0, weights=[0.25, 0.5, 1.]), got, 1e-6, 1e-6)

  def testWeightOfTheNewValue(self):
    values = oracles.data(3, 2)
    debiased = self._averages(values, 0.5, weight=3.)
    self.assertAllClose(self._averages(values, 0.5), debiased, 1e-12, 1e-12)
    oracles.set_constants(self, ZERO_DEBIAS=False)
    expected = np.zeros([2])
    for value, got in zip(
        values, self._averages(values, 0.5, weight=3.), strict=True):
      expected = 0.5 * expected + 3. * value
      self.assertAllClose(expected, got, 1e-12, 1e-12)

  def testDecayMayBeATensorOrVariable(self):
    with tf.Graph().as_default(), self.session() as sess:
      decays = [tf.constant(0.75),
                tf.get_variable("d", initializer=0.75, use_resource=False),
                tf.get_variable("e", initializer=0.75, use_resource=True)]
      value = tf.placeholder(tf.float64, [])
      averages, updates = [], []
      for i, decay in enumerate(decays):
        averages.append(variables.make_variable(
            f"v{i}", [], tf.float64, tf.zeros_initializer()))
        updates.append(moving_average.MovingAverage(
            averages[-1], f"v{i}").update(value, decay))
      sess.run(tf.global_variables_initializer())
      for number in (1., 5.):
        sess.run(updates, {value: number})
      for got in sess.run(averages):
        self.assertAllClose((0.75 * 1. + 5.) / 1.75, got, 1e-12, 1e-12)


class FactorAverageTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._rows = oracles.data(2, 4, 3)

  def _covariances(self):
    """Returns the covariance after each of two batches."""
    with tf.Graph().as_default(), self.session() as sess:
      rows = tf.placeholder(tf.float64, [4, 3], name="rows")
      factor = fisher_factors.FullyConnectedKroneckerFactor(((rows,),))
      factor.instantiate_cov_variables()
      update = factor.make_covariance_update_op(0.9)
      sess.run(tf.global_variables_initializer())
      covariances = []
      for one in self._rows:
        sess.run(update, {rows: one})
        covariances.append(sess.run(factor.get_cov()))
      return covariances

  def testConstantAssignedAfterImportIsUsed(self):
    first, second = (oracles.second_moment(rows) for rows in self._rows)
    self.assertAllClose([first, (0.9 * first + second) / 1.9],
                        self._covariances(), 1e-12, 1e-12)
    self.addCleanup(setattr, fisher_factors, "ZERO_DEBIAS",
                    fisher_factors.ZERO_DEBIAS)
    fisher_factors.ZERO_DEBIAS = False
    self.assertAllClose([0.1 * first, 0.09 * first + 0.1 * second],
                        self._covariances(), 1e-12, 1e-12)
    self.addCleanup(setattr, fisher_factors, "INIT_COVARIANCES_AT_ZERO",
                    fisher_factors.INIT_COVARIANCES_AT_ZERO)
    fisher_factors.INIT_COVARIANCES_AT_ZERO = False
    self.assertAllClose(0.9 * np.eye(3) + 0.1 * first,
                        self._covariances()[0], 1e-12, 1e-12)

  def testEmaWeightIsPassedOn(self):
    oracles.set_constants(self, ZERO_DEBIAS=False)
    with tf.Graph().as_default(), self.session() as sess:
      factor = fisher_factors.FullyConnectedKroneckerFactor(
          tf.constant(self._rows[0], name="rows"))
      factor.instantiate_cov_variables()
      update = factor.make_covariance_update_op(0.9, ema_weight=2.)
      sess.run(tf.global_variables_initializer())
      sess.run(update)
      self.assertAllClose(2. * oracles.second_moment(self._rows[0]),
                          sess.run(factor.get_cov()), 1e-12, 1e-12)


if __name__ == "__main__":
  tf.test.main()
