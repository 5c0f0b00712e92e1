"""Errors of the registration of embeddings."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.layer_collection import errors_case as errors
from kfac.python.ops import layer_collection as lc


class EmbeddingErrorsTest(errors.ErrorsCase):

  def testEmbedding(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      table = errors.variable("table", [7, 2])
      bias = errors.variable("bias", [2])
      ids, rows = tf.constant([0, 1, 2]), tf.ones([3, 2])
      good = dict(params=table, inputs=ids, outputs=rows)
      cases = [
          (dict(params=(table, bias)), "params must be W without a bias, got "
           r"\['table:0', 'bias:0'\]"),
          (dict(params=bias), r"params must have rank 2, got shape \(2,\)"),
          (dict(inputs=tf.ones([3])),
           "inputs must have dtype integer, got float32"),
          (dict(inputs=tf.zeros([3, 2, 2], tf.int32)),
           r"inputs must have rank 1 or 2, got shape \(3, 2, 2\)"),
          (dict(outputs=tf.ones([3, 3])),
           r"outputs must have shape \[\?, 2\], got \[3, 3\]"),
          (dict(outputs=tf.ones([4, 2])),
           "outputs must have the batch size of inputs"),
          (dict(partition_strategy="no"),
           "partition_strategy must be 'mod' or 'div', got 'no'"),
          (dict(approx="diagonal"),
           r"approx must be one of \['kron'\], got 'diagonal'"),
          (dict(inputs=[ids], outputs=[rows]),
           "inputs must be one tensor where a layer is used once"),
      ]
      for bad, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_embedding(**dict(good, **bad))
      cases = [
          (dict(), "num_uses must be given where inputs are one tensor"),
          (dict(inputs=[ids, ids], outputs=[rows]),
           "outputs must have as many uses as inputs, got 1 and 2"),
          (dict(num_uses=3, approx="kron"),
           r"approx must be one of \['kron_indep'\], got 'kron'"),
      ]
      for bad, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_embedding_multi(**dict(good, **bad))
      layers.register_embedding(**good)


if __name__ == "__main__":
  tf.test.main()
