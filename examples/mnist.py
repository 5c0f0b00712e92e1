"""Reads MNIST from IDX files, with one-line errors, and draws batches."""

import collections
import gzip
import itertools
import math
import os
import stat
import zlib

import numpy as np

DEFAULT_DIR = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
IMAGE_SIZE = 28
NUM_CLASSES = 10

# A file whose header declares more data than this is not read.
MAX_BYTES = 1 << 30
_CHUNK_BYTES = 1 << 20
# Upper bound of the compression ratio of deflate.
_MAX_GZIP_RATIO = 1032
_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTES = 8

Dataset = collections.namedtuple(
    "Dataset", ["train_images", "train_labels", "test_images", "test_labels"])


class DataError(ValueError):
  """A data file is missing or invalid; the message is one line."""


def load(data_dir=DEFAULT_DIR):
  """Reads the training and test sets from a directory.

  Args:
    data_dir: Directory with the four files of MNIST under their usual names,
      with or without ".gz".

  Returns:
    A Dataset: images uint8 [n, 784] and labels int32 [n] of the training set
    and of the test set.

  Raises:
    DataError: If the directory or a file is missing or cannot be read, or the
      contents of a file do not match its name or header.
  """
  mode = _mode(data_dir)
  if mode is None:
    raise DataError(f"{data_dir!r}: no such directory.")
  if not stat.S_ISDIR(mode):
    raise DataError(f"{data_dir!r}: not a directory.")
  return Dataset(*(_load_split(data_dir, "train")
                   + _load_split(data_dir, "t10k")))


def _load_split(data_dir, split):
  """Reads the images and labels of "train" or "t10k"."""
  image_path = _find(data_dir, split + "-images-idx3-ubyte")
  label_path = _find(data_dir, split + "-labels-idx1-ubyte")
  images = read_idx(image_path, 3)
  labels = read_idx(label_path, 1)
  if images.shape[1:] != (IMAGE_SIZE, IMAGE_SIZE):
    raise DataError(
        f"{image_path}: images must be {IMAGE_SIZE} x {IMAGE_SIZE}, got "
        f"{_describe(images.shape[1:])}.")
  if labels.max() >= NUM_CLASSES:
    raise DataError(
        f"{label_path}: labels must be 0 to {NUM_CLASSES - 1}, got "
        f"{labels.max()}.")
  if len(labels) != len(images):
    raise DataError(
        f"{label_path}: the number of labels must be the number of images, got "
        f"{len(labels)} for {len(images)} in {image_path}.")
  return images.reshape(len(images), -1), labels.astype(np.int32)


def _mode(path):
  """Returns the type and permissions of a file, None if it does not exist."""
  try:
    return os.stat(path).st_mode
  except FileNotFoundError:
    return None
  except OSError as error:
    raise DataError(f"{path}: cannot be read, {error.strerror}.") from None


def _find(data_dir, name):
  """Returns the path of a file, without ".gz" if that exists."""
  plain = os.path.join(data_dir, name)
  for path in (plain, plain + ".gz"):
    mode = _mode(path)
    if mode is not None and stat.S_ISREG(mode):
      return path
  raise DataError(f"{plain}: no such file, with or without .gz.")


def read_idx(path, rank):
  """Reads one IDX file of unsigned bytes, plain or compressed by gzip.

  The size of the file bounds the memory: the header is compared with the size
  of the file first, and reading stops one byte after the declared data.

  Args:
    path: The file. Its first bytes decide whether it is compressed.
    rank: The number of dimensions that it must have.

  Returns:
    uint8 array with the shape in the header, read-only.

  Raises:
    DataError: If the file cannot be read, has another type or rank, is empty,
      or has fewer or more bytes than its header declares.
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
    raise DataError(f"{path}: truncated gzip stream.") from None
  except (gzip.BadGzipFile, zlib.error) as error:
    raise DataError(f"{path}: invalid gzip stream, {error}.") from None
  except OSError as error:
    raise DataError(
        f"{path}: cannot be read, {error.strerror or error}.") from None


def _read_array(stream, path, rank, max_bytes):
  """Reads header and data from a stream of at most max_bytes."""
  shape = _read_shape(stream, path, rank)
  size = math.prod(shape)
  if size == 0:
    raise DataError(
        f"{path}: no data, the header's shape is {_describe(shape)}.")
  if size > MAX_BYTES:
    raise DataError(
        f"{path}: the data must have at most {MAX_BYTES} bytes, the header "
        f"declares {size} ({_describe(shape)}).")
  data = b"" if size > max_bytes else _read_bytes(stream, size + 1)
  if len(data) < size:
    raise DataError(
        f"{path}: truncated, the header declares {size} bytes "
        f"({_describe(shape)}).")
  if len(data) > size:
    raise DataError(
        f"{path}: more bytes than the {size} that the header declares "
        f"({_describe(shape)}).")
  return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _read_shape(stream, path, rank):
  """Reads the header: the magic number and the dimensions."""
  magic = _read_bytes(stream, 4)
  expected = bytes([0, 0, _UNSIGNED_BYTES, rank])
  if magic != expected:
    found = f"0x{magic.hex()}" if magic else "an empty file"
    raise DataError(
        f"{path}: magic number must be 0x{expected.hex()}, got {found}.")
  header = _read_bytes(stream, 4 * rank)
  if len(header) < 4 * rank:
    raise DataError(f"{path}: truncated in the header.")
  return tuple(np.frombuffer(header, dtype=">u4").tolist())


def _read_bytes(stream, size):
  """Reads at most `size` bytes, in chunks, so that memory grows with data."""
  chunks = []
  while size > 0:
    chunk = stream.read(min(size, _CHUNK_BYTES))
    if not chunk:
      break
    chunks.append(chunk)
    size -= len(chunk)
  return b"".join(chunks)


def _describe(shape):
  """Formats a shape as "60000 x 28 x 28"."""
  return " x ".join(str(size) for size in shape)


def shuffled_batches(num_examples, batch_size, seed):
  """Yields arrays of indices [batch_size] forever, reshuffled every epoch.

  An epoch omits the examples that do not fill its last batch.

  Args:
    num_examples: Number of examples in an epoch, at least batch_size.
    batch_size: Number of indices in a batch, or a function that computes it
      from the number of previous batches.
    seed: Seed of the shuffles.
  """
  random = np.random.RandomState(seed)
  start = num_examples
  for number in itertools.count():
    size = batch_size(number) if callable(batch_size) else batch_size
    if start + size > num_examples:
      order = random.permutation(num_examples)
      start = 0
    yield order[start:start + size]
    start += size
