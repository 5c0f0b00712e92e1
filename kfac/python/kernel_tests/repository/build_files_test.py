"""The BUILD files keep the rules of build_files.py; each can be broken."""

import pathlib
import tempfile
import textwrap

from absl.testing import absltest

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import build_files

_OPS = "kfac/python/ops/"
_TESTS = "kfac/python/kernel_tests/"


class ThisTreeTest(absltest.TestCase):

  def _assertKept(self, check):
    complaints = check(architecture.project_root())
    self.assertEqual([], complaints, "\n" + "\n".join(complaints))

  def testRulesAndFilesAgree(self):
    self._assertKept(build_files.check_files)

  def testDepsAreTheImports(self):
    self._assertKept(build_files.check_deps)

  def testTestsHaveSizesAndKnownTags(self):
    self._assertKept(build_files.check_attributes)

  def testDataHoldWhatFilesRead(self):
    self._assertKept(build_files.check_data)

  def testTagsAreExplained(self):
    text = (architecture.project_root() / "CONTRIBUTING.md").read_text(
        encoding="utf-8")
    for tag in build_files.TAGS:
      self.assertIn(f"`{tag}`", text)


class BrokenTreeTest(absltest.TestCase):
  """Makes small trees with something wrong in them."""

  def _assertComplains(self, check, files, *expected):
    """Makes a tree of {path: text}, and compares what a check finds."""
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    root = pathlib.Path(folder.name).resolve()
    for path, text in files.items():
      (root / path).parent.mkdir(parents=True, exist_ok=True)
      (root / path).write_text(textwrap.dedent(text), encoding="utf-8")
    self.assertEqual(sorted(expected), sorted(check(root)))

  def testFilesAndRulesDiffer(self):
    self._assertComplains(
        build_files.check_files, {
            "BUILD": "",
            "setup.py": "",
            "kfac/__init__.py": "",
            "examples/BUILD": """
                # A comment.
                py_library(name = "mlp", srcs = ["mlp.py", "gone.py"])
                py_binary(name = "twice", srcs = ["mlp.py"])
                """,
            "examples/__init__.py": "",
            "examples/mlp.py": "",
            "examples/mlp_test.py": "",
            "examples/new_main.py": "",
        },
        'BUILD: add py_library(name = "setup", srcs = ["setup.py"])',
        "kfac/BUILD: is missing",
        "examples/BUILD: mlp.py is in 2 rules",
        'examples/BUILD: add py_library(name = "examples", '
        'srcs = ["__init__.py"])',
        'examples/BUILD: add py_test(name = "mlp_test", size = "small", '
        'srcs = ["mlp_test.py"])',
        'examples/BUILD: add py_binary(name = "new_main", '
        'srcs = ["new_main.py"])',
        'examples/BUILD: mlp: remove "gone.py", from srcs: there is no such '
        "file")

  def testDepsAndImportsDiffer(self):
    where = _OPS + "BUILD: estimator: "
    self._assertComplains(
        build_files.check_deps, {
            _OPS + "utils/BUILD":
                'py_library(name = "utils", srcs = ["__init__.py"])',
            _OPS + "utils/__init__.py": "",
            _OPS + "BUILD": """
                py_library(name = "placement", srcs = ["placement.py"])
                py_library(
                    name = "estimator",
                    srcs = ["estimator.py"],
                    deps = [":op_queue", "//kfac/python/tools:port"],
                )
                """,
            _OPS + "placement.py": "import numpy",
            _OPS + "estimator.py":
                "from kfac.python.ops import placement, utils",
        },
        where + 'add ":placement", to deps',
        where + 'add "//kfac/python/ops/utils", to deps',
        where + 'remove ":op_queue", from deps',
        where + 'remove "//kfac/python/tools:port", from deps')

  def testAttributes(self):
    where = _TESTS + "BUILD: "
    sizes = " size must be one of ['small', 'medium', 'large', 'enormous'], "
    self._assertComplains(
        build_files.check_attributes, {
            _TESTS + "BUILD": """
                py_test(name = "a_test", size = "tiny", srcs = ["a_test.py"])
                py_test(name = "b_test", srcs = ["b_test.py"])
                py_library(name = "c_test", srcs = ["c_test.py"])
                py_test(
                    name = "d_test",
                    size = "large",
                    srcs = ["d_test.py"],
                    shard_count = 0,
                    tags = ["local", "slow"],
                )
                """,
        },
        where + "a_test:" + sizes + "got 'tiny'",
        where + "b_test:" + sizes + "got None",
        where + "c_test: c_test.py must be in a py_test, got py_library",
        where + "d_test: shard_count must be in 1..50, got 0",
        where + "d_test: tags must be among "
        f"{list(build_files.TAGS)}, got 'slow'")

  def testFilesThatAreReadMustBeData(self):
    reads = """
        text = (project_root() / "README.md").read_text()
        script = root / ".ci" / "run"
        pages = sorted((root / "g3doc").rglob("*.md"))
        folder = pathlib.Path(__file__).parent / "fixtures" / "golden"
        path = os.path.join(os.path.dirname(__file__), "digits")
        code = root / "kfac" / "python"
        written = temporary / "no_such_file.txt"
        ratio = total / 2
        """
    files = {
        "BUILD": "", "README.md": "", ".ci/run": "", "g3doc/a.md": "",
        "g3doc/BUILD": 'filegroup(name = "g3doc", srcs = glob(["**/*.md"]))',
        "kfac/python/__init__.py": "",
        _TESTS + "fixtures/golden/a.json": "",
        _TESTS + "digits/BUILD":
            'filegroup(name = "digits", srcs = ["a.gz"])',
        _TESTS + "digits/a.gz": "",
        _TESTS + "a_test.py": reads,
    }
    rule = 'py_test(name = "a_test", srcs = ["a_test.py"], data = {})'
    where = _TESTS + "BUILD: a_test: "
    lacks = [where + f"add {wanted} to data: a_test.py reads it"
             for wanted in ('"//:README.md",', '"//:.ci/run",', '"//g3doc",',
                            'glob(["fixtures/golden/**"])',
                            f'"//{_TESTS}digits",')]
    self._assertComplains(
        build_files.check_data, files | {_TESTS + "BUILD": rule.format("[]")},
        *lacks)
    # A package of its own is not in the glob of the folder above.
    data = 'glob(["fixtures/**", "digits/**"]) + ["//:all", "//g3doc"]'
    self._assertComplains(
        build_files.check_data, files | {
            "BUILD": 'filegroup(name = "all", srcs = ["README.md", ".ci/run"])',
            _TESTS + "BUILD": rule.format(data)},
        where + 'remove glob("digits/**") from data: it holds no file',
        lacks[-1])

  def testDataThatAreGone(self):
    self._assertComplains(
        build_files.check_data, {_TESTS + "BUILD": """
            py_test(
                name = "a_test",
                srcs = ["a_test.py"],
                data = ["//:GONE.md", ":gone"],
            )
            """},
        _TESTS + 'BUILD: a_test: remove "//:GONE.md", from data: it holds no '
        "file",
        _TESTS + 'BUILD: a_test: remove ":gone", from data: it holds no file')


if __name__ == "__main__":
  absltest.main()
