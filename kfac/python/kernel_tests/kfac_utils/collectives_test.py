"""Tests that workers without servers train as one process does."""

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests.kfac_utils import workers_case
from kfac.python.ops.kfac_utils import collectives


class CollectiveWorkersTest(workers_case.WorkersTestCase):

  def testThreeWorkersEqualOneProcess(self):
    cases = [
        dict(name="regular", momentum_type="regular"),
        dict(name="adam", momentum_type="adam", dataset=True, adapt=True),
        dict(name="qmodel", momentum_type="qmodel"),
        dict(name="periodic", periodic=True, dataset=True),
    ]
    folder = self.run_program("collectives", cases, num_workers=3)
    for case in cases:
      with self.subTest(case["name"]):
        self.assert_equal_alone(folder, case, range(3))


class SharesTest(tf.test.TestCase):

  def testEachWorkerInvertsItsShare(self):
    """Makes the graph of each of two workers, and counts decompositions."""
    counts = []
    for index in range(2):
      with tf.Graph().as_default() as graph:
        layers = kfac.LayerCollection()
        inputs = tf.random.normal([8, 6])
        for number in range(2):  # A, G, A, G of 6, 6, 6, 6 rows.
          weights = tf.get_variable(f"w{number}", [6, 6])
          outputs = tf.matmul(inputs, weights)
          layers.register_fully_connected(weights, inputs, outputs)
          inputs = tf.tanh(outputs)
        layers.register_normal_predictive_distribution(inputs)
        optimizer = kfac.KfacOptimizer(
            0.1, damping=0.1, layer_collection=layers,
            workers=collectives.CollectiveWorkers(2, index))
        before = len(graph.get_operations())
        self.assertLen(optimizer.inv_update_ops, 4)
        made = graph.get_operations()[before:]
      senders = [op for op in made if op.type == "CollectiveBcastSend"]
      receivers = [op for op in made if op.type == "CollectiveBcastRecv"]
      counts.append((len(senders) // 2, len(receivers) // 2))
      decompositions = [op for op in made if op.type == "Cholesky"]
      self.assertNotEmpty(decompositions)
    # The matrix and its counter have one dtype, so one message each.
    self.assertEqual(4, sum(counts[0]) * 2)
    self.assertEqual(counts[0], counts[1][::-1])

  def testOwnersAreBalancedByCost(self):
    class Factor:
      def __init__(self, rows):
        self._rows = rows

      def get_cov(self):
        return tf.zeros([self._rows, self._rows])

    with tf.Graph().as_default():
      owners = collectives._inverse_owners(
          [Factor(10), Factor(1), Factor(8), Factor(8)], 2)
    self.assertNotEqual(owners[0], owners[2])
    self.assertEqual(owners[2], owners[3])

  def testOneWorkerSendsNothing(self):
    with tf.Graph().as_default() as graph:
      workers = collectives.CollectiveWorkers(1, 0)
      variable = tf.get_variable("v", [3])
      workers.mean([variable], "values")
      workers.broadcast([variable])
      self.assertEmpty([op for op in graph.get_operations()
                        if op.type.startswith("Collective")])


if __name__ == "__main__":
  tf.test.main()
