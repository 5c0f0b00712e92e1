"""The paths of g3doc/architecture.md are the functions that are called."""

import contextlib
import functools
import re
import sys

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import pages

_ENTRY = re.compile(r"^\d+\. `([\w/]+\.py:[\w.]+)`", re.MULTILINE)
_OPS = "kfac/python/ops/"
_MAX_ENTRIES = 8


def paths(text):
  """Returns the paths of a page.

  Args:
    text: The page.

  Returns:
    Dict from the heading of a path to its list of "file:function".
  """
  section = text.partition("## Three paths\n")[2].partition("\n## ")[0]
  found = {}
  for part in re.split(r"^### ", section, flags=re.MULTILINE)[1:]:
    heading, _, body = part.partition("\n")
    found[heading] = _ENTRY.findall(body)
  return found


@contextlib.contextmanager
def record():
  """Yields a list of (file, line) of the functions that are called."""
  calls = []

  def profile(frame, event, _):
    code = frame.f_code
    # Bazel runs links to the files.
    path = code.co_filename.rpartition("/" + _OPS)[2]
    if event == "call" and path != code.co_filename:
      calls.append((path, code.co_firstlineno))

  sys.setprofile(profile)
  try:
    yield calls
  finally:
    sys.setprofile(None)


@functools.cache
def lines_of(entry):
  """Returns the file and the first line, with decorators, of an entry."""
  path, _, name = entry.partition(":")
  root = architecture.project_root()
  node = architecture.Module(root, root / _OPS / path).tree
  for part in name.split("."):
    node = next(child for child in node.body
                if getattr(child, "name", None) == part)
  first = node.decorator_list[0] if node.decorator_list else node
  return path, first.lineno


def missing(entries, calls):
  """Returns the first entry that is not called after the others, or None."""
  position = 0
  for entry in entries:
    try:
      position = calls.index(lines_of(entry), position) + 1
    except ValueError:
      return entry
  return None


class _Net:
  """A convolution and a dense layer, not registered yet."""

  def __init__(self):
    rng = np.random.RandomState(0)
    self.images = tf.constant(rng.randn(4, 3, 3, 2), tf.float32)
    self.filter = tf.get_variable("filter", [2, 2, 2, 3])
    self.maps = tf.nn.conv2d(self.images, self.filter, [1, 1, 1, 1], "SAME")
    self.inputs = tf.reshape(self.maps, [4, 27])
    self.weights = tf.get_variable("weights", [27, 5])
    self.logits = tf.matmul(self.inputs, self.weights)
    self.layers = kfac.LayerCollection()
    self.layers.register_categorical_predictive_distribution(self.logits)

  def register_conv2d(self):
    """Registers the convolution."""
    self.layers.register_conv2d(
        self.filter, [1, 1, 1, 1], "SAME", self.images, self.maps)

  def loss(self, _=None):
    """Returns a scalar."""
    return tf.reduce_mean(tf.square(self.logits))

  def optimizer(self):
    """Registers the layers and returns an optimizer with adapted damping."""
    self.register_conv2d()
    self.layers.register_fully_connected(
        self.weights, self.inputs, self.logits)
    return kfac.KfacOptimizer(
        0.1, 0.95, 0.01, self.layers, adapt_damping=True, loss_fn=self.loss,
        train_batch=0)


class PathsTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._paths = paths(pages.read(pages.folder() / "architecture.md"))

  def testPathsAreShort(self):
    self.assertEqual(["A step", "A registration", "A covariance update"],
                     list(self._paths))
    for entries in self._paths.values():
      self.assertBetween(len(entries), 3, _MAX_ENTRIES)

  def testStep(self):
    with tf.Graph().as_default():
      net = _Net()
      optimizer = net.optimizer()
      loss = net.loss()
      with record() as calls:
        optimizer.minimize(loss)
    self.assertIsNone(missing(self._paths["A step"], calls))

  def testRegistration(self):
    with tf.Graph().as_default():
      net = _Net()
      with record() as calls:
        net.register_conv2d()
    self.assertIsNone(missing(self._paths["A registration"], calls))

  def testCovarianceUpdate(self):
    with tf.Graph().as_default():
      estimator = _Net().optimizer()._fisher_est
      with record() as calls:
        self.assertIsNotNone(estimator.cov_update_op)
    self.assertIsNone(missing(self._paths["A covariance update"], calls))

  def testOtherOrdersAndFunctionsAreFound(self):
    with tf.Graph().as_default():
      net = _Net()
      with record() as calls:
        net.register_conv2d()
    entries = self._paths["A registration"]
    self.assertEqual(entries[0], missing(entries[1:] + entries[:1], calls))
    other = "layer_collection/dense.py:fully_connected"
    self.assertEqual(other, missing(entries + [other], calls))


if __name__ == "__main__":
  tf.test.main()
