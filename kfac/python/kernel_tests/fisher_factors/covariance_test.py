"""Tests of covariances of data, of their placement and of sampling."""

from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors
from kfac.python.ops.fisher_factors import covariance


class ComputeCovTest(tf.test.TestCase):

  def testMeanOuterProductOfRows(self):
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-13)):
      rows = oracles.data(7, 4, dtype=dtype)
      with tf.Graph().as_default(), self.session() as sess:
        cov, summed, scaled = sess.run([
            fisher_factors.compute_cov(tf.constant(rows)),
            fisher_factors.compute_cov(tf.constant(rows), normalizer=1),
            fisher_factors.compute_cov(
                tf.constant(rows), normalizer=tf.constant(14)),
        ])
      expected = oracles.second_moment(rows)
      self.assertEqual(dtype, cov.dtype)
      self.assertAllClose(expected, cov, tolerance, tolerance)
      self.assertAllClose(7 * expected, summed, tolerance, 10 * tolerance)
      self.assertAllClose(expected / 2, scaled, tolerance, tolerance)

  def testExactlySymmetric(self):
    rows = oracles.data(61, 37, dtype=np.float32)
    with tf.Graph().as_default(), self.session() as sess:
      cov = sess.run(fisher_factors.compute_cov(tf.constant(rows)))
    self.assertAllEqual(cov, cov.T)

  def testStripsEqualOneProductWithAndWithoutBias(self):
    rows = oracles.data(9, 10)
    with tf.Graph().as_default(), self.session() as sess:
      for size_from, num_strips in ((512, 4), (10, 4), (10, 3), (1, 10)):
        with mock.patch.object(covariance, "_MIRRORED_FROM", size_from), \
            mock.patch.object(covariance, "_NUM_STRIPS", num_strips):
          plain, with_bias = sess.run([
              covariance.compute_cov(tf.constant(rows)),
              covariance.compute_cov(
                  tf.constant(rows), normalizer=18., has_bias=True)])
        self.assertAllClose(oracles.second_moment(rows), plain, 1e-13, 1e-13)
        self.assertAllClose(
            oracles.second_moment(oracles.with_ones(rows)) / 2, with_bias,
            1e-13, 1e-13)
        self.assertAllEqual(with_bias, with_bias.T)

  def testAppendHomog(self):
    rows = oracles.data(3, 2)
    with tf.Graph().as_default(), self.session() as sess:
      ones, threes = sess.run([fisher_factors.append_homog(tf.constant(rows)),
                               fisher_factors.append_homog(rows, 3)])
    self.assertAllEqual(ones, oracles.with_ones(rows))
    self.assertAllEqual(threes[:, 2], [3., 3., 3.])

  def _assumed(self, moments):
    with tf.Graph().as_default(), self.session() as sess:
      return sess.run(covariance.with_assumed_mean(tf.constant(moments)))

  def testAssumedMean(self):
    rows = 2. + oracles.data(6, 3)
    moments = oracles.second_moment(oracles.with_ones(rows))
    self.assertAllEqual(moments, self._assumed(moments))
    oracles.set_constants(self, ASSUME_ZERO_MEAN_ACTIVATIONS=True)
    expected = np.zeros([4, 4])
    expected[3, 3] = 1.
    expected[:3, :3] = np.cov(rows.T, bias=True)
    self.assertAllClose(expected, self._assumed(moments), 1e-12, 1e-12)
    oracles.set_constants(self, SUBTRACT_MEAN_CONTRIB_FROM_COV=False)
    expected[:3, :3] = moments[:3, :3]
    self.assertAllClose(expected, self._assumed(moments), 1e-12, 1e-12)

  def testAssumedMeanOfConsecutiveUses(self):
    uses = 2. + oracles.data(3, 5, 2)  # Use, example, input.
    earlier, later = [part.reshape(-1, 2) for part in (uses[:-1], uses[1:])]
    moments = (oracles.with_ones(later).T @ oracles.with_ones(earlier)) / 15
    oracles.set_constants(self, ASSUME_ZERO_MEAN_ACTIVATIONS=True)
    expected = np.zeros([3, 3])
    expected[2, 2] = 10 / 15
    expected[:2, :2] = (later - later.mean(0)).T @ (
        earlier - earlier.mean(0)) / 15
    self.assertAllClose(expected, self._assumed(moments), 1e-12, 1e-12)

  def testAssumedMeanReachesFactorsWithABias(self):
    oracles.set_constants(self, ASSUME_ZERO_MEAN_ACTIVATIONS=True)
    rows, images = 2. + oracles.data(6, 3), 2. + oracles.data(6, 1, 1, 3)
    expected = np.pad(np.cov(rows.T, bias=True), [(0, 1), (0, 1)])
    expected[3, 3] = 1.
    pixels = images.reshape(6, 3)
    of_images = np.pad(np.cov(pixels.T, bias=True), [(0, 1), (0, 1)])
    of_images[3, 3] = 1.
    with tf.Graph().as_default(), self.session() as sess:
      x, y = tf.constant(rows), tf.constant(images)
      for cov, factor in (
          (expected, fisher_factors.FullyConnectedKroneckerFactor(x, True)),
          (expected, fisher_factors.FullyConnectedMultiKF(x, 2, True)),
          (of_images, fisher_factors.ConvInputKroneckerFactor(
              y, [1, 1, 3, 2], "SAME", has_bias=True)),
          (oracles.second_moment(rows),
           fisher_factors.FullyConnectedKroneckerFactor(x))):
        self.assertAllClose(cov, oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testWithARightMatrix(self):
    left, right = oracles.data(5, 3), oracles.data(5, 2, seed=1)
    expected = np.zeros([3, 2])
    for row in range(5):
      expected += np.outer(left[row], right[row])
    with tf.Graph().as_default(), self.session() as sess:
      mean, thirds = sess.run([
          fisher_factors.compute_cov(tf.constant(left), tf.constant(right)),
          fisher_factors.compute_cov(tf.constant(left), tf.constant(right),
                                     normalizer=3.)])
    self.assertAllClose(expected / 5, mean, 1e-13, 1e-13)
    self.assertAllClose(expected / 3, thirds, 1e-13, 1e-13)

  def testNumberOfRowsMayBeUnknown(self):
    with tf.Graph().as_default(), self.session() as sess:
      rows = tf.placeholder(tf.float64, [None, 2])
      cov = fisher_factors.compute_cov(rows)
      for num_rows in (1, 4):
        value = oracles.data(num_rows, 2)
        self.assertAllClose(oracles.second_moment(value),
                            sess.run(cov, {rows: value}), 1e-13, 1e-13)


class FirstExamplesTest(tf.test.TestCase):

  def testTakesAFractionOfTheRows(self):
    rows = oracles.data(7, 2)
    with tf.Graph().as_default(), self.session() as sess:
      for fraction, count in ((1., 7), (0.5, 4), (1e-6, 1)):
        with mock.patch.object(
            fisher_factors, "COV_EXAMPLES_FRACTION", fraction):
          self.assertAllEqual(rows[:count], sess.run(
              covariance.first_examples(tf.constant(rows))))

  def testBothFactorsOfALayerUseIt(self):
    a, g = oracles.data(8, 3), oracles.data(8, 2, seed=1)
    with tf.Graph().as_default(), self.session() as sess, \
        mock.patch.object(fisher_factors, "COV_EXAMPLES_FRACTION", 0.25):
      covs = [
          fisher_factors.FullyConnectedKroneckerFactor(
              ((tf.constant(data),),), has_bias)._compute_new_cov(0, 0)
          for data, has_bias in ((a, True), (g, False))]
      cov_a, cov_g = sess.run(covs)
    self.assertAllClose(
        oracles.second_moment(oracles.with_ones(a[:2])), cov_a, 1e-13, 1e-13)
    self.assertAllClose(oracles.second_moment(g[:2]), cov_g, 1e-13, 1e-13)

  def testFractionIsChecked(self):
    for fraction in (0., 1.5):
      with self.assertRaisesRegex(
          ValueError, "^cov_examples_fraction must be finite and more than 0.0 "
          f"and at most 1.0, got {fraction}.$"):
        fisher_factors.set_global_constants(cov_examples_fraction=fraction)


class AppendHomogTest(tf.test.TestCase):

  def testLastColumnIsOne(self):
    with tf.Graph().as_default(), self.session() as sess:
      for shape in ((4, 3), (2, 3, 5)):
        for dtype in (np.float32, np.float64):
          rows = oracles.data(*shape, dtype=dtype)
          got = fisher_factors.append_homog(tf.constant(rows))
          self.assertEqual(list(shape[:-1]) + [shape[-1] + 1],
                           got.shape.as_list())
          got = sess.run(got)
          self.assertEqual(dtype, got.dtype)
          self.assertAllEqual(oracles.with_ones(rows).astype(dtype), got)


class PlacementTest(tf.test.TestCase):

  def testPlaceOnDevice(self):
    with tf.Graph().as_default(), tf.device("/device:CPU:1"):
      for device, expected in [("/device:CPU:3", "/device:CPU:3"),
                               ("", "/device:CPU:1"), (None, "/device:CPU:1")]:
        with fisher_factors.place_on_device(device):
          self.assertEqual(expected, tf.zeros([]).device)

  def testMaybeColocateWithFollowsTheConstant(self):
    with tf.Graph().as_default():
      with tf.device("/device:CPU:2"):
        first = tf.zeros([], name="first")
      second = tf.zeros([], name="second")
      for inputs in (first, [first, second], (first, second)):
        for colocate in (True, False):
          oracles.set_constants(self, COLOCATE_COV_OPS_WITH_INPUTS=colocate)
          with fisher_factors.maybe_colocate_with(inputs):
            op = tf.zeros([]).op
          self.assertEqual(
              first.op.colocation_groups() == op.colocation_groups(), colocate)
          self.assertEqual("/device:CPU:2" if colocate else "", op.device)


class SubsampleTest(tf.test.TestCase):

  def testPicksRowsInProportionToTheCovariance(self):
    rows = np.arange(60.).reshape([20, 3])
    with tf.Graph().as_default(), self.session() as sess:
      tf.set_random_seed(1)
      for per_row, expected in [(1, 3), (2, 6), (2.5, 7), (100, 20)]:
        oracles.set_constants(
            self, _MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW=per_row)
        got = sess.run(fisher_factors._subsample_for_cov_computation(
            tf.constant(rows)))
        self.assertLen(got, expected)
        # Whole rows, without replacement.
        self.assertLen(set(got[:, 0]), expected)
        self.assertLessEqual({tuple(r) for r in got}, {tuple(r) for r in rows})

  def testEachRunPicksAnewAndUniformly(self):
    with tf.Graph().as_default(), self.session() as sess:
      tf.set_random_seed(2)
      rows = tf.stack([tf.range(8.), tf.zeros([8])], axis=1)
      picked = fisher_factors._subsample_for_cov_computation(rows, name="some")
      self.assertStartsWith(picked.name, "some/")
      counts = np.zeros(8)
      for _ in range(400):
        counts[sess.run(picked)[:, 0].astype(int)] += 1
      # Each row is picked in a quarter of the runs: 100, deviation 8.7.
      self.assertAllInRange(counts, 60, 140)


if __name__ == "__main__":
  tf.test.main()
