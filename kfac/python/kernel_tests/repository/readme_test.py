"""The example of README.md runs as printed, and its loss decreases."""

import re
import tempfile

from absl.testing import absltest

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import pages

_LOSS = re.compile(r"^loss after (\d+) updates: (\S+)$", re.MULTILINE)


class ReadmeTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    block, = pages.blocks(pages.read(
        architecture.project_root() / "README.md"), "python")
    self._example = block.text

  def testExampleLowersItsLoss(self):
    with tempfile.TemporaryDirectory() as folder:
      printed = _LOSS.findall(pages.run(["-c", self._example], folder))
    self.assertEqual(["0", "5", "10", "15", "20"],
                     [updates for updates, _ in printed])
    losses = [float(loss) for _, loss in printed]
    self.assertGreater(losses[0], 1.)
    self.assertLess(losses[-1], losses[0] / 2.)
    self.assertEqual(min(losses[1:]), min(losses))

  def testExampleHasFiveLinesOfRegistrationAndTraining(self):
    lines = [line for line in self._example.splitlines()
             if re.search(r"\b(kfac|layers|optimizer|train_op)\b", line)
             and not line.lstrip().startswith(("#", "import"))]
    self.assertLen(lines, 5)


if __name__ == "__main__":
  absltest.main()
