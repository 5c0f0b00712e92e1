"""Steps without any inverse update are reported once, on stderr."""

import contextlib
import io
import os
import sys
import tempfile

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import graph_modes


class MissingInversesTest(tf.test.TestCase):

  @contextlib.contextmanager
  def _stderr(self):
    """Yields what is written to the standard error of the process."""
    with tempfile.TemporaryFile("w+") as file:
      sys.stderr.flush()
      kept = os.dup(2)
      os.dup2(file.fileno(), 2)
      text = io.StringIO()
      try:
        yield text
      finally:
        os.dup2(kept, 2)
        os.close(kept)
        file.seek(0)
        text.write(file.read())

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
      with self._stderr() as text:
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
