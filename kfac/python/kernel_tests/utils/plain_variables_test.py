"""Tests of variables without the settings of enclosing scopes."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import plain_variables


class PlainVariablesTest(tf.test.TestCase):

  def testNameOfTheScopeButNoSettings(self):
    with tf.Graph().as_default() as graph, self.session() as sess:
      with tf.variable_scope(
          "outer", regularizer=tf.nn.l2_loss, constraint=tf.zeros_like,
          custom_getter=lambda getter, *args, **kwargs: None,
          partitioner=tf.fixed_size_partitioner(2), use_resource=False,
          caching_device="/device:CPU:0", dtype=tf.float16,
          initializer=tf.constant_initializer(7.)):
        made = [
            plain_variables.make_variable(
                "f", tf.ones_initializer(), [2, 3], tf.float64),
            plain_variables.make_variable("t", tf.constant(2, tf.int64))]
      self.assertEqual(["outer/f:0", "outer/t:0"], [v.name for v in made])
      self.assertEqual([tf.float64, tf.int64], [v.dtype for v in made])
      self.assertEmpty(
          graph.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES))
      self.assertEmpty(tf.trainable_variables())
      sess.run(tf.global_variables_initializer())
      f, t = sess.run(made)
      self.assertAllEqual(np.ones([2, 3]), f)
      self.assertEqual(2, t)

  def testCollections(self):
    with tf.Graph().as_default():
      made = plain_variables.make_variable(
          "v", tf.constant(2), collections=[tf.GraphKeys.LOCAL_VARIABLES])
      self.assertEqual([made], tf.local_variables())
      self.assertEmpty(tf.global_variables())

  def testSettingsReturn(self):
    with tf.Graph().as_default() as graph:
      calls = []

      def getter(getter, name, **kwargs):
        calls.append(name)
        return getter(name, **kwargs)

      with tf.variable_scope("outer", custom_getter=getter,
                             regularizer=tf.nn.l2_loss):
        with self.assertRaisesRegex(ValueError, "mine"):
          with plain_variables.no_scope_settings():
            raise ValueError("mine")
        tf.get_variable("v", [2])
      self.assertEqual(["outer/v"], calls)
      self.assertLen(
          graph.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES), 1)

  def testNamesAreNumberedFromTheSecondOn(self):
    names = {"b"}
    self.assertEqual(
        ["a", "b_1", "a_1", "a_2", "b_2"],
        [plain_variables.unique_name(name, names) for name in "abaab"])
    self.assertEqual({"a", "a_1", "a_2", "b", "b_1", "b_2"}, names)

  def testUnusedNameIsThatOfTheCurrentScope(self):
    with tf.Graph().as_default():
      tf.get_variable("n", [])
      with tf.variable_scope("scope"):
        self.assertEqual("n", plain_variables.unused_name("n"))
        tf.get_variable("n", [])
        self.assertEqual("n_1", plain_variables.unused_name("n"))


if __name__ == "__main__":
  tf.test.main()
