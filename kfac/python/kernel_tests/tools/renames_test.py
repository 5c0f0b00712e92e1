"""The tables of the porting tool agree with this package."""

import inspect

from absl.testing import absltest

import kfac
from kfac.python.kernel_tests.repository import architecture
from kfac.python.tools import renames


class TablesTest(absltest.TestCase):

  def _callable(self, name):
    owner, _, member = name.rpartition(".")
    if not owner:
      return getattr(kfac.LayerCollection, member)
    return getattr(getattr(kfac, owner), member)

  def _parameters(self, name):
    parameters = inspect.signature(self._callable(name)).parameters
    return {key: value for key, value in parameters.items() if key != "self"}

  def testOrdersOfArgumentsAreThoseOfThisPackage(self):
    for name in renames._ORDERS:
      order = renames.order(name)
      given = list(self._parameters(name))
      self.assertEqual(given[:len(order)], order, name)

  def testArgumentsOfAllReleasesAreAccepted(self):
    for name in renames._ORDERS:
      parameters = self._parameters(name)
      spread = any(parameter.kind is parameter.VAR_KEYWORD
                   for parameter in parameters.values())
      for release in renames.RELEASES:
        for argument in renames.order(name, release):
          self.assertTrue(argument in parameters or spread,
                          f"{name} {release} {argument}")

  def testReleasesOfTheTablesExist(self):
    named = [releases for _, theirs in renames._ORDERS.values()
             for releases in theirs]
    named += [row[1] for row in renames._DEFAULTS]
    self.assertContainsSubset(
        {release for releases in named for release in releases.split()},
        (*renames.RELEASES, renames.SUCCESSOR))

  def testModulesExist(self):
    self.assertContainsSubset(renames.ROOT_NAMES, kfac.__all__)
    folder = architecture.project_root() / "kfac" / "python" / "ops"
    for name in renames.OPS_NAMES:
      self.assertTrue((folder / (name + ".py")).exists()
                      or (folder / name / "__init__.py").exists(), name)

  def testSettersOfDefaultsExist(self):
    for setter in renames.DEFAULT_SETTERS.values():
      self.assertTrue(hasattr(kfac.LayerCollection, setter), setter)


if __name__ == "__main__":
  absltest.main()
