"""Writes small IDX files for the tests of the examples."""

import gzip
import os

import numpy as np


def write_idx(path, array, shape=None, magic=None, extra=b""):
  """Writes an IDX file, with an optionally wrong header.

  Args:
    path: The file; it is compressed if its name ends in ".gz".
    array: uint8 array to write.
    shape: Shape in the header, by default the shape of the array.
    magic: The first four bytes, by default the correct ones.
    extra: Bytes after the data.
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
  """Writes the four files, with noisy images that a small network can classify.

  Args:
    data_dir: Output directory.
    num_train: Number of training examples.
    num_test: Number of test examples.
    suffix: ".gz" or "".

  Returns:
    The arrays: training images uint8 [n, 28, 28] and labels [n], test images
    and labels.
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
