"""Tests of the optimizer whose updates run in the background."""

import threading
import time

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net

_TIMEOUT = 60  # Seconds, so that a test cannot hang. No test measures time.
_SETTINGS = dict(learning_rate=0.1, damping=0.1, estimation_mode="exact",
                 momentum=0.5)


class _Net:
  """A dense layer with a softmax on a batch of the graph.

  Attributes:
    w: Variable.
    layers: LayerCollection.
    loss: Scalar, a mean.
  """

  def __init__(self, x, y):
    self.w = tf.get_variable(
        "w", [3, 3], tf.float64, tf.zeros_initializer(), use_resource=True)
    logits = tf.matmul(x, self.w)
    self.layers = kfac.LayerCollection()
    self.layers.register_fully_connected(self.w, x, logits)
    self.layers.register_categorical_predictive_distribution(logits)
    self.loss = dense_net.loss_on(logits, y)


def _batch():
  (x, y), = dense_net.batches(1)
  return tf.constant(x), tf.constant(y)


def _optimizer(net, threads=None, **kwargs):
  return kfac.AsyncInvCovUpdateKfacOpt(
      None, None, threads, layer_collection=net.layers,
      **dict(_SETTINGS, **kwargs))


def _threads():
  return [thread for thread in threading.enumerate()
          if thread.name.startswith("Background")]


def _first_step():
  """Returns the weights after a step with new inverses of a KfacOptimizer."""
  with tf.Graph().as_default(), tf.Session() as sess:
    net = _Net(*_batch())
    optimizer = kfac.KfacOptimizer(layer_collection=net.layers, **_SETTINGS)
    train_op = optimizer.minimize(net.loss)
    sess.run(tf.global_variables_initializer())
    for op in (optimizer.cov_update_op, optimizer.inv_update_op, train_op):
      sess.run(op)
    return sess.run(net.w)


class AsyncInvCovUpdateKfacOptTest(tf.test.TestCase):

  def _assertNoThreads(self):
    self.assertEqual([], _threads())

  def _await(self, condition):
    """Waits until a function of nothing is true."""
    deadline = time.monotonic() + _TIMEOUT
    while not condition():
      self.assertLess(time.monotonic(), deadline)
      time.sleep(0.001)

  def testTrainingLowersTheLossAndTheThreadsEnd(self):
    first = _first_step()
    for threads, running in ((None, 2), (1, 2), (3, 3)):
      with tf.Graph().as_default() as graph, tf.Session() as sess:
        net = _Net(*_batch())
        optimizer = _optimizer(net, threads)
        train_op = optimizer.minimize(net.loss)
        initializer = tf.global_variables_initializer()
        graph.finalize()
        sess.run(initializer)
        before = sess.run(net.loss)
        optimizer.run_cov_inv_ops(sess)
        self.assertLen(_threads(), running)
        sess.run(train_op)
        # Covariances of one batch and one point do not change with more
        # updates.
        self.assertAllClose(first, sess.run(net.w), rtol=1e-6)
        for _ in range(20):
          sess.run(train_op)
        self.assertLess(sess.run(net.loss), 0.8 * before)
        optimizer.stop_cov_inv_ops(sess)
        self._assertNoThreads()
        optimizer.stop_cov_inv_ops(sess)  # It does nothing.

  def testUpdatesRunWithoutSteps(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      net = _Net(*_batch())
      optimizer = _optimizer(net)
      optimizer.minimize(net.loss)
      sess.run(tf.global_variables_initializer())
      num_updates = optimizer._fisher_est.factors[0].num_updates
      optimizer.run_cov_inv_ops(sess)
      self._await(lambda: sess.run(num_updates) > 5)
      optimizer.stop_cov_inv_ops(sess)
      count = sess.run(num_updates)
      optimizer.run_cov_inv_ops(sess)  # They start again.
      self._await(lambda: sess.run(num_updates) > count + 1)
      optimizer.stop_cov_inv_ops(sess)
    self._assertNoThreads()

  def testNextOpUpdatesAll(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      net = _Net(*_batch())
      optimizer = _optimizer(net)
      train_op = optimizer.minimize(net.loss)
      op = optimizer.next_op
      self.assertIs(op, optimizer.next_op)
      sess.run(tf.global_variables_initializer())
      sess.run(op)
      sess.run(train_op)
      self.assertAllClose(_first_step(), sess.run(net.w), rtol=1e-6)

  def testDevicesOfUpdates(self):
    with tf.Graph().as_default():
      net = _Net(*_batch())
      optimizer = kfac.AsyncInvCovUpdateKfacOpt(
          ["/cpu:0"], ["/cpu:1", "/cpu:2"], layer_collection=net.layers,
          **_SETTINGS)
      optimizer.minimize(net.loss)
      self.assertEqual(3, optimizer._num_threads)
      self.assertLen({op.device for op in optimizer.inv_update_ops}, 2)

  def testEndOfTheDataIsNoError(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      (x, y), = dense_net.batches(1)
      data = tf.data.Dataset.from_tensors((x, y)).repeat(4)
      net = _Net(*tf.data.make_one_shot_iterator(data).get_next())
      optimizer = _optimizer(net)
      optimizer.minimize(net.loss)
      sess.run(tf.global_variables_initializer())
      with self.assertLogs(level="INFO") as logs:
        optimizer.run_cov_inv_ops(sess)
        self._await(lambda: any("ended with the data" in line
                                for line in logs.output))
        optimizer.stop_cov_inv_ops(sess)
      self._assertNoThreads()

  def testErrorIsRaisedAtTheEnd(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      x, y = _batch()
      good = tf.get_variable("good", initializer=True, trainable=False)
      with tf.control_dependencies([tf.debugging.Assert(good, ["bad batch"])]):
        net = _Net(tf.identity(x), y)
      optimizer = _optimizer(net)
      optimizer.minimize(net.loss)
      make_bad = good.assign(False)
      sess.run(tf.global_variables_initializer())
      optimizer.run_cov_inv_ops(sess)
      with self.assertLogs(level="ERROR") as logs:
        sess.run(make_bad)
        self._await(lambda: logs.output)
      self.assertIn("Updates in the background ended: ", logs.output[0])
      with self.assertRaisesRegex(
          tf.errors.InvalidArgumentError, "bad batch"):
        optimizer.stop_cov_inv_ops(sess)
      self._assertNoThreads()

  def testBatchThatMustBeFed(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      net = _Net(tf.placeholder(tf.float64, [7, 3]), _batch()[1])
      optimizer = _optimizer(net)
      optimizer.minimize(net.loss)
      sess.run(tf.global_variables_initializer())
      with self.assertRaisesRegex(
          tf.errors.InvalidArgumentError, "must feed a value"):
        optimizer.run_cov_inv_ops(sess)
      self._assertNoThreads()

  def testCallsOutOfOrder(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      net = _Net(*_batch())
      optimizer = _optimizer(net)
      optimizer.minimize(net.loss)
      sess.run(tf.global_variables_initializer())
      optimizer.run_cov_inv_ops(sess)
      with self.assertRaisesRegex(
          RuntimeError, "^run_cov_inv_ops must be called once before "
          "stop_cov_inv_ops.$"):
        optimizer.run_cov_inv_ops(sess)
      with tf.Session() as other, self.assertRaisesRegex(
          ValueError, "^sess must be the session of run_cov_inv_ops, got "):
        optimizer.stop_cov_inv_ops(other)
      optimizer.stop_cov_inv_ops(sess)

  def testArgumentsOutOfRange(self):
    with tf.Graph().as_default():
      net = _Net(*_batch())
      with self.assertRaisesRegex(
          ValueError, "^num_cov_inv_update_threads must be an int >= 1, got 0"
          r"\.$"):
        _optimizer(net, 0)
      for name in ("cov_devices", "inv_devices"):
        with self.assertRaisesRegex(
            ValueError, f"^{name} must be a list of device names or None, got "
            r"'/cpu:0'\.$"):
          kfac.AsyncInvCovUpdateKfacOpt(
              layer_collection=net.layers, **_SETTINGS,
              **dict({"cov_devices": None, "inv_devices": None},
                     **{name: "/cpu:0"}))


if __name__ == "__main__":
  tf.test.main()
