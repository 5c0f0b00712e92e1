"""Tests of the patch extractors in utils."""

import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import patches

# (input shape, spatial filter, strides, dilations), each with both paddings.
_CASES = [
    ([3, 9, 2], [4], [1], [1]),
    ([3, 9, 2], [3], [2], [1]),
    ([2, 11, 1], [3], [1], [3]),
    ([2, 13, 2], [2], [3], [4]),
    ([2, 6, 5, 3], [3, 2], [1, 1], [1, 1]),
    ([2, 7, 8, 1], [3, 3], [2, 3], [1, 1]),
    ([2, 7, 8, 2], [1, 1], [2, 2], [1, 1]),
    ([2, 9, 8, 4], [2, 3], [1, 1], [2, 3]),
    ([1, 11, 12, 2], [3, 2], [3, 2], [2, 4]),
    ([2, 4, 5, 6, 2], [2, 3, 2], [1, 1, 1], [1, 1, 1]),
    ([1, 5, 6, 7, 3], [3, 2, 3], [2, 1, 3], [1, 1, 1]),
    ([1, 5, 6, 7, 1], [2, 3, 2], [1, 1, 1], [2, 1, 3]),
    ([1, 7, 6, 8, 2], [2, 2, 3], [2, 3, 1], [3, 2, 2]),
]


def _windows(length, size, stride, rate, padding):
  """Lists the positions in the input of each window of one dimension."""
  span = rate * (size - 1) + 1
  if padding == "VALID":
    count, before = (length - span) // stride + 1, 0
  else:
    count = -(-length // stride)
    before = max((count - 1) * stride + span - length, 0) // 2
  return [[stride * i - before + rate * j for j in range(size)]
          for i in range(count)]


def _loop_patches(inputs, size, strides, rates, padding):
  """Copies the patches of a convolution by loops, zero outside the input."""
  spatial = inputs.shape[1:-1]
  windows = [_windows(*one, padding)
             for one in zip(spatial, size, strides, rates, strict=True)]
  counts = [len(w) for w in windows]
  result = np.zeros([len(inputs)] + counts + list(size) + [inputs.shape[-1]])
  for place in itertools.product(*(range(n) for n in counts)):
    for offset in itertools.product(*(range(n) for n in size)):
      source = [w[i][j] for w, i, j
                in zip(windows, place, offset, strict=True)]
      if all(0 <= x < n for x, n in zip(source, spatial, strict=True)):
        result[(slice(None),) + place + offset] = (
            inputs[(slice(None),) + tuple(source)])
  return result


def _convolutions():
  rng = np.random.RandomState(0)
  for (shape, size, strides, rates), padding in itertools.product(
      _CASES, ("SAME", "VALID")):
    yield rng.randn(*shape), size, strides, rates, padding


class ExtractConvolutionPatchesTest(tf.test.TestCase):

  def testEqualsALoopOverTheInput(self):
    expected, actual, static = [], [], []
    with tf.Graph().as_default(), self.session() as sess:
      for inputs, size, strides, rates, padding in _convolutions():
        expected.append(_loop_patches(inputs, size, strides, rates, padding))
        actual.append(patches.extract_convolution_patches(
            tf.constant(inputs), size + [inputs.shape[-1], 7], padding,
            strides=strides, dilation_rate=rates))
        static.append(actual[-1].shape.as_list())
      actual = sess.run(actual)
    for wanted, got, shape in zip(expected, actual, static, strict=True):
      self.assertEqual(np.float64, got.dtype)
      self.assertEqual(list(wanted.shape), shape)
      self.assertAllEqual(wanted, got)

  def testProductWithTheFilterIsTheConvolution(self):
    rng = np.random.RandomState(1)
    pairs = []
    with tf.Graph().as_default(), self.session() as sess:
      for inputs, size, strides, rates, padding in _convolutions():
        if max(strides) > 1 and max(rates) > 1:
          continue  # tf.nn.convolution accepts only one of them.
        weights = tf.constant(rng.randn(*(size + [inputs.shape[-1], 3])))
        extracted = patches.extract_convolution_patches(
            tf.constant(inputs), weights.shape, padding, strides, rates)
        flat = tf.reshape(weights, [-1, 3])
        product = tf.matmul(tf.reshape(extracted, [-1, flat.shape[0]]), flat)
        outputs = tf.nn.convolution(
            tf.constant(inputs), weights, padding, strides, rates)
        pairs.append((tf.reshape(outputs, [-1, 3]), product))
      for outputs, product in sess.run(pairs):
        self.assertAllClose(outputs, product, rtol=1e-12, atol=1e-12)
    self.assertLen(pairs, 20)

  def testDefaultsAreStrideOneAndNoDilation(self):
    inputs = np.random.RandomState(2).randn(2, 5, 6, 3).astype(np.float32)
    with tf.Graph().as_default(), self.session() as sess:
      for padding in ("SAME", "VALID"):
        got = sess.run(patches.extract_convolution_patches(
            inputs, [3, 2, 3, 4], padding, data_format="NHWC"))
        self.assertEqual(np.float32, got.dtype)
        self.assertAllEqual(
            _loop_patches(inputs, [3, 2], [1, 1], [1, 1], padding), got)

  def testUnknownSizesAreReadInTheSession(self):
    with tf.Graph().as_default(), self.session() as sess:
      for inputs, size, strides, rates, padding in _convolutions():
        channels = inputs.shape[-1]
        known = patches.extract_convolution_patches(
            tf.constant(inputs), size + [channels, 1], padding, strides, rates)
        fed = tf.placeholder(
            tf.float64, [None] * (inputs.ndim - 1) + [channels])
        unknown = patches.extract_convolution_patches(
            fed, size + [channels, 1], padding, strides, rates)
        self.assertEqual(
            [None] * (1 + len(size)) + size + [channels],
            unknown.shape.as_list())
        self.assertAllEqual(*sess.run((known, unknown), {fed: inputs}))

  def testUnknownBatchKeepsOtherSizesStatic(self):
    with tf.Graph().as_default(), self.session() as sess:
      fed = tf.placeholder(tf.float32, [None, 7, 6, None])
      got = patches.extract_convolution_patches(
          fed, [3, 2, 5, 1], "VALID", strides=[2, 1])
      self.assertEqual([None, 3, 5, 3, 2, 5], got.shape.as_list())
      inputs = np.random.RandomState(3).randn(4, 7, 6, 5)
      self.assertAllClose(
          _loop_patches(inputs, [3, 2], [2, 1], [1, 1], "VALID"),
          sess.run(got, {fed: inputs}))

  def testFilterLargerThanTheInputHasNoPatches(self):
    with tf.Graph().as_default(), self.session() as sess:
      fed = tf.placeholder(tf.float32, [2, None, 1])
      results = sess.run([
          patches.extract_convolution_patches(x, [5, 1, 1], "VALID")
          for x in (tf.zeros([2, 3, 1]), fed)], {fed: np.zeros([2, 3, 1])})
    for result in results:
      self.assertEqual((2, 0, 5, 1), result.shape)

  def testOpsAreInAScopeOfTheName(self):
    with tf.Graph().as_default():
      inputs = tf.zeros([1, 4, 1])
      named = patches.extract_convolution_patches(
          inputs, [2, 1, 1], "SAME", name="a")
      unnamed = patches.extract_convolution_patches(inputs, [2, 1, 1], "SAME")
      self.assertStartsWith(named.op.name, "a/")
      self.assertStartsWith(unnamed.op.name, "extract_convolution_patches/")

  def testArgumentErrors(self):
    good = dict(inputs=np.zeros([2, 5, 5, 3]), filter_shape=[2, 2, 3, 4],
                padding="SAME")
    for change, message in (
        (dict(inputs=np.zeros([2, 3])), r"inputs must have rank 3, 4 or 5.*3"),
        (dict(inputs=np.zeros([2] * 6)), "inputs must have rank 3, 4 or 5"),
        (dict(data_format="NCHW"), "data_format must have channels last.*CHW"),
        (dict(data_format="NWC"), "data_format must have a letter.* 4 .*NWC"),
        (dict(filter_shape=[2, 3, 4]), r"filter_shape must be 4 .*2, 3, 4"),
        (dict(filter_shape=[2, None, 3, 4]), r"must be 4 known.*\(2, .*, 3, 4"),
        (dict(filter_shape=[2, 2, 1, 4]), r"the 3 channels.*2, 2, 1, 4"),
        (dict(padding="same"), "padding must be 'SAME' or 'VALID', got 'same'"),
        (dict(strides=[1, 1, 1, 1]), r"strides must be 2 ints >= 1.*1, 1, 1"),
        (dict(strides=[1, 0]), r"strides must be 2 ints >= 1, got \[1, 0\]"),
        (dict(dilation_rate=[2]), r"dilation_rate must be 2 ints.*\[2\]")):
      with tf.Graph().as_default(), self.assertRaisesRegex(
          ValueError, message):
        patches.extract_convolution_patches(**dict(good, **change))


class ExtractPointwiseConv2dPatchesTest(tf.test.TestCase):

  def testEqualsTheGeneralExtractor(self):
    inputs = np.random.RandomState(4).randn(2, 3, 4, 5)
    with tf.Graph().as_default(), self.session() as sess:
      pointwise = patches.extract_pointwise_conv2d_patches(
          inputs, tf.TensorShape([1, 1, 5, 2]), name="p", data_format="NHWC")
      self.assertStartsWith(pointwise.op.name, "p/")
      self.assertEqual([2, 3, 4, 1, 1, 5], pointwise.shape.as_list())
      general = patches.extract_convolution_patches(
          inputs, [1, 1, 5, 2], "SAME")
      self.assertAllEqual(*sess.run((general, pointwise)))

  def testRefusesFiltersThatAreNotPointwise(self):
    for shape, filter_shape, data_format, message in (
        ([2, 3, 4, 5], [1, 2, 5, 1], None, r"must be \[1, 1.*1, 2, 5, 1"),
        ([2, 3, 4, 5], [1, 1, 4, 1], None, "the 5 channels"),
        ([2, 3, 5], [1, 5, 1], None, r"must be \[1, 1, .*got \[1, 5, 1\]"),
        ([2, 3, 4, 5], [1, 1, 5, 1], "NCHW", "channels last, got 'NCHW'")):
      with tf.Graph().as_default(), self.assertRaisesRegex(
          ValueError, message):
        patches.extract_pointwise_conv2d_patches(
            tf.zeros(shape), filter_shape, data_format=data_format)


class OutputSizesTest(tf.test.TestCase):

  def testCountsTheWindowsThatFit(self):
    for length, size, stride, rate in itertools.product(
        (2, 7, 9), (1, 3), (1, 2, 4), (1, 2)):
      for padding, starts in (
          ("SAME", range(0, length, stride)),
          ("VALID", range(0, length - rate * (size - 1), stride))):
        with tf.Graph().as_default(), self.session() as sess:
          self.assertEqual([len(starts)], patches.output_sizes(
              [length], [size], padding, [stride], [rate]))
          self.assertEqual([len(starts)], sess.run(patches.output_sizes(
              [tf.constant(length)], [size], padding, [stride], [rate])))

  def testStridesAndDilationsDefaultToOne(self):
    self.assertEqual([5, 3], patches.output_sizes([7, 4], [3, 2], "VALID"))
    self.assertEqual([7, 4], patches.output_sizes([7, 4], [3, 2], "SAME"))

  def testUnknownLengthStaysUnknown(self):
    self.assertEqual(
        [None, 2], patches.output_sizes([None, 4], [3, 3], "VALID"))


class NumConvLocationsTest(tf.test.TestCase):

  def testIsThatOfTheOutputs(self):
    rng = np.random.RandomState(0)
    for padding in ("SAME", "VALID"):
      for height, width, stride in ((7, 5, 1), (6, 9, 2), (8, 8, 3)):
        with tf.Graph().as_default(), self.session() as sess:
          inputs = tf.placeholder(tf.float32, [2, None, None, 3])
          outputs = tf.nn.conv2d(
              inputs, tf.ones([3, 2, 3, 4]), [1, stride, stride, 1], padding)
          value = rng.randn(2, height, width, 3)
          dynamic = tf.shape(inputs)
          found, shape = sess.run(
              [patches.num_conv_locations(
                  [2, dynamic[1], dynamic[2], 3], [3, 2, 3, 4],
                  [stride, stride], padding), tf.shape(outputs)],
              {inputs: value})
        self.assertEqual(shape[1] * shape[2], found)
        self.assertEqual(found, patches.num_conv_locations(
            tf.TensorShape([None, height, width, 3]), [3, 2, 3, 4],
            [1, stride, stride, 1], padding))

  def testOneDimensionWithoutStrides(self):
    self.assertEqual(
        6, patches.num_conv_locations([2, 8, 3], [3, 3, 4], None, "VALID"))

  def testWrongArguments(self):
    args = dict(input_shape=[2, 8, 8, 3], filter_shape=[3, 3, 3, 4],
                strides=[1, 1, 1, 1], padding="SAME")
    for name, value, message in (
        ("padding", "same", "padding must be 'SAME' or 'VALID', got 'same'."),
        ("input_shape", [2, None, 8, 3], "input_shape must have known spatial "
         r"sizes, got \[2, None, 8, 3\]."),
        ("filter_shape", [3, 3, 4], "filter_shape must have the 2 spatial "
         r"dimensions of input_shape, got \[3, 3, 4\]."),
        ("strides", [1, 1, 1], "strides must have the 2 spatial dimensions of "
         r"input_shape, got \[1, 1, 1\].")):
      with self.assertRaisesRegex(ValueError, f"^{message}$"):
        patches.num_conv_locations(**dict(args, **{name: value}))


class IsDataFormatChannelLastTest(tf.test.TestCase):

  def testLastLetterDecides(self):
    for data_format in (None, "NWC", "NHWC", "NDHWC"):
      self.assertTrue(patches.is_data_format_channel_last(data_format))
    for data_format in ("NCW", "NCHW", "NCDHW"):
      self.assertFalse(patches.is_data_format_channel_last(data_format))


if __name__ == "__main__":
  tf.test.main()
