"""Tests of SubGraph, forward-mode gradients and random signs in utils."""

import contextlib
import itertools

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import graph_modes
from kfac.python.ops.utils import graph


@contextlib.contextmanager
def _new_graph(control_flow_v2=False, use_resource=False):
  """Enters a graph with one kind of control flow and of variables."""
  with graph_modes.control_flow(control_flow_v2):
    with tf.Graph().as_default() as new:
      with tf.variable_scope("", use_resource=use_resource):
        yield new


def _all_kinds():
  """Yields the arguments of `_new_graph`, of each kind."""
  for control_flow_v2, use_resource in itertools.product((False, True),
                                                         repeat=2):
    yield dict(control_flow_v2=control_flow_v2, use_resource=use_resource)


def _weights(name="w", rows=3):
  return tf.get_variable(name, [rows, 3], initializer=tf.ones_initializer())


def _uses(outputs, *variables):
  sub_graph = graph.SubGraph(outputs)
  return [sub_graph.variable_uses(variable) for variable in variables]


class SubGraphMembersTest(tf.test.TestCase):

  def testAncestorsAreMembers(self):
    with _new_graph():
      a, b = tf.constant([[1., 2.]]), tf.constant([[3., 4.]])
      c = a + b + a
      d = a * b
      sub_graph = graph.SubGraph((c,))
      self.assertTrue(all(map(sub_graph.is_member, (a, b, c, c.op, a.op))))
      self.assertFalse(sub_graph.is_member(d))
      self.assertFalse(sub_graph.is_member(d.op))

  def testOutputsMayBeATensorOrNested(self):
    with _new_graph():
      a, b, c = (tf.constant(float(i)) for i in range(3))
      self.assertTrue(graph.SubGraph(a).is_member(a))
      nested = graph.SubGraph([a, (b,)])
      self.assertEqual([True, True, False],
                       [nested.is_member(x) for x in (a, b, c)])

  def testUnusedOutputOfAMemberIsNoMember(self):
    with _new_graph():
      left, right = tf.split(tf.ones([4]), 2)
      sub_graph = graph.SubGraph(left * 2.)
      self.assertTrue(sub_graph.is_member(left))
      self.assertTrue(sub_graph.is_member(right.op))
      self.assertFalse(sub_graph.is_member(right))

  def testControlInputsMakeMembers(self):
    with _new_graph():
      before = tf.no_op()
      with tf.control_dependencies([before]):
        output = tf.constant(1.)
      self.assertTrue(graph.SubGraph(output).is_member(before))

  def testVariableIsAMemberByItsOp(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        used, unused = _weights("used"), _weights("unused")
        sub_graph = graph.SubGraph(tf.reduce_sum(used))
        self.assertTrue(sub_graph.is_member(used))
        self.assertFalse(sub_graph.is_member(unused))

  def testOpsOfLaterGradientsAreNoMembers(self):
    with _new_graph():
      w = _weights()
      loss = tf.reduce_sum(tf.square(w))
      sub_graph = graph.SubGraph(loss)
      grad, = tf.gradients(loss, w)
      self.assertFalse(sub_graph.is_member(grad))

  def testALoopIsWalkedOnce(self):
    with _new_graph():
      start = tf.constant(1.)
      _, result = tf.while_loop(
          lambda i, x: i < 3, lambda i, x: (i + 1, 2. * x), [0, start])
      self.assertTrue(graph.SubGraph(result).is_member(start))

  def testLongChainsNeedNoRecursion(self):
    with _new_graph():
      first = x = tf.constant(1.)
      for _ in range(2000):
        x = tf.negative(x)
      self.assertTrue(graph.SubGraph(x).is_member(first))

  def testFilterListKeepsTheOrderOfMembers(self):
    with _new_graph():
      a, b = tf.constant(1.), tf.constant(2.)
      c = a + b
      outside = a * b
      kept = graph.SubGraph(c).filter_list([outside, b, c.op, outside.op, a])
      self.assertLen(kept, 3)
      for wanted, node in zip((b, c.op, a), kept, strict=True):
        self.assertIs(wanted, node)

  def testRefusesOutputsThatAreNoTensors(self):
    with _new_graph():
      with self.assertRaisesRegex(ValueError, "outputs must be tensors.*'x'"):
        graph.SubGraph([tf.constant(1.), "x"])
      with self.assertRaisesRegex(ValueError, "outputs must be one or more"):
        graph.SubGraph([])
      here = tf.constant(1.)
      with _new_graph():
        with self.assertRaisesRegex(ValueError, "of the same graph"):
          graph.SubGraph([here, tf.constant(2.)])

  def testRefusesNodesOfOtherKinds(self):
    with _new_graph():
      sub_graph = graph.SubGraph(tf.constant(1.))
      with self.assertRaisesRegex(ValueError, "node must be a tensor.*'x'"):
        sub_graph.is_member("x")
      with self.assertRaisesRegex(ValueError, "node must be a tensor.*3"):
        sub_graph.filter_list([3])


class SubGraphVariableUsesTest(tf.test.TestCase):

  def testEachConsumerCounts(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        once, twice = _weights("once"), _weights("twice")
        x = tf.ones([2, 3])
        loss = tf.reduce_sum(tf.matmul(tf.matmul(x, twice) + once[0], twice))
        self.assertEqual([1, 2], _uses(loss, once, twice))

  def testUseOutsideDoesNotCount(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        w, unused = _weights(), _weights("unused")
        loss = tf.reduce_sum(tf.matmul(tf.ones([2, 3]), w))
        tf.matmul(w, unused)
        decay = tf.nn.l2_loss(w)
        tf.gradients(loss + decay, w)
        self.assertEqual([1, 0], _uses(loss, w, unused))
        self.assertEqual([2], _uses([loss, decay], w))

  def testGradientsMadeBeforeDoNotCount(self):
    for kind in _all_kinds():
      with _new_graph(**kind):
        w = _weights()
        _, y = tf.while_loop(
            lambda i, y: i < 3,
            lambda i, y, w=w: (i + 1, tf.tanh(tf.matmul(y, w))),
            [0, tf.ones([2, 3])])
        z = tf.cond(tf.reduce_sum(y) > 0.,
                    lambda y=y, w=w: tf.tanh(tf.matmul(y, w)),
                    lambda y=y: y)
        loss = tf.reduce_sum(z)
        # These have the loop and the branch save what they computed.
        gradient, = tf.gradients(loss, w)
        self.assertEqual([2], _uses(loss, w), kind)
        self.assertGreater(_uses(gradient, w)[0], 2, kind)

  def testControlInputsAreNoUses(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        w = _weights()
        with tf.control_dependencies([tf.matmul(w, w)]):
          loss = tf.reduce_sum(w)
        self.assertEqual([1], _uses(loss, w))

  def testAnOpThatTakesTheValueTwiceCountsOnce(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        w = _weights()
        value = tf.convert_to_tensor(w)
        self.assertEqual([1], _uses(tf.matmul(value, value), w))

  def testReadsAndIdentitiesAreLookedThrough(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        w = _weights()
        copy = tf.identity(tf.identity(w.read_value()))
        loss = tf.matmul(copy, tf.exp(copy)) + w.value() + tf.identity(w)
        self.assertEqual([4], _uses(loss, w))

  def testGatherIsOneUse(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        w = _weights(rows=7)
        embedded = tf.nn.embedding_lookup(w, tf.constant([[1, 2], [6, 1]]))
        self.assertEqual([1], _uses(tf.reduce_sum(embedded), w))

  def testSlicesOfAPartitionedVariableCountEach(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        w = tf.get_variable(
            "w", [6, 3], partitioner=tf.fixed_size_partitioner(3))
        embedded = tf.nn.embedding_lookup(w, tf.constant([0, 3, 5]), "div")
        product = tf.matmul(tf.ones([2, 6]), w)
        self.assertLen(list(w), 3)
        self.assertEqual([1, 1, 1], _uses(embedded, *w))
        self.assertEqual([2, 2, 2], _uses([embedded, product], *w))

  def testBranchesCountEach(self):
    for kind in _all_kinds():
      with _new_graph(**kind):
        w, v = _weights(), _weights("v")
        x = tf.ones([2, 3])
        result = tf.cond(
            tf.reduce_sum(x) > 0.,
            lambda x=x, w=w, v=v: tf.matmul(tf.matmul(x, w), v),
            lambda x=x, w=w: tf.matmul(2. * x, w))
        self.assertEqual([2, 1], _uses(result, w, v), kind)
        self.assertEqual([3, 1], _uses(result + w[0], w, v), kind)

  def testOneOfManyBranchesCounts(self):
    for kind in _all_kinds():
      with _new_graph(**kind):
        w = _weights()
        x = tf.ones([2, 3])
        result = tf.switch_case(
            tf.placeholder_with_default(1, []),
            [lambda x=x: x, lambda x=x, w=w: tf.matmul(x, w),
             lambda x=x: 2. * x])
        self.assertEqual([1], _uses(result, w), kind)

  def testBranchThatHandsTheVariableOutIsLookedThrough(self):
    for kind in _all_kinds():
      with _new_graph(**kind):
        w, v = _weights(), _weights("v")
        chosen = tf.cond(tf.placeholder_with_default(True, []),
                         w.read_value, v.read_value)
        loss = tf.matmul(chosen, tf.exp(chosen))
        self.assertEqual([2, 2], _uses(loss, w, v), kind)

  def testUnneededOutputOfABranchDoesNotCount(self):
    for kind in _all_kinds():
      with _new_graph(**kind):
        w = _weights()
        x = tf.ones([2, 3])
        needed, _ = tf.cond(
            tf.placeholder_with_default(True, []),
            lambda x=x, w=w: (tf.exp(x), tf.matmul(x, w)),
            lambda x=x: (x, x))
        self.assertEqual([0], _uses(needed, w), kind)

  def testBodyOfALoopCountsOnce(self):
    for kind in _all_kinds():
      with _new_graph(**kind):
        w, limit = _weights(), tf.get_variable("limit", [])
        _, result = tf.while_loop(
            lambda i, y, limit=limit: limit + tf.cast(i, tf.float32) < 5.,
            lambda i, y, w=w: (i + 1, tf.matmul(y, w)),
            [0, tf.ones([2, 3])])
        self.assertEqual([1, 1], _uses(result, w, limit), kind)
        self.assertEqual([2, 1], _uses(tf.matmul(result, w), w, limit), kind)

  def testVariableThatTravelsAroundALoopIsLookedThrough(self):
    for kind in _all_kinds():
      with _new_graph(**kind):
        w = _weights()
        _, y, travelled = tf.while_loop(
            lambda i, y, value: i < 3,
            lambda i, y, value: (i + 1, tf.matmul(y, value), value),
            [0, tf.ones([2, 3]), tf.convert_to_tensor(w)])
        self.assertEqual([1], _uses(y, w), kind)
        loss = tf.matmul(y, travelled) + tf.exp(travelled)[0]
        self.assertEqual([3], _uses(loss, w), kind)

  def testBranchInALoopCounts(self):
    for kind in _all_kinds():
      with _new_graph(**kind):
        w = _weights()

        def body(i, y, w=w):
          return i + 1, tf.cond(i > 1, lambda: tf.matmul(y, w),
                                lambda: tf.matmul(2. * y, w))

        _, result = tf.while_loop(lambda i, y: i < 3, body,
                                  [0, tf.ones([2, 3])])
        self.assertEqual([2], _uses(result, w), kind)

  def testEachCallOfAFunctionCounts(self):
    with _new_graph(control_flow_v2=True, use_resource=True):
      w = _weights()

      @tf.function(autograph=False)
      def layer(x):
        return tf.matmul(x, w)

      self.assertEqual([2], _uses(layer(layer(tf.ones([2, 3]))), w))

  def testCustomGradientIsLookedThrough(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        w = _weights()

        @tf.custom_gradient
        def layer(x, value):
          def gradient(grad):
            return tf.matmul(grad, value, transpose_b=True), None
          return tf.matmul(x, value), gradient

        result = layer(tf.ones([2, 3]), tf.convert_to_tensor(w))
        self.assertEqual([1], _uses(result, w))

  def testQuestionsAboutTheVariableAreNoUses(self):
    for use_resource in (False, True):
      with _new_graph(use_resource=use_resource):
        w = _weights()
        loss = tf.reduce_sum(tf.matmul(tf.ones([2, 3]), w))
        loss += tf.cast(tf.is_variable_initialized(w), tf.float32)
        self.assertEqual([1], _uses(loss, w))
        if use_resource:
          rows = tf.raw_ops.VariableShape(input=w.handle)[0]
          self.assertEqual([1], _uses(loss / tf.cast(rows, tf.float32), w))

  def testVariableOfAnotherGraphHasNoUses(self):
    with _new_graph():
      elsewhere = _weights()
      with _new_graph():
        w = _weights()
        self.assertEqual([0, 1], _uses(tf.exp(w), elsewhere, w))

  def testRefusesWhatIsNoVariable(self):
    with _new_graph():
      w = tf.get_variable(
          "w", [4, 3], partitioner=tf.fixed_size_partitioner(2))
      sub_graph = graph.SubGraph(tf.constant(1.))
      for other in (tf.constant(1.), "w", w):
        with self.assertRaisesRegex(ValueError, "var must be a variable, got"):
          sub_graph.variable_uses(other)


class FwdGradientsTest(tf.test.TestCase):

  def testIsTheJacobianTimesTheTangents(self):
    rng = np.random.RandomState(0)
    x, w, dx, dw = (rng.randn(*shape) for shape in ((4, 3), (3, 2)) * 2)
    hidden = np.tanh(x.dot(w))
    wanted = (1. - hidden**2) * (dx.dot(w) + x.dot(dw))
    for kind in _all_kinds():
      with _new_graph(**kind), self.session() as sess:
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
    with _new_graph(), self.session() as sess:
      x, y = tf.constant([1., 2.]), tf.constant([3., 4.])
      z = x * x * y
      alone, both, mixed = sess.run((
          graph.fwd_gradients(z, x), graph.fwd_gradients(z, [x, y]),
          graph.fwd_gradients(z, [x, y], [None, tf.constant([0., 2.])])))
    self.assertLen(alone, 1)
    self.assertAllClose([6., 16.], alone[0])
    self.assertAllClose([7., 20.], both[0])
    self.assertAllClose([6., 24.], mixed[0])

  def testWithoutDependenceTheyAreZero(self):
    with _new_graph(), self.session() as sess:
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
    with _new_graph(), self.session() as sess:
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
      with _new_graph(use_resource=use_resource), self.session() as sess:
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
    for kind in _all_kinds():
      with _new_graph(**kind), self.session() as sess:
        x = tf.constant([1.1, 3.], tf.float64)
        y = tf.cond(tf.reduce_sum(x) > 0., lambda x=x: x**3, lambda x=x: x)
        result, = sess.run(graph.fwd_gradients(y, x, [[2., 1.]]))
      self.assertAllClose([6. * 1.1**2, 27.], result, rtol=1e-12)

  def testPassesThroughLoops(self):
    with _new_graph(control_flow_v2=True), self.session() as sess:
      x = tf.constant(1.1, tf.float64)
      _, y = tf.while_loop(
          lambda i, y: i < 3, lambda i, y: (i + 1, y * y), (0, x))
      result, = sess.run(graph.fwd_gradients(y, x, [2.]))
    self.assertAllClose(2. * 8. * 1.1**7, result, rtol=1e-12)

  def testLoopsOfControlFlowV1HaveNoSecondDerivative(self):
    with _new_graph(control_flow_v2=False):
      x = tf.constant(1.1)
      _, y = tf.while_loop(
          lambda i, y: i < 3, lambda i, y: (i + 1, y * y), (0, x))
      with self.assertRaisesRegex(TypeError, "Second-order"):
        graph.fwd_gradients(y, x)

  def testColocatesWithTheForwardOpsIfAsked(self):
    with _new_graph():
      x = tf.constant([1., 2.])
      with tf.device("/cpu:1"):
        y = tf.exp(x)
      colocated, = graph.fwd_gradients(y, x)
      free, = graph.fwd_gradients(y, x, colocate_gradients_with_ops=False)
      self.assertIn("CPU:1", colocated.device)
      self.assertEqual("", free.device)

  def testRefusesTangentsOfAnotherNumber(self):
    with _new_graph():
      x = tf.constant(1.)
      with self.assertRaisesRegex(
          ValueError, "grad_xs must have the length of xs, 1, got 2"):
        graph.fwd_gradients(x * x, x, [x, x])


class GenerateRandomSignsTest(tf.test.TestCase):

  def testSignsAreFairAndIndependent(self):
    with _new_graph(), self.session() as sess:
      tf.set_random_seed(0)
      fixed = graph.generate_random_signs([100, 100])
      fed = tf.placeholder(tf.int32, [2])
      others = [graph.generate_random_signs(fed, dtype=dtype)
                for dtype in (tf.float64, tf.int32)]
      self.assertEqual([100, 100], fixed.shape.as_list())
      again = sess.run(fixed)
      results = sess.run([fixed] + others, {fed: [100, 100]})
    for dtype, signs in zip((np.float32, np.float64, np.int32), results,
                            strict=True):
      self.assertEqual(dtype, signs.dtype)
      self.assertAllEqual(np.ones([100, 100]), np.abs(signs))
      # Five standard deviations of the mean of 10^4 signs are 0.05.
      self.assertLess(abs(signs.mean()), 0.05)
      self.assertLess(abs((signs[1:] * signs[:-1]).mean()), 0.05)
    self.assertLess(abs((again * results[0]).mean()), 0.05)


if __name__ == "__main__":
  tf.test.main()
