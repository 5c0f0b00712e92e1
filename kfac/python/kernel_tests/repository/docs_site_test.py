"""The site of g3doc/ builds, and its API pages have every public name."""

import importlib
import inspect
import pathlib
import re
import tempfile
import types

from absl.testing import absltest

import kfac
from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import pages

_OPS = "kfac.python.ops."
_PAGE_OF_NAV = re.compile(r": (\S+\.md)$", re.MULTILINE)
_IDENTIFIER = re.compile(r"^::: (\S+)$", re.MULTILINE)


def navigation():
  """Lists the pages that mkdocs.yml names, in its order."""
  return _PAGE_OF_NAV.findall(
      pages.read(architecture.project_root() / "mkdocs.yml"))


def public_modules():
  """Lists the names of the public modules, without their package."""
  return ["kfac_utils"] + [
      name for name in kfac.__all__
      if getattr(kfac, name).__class__ is types.ModuleType
      and getattr(kfac, name).__name__ == _OPS + name]


def identifiers(name):
  """Lists what the API page of a module shows."""
  return _IDENTIFIER.findall(
      pages.read(pages.folder() / "api" / f"{name}.md"))


def resolve(identifier):
  """Returns the module, class or function with a dotted name."""
  try:
    return importlib.import_module(identifier)
  except ModuleNotFoundError:
    owner, _, name = identifier.rpartition(".")
    return getattr(resolve(owner), name)


def public_names(module):
  """Lists the classes and functions of a module or package.

  Args:
    module: The module.

  Returns:
    List of names. A name from another module counts if `__all__` has it.
  """
  listed = getattr(module, "__all__", ())
  return [
      name for name, member in vars(module).items()
      if (inspect.isclass(member) or inspect.isfunction(member))
      and not name.startswith("_")
      and (name in listed or
           (member.__module__ + ".").startswith(module.__name__ + "."))]


class PagesTest(absltest.TestCase):

  def testNavigationHasEveryPageOnce(self):
    self.assertCountEqual(
        [pages.name(path) for path in pages.all_pages()], navigation())

  def testEveryPublicModuleHasAPage(self):
    for name in public_modules():
      self.assertIn(f"api/{name}.md", navigation())
      self.assertTrue(
          any(identifier.startswith(_OPS + name)
              for identifier in identifiers(name)), name)

  def testReadmeHasTheSameModules(self):
    readme = pages.read(architecture.project_root() / "README.md")
    rows = re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)
    self.assertCountEqual(rows, public_modules())

  def testIdentifiersExist(self):
    for path in pages.all_pages():
      for identifier in _IDENTIFIER.findall(pages.read(path)):
        resolve(identifier)

  def testEveryPublicNameIsShown(self):
    for name in public_modules():
      shown = identifiers(name)
      for identifier in shown:
        module = resolve(identifier)
        if not inspect.ismodule(module):
          continue
        # The page of a module shows `__all__`, or all names without one.
        listed = getattr(module, "__all__", public_names(module))
        for other in public_names(module):
          self.assertTrue(
              other in listed or f"{identifier}.{other}" in shown,
              f"api/{name}.md has no {other}")


class SiteTest(absltest.TestCase):

  def testBuildsWithoutWarnings(self):
    with tempfile.TemporaryDirectory() as folder:
      pages.run(["-m", "mkdocs", "build", "--strict", "--site-dir", folder],
                architecture.project_root())
      page = (pathlib.Path(folder) / "api" / "optimizer.html").read_text(
          encoding="utf-8")
    for name in ("KfacOptimizer", "KfacOptimizer.minimize",
                 "calibrate_damping"):
      self.assertIn(f'id="{_OPS}optimizer.{name}"', page)
    self.assertNotIn("https://fonts", page)


if __name__ == "__main__":
  absltest.main()
