"""The programs and commands in the pages of g3doc/ run.

The Python blocks of a page are one program. Commands are run with additional
flags that make them short; the last value of a flag is used.
"""

import pathlib
import re
import shlex
import tempfile

from absl.testing import absltest
from absl.testing import parameterized

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import pages

LANGUAGES = ("python", "sh", "text")

# Prefix of a command, without "python " -> additional flags. The longest prefix
# is used.
FLAGS = {
    "examples/mlp_mnist_main.py": "--updates=2",
    "examples/convnet_mnist_distributed_main.py":
        "--updates=1 --batch_size=60",
    "examples/autoencoder_mnist_main.py": "--updates=1 --batch_size=100",
    "examples/autoencoder_mnist_main.py --data=curves --compare":
        "--updates=1 --batch_size=100 --grid=best",
    "examples/benchmarks/cluster_cost.py":
        "--cluster_model=perceptron --worker_counts=1 --batch_size=40 "
        "--updates=1",
    "examples/benchmarks/cluster_cost.py --simulate": "",
    "examples/benchmarks/cluster_cost.py --staleness":
        "--cases=perceptron --ages=0 --num_seeds=1 --updates=1",
    "examples/benchmarks/settings.py":
        "--updates=1 --networks=perceptron --datasets=digits --batch_sizes=64 "
        "--settings=recipe",
    "examples/benchmarks/step_cost.py":
        "--models=perceptron --rounds=1 --steps=0",
    "examples/benchmarks/step_cost.py --memory":
        "--models=perceptron --rounds=1 --process=momentum",
    "examples/tutorial_main.py": "--updates=3 --output_dir=.",
    "examples/tuning_main.py": "--updates=3 --output_dir=. --knob=damping",
    "-m kfac.python.tools.port": "",
}

# Word of a command -> its replacement: files that the test makes.
PLACEHOLDERS = {"--data_dir=DIR": "--data_dir=digits",
                "FILE_OR_FOLDER...": "program.py"}

_MAKE_DIGITS = ("from examples import fake_mnist; "
                "fake_mnist.write_dataset('digits', num_train=200)")

# Pages whose Python blocks are not a program -> their test.
FOLLOWED_ELSEWHERE = {
    "adding_a_layer.md":
        "kfac/python/kernel_tests/repository/docs_adding_a_layer_test.py",
}


def programs():
  """Lists the pages with blocks of Python that are run here."""
  return [pages.name(path) for path in pages.all_pages()
          if pages.blocks(pages.read(path), "python")
          and pages.name(path) not in FOLLOWED_ELSEWHERE]


def commands():
  """Lists the commands of all pages, each once."""
  found = [command for path in pages.all_pages()
           if pages.name(path) not in FOLLOWED_ELSEWHERE
           for command in pages.commands(pages.read(path))]
  return list(dict.fromkeys(found))


def row_of(command):
  """Returns the key of FLAGS for a command, or None."""
  fits = [start for start in FLAGS
          if (command + " ").startswith(f"python {start} ")]
  return max(fits, key=len, default=None)


def named(values):
  """Returns (name of a test, value) for each value."""
  return [(re.sub(r"\W+", "_", value).strip("_"), value) for value in values]


class PagesTest(parameterized.TestCase):

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self._folder = pathlib.Path(folder.name)

  @parameterized.named_parameters(named(programs()))
  def testProgramRuns(self, name):
    blocks = pages.blocks(pages.read(pages.folder() / name), "python")
    path = self._folder / "program.py"
    path.write_text("\n".join(block.text for block in blocks),
                    encoding="utf-8")
    pages.run([path], self._folder)

  @parameterized.named_parameters(named(commands()))
  def testCommandRuns(self, command):
    self.assertIsNotNone(row_of(command), "FLAGS has no row for: " + command)
    python, *words = shlex.split(command)
    self.assertEqual("python", python)
    words = [PLACEHOLDERS.get(word, word) for word in words]
    words += FLAGS[row_of(command)].split()
    if words[0] != "-m":
      words[0] = architecture.project_root() / words[0]
    if "--data_dir=digits" in words:
      (self._folder / "digits").mkdir()
      pages.run(["-c", _MAKE_DIGITS], self._folder)
    (self._folder / "program.py").write_text(
        "from tensorflow.contrib import kfac\n", encoding="utf-8")
    pages.run(words, self._folder)

  def testFencesHaveALanguage(self):
    for path in pages.all_pages():
      for block in pages.blocks(pages.read(path)):
        self.assertIn(block.language, LANGUAGES, f"{path}:{block.line}")
      self.assertNotRegex(
          pages.prose(pages.read(path)), r"\n\n    \S",
          f"{path} has an indented block, which has no language")

  def testTablesHaveNoStaleRows(self):
    found = commands()
    self.assertEqual(set(FLAGS), {row_of(command) for command in found})
    words = {word for command in found for word in command.split()}
    self.assertContainsSubset(PLACEHOLDERS, words)
    self.assertContainsSubset(
        FOLLOWED_ELSEWHERE, [pages.name(path) for path in pages.all_pages()])

  def testOtherTestsExist(self):
    for path in FOLLOWED_ELSEWHERE.values():
      self.assertTrue((architecture.project_root() / path).exists(), path)

  def testLinksExist(self):
    root = architecture.project_root()
    for path in [root / "README.md", root / "CONTRIBUTING.md",
                 root / "CHANGELOG.md", *pages.all_pages()]:
      for target, anchor in pages.links(pages.read(path)):
        file = path.parent / target if target else path
        self.assertTrue(file.exists(), f"{path} links to {target}")
        if anchor:
          self.assertIn(anchor, pages.anchors(pages.read(file)), path)

  def testEveryPageIsLinkedTo(self):
    targets = [target for page in ("index.md", "api/kfac.md")
               for target, _ in pages.links(pages.read(pages.folder() / page))]
    self.assertContainsSubset(
        [path.name for path in pages.all_pages() if path.name != "index.md"],
        [target.rpartition("/")[-1] for target in targets])


class HelpersTest(absltest.TestCase):

  _PAGE = ("# A `b.c` d\n\n[a](x.md#y) [b](#a-bc-d)\n\nSay\nit:\n\n```sh\n"
           "python a \\\n    --b\npython c\n```\n# A\n# A\n```text\n# D\n```\n")

  def testBlocks(self):
    first, second = pages.blocks(self._PAGE)
    self.assertEqual(
        ("sh", 8, "python a \\\n    --b\npython c\n", "Say it:"), first)
    self.assertEqual(("text", 15, "# D\n"), second[:3])
    with self.assertRaisesRegex(
        ValueError, "a block must end, got none for line 2."):
      pages.blocks("\n```sh\n")

  def testCommandsAreJoined(self):
    self.assertEqual(["python a --b", "python c"], pages.commands(self._PAGE))

  def testAnchorsAndLinks(self):
    self.assertEqual({"a-bc-d", "a", "a-1"}, pages.anchors(self._PAGE))
    self.assertEqual([("x.md", "y"), ("", "a-bc-d")], pages.links(self._PAGE))

  def testFailureIsReported(self):
    with self.assertRaisesRegex(AssertionError, "failed:\n(.|\n)*ValueError"):
      pages.run(["-c", "raise ValueError"], ".")

  def testLongestPrefixIsUsed(self):
    start = "examples/autoencoder_mnist_main.py"
    self.assertEqual(start, row_of(f"python {start}"))
    longer = start + " --data=curves --compare"
    self.assertEqual(longer, row_of(f"python {longer} --seed=1"))
    self.assertIsNone(row_of("python examples/other.py"))


if __name__ == "__main__":
  absltest.main()
