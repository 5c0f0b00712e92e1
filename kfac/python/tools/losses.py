"""Appends to `losses` of anything that may be a LayerCollection.

In TensorFlow 1.4 they registered losses; since then `losses` is a new list at
each access.
"""

from __future__ import annotations

import builtins
import sys

import libcst as cst

from . import program as programs

_CHANGES = ("append", "extend", "insert")
_OTHER_PACKAGES = sys.stdlib_module_names | {"numpy", "tensorflow"}
_LITERALS = (
    cst.BaseList, cst.BaseDict, cst.BaseSet, cst.BaseNumber, cst.BaseString,
    cst.BaseComp, cst.Tuple, cst.Lambda, cst.Comparison, cst.BinaryOperation,
    cst.UnaryOperation)


def notes(program: programs.Program) -> list:
  """Finds the appends.

  Args:
    program: The program.

  Returns:
    List of (node, text of the note).
  """
  search = Search(program)
  found = []
  for node in program.nodes:
    changed = None
    if isinstance(node, cst.Attribute) and node.attr.value in _CHANGES:
      changed = node.value
    elif isinstance(node, cst.AugAssign):
      changed = node.target
    for owner in search.owners(changed):
      text = programs.unparse(
          node if isinstance(node, cst.Attribute) else node.target)
      name = programs.unparse(owner)
      found.append((node, f"{text}: losses are registered, by "
                    "register_loss_function" if search.is_collection(owner)
                    else f"{text}: if {name} is a LayerCollection, register "
                    "its losses by register_loss_function"))
  return found


class Search:
  """What expressions may be."""

  def __init__(self, program: programs.Program) -> None:
    self._program = program
    self._busy: set[cst.CSTNode] = set()
    self._attributes: dict[str, list[cst.CSTNode]] = {}
    for node in program.nodes:
      if isinstance(node, cst.AssignTarget) and isinstance(
          node.target, cst.Attribute):
        self._attributes.setdefault(programs.unparse(node.target), []).append(
            program.parent(node).value)

  def owners(self, node: cst.CSTNode | None) -> list:
    """Returns the x of `x.losses`, if a list may be that of a LayerCollection.

    Args:
      node: The list: `x.losses` itself, or a name for it; or None.

    Returns:
      List of none or one expression.
    """
    if isinstance(node, cst.Attribute) and node.attr.value == "losses":
      return [node.value] if self.may_be(node.value) else []
    if isinstance(node, cst.Name):
      values = [self._program.assigned_value(item)
                for item in self._bindings(node) if not isinstance(item, str)]
      return [owner for value in values if isinstance(value, cst.Attribute)
              for owner in self.owners(value)][:1]
    return []

  def is_collection(self, node: cst.CSTNode) -> bool:
    """Whether an expression is surely a LayerCollection."""
    values: list = self._attributes.get(programs.unparse(node), [])
    if isinstance(node, cst.Name):
      values = [
          None if isinstance(item, str) else self._program.assigned_value(item)
          for item in self._bindings(node)]
    return bool(values) and all(
        isinstance(value, cst.Call)
        and programs.unparse(value.func).endswith("LayerCollection")
        for value in values)

  def may_be(self, node: cst.CSTNode) -> bool:
    """Whether an expression may be a LayerCollection."""
    if node in self._busy:
      return False
    self._busy.add(node)
    try:
      return self._may_be(node)
    finally:
      self._busy.remove(node)

  def _may_be(self, node):
    if isinstance(node, _LITERALS):
      return False
    if isinstance(node, cst.Name):
      found = self._bindings(node)
      return any(map(self._binding_may_be, found)) if found else not hasattr(
          builtins, node.value)
    if isinstance(node, cst.Attribute):
      values = self._attributes.get(programs.unparse(node))
      return values is None or any(map(self.may_be, values))
    if isinstance(node, cst.Call):
      return self._call_may_be(node)
    if isinstance(node, cst.IfExp):
      return self.may_be(node.body) or self.may_be(node.orelse)
    if isinstance(node, cst.BooleanOperation):
      return self.may_be(node.left) or self.may_be(node.right)
    return True

  def _bindings(self, name):
    return self._program.bindings(self._program.scope(name), name.value)

  def _binding_may_be(self, item):
    if isinstance(item, str):
      return "." in item and item.partition(".")[0] not in _OTHER_PACKAGES
    if isinstance(item, (cst.FunctionDef, cst.ClassDef)):
      return False
    if isinstance(item, cst.Param):
      return self._parameter_may_be(item)
    value = self._program.assigned_value(item)
    return value is None or self.may_be(value)

  def _parameter_may_be(self, item):
    function, _, owner = (
        self._program.ancestors(item)[1:4] + [None] * 3)[:3]
    is_self = (isinstance(owner, cst.ClassDef) and not function.decorators
               and item in function.params.params[:1])
    if is_self:
      return self._class_may_be(owner)
    if item.annotation is None:
      return True
    dotted = self._program.resolve(item.annotation.annotation) or ""
    return _is_unknown(dotted) or "LayerCollection" in dotted

  def _call_may_be(self, node):
    if isinstance(node.func, cst.Name):
      found = self._bindings(node.func)
      classes = [item for item in found if isinstance(item, cst.ClassDef)]
      if found and len(classes) == len(found):
        return any(map(self._class_may_be, classes))
      if not found and hasattr(builtins, node.func.value):
        return node.func.value in ("getattr", "next")
    dotted = self._program.resolve(node.func) or ""
    return _is_unknown(dotted) or (
        "LayerCollection" in dotted or "layer_collection" in
        dotted.rpartition(".")[2])

  def _class_may_be(self, node):
    return any("LayerCollection" in programs.unparse(base.value) or any(
        self._class_may_be(item)
        for item in (self._bindings(base.value) if isinstance(
            base.value, cst.Name) else ())
        if isinstance(item, cst.ClassDef) and item is not node)
               for base in node.bases)


def _is_unknown(dotted):
  return dotted.partition(".")[0] not in _OTHER_PACKAGES | {"kfac"}
