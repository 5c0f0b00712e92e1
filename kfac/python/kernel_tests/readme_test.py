"""The example of README.md runs as printed, and its loss falls."""

import os
import pathlib
import re
import subprocess
import sys

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import architecture

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LOSS = re.compile(r"^loss after (\d+) updates: (\S+)$", re.MULTILINE)


def _run(code, folder):
  """Runs a program of its own, and returns what it printed."""
  path = pathlib.Path(folder) / "readme_example.py"
  path.write_text(code, encoding="utf-8")
  environment = dict(os.environ, PYTHONPATH=str(architecture.project_root()),
                     TF_CPP_MIN_LOG_LEVEL="2")
  done = subprocess.run([sys.executable, str(path)], env=environment,
                        capture_output=True, text=True, timeout=300)
  if done.returncode:
    raise AssertionError("The example failed:\n" + done.stderr)
  return done.stdout


class ReadmeTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._text = (architecture.project_root() / "README.md").read_text(
        encoding="utf-8")

  def testExampleLowersItsLoss(self):
    examples = _BLOCK.findall(self._text)
    self.assertLen(examples, 1)
    printed = _LOSS.findall(_run(examples[0], self.get_temp_dir()))
    self.assertEqual(["0", "10", "20", "30", "40", "50"],
                     [updates for updates, _ in printed])
    losses = [float(loss) for _, loss in printed]
    self.assertGreater(losses[0], 1.)
    self.assertLess(losses[-1], losses[0] / 2.)
    self.assertEqual(min(losses[1:]), min(losses))

  def testExampleHasSixLinesOfRegistrationAndTraining(self):
    example, = _BLOCK.findall(self._text)
    lines = [line for line in example.splitlines()
             if re.search(r"\b(kfac|layers|optimizer|train_op)\b", line)
             and not line.lstrip().startswith(("#", "import"))]
    self.assertLen(lines, 6)

  def testLinksToFilesThatExist(self):
    root = architecture.project_root()
    for path in [root / "README.md", root / "CONTRIBUTING.md",
                 *sorted((root / "g3doc").rglob("*.md"))]:
      links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)",
                         path.read_text(encoding="utf-8"))
      for link in links:
        self.assertTrue((path.parent / link).exists(),
                        "{} links to {}".format(path, link))


if __name__ == "__main__":
  tf.test.main()
