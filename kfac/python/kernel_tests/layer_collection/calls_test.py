"""Tests of calls: registrations that are recorded and repeated."""

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.ops.layer_collection import calls


class CallsTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.enter_context(tf.Graph().as_default())
    self._inputs = tf.placeholder(tf.float32, [None, 3])
    self._weights = tf.get_variable("weights", [3, 2])
    self._outputs = tf.matmul(self._inputs, self._weights)
    self._layers = kfac.LayerCollection()

  def _register(self, layers=None):
    layers = layers or self._layers
    layers.register_fully_connected(
        self._weights, self._inputs, outputs=self._outputs, approx="diagonal")
    layers.register_categorical_predictive_distribution(
        self._outputs, 3, name="digits")

  def testRecordsSuccessfulCallsOnce(self):
    self._register()
    self.assertEqual(
        ["register_fully_connected",
         "register_categorical_predictive_distribution"],
        [call.method for call in self._layers._calls])
    self.assertEqual("diagonal", self._layers._calls[0].arguments["approx"])
    with self.assertRaises(ValueError):
      self._layers.register_fully_connected(
          self._weights, self._outputs, self._inputs, reuse=True)
    self.assertLen(self._layers._calls, 2)

  def testListsTensorsOnce(self):
    self._register()
    self.assertEqual([self._inputs.name, self._outputs.name],
                     [tensor.name for tensor in calls.tensors(self._layers)])

  def testRepeatsWithOtherTensors(self):
    self._register()
    self._layers.register_generic(tf.get_variable("scale", []), 100)
    inputs = tf.zeros([5, 3])
    outputs = tf.matmul(inputs, self._weights)
    target = kfac.LayerCollection()
    calls.repeated(
        self._layers, target,
        {self._inputs.name: inputs, self._outputs.name: outputs},
        lambda number: number // 20)
    block, generic = target.get_blocks()
    self.assertIsInstance(block, kfac.fisher_blocks.FullyConnectedDiagonalFB)
    self.assertIs(outputs, block.tensors_to_compute_grads()[0])
    self.assertEqual(5, target._calls[2].arguments["batch_size"])
    self.assertIsInstance(generic, kfac.fisher_blocks.NaiveDiagonalFB)
    self.assertIs(outputs, target.losses[0].inputs)
    self.assertEqual(
        set(self._layers.registered_variables),
        set(target.registered_variables))

  def testCoefficientsAreNoTensorsOfTheBatch(self):
    coeff = tf.constant(2.)
    self._layers.register_squared_error_loss(self._outputs, coeff=coeff)
    self.assertEqual([self._outputs.name],
                     [tensor.name for tensor in calls.tensors(self._layers)])
    target = kfac.LayerCollection()
    calls.repeated(self._layers, target,
                   {self._outputs.name: tf.zeros([5, 2])}, int)
    self.assertEqual([coeff], list(target.loss_coeffs.values()))

  def testDefaultsAreRepeated(self):
    self._layers.set_default_fully_connected_approximation("diagonal")
    self._layers.register_fully_connected(
        self._weights, self._inputs, self._outputs)
    target = kfac.LayerCollection()
    calls.repeated(self._layers, target, {
        tensor.name: tensor for tensor in (self._inputs, self._outputs)}, int)
    self.assertIsInstance(target.get_blocks()[0],
                          kfac.fisher_blocks.FullyConnectedDiagonalFB)

  def testObjectsAreRefused(self):
    loss = kfac.loss_functions.CategoricalLogitsNegativeLogProbLoss(
        self._outputs)
    self._layers.register_loss_function(loss, self._outputs, "loss")
    with self.assertRaisesRegex(
        ValueError, "^layer_collection must have no objects registered by "
        ".* to be copied, got register_loss_function.$"):
      calls.tensors(self._layers)

  def testSparseTensorsAreRefused(self):
    table = tf.get_variable("table", [4, 2])
    ids = tf.sparse.placeholder(tf.int64, [None, 4])
    outputs = tf.nn.embedding_lookup_sparse(table, ids, None, combiner="sum")
    self._layers._calls.append(calls.Call(
        "register_embedding", {"params": table, "inputs": ids,
                               "outputs": outputs}))
    with self.assertRaisesRegex(
        ValueError, "^layer_collection must have only dense tensors to be "
        "copied, got a SparseTensor in register_embedding.$"):
      calls.tensors(self._layers)


if __name__ == "__main__":
  tf.test.main()
