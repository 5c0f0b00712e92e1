"""Reads MNIST from IDX files, and says in one line what is wrong with them."""

import collections
import gzip
import math
import os
import zlib

import numpy as np

DEFAULT_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
IMAGE_SIZE = 28
NUM_CLASSES = 10

# A file whose header promises more than this is refused unread.
MAX_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20
# Deflate never shrinks data by more than this.
_MAX_GZIP_RATIO = 1032
_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTES = 8

Dataset = collections.namedtuple(
    "Dataset", ["train_images", "train_labels", "test_images", "test_labels"])


class DataError(ValueError):
  """A file of digits is missing or broken; the message is one line."""


def load(data_dir=DEFAULT_DIR):
  """Reads the training and test digits of a directory.

  Args:
    data_dir: Directory with the four files of MNIST under their usual names,
      with or without ".gz".

  Returns:
    A Dataset: images uint8 [n, 784], labels int32 [n], both for training and
    test.

  Raises:
    DataError: If the directory or a file is missing, or a file is not what its
      name or header promises.
  """
  if not os.path.isdir(data_dir):
    raise DataError(f"{data_dir!r}: no such directory.")
  return Dataset(*(_load_split(data_dir, "train")
                   + _load_split(data_dir, "t10k")))


def _load_split(data_dir, split):
  """Reads the images and labels of "train" or "t10k"."""
  image_path = _find(data_dir, split + "-images-idx3-ubyte")
  label_path = _find(data_dir, split + "-labels-idx1-ubyte")
  images = read_idx(image_path, 3)
  labels = read_idx(label_path, 1)
  if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
    raise DataError("{}: images must be {} x {}, got {} x {}.".format(
        image_path, IMAGE_SIZE, IMAGE_SIZE, *images.shape[1:]))
  if labels.max() >= NUM_CLASSES:
    raise DataError(
        f"{label_path}: labels must be 0 to {NUM_CLASSES - 1}, got "
        f"{labels.max()}.")
  if len(labels) != len(images):
    raise DataError(
        f"{label_path}: one label per image is needed, got {len(labels)} for "
        f"{len(images)} in {image_path}."
                    )
  return images.reshape(len(images), -1), labels.astype(np.int32)


def _find(data_dir, name):
  """Returns the path of a file, plain if it is there, else with ".gz"."""
  plain = os.path.join(data_dir, name)
  for path in (plain, plain + ".gz"):
    if os.path.isfile(path):
      return path
  raise DataError(f"{plain}: no such file, with or without .gz.")


def read_idx(path, rank):
  """Reads one IDX file of unsigned bytes, compressed by gzip or not.

  No more memory is taken than the file can fill: the header is compared with
  the file's size first, and reading stops one byte after what it promises.

  Args:
    path: The file. Whether it is compressed is told from its first bytes.
    rank: The number of dimensions that it must have.

  Returns:
    uint8 array with the shape that the header gives, read-only.

  Raises:
    DataError: If the file cannot be read, is of another type or rank, is empty,
      or holds fewer or more bytes than its header promises.
  """
  try:
    file_size = os.path.getsize(path)
    with open(path, "rb") as raw:
      is_gzip = raw.read(2) == _GZIP_MAGIC
      raw.seek(0)
      if not is_gzip:
        return _read_array(raw, path, rank, file_size)
      with gzip.GzipFile(fileobj=raw) as unpacked:
        return _read_array(unpacked, path, rank, file_size * _MAX_GZIP_RATIO)
  except EOFError:
    raise DataError(f"{path}: the gzip stream is cut off.") from None
  except (gzip.BadGzipFile, zlib.error) as error:
    raise DataError(f"{path}: broken gzip stream, {error}.") from None
  except OSError as error:
    raise DataError(
        f"{path}: cannot be read, {error.strerror or error}.") from None


def _read_array(stream, path, rank, most_bytes):
  """Reads header and data from a stream that can hold at most most_bytes."""
  shape = _read_shape(stream, path, rank)
  size = math.prod(shape)
  if size == 0:
    raise DataError(
        f"{path}: no data, the header's shape is {_describe(shape)}.")
  if size > MAX_BYTES:
    raise DataError(
        f"{path}: at most {MAX_BYTES} bytes are read, the header promises "
        f"{size} ({_describe(shape)}).")
  data = b"" if size > most_bytes else _read_bytes(stream, size + 1)
  if len(data) < size:
    raise DataError(
        f"{path}: truncated, the header promises {size} bytes "
        f"({_describe(shape)}).")
  if len(data) > size:
    raise DataError(
        f"{path}: more bytes than the {size} that the header promises "
        f"({_describe(shape)})."
                    )
  return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _read_shape(stream, path, rank):
  """Reads the header: the magic number and the dimensions."""
  magic = _read_bytes(stream, 4)
  expected = bytes([0, 0, _UNSIGNED_BYTES, rank])
  if magic != expected:
    raise DataError("{}: magic number must be 0x{}, got {}.".format(
        path, expected.hex(), "0x" + magic.hex() if magic else "an empty file"))
  header = _read_bytes(stream, 4 * rank)
  if len(header) < 4 * rank:
    raise DataError(f"{path}: truncated in the header.")
  return tuple(np.frombuffer(header, dtype=">u4").tolist())


def _read_bytes(stream, size):
  """Reads at most size bytes, in pieces: none is made before it is filled."""
  pieces = []
  while size > 0:
    piece = stream.read(min(size, _CHUNK_BYTES))
    if not piece:
      break
    pieces.append(piece)
    size -= len(piece)
  return b"".join(pieces)


def _describe(shape):
  """Writes a shape as "60000 x 28 x 28"."""
  return " x ".join(str(size) for size in shape)
