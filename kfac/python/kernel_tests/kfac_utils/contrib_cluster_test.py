"""Tests that contrib.kfac's own recipe for clusters trains.

The processes run contrib_cluster_program.py.
"""

import tempfile

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.kfac_utils import contrib_cluster_program
from kfac.python.kernel_tests.kfac_utils import processes

_CHIEF = "/job:worker/task:0"
_STEPS = 30


class ContribClusterTest(tf.test.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls._nursery = processes.Nursery(contrib_cluster_program.__file__)
    cls.addClassCleanup(cls._nursery.close)

  def _train(self, dedicated):
    """Returns the values that the chief prints after each step."""
    cluster = processes.Cluster(
        self._nursery, tempfile.mkdtemp(dir=self.get_temp_dir()),
        grace_secs=60., arguments=dict(
            steps=_STEPS, dedicated=dedicated)).start()
    chief = cluster.tasks[_CHIEF]
    self.assertEqual(0, chief.wait(), chief.errors()[-5:])
    return [values for _, values in chief.events("step")]

  def testReplicasTrainAndAdaptTheDamping(self):
    values = self._train(dedicated=False)
    self.assertLess(values[-1]["loss"], 0.7 * values[0]["loss"])
    self.assertNotEqual(values[-1]["damping"], values[0]["damping"])

  def testDedicatedWorkerUpdatesStatistics(self):
    values = self._train(dedicated=True)
    self.assertLess(values[-1]["loss"], 0.9 * values[0]["loss"])


if __name__ == "__main__":
  tf.test.main()
