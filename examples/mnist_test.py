"""Tests of reading IDX files."""

import errno
import os
import shutil
import tempfile
import tracemalloc
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf

from examples import fake_mnist
from examples import mnist


class TempDirTestCase(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)

  def _path(self, name):
    return os.path.join(self._dir, name)

  def _error(self, function, *args):
    with self.assertRaises(mnist.DataError) as caught:
      function(*args)
    message = str(caught.exception)
    self.assertNotIn("\n", message)
    return message


class LoadTest(TempDirTestCase):

  def testReadsPlainAndCompressedFiles(self):
    for suffix in ("", ".gz"):
      with self.subTest(suffix=suffix):
        written = fake_mnist.write_dataset(self._dir, suffix=suffix)
        data = mnist.load(self._dir)
        self.assertAllEqual(data.train_images, written[0].reshape(60, 784))
        self.assertAllEqual(data.train_labels, written[1])
        self.assertAllEqual(data.test_images, written[2].reshape(20, 784))
        self.assertAllEqual(data.test_labels, written[3])
        self.assertEqual(data.train_images.dtype, np.uint8)
        self.assertEqual(data.train_labels.dtype, np.int32)
        for name in os.listdir(self._dir):
          os.remove(self._path(name))

  def testIncludedSampleIsMnist(self):
    data = mnist.load()
    self.assertEqual(data.train_images.shape, (10000, 784))
    self.assertEqual(data.test_images.shape, (2000, 784))
    # The first labels of MNIST are well known.
    self.assertAllEqual(data.train_labels[:8], [5, 0, 4, 1, 9, 2, 1, 3])
    self.assertAllEqual(data.test_labels[:8], [7, 2, 1, 0, 4, 1, 4, 9])
    self.assertAllEqual(np.unique(data.train_labels), np.arange(10))
    # Ink is in the middle, and ones have the least ink.
    ink = data.train_images.reshape(-1, 28, 28).mean(axis=0)
    self.assertGreater(ink[8:20, 8:20].mean(), 10 * ink[:, [0, -1]].mean())
    by_class = [data.train_images[data.train_labels == k].mean()
                for k in range(10)]
    self.assertEqual(np.argmin(by_class), 1)

  def testMissingDirectory(self):
    self.assertEqual(self._error(mnist.load, self._path("no")),
                     f"{self._path('no')!r}: no such directory.")

  def testMissingFile(self):
    fake_mnist.write_dataset(self._dir)
    path = self._path("t10k-labels-idx1-ubyte")
    os.remove(path + ".gz")
    self.assertEqual(self._error(mnist.load, self._dir),
                     f"{path}: no such file, with or without .gz.")

  def testDirectoryInPlaceOfFileIsMissing(self):
    fake_mnist.write_dataset(self._dir)
    os.remove(self._path("t10k-labels-idx1-ubyte.gz"))
    os.mkdir(self._path("t10k-labels-idx1-ubyte"))
    self.assertIn("no such file", self._error(mnist.load, self._dir))

  def testFileInPlaceOfDirectory(self):
    fake_mnist.write_dataset(self._dir)
    path = self._path("train-labels-idx1-ubyte.gz")
    self.assertEqual(
        self._error(mnist.load, path), f"{path!r}: not a directory.")
    path = os.path.join(path, "data")
    self.assertEqual(self._error(mnist.load, path),
                     f"{path}: cannot be read, Not a directory.")

  def testNoPermission(self):
    # A mock, because the superuser may read anything.
    fake_mnist.write_dataset(self._dir)
    stat = os.stat
    for path in (self._dir, self._path("train-labels-idx1-ubyte")):
      def refuse(name, refused=path):
        if name == refused:
          raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return stat(name)
      with unittest.mock.patch.object(os, "stat", refuse):
        self.assertEqual(self._error(mnist.load, self._dir),
                         f"{path}: cannot be read, Permission denied.")

  def testOtherImageSize(self):
    fake_mnist.write_dataset(self._dir)
    path = self._path("train-images-idx3-ubyte.gz")
    fake_mnist.write_idx(path, np.zeros([60, 32, 30]))
    self.assertEqual(
        self._error(mnist.load, self._dir),
        f"{path}: images must be 28 x 28, got 32 x 30.")

  def testLabelOutOfRange(self):
    fake_mnist.write_dataset(self._dir)
    path = self._path("t10k-labels-idx1-ubyte.gz")
    fake_mnist.write_idx(path, [3] * 19 + [10])
    self.assertEqual(self._error(mnist.load, self._dir),
                     f"{path}: labels must be 0 to 9, got 10.")

  def testCountsDiffer(self):
    fake_mnist.write_dataset(self._dir)
    path = self._path("train-labels-idx1-ubyte.gz")
    images_path = self._path("train-images-idx3-ubyte.gz")
    fake_mnist.write_idx(path, [3] * 59)
    self.assertEqual(
        self._error(mnist.load, self._dir),
        f"{path}: the number of labels must be the number of images, got 59 "
        f"for 60 in {images_path}.")


class ReadIdxTest(TempDirTestCase):

  def _write(self, array, name="file", **kwargs):
    path = self._path(name)
    fake_mnist.write_idx(path, array, **kwargs)
    return path

  def _check(self, path, message, rank=1):
    self.assertEqual(self._error(mnist.read_idx, path, rank),
                     f"{path}: {message}")

  def testContentsDecideOnCompression(self):
    path = self._write([1, 2, 3], "file.gz")
    os.rename(path, self._path("plain"))
    self.assertAllEqual(mnist.read_idx(self._path("plain"), 1), [1, 2, 3])

  def testWrongMagic(self):
    self._check(self._write([1], magic=b"\0\0\x0d\1"),
                "magic number must be 0x00000801, got 0x00000d01.")
    self._check(self._write([1], magic=b"\x89PNG"),
                "magic number must be 0x00000801, got 0x89504e47.")
    self._check(self._write([1]),
                "magic number must be 0x00000803, got 0x00000801.", rank=3)

  def testEmptyFile(self):
    self._check(self._write([], magic=b"", shape=()),
                "magic number must be 0x00000801, got an empty file.")

  def testTruncatedHeader(self):
    self._check(self._write([], shape=(), magic=b"\0\0\x08\1", extra=b"\0\0"),
                "truncated in the header.")

  def testNoData(self):
    self._check(self._write(np.zeros([0, 28, 28])),
                "no data, the header's shape is 0 x 28 x 28.", rank=3)

  def testHeaderDeclaresMore(self):
    for name in ("file", "file.gz"):
      self._check(
          self._write([1, 2], name, shape=[3]),
          "truncated, the header declares 3 bytes (3).")

  def testTrailingBytes(self):
    for name in ("file", "file.gz"):
      self._check(
          self._write([[1, 2], [3, 4]], name, extra=b"5"),
          "more bytes than the 4 that the header declares (2 x 2).", rank=2)

  def testMoreThanTheLimit(self):
    size = 2**32 - 1
    self._check(
        self._write([1], shape=[size] * 3),
        "the data must have at most 1073741824 bytes, the header declares "
        f"{size**3} ({size} x {size} x {size}).", rank=3)

  def testWrongHeadersTakeNoMemory(self):
    huge = 2**30 - 1
    for name, array, shape, message in (
        ("plain", [1], [huge], "truncated"),
        ("small.gz", [1], [huge], "truncated"),
        # 64 MB of zeros in 64 kB, of which the header declares ten bytes.
        ("bomb.gz", np.zeros(2**26), [10], "more bytes than")):
      path = self._write(array, name, shape=shape)
      tracemalloc.start()
      error = self._error(mnist.read_idx, path, 1)
      _, peak = tracemalloc.get_traced_memory()
      tracemalloc.stop()
      self.assertIn(message, error)
      self.assertLess(peak, 2**22)

  def testUnreadable(self):
    os.mkdir(self._path("folder"))
    self._check(self._path("folder"),
                f"cannot be read, {os.strerror(errno.EISDIR)}.")
    self._check(self._path("no"),
                f"cannot be read, {os.strerror(errno.ENOENT)}.")

  def testTruncatedGzip(self):
    with open(self._write(np.arange(50), "whole.gz"), "rb") as stream:
      whole = stream.read()
    path = self._path("cut.gz")
    for size in range(len(whole)):
      with open(path, "wb") as stream:
        stream.write(whole[:size])
      message = self._error(mnist.read_idx, path, 1)
      self.assertStartsWith(message, path)
    self.assertEqual(message, path + ": truncated gzip stream.")

  def testDamagedGzip(self):
    with open(self._write(np.arange(50), "whole.gz"), "rb") as stream:
      whole = stream.read()
    path = self._path("damaged.gz")
    messages = []
    for position in range(len(whole)):
      for bit in range(8):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        with open(path, "wb") as stream:
          stream.write(damaged)
        try:
          # Some bits of the gzip header do not affect the contents.
          self.assertAllEqual(mnist.read_idx(path, 1), np.arange(50))
        except mnist.DataError as error:
          messages.append(str(error))
    self.assertGreater(len(messages), 400)
    for message in messages:
      self.assertStartsWith(message, path)
      self.assertNotIn("\n", message)
    self.assertTrue([e for e in messages if "invalid gzip stream, " in e])

  def testArrayIsNotCopied(self):
    array = mnist.read_idx(self._write([[1, 2]]), 2)
    self.assertFalse(array.flags.writeable)
    self.assertAllEqual(array, [[1, 2]])


if __name__ == "__main__":
  tf.test.main()
