"""Steps without any inverse update are reported once, on stderr."""

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import graph_modes
from kfac.python.kernel_tests import standard_error


class MissingInversesTest(tf.test.TestCase):

  def _messages(self, invert):
    """Returns the number of warnings in 25 steps, with inverses or without."""
    with tf.Graph().as_default(), self.session() as sess:
      w = tf.get_variable("w", [3, 2])
      x = tf.ones([4, 3])
      outputs = tf.matmul(x, w)
      layers = kfac.LayerCollection()
      layers.register_fully_connected(w, x, outputs)
      layers.register_normal_predictive_distribution(outputs)
      optimizer = kfac.KfacOptimizer(0.1, 0.9, 0.1, layers)
      train_op = optimizer.minimize(tf.reduce_mean(tf.square(outputs - 1.)))
      sess.run(tf.global_variables_initializer())
      with standard_error.captured() as text:
        for step in range(25):
          if invert and step == 5:
            sess.run(optimizer.cov_update_op)
            sess.run(optimizer.inv_update_op)
          sess.run(train_op)
      return text.getvalue().count(
          "kfac: 10 steps were run before any inverse was updated")

  def testSaysOnceThatParametersDoNotMove(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2):
        self.assertEqual(1, self._messages(invert=False))

  def testSaysNothingIfThereAreInverses(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2):
        self.assertEqual(0, self._messages(invert=True))


if __name__ == "__main__":
  tf.test.main()
