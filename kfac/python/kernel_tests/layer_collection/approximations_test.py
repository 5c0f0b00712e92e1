"""Tests of the names of approximations; contract_test.py has those of rows."""

import tensorflow.compat.v1 as tf

from kfac.python.ops import layer_collection as lc


class ApproximationsTest(tf.test.TestCase):

  def _dense(self):
    """Returns the parameters, inputs and outputs of a dense layer."""
    weights = tf.get_variable("weights", [3, 2])
    inputs = tf.ones([4, 3])
    return weights, inputs, tf.matmul(inputs, weights)

  def testNotBuilt(self):
    with tf.Graph().as_default():
      layers, name = lc.LayerCollection(), lc.APPROX_KRONECKER_SUA_NAME
      images = tf.ones([2, 5, 5, 3])
      filters = tf.get_variable("filters", [1, 1, 3, 2])
      outputs = tf.nn.conv2d(images, filters, [1, 1, 1, 1], "SAME")
      for call in (
          lambda: layers.register_conv2d(
              filters, [1, 1, 1, 1], "SAME", images, outputs, approx=name),
          lambda: layers.set_default_conv2d_approximation(name),
          lambda: layers.define_linked_parameters(filters, name)):
        with self.assertRaisesRegex(
            NotImplementedError,
            "^approx 'kron_sua' is not built, use 'kron'.$"):
          call()
      self.assertEqual(layers.get_blocks(), ())
      self.assertEqual(layers.linked_parameters, {})

  def testTowersHaveTheSameDiagonals(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      args = self._dense()
      layers.register_fully_connected(*args, approx="kron_in_diag")
      for approx, name in (("kron", "input"), ("kron_both_diag", "output")):
        with self.assertRaisesRegex(
            ValueError, "reused with the settings of the registered layer, "
            f"got another diagonal_approx_for_{name}"):
          layers.register_fully_connected(*args, approx=approx, reuse=True)

  def testUsesHaveTheSameDiagonals(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      args = (*self._dense(), 2)
      layers.register_fully_connected_multi(*args, approx="kron_indep")
      with self.assertRaisesRegex(
          ValueError, "got another diagonal_approx_for_output"):
        layers.register_fully_connected_multi(
            *args, approx="kron_indep_out_diag", reuse=True)


if __name__ == "__main__":
  tf.test.main()
