"""Tests of the number of uses of a variable in a subgraph."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.utils import graph_kinds as kinds
from kfac.python.ops.utils import graph


def _uses(outputs, *variables):
  sub_graph = graph.SubGraph(outputs)
  return [sub_graph.variable_uses(variable) for variable in variables]


class SubGraphVariableUsesTest(tf.test.TestCase):

  def testEachConsumerCounts(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        once, twice = kinds.weights("once"), kinds.weights("twice")
        x = tf.ones([2, 3])
        loss = tf.reduce_sum(tf.matmul(tf.matmul(x, twice) + once[0], twice))
        self.assertEqual([1, 2], _uses(loss, once, twice))

  def testUseOutsideDoesNotCount(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w, unused = kinds.weights(), kinds.weights("unused")
        loss = tf.reduce_sum(tf.matmul(tf.ones([2, 3]), w))
        tf.matmul(w, unused)
        decay = tf.nn.l2_loss(w)
        tf.gradients(loss + decay, w)
        self.assertEqual([1, 0], _uses(loss, w, unused))
        self.assertEqual([2], _uses([loss, decay], w))

  def testGradientsMadeBeforeDoNotCount(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        w = kinds.weights()
        _, y = tf.while_loop(
            lambda i, y: i < 3,
            lambda i, y, w=w: (i + 1, tf.tanh(tf.matmul(y, w))),
            [0, tf.ones([2, 3])])
        z = tf.cond(tf.reduce_sum(y) > 0.,
                    lambda y=y, w=w: tf.tanh(tf.matmul(y, w)),
                    lambda y=y: y)
        loss = tf.reduce_sum(z)
        # Gradients make the loop and the branch save intermediate values.
        gradient, = tf.gradients(loss, w)
        self.assertEqual([2], _uses(loss, w), kind)
        self.assertGreater(_uses(gradient, w)[0], 2, kind)

  def testControlInputsAreNotUses(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = kinds.weights()
        with tf.control_dependencies([tf.matmul(w, w)]):
          loss = tf.reduce_sum(w)
        self.assertEqual([1], _uses(loss, w))

  def testOpWithTheValueAsTwoInputsCountsOnce(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = kinds.weights()
        value = tf.convert_to_tensor(w)
        self.assertEqual([1], _uses(tf.matmul(value, value), w))

  def testReadsAndIdentitiesAreNotUses(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = kinds.weights()
        copy = tf.identity(tf.identity(w.read_value()))
        loss = tf.matmul(copy, tf.exp(copy)) + w.value() + tf.identity(w)
        self.assertEqual([4], _uses(loss, w))

  def testGatherIsOneUse(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = kinds.weights(rows=7)
        embedded = tf.nn.embedding_lookup(w, tf.constant([[1, 2], [6, 1]]))
        self.assertEqual([1], _uses(tf.reduce_sum(embedded), w))

  def testEachPartOfAPartitionedVariableCounts(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = tf.get_variable(
            "w", [6, 3], partitioner=tf.fixed_size_partitioner(3))
        embedded = tf.nn.embedding_lookup(w, tf.constant([0, 3, 5]), "div")
        product = tf.matmul(tf.ones([2, 6]), w)
        self.assertLen(list(w), 3)
        self.assertEqual([1, 1, 1], _uses(embedded, *w))
        self.assertEqual([2, 2, 2], _uses([embedded, product], *w))

  def testEachBranchCounts(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        w, v = kinds.weights(), kinds.weights("v")
        x = tf.ones([2, 3])
        result = tf.cond(
            tf.reduce_sum(x) > 0.,
            lambda x=x, w=w, v=v: tf.matmul(tf.matmul(x, w), v),
            lambda x=x, w=w: tf.matmul(2. * x, w))
        self.assertEqual([2, 1], _uses(result, w, v), kind)
        self.assertEqual([3, 1], _uses(result + w[0], w, v), kind)

  def testOneOfManyBranchesCounts(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        w = kinds.weights()
        x = tf.ones([2, 3])
        result = tf.switch_case(
            tf.placeholder_with_default(1, []),
            [lambda x=x: x, lambda x=x, w=w: tf.matmul(x, w),
             lambda x=x: 2. * x])
        self.assertEqual([1], _uses(result, w), kind)

  def testBranchThatReturnsTheVariableIsNotAUse(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        w, v = kinds.weights(), kinds.weights("v")
        chosen = tf.cond(tf.placeholder_with_default(True, []),
                         w.read_value, v.read_value)
        loss = tf.matmul(chosen, tf.exp(chosen))
        self.assertEqual([2, 2], _uses(loss, w, v), kind)

  def testUnneededOutputOfABranchDoesNotCount(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        w = kinds.weights()
        x = tf.ones([2, 3])
        needed, _ = tf.cond(
            tf.placeholder_with_default(True, []),
            lambda x=x, w=w: (tf.exp(x), tf.matmul(x, w)),
            lambda x=x: (x, x))
        self.assertEqual([0], _uses(needed, w), kind)

  def testBodyOfALoopCountsOnce(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        w, limit = kinds.weights(), tf.get_variable("limit", [])
        _, result = tf.while_loop(
            lambda i, y, limit=limit: limit + tf.cast(i, tf.float32) < 5.,
            lambda i, y, w=w: (i + 1, tf.matmul(y, w)),
            [0, tf.ones([2, 3])])
        self.assertEqual([1, 1], _uses(result, w, limit), kind)
        self.assertEqual([2, 1], _uses(tf.matmul(result, w), w, limit), kind)

  def testLoopVariableIsFollowed(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        w = kinds.weights()
        _, y, travelled = tf.while_loop(
            lambda i, y, value: i < 3,
            lambda i, y, value: (i + 1, tf.matmul(y, value), value),
            [0, tf.ones([2, 3]), tf.convert_to_tensor(w)])
        self.assertEqual([1], _uses(y, w), kind)
        loss = tf.matmul(y, travelled) + tf.exp(travelled)[0]
        self.assertEqual([3], _uses(loss, w), kind)

  def testBranchInALoopCounts(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        w = kinds.weights()

        def body(i, y, w=w):
          return i + 1, tf.cond(i > 1, lambda: tf.matmul(y, w),
                                lambda: tf.matmul(2. * y, w))

        _, result = tf.while_loop(lambda i, y: i < 3, body,
                                  [0, tf.ones([2, 3])])
        self.assertEqual([2], _uses(result, w), kind)

  def testEachCallOfAFunctionCounts(self):
    with kinds.new_graph(control_flow_v2=True, use_resource=True):
      w = kinds.weights()

      @tf.function(autograph=False)
      def layer(x):
        return tf.matmul(x, w)

      self.assertEqual([2], _uses(layer(layer(tf.ones([2, 3]))), w))

  def testCustomGradientIsNotAUse(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = kinds.weights()

        @tf.custom_gradient
        def layer(x, value):
          def gradient(grad):
            return tf.matmul(grad, value, transpose_b=True), None
          return tf.matmul(x, value), gradient

        result = layer(tf.ones([2, 3]), tf.convert_to_tensor(w))
        self.assertEqual([1], _uses(result, w))

  def testQueriesOfShapeAndStateAreNotUses(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = kinds.weights()
        loss = tf.reduce_sum(tf.matmul(tf.ones([2, 3]), w))
        loss += tf.cast(tf.is_variable_initialized(w), tf.float32)
        self.assertEqual([1], _uses(loss, w))
        if use_resource:
          rows = tf.raw_ops.VariableShape(input=w.handle)[0]
          self.assertEqual([1], _uses(loss / tf.cast(rows, tf.float32), w))

  def testVariableOfAnotherGraphHasNoUses(self):
    with kinds.new_graph():
      elsewhere = kinds.weights()
      with kinds.new_graph():
        w = kinds.weights()
        self.assertEqual([0, 1], _uses(tf.exp(w), elsewhere, w))

  def testRefusesOtherObjects(self):
    with kinds.new_graph():
      w = tf.get_variable(
          "w", [4, 3], partitioner=tf.fixed_size_partitioner(2))
      sub_graph = graph.SubGraph(tf.constant(1.))
      for other in (tf.constant(1.), "w", w):
        with self.assertRaisesRegex(ValueError, "var must be a variable, got"):
          sub_graph.variable_uses(other)


if __name__ == "__main__":
  tf.test.main()
