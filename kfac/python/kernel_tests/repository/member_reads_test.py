"""Classes read only members that they or their bases define."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.repository import architecture
from kfac.python.kernel_tests.repository import member_reads


class _Base:
  """A base that reads what it defines, in one way or another."""

  annotated: int

  def __init__(self):
    self.assigned = 1

  @property
  def prop(self):
    """A property."""
    return self.assigned + self.method() + self.annotated

  def method(self):
    """A method."""
    return lambda: self.prop


class _Reader(_Base):
  """A subclass that reads what its base defines, also of Python's classes."""

  def read(self):
    """Reads them."""
    return self.prop, self.assigned, super().method(), self.__class__


class _ReaderOfTensorFlow(tf.train.GradientDescentOptimizer):
  """A subclass of a class outside of the project."""

  def read(self):
    """Reads an attribute and a method of the base."""
    return self._learning_rate, self.get_name()


class _Upward:
  """A class whose members only a subclass defines."""

  def read(self):
    """Reads one, also inside of a lambda, and one through `super()`."""
    return self.missing, lambda: self.lost, super().gone


class _Sub(_Upward):
  """Defines them."""

  missing = lost = gone = 0


class MemberReadsTest(tf.test.TestCase):

  def testThisTree(self):
    names = [
        name for name in architecture.read_modules(architecture.project_root())
        if name.startswith("kfac") and ".kernel_tests" not in name
        and name != "kfac.contrib"]
    self.assertIn("kfac.python.ops.optimizer.kfac_optimizer", names)
    complaints = member_reads.check_classes(names)
    self.assertEqual([], complaints, "\n" + "\n".join(complaints))

  def testMembersOfAClassAndItsBases(self):
    for cls in (_Base, _Reader, _ReaderOfTensorFlow, _Sub):
      self.assertEqual([], member_reads.check_class(cls))

  def testMembersThatOnlyASubclassDefines(self):
    self.assertEqual(
        [f"{__name__}._Upward: reads {name}, which neither it nor a base "
         "defines" for name in ("gone", "lost", "missing")],
        sorted(member_reads.check_class(_Upward)))

  def testReadsThroughSuperMayBeAllowed(self):
    self.assertLen(
        member_reads.check_class(_Upward, cooperative=["_Upward"]), 2)


if __name__ == "__main__":
  tf.test.main()
