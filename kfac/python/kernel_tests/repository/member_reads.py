"""Lists reads of members that neither a class nor its bases define.

Such a read works only in a subclass, which the reader has to find. Classes are
imported, and their sources read with `ast`.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import textwrap

# Mixins of contrib.kfac's interface, whose `super()` is the class that they
# are mixed into.
COOPERATIVE = ("LinearOperatorExtras", "RoundRobinPlacementMixin")


def check_classes(module_names):
  """Lists the reads of all classes that modules define.

  Args:
    module_names: Iterable of dotted names.

  Returns:
    Complaints, one line each.
  """
  complaints = []
  for name in module_names:
    module = importlib.import_module(name)
    for cls in vars(module).values():
      if inspect.isclass(cls) and cls.__module__ == name:
        complaints += check_class(cls)
  return complaints


def check_class(cls, cooperative=COOPERATIVE):
  """Lists the members that a class reads through `self` but does not have.

  Args:
    cls: A class whose source is a file.
    cooperative: Names of classes that may read any member through `super()`.

  Returns:
    Complaints, one line each.
  """
  known = _members(cls)
  above = set().union(*[_members(base) for base in cls.__mro__[1:]])
  complaints = []
  for node, through_super in _reads(_class_node(cls)):
    if through_super and cls.__name__ in cooperative:
      continue
    if node.attr not in (above if through_super else known | above):
      complaints.append(
          f"{cls.__module__}.{cls.__name__}: reads {node.attr}, which neither "
          "it nor a base defines")
  return complaints


@functools.cache
def _class_node(cls):
  """Returns the syntax tree of a class, or None if it has no source."""
  try:
    source = textwrap.dedent(inspect.getsource(cls))
  except (OSError, TypeError):
    return None
  return ast.parse(source).body[0]


@functools.cache
def _members(cls):
  """Returns the names that one class, without its bases, defines."""
  names = set(vars(cls)) | set(getattr(cls, "__annotations__", {}))
  node = _class_node(cls)
  for attribute in ast.walk(node) if node else ():
    if (isinstance(attribute, ast.Attribute) and _is_self(attribute.value)
        and isinstance(attribute.ctx, ast.Store)):
      names.add(attribute.attr)
  return frozenset(names)


def _reads(node):
  """Yields (attribute, whether it is read through `super()`) of a class."""
  for attribute in ast.walk(node) if node else ():
    if (not isinstance(attribute, ast.Attribute)
        or isinstance(attribute.ctx, ast.Store)):
      continue
    if _is_self(attribute.value):
      yield attribute, False
    elif (isinstance(attribute.value, ast.Call)
          and isinstance(attribute.value.func, ast.Name)
          and attribute.value.func.id == "super"):
      yield attribute, True


def _is_self(node):
  return isinstance(node, ast.Name) and node.id == "self"
