"""Tests that workers with servers train as one process on the joint batch."""

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests.kfac_utils import workers_case
from kfac.python.ops.kfac_utils import background
from kfac.python.ops.kfac_utils import server_workers

_CASES = [
    dict(name="regular", momentum_type="regular"),
    dict(name="adam", momentum_type="adam", dataset=True, mode="empirical"),
    dict(name="qmodel", momentum_type="qmodel"),
    dict(name="periodic", periodic=True, dataset=True),
]


class ServerWorkersTest(workers_case.WorkersTestCase):

  def testOneServerAndTwoWorkersEqualOneProcess(self):
    folder = self.run_program("servers", _CASES, num_workers=2, num_servers=1)
    for case in _CASES:
      with self.subTest(case["name"]):
        self.assert_equal_alone(folder, case, [0, 1])

  def testTwoServersAndThreeWorkersEqualOneProcess(self):
    cases = [
        dict(name="regular", dataset=True, mode="curvature_prop"),
        dict(name="adam", momentum_type="adam", adapt=True),
        dict(name="qmodel", momentum_type="qmodel", dataset=True, adapt=True),
        dict(name="periodic", momentum_type="adam", periodic=True, adapt=True),
    ]
    folder = self.run_program("servers", cases, num_workers=3, num_servers=2,
                              control_flow=2)
    for case in cases:
      with self.subTest(case["name"]):
        self.assert_equal_alone(folder, case, [0, 2])


class ArgumentsTest(tf.test.TestCase):

  def testIndexMustBeThatOfAWorker(self):
    with self.assertRaisesRegex(
        ValueError, r"^index must be an int in \[0, 2\), got 2\.$"):
      server_workers.ServerWorkers(2, 2)

  def testAdaptedDampingNeedsResourceVariables(self):
    with tf.Graph().as_default():
      weights = tf.get_variable("w", [3, 2], use_resource=False)
      inputs = tf.ones([4, 3])
      outputs = tf.matmul(inputs, weights)
      layers = kfac.LayerCollection()
      layers.register_fully_connected(weights, inputs, outputs)
      layers.register_normal_predictive_distribution(outputs)
      optimizer = kfac.KfacOptimizer(
          0.1, damping=0.1, layer_collection=layers, adapt_damping=True,
          loss_fn=tf.reduce_sum, train_batch=inputs,
          workers=server_workers.ServerWorkers(2, 0))
      with self.assertRaisesRegex(
          ValueError, "^variables must be resource variables if several "
          "workers adapt the damping, got 'w:0'\\.$"):
        optimizer.minimize(tf.reduce_sum(outputs))

  def testWorkersMustBeWorkers(self):
    with tf.Graph().as_default(), self.assertRaisesRegex(
        ValueError, "^workers must be Workers, got 2\\.$"):
      kfac.KfacOptimizer(0.1, damping=0.1,
                         layer_collection=kfac.LayerCollection(), workers=2)

  def testParamsStatsNeedOneWorker(self):
    with tf.Graph().as_default(), self.assertRaisesRegex(
        ValueError, "^compute_params_stats must be False with several workers, "
        "got 2 workers\\.$"):
      kfac.KfacOptimizer(
          0.1, damping=0.1, layer_collection=kfac.LayerCollection(),
          compute_params_stats=True, batch_size=3,
          workers=server_workers.ServerWorkers(2, 1))

  def testUpdatesAtAnyTimeNeedOneWorker(self):
    together = server_workers.ServerWorkers(2, 0)
    arguments = dict(learning_rate=0.1, damping=0.1, workers=together)
    with tf.Graph().as_default():
      with self.assertRaisesRegex(
          ValueError, "^workers must be one process, since threads update at "
          "any time, got 2 workers\\.$"):
        kfac.AsyncInvCovUpdateKfacOpt(
            None, None, layer_collection=kfac.LayerCollection(), **arguments)
      optimizer = kfac.KfacOptimizer(
          layer_collection=kfac.LayerCollection(), **arguments)
      background.BackgroundInversesHook(optimizer, max_age=0)
      with self.assertRaisesRegex(
          ValueError, "^max_age must be 0 with several workers, got 3\\.$"):
        background.BackgroundInversesHook(optimizer, max_age=3)

  def testCountMustBePositive(self):
    with self.assertRaisesRegex(ValueError, "^count must be "):
      server_workers.ServerWorkers(0, 0)

  def testShapesMustBeKnown(self):
    for index in range(2):
      with tf.Graph().as_default():
        unknown = tf.placeholder(tf.float32, [None, 2], name="unknown")
        with self.assertRaisesRegex(
            ValueError, r"^the shape of unknown:0 must be known with several "
            r"workers, got \(None, 2\)\.$"):
          server_workers.ServerWorkers(2, index).mean([unknown], "values")


if __name__ == "__main__":
  tf.test.main()
