"""Programs written for each release train after they are ported.

The programs are in fixtures/. The tables list the lines that must change; all
others must not.
"""

import os
import pathlib
import subprocess
import sys
import types

import tensorflow.compat.v1 as tf

import kfac
import kfac.contrib  # noqa: F401
from kfac.python.tools import rewriting

# {program: (release, lines that change: (old, new))}
_DIFFS = {
    "perceptron_1_4": ("1.4", [
        ("from tensorflow.contrib.kfac.python.ops import layer_collection as "
         "lc, op_queue",
         "from kfac.python.ops import layer_collection as lc, op_queue"),
        ("from tensorflow.contrib.kfac.python.ops import optimizer  # pylint: "
         "disable=g-import",
         "from kfac.python.ops import optimizer  # pylint: disable=g-import"),
        ("      0.5,  # momentum", "      momentum=0.5,  # momentum"),
        ('      "regular")', '      momentum_type="regular")'),
    ]),
    "recurrent_1_5": ("1.5", [
        ("import tensorflow.contrib.kfac.python.ops.layer_collection as lc",
         "import kfac.python.ops.layer_collection as lc"),
        ("import tensorflow.contrib.kfac as k", "import kfac as k"),
        ('  collection = lc.LayerCollection(None, False, "rnn")',
         "  collection = lc.LayerCollection(None, "
         'colocate_cov_ops_with_inputs=False, name="rnn")'),
        ("  collection.register_fully_connected_multi((weights, bias), inputs, "
         "outputs)",
         "  collection.register_fully_connected_multi((weights, bias), inputs, "
         'outputs, approx="kron_series_2")'),
        ("      out, states, predictions, lc.APPROX_KRONECKER_INDEP_NAME)",
         "      out, states, predictions, "
         "approx=lc.APPROX_KRONECKER_INDEP_NAME)"),
        ("                                        norm_constraint=1.)",
         "                                        norm_constraint=1., "
         "momentum=0.0)"),
    ]),
    "queue_agent_1_5": ("1.5", [
        ("from tensorflow.contrib import kfac", "import kfac"),
    ]),
    "agent_1_7": ("1.7", [
        (None, "import kfac as contrib_kfac"),
        ("        layers = tf.contrib.kfac.layer_collection.LayerCollection()",
         "        layers = contrib_kfac.layer_collection.LayerCollection()"),
        ('                               conv_out, "kron")',
         '                               conv_out, approx="kron")'),
        ("        kfac = tf.contrib.kfac.optimizer",
         "        kfac = contrib_kfac.optimizer"),
    ]),
    "bayes_1_8": ("1.8", [
        ("from tensorflow.contrib.kfac.python.ops import fisher_factors as ff",
         "from kfac.python.ops import fisher_factors as ff"),
        ("from tensorflow.contrib.kfac.python.ops import layer_collection",
         "from kfac.python.ops import layer_collection"),
        ("from tensorflow.contrib.kfac.python.ops.optimizer import "
         "KfacOptimizer",
         "from kfac.python.ops.optimizer import KfacOptimizer"),
        ("  import tensorflow.contrib.kfac as local_kfac",
         "  import kfac as local_kfac"),
    ]),
    "bayes_blocks_1_8": ("1.8", [
        ("from tensorflow.contrib.kfac.python.ops import fisher_blocks as fb",
         "from kfac.python.ops import fisher_blocks as fb"),
        ("from tensorflow.contrib.kfac.python.ops import layer_collection as "
         "lc", "from kfac.python.ops import layer_collection as lc"),
        ("from tensorflow.contrib.kfac.python.ops import optimizer as opt",
         "from kfac.python.ops import optimizer as opt"),
    ]),
    "monitored_half_1_8": ("1.8", [
        ("from tensorflow.contrib import kfac", "import kfac"),
    ]),
    "towers_1_10": ("1.10", [
        ("from tensorflow import contrib", "import kfac"),
        ("from tensorflow.contrib.kfac.python.ops import (",
         "from kfac.python.ops import ("),
        ("  layers = contrib.kfac.layer_collection.LayerCollection()",
         "  layers = kfac.layer_collection.LayerCollection()"),
        ("  optimizer = (contrib", None),
        ("               .kfac.optimizer.KfacOptimizer(",
         "  optimizer = (kfac.optimizer.KfacOptimizer("),
    ]),
}


def _read(name):
  folder = pathlib.Path(__file__).resolve().parent / "fixtures"
  return (folder / (name + ".py.txt")).read_bytes()


def _port(data, release):
  result = rewriting.port("prog.py", data, release)
  return data if result.data is None else result.data


def _graph_mode(data):
  """Imports TensorFlow's graph mode, as the report asks."""
  return data.replace(b"tensorflow as tf", b"tensorflow.compat.v1 as tf")


class DiffTest(tf.test.TestCase):

  def testHasTheExpectedLines(self):
    for name, (release, changes) in _DIFFS.items():
      diff = rewriting.port("prog.py", _read(name), release).diff()
      lines = [line for line in diff.splitlines()
               if line[:1] in "+-" and line[:3] not in ("+++", "---")]
      self.assertEqual(
          sorted(["-" + old for old, _ in changes if old is not None]
                 + ["+" + new for _, new in changes if new is not None]),
          sorted(lines), name)

  def testOnlyGraphModeIsLeft(self):
    for name, (release, _) in _DIFFS.items():
      result = rewriting.port("prog.py", _read(name), release)
      note, = result.left
      self.assertIn("is TensorFlow 1: `import tensorflow.compat.v1 as tf`",
                    note.text)
      result = rewriting.port("prog.py", _graph_mode(result.data), release)
      self.assertEqual([], result.left)


class _TrainTest(tf.test.TestCase):

  def _train(self, data, num_steps=12, **kwargs):
    """Runs a program, and asserts that its loss decreases.

    Args:
      data: Bytes of the program.
      num_steps: Number of steps.
      **kwargs: Further arguments of its `train`.
    """
    module = types.ModuleType("ported")
    with tf.Graph().as_default():
      tf.set_random_seed(1)
      exec(compile(data, "ported.py", "exec"),  # pylint: disable=exec-used
           vars(module))
      losses = module.train(num_steps, **kwargs)
    self.assertLen(losses, num_steps)
    self.assertLess(losses[-1], 0.9 * losses[0])


class TrainTest(_TrainTest):

  def _ported(self, name):
    return _graph_mode(_port(_read(name), _DIFFS[name][0]))

  def testPerceptron(self):
    self._train(self._ported("perceptron_1_4"))

  def testRecurrent(self):
    self._train(self._ported("recurrent_1_5"))

  def testAgentWithAnyBatch(self):
    self._train(self._ported("agent_1_7"))

  def testAgentWithABatchOfKnownSize(self):
    self._train(self._ported("agent_1_7"), batch_size=16)

  def testBayes(self):
    self._train(self._ported("bayes_1_8"))

  def testTowers(self):
    self._train(self._ported("towers_1_10"))

  def testAgentWithAQueueOfInverses(self):
    self._train(self._ported("queue_agent_1_5"), num_steps=50)

  def testBayesThatRegistersItsBlocks(self):
    self._train(self._ported("bayes_blocks_1_8"), num_steps=50)

  def testMonitoredClassifierInHalfPrecision(self):
    self._train(self._ported("monitored_half_1_8"), num_steps=50)


class ContribTest(_TrainTest):
  """With kfac.contrib the programs run unchanged."""

  def testAgent(self):
    self._train(_graph_mode(_read("agent_1_7")).replace(
        b'conv_out, "kron"', b'conv_out, approx="kron"'))

  def testBayes(self):
    self._train(_graph_mode(_read("bayes_1_8")))

  def testAgentWithAQueueOfInverses(self):
    self._train(_graph_mode(_read("queue_agent_1_5")), num_steps=50)

  def testBayesThatRegistersItsBlocks(self):
    self._train(_graph_mode(_read("bayes_blocks_1_8")), num_steps=50)

  def testMonitoredClassifierInHalfPrecision(self):
    self._train(_graph_mode(_read("monitored_half_1_8")), num_steps=50)

  def testTowers(self):
    self._train(_graph_mode(_read("towers_1_10")))
    self.assertIs(kfac, tf.contrib.kfac)


class UpgradeScriptTest(_TrainTest):
  """TensorFlow's script tf_upgrade_v2 may run before or after the tool."""

  def _upgrade(self, programs):
    """Runs the script.

    Args:
      programs: {name: bytes}.

    Returns:
      The same, upgraded.
    """
    root = pathlib.Path(self.get_temp_dir())
    for name, data in programs.items():
      (root / "old").mkdir(exist_ok=True)
      (root / "old" / name).write_bytes(data)
    script = pathlib.Path(sys.executable).with_name("tf_upgrade_v2")
    if not script.exists():
      self.skipTest("there is no tf_upgrade_v2 beside Python")
    subprocess.run(
        [sys.executable, str(script), "--intree", str(root / "old"),
         "--outtree", str(root / "new"),
         "--reportfile", str(root / "report.txt")],
        check=True, capture_output=True, timeout=300,
        env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2"))
    return {name: (root / "new" / name).read_bytes() for name in programs}

  def testBeforeAndAfter(self):
    programs = {}
    for name, (release, _) in _DIFFS.items():
      programs[f"before_{name}.py"] = _read(name)
      programs[f"after_{name}.py"] = _port(_read(name), release)
    upgraded = self._upgrade(programs)
    for name, (release, _) in _DIFFS.items():
      before = upgraded[f"before_{name}.py"]
      after = upgraded[f"after_{name}.py"]
      self.assertEqual(_port(before, release).decode(), after.decode())
      result = rewriting.port("prog.py", after, release)
      self.assertEqual(([], None), (result.left, result.data))
      self.assertNotIn(b"contrib.kfac", after.replace(b"contrib_kfac", b""))
    self._train(upgraded["after_agent_1_7.py"])


if __name__ == "__main__":
  tf.test.main()
