"""Tests that a cluster whose tasks are killed trains as if they were not.

The processes run workers_restarts_program.py.
"""

import pathlib
import signal
import tempfile

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.kfac_utils import processes
from kfac.python.kernel_tests.kfac_utils import workers_restarts_program

_STEPS = 80
_CASE = dict(momentum_type="qmodel", periodic=True)


class WorkersRestartsTest(tf.test.TestCase):

  def testKilledTasksDoNotChangeWhatIsLearned(self):
    """Kills a worker, the chief and the server, and compares the end."""
    nursery = processes.Nursery(workers_restarts_program.__file__)
    self.addCleanup(nursery.close)
    folder = tempfile.mkdtemp(dir=self.get_temp_dir())
    cluster = processes.Cluster(
        nursery, folder, grace_secs=60., arguments=dict(
            case=_CASE, steps=_STEPS)).start()
    cluster.start_task("alone", 0)
    chief, server = "/job:worker/task:0", "/job:ps/task:0"
    for name in ("/job:worker/task:1", chief, server):
      tasks = cluster.tasks
      # Each time some steps after a checkpoint.
      done = len(tasks[chief].events("step"))
      tasks[chief].wait_for("step", done + 13)
      self.assertIsNone(tasks[name].status())
      cluster.restart(name)
    for task in cluster.tasks.values():
      self.assertEqual(0, task.wait(), task.errors()[-5:])
    self._assert_equal_alone(pathlib.Path(folder))

  def testWithoutServersAllEndIfOneEndsOrRestarts(self):
    nursery = processes.Nursery(workers_restarts_program.__file__)
    self.addCleanup(nursery.close)
    chief, worker = "/job:worker/task:0", "/job:worker/task:1"
    for restart, reason in (
        (False, r"no sign of life for \d+ s"),
        (True, "it has restarted, and all have to start again")):
      folder = tempfile.mkdtemp(dir=self.get_temp_dir())
      cluster = processes.Cluster(
          nursery, folder, num_servers=0, grace_secs=60. if restart else 8.,
          arguments=dict(case=dict(momentum_type="adam"), steps=10**4)).start()
      cluster.tasks[chief].wait_for("step", 3)
      if restart:
        cluster.restart(worker)
      else:
        cluster.tasks[worker].signal(signal.SIGKILL)
      self.assertNotEqual(0, cluster.tasks[chief].wait())
      [line] = [line for line in cluster.tasks[chief].errors()
                if "is lost" in line]
      self.assertRegex(line, f"^{worker} is lost: {reason}[.]$")
      self.assertNotEqual(0, cluster.tasks[worker].wait())

  def _assert_equal_alone(self, folder):
    """Compares the last checkpoint with training in one process."""
    alone = np.load(folder / "alone.npz")
    checkpoint = tf.train.load_checkpoint(str(folder))
    self.assertEqual(_STEPS, checkpoint.get_tensor("global_step"))
    self.assertLen(alone.files, 5)
    for name in alone.files:
      self.assertAllClose(
          alone[name], checkpoint.get_tensor(name), 1e-7, 1e-7, msg=name)


if __name__ == "__main__":
  tf.test.main()
