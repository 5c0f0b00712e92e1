"""A program as a concrete syntax tree, and what its names refer to.

LibCST gives the scopes, the bindings and the positions. This module adds what
LibCST does not do: it follows assigned aliases, and reads TensorFlow's names.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Sequence
from typing import Any

import libcst as cst
from libcst import helpers
from libcst import metadata

KFAC = "kfac"
CONTRIB = "tensorflow.contrib"
_COMPAT = re.compile(r"^tensorflow(?:\.compat\.v[12])+(?=\.|$)")
_CONTRIB_KFAC = re.compile(r"^tensorflow\.contrib\.kfac(?=\.|$)")

# Signs of Python 2 in the line that Python 3 cannot parse.
_PYTHON_2 = re.compile(
    r"""^\s*(?:print|exec)\s+[^\s(=]        # print "a"
      | ^\s*print\s*>>                      # print >> file
      | \bexcept\b[^:]*,\s*\w+\s*:          # except Error, error:
      | ^\s*raise\s+[\w.]+\s*,              # raise Error, "a"
      | <> | `                              # a <> b, `a`
      | \b(?:0[0-7]+|\d+[lL]|0[xX][\da-fA-F]+[lL])\b   # 0777, 1L
      | \b[uU][rR]["']                      # ur"a"
    """, re.VERBOSE)


class ProgramError(Exception):
  """The error about a file that cannot be ported, with `line` and `message`."""

  def __init__(self, line: int, message: str) -> None:
    super().__init__(message)
    self.line = line
    self.message = message


def canonical(dotted: str) -> str:
  """Returns a dotted name without compat.v1, and contrib.kfac as kfac."""
  return _CONTRIB_KFAC.sub(KFAC, _COMPAT.sub("tensorflow", dotted))


def decode(data: bytes) -> tuple[str, str]:
  """Decodes a file.

  Args:
    data: Bytes of the file.

  Returns:
    Its text, with the file's line ends, and the name of its encoding.

  Raises:
    ProgramError: If the file's encoding cannot decode it.
  """
  try:
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding), encoding
  except (SyntaxError, UnicodeDecodeError) as error:
    raise ProgramError(1, f"cannot be decoded: {error}") from None


def check_syntax(text: str) -> None:
  """Checks that Python parses a text.

  Args:
    text: The program.

  Raises:
    ProgramError: If it is not a program in Python 3.
  """
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", SyntaxWarning)
      warnings.simplefilter("ignore", DeprecationWarning)
      ast.parse(text)
  except (SyntaxError, ValueError) as error:
    number = getattr(error, "lineno", None) or 1
    message = getattr(error, "msg", None) or str(error)
    line = "".join(re.split(r"\r\n|\r|\n", text)[number - 1:number])
    if _PYTHON_2.search(line) or "Missing parentheses" in message:
      raise ProgramError(number, "is Python 2, make it Python 3 first (2to3 "
                         f"does most): {message}") from None
    raise ProgramError(
        number, f"does not parse as Python: {message}") from None


class Program:
  """The syntax tree of a program.

  Attributes:
    text: The text that was parsed.
    module: The tree, a cst.Module.
    nodes: List of its nodes, in the order of the text.
    top: The scope of the module.
    scopes: List of all scopes.
  """

  def __init__(self, text: str) -> None:
    """Parses a program.

    Args:
      text: The program.

    Raises:
      ProgramError: If it is not a program in Python 3.
    """
    check_syntax(text)
    self.text = text
    # LibCST cannot keep line ends of a carriage return only.
    self._line_end = "\r" if "\n" not in text and "\r" in text else ""
    wrapper = self._parse(
        text.replace("\r", "\n") if self._line_end else text)
    self.module = wrapper.module
    self._parents = wrapper.resolve(metadata.ParentNodeProvider)
    self._positions = wrapper.resolve(metadata.PositionProvider)
    self._contexts = wrapper.resolve(metadata.ExpressionContextProvider)
    self._scopes = wrapper.resolve(metadata.ScopeProvider)
    self.nodes = _Nodes.of(self.module)
    self.scopes: list[metadata.Scope] = list(dict.fromkeys(
        scope for scope in self._scopes.values() if scope is not None))
    self.top = self.scope(self.module)
    self._bindings = {scope: self._bindings_of(scope) for scope in self.scopes}
    for node in self.nodes:
      if isinstance(node, (cst.MatchAs, cst.MatchStar)) and node.name:
        self._bindings[self.scope(node)].setdefault(
            node.name.value, []).append(node)

  def _parse(self, text):
    try:
      wrapper = metadata.MetadataWrapper(
          cst.parse_module(text), unsafe_skip_copy=True)
    except cst.ParserSyntaxError as error:
      raise ProgramError(error.raw_line, "LibCST cannot parse it: "
                         f"{error.message.splitlines()[0]}") from None
    if wrapper.module.code != text:
      raise ProgramError(1, "LibCST cannot keep its layout")
    return wrapper

  def _bindings_of(self, scope):
    """Returns {name: list of dotted names, of imports, and of nodes}."""
    found: dict[str, list[str | cst.CSTNode]] = {}
    for assignment in scope.assignments:
      name = assignment.name
      if isinstance(assignment, metadata.ImportAssignment):
        dotted, = {q.name for q in assignment.get_qualified_names_for(name)}
        top = name.partition(".")[0]
        if dotted.startswith("."):
          found.setdefault(top, []).append(assignment.node)
        elif "." not in name:
          found.setdefault(top, []).append(dotted)
      elif isinstance(assignment, metadata.Assignment):
        if not self._is_none(assignment.node):
          found.setdefault(name, []).append(assignment.node)
    return found

  def _is_none(self, node):
    """Whether a binding is `tf = None`, as for a failed import."""
    value = self.assigned_value(node)
    return isinstance(value, cst.Name) and value.value == "None"

  def code(self, new: cst.Module) -> str:
    """Returns the text of a tree that was made from this one."""
    return new.code.replace("\n", self._line_end) if self._line_end else (
        new.code)

  def line(self, node: cst.CSTNode) -> int:
    """Returns the line of a node, from 1."""
    return self._positions[node].start.line

  def parent(self, node: cst.CSTNode) -> Any:
    """Returns the parent of a node; None for the module."""
    return self._parents.get(node)

  def ancestors(self, node: cst.CSTNode) -> list:
    """Returns the nodes that contain a node, the innermost first."""
    found = []
    while (parent := self.parent(node)) is not None:
      found.append(parent)
      node = parent
    return found

  def scope(self, node: cst.CSTNode) -> metadata.Scope:
    """Returns the scope of a node."""
    scope = next((self._scopes[n] for n in [node, *self.ancestors(node)]
                  if self._scopes.get(n) is not None), None)
    assert scope is not None
    return scope

  def source(self, node: cst.CSTNode) -> str:
    """Returns the text of a node."""
    return self.module.code_for_node(node)

  def is_read(self, node: cst.BaseExpression) -> bool:
    """Whether a name or an attribute is read: not assigned to, nor deleted."""
    return self._contexts.get(node) is metadata.ExpressionContext.LOAD

  def names(self) -> list:
    """Returns the names that are expressions, and read."""
    return [node for node in self.nodes if isinstance(node, cst.Name)
            and self._scopes.get(node) is not None and self.is_read(node)]

  def assigned_value(self, node: cst.CSTNode) -> cst.CSTNode | None:
    """Returns the value that is assigned to a name, if it is simple."""
    target = self.parent(node)
    if isinstance(target, cst.AssignTarget):
      return self.parent(target).value
    if isinstance(target, cst.AnnAssign) and target.target is node:
      return target.value
    return None

  def owner(self, scope: metadata.Scope, name: str) -> metadata.Scope | None:
    """Returns the scope that binds a name seen from a scope, or None."""
    start = scope
    while scope in self._bindings:
      hidden = isinstance(scope, metadata.ClassScope) and scope is not start
      if not hidden and name in self._bindings[scope]:
        return scope
      scope = scope.parent
    return None

  def bindings(self, scope: metadata.Scope, name: str) -> list:
    """Returns what a name seen from a scope is bound to.

    Args:
      scope: Scope.
      name: String.

    Returns:
      List of dotted names, for imports, and of nodes, for all else.
    """
    owner = self.owner(scope, name)
    return [] if owner is None else self._bindings[owner][name]

  def bind_import(self, scope: metadata.Scope, name: str, dotted: str) -> None:
    """Adds an import to a scope."""
    self._bindings[scope].setdefault(name, []).append(dotted)

  def bound_names(self, scope: metadata.Scope) -> list:
    """Returns the names that a scope binds."""
    return list(self._bindings[scope])

  def imported(self) -> set:
    """Returns the dotted names that are imported, canonical."""
    return {canonical(item) for names in self._bindings.values()
            for items in names.values() for item in items
            if isinstance(item, str)}

  def imports_only(self, scope: metadata.Scope, name: str) -> bool:
    """Whether a name seen from a scope is bound, by imports of kfac alone."""
    found = self.bindings(scope, name)
    return bool(found) and all(
        isinstance(item, str) and canonical(item) == KFAC for item in found)

  def resolve(self, node: cst.CSTNode, busy: tuple = ()) -> str | None:
    """Resolves an expression.

    Args:
      node: Name or chain of attributes, or any other expression.
      busy: Bindings that are being resolved.

    Returns:
      Canonical dotted name, or None if unknown.
    """
    if isinstance(node, cst.Attribute):
      base = self.resolve(node.value, busy)
      return base and canonical(f"{base}.{node.attr.value}")
    if not isinstance(node, cst.Name):
      return None
    scope = self.scope(node)
    owner = self.owner(scope, node.value)
    if owner is None or (owner, node.value) in busy:
      return None
    busy += ((owner, node.value),)
    found = {self._resolve_binding(item, busy)
             for item in self.bindings(scope, node.value)}
    return found.pop() if len(found) == 1 else None

  def _resolve_binding(self, item, busy):
    if isinstance(item, str):
      return canonical(item)
    value = self.assigned_value(item)
    return None if value is None else self.resolve(value, busy)


class _Nodes(cst.CSTVisitor):
  """Lists the nodes of a tree."""

  def __init__(self):
    super().__init__()
    self.found: list[cst.CSTNode] = []

  @classmethod
  def of(cls, module):
    """Returns the list."""
    visitor = cls()
    module.visit(visitor)
    return visitor.found

  def on_visit(self, node: cst.CSTNode) -> bool:
    """Adds a node; the names inside of an import are no expressions."""
    self.found.append(node)
    return not isinstance(node, (cst.Import, cst.ImportFrom))


class Replacement(cst.CSTTransformer):
  """Replaces nodes of a tree.

  Args:
    functions: {node: list of functions of the node, whose parts may have been
      replaced, that return what takes its place}.
  """

  def __init__(self, functions: dict) -> None:
    super().__init__()
    self._functions = functions

  def on_leave(self, original_node: Any, updated_node: Any) -> Any:
    """Replaces a node."""
    for function in self._functions.get(original_node, ()):
      updated_node = function(updated_node)
    return updated_node


def unparse(node: cst.CSTNode) -> str:
  """Returns an expression or an import's name, in the layout of `ast`."""
  code = cst.Module([]).code_for_node(node)
  if isinstance(node, cst.ImportAlias):
    code = cst.Module([]).code_for_node(node.with_changes(
        comma=cst.MaybeSentinel.DEFAULT))
    return re.sub(r"[\s\\]+", " ", re.sub(r"[\s\\]*\.[\s\\]*", ".", code))
  return ast.unparse(ast.parse(f"({code}\n)", mode="eval"))


def dotted_name(node: cst.CSTNode | str | None) -> str:
  """Returns the dotted name that a node writes, "" if it writes none."""
  return (node and helpers.get_full_name_for_node(node)) or ""


def expression(dotted: str) -> Any:
  """Returns a dotted name as an expression."""
  return cst.parse_expression(dotted)


def positional(call: cst.Call) -> Sequence[cst.Arg]:
  """Returns the arguments of a call without a name, also those with *."""
  return [arg for arg in call.args if arg.keyword is None and arg.star != "**"]
