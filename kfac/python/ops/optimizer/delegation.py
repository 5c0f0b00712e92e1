"""Properties of an optimizer that are those of an object it holds."""

from __future__ import annotations

from typing import Any


def delegate(holder: str, name: str, doc: str) -> Any:
  """Makes a property that reads an attribute of an object which is held.

  Args:
    holder: Name of the attribute that holds the object.
    name: Name of the object's attribute.
    doc: Docstring of the property.

  Returns:
    Property.
  """
  return property(lambda self: getattr(getattr(self, holder), name), doc=doc)


def assignable(holder: str, name: str, doc: str) -> Any:
  """Makes the same property, which a subclass may assign to.

  Args:
    holder: See `delegate`; as the other arguments.
    name: See `delegate`.
    doc: See `delegate`.

  Returns:
    Property whose values are kept in the dict `_assigned` of its owner.
  """
  def read(self):
    if name in self._assigned:
      return self._assigned[name]
    return getattr(getattr(self, holder), name)

  def write(self, value):
    self._assigned[name] = value

  return property(read, write, doc=doc)
