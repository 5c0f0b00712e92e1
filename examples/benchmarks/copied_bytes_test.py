"""Tests that the bytes copied between devices are those that must be."""

from unittest import mock

import tensorflow.compat.v1 as tf

import kfac
from examples import cluster
from examples.benchmarks import copied_bytes

_TASK = "/job:localhost/replica:0/task:0"
_CPUS = [f"{_TASK}/device:CPU:{index}" for index in range(3)]


def _session():
  return tf.Session(config=tf.ConfigProto(device_count={"CPU": 3}))


def _servers():
  """Returns two tasks of a cluster, each with one CPU."""
  tasks = tf.train.ClusterSpec({"task": cluster.free_addresses(2)})
  return [tf.train.Server(tasks, job_name="task", task_index=index)
          for index in range(2)]


class CopiedBytesTest(tf.test.TestCase):

  def _sum(self, devices):
    """Returns a feed, and a sum on the second device of floats [feed, 5]."""
    with tf.device(devices[0]):
      rows = tf.placeholder(tf.float32, [None, 5])
      doubled = 2. * rows
    with tf.device(devices[1]):
      total = tf.reduce_sum(doubled)
    with tf.device(devices[0]):
      return rows, total + 1.

  def testTensorsOfTwoDevices(self):
    with tf.Graph().as_default(), _session() as sess:
      rows, total = self._sum(_CPUS)
      for count in (3, 7):
        copied = copied_bytes.measure(sess, total, {rows: count * [5 * [1.]]})
        self.assertEqual({(_CPUS[0], _CPUS[1]): count * 5 * 4,
                          (_CPUS[1], _CPUS[0]): 4}, dict(copied))

  def testOneDeviceAndOtherTensorsOfADeviceCopyNothing(self):
    with tf.Graph().as_default(), _session() as sess:
      rows, total = self._sum(_CPUS[:1] * 2)
      self.assertEmpty(copied_bytes.measure(sess, total, {rows: [5 * [1.]]}))
      with tf.device(_CPUS[2]):
        other = tf.ones([100]) + 1.
      self.assertEmpty(copied_bytes.measure(sess, [total.op, other.op],
                                            {rows: [5 * [1.]]}))

  def testTensorIsCopiedOnceForAllItsUses(self):
    with tf.Graph().as_default(), _session() as sess:
      with tf.device(_CPUS[0]):
        value = tf.random_uniform([6], dtype=tf.float64)
      for device in _CPUS[1:]:
        with tf.device(device):
          uses = tf.exp(value), tf.sin(value)
          tf.add_to_collection("uses", tf.add_n(uses).op)
      copied = copied_bytes.measure(sess, tf.get_collection("uses"))
      self.assertEqual({(_CPUS[0], device): 6 * 8 for device in _CPUS[1:]},
                       dict(copied))

  def testEachPassOfALoopAndOnlyTheBranchTaken(self):
    with tf.Graph().as_default(), _session() as sess:
      taken = tf.placeholder(tf.bool, [])
      with tf.device(_CPUS[0]):
        value = tf.random_uniform([10])

      def add(index, total):
        with tf.device(_CPUS[0]):
          part = index * value
        with tf.device(_CPUS[1]):
          return index + 1., total + tf.reduce_sum(tf.exp(part))

      def loop():
        return tf.while_loop(lambda index, _: index < 4., add, [0., 0.])[1]

      total = tf.cond(taken, loop, lambda: 0.)
      many, few = (
          copied_bytes.measure(sess, total, {taken: value})[_CPUS[0], _CPUS[1]]
          for value in (True, False))
      # Numbers of the loop itself are copied, too.
      self.assertBetween(many, 4 * 10 * 4, 4 * 10 * 4 + 100)
      self.assertLess(few, 10 * 4)

  def testTasksOfACluster(self):
    servers = _servers()
    tasks = [f"/job:task/replica:0/task:{index}/device:CPU:0"
             for index in range(2)]
    with tf.Graph().as_default(), tf.Session(servers[0].target) as sess:
      rows, total = self._sum(tasks)
      copied = copied_bytes.measure(sess, total, {rows: 3 * [5 * [1.]]})
      self.assertEqual({tuple(tasks): 3 * 5 * 4, tuple(tasks[::-1]): 4},
                       dict(copied))
      # A feed is first at the task of the session.
      with tf.device(tasks[1]):
        total = tf.reduce_sum(rows)
      copied = copied_bytes.measure(sess, total.op, {rows: 3 * [5 * [1.]]})
      self.assertEqual({tuple(tasks): 3 * 5 * 4}, dict(copied))
      metadata = tf.RunMetadata()
      sess.run(total.op, {rows: 3 * [5 * [1.]]}, tf.RunOptions(
          trace_level=tf.RunOptions.FULL_TRACE, output_partition_graphs=True),
               metadata)
      with self.assertRaisesRegex(
          ValueError, r"^feed_sizes must contain '.*Placeholder.*', which is "
          r"sent\.$"):
        copied_bytes.count(metadata)

  def testRunWithoutTrace(self):
    with self.assertRaisesRegex(
        ValueError, r"^metadata must be of a run with FULL_TRACE and "
        r"output_partition_graphs\.$"):
      copied_bytes.count(tf.RunMetadata())


class CovariancesTest(tf.test.TestCase):

  def testStatisticsBesideTheDataCopyOnlyCovariances(self):
    covariances = 4 * (6 * 6 + 3 * 3)
    params = 4 * (5 * 3 + 3)
    for mode, counter in (("empirical", 0), ("gradients", 8)):
      for num_rows in (50, 100):
        with self.subTest(mode=mode, num_rows=num_rows):
          copied = self._update("separate", mode, num_rows)
          for tower in _CPUS[1:]:
            self.assertEqual(covariances, copied.pop((tower, _CPUS[0])))
            self.assertEqual(params + counter, copied.pop((_CPUS[0], tower)))
          self.assertEmpty(copied)

  def testConcatenatedTowersCopyTheData(self):
    for num_rows in (50, 100):
      copied = self._update("concat", "empirical", num_rows)
      self.assertGreaterEqual(sum(copied.values()), 4 * num_rows * (5 + 3))

  def _update(self, strategy, mode, num_rows):
    """Updates the covariances of a layer with two towers of rows."""
    with mock.patch.object(
        kfac.fisher_factors, "TOWER_STRATEGY", strategy), (
            tf.Graph().as_default()), _session() as sess:
      with tf.device(_CPUS[0]):
        w, b = tf.get_variable("w", [5, 3]), tf.get_variable("b", [3])
      layers = kfac.LayerCollection()
      for tower in _CPUS[1:]:
        with tf.device(tower):
          x = tf.random_normal([num_rows, 5])
          logits = tf.matmul(x, w) + b
          layers.register_fully_connected(
              (w, b), x, logits, reuse=tower != _CPUS[1])
          layers.register_categorical_predictive_distribution(
              logits, targets=tf.zeros([num_rows], tf.int32), name="loss",
              reuse=tower != _CPUS[1])
      with tf.device(_CPUS[0]):
        update = kfac.estimator.FisherEstimator(
            [w, b], 0.9, 0.1, layers, estimation_mode=mode,
            colocate_gradients_with_ops=True).cov_update_op
      sess.run(tf.global_variables_initializer())
      return copied_bytes.measure(sess, update)


if __name__ == "__main__":
  tf.test.main()
