"""Writes small IDX files for the tests of the examples."""

import gzip
import os

import numpy as np


def write_idx(path, array, shape=None, magic=None, extra=b""):
  """Writes an IDX file, with a header that may lie.

  Args:
    path: The file; it is compressed if its name ends in ".gz".
    array: uint8 array to write.
    shape: Shape to put into the header, by default the array's.
    magic: The first four bytes, by default the right ones.
    extra: Bytes to write after the data.
  """
  array = np.asarray(array, np.uint8)
  shape = array.shape if shape is None else shape
  if magic is None:
    magic = bytes([0, 0, 8, len(shape)])
  contents = (magic + np.asarray(shape, ">u4").tobytes() + array.tobytes()
              + extra)
  with open(path, "wb") as stream:
    stream.write(gzip.compress(contents, mtime=0) if path.endswith(".gz")
                 else contents)


def write_dataset(data_dir, num_train=60, num_test=20, suffix=".gz"):
  """Writes the four files: noisy digits that a small network can tell apart.

  Args:
    data_dir: Directory to write into.
    num_train: Number of training digits.
    num_test: Number of test digits.
    suffix: ".gz" or "".

  Returns:
    The arrays written: training images uint8 [n, 28, 28] and labels [n], then
    those of the test.
  """
  random = np.random.RandomState(0)
  prototypes = random.randint(0, 200, size=(10, 28, 28))
  arrays = []
  for split, size in (("train", num_train), ("t10k", num_test)):
    labels = random.permutation(np.arange(size) % 10)
    images = prototypes[labels] + random.randint(0, 56, size=(size, 28, 28))
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
      name = f"{split}-{kind}-ubyte{suffix}"
      write_idx(os.path.join(data_dir, name), array)
      arrays.append(array.astype(np.uint8))
  return arrays
