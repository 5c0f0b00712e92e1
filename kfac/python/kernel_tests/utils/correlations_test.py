"""Tests of the moments of patches, computed without extracting patches."""

import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import correlations
from kfac.python.ops.utils import patches

# (image height and width, filter); some filters are even, or larger than the
# image.
_SIZES = [
    ([4, 6], [3, 3]),
    ([5, 4], [2, 3]),
    ([3, 6], [3, 4]),
    ([2, 3], [5, 4]),
    ([1, 6], [2, 1]),
    ([6, 5], [1, 1]),
]


def _output_size(length, size, padding):
  return length if padding == "SAME" else length - size + 1


def _loop_moments(images, size, padding):
  """Computes mean and second moment of patches, location by location.

  Args:
    images: Array [batch, height, width, channels].
    size: Height and width of the filter.
    padding: "SAME" or "VALID".

  Returns:
    Arrays [n] and [n, n].
  """
  height, width, channels = images.shape[1:]
  before = [(n - 1) // 2 if padding == "SAME" else 0 for n in size]
  locations = list(itertools.product(*[
      range(_output_size(length, n, padding))
      for length, n in zip([height, width], size, strict=True)]))
  n = size[0] * size[1] * channels
  mean, second = np.zeros([n]), np.zeros([n, n])
  for image, (top, left) in itertools.product(images, locations):
    seen = np.zeros(size + [channels])
    for i, j in itertools.product(*map(range, size)):
      y, x = top + i - before[0], left + j - before[1]
      if 0 <= y < height and 0 <= x < width:
        seen[i, j] = image[y, x]
    mean += seen.ravel()
    second += np.outer(seen.ravel(), seen.ravel())
  count = len(images) * len(locations)
  return mean / count, second / count


def _divisors(number):
  return [i for i in range(1, number + 1) if number % i == 0]


class PatchMomentsTest(tf.test.TestCase):

  def testEqualLoopsOverLocationsForEveryTiling(self):
    rng = np.random.RandomState(0)
    for (image_size, size), padding in itertools.product(
        _SIZES, ("SAME", "VALID")):
      out_width = _output_size(image_size[1], size[1], padding)
      if min(out_width, _output_size(image_size[0], size[0], padding)) < 1:
        continue
      images = rng.randn(3, *image_size, 2)
      expected = _loop_moments(images, size, padding)
      with tf.Graph().as_default(), self.session() as sess:
        # A known and an unknown number of examples.
        x = tf.placeholder_with_default(images, [None] + image_size + [2])
        tilings = _divisors(out_width)
        for mean, second in sess.run(
            [correlations.patch_moments(x, size, padding, width)
             for width in tilings] +
            [correlations.patch_moments(
                tf.constant(images), size, padding, tilings[-1])]):
          self.assertAllClose(expected[0], mean, 1e-12, 1e-12)
          self.assertAllClose(expected[1], second, 1e-12, 1e-12)
          self.assertAllEqual(second, second.T)

  def testFloat32(self):
    images = np.random.RandomState(1).randn(40, 8, 8, 3).astype(np.float32)
    with tf.Graph().as_default(), self.session() as sess:
      rows = tf.reshape(patches.extract_convolution_patches(
          tf.constant(images, tf.float64), [3, 3, 3, 1], "SAME"), [-1, 27])
      expected = sess.run(
          [tf.reduce_mean(rows, 0),
           tf.matmul(rows, rows, transpose_a=True) / (40. * 8 * 8)])
      for width in (4, 8):
        moments = sess.run(correlations.patch_moments(
            tf.constant(images), [3, 3], "SAME", width))
        for want, got in zip(expected, moments, strict=True):
          self.assertEqual(np.float32, got.dtype)
          self.assertAllClose(want, got, 1e-5, 1e-5)
        self.assertAllEqual(moments[1], moments[1].T)

  def testWrongTileWidthRaises(self):
    images = tf.zeros([2, 4, 6, 1])
    for size, width, outputs in (([3, 3], 3, r"\[2, 4\]"),
                                 ([5, 3], 4, r"\[0, 4\]")):
      with self.assertRaisesRegex(
          ValueError, "^tile_width must divide the width of outputs of size "
          f"{outputs}, got {width}.$"):
        correlations.patch_moments(images, size, "VALID", width)


class ChooseTileWidthTest(tf.test.TestCase):

  # (image height = width, channels, filter height = width).
  _LAYERS = [(28, 1, 5), (14, 32, 5), (32, 3, 3), (16, 64, 3)]

  def _graph(self, side, channels, size, num_examples):
    """Returns a graph of patch_moments with the chosen width."""
    with tf.Graph().as_default() as graph:
      width = correlations.choose_tile_width(
          [side, side, channels], [size, size], "SAME", num_examples)
      correlations.patch_moments(
          tf.zeros([num_examples, side, side, channels]), [size, size], "SAME",
          width)
    return graph

  def testHasFewerMultiplicationsThanPatches(self):
    num_examples = 500
    for side, channels, size in self._LAYERS:
      count = 0
      graph = self._graph(side, channels, size, num_examples)
      for op in graph.get_operations():
        if op.type == "MatMul":
          num_rows, n = op.inputs[0].shape.as_list()
          count += num_rows * n * op.inputs[1].shape.as_list()[1]
      self.assertGreater(count, 0)
      self.assertLess(
          count, 0.5 * num_examples * side ** 2 * (size ** 2 * channels) ** 2)

  def testTensorsAreSmallerThanPatches(self):
    num_examples = 500
    for side, channels, size in self._LAYERS:
      largest = max(
          out.shape.num_elements() for op in self._graph(
              side, channels, size, num_examples).get_operations()
          for out in op.outputs)
      images = num_examples * side ** 2 * channels
      self.assertLess(largest, 3 * images)
      self.assertLess(largest, size ** 2 * images)

  def testIsASmallDivisorForWideImages(self):
    for width, padding in itertools.product(
        (32, 33, 34, 56), ("SAME", "VALID")):
      tile = correlations.choose_tile_width([32, width, 64], [3, 3], padding)
      self.assertEqual(0, _output_size(width, 3, padding) % tile)
      self.assertLess(tile, 12)

  def testIsWholeForNarrowImages(self):
    self.assertEqual(
        4, correlations.choose_tile_width([4, 4, 8], [5, 5], "SAME"))

  def testNoneIfPatchesAreCheaper(self):
    # A filter of one pixel has no overlap to save.
    self.assertIsNone(
        correlations.choose_tile_width([8, 8, 16], [1, 1], "SAME"))
    # The products of the rows of an image cost more than its few patches.
    for num_examples, chosen in ((1, False), (1000, True), (None, True)):
      self.assertEqual(chosen, correlations.choose_tile_width(
          [7, 7, 256], [3, 3], "SAME", num_examples) is not None)

  def testNoneWithoutOutputs(self):
    self.assertIsNone(
        correlations.choose_tile_width([4, 8, 3], [5, 5], "VALID"))
    self.assertIsNone(
        correlations.choose_tile_width([8, 4, 3], [5, 5], "VALID"))


if __name__ == "__main__":
  tf.test.main()
