"""The default LayerCollection is set and cleared, also on exceptions."""

import tensorflow.compat.v1 as tf

from kfac.python.ops import layer_collection as lc


class DefaultTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    lc.set_default_layer_collection(None)
    self.addCleanup(lc.set_default_layer_collection, None)

  def testIsSetAndCleared(self):
    with tf.Graph().as_default():
      layers, other = lc.LayerCollection(), lc.LayerCollection()
      with self.assertRaisesRegex(
          ValueError, "a default layer collection must be set first, got None"):
        lc.get_default_layer_collection()
      lc.set_default_layer_collection(layers)
      self.assertIs(lc.get_default_layer_collection(), layers)
      with self.assertRaisesRegex(
          ValueError, "layer_collection must be None while there is a default, "
          "got <.*LayerCollection"):
        lc.set_default_layer_collection(other)
      self.assertIs(lc.get_default_layer_collection(), layers)
      lc.set_default_layer_collection(None)
      lc.set_default_layer_collection(other)
      self.assertIs(lc.get_default_layer_collection(), other)

  def testContextEndsAlsoOnExceptions(self):
    with tf.Graph().as_default():
      layers, other = lc.LayerCollection(), lc.LayerCollection()
      with layers.as_default() as entered:
        self.assertIs(entered, layers)
        self.assertIs(lc.get_default_layer_collection(), layers)
        with self.assertRaisesRegex(ValueError, "while there is a default"):
          with other.as_default():
            self.fail("entered a second default")
        self.assertIs(lc.get_default_layer_collection(), layers)
      with self.assertRaises(ValueError):
        lc.get_default_layer_collection()
      with self.assertRaises(ZeroDivisionError), other.as_default():
        raise ZeroDivisionError
      with self.assertRaises(ValueError):
        lc.get_default_layer_collection()


if __name__ == "__main__":
  tf.test.main()
