"""Images of random smooth curves, an artificial data set of any size.

They are in the manner of CURVES, the artificial data set of Hinton &
Salakhutdinov 2006 ("Reducing the dimensionality of data with neural
networks"), but not a copy of it. A curve has eight true degrees of freedom,
the coordinates of its four control points.
"""

import numpy as np

IMAGE_SIZE = 28
NUM_IMAGES = 20000

_DEGREE = 3
# Control points, and so the whole curve, keep this far from the edge, pixels.
_MARGIN = 3.
_HALF_WIDTH = 0.8
# A curve is drawn through so many of its points, spread evenly over its length.
_NUM_STEPS = 128
_NUM_POINTS = 64
# Images that are drawn at a time: what that takes fits into a cache.
_CHUNK = 256


def make_images(num_images=NUM_IMAGES, seed=0):
  """Draws random curves.

  Args:
    num_images: Number of images, at least 1.
    seed: Seed of the control points. The images of a smaller number are the
      first ones of a larger.

  Returns:
    float32 array [num_images, 784], values in [0, 1], 1 being ink.

  Raises:
    ValueError: If there are no images to draw.
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
    times: Array [t], where 0 is the first control point and 1 the last.

  Returns:
    Array [n, t, 2].
  """
  times = np.asarray(times)
  bernstein = np.stack([
      (1. - times)**3, 3. * times * (1. - times)**2,
      3. * times**2 * (1. - times), times**3], axis=1)
  return bernstein @ control_points


def even_points(control_points):
  """Finds points of cubic Bezier curves at equal distances along them.

  Args:
    control_points: Array [n, 4, 2].

  Returns:
    Array [n, 64, 2]; the ends of a curve are the first and the last.
  """
  points = bezier(control_points, np.linspace(0., 1., _NUM_STEPS + 1))
  steps = np.linalg.norm(np.diff(points, axis=1), axis=2)
  lengths = np.cumsum(np.pad(steps, [(0, 0), (1, 0)]), axis=1)
  # Curve k takes up [2 k, 2 k + 1], so that one call interpolates them all.
  offsets = 2. * np.arange(len(points))[:, None]
  known = lengths / lengths[:, -1:] + offsets
  wanted = np.linspace(0., 1., _NUM_POINTS) + offsets
  return np.stack([
      np.interp(wanted.ravel(), known.ravel(), points[..., k].ravel())
      .reshape(wanted.shape) for k in range(2)], axis=2)


def draw(points):
  """Draws strokes through points, with a soft edge that is one pixel wide.

  Args:
    points: Array [n, p, 2] of x and y, in pixels from the upper left corner,
      close to one another.

  Returns:
    float32 array [n, 28, 28]: by rows, values in [0, 1].
  """
  centers = np.arange(IMAGE_SIZE) + 0.5
  squares = ((points[..., None] - centers)**2).astype(np.float32)
  nearest = np.full([len(points), IMAGE_SIZE, IMAGE_SIZE], np.inf, np.float32)
  for number in range(points.shape[1]):
    x, y = squares[:, number, 0], squares[:, number, 1]
    np.minimum(nearest, y[:, :, None] + x[:, None, :], out=nearest)
  return np.clip(_HALF_WIDTH + 0.5 - np.sqrt(nearest), 0., 1.)
