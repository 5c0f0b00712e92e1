"""Tests of sums and means over replicas in utils.

A graph for a TPU can be built without one. The tests run it on the CPU, with
given numbers in place of the sums over replicas.
"""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import replicas


def _run_on_cpu(output, sums):
  """Runs the ops of a computation for TPUs.

  Args:
    output: Tensor of the computation.
    sums: Values of the outputs of its CrossReplicaSum ops, in their order.

  Returns:
    Value of `output`.
  """
  graph_def = output.graph.as_graph_def()
  summing = [node for node in graph_def.node if node.op == "CrossReplicaSum"]
  for node in graph_def.node:
    node.attr.pop("_tpu_replicate", None)
    data = [x for x in node.input if not x.startswith("^")]
    del node.input[:]
    node.input.extend(data)
  for node, value in zip(summing, sums, strict=True):
    node.op = "Const"
    del node.input[:]
    dtype = node.attr.pop("T")
    node.attr["dtype"].CopyFrom(dtype)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
  graph_def = tf.graph_util.extract_sub_graph(graph_def, [output.op.name])
  with tf.Graph().as_default(), tf.Session() as sess:
    result, = tf.import_graph_def(graph_def, return_elements=[output.name])
    return sess.run(result)


class OnTpuTest(tf.test.TestCase):

  def testIsFalseElsewhereWithoutAnOp(self):
    with tf.Graph().as_default() as graph:
      tf.constant(1.)
      before = len(graph.get_operations())
      graph.finalize()
      self.assertFalse(replicas.on_tpu())
      self.assertLen(graph.get_operations(), before)

  def testTrueInsideAndFalseAfter(self):
    seen = []

    def computation(x):
      seen.append(replicas.on_tpu())
      return 2. * x

    with tf.Graph().as_default():
      x = tf.constant(1.)
      self.assertFalse(replicas.on_tpu())
      tf.tpu.rewrite(computation, [x])
      self.assertFalse(replicas.on_tpu())
    self.assertEqual([True], seen)

  def testTrueInBranchesOfTheComputation(self):
    before = tf.control_flow_v2_enabled()
    for switch in (tf.disable_control_flow_v2, tf.enable_control_flow_v2):
      seen = []

      def branch(x, seen=seen):
        seen.append(replicas.on_tpu())
        return x

      def computation(x, branch=branch):
        return tf.cond(x > 0., lambda: branch(x), lambda: branch(2. * x))

      switch()
      try:
        with tf.Graph().as_default():
          tf.tpu.rewrite(computation, [tf.constant(1.)])
          self.assertEqual([True, True], seen)
          tf.cond(tf.constant(True), lambda f=branch: f(tf.constant(1.)),
                  lambda: tf.constant(2.))
          self.assertEqual([True, True, False], seen)
      finally:
        (tf.enable_control_flow_v2 if before
         else tf.disable_control_flow_v2)()


class CrossReplicaMeanTest(tf.test.TestCase):

  def testIsTheSumOverTheNumberOfReplicas(self):
    for dtype in (np.float32, np.float64):
      made = []

      def computation(x, made=made):
        made.append(replicas.cross_replica_mean(x, name="mean"))
        return made[-1]

      with tf.Graph().as_default():
        tf.tpu.shard(computation, [tf.ones([4, 3], dtype)], num_shards=2)
        mean, = made
        self.assertEqual([2, 3], mean.shape.as_list())
        self.assertEqual(dtype, mean.dtype)
        self.assertStartsWith(mean.op.name, "mean/")
        count, total = (
            op for op in mean.graph.get_operations()
            if op.type == "CrossReplicaSum")
        for op in (count, total):
          self.assertAllEqual([[0, 1]], tf.get_static_value(op.inputs[1]))
        self.assertAllEqual(1., tf.get_static_value(count.inputs[0]))
        total_value = np.arange(6.).reshape(2, 3).astype(dtype)
        self.assertAllEqual(
            total_value / 2., _run_on_cpu(mean, [dtype(2.), total_value]))

  def testRefusesToRunElsewhere(self):
    with tf.Graph().as_default():
      with self.assertRaisesRegex(
          ValueError, "cross_replica_mean needs a computation for TPUs, got.*"
          "name"):
        replicas.cross_replica_mean(tf.constant(1., name="name"))


class OneReplicaTest(tf.test.TestCase):

  def testIsTheOnlyOne(self):
    with tf.Graph().as_default(), self.session() as sess:
      self.assertFalse(replicas.is_replicated())
      self.assertFalse(replicas.is_tpu_replicated())
      self.assertIsNone(replicas.get_tf_replicator())
      self.assertEqual(
          (1, 0), (replicas.get_num_replicas(), replicas.get_replica_id()))
      structure = {"a": tf.constant(1.), "b": [tf.constant([2., 3.])]}
      for function in (replicas.all_sum, replicas.all_average):
        result = function(structure, name="over_all")
        self.assertStartsWith(result["a"].op.name, "over_all")
        self.assertAllClose({"a": 1., "b": [[2., 3.]]}, sess.run(result))
      self.assertEqual(
          [1, 2], replicas.map_gather([lambda: 1, lambda: 2], name="all"))


class SeveralReplicasTest(tf.test.TestCase):

  def testSumsAndMeans(self):
    made = []

    def computation(x):
      self.assertTrue(replicas.is_replicated())
      self.assertTrue(replicas.is_tpu_replicated())
      made.extend(replicas.all_sum([x]))
      made.extend(replicas.all_average([x]))
      for function in (replicas.get_num_replicas, replicas.get_replica_id,
                       lambda: replicas.map_gather([])):
        with self.assertRaisesRegex(
            NotImplementedError, "^[a-z_]+ is not built for TPUs: use all_sum "
            "or all_average.$"):
          function()
      return made[-1]

    with tf.Graph().as_default():
      tf.tpu.shard(computation, [tf.ones([4, 3])], num_shards=2)
      total = np.arange(6., dtype=np.float32).reshape(2, 3)
      self.assertAllEqual(total, _run_on_cpu(
          made[0], [total, np.float32(2.), total]))
      self.assertAllEqual(total / 2., _run_on_cpu(
          made[1], [total, np.float32(2.), total]))


if __name__ == "__main__":
  tf.test.main()
