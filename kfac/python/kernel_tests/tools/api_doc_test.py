"""g3doc/api.md is what the docstrings say, and how they become Markdown."""

import enum
import io
import pathlib
import re
import tempfile
import textwrap
import types
from unittest import mock

from absl.testing import absltest

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import pages
from kfac.python.tools import api_doc
from kfac.python.tools import docstrings


class PageTest(absltest.TestCase):

  def testIsCurrent(self):
    wanted, found = api_doc.make_page(), pages.read(api_doc.PAGE)
    self.assertTrue(
        wanted == found, "g3doc/api.md is not current, run "
        "`python -m kfac.python.tools.api_doc --write`.")

  def testHasTheModulesOfReadme(self):
    readme = pages.read(architecture.project_root() / "README.md")
    rows = re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)
    self.assertEqual(rows, list(api_doc.MODULES))

  def testHasAllNamesOfTheModules(self):
    anchors = pages.anchors(pages.read(api_doc.PAGE))
    for title, module in api_doc.public_modules():
      self.assertIn(api_doc.anchor(title), anchors)
      for name in getattr(module, "__all__", ()):
        if callable(getattr(module, name)):
          self.assertIn(api_doc.anchor(title + "." + name), anchors)

  def testHasNoAddresses(self):
    self.assertNotRegex(pages.read(api_doc.PAGE), r"0x[0-9a-f]{6}|<function")

  def testOldNamesAreTables(self):
    page = pages.read(api_doc.PAGE)
    self.assertIn("| `get_cov_var` | Same as get_cov (1.8). |", page)
    self.assertNotIn("#### FisherFactor.get_cov_var", page)


class CommandTest(absltest.TestCase):

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self._page = pathlib.Path(folder.name) / "api.md"
    self.enter_context(mock.patch.object(api_doc, "PAGE", self._page))
    self.enter_context(mock.patch.object(
        api_doc, "make_page", return_value="text\n"))

  def _main(self, *arguments):
    with mock.patch("sys.stdout", new=io.StringIO()) as out:
      status = api_doc.main(list(arguments))
    return status, out.getvalue()

  def testReportsAndWrites(self):
    stale = f"{self._page} is not current, say --write to make it so.\n"
    self.assertEqual((1, stale), self._main())
    self.assertFalse(self._page.exists())
    self.assertEqual((0, f"{self._page} was written.\n"),
                     self._main("--write"))
    self.assertEqual("text\n", pages.read(self._page))
    self.assertEqual((0, f"{self._page} is current.\n"), self._main())
    self._page.write_text("other\n", encoding="utf-8")
    self.assertEqual((1, stale), self._main())


class DocstringTest(absltest.TestCase):

  def testSectionsBecomeLists(self):
    self.assertEqual(textwrap.dedent("""\
        Sums x\\*y.

        Args:

        - `x`: A number that is more than one line.
        - `**more`: The `a * b` of it.

        Returns:

        A number,
        two lines.

        Raises:

        - `ValueError`: Never.
        """).split("\n"), docstrings.to_markdown("""Sums x*y.

    Args:
      x: A number that is
        more than one line.
      **more: The `a * b` of it.

    Returns:
      A number,
      two lines.

    Raises:
      ValueError: Never.
    """))

  def testSectionsAreLeftOut(self):
    self.assertEqual(["One.", ""], docstrings.to_markdown(
        "One.\n\nConstants:\n  A: B.\n", leave_out=("Constants",)))
    self.assertEqual([], docstrings.to_markdown(None))

  def testTextAfterASectionIsText(self):
    self.assertEqual(["Args:", "", "- `a`: B.", "", "More.", ""],
                     docstrings.to_markdown("\nArgs:\n  a: B.\n\nMore."))

  def testIndentedParagraphsAreFenced(self):
    self.assertEqual(
        ["It is", "", "```text", "x = 1", "", "  y * 2", "```", "", "here.",
         ""],
        docstrings.to_markdown("It is\n\n  x = 1\n\n    y * 2\n\nhere."))
    self.assertEqual(["It is", "", "- one", "  two", ""],
                     docstrings.to_markdown("It is\n\n- one\n  two"))

  def testMarkupIsEscaped(self):
    self.assertEqual(r"a\*b \<x> \_c d_e `_f*`",
                     docstrings.escape("a*b <x> _c d_e `_f*`"))
    self.assertEqual(r"a \` b", docstrings.escape("a ` b"))


_PRIVATE = object()


def _documented(a, b: "int | None" = None, *, c=("x", 1.), d=_PRIVATE,
                e=enum.Enum, **more: float) -> "list[int]":
  """Does nothing."""
  return []


def _long(first_argument=1, second_argument="two words", third_argument=None,
          fourth_argument=(1, 2)):
  """Does nothing."""


class SignatureTest(absltest.TestCase):

  def testHintsAndDefaults(self):
    self.assertEqual(
        ['f(', '    a, b: int | None = None, *, c=("x", 1.0), d=..., '
         'e=enum.Enum,', '    **more: float) -> list[int]'],
        docstrings.signature("f", _documented, bound=False))

  def testLongOnesBreakBetweenArguments(self):
    lines = docstrings.signature("f", _long, bound=False)
    self.assertEqual("f(", lines[0])
    self.assertIn('second_argument="two words"', lines[1])
    self.assertEqual(
        docstrings.signature("f", _long, bound=True)[0],
        'f(second_argument="two words", third_argument=None, '
        'fourth_argument=(1, 2))')

  def testFunctionWithoutSource(self):
    space = {}
    exec("def f(a, b=1, *args): pass", space)  # pylint: disable=exec-used
    self.assertEqual(["f(a, b=1, *args)"],
                     docstrings.signature("f", space["f"], bound=False))

  def testLiterals(self):
    for value, code in ((1, "1"), ("a", '"a"'), ('"', "'\"'"), ((), "()"),
                        ((1,), "(1,)"), (None, "None"), (True, "True"),
                        (float("inf"), None), ([], None), ((object,), None)):
      self.assertEqual(code, docstrings.literal(value))


class ClassTest(absltest.TestCase):
  """The members of a class that are documented."""

  def _module(self, **names):
    module = types.ModuleType("kfac.made_up")
    for name, member in names.items():
      member.__module__ = module.__name__
      setattr(module, name, member)
    return module

  def _page(self, **names):
    module = self._module(**names)
    known = api_doc.sections_of([("m", module)])
    return "\n".join(api_doc._module("m", module, known))

  def testInheritedAndPrivateMembersAreLeftOut(self):
    class Base:
      """A base."""

      def known(self):
        """Is documented once."""

    class Derived(Base):
      """More."""

      def known(self):
        pass

      def _private(self):
        """Is private."""

      @property
      def size(self):
        """How large."""

      @staticmethod
      def make(x):
        """Makes one."""

      again = make

    page = self._page(Base=Base, Derived=Derived)
    self.assertIn("#### Base.known", page)
    self.assertNotIn("Derived.known", page)
    self.assertNotIn("_private", page)
    self.assertIn("A subclass of [m.Base](#mbase).", page)
    self.assertIn("- `size`: How large.", page)
    self.assertIn("```text\nmake(x)\n```", page)

  def testOtherNames(self):
    class Once:
      """One."""

      def new(self):
        """Is new."""

      old = new

    page = self._page(Once=Once, Twice=Once)
    self.assertIn("#### Once.old\n\nSame as `new`.", page)
    self.assertIn("### m.Twice\n\nSame as [m.Once](#monce).", page)

  def testEnumerationsListTheirMembers(self):
    class Kind(enum.Enum):
      """Kinds."""

      ONE = 1
      TWO = 2

    self.assertIn("Kinds.\n\n- `ONE`\n- `TWO`", self._page(Kind=Kind))

  def testConstantsHaveValueAndMeaning(self):
    module = types.ModuleType("kfac.made_up")
    module.__doc__ = "One.\n\nConstants:\n  RATE: How fast.\n"
    module.RATE, module.NAME, module._HIDDEN = 0.5, "n", 1
    module.TABLE = {}
    page = "\n".join(api_doc._module("m", module, {}))
    self.assertIn("- `RATE = 0.5`: How fast.\n- `NAME = \"n\"`\n", page)
    self.assertNotIn("HIDDEN", page)
    self.assertNotIn("TABLE", page)


if __name__ == "__main__":
  absltest.main()
