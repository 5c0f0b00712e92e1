"""Images of random smooth curves, an artificial data set of any size.

The data set is similar to CURVES of Hinton & Salakhutdinov 2006 ("Reducing the
dimensionality of data with neural networks"), but not a copy of it. A curve
has eight degrees of freedom, the coordinates of its four control points.
"""

import numpy as np

IMAGE_SIZE = 28
NUM_IMAGES = 20000

_DEGREE = 3
# Minimum distance of the control points, and so of the curve, from the edge.
_MARGIN = 3.
# Half of the width of a stroke, in pixels.
_HALF_WIDTH = 0.8
# Number of segments that measure the length of a curve, and number of points,
# evenly spaced by length, that a stroke is drawn through.
_NUM_STEPS = 128
_NUM_POINTS = 64
# Number of images that are drawn at a time; their arrays fit into a cache.
_CHUNK = 256


def make_images(num_images=NUM_IMAGES, seed=0):
  """Draws random curves.

  Args:
    num_images: Number of images, at least 1.
    seed: Seed of the control points. With the same seed, a smaller data set is
      the beginning of a larger one.

  Returns:
    float32 array [num_images, 784], values in [0, 1], where 1 is ink.

  Raises:
    ValueError: If num_images is less than 1.
  """
  if num_images < 1:
    raise ValueError(
        f"num_images must be at least 1, got {num_images}.")
  control_points = np.random.RandomState(seed).uniform(
      _MARGIN, IMAGE_SIZE - _MARGIN, size=(num_images, _DEGREE + 1, 2))
  images = [
      draw(even_points(control_points[start:start + _CHUNK]))
      for start in range(0, num_images, _CHUNK)]
  return np.concatenate(images).reshape(num_images, -1)


def bezier(control_points, times):
  """Evaluates cubic Bezier curves.

  Args:
    control_points: Array [n, 4, 2].
    times: Array [t], parameters from 0 (first control point) to 1 (last one).

  Returns:
    Array [n, t, 2].
  """
  times = np.asarray(times)
  bernstein = np.stack([
      (1. - times)**3, 3. * times * (1. - times)**2,
      3. * times**2 * (1. - times), times**3], axis=1)
  return bernstein @ control_points


def even_points(control_points):
  """Computes points on cubic Bezier curves, evenly spaced by length.

  Args:
    control_points: Array [n, 4, 2].

  Returns:
    Array [n, 64, 2]; the first and last points are the ends of the curve.
  """
  points = bezier(control_points, np.linspace(0., 1., _NUM_STEPS + 1))
  steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
  lengths = np.cumsum(np.pad(steps, [(0, 0), (1, 0)]), axis=1)
  # Curve k occupies [2 k, 2 k + 1], so that one call interpolates all curves.
  offsets = 2. * np.arange(len(points))[:, None]
  known = lengths / lengths[:, -1:] + offsets
  wanted = np.linspace(0., 1., _NUM_POINTS) + offsets
  return np.stack([
      np.interp(wanted.ravel(), known.ravel(), points[..., k].ravel())
      .reshape(wanted.shape) for k in range(2)], axis=2)


def draw(points):
  """Draws strokes through points, with a soft edge that is one pixel wide.

  Args:
    points: Array [n, p, 2] of x and y in pixels from the upper left corner.
      Successive points must be close to each other.

  Returns:
    float32 array [n, 28, 28], rows of values in [0, 1].
  """
  centers = np.arange(IMAGE_SIZE) + 0.5
  squares = ((points[..., None] - centers)**2).astype(np.float32)
  nearest = np.full([len(points), IMAGE_SIZE, IMAGE_SIZE], np.inf, np.float32)
  for number in range(points.shape[1]):
    x, y = squares[:, number, 0], squares[:, number, 1]
    np.minimum(nearest, y[:, :, None] + x[:, None, :], out=nearest)
  return np.clip(_HALF_WIDTH + 0.5 - np.sqrt(nearest), 0., 1.)
