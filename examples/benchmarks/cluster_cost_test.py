"""Tests of the benchmark of clusters, with real processes."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import flagsaver

from examples import fake_mnist
from examples import programs
from examples.benchmarks import cluster_cost
from examples.benchmarks import cluster_model
from examples.benchmarks import staleness

_PROGRAM = os.path.abspath(cluster_cost.__file__)
_SMALL = ("--cluster_model=perceptron", "--batch_size=40", "--updates=1")


def _processes(mark):
  """Returns the numbers of the processes whose environment has a mark."""
  found = []
  for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
    try:
      if mark.encode() in path.read_bytes():
        found.append(int(path.parent.name))
    except OSError:  # It has ended.
      pass
  return found


class ClusterTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._mark = f"CLUSTER_COST_TEST={os.getpid()}_{self.id()}"

  def _start(self, *args):
    name, _, value = self._mark.partition("=")
    process = subprocess.Popen(
        [sys.executable, _PROGRAM, *_SMALL, *args], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env=dict(
            os.environ, TF_CPP_MIN_LOG_LEVEL="3", **{name: value}))
    self.addCleanup(process.wait)
    self.addCleanup(process.kill)
    return process

  def _assert_no_process_remains(self):
    end = time.monotonic() + 60
    while _processes(self._mark) and time.monotonic() < end:
      time.sleep(0.1)
    self.assertEmpty(_processes(self._mark))

  def testMeasuredTrafficIsTheComputedOne(self):
    process = self._start("--worker_counts=2", "--servers=1")
    output, _ = process.communicate()
    self.assertEqual(0, process.returncode, output)
    rows = [line.split() for line in output.splitlines()]
    times = [row for row in rows if len(row) == 8 and row[0] in
             cluster_model.WAYS and row[2].isdecimal()]
    self.assertEqual([["servers", "2"], ["collectives", "2"]],
                     [row[:2] for row in times])
    traffic = [row for row in rows if row[2:3] and
               row[2] in cluster_model.PHASES]
    self.assertLen(traffic, 6)
    for row in traffic:
      total, measured, _, busiest, busiest_measured = row[3:]
      # Headers and requests add to the tensors of a small model.
      self.assertAllClose(float(total), float(measured), rtol=0.05)
      self.assertAllClose(
          float(busiest), float(busiest_measured), rtol=0.05)
    self._assert_no_process_remains()

  def testASignalEndsAllProcesses(self):
    process = self._start("--worker_counts=2", "--ways=servers")
    while process.poll() is None and len(_processes(self._mark)) < 4:
      time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    self.assertEqual(143, process.returncode, output)
    self._assert_no_process_remains()


class RowsTest(tf.test.TestCase):

  def testRows(self):
    sizes = cluster_model.Sizes(1000, [10, 20])
    layout = cluster_cost.Layout("collectives", 2, 0)
    seconds = {name: 0.001 * number
               for number, name in enumerate(cluster_cost.STEPS)}
    links = {"step": np.array([[0., 4040.], [4040., 0.]]),
             "inverses": np.zeros([2, 2])}
    measured = {layout: cluster_cost.Measured(seconds, seconds, links, sizes)}
    self.assertEqual(
        ("collectives", "2", "0", "1", "2", "0", "1", "2"),
        cluster_cost.time_rows(measured)[1])
    step, inverses = cluster_cost.traffic_rows(measured)[1:]
    self.assertEqual("+1.0%", step[5])
    self.assertEqual("-100.0%", inverses[5])
    layout = cluster_cost.Layout("collectives", 1, 0)
    measured = {layout: cluster_cost.Measured(
        seconds, seconds, {"step": np.zeros([1, 1])}, sizes)}
    self.assertEqual("-", cluster_cost.traffic_rows(measured)[1][5])

  def testSimulatedRowsAreThoseOfTheModel(self):
    machine = cluster_model.Machine(1e12, 1e9, 1e-4)
    layers, others, batch_size = cluster_cost.SIMULATED["autoencoder"]
    simulation = cluster_model.Simulation(layers, batch_size, machine, others)
    header, first, *_, last = cluster_cost.simulated_rows(simulation)
    self.assertEqual(["workers", "1", "100"], [header[0], first[0], last[0]])
    mean = simulation.mean_step("collectives", cluster_cost.SCHEDULE, 100)
    self.assertEqual(
        (f"{1e3 * sum(mean):.1f}", f"{mean.traffic / sum(mean):.0%}"),
        (last[header.index("ms collectives")],
         last[header.index("traffic collectives")]))
    rows = cluster_cost.saturation_rows(layers, others, machine)
    self.assertEqual(
        [str(count) for count in cluster_cost.SIMULATED_EXAMPLES],
        [row[0] for row in rows[1:]])


class FlagsTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    saver = flagsaver.flagsaver()
    saver.__enter__()
    self.addCleanup(saver.__exit__, None, None, None)

  def _error(self, *args):
    """Runs the program and returns its one-line error."""
    with unittest.mock.patch.object(sys, "argv", ["cluster_cost", *args]):
      with flagsaver.flagsaver(), self.assertRaises(SystemExit) as caught:
        programs.run_program("cluster_cost", cluster_cost.run)
    return caught.exception.code

  def testInvalidFlags(self):
    for args, message in (
        (["--ways=rings"], "--ways must be among ['servers', 'collectives'], "
         "got 'rings'."),
        (["--worker_counts=1,0"],
         "--worker_counts must be integers of at least 1, got '1,0'."),
        (["--batch_size=10"], "--batch_size must be a multiple of all "
         "--worker_counts, got 10 for 4."),
        (["--servers=0"], "--servers must be at least 1, got 0."),
        (["--gigabits=0"], "--gigabits must be positive and finite, got 0.0."),
        (["--simulate", "--staleness"],
         "--simulate and --staleness are mutually exclusive, got both."),
        (["--staleness", "--ages=x"],
         "--ages must be integers of at least 0, got 'x'."),
        (["--staleness", "--cases="],
         f"--cases must be among {list(staleness.CASES)}, got ''.")):
      with self.subTest(args=args):
        self.assertEqual("cluster_cost: " + message, self._error(*args))

  def testSimulateTellsThatNothingIsMeasured(self):
    cluster_cost.FLAGS(["cluster_cost", "--simulate", "--gigabits=25"])
    with unittest.mock.patch("builtins.print") as printed:
      cluster_cost.run()
    lines = [str(call.args[0]) for call in printed.call_args_list]
    self.assertIn("Computed, not measured: 1000 GFLOP/s, 25 Gbit/s", lines[0])
    for name in cluster_cost.SIMULATED:
      self.assertTrue(any(f"\n{name}: " in line for line in lines))

  def testStalenessTrainsTheChosenCases(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    fake_mnist.write_dataset(folder.name, num_train=500)
    cluster_cost.FLAGS([
        "cluster_cost", "--staleness", "--cases=perceptron", "--ages=1,0",
        "--num_seeds=1", "--updates=2", "--data_dir=" + folder.name])
    with unittest.mock.patch.object(staleness, "report") as report:
      cluster_cost.run()
    [case], ages, seeds, data = report.call_args.args
    self.assertEqual(2, case.updates)
    self.assertEqual(([1, 0], [0]), (ages, list(seeds)))
    self.assertLen(data.train_labels, 500)


if __name__ == "__main__":
  tf.test.main()
