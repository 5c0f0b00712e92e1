"""Tests of short forms of TensorFlow calls."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import graph_modes
from kfac.python.kernel_tests import standard_error
from kfac.python.ops import utils


class SmartAssignTest(tf.test.TestCase):

  def testAssignsByAnyFunction(self):
    for use_resource in (False, True):
      with tf.Graph().as_default(), self.session() as sess:
        variable = tf.get_variable("v", initializer=np.float64(1.),
                                   use_resource=use_resource)
        ops = [utils.smart_assign(variable, 2.5),
               utils.smart_assign(variable, tf.constant(3., tf.float64),
                                  tf.assign_add),
               utils.smart_assign(variable, tf.constant(4), force_cast=True),
               utils.smart_assign(variable, np.float32(7.), force_cast=True,
                                  force_sync=False)]
        sess.run(tf.global_variables_initializer())
        for op, expected in zip(ops, (2.5, 5.5, 4., 7.), strict=True):
          sess.run(op)
          self.assertEqual(expected, sess.run(variable))

  def testOtherDtype(self):
    with tf.Graph().as_default():
      variable = tf.get_variable("v", [], tf.float32)
      with self.assertRaisesRegex(
          ValueError, "^value must have the dtype of the variable, 'float32', "
          "got 'int32'.$"):
        utils.smart_assign(variable, tf.constant(1))

  def testIsTheMeanOfReplicasOnTpus(self):
    with tf.Graph().as_default() as graph:
      variable = tf.get_variable("v", [], use_resource=True)

      def computation():
        with tf.control_dependencies([utils.smart_assign(variable, 1.)]):
          return tf.constant(1.)

      tf.tpu.rewrite(computation)
      self.assertIn("CrossReplicaSum",
                    [op.type for op in graph.get_operations()])


class SmartCondTest(tf.test.TestCase):

  def testKnownPredicateMakesNoBranch(self):
    with tf.Graph().as_default() as graph:
      for predicate in (True, np.bool_(True), tf.constant(True)):
        called = []
        result = utils.smart_cond(
            predicate, lambda: "yes", lambda called=called: called.append(1))
        self.assertEqual("yes", result)
        self.assertEmpty(called)
      self.assertIsNone(utils.smart_cond(False, lambda: 1, lambda: None))
      self.assertEqual({"Const"}, {op.type for op in graph.get_operations()})

  def testTensorChooses(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2), tf.Graph().as_default(), (
          self.session()) as sess:
        predicate = tf.placeholder(tf.bool, [])
        variable = tf.get_variable("v", initializer=True)
        sess.run(tf.global_variables_initializer())
        for condition in (predicate, variable):
          result = utils.smart_cond(
              condition, lambda: tf.constant(1), lambda: tf.constant(2),
              name="choice")
          self.assertEqual(1, sess.run(result, {predicate: True}))
        self.assertEqual(2, sess.run(utils.smart_cond(
            predicate, lambda: tf.constant(1), lambda: tf.constant(2)),
            {predicate: False}))


class ShapesTest(tf.test.TestCase):

  def testShapeIsStaticWhereKnown(self):
    with tf.Graph().as_default() as graph, self.session() as sess:
      self.assertEqual([2, 3], utils.get_shape(tf.ones([2, 3])))
      x = tf.placeholder(tf.float32, [None, 3])
      rows, columns = utils.get_shape(x)
      self.assertEqual(3, columns)
      self.assertEqual(5, sess.run(rows, {x: np.ones([5, 3])}))
      self.assertNotEmpty(graph.get_operations())

  def testIntegersOfTpusAreShort(self):
    seen = []

    def computation(x):
      seen.append(utils.preferred_int_dtype())
      return x

    with tf.Graph().as_default():
      self.assertEqual(tf.int64, utils.preferred_int_dtype())
      tf.tpu.rewrite(computation, [tf.constant(1.)])
    self.assertEqual([tf.int32], seen)


class PrintTest(tf.test.TestCase):

  def testPrintsLinesInOrder(self):
    with tf.Graph().as_default(), self.session() as sess:
      lines = [["line", i, tf.constant(float(i))] for i in range(20)]
      op = utils.multiline_print(lines)
      self.assertIsInstance(op, tf.Operation)
      with standard_error.captured() as text:
        sess.run(op)
    self.assertEqual([f"line {i} {i}" for i in range(20)],
                     [line for line in text.getvalue().splitlines()
                      if line.startswith("line")])


class ClassesTest(tf.test.TestCase):

  def testNamesOfClasses(self):
    self.assertEqual("ClassesTest", utils.cls_name(self))
    self.assertEqual("float", utils.cls_name(1.))

  def testReferenceVariables(self):
    with tf.Graph().as_default():
      for use_resource in (False, True):
        variable = tf.get_variable(
            f"v{use_resource}", [], use_resource=use_resource)
        self.assertEqual(
            not use_resource, utils.is_reference_variable(variable))
      self.assertFalse(utils.is_reference_variable(tf.constant(1.)))
      self.assertFalse(utils.is_reference_variable(1.))


if __name__ == "__main__":
  tf.test.main()
