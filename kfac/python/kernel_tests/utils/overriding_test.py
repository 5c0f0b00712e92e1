"""Tests of what a user's subclass has redefined."""

import types

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import overriding


class _Base:

  def one(self):
    """Does nothing."""

  def other(self):
    """Does nothing."""


class _Both(_Base):

  def one(self):
    """Does nothing."""

  def other(self):
    """Does nothing."""


class _One(_Base):

  def one(self):
    """Does nothing."""


class _Other(_Base):

  def other(self):
    """Does nothing."""


class _BelowOther(_Other):
  pass


class OverridingTest(tf.test.TestCase):

  def testDefiner(self):
    self.assertIs(overriding.definer(_One(), "one"), _One)
    self.assertIs(overriding.definer(_One(), "other"), _Base)
    self.assertIs(overriding.definer(_BelowOther(), "other"), _Other)
    self.assertIsNone(overriding.definer(_Base(), "third"))
    instance = _One()
    instance.one = None
    self.assertIs(overriding.definer(instance, "one"), instance)

  def testIsUpToDate(self):
    for cls, expected in ((_Base, True), (_Both, True), (_One, True),
                          (_Other, False), (_BelowOther, False)):
      self.assertEqual(
          overriding.is_up_to_date(cls(), "one", "other"), expected, cls)
      self.assertTrue(overriding.is_up_to_date(cls(), "one"))
      self.assertTrue(overriding.is_up_to_date(cls(), "one", "third"))
      self.assertFalse(overriding.is_up_to_date(cls(), "third", "one"))

  def testMembersOfTheObjectItself(self):
    instance = _Both()
    instance.other = None
    self.assertFalse(overriding.is_up_to_date(instance, "one", "other"))
    instance.one = None
    self.assertTrue(overriding.is_up_to_date(instance, "one", "other"))

  def testObjectsWithoutADict(self):
    self.assertIsNone(overriding.definer(object(), "one"))
    instance = types.SimpleNamespace(one=1)
    self.assertIs(overriding.definer(instance, "one"), instance)


if __name__ == "__main__":
  tf.test.main()
