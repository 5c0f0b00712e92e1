"""Resolution of a program's names, by its imports and aliases."""

from __future__ import annotations

import ast
import re
from typing import Any

KFAC = "kfac"
CONTRIB = "tensorflow.contrib"
_COMPAT = re.compile(r"^tensorflow(?:\.compat\.v[12])+(?=\.|$)")
_CONTRIB_KFAC = re.compile(r"^tensorflow\.contrib\.kfac(?=\.|$)")

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def canonical(dotted: str) -> str:
  """Returns a dotted name without compat.v1, and contrib.kfac as kfac."""
  return _CONTRIB_KFAC.sub(KFAC, _COMPAT.sub("tensorflow", dotted))


class Scope:
  """A module, function, class or comprehension, and the names it binds.

  Attributes:
    parent: The enclosing scope, or None.
    is_class: Whether it is a class, whose names inner scopes do not see.
    imports: {name: list of the dotted names it is imported as}.
    values: {name: list of the other values assigned to it: expressions, or None
      for a value that is not resolved}.
    elsewhere: Set of the names that it declares global or nonlocal.
  """

  def __init__(self, parent: Scope | None = None,
               is_class: bool = False) -> None:
    self.parent = parent
    self.is_class = is_class
    self.imports: dict[str, list[str]] = {}
    self.values: dict[str, list[ast.AST | None]] = {}
    self.elsewhere: set[str] = set()

  def owner(self, name: str) -> Scope | None:
    """Returns the scope that binds a name seen from here, or None."""
    scope: Scope | None = self
    while scope is not None:
      hidden = scope.is_class and scope is not self
      if not hidden and (name in scope.imports or name in scope.values):
        return scope
      scope = scope.parent
    return None

  def resolve(self, node: ast.AST, busy: tuple = ()) -> str | None:
    """Resolves an expression.

    Args:
      node: Name or chain of attributes, or any other expression.
      busy: Bindings that are being resolved.

    Returns:
      Canonical dotted name, or None if unknown.
    """
    if isinstance(node, ast.Attribute):
      base = self.resolve(node.value, busy)
      return base and canonical(f"{base}.{node.attr}")
    if not isinstance(node, ast.Name):
      return None
    owner = self.owner(node.id)
    if owner is None or (owner, node.id) in busy:
      return None
    busy += ((owner, node.id),)
    found: set[str | None] = {
        canonical(name) for name in owner.imports.get(node.id, ())}
    found |= {None if value is None else owner.resolve(value, busy)
              for value in owner.values.get(node.id, ())}
    return found.pop() if len(found) == 1 else None

  def imports_only(self, name: str) -> bool:
    """Whether a name seen from here is bound, and by imports of kfac only."""
    owner = self.owner(name)
    return (owner is not None and name not in owner.values
            and {canonical(n) for n in owner.imports[name]} == {KFAC})


class Program(ast.NodeVisitor):
  """A syntax tree with the scopes of its nodes.

  Attributes:
    nodes: List of (scope, node, parent) of all names, attributes, calls,
      constants and imports, in the order of the text.
    scopes: List of all scopes, the module's first.
  """

  def __init__(self, tree: ast.Module) -> None:
    self.scopes = [Scope()]
    self.nodes: list[tuple[Scope, Any, Any]] = []
    self._scope = self.scopes[0]
    self._parents: list[ast.AST | None] = [None]
    self.visit(tree)

  def visit(self, node: ast.AST) -> None:
    """Records a node and visits its children."""
    if isinstance(node, (ast.Name, ast.Attribute, ast.Call, ast.Constant,
                         ast.Import, ast.ImportFrom)):
      self.nodes.append((self._scope, node, self._parents[-1]))
    self._parents.append(node)
    if isinstance(node, _FUNCTIONS):
      self._visit_function(node)
    elif isinstance(node, ast.ClassDef):
      self._visit_class(node)
    elif isinstance(node, _COMPREHENSIONS):
      self._inside(ast.iter_child_nodes(node))
    else:
      self._bind_node(node)
      self.generic_visit(node)
    self._parents.pop()

  def _inside(self, nodes, is_class=False, names=()):
    """Visits nodes in a new scope that already binds some names."""
    outer = self._scope
    self._scope = Scope(outer, is_class)
    self.scopes.append(self._scope)
    for name in names:
      self._bind(name)
    for node in nodes:
      self.visit(node)
    self._scope = outer

  def _visit_function(self, node):
    arguments = node.args
    every = arguments.posonlyargs + arguments.args + arguments.kwonlyargs
    every += [a for a in (arguments.vararg, arguments.kwarg) if a]
    outside = arguments.defaults + [d for d in arguments.kw_defaults if d]
    outside += [a.annotation for a in every if a.annotation]
    outside += getattr(node, "type_params", [])
    if isinstance(node, ast.Lambda):
      body = [node.body]
    else:
      self._bind(node.name)
      outside += node.decorator_list + ([node.returns] if node.returns else [])
      body = node.body
    for part in outside:
      self.visit(part)
    self._inside(body, names=[a.arg for a in every])

  def _visit_class(self, node):
    self._bind(node.name)
    for part in (node.decorator_list + node.bases + node.keywords
                 + getattr(node, "type_params", [])):
      self.visit(part)
    self._inside(node.body, is_class=True)

  def _bind(self, name, value=None):
    scope = self._scope
    if name in scope.elsewhere:
      scope = self.scopes[0]
    scope.values.setdefault(name, []).append(value)

  def bind_import(self, scope: Scope, name: str, dotted: str) -> None:
    """Adds an import to a scope."""
    if name in scope.elsewhere:
      scope = self.scopes[0]
    scope.imports.setdefault(name, []).append(dotted)

  def _bind_node(self, node):
    if isinstance(node, (ast.Global, ast.Nonlocal)):
      self._scope.elsewhere.update(node.names)
    elif isinstance(node, ast.Import):
      for alias in node.names:
        top = alias.name.partition(".")[0]
        self.bind_import(self._scope, alias.asname or top,
                         alias.name if alias.asname else top)
    elif isinstance(node, ast.ImportFrom):
      for alias in node.names:
        if node.level:
          self._bind(alias.asname or alias.name)
        else:
          self.bind_import(self._scope, alias.asname or alias.name,
                           f"{node.module}.{alias.name}")
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
      self._bind_name(node)
    elif isinstance(node, ast.ExceptHandler) and node.name:
      self._bind(node.name)
    elif isinstance(node, (ast.MatchAs, ast.MatchStar)) and node.name:
      self._bind(node.name)

  def _bind_name(self, node):
    """Binds an assigned name; ignores `tf = None` for a failed import."""
    statement = self._parents[-2]
    if isinstance(statement, ast.Assign) and node in statement.targets:
      value = statement.value
      if not (isinstance(value, ast.Constant) and value.value is None):
        self._bind(node.id, value)
    else:
      self._bind(node.id)
