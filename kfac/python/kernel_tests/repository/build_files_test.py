"""The BUILD files are current, and build_files.py writes what it should."""

import contextlib
import io
import os
import pathlib
import tempfile
import textwrap
import types

from absl.testing import absltest

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import build_files
from kfac.python.kernel_tests.repository import build_settings

_OPS = "kfac/python/ops/"
_TESTS = "kfac/python/kernel_tests/"
_COMMAND = "python -m kfac.python.kernel_tests.repository.build_files --write"

# The settings of a tree with nothing special in it.
_PLAIN = {
    "SIZES": {}, "SHARDS": {}, "READ_THE_TREE": (), "PAGES": "examples.pages",
    "IMPORT_BY_NAME": (), "SMOKE": (), "COMMENTS": {"": "Root."},
    "DATA_FOLDERS": (), "STAND_INS": {},
}


class ThisTreeTest(absltest.TestCase):

  def testBuildFilesAreCurrent(self):
    found = build_files.differences(architecture.project_root())
    self.assertEqual([], sorted(found), f"run `{_COMMAND}`")

  def testSettingsHaveNoStaleRows(self):
    self.assertEmpty(build_files.stale_settings(architecture.project_root()))

  def testSizesAndShardsAreBazels(self):
    sizes = set(build_settings.SIZES.values())
    self.assertContainsSubset(sizes, {"small", "medium", "large", "enormous"})
    for shards in build_settings.SHARDS.values():
      self.assertBetween(shards, 2, 50)

  def testTagsAndCommandAreExplained(self):
    text = (architecture.project_root() / "CONTRIBUTING.md").read_text(
        encoding="utf-8")
    for tag in build_files.TAGS:
      self.assertIn(f"`{tag}`", text)
    self.assertIn(_COMMAND, " ".join(text.split()))


class _SmallTreeTest(absltest.TestCase):

  def _tree(self, files, **settings):
    """Makes a tree of {path: text}, with these settings."""
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self._root = pathlib.Path(os.path.realpath(folder.name))
    self._settings = types.SimpleNamespace(**_PLAIN | settings)
    for path, text in files.items():
      (self._root / path).parent.mkdir(parents=True, exist_ok=True)
      (self._root / path).write_text(textwrap.dedent(text), encoding="utf-8")

  def _texts(self):
    return build_files.Tree(self._root, self._settings).files()

  def _rule(self, path, name):
    """Returns the text of one rule of a BUILD file."""
    rules = [rule for rule in self._texts()[path].split("\n\n")
             if f'    name = "{name}",\n' in rule]
    self.assertLen(rules, 1)
    return rules[0]


class TextTest(_SmallTreeTest):

  def testPackage(self):
    self._tree({
        "examples/__init__.py": '"""Programs.\n\nMore.\n"""\n',
        "examples/b_test.py": "from examples import mlp\nimport examples.run",
        "examples/mlp.py": "import numpy",
        "examples/run.py":
            "from examples import mlp\nif __name__ == '__main__':\n  mlp.f()",
    }, SIZES={"examples/b_test.py": "large"},
        SHARDS={"examples/b_test.py": 3}, READ_THE_TREE=("examples",))
    self.assertEqual(textwrap.dedent("""\
        # Programs.

        package(default_visibility = ["//visibility:public"])

        py_library(
            name = "examples",
            srcs = ["__init__.py"],
        )

        py_library(
            name = "mlp",
            srcs = ["mlp.py"],
        )

        py_binary(
            name = "run",
            srcs = ["run.py"],
            deps = [":mlp"],
        )

        py_test(
            name = "b_test",
            size = "large",
            srcs = ["b_test.py"],
            shard_count = 3,
            tags = [
                "external",
                "local",
            ],
            deps = [
                ":mlp",
                ":run",
            ],
        )
        """), self._texts()["examples/BUILD"])

  def testRoot(self):
    self._tree({
        "setup.py": "", "README.md": "", "kfac/__init__.py": '"""Root."""',
        "kfac/contrib.py": "import kfac",
        _TESTS + "__init__.py": '"""Tests."""',
        _TESTS + "a_test.py": "path = root / 'README.md'",
    }, SMOKE=(_TESTS + "a_test.py",), IMPORT_BY_NAME=(_TESTS + "a_test.py",))
    self.assertEqual(textwrap.dedent("""\
        # Root.

        package(default_visibility = ["//visibility:public"])

        exports_files(["README.md"])

        py_library(
            name = "setup",
            srcs = ["setup.py"],
        )

        test_suite(
            name = "smoke",
            tests = ["//kfac/python/kernel_tests:a_test"],
        )

        py_library(
            name = "all_modules",
            deps = [
                "//kfac",
                "//kfac:contrib",
            ],
        )
        """), self._texts()["BUILD"])
    self.assertIn("""
    data = [
        "//:README.md",
        "//:all_modules",
    ],
""", self._rule(_TESTS + "BUILD", "a_test"))

  def testDepsAreTheImports(self):
    self._tree({
        _OPS + "__init__.py": '"""Ops."""',
        _OPS + "utils/__init__.py": '"""Utils."""',
        _OPS + "utils/graph.py": "",
        _OPS + "placement.py": "import numpy",
        _OPS + "estimator.py":
            "from kfac.python.ops import placement, utils\n"
            "def f():\n  from kfac.python.ops.utils import graph",
    })
    self.assertIn("""
    deps = [
        ":placement",
        "//kfac/python/ops/utils",
        "//kfac/python/ops/utils:graph",
    ],
""", self._rule(_OPS + "BUILD", "estimator"))

  def testTestsOfPagesAreTagged(self):
    self._tree({
        "examples/__init__.py": '"""Programs."""', "examples/pages.py": "",
        "examples/a_test.py": "from examples import pages",
        "examples/b_test.py": "",
    })
    self.assertIn("""
    tags = [
        "docs",
        "external",
        "local",
    ],
""", self._rule("examples/BUILD", "a_test"))
    self.assertNotIn("tags", self._rule("examples/BUILD", "b_test"))

  def testDataAreWhatIsRead(self):
    self._tree({
        "README.md": "", ".ci/run": "", "g3doc/a.md": "", "g3doc/b.png": "",
        "kfac/python/__init__.py": '"""Code."""',
        _TESTS + "__init__.py": '"""Tests."""',
        _TESTS + "fixtures/golden/a.json": "",
        _TESTS + "digits.gz": "",
        _TESTS + "a_test.py": """
            text = (project_root() / "README.md").read_text()
            script = root / ".ci" / "run"
            pages = sorted((root / "g3doc").rglob("*.md"))
            page = root / "g3doc" / "a.md"
            folder = pathlib.Path(__file__).parent / "fixtures" / "golden"
            path = os.path.join(os.path.dirname(__file__), "digits.gz")
            code = root / "kfac" / "python"
            written = temporary / "no_such_file.txt"
            ratio = total / 2
            """,
    }, DATA_FOLDERS=("g3doc",), COMMENTS={"": "Root.", "g3doc": "Pages."})
    self.assertIn("""
    data = glob(["fixtures/golden/**"]) + [
        "digits.gz",
        "//:.ci/run",
        "//:README.md",
        "//g3doc",
    ],
""", self._rule(_TESTS + "BUILD", "a_test"))
    self.assertEqual(textwrap.dedent("""\
        # Pages.

        package(default_visibility = ["//visibility:public"])

        filegroup(
            name = "g3doc",
            srcs = glob([
                "**/*.md",
                "**/*.png",
            ]),
        )
        """), self._texts()["g3doc/BUILD"])

  def testFolderOfAnotherPackageMustBeInTheSettings(self):
    self._tree({"pages/a.md": "", "examples/__init__.py": '"""Programs."""',
                "examples/mlp.py": "path = root / 'pages'"})
    with self.assertRaisesRegex(
        ValueError,
        "^DATA_FOLDERS must have pages, which examples/mlp.py reads.$"):
      self._texts()

  def testFolderMustHaveADocstring(self):
    self._tree({"examples/mlp.py": '"""A module."""'})
    with self.assertRaisesRegex(
        ValueError, "^examples/__init__.py must have a docstring.$"):
      self._texts()


class CommandTest(_SmallTreeTest):

  def setUp(self):
    super().setUp()
    self._tree({
        "kfac/__init__.py": '"""Root."""', "examples/old/BUILD": "# Old.\n",
        "third_party/a/defs.bzl": "",
    }, STAND_INS={"third_party/a/BUILD": "# A stand-in.\n"})

  def _main(self, *arguments):
    """Returns the exit status, and what was printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
      status = build_files.main(arguments, self._root, self._settings)
    return status, printed.getvalue()

  def testPrintsWhatDiffers(self):
    status, printed = self._main()
    self.assertEqual(1, status)
    self.assertIn('\n+    name = "kfac",\n', printed)
    self.assertIn("\n-# Old.\n", printed)
    self.assertFalse((self._root / "kfac" / "BUILD").exists())

  def testWrites(self):
    self.assertEqual((0, ""), self._main("--write"))
    self.assertFalse((self._root / "examples" / "old" / "BUILD").exists())
    for path, text in self._texts().items():
      self.assertEqual(
          text, (self._root / path).read_text(encoding="utf-8"), path)
    self.assertEqual((0, ""), self._main())


class StaleSettingsTest(_SmallTreeTest):

  def testRowsOfFilesThatAreGone(self):
    self._tree({"examples/pages.py": "", "examples/a_test.py": ""},
               SIZES={"examples/a_test.py": "medium",
                      "examples/b_test.py": "medium"},
               COMMENTS={"": "Root.", "g3doc": "Pages."})
    self.assertEqual(
        ["SIZES: remove examples/b_test.py: it does not exist",
         "COMMENTS: remove g3doc: it does not exist"],
        build_files.stale_settings(self._root, self._settings))


if __name__ == "__main__":
  absltest.main()
