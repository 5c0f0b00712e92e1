"""Tests that workers with servers train as one process on the joint batch."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.kfac_utils import workers_case
from kfac.python.ops.kfac_utils import server_workers

_CASES = [
    dict(name="regular", momentum_type="regular"),
    dict(name="adam", momentum_type="adam", dataset=True, mode="empirical"),
    dict(name="qmodel", momentum_type="qmodel"),
    dict(name="periodic", periodic=True, dataset=True),
    dict(name="adapted", momentum_type="qmodel", adapt=True),
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
        dict(name="qmodel", momentum_type="qmodel", dataset=True),
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
