"""Runs workers_program.py, and compares its processes."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.kfac_utils import workers_program

TIMEOUT = 200  # Seconds, so that a test cannot hang.
_ROOT = pathlib.Path(__file__).parents[4]


class WorkersTestCase(tf.test.TestCase):
  """Tests that workers do what one process does."""

  def run_program(self, way, cases, num_workers, num_servers=0, steps=50,
                  control_flow=1):
    """Trains and returns the folder of the results.

    Args:
      way: See workers_program; as the other arguments.
      cases: List of dicts.
      num_workers: Int.
      num_servers: Int.
      steps: Int.
      control_flow: 1 or 2.
    """
    folder = pathlib.Path(tempfile.mkdtemp(dir=self.get_temp_dir()))
    config = folder / "config.json"
    config.write_text(json.dumps(dict(
        folder=str(folder), way=way, cases=cases, num_workers=num_workers,
        num_servers=num_servers, steps=steps, control_flow=control_flow)))
    process = subprocess.Popen(
        [sys.executable, workers_program.__file__, str(config)],
        env={**os.environ, "PYTHONPATH": str(_ROOT)}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
      output, _ = process.communicate(timeout=TIMEOUT)
    finally:
      try:  # Whatever happened, no process is left.
        os.killpg(process.pid, signal.SIGKILL)
      except ProcessLookupError:
        pass
    self.assertEqual(0, process.returncode, output[-3000:])
    return folder

  def assert_equal_alone(self, folder, case, indices, rtol=1e-7):
    """Compares the results of workers with those of one process."""
    alone = np.load(folder / f"{case['name']}.alone.npz")
    self.assertNotEmpty(alone.files)
    for index in indices:
      values = np.load(folder / f"{case['name']}.{index}.npz")
      self.assertCountEqual(alone.files, values.files)
      for name in alone.files:
        self.assertAllClose(
            alone[name], values[name], rtol, rtol, msg=f"{case}, {name}")
