"""Tests of properties that are those of an object which is held."""

import tensorflow.compat.v1 as tf

from kfac.python.ops.optimizer import delegation


class _Held:
  size = 3


class _Owner:
  one = delegation.delegate("_held", "size", "The size.")
  two = delegation.assignable("_held", "size", "The size, too.")

  def __init__(self):
    self._held = _Held()
    self._assigned = {}


class DelegationTest(tf.test.TestCase):

  def testReadsTheObject(self):
    owner = _Owner()
    self.assertEqual((3, 3), (owner.one, owner.two))
    owner._held.size = 4
    self.assertEqual((4, 4), (owner.one, owner.two))
    self.assertEqual("The size.", _Owner.one.__doc__)

  def testOnlyOneIsAssignable(self):
    owner, other = _Owner(), _Owner()
    owner.two = 5
    self.assertEqual((3, 5, 3), (owner.one, owner.two, other.two))
    with self.assertRaises(AttributeError):
      owner.one = 5


if __name__ == "__main__":
  tf.test.main()
