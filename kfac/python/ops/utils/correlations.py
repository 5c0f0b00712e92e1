"""Moments of the patches of a 2-D convolution of stride 1, without patches.

A patch is what the filter sees at one location of the outputs. The block of
its second moment for two places d and d' of the filter is a sum over pixels v,

    sum_v x[v] x[v + d' - d]^T,    v in a window that depends on d alone,

so that most of its products come from one autocorrelation of the images. Each
row of an image is multiplied with the row `shift` below it, all pairs of their
pixels; the needed products are then selected, first along the columns, then
along the rows. In wide rows most pixels are too far apart to share a patch, so
these rows are cut into overlapping tiles: the pixels that `tile_width`
neighbouring locations see.

Grosse & Martens 2016, section 3, use these moments as the factor A.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import patches

# Cost of moving a number, in multiplications of a large matrix product
# (measured on two CPU cores: 0.7 ns, the time of 20 multiplications).
_MOVE_COST = 20

# Products of rows [start, stop) with those `shift` below. They contribute to
# the blocks of the places (d, d + shift) for each d in `places`.
_RowPart = collections.namedtuple(
    "_RowPart", ["shift", "start", "stop", "places"])

# `count` tiles, each of the `span` pixels that `width` locations see, cut from
# rows with `padding` zeros before and after. The patch of a tile's first
# location begins at pixel -`before`.
_Tiles = collections.namedtuple(
    "_Tiles", ["count", "width", "span", "padding", "before"])


def choose_tile_width(image_shape: Sequence[int], filter_size: Sequence[int],
                      padding: str,
                      num_examples: int | None = None) -> int | None:
  """Chooses the tile width of patch_moments by a count of operations.

  The count adds multiplications and, in the same unit, numbers moved.

  Args:
    image_shape: List [height, width, channels] of ints.
    filter_size: [filter height, filter width].
    padding: "SAME" or "VALID".
    num_examples: Int, or None if it is large or unknown.

  Returns:
    The number of locations of a tile, a divisor of the outputs' width; None if
    extracting patches costs less, or there is no output.
  """
  height, width = patches.output_sizes(image_shape[:2], filter_size, padding)
  if not height or not width:
    return None
  size = filter_size[0] * filter_size[1] * image_shape[2]
  patches_cost = (_product_cost(height * width, size) +
                  height * width * size * _MOVE_COST)
  cost, tile_width = min(
      (_correlation_cost(image_shape, filter_size, padding, tile, num_examples),
       tile) for tile in range(1, width + 1) if width % tile == 0)
  return tile_width if cost < patches_cost else None


def patch_moments(images: tf.Tensor, filter_size: Sequence[int],
                  padding: str, tile_width: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Means of patches and of their outer products, over examples and locations.

  Args:
    images: Tensor [batch, height, width, channels], static but for the batch.
    filter_size: [filter height, filter width].
    padding: "SAME" or "VALID".
    tile_width: Divisor of the outputs' width, see choose_tile_width.

  Returns:
    The mean [n] of patches and their second moment [n, n], exactly symmetric,
    with n = filter height * filter width * channels as in patches of
    extract_convolution_patches.

  Raises:
    ValueError: If the tile width is no divisor, or there is no output.
  """
  _, height, width, channels = images.shape.as_list()
  out_height, out_width = patches.output_sizes(
      [height, width], filter_size, padding)
  if not out_height or out_width % tile_width:
    raise ValueError(
        f"tile_width must divide the width of outputs of size [{out_height}, "
        f"{out_width}], got {tile_width}.")
  tiles = _tiles(width, filter_size[1], padding, tile_width)
  parts = _row_parts(height, filter_size[0], padding)
  count = tf.cast(tf.shape(images)[0], images.dtype) * (out_height * out_width)
  half = _select(_row_products(images, tiles, parts), filter_size, tiles, parts,
                 count)
  return (_patch_mean(images, filter_size, padding), half + tf.transpose(half))


def _select(products, filter_size, tiles, parts, count):
  """Assembles the blocks of the second moment from products of rows.

  Args:
    products: Tensor [parts, span, channels, span, channels].
    filter_size: [filter height, filter width].
    tiles: _Tiles.
    parts: List of _RowPart.
    count: Scalar to divide by.

  Returns:
    Matrix [n, n]; adding its transpose gives the second moment.
  """
  (height, width), channels = filter_size, products.shape.as_list()[-1]
  # Transposed so that the last dimension is copied in one piece.
  blocks = tf.reshape(tf.transpose(products, [1, 3, 0, 2, 4]),
                      [tiles.span ** 2, -1])
  if tiles.width > 1 or tiles.before or tiles.span != width:
    # Several locations of a tile see the same pixel.
    seen = _seen(tiles.span, width, tiles.width, tiles.before)
    seen = np.einsum("dox,eoy->dexy", seen, seen)
    blocks = tf.matmul(
        _constant(seen.reshape(-1, tiles.span ** 2), products), blocks)
  blocks = tf.reshape(blocks, [width ** 2, len(parts), channels ** 2])
  weights = _part_weights(parts, height).reshape(-1, len(parts))
  weights = tf.tile(_constant(weights, products)[tf.newaxis] / count,
                    [width ** 2, 1, 1])
  blocks = tf.reshape(tf.matmul(weights, blocks),
                      2 * [width] + 2 * [height] + 2 * [channels])
  size = height * width * channels
  return tf.reshape(tf.transpose(blocks, [2, 0, 4, 3, 1, 5]), [size, size])


def _patch_mean(images, filter_size, padding):
  """Returns the mean patch [n]."""
  seen = []
  for length, size in zip(images.shape.as_list()[1:3], filter_size,
                          strict=True):
    outputs, before = _outputs_and_padding(length, size, padding)
    seen.append(_seen(length, size, outputs, before).sum(axis=1) / outputs)
  rows, columns = [_constant(array, images) for array in seen]
  mean = tf.reduce_mean(images, axis=0)
  return tf.reshape(
      tf.einsum("ay,dx,yxi->adi", rows, columns, mean), [-1])


def _row_products(images, tiles, parts):
  """Multiplies rows of pixels with those below them, summed over each part.

  Args:
    images: Tensor [batch, height, width, channels].
    tiles: _Tiles.
    parts: List of _RowPart.

  Returns:
    Tensor [parts, span, channels, span, channels].
  """
  _, height, _, channels = images.shape.as_list()
  size = tiles.span * channels
  rows = tf.transpose(images, [1, 0, 2, 3])
  if tiles.count > 1:
    rows = tf.pad(rows, [[0, 0], [0, 0], tiles.padding, [0, 0]])
    rows = tf.stack(
        [rows[:, :, i * tiles.width:i * tiles.width + tiles.span]
         for i in range(tiles.count)], axis=1)
  rows = tf.reshape(rows, [height, -1, size])

  def take(start, stop):
    return tf.reshape(rows[start:stop], [-1, size])

  products = tf.stack([
      tf.matmul(take(part.start, part.stop),
                take(part.start + part.shift, part.stop + part.shift),
                transpose_a=True) for part in parts])
  return tf.reshape(
      products, [len(parts), tiles.span, channels, tiles.span, channels])


def _outputs_and_padding(length, filter_size, padding):
  """Returns the number of outputs, and of zeros before the inputs."""
  if padding == "SAME":
    return length, (filter_size - 1) // 2
  return length - filter_size + 1, 0


def _tiles(width, filter_width, padding, tile_width):
  """Returns the _Tiles of a row of `width` pixels.

  A single tile needs no padding, since _select drops what is not seen.
  """
  outputs, before = _outputs_and_padding(width, filter_width, padding)
  if tile_width == outputs:
    return _Tiles(1, outputs, width, [0, 0], before)
  after = outputs + filter_width - 1 - width - before
  return _Tiles(outputs // tile_width, tile_width,
                tile_width + filter_width - 1, [before, after], 0)


def _row_parts(height, filter_height, padding):
  """Cuts the rows at the start and the end of each filter place's window.

  Returns:
    List of _RowPart.
  """
  outputs, before = _outputs_and_padding(height, filter_height, padding)
  parts = []
  for shift in range(min(filter_height, height)):
    windows = [(max(d - before, 0), min(d - before + outputs, height - shift))
               for d in range(filter_height - shift)]
    cuts = sorted({cut for start, stop in windows if start < stop
                   for cut in (start, stop)})
    for start, stop in zip(cuts[:-1], cuts[1:], strict=True):
      places = [d for d, window in enumerate(windows)
                if window[0] <= start and stop <= window[1]]
      if places:
        parts.append(_RowPart(shift, start, stop, places))
  return parts


def _part_weights(parts, filter_height):
  """Array [filter_height, filter_height, parts]: the parts of each block.

  The transpose is added later, so blocks below the diagonal have none, and
  those on it half.
  """
  weights = np.zeros([filter_height, filter_height, len(parts)])
  for i, part in enumerate(parts):
    for d in part.places:
      weights[d, d + part.shift, i] = 1. if part.shift else 0.5
  return weights


def _seen(length, filter_size, outputs, before):
  """Array [place, output, pixel]: 1 where an output sees a pixel at a place.

  Its shape is [filter_size, outputs, length].
  """
  places = np.arange(filter_size)[:, None, None]
  locations = np.arange(outputs)[:, None]
  return (np.arange(length) == locations + places - before).astype(float)


def _constant(array, like):
  return tf.constant(array, dtype=like.dtype)


def _product_cost(num_rows, size):
  """Counts the cost of the second moment of rows of length `size`."""
  return num_rows * (size ** 2 + 2 * size * _MOVE_COST)


def _correlation_cost(image_shape, filter_size, padding, tile_width,
                      num_examples):
  """Counts the cost of patch_moments per example, as choose_tile_width does.

  The results are shared by all examples; they count by how often they are moved
  beyond what patches need.
  """
  height, width, channels = image_shape
  tiles = _tiles(width, filter_size[1], padding, tile_width)
  parts = _row_parts(height, filter_size[0], padding)
  num_rows = sum(part.stop - part.start for part in parts) * tiles.count
  moved = height * width * channels
  if tiles.count > 1:
    moved += height * tiles.count * tiles.span * channels
  if num_examples:
    size = filter_size[0] * filter_size[1] * channels
    moved += (6 * len(parts) * (tiles.span * channels) ** 2 +
              2 * size ** 2) / num_examples
  return moved * _MOVE_COST + _product_cost(num_rows, tiles.span * channels)
