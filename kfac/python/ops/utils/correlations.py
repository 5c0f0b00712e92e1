"""Moments of the patches of a 2-D convolution of stride 1, without patches.

A patch is what the filter sees at one location of the outputs. The block of
its second moment for two places d and d' of the filter is a sum over pixels v,

    sum_v x[v] x[v + d' - d]^T,    v in a window that depends on d alone,

so that most of its products are had from one correlation of the images with
themselves. Rows of the images are multiplied with the rows `shift` below them,
all their pixels with each other; what is wanted of that is then picked out,
first along the columns, then along the rows. Wide rows, whose pixels are mostly
too far apart to be seen together, are cut into tiles that overlap: the pixels
that `tile_width` neighbouring locations see.

Grosse & Martens 2016, section 3, has what the moments are for.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints

# What moving a number costs, in multiplications of a large matrix product
# (measured on two CPU cores, where 0.7 ns are 20 of them).
_MOVE_COST = 20

# Products of rows [start, stop) with those `shift` below, which are the blocks
# of the places (d, d + shift) for each d in `places`.
_RowPart = collections.namedtuple(
    "_RowPart", ["shift", "start", "stop", "places"])

# `count` tiles, each of the `span` pixels that `width` locations see, cut from
# rows with `padding` zeros before and after. The first location of a tile sees
# its pixels from -`before` on.
_Tiles = collections.namedtuple(
    "_Tiles", ["count", "width", "span", "padding", "before"])


def output_sizes(lengths: Sequence[Any], filter_size: Sequence[int],
                 padding: str, strides: Sequence[int] | None = None,
                 rates: Sequence[int] | None = None) -> list:
  """Returns the spatial sizes of the outputs of a convolution.

  Args:
    lengths: The inputs' spatial sizes, ints or scalar tensors.
    filter_size: The filter's spatial sizes.
    padding: "SAME", else "VALID".
    strides: Int for each spatial dimension, or None for ones.
    rates: Likewise, the dilations.

  Returns:
    List of what `lengths` has, >= 0.
  """
  ones = [1] * len(filter_size)
  sizes = []
  # Whoever extracts the patches checks the arguments.
  for length, size, stride, rate in zip(
      lengths, filter_size, strides or ones, rates or ones, strict=False):
    span = 1 if padding == "SAME" else rate * (size - 1) + 1
    count = -((span - 1 - length) // stride)
    sizes.append(max(count, 0) if isinstance(count, int)
                 else tf.maximum(count, 0))
  return sizes


def choose_tile_width(image_shape: Sequence[int], filter_size: Sequence[int],
                      padding: str,
                      num_examples: int | None = None) -> int | None:
  """Chooses how patch_moments should tile, by a count of operations.

  The count is that of multiplications and, in the same unit, of numbers moved.

  Args:
    image_shape: List [height, width, channels] of ints.
    filter_size: [filter height, filter width].
    padding: "SAME" or "VALID".
    num_examples: Int, or None if it is large or not known.

  Returns:
    The number of locations of a tile, a divisor of the outputs' width; None if
    it is cheaper to extract patches, or there is no output.
  """
  height, width = output_sizes(image_shape[:2], filter_size, padding)
  if not height or not width:
    return None
  size = filter_size[0] * filter_size[1] * image_shape[2]
  patches_cost = (_product_cost(height * width, size) +
                  height * width * size * _MOVE_COST)
  cost, tile_width = min(
      (_correlation_cost(image_shape, filter_size, padding, tile, num_examples),
       tile) for tile in range(1, width + 1) if width % tile == 0)
  return tile_width if cost < patches_cost else None


def patch_moments(images: hints.TensorLike, filter_size: Sequence[int],
                  padding: str, tile_width: int) -> tuple[tf.Tensor, tf.Tensor]:
  """Means of patches and of their outer products, over examples and locations.

  Args:
    images: Tensor [batch, height, width, channels], all known but the batch.
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
  out_height, out_width = output_sizes([height, width], filter_size, padding)
  if not out_height or out_width % tile_width:
    raise ValueError(
        f"tile_width must divide the width of outputs of size [{out_height}, "
        f"{out_width}], got {tile_width}."
        )
  tiles = _tiles(width, filter_size[1], padding, tile_width)
  parts = _row_parts(height, filter_size[0], padding)
  count = tf.cast(tf.shape(images)[0], images.dtype) * (out_height * out_width)
  half = _pick(_row_products(images, tiles, parts), filter_size, tiles, parts,
               count)
  return (_patch_mean(images, filter_size, padding), half + tf.transpose(half))


def _pick(products, filter_size, tiles, parts, count):
  """Picks the blocks of the second moment out of products of rows.

  Args:
    products: Tensor [parts, span, channels, span, channels].
    filter_size: [filter height, filter width].
    tiles: _Tiles.
    parts: List of _RowPart.
    count: Scalar to divide by.

  Returns:
    Matrix [n, n], which gives the second moment if its transpose is added.
  """
  (height, width), channels = filter_size, products.shape.as_list()[-1]
  # Transposed so that the last dimension is copied in one piece.
  blocks = tf.reshape(tf.transpose(products, [1, 3, 0, 2, 4]),
                      [tiles.span ** 2, -1])
  if tiles.width > 1 or tiles.before or tiles.span != width:
    # One location sees each pixel of its tile once, several have to share.
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

  A single tile needs no padding, as what is seen of it is picked out.
  """
  outputs, before = _outputs_and_padding(width, filter_width, padding)
  if tile_width == outputs:
    return _Tiles(1, outputs, width, [0, 0], before)
  after = outputs + filter_width - 1 - width - before
  return _Tiles(outputs // tile_width, tile_width,
                tile_width + filter_width - 1, [before, after], 0)


def _row_parts(height, filter_height, padding):
  """Cuts the rows where the window of a place of the filter starts or ends.

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

  They are for a matrix to which its transpose is added: none below the
  diagonal, and half of the blocks on it.
  """
  weights = np.zeros([filter_height, filter_height, len(parts)])
  for i, part in enumerate(parts):
    for d in part.places:
      weights[d, d + part.shift, i] = 1. if part.shift else 0.5
  return weights


def _seen(length, filter_size, outputs, before):
  """Array [filter_size, outputs, length]: 1 where an output sees a pixel.

  It does so through one place of the filter.
  """
  places = np.arange(filter_size)[:, None, None]
  locations = np.arange(outputs)[:, None]
  return (np.arange(length) == locations + places - before).astype(float)


def _constant(array, like):
  return tf.constant(array, dtype=like.dtype)


def _product_cost(num_rows, size):
  """Counts what the second moment of rows of length `size` costs."""
  return num_rows * (size ** 2 + 2 * size * _MOVE_COST)


def _correlation_cost(image_shape, filter_size, padding, tile_width,
                      num_examples):
  """Counts per example what patch_moments costs, as choose_tile_width does.

  Results, which all examples share, count by how often they are moved more than
  with patches.
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
