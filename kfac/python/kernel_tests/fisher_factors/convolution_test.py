"""Tests of the factors of convolutions."""

import itertools
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops import utils
from kfac.python.ops.utils import patches


def _recording_batch_sizes(function, seen):
  """Wraps an extractor of patches; appends its batch sizes to `seen`."""
  def recording(inputs, *args, **kwargs):
    seen.append(inputs.shape.as_list()[0])
    return function(inputs, *args, **kwargs)
  return recording


def _convolutions():
  """Yields images, size, strides, rates and padding, and the patches."""
  for (sizes, filter_size, strides, rates), padding in itertools.product(
      oracles.CONVOLUTIONS, ("SAME", "VALID")):
    images = oracles.data(3, *sizes, 2)
    yield (images, filter_size, strides, rates, padding,
           oracles.patches(images, filter_size, strides, rates, padding))


class ConvInputKroneckerFactorTest(tf.test.TestCase):

  def testSecondMomentOfPatches(self):
    for images, size, strides, rates, padding, seen in _convolutions():
      for has_bias in (False, True):
        rows = oracles.with_ones(seen) if has_bias else seen
        expected = oracles.second_moment(rows.reshape(-1, rows.shape[-1]))
        with tf.Graph().as_default(), self.session() as sess:
          # Strides and dilations may be given for all dimensions or some.
          for i, (s, r) in enumerate([
              (strides, rates), ([1] + strides + [1], [1] + rates + [1])]):
            factor = ff.ConvInputKroneckerFactor(
                (tf.constant(images, name=f"images{i}"),),
                size + [2, 5], padding, s, r, has_bias=has_bias)
            self.assertAllClose(
                expected, oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testPatchMaskMultipliesPatches(self):
    mask = np.array([[1., 0.5], [0., 2.]])
    images = oracles.data(3, 5, 4, 2)
    seen = oracles.patches(images, [2, 2], [1, 1], [1, 1], "VALID")
    seen = (seen.reshape(-1, 4, 2) * mask.reshape(4, 1)).reshape(-1, 8)
    with tf.Graph().as_default(), self.session() as sess:
      x = tf.constant(images)
      for i, (rows, has_bias, extractor, given) in enumerate([
          (seen, False, None, mask), (seen, False, None, tf.constant(mask)),
          (oracles.with_ones(seen), True, "extract_image_patches",
           mask.tolist())]):
        factor = ff.ConvInputKroneckerFactor(
            x, [2, 2, 2, 3], "VALID", has_bias=has_bias, patch_mask=given,
            extract_patches_fn=extractor)
        with tf.variable_scope(f"case{i}"):
          cov = oracles.new_cov(sess, factor)
        self.assertAllClose(oracles.second_moment(rows), cov, 1e-12, 1e-12)

  def testWrongPatchMask(self):
    with tf.Graph().as_default():
      x = tf.ones([3, 5, 4, 2])
      for mask, text in (
          (np.ones([3, 2]),
           r"^patch_mask must have shape \[2, 2\], got \[3, 2\].$"),
          (tf.placeholder(tf.float32, [2, 2]),
           "^patch_mask must be constant, got .*")):
        with self.assertRaisesRegex(ValueError, text):
          ff.ConvInputKroneckerFactor(
              x, [2, 2, 2, 3], "VALID", patch_mask=mask)

  def testUncorrelatedActivationsAreNotBuilt(self):
    with self.assertRaisesRegex(
        NotImplementedError, r"^ConvInputSUAKroneckerFactor \(kron_sua\) is "
        r'not built, use ConvInputKroneckerFactor \("kron"\).$'):
      ff.ConvInputSUAKroneckerFactor(None, [2, 2, 2, 3])

  def testNamesForSeveralUses(self):
    images, grads = oracles.data(6, 4, 4, 2), oracles.data(6, 3, 3, 3, seed=1)
    with tf.Graph().as_default(), self.session() as sess:
      x, g = tf.constant(images), tf.constant(grads)
      pairs = (
          (ff.ConvInputMultiKF(x, [2, 2, 2, 3], "VALID", 2),
           ff.ConvInputKroneckerFactor(x, [2, 2, 2, 3], "VALID")),
          (ff.ConvOutputMultiKF(g, 2), ff.ConvOutputKroneckerFactor(g)))
      for multi, single in pairs:
        self.assertEqual((3, 6), (multi.batch_size(), single.batch_size()))
        with tf.variable_scope("multi"):
          cov = oracles.new_cov(sess, multi)
        self.assertAllEqual(cov, oracles.new_cov(sess, single))

  def testStridesAndDilationsDefaultToOne(self):
    images = oracles.data(2, 4, 4, 2)
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.ConvInputKroneckerFactor(
          tf.constant(images), [2, 2, 2, 3], "VALID")
      seen = oracles.patches(images, [2, 2], [1, 1], [1, 1], "VALID")
      self.assertAllClose(oracles.second_moment(seen.reshape(-1, 8)),
                          oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testOneAndThreeSpatialDimensions(self):
    line, space = oracles.data(3, 7, 2), oracles.data(2, 3, 4, 3, 2)
    rows = [line[:, i:i + 3:2].reshape(3, -1) for i in range(0, 5, 2)]
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.ConvInputKroneckerFactor(
          tf.constant(line, name="line"), [2, 2, 4], "VALID", [2], [2])
      self.assertAllClose(oracles.second_moment(np.concatenate(rows)),
                          oracles.new_cov(sess, factor), 1e-12, 1e-12)
      rows = [space[:, z:z + 2, y:y + 2, x:x + 2].reshape(2, -1)
              for z in range(2) for y in range(3) for x in range(2)]
      factor = ff.ConvInputKroneckerFactor(
          tf.constant(space, name="space"), [2, 2, 2, 2, 4], "VALID",
          [1, 1, 1, 1, 1], data_format="NDHWC")
      self.assertAllClose(oracles.second_moment(np.concatenate(rows)),
                          oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testWaysToExtractPatchesAgree(self):
    images = oracles.data(3, 4, 6, 2)
    for strides in ([1, 1], [2, 3], None):
      step = strides or [1, 1]
      rows = images[:, ::step[0], ::step[1]].reshape(-1, 2)
      with tf.Graph().as_default(), self.session() as sess:
        for function in (None, "extract_convolution_patches",
                         "extract_image_patches",
                         "extract_pointwise_conv2d_patches"):
          factor = ff.ConvInputKroneckerFactor(
              tf.constant(images, name=f"i{function}"), [1, 1, 2, 4],
              "SAME", strides, extract_patches_fn=function)
          self.assertAllClose(oracles.second_moment(rows),
                              oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testTowersAndFloat32(self):
    towers = oracles.data(2, 2, 3, 3, 2, dtype=np.float32)
    expected = sum(oracles.second_moment(
        oracles.patches(tower, [2, 2], [1, 1], [1, 1], "SAME").reshape(-1, 8))
                   for tower in towers) / 2.
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.ConvInputKroneckerFactor(
          [tf.constant(tower) for tower in towers], [2, 2, 2, 3], "SAME")
      cov = oracles.new_cov(sess, factor)
    self.assertEqual(np.float32, cov.dtype)
    self.assertAllClose(expected, cov, 1e-5, 1e-5)

  def testName(self):
    with tf.Graph().as_default():
      a, b = tf.zeros([1, 3, 3, 2], name="a"), tf.zeros([1, 3, 3, 2], name="b")
      for expected, factor in [
          ("a_3-3-2-4_1-2-2-1_SAME_None_None_True",
           ff.ConvInputKroneckerFactor(
               (a,), (3, 3, 2, 4), "SAME", [1, 2, 2, 1], has_bias=True)),
          ("a_b_3-3-2-4_None_VALID_1-1_NHWC_False",
           ff.ConvInputKroneckerFactor(
               (a, b), [3, 3, 2, 4], "VALID", None, [1, 1], "NHWC"))]:
        self.assertEqual("ff_convinkron_" + expected, factor.name)

  def testErrors(self):
    with tf.Graph().as_default():
      images = tf.zeros([2, 4, 4, 3])
      with self.assertRaisesRegex(
          NotImplementedError,
          r"^extract_patches_fn must be one of \['extract_convolution_patches'"
          r", 'extract_image_patches', 'extract_pointwise_conv2d_patches'\], "
          "got 'extract_nothing'.$"):
        ff.ConvInputKroneckerFactor(
            images, [1, 1, 3, 2], "SAME", extract_patches_fn="extract_nothing")
      with self.assertRaisesRegex(
          ValueError, "^data_format must have the channels last, got 'NCHW'.$"):
        ff.ConvInputKroneckerFactor(
            images, [1, 1, 3, 2], "SAME", data_format="NCHW")


class CorrelationTest(tf.test.TestCase):
  """A without strides and dilations needs no patches."""

  # (height and width, channels, filter), some filters larger than the images.
  _LAYERS = [([6, 7], 2, [3, 3]), ([5, 8], 3, [2, 4]), ([4, 4], 1, [5, 5]),
             ([2, 3], 2, [4, 3])]

  def _images(self, size, channels):
    """Returns a batch so large that correlations are cheaper."""
    return oracles.data(30, *size, channels)

  def testEqualsPatchesButExtractsNone(self):
    for (size, channels, filter_size), padding, has_bias in itertools.product(
        self._LAYERS, ("SAME", "VALID"), (False, True)):
      if padding == "VALID" and min(np.subtract(size, filter_size)) < 0:
        continue
      images = self._images(size, channels)
      with tf.Graph().as_default(), self.session() as sess:
        x = tf.placeholder_with_default(images, [None] + size + [channels])
        args = (filter_size + [channels, 3], padding)
        with mock.patch.object(utils, "extract_convolution_patches",
                               side_effect=AssertionError):
          cov = oracles.new_cov(sess, ff.ConvInputKroneckerFactor(
              x, *args, has_bias=has_bias))
        named = ff.ConvInputKroneckerFactor(
            tf.identity(x, name="named"), *args, has_bias=has_bias,
            extract_patches_fn="extract_convolution_patches")
        with mock.patch.object(
            utils, "extract_convolution_patches",
            side_effect=utils.extract_convolution_patches) as extract:
          self.assertAllClose(oracles.new_cov(sess, named), cov, 1e-12, 1e-12)
        extract.assert_called()
      seen = oracles.patches(images, filter_size, [1, 1], [1, 1], padding)
      rows = oracles.with_ones(seen) if has_bias else seen
      self.assertAllClose(
          oracles.second_moment(rows.reshape(-1, rows.shape[-1])), cov, 1e-12,
          1e-12)
      self.assertAllEqual(cov, cov.T)

  def testStridesOfOneForEveryDimension(self):
    images = self._images([6, 7], 2)
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.ConvInputKroneckerFactor(
          tf.constant(images), (3, 3, 2, 4), "SAME", (1, 1, 1, 1), (1, 1, 1, 1),
          "NHWC")
      with mock.patch.object(utils, "extract_convolution_patches",
                             side_effect=AssertionError):
        cov = oracles.new_cov(sess, factor)
    seen = oracles.patches(images, [3, 3], [1, 1], [1, 1], "SAME")
    self.assertAllClose(
        oracles.second_moment(seen.reshape(-1, 18)), cov, 1e-12, 1e-12)

  def testSomeOfTheExamples(self):
    images = np.ones([8, 5, 5, 1]) * oracles.data(5, 5, 1)
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.ConvInputKroneckerFactor(
          tf.constant(images), [3, 3, 1, 4], "VALID", has_bias=True,
          sub_sample_inputs=True)
      cov = oracles.new_cov(sess, factor)  # All examples are equal.
    rows = oracles.with_ones(
        oracles.patches(images[:1], [3, 3], [1, 1], [1, 1], "VALID"))
    self.assertAllClose(oracles.second_moment(rows[0]), cov, 1e-12, 1e-12)

  def testUnknownSpatialSizes(self):
    images = oracles.data(3, 4, 5, 2)
    for strides, rates in (([2, 1], None), ([1, 1], None), (None, [1, 2])):
      with tf.Graph().as_default(), self.session() as sess:
        factor = ff.ConvInputKroneckerFactor(
            tf.placeholder_with_default(images, [None, None, None, 2]),
            [3, 3, 2, 4], "SAME", strides, rates)
        seen = oracles.patches(images, [3, 3], strides or [1, 1],
                               rates or [1, 1], "SAME")
        self.assertAllClose(oracles.second_moment(seen.reshape(-1, 18)),
                            oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testErrorsAreThoseOfTheExtractionOfPatches(self):
    with tf.Graph().as_default():
      x = tf.zeros([2, 4, 4, 3], name="x")
      for message, args in [
          ("padding must be 'SAME' or 'VALID', got 'FULL'.",
           ([2, 2, 3, 1], "FULL")),
          (r"filter_shape must have the 3 channels of inputs, got "
           r"\[2, 2, 1, 1\].", ([2, 2, 1, 1], "SAME")),
          (r"filter_shape must be 4 known sizes, got \(2, 3, 1\).",
           ([2, 3, 1], "SAME")),
          (r"strides must be 2 ints >= 1, got \[1\].",
           ([2, 2, 3, 1], "SAME", [1, 1, 1])),
          ("data_format must have a letter for each of the 4 dimensions of "
           "inputs, got 'NWC'.", ([2, 2, 3, 1], "SAME", None, None, "NWC"))]:
        factor = ff.ConvInputKroneckerFactor(x, *args)
        with self.assertRaisesRegex(ValueError, "^" + message + "$"):
          factor._compute_new_cov(0, 0)


class MaxPatchElementsTest(tf.test.TestCase):
  """The number of examples processed at once changes nothing."""

  def _three_layers(self):
    """Returns one convolution with strides, one dilated, one with neither."""
    found = list(_convolutions())
    return [found[0], found[3], found[5]]

  def _limits(self, elements_per_example):
    """Returns limits of one and two of five examples, and static sizes."""
    return [(1, None), (2.5 * elements_per_example, 5),
            (2.5 * elements_per_example, None)]

  def testInputFactorInChunks(self):
    for images, size, strides, rates, padding, _ in self._three_layers():
      images = np.concatenate([images, 2 * images[:2]])  # Five examples.
      seen = oracles.patches(images, size, strides, rates, padding)
      expected = oracles.second_moment(
          oracles.with_ones(seen).reshape(-1, seen.shape[-1] + 1))
      with tf.Graph().as_default(), self.session() as sess:
        for limit, batch in self._limits(seen[0].size):
          oracles.set_constants(self, MAX_PATCH_ELEMENTS=limit)
          factor = ff.ConvInputKroneckerFactor(
              tf.placeholder_with_default(
                  images, [batch] + list(images.shape[1:])),
              size + [2, 5], padding, strides, rates, None,
              "extract_convolution_patches", True)
          cov = oracles.new_cov(sess, factor)
          self.assertAllClose(expected, cov, 1e-12, 1e-12)
          self.assertAllEqual(cov, cov.T)

  def testOneAndThreeSpatialDimensionsInChunks(self):
    line, space = oracles.data(5, 7, 2), oracles.data(5, 3, 4, 3, 2)
    oracles.set_constants(self, MAX_PATCH_ELEMENTS=1)
    with tf.Graph().as_default(), self.session() as sess:
      for filter_shape, strides, rows in [
          ([2, 2, 4], [2],
           [line[:, i:i + 2].reshape(5, -1) for i in range(0, 6, 2)]),
          ([2, 2, 2, 2, 4], None,
           [space[:, z:z + 2, y:y + 2, x:x + 2].reshape(5, -1)
            for z in range(2) for y in range(3) for x in range(2)])]:
        data = line if len(filter_shape) == 3 else space
        for known in (True, False):
          shape = list(data.shape) if known else (
              [None] * (data.ndim - 1) + [2])
          factor = ff.ConvInputKroneckerFactor(
              tf.placeholder_with_default(data, shape), filter_shape, "VALID",
              strides)
          self.assertAllClose(oracles.second_moment(np.concatenate(rows)),
                              oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testDiagonalFactorInChunks(self):
    for images, size, strides, rates, padding, seen in self._three_layers():
      images = np.concatenate([images, 2 * images[:2]])  # Five examples.
      seen = oracles.with_ones(
          oracles.patches(images, size, strides, rates, padding))
      out = patches.output_sizes(
          images.shape[1:3], size, padding, strides, rates)
      grads = oracles.data(5, *out, 4, seed=1)
      expected = np.zeros([seen.shape[-1], 4])
      for a, g in zip(seen, grads.reshape(5, -1, 4), strict=True):
        expected += np.square(a.T @ g) / 5.
      with tf.Graph().as_default(), self.session() as sess:
        for limit, batch in self._limits(
            (seen.shape[-1] - 1) * (seen.shape[1] + 4)):
          oracles.set_constants(self, MAX_PATCH_ELEMENTS=limit)
          x, g = [tf.placeholder_with_default(
              array, [batch] + list(array.shape[1:]))
                  for array in (images, grads)]
          factor = ff.ConvDiagonalFactor(
              x, g, size + [2, 4], [1] + strides + [1], padding, None,
              [1] + rates + [1], has_bias=True)
          self.assertAllClose(
              expected, oracles.new_cov(sess, factor), 1e-11, 1e-11)

  def testNoMoreIsExtractedAtOnce(self):
    # An example has 4 * 5 patches of 18 elements.
    images = tf.zeros([7, 4, 5, 2])
    grads = tf.zeros([7, 4, 5, 3])
    for limit, expected in ((7 * 360, {7}), (7 * 360 - 1, {1, 6}),
                            (720, {1, 2}), (10, {1})):
      oracles.set_constants(self, MAX_PATCH_ELEMENTS=limit)
      seen = []
      with mock.patch.object(
          utils, "extract_convolution_patches",
          _recording_batch_sizes(utils.extract_convolution_patches, seen)):
        ff.ConvInputKroneckerFactor(
            images, [3, 3, 2, 3], "SAME",
            extract_patches_fn="extract_image_patches")._compute_new_cov(0, 0)
      self.assertEqual(expected, set(seen))
      # The gradient of an example has 18 * 3 more elements.
      oracles.set_constants(self, MAX_PATCH_ELEMENTS=limit * 414 // 360 + 1)
      del seen[:]
      with mock.patch.object(
          utils, "extract_convolution_patches",
          _recording_batch_sizes(utils.extract_convolution_patches, seen)):
        ff.ConvDiagonalFactor(
            images, grads, [3, 3, 2, 3], [1, 1, 1, 1],
            "SAME")._compute_new_cov(0, 0)
      self.assertEqual(expected, set(seen))

  def testIsSetAndChecked(self):
    oracles.set_constants(self, MAX_PATCH_ELEMENTS=2 ** 24)
    ff.set_global_constants(max_patch_elements=1000)
    self.assertEqual(1000, ff.MAX_PATCH_ELEMENTS)
    with self.assertRaisesRegex(
        ValueError,
        "^max_patch_elements must be finite and at least 1, got 0.$"):
      ff.set_global_constants(max_patch_elements=0)
    self.assertEqual(1000, ff.MAX_PATCH_ELEMENTS)


class SubSamplingTest(tf.test.TestCase):
  """Example i is i + 1, so that a mean of squares identifies the sample."""

  def _covs(self, num_runs, constants=None, has_bias=False, **kwargs):
    """Returns covariances [runs, n, n] of 6 examples with 4 locations each."""
    oracles.set_constants(self, **(constants or {}))
    images = np.arange(1., 7.)[:, None, None, None] * np.ones([6, 2, 2, 1])
    with tf.Graph().as_default(), self.session() as sess:
      tf.set_random_seed(3)
      factor = ff.ConvInputKroneckerFactor(
          tf.constant(images), [1, 1, 1, 1], "SAME", has_bias=has_bias,
          **kwargs)
      factor.instantiate_cov_variables()
      update = factor.make_covariance_update_op(0.)
      sess.run(tf.global_variables_initializer())
      covs = []
      for _ in range(num_runs):
        sess.run(update)
        covs.append(sess.run(factor.get_cov()))
      return np.array(covs)

  def _meansOfExamples(self, count):
    return [np.mean(np.square(subset)) for subset in
            itertools.combinations(np.arange(1., 7.), count)]

  def _checkIn(self, allowed, covs):
    """Checks that covariances are allowed, and not all equal."""
    for cov in covs[:, 0, 0]:
      self.assertLess(np.min(np.abs(np.array(allowed) - cov)), 1e-9)
    self.assertGreater(len(set(np.round(covs[:, 0, 0], 9))), 1)

  def testNoneByDefault(self):
    self.assertAllClose([[[np.mean(np.square(np.arange(1., 7.)))]]],
                        self._covs(1), 1e-12, 1e-12)

  def testHalfOfTheExamples(self):
    for kwargs, constants in (({"sub_sample_inputs": True}, None),
                              ({}, {"_SUB_SAMPLE_INPUTS": True})):
      self._checkIn(
          self._meansOfExamples(3), self._covs(20, constants, **kwargs))

  def testFractionOfTheExamplesAndAtLeastOne(self):
    for fraction, count in ((0.67, 4), (0.01, 1)):
      self._checkIn(self._meansOfExamples(count), self._covs(
          20, {"_INPUTS_TO_EXTRACT_PATCHES_FACTOR": fraction},
          sub_sample_inputs=True))

  def testSubSampledExamplesHaveTheRightMean(self):
    covs = self._covs(300, sub_sample_inputs=True)
    values = np.square(np.arange(1., 7.))
    # Standard deviation of the mean of 300 samples of 3 out of 6.
    deviation = np.std(values) * np.sqrt((6 - 3) / (6 - 1) / 3 / 300)
    self.assertNear(np.mean(values), np.mean(covs), 4 * deviation)

  def testPatches(self):
    for kwargs, constants in (({"sub_sample_patches": True}, {}),
                              ({}, {"_SUB_SAMPLE_OUTER_PRODUCTS": True})):
      # One row in the covariance: one or two patches of all 24.
      self._checkIn(self._meansOfExamples(1), self._covs(
          20, dict(constants, _MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW=1),
          **kwargs))
      twos = [(a * a + b * b) / 2. for a in range(1, 7) for b in range(1, 7)]
      covs = self._covs(
          20, dict(constants, _MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW=2), **kwargs)
      self._checkIn(twos, covs)

  def testPatchesOfChunks(self):
    twos = [(a * a + b * b) / 2. for a in range(1, 7) for b in range(1, 7)]
    covs = self._covs(
        20, {"_MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW": 2,
             "MAX_PATCH_ELEMENTS": 4 * 4}, sub_sample_patches=True)
    self._checkIn(twos, covs)

  def testAllPatchesIfMoreAreWanted(self):
    covs = self._covs(1, {"_MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW": 25},
                      sub_sample_patches=True)
    self.assertAllClose([[[np.mean(np.square(np.arange(1., 7.)))]]], covs,
                        1e-12, 1e-12)

  def testTheInputOfTheBiasStaysOne(self):
    for limit in (1000, 4):
      covs = self._covs(
          10, {"MAX_PATCH_ELEMENTS": limit}, has_bias=True,
          sub_sample_inputs=True, sub_sample_patches=True)
      self.assertAllClose(np.ones([10]), covs[:, 1, 1], 1e-12, 1e-12)

  def testArgumentOverridesConstant(self):
    constants = {"_SUB_SAMPLE_INPUTS": True,
                 "_SUB_SAMPLE_OUTER_PRODUCTS": True}
    covs = self._covs(
        3, constants, sub_sample_inputs=False, sub_sample_patches=False)
    self.assertAllClose(3 * [[[np.mean(np.square(np.arange(1., 7.)))]]],
                        covs, 1e-12, 1e-12)


class ConvOutputKroneckerFactorTest(tf.test.TestCase):

  def testSecondMomentOverExamplesAndLocations(self):
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
      for shape in ([3, 5], [3, 4, 5], [2, 2, 3, 5]):  # spatial.., channels
        grads = oracles.data(2, 2, 3, *shape, dtype=dtype)  # sources, towers
        expected = sum(
            oracles.second_moment(tower.reshape(-1, 5)) / 2.
            for source in grads for tower in source)
        with tf.Graph().as_default(), self.session() as sess:
          factor = ff.ConvOutputKroneckerFactor(
              [[tf.constant(tower) for tower in source] for source in grads])
          cov = oracles.new_cov(sess, factor)
        self.assertEqual(dtype, cov.dtype)
        self.assertAllClose(expected, cov, tolerance, tolerance)

  def testNameAndErrors(self):
    with tf.Graph().as_default():
      grads = tf.zeros([2, 3, 3, 2], name="x/g")
      self.assertEqual(
          "ff_convoutkron_x_g", ff.ConvOutputKroneckerFactor(
              ((grads,),), data_format="NHWC").name)
      with self.assertRaisesRegex(
          ValueError, "^data_format must have the channels last, got 'NCHW'.$"):
        ff.ConvOutputKroneckerFactor(((grads,),), data_format="NCHW")


class ConvDiagonalFactorTest(tf.test.TestCase):

  def testMeanSquareOfTheGradientsOfExamples(self):
    for images, size, strides, rates, padding, seen in _convolutions():
      height, width = self._outputSizes(images, size, strides, rates, padding)
      grads = oracles.data(2, 3, height, width, 4, seed=1)  # two sources
      for has_bias in (False, True):
        rows = oracles.with_ones(seen) if has_bias else seen
        expected = np.zeros([rows.shape[-1], 4])
        for source in grads:
          for example in range(3):
            case_grad = np.zeros_like(expected)
            for a, g in zip(rows[example], source[example].reshape(-1, 4),
                            strict=True):
              case_grad += np.outer(a, g)
            expected += np.square(case_grad) / 3.
        with tf.Graph().as_default(), self.session() as sess:
          factor = ff.ConvDiagonalFactor(
              (tf.constant(images),),
              [(tf.constant(source),) for source in grads], size + [2, 4],
              [1] + strides + [1], padding, "NHWC", [1] + rates + [1],
              has_bias=has_bias)
          self.assertAllClose(
              expected, oracles.new_cov(sess, factor), 1e-11, 1e-11)

  def testPatchMaskMultipliesPatches(self):
    mask = np.array([[1., 0.5], [0., 2.]])
    images, grads = oracles.data(3, 4, 4, 2), oracles.data(3, 3, 3, 2, seed=1)
    seen = oracles.patches(images, [2, 2], [1, 1], [1, 1], "VALID")
    seen = (seen.reshape(3, 9, 4, 2) * mask.reshape(4, 1)).reshape(3, 9, 8)
    with tf.Graph().as_default(), self.session() as sess:
      for has_bias in (False, True):
        rows = oracles.with_ones(seen) if has_bias else seen
        example_grads = np.einsum("bti,bto->bio", rows, grads.reshape(3, 9, 2))
        with tf.variable_scope(f"bias{has_bias}"):
          cov = oracles.new_cov(sess, ff.ConvDiagonalFactor(
              tf.constant(images), tf.constant(grads), [2, 2, 2, 2],
              [1, 1, 1, 1], "VALID", has_bias=has_bias, patch_mask=mask))
        self.assertAllClose(
            np.mean(np.square(example_grads), axis=0), cov, 1e-12, 1e-12)

  def _outputSizes(self, *convolution):
    images, size, strides, rates, padding = convolution
    with tf.Graph().as_default():
      return [
          -(-(length - (0 if padding == "SAME" else rate * (n - 1))) // stride)
          for length, n, stride, rate in zip(
              images.shape[1:3], size, strides, rates, strict=True)]

  def testIsTheMeanSquareOfTensorFlowsGradients(self):
    images, w = oracles.data(2, 4, 5, 2), oracles.data(3, 3, 2, 3, seed=1)
    weights = oracles.data(2, 2, 3, 3, seed=2)  # of the outputs in the loss
    with tf.Graph().as_default(), self.session() as sess:
      filters, x = tf.constant(w), tf.constant(images)
      outputs = tf.nn.conv2d(x, filters, [1, 2, 2, 1], "SAME")
      loss = tf.reduce_sum(tf.sin(outputs) * weights, axis=[1, 2, 3])
      by_example = [tf.gradients(loss[i], filters)[0] for i in range(2)]
      factor = ff.ConvDiagonalFactor(
          x, tf.gradients(loss, outputs)[0], [3, 3, 2, 3], [1, 2, 2, 1],
          "SAME")
      cov = oracles.new_cov(sess, factor)
      expected = np.mean(np.square(sess.run(by_example)), 0).reshape(18, 3)
    self.assertAllClose(expected, cov, 1e-11, 1e-11)

  def testTowersAndName(self):
    images, grads = oracles.data(2, 2, 3, 3, 1), oracles.data(2, 2, 3, 3, 2)
    expected = np.zeros([1, 2])
    for tower in range(2):
      for example in range(2):
        expected += np.square(np.tensordot(
            images[tower, example], grads[tower, example],
            [[0, 1], [0, 1]])) / 4.
    with tf.Graph().as_default(), self.session() as sess:
      factor = ff.ConvDiagonalFactor(
          [tf.constant(images[i], name=f"x{i}") for i in range(2)],
          [[tf.constant(grads[i], name=f"g{i}") for i in range(2)]],
          [1, 1, 1, 2], [1, 1, 1, 1], "SAME")
      self.assertEqual("ff_convdiag_x0__x1_g0__g1", factor.name)
      self.assertAllClose(
          expected, oracles.new_cov(sess, factor), 1e-12, 1e-12)

  def testErrors(self):
    with tf.Graph().as_default():
      x, g = tf.zeros([2, 4, 4, 3]), tf.zeros([2, 4, 4, 5])
      good = {"inputs": (x,), "outputs_grads": ((g,),),
              "filter_shape": [3, 3, 3, 5], "strides": [1, 1, 1, 1],
              "padding": "SAME"}
      ff.ConvDiagonalFactor(**good)
      for message, wrong in [
          ("data_format must have the channels last, got 'NCHW'.",
           {"data_format": "NCHW"}),
          (r"filter_shape must have length 4, got \[3, 3, 5\].",
           {"filter_shape": [3, 3, 5]}),
          (r"strides must have length 4, got \[1, 1\].", {"strides": [1, 1]}),
          (r"dilations must have length 4, got \[2, 2\].",
           {"dilations": [2, 2]}),
          ("outputs_grads must have as many towers as inputs, got 2 and 1.",
           {"outputs_grads": ((g,), (g, g))}),
          (r"inputs must have shape \[batch, h, w, 3\], got \(2, 4, 4, 5\).",
           {"inputs": (g,)}),
          (r"inputs must have shape \[batch, h, w, 3\], got \(2, 3\).",
           {"inputs": (tf.zeros([2, 3]),)}),
          (r"outputs_grads must have shape \[batch, h, w, 5\], got "
           r"\(2, 4, 4, 3\).", {"outputs_grads": ((g,), (x,))})]:
        with self.assertRaisesRegex(ValueError, "^" + message + "$"):
          ff.ConvDiagonalFactor(**dict(good, **wrong))


if __name__ == "__main__":
  tf.test.main()
