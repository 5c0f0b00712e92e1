"""Tests of whether two sets of ops may share a session.run."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.utils import graph_kinds as kinds
from kfac.python.ops.utils import run_order


def _variable(name, use_resource=True):
  return tf.get_variable(name, initializer=1., use_resource=use_resource)


class MayShareARunTest(tf.test.TestCase):

  def _check(self, expected, one, other):
    for pair in ((one, other), (other, one)):
      self.assertEqual(expected, run_order.may_share_a_run(
          *pair, tf.get_default_graph()))

  def testChangesThatTheOtherUses(self):
    for use_resource in (False, True):
      with kinds.new_graph():
        a, b = [_variable(name, use_resource) for name in "ab"]
        add_to_a = tf.assign_add(a, 1.)
        self._check(True, add_to_a, tf.assign_add(b, 1.))
        self._check(True, 2. * a, 3. * a)
        self._check(True, [], add_to_a)
        self._check(False, add_to_a, 2. * a)
        self._check(False, add_to_a, tf.assign_add(b, a))
        self._check(False, add_to_a, tf.assign(a, 3.))
        with tf.control_dependencies([2. * a]):
          self._check(False, add_to_a, tf.no_op())
        self._check(True, add_to_a, add_to_a)

  def testAReadThatBothNeed(self):
    # The value that was read of a reference variable may change with it.
    for use_resource in (False, True):
      with kinds.new_graph():
        a, b = [_variable(name, use_resource) for name in "ab"]
        value = 2. * a
        self._check(use_resource, tf.assign(b, value), tf.assign_sub(a, value))
        self._check(False, tf.assign(b, value + a), tf.assign_sub(a, value))

  def testOpsOfControlFlow(self):
    for v2 in (False, True):
      with kinds.new_graph(control_flow_v2=v2):
        a = _variable("a")
        condition = tf.placeholder(tf.bool, [])

        def change(a=a):
          with tf.control_dependencies([tf.assign_add(a, 1.)]):
            return tf.constant(1.)

        branch = tf.cond(condition, change, lambda: tf.constant(0.))
        self._check(False, branch, 2. * a)
        self._check(True, branch, 2. * _variable("b"))
        loop = tf.while_loop(
            lambda i: i < 3., lambda i, a=a: i + a, [0.])
        self._check(False, loop, tf.assign_add(a, 1.))

  def testOtherStatesAreLikeVariables(self):
    with kinds.new_graph():
      queue = tf.FIFOQueue(3, [tf.float32], [[]])
      element = queue.dequeue()
      self._check(True, 2. * element, 3. * element)
      self._check(False, element, queue.enqueue(1.))

  def testNamesVariablesAndNestedFetches(self):
    with kinds.new_graph():
      a = _variable("a")
      add = tf.assign_add(a, 1.)
      add_op = getattr(add, "op", add)
      for one in (add_op, add_op.name, {"x": [add_op]}):
        for other in (a, "a:0", (tf.constant(0.), [2. * a]),
                      tf.SparseTensor([[0]], [2. * a], [1])):
          if other == "a:0" and not _is_reference(a):
            other = a.read_value().name
          self._check(False, one, other)


def _is_reference(variable):
  return variable.op.type == "VariableV2"


if __name__ == "__main__":
  tf.test.main()
