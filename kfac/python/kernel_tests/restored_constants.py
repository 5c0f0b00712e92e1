"""Restores the constants that use_contrib_numerics sets, after a test."""

import importlib

from kfac.python.ops import contrib_numerics


def restore_after(test):
  """Restores the present values when a test ends.

  Args:
    test: tf.test.TestCase.
  """
  for module, name in contrib_numerics.CONTRIB_VALUES:
    owner = importlib.import_module(f"kfac.python.ops.{module}")
    test.addCleanup(setattr, owner, name, getattr(owner, name))
