"""A step whose gradients come from elsewhere reads the inverses after them."""

import threading
import time

import numpy as np
import tensorflow.compat.v1 as tf

import kfac


class QueuedGradientsTest(tf.test.TestCase):

  def testInversesThatAreUpdatedWhileAStepWaitsCount(self):
    """The step waits for its gradient, as the chief does for other workers."""
    for momentum_type in ("regular", "adam"):
      with self.subTest(momentum_type), tf.Graph().as_default():
        self._check(momentum_type)

  def _check(self, momentum_type):
    """Checks that the first step moves the parameters."""
    weights = tf.get_variable(
        "w", [3, 2], initializer=tf.zeros_initializer(), use_resource=True)
    inputs = tf.constant(np.random.RandomState(0).randn(8, 3), tf.float32)
    outputs = tf.matmul(inputs, weights)
    layers = kfac.LayerCollection()
    layers.register_fully_connected(weights, inputs, outputs)
    layers.register_normal_predictive_distribution(outputs, seed=1)
    queue = tf.FIFOQueue(1, [tf.float32], [[3, 2]])
    put = queue.enqueue(tf.ones([3, 2]))
    optimizer = kfac.KfacOptimizer(
        0.1, damping=0.1, layer_collection=layers, momentum=0.,
        momentum_type=momentum_type)
    train_op = optimizer.apply_gradients([(queue.dequeue(), weights)])
    with tf.Session() as session:
      session.run(tf.global_variables_initializer())
      step = threading.Thread(target=session.run, args=[train_op])
      step.start()
      time.sleep(0.5)  # Whatever does not wait for the gradient is done.
      session.run(optimizer.cov_update_op)
      session.run(optimizer.inv_update_op)
      session.run(put)
      step.join()
      self.assertGreater(np.abs(session.run(weights)).max(), 0.01)


if __name__ == "__main__":
  tf.test.main()
