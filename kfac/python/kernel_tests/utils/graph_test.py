"""Tests of SubGraph, forward-mode gradients and random signs in utils."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.utils import graph_kinds as kinds
from kfac.python.ops.utils import graph


class SubGraphMembersTest(tf.test.TestCase):

  def testAncestorsAreMembers(self):
    with kinds.new_graph():
      a, b = tf.constant([[1., 2.]]), tf.constant([[3., 4.]])
      c = a + b + a
      d = a * b
      sub_graph = graph.SubGraph((c,))
      self.assertTrue(all(map(sub_graph.is_member, (a, b, c, c.op, a.op))))
      self.assertFalse(sub_graph.is_member(d))
      self.assertFalse(sub_graph.is_member(d.op))

  def testOutputsMayBeATensorOrNested(self):
    with kinds.new_graph():
      a, b, c = (tf.constant(float(i)) for i in range(3))
      self.assertTrue(graph.SubGraph(a).is_member(a))
      nested = graph.SubGraph([a, (b,)])
      self.assertEqual([True, True, False],
                       [nested.is_member(x) for x in (a, b, c)])

  def testUnusedOutputOfAMemberIsNotAMember(self):
    with kinds.new_graph():
      left, right = tf.split(tf.ones([4]), 2)
      sub_graph = graph.SubGraph(left * 2.)
      self.assertTrue(sub_graph.is_member(left))
      self.assertTrue(sub_graph.is_member(right.op))
      self.assertFalse(sub_graph.is_member(right))

  def testControlInputsMakeMembers(self):
    with kinds.new_graph():
      before = tf.no_op()
      with tf.control_dependencies([before]):
        output = tf.constant(1.)
      self.assertTrue(graph.SubGraph(output).is_member(before))

  def testVariableIsAMemberByItsOp(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        used, unused = kinds.weights("used"), kinds.weights("unused")
        sub_graph = graph.SubGraph(tf.reduce_sum(used))
        self.assertTrue(sub_graph.is_member(used))
        self.assertFalse(sub_graph.is_member(unused))

  def testOpsOfLaterGradientsAreNotMembers(self):
    with kinds.new_graph():
      w = kinds.weights()
      loss = tf.reduce_sum(tf.square(w))
      sub_graph = graph.SubGraph(loss)
      grad, = tf.gradients(loss, w)
      self.assertFalse(sub_graph.is_member(grad))

  def testLoopIsTraversedOnce(self):
    with kinds.new_graph():
      start = tf.constant(1.)
      _, result = tf.while_loop(
          lambda i, x: i < 3, lambda i, x: (i + 1, 2. * x), [0, start])
      self.assertTrue(graph.SubGraph(result).is_member(start))

  def testLongChainsNeedNoRecursion(self):
    with kinds.new_graph():
      first = x = tf.constant(1.)
      for _ in range(2000):
        x = tf.negative(x)
      self.assertTrue(graph.SubGraph(x).is_member(first))

  def testFilterListKeepsTheOrderOfMembers(self):
    with kinds.new_graph():
      a, b = tf.constant(1.), tf.constant(2.)
      c = a + b
      outside = a * b
      kept = graph.SubGraph(c).filter_list([outside, b, c.op, outside.op, a])
      self.assertLen(kept, 3)
      for wanted, node in zip((b, c.op, a), kept, strict=True):
        self.assertIs(wanted, node)

  def testRefusesOutputsThatAreNotTensors(self):
    with kinds.new_graph():
      with self.assertRaisesRegex(ValueError, "outputs must be tensors.*'x'"):
        graph.SubGraph([tf.constant(1.), "x"])
      with self.assertRaisesRegex(ValueError, "outputs must be one or more"):
        graph.SubGraph([])
      here = tf.constant(1.)
      with kinds.new_graph():
        with self.assertRaisesRegex(ValueError, "of the same graph"):
          graph.SubGraph([here, tf.constant(2.)])

  def testRefusesNodesOfOtherKinds(self):
    with kinds.new_graph():
      sub_graph = graph.SubGraph(tf.constant(1.))
      with self.assertRaisesRegex(ValueError, "node must be a tensor.*'x'"):
        sub_graph.is_member("x")
      with self.assertRaisesRegex(ValueError, "node must be a tensor.*3"):
        sub_graph.filter_list([3])


class FwdGradientsTest(tf.test.TestCase):

  def testIsTheJacobianTimesTheTangents(self):
    rng = np.random.RandomState(0)
    x, w, dx, dw = (rng.randn(*shape) for shape in ((4, 3), (3, 2)) * 2)
    hidden = np.tanh(x.dot(w))
    wanted = (1. - hidden**2) * (dx.dot(w) + x.dot(dw))
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind), self.session() as sess:
        variable = tf.get_variable("w", initializer=tf.constant(w))
        inputs = tf.constant(x)
        outputs = tf.tanh(tf.matmul(inputs, variable))
        total = tf.reduce_sum(outputs)
        results = graph.fwd_gradients(
            [outputs, total], [inputs, variable], [tf.constant(dx), dw])
        self.assertEqual([[4, 2], []], [r.shape.as_list() for r in results])
        sess.run(variable.initializer)
        tangent, total_tangent = sess.run(results)
      self.assertEqual(np.float64, tangent.dtype)
      self.assertAllClose(wanted, tangent, rtol=1e-12, atol=1e-12)
      self.assertAllClose(wanted.sum(), total_tangent, rtol=1e-12)

  def testTangentsAreOnesUnlessGiven(self):
    with kinds.new_graph(), self.session() as sess:
      x, y = tf.constant([1., 2.]), tf.constant([3., 4.])
      z = x * x * y
      alone, both, mixed = sess.run((
          graph.fwd_gradients(z, x), graph.fwd_gradients(z, [x, y]),
          graph.fwd_gradients(z, [x, y], [None, tf.constant([0., 2.])])))
    self.assertLen(alone, 1)
    self.assertAllClose([6., 16.], alone[0])
    self.assertAllClose([7., 20.], both[0])
    self.assertAllClose([6., 24.], mixed[0])

  def testAreZeroWithoutDependence(self):
    with kinds.new_graph(), self.session() as sess:
      x, y = tf.constant([1., 2.]), tf.constant([[3.]])
      self.assertAllEqual(
          [[0., 0.]], sess.run(graph.fwd_gradients(3. * x, y)))
      of_x, of_y = sess.run(graph.fwd_gradients([3. * x, 2. * y], [x]))
      self.assertAllEqual([3., 3.], of_x)
      self.assertAllEqual([[0.]], of_y)
      self.assertAllEqual(
          [[5., 5.]],
          sess.run(graph.fwd_gradients(5. * x, [y, x], [y, None])))

  def testStopsWhereAsked(self):
    with kinds.new_graph(), self.session() as sess:
      x = tf.constant([2.])
      y = x * x
      z = x * y
      through, stopped = sess.run((
          graph.fwd_gradients(z, x),
          graph.fwd_gradients(z, x, stop_gradients=[y])))
    self.assertAllClose([[12.]], through)
    self.assertAllClose([[4.]], stopped)

  def testGatherTakesDenseAndSparseTangents(self):
    rng = np.random.RandomState(1)
    w, dw = rng.randn(5, 2), rng.randn(5, 2)
    ids = [4, 0, 4]
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource), self.session() as sess:
        variable = tf.get_variable("w", initializer=tf.constant(w))
        embedded = tf.nn.embedding_lookup(variable, tf.constant(ids))
        dense, = graph.fwd_gradients(embedded**2, variable, dw)
        slices = tf.IndexedSlices(
            tf.constant(dw[3:]), tf.constant([3, 4]), tf.constant([5, 2]))
        sparse, = graph.fwd_gradients(embedded**2, variable, slices)
        sess.run(variable.initializer)
        dense, sparse = sess.run((dense, sparse))
      self.assertAllClose(2. * w[ids] * dw[ids], dense, rtol=1e-12)
      only = np.where(np.arange(5)[:, None] >= 3, dw, 0.)
      self.assertAllClose(2. * w[ids] * only[ids], sparse, rtol=1e-12)

  def testPassesThroughBranches(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind), self.session() as sess:
        x = tf.constant([1.1, 3.], tf.float64)
        y = tf.cond(tf.reduce_sum(x) > 0., lambda x=x: x**3, lambda x=x: x)
        result, = sess.run(graph.fwd_gradients(y, x, [[2., 1.]]))
      self.assertAllClose([6. * 1.1**2, 27.], result, rtol=1e-12)

  def testPassesThroughLoops(self):
    with kinds.new_graph(control_flow_v2=True), self.session() as sess:
      x = tf.constant(1.1, tf.float64)
      _, y = tf.while_loop(
          lambda i, y: i < 3, lambda i, y: (i + 1, y * y), (0, x))
      result, = sess.run(graph.fwd_gradients(y, x, [2.]))
    self.assertAllClose(2. * 8. * 1.1**7, result, rtol=1e-12)

  def testLoopsOfControlFlowV1HaveNoSecondDerivative(self):
    with kinds.new_graph(control_flow_v2=False):
      x = tf.constant(1.1)
      _, y = tf.while_loop(
          lambda i, y: i < 3, lambda i, y: (i + 1, y * y), (0, x))
      with self.assertRaisesRegex(TypeError, "Second-order"):
        graph.fwd_gradients(y, x)

  def testColocatesWithTheForwardOpsIfAsked(self):
    with kinds.new_graph():
      x = tf.constant([1., 2.])
      with tf.device("/cpu:1"):
        y = tf.exp(x)
      colocated, = graph.fwd_gradients(y, x)
      free, = graph.fwd_gradients(y, x, colocate_gradients_with_ops=False)
      self.assertIn("CPU:1", colocated.device)
      self.assertEqual("", free.device)

  def testRefusesAnotherNumberOfTangents(self):
    with kinds.new_graph():
      x = tf.constant(1.)
      with self.assertRaisesRegex(
          ValueError, "grad_xs must have the length of xs, 1, got 2"):
        graph.fwd_gradients(x * x, x, [x, x])


class GenerateRandomSignsTest(tf.test.TestCase):

  def testSignsAreFairAndIndependent(self):
    with kinds.new_graph(), self.session() as sess:
      tf.set_random_seed(0)
      fixed = graph.generate_random_signs([100, 100])
      fed = tf.placeholder(tf.int32, [2])
      others = [graph.generate_random_signs(fed, dtype=dtype)
                for dtype in (tf.float64, tf.int32)]
      others.append(graph.generate_random_signs(
          fed, stateless_seed=tf.constant([1, 2])))
      self.assertEqual([100, 100], fixed.shape.as_list())
      again = sess.run(fixed)
      results = sess.run([fixed] + others, {fed: [100, 100]})
    for dtype, signs in zip(
        (np.float32, np.float64, np.int32, np.float32), results, strict=True):
      self.assertEqual(dtype, signs.dtype)
      self.assertAllEqual(np.ones([100, 100]), np.abs(signs))
      # Five standard deviations of the mean of 10^4 signs are 0.05.
      self.assertLess(abs(signs.mean()), 0.05)
      self.assertLess(abs((signs[1:] * signs[:-1]).mean()), 0.05)
    self.assertLess(abs((again * results[0]).mean()), 0.05)

  def testAStatelessSeedDeterminesSigns(self):
    with kinds.new_graph(), self.session() as sess:
      seed = tf.placeholder(tf.int64, [2])
      signs = graph.generate_random_signs([50], stateless_seed=seed)
      first, again, other, third = [
          sess.run(signs, {seed: value})
          for value in ([1, 2], [1, 2], [1, 3], [2, 2])]
      self.assertAllEqual(first, again)
      self.assertNotAllEqual(first, other)
      self.assertNotAllEqual(first, third)


if __name__ == "__main__":
  tf.test.main()
