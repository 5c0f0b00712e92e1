"""Tests of the images of random curves."""

import numpy as np
import tensorflow.compat.v1 as tf

from examples import curves


class CurvesTest(tf.test.TestCase):

  def testShapeTypeAndRange(self):
    images = curves.make_images(300)
    self.assertEqual(images.shape, (300, 784))
    self.assertEqual(images.dtype, np.float32)
    self.assertEqual(images.min(), 0.)
    self.assertEqual(images.max(), 1.)

  def testImagesDependOnlyOnTheSeed(self):
    images = curves.make_images(300, seed=1)
    self.assertAllEqual(curves.make_images(300, seed=1), images)
    # For any number of images.
    self.assertAllEqual(curves.make_images(7, seed=1), images[:7])
    self.assertNotAllEqual(curves.make_images(300, seed=2), images)

  def testImagesAreDistinct(self):
    images = curves.make_images(300)
    self.assertLen(np.unique(images, axis=0), 300)

  def testStrokesAreThinAndSoft(self):
    images = curves.make_images(300).reshape(-1, 28, 28)
    for image in images:
      self.assertBetween(np.mean(image > 0.), 0.005, 0.3)
      self.assertTrue(np.any((image > 0.) & (image < 1.)))
    edge = np.ones((28, 28), bool)
    edge[1:-1, 1:-1] = False
    self.assertEqual(images[:, edge].max(), 0.)

  def testNoImages(self):
    with self.assertRaisesRegex(
        ValueError, "^num_images must be at least 1, got 0.$"):
      curves.make_images(0)


class BezierTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._control_points = np.random.RandomState(0).uniform(
        0., 28., size=(5, 4, 2))

  def testEqualsDeCasteljau(self):
    times = np.array([0., 0.1, 0.5, 0.8, 1.])
    expected = np.zeros([5, len(times), 2])
    for k, time in enumerate(times):
      points = self._control_points
      while points.shape[1] > 1:
        points = (1. - time) * points[:, :-1] + time * points[:, 1:]
      expected[:, k] = points[:, 0]
    self.assertAllClose(curves.bezier(self._control_points, times), expected)

  def testPointsAreEvenAndOnTheCurve(self):
    points = curves.even_points(self._control_points)
    self.assertAllClose(points[:, 0], self._control_points[:, 0])
    self.assertAllClose(points[:, -1], self._control_points[:, -1])
    dense = curves.bezier(self._control_points, np.linspace(0., 1., 20001))
    for found, curve in zip(points, dense, strict=True):
      distances = np.linalg.norm(found[:, None] - curve, axis=2)
      self.assertLess(distances.min(axis=1).max(), 0.01)
      # The length of the curve up to each point.
      length = np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))
      at = np.append(0., length)[distances.argmin(axis=1)]
      self.assertAllClose(
          at, np.linspace(0., length[-1], len(points[0])), atol=0.05)


class DrawTest(tf.test.TestCase):

  def testPixelsEqualDistancesToASegment(self):
    start, end = np.array([4., 10.]), np.array([22., 16.])
    points = start + np.linspace(0., 1., 1001)[:, None] * (end - start)
    x, y = np.meshgrid(np.arange(28) + 0.5, np.arange(28) + 0.5)
    pixels = np.stack([x, y], axis=-1)
    along = np.clip((pixels - start) @ (end - start) /
                    np.sum((end - start)**2), 0., 1.)
    distance = np.linalg.norm(
        pixels - start - along[..., None] * (end - start), axis=-1)
    self.assertAllClose(
        curves.draw(points[None])[0], np.clip(1.3 - distance, 0., 1.),
        atol=1e-3)

  def testFirstCoordinateRunsAlongARow(self):
    image = curves.draw(np.array([[[20.5, 3.5]]]))[0]
    self.assertEqual(np.unravel_index(image.argmax(), image.shape), (3, 20))


if __name__ == "__main__":
  tf.test.main()
