"""Tests of the import of optional packages."""

import math
import sys
import unittest
import unittest.mock

from examples import extras


class ImportOrNoneTest(unittest.TestCase):

  def testReturnsTheModuleOrNone(self):
    self.assertIs(extras.import_or_none("math"), math)
    with unittest.mock.patch.dict(sys.modules, {"math": None}):
      self.assertIsNone(extras.import_or_none("math"))


if __name__ == "__main__":
  unittest.main()
