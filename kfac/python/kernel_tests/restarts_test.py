"""Tests that killed and restored training equals training that was not killed.

The programs are in restarts_program.py. A life of a program is ended by
SIGKILL: while it starts, in a step, between updates, or while it saves.
"""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import restarts_program as program

TIMEOUT = 900  # Seconds, so that a test cannot hang. No test measures time.

_ROOT = pathlib.Path(__file__).parents[3]


def _kills(rng, count):
  """Returns a list of moments, see restarts_program.live."""
  kills = [(rng.randint(1, 4), rng.uniform(0., 0.02)) for _ in range(count)]
  if count > 1:
    kills[1] = 0, rng.uniform(0., 1.)  # While the program starts.
  return kills


class RestartsTest(tf.test.TestCase):

  def _run(self, lives, hash_seed):
    """Runs the program; nothing of it is left afterwards.

    Args:
      lives: List of the arguments of restarts_program.live.
      hash_seed: Int, what orders Python's sets of strings.
    """
    process = subprocess.Popen(
        [sys.executable, program.__file__, json.dumps(lives)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed),
             "PYTHONPATH": str(_ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True)
    try:
      output, _ = process.communicate(timeout=TIMEOUT)
    finally:
      try:
        os.killpg(process.pid, signal.SIGKILL)
      except ProcessLookupError:
        pass
      process.wait()
    self.assertEqual(process.returncode, 0, output)

  def _folder(self, *names):
    return str(pathlib.Path(self.get_temp_dir(), *names))

  def _copy(self, folder, to):
    """Copies checkpoints; the file that lists them has absolute paths."""
    shutil.copytree(folder, to)
    state = pathlib.Path(to, "checkpoint")
    state.write_text(state.read_text().replace(folder, to))

  def _variables(self, folder):
    """Returns a dict of what the last checkpoint has."""
    reader = tf.train.load_checkpoint(folder)
    return {name: reader.get_tensor(name)
            for name in reader.get_variable_to_shape_map()}

  def _check(self, runs):
    """Asserts that runs are equal if they are killed.

    Args:
      runs: List of configuration, mode and number of kills. The first one has
        no seed.

    Returns:
      List of dicts of the variables at the end.
    """
    rng = random.Random(1)
    lives = [{"configuration": configuration, "mode": mode, "seed": i or None}
             for i, (configuration, mode, _) in enumerate(runs)]
    start = {**lives[0], "folder": self._folder("start")}
    self._run([{**start, "num_steps": 0}] + [
        {**life, "folder": self._folder("whole", str(i))}
        for i, life in enumerate(lives)][1:], 1)
    for name in ("whole", "killed"):
      self._copy(start["folder"], self._folder(name, "0"))
    self._run([
        {**life, "folder": self._folder("killed", str(i)),
         "kills": _kills(rng, count)}
        for i, (life, (_, _, count)) in enumerate(
            zip(lives, runs, strict=True))]
        + [{**lives[0], "folder": self._folder("whole", "0")}], 2)
    ends = []
    for i, run in enumerate(runs):
      whole, killed = [self._variables(self._folder(name, str(i)))
                       for name in ("whole", "killed")]
      self.assertEqual(whole["global_step"], program.NUM_STEPS)
      self.assertCountEqual(whole, killed)
      different = [name for name in whole
                   if whole[name].tobytes() != killed[name].tobytes()]
      self.assertEmpty(different, run)
      ends.append(whole)
    return ends

  def testKilledTrainingEqualsTraining(self):
    regular, qmodel, periodic, *_ = self._check([
        ("regular", "eager", 6), ("qmodel", "eager", 6),
        ("periodic", "eager", 6), ("in_background", "eager", 1),
        ("regular", "disable_v2_behavior", 1),
        ("regular", "disable_eager_execution", 1)])
    # The program did what it is meant to do.
    self.assertGreater(len(regular), 15)
    self.assertEqual(qmodel["KFAC/num_steps"], program.NUM_STEPS)
    for end in (qmodel, periodic):
      self.assertNotEqual(end["KFAC/damping"], np.float32(0.1))
    self.assertEqual(periodic["KFAC/num_runs"], program.NUM_STEPS)
    for end in (regular, qmodel, periodic):
      self.assertIn("KFAC/FisherEstimator/sample_counter", end)


if __name__ == "__main__":
  tf.test.main()
