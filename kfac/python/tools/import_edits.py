"""Edits of import statements."""

from __future__ import annotations

import ast
import dataclasses
import re

from . import renames
from . import scopes
from . import sources

# A dotted name; blanks within it may include a backslash at the end of a line.
_DOTTED = re.compile(r"\w+(?:[\s\\]*\.[\s\\]*\w+)*")
_FROM = re.compile(r"from[\s\\]+(" + _DOTTED.pattern + ")")


@dataclasses.dataclass
class Ported:
  """The result for an import: edits, their description, and problems left."""

  edits: list = dataclasses.field(default_factory=list)
  text: str = ""
  left: list = dataclasses.field(default_factory=list)


def not_ours(name: str) -> str:
  """Returns the note about a module of contrib other than kfac."""
  return (f"{name} is gone with TensorFlow 2, and this tool helps with "
          "contrib.kfac only")


def port_import(source: sources.Source, scope: scopes.Scope,
                node: ast.Import | ast.ImportFrom,
                program: scopes.Program) -> Ported:
  """Ports an import statement.

  Args:
    source: Source.
    scope: Its scope.
    node: ast.Import or ast.ImportFrom.
    program: scopes.Program of the file.

  Returns:
    Ported.
  """
  if isinstance(node, ast.Import):
    return _port_plain(source, scope, node, program)
  name = node.module or ""  # None in `from . import`
  if node.level or not name.startswith("tensorflow"):
    return Ported()
  module = scopes.canonical(name)
  if module.split(".")[0] == "kfac":
    return _port_module(source, node, module)
  if module.startswith(scopes.CONTRIB + "."):
    return Ported(left=[not_ours(name)])
  if module in renames.GONE:
    return Ported(left=[f"{name} {renames.GONE[module]}"])
  return _port_names(source, scope, node, module, program)


def unknown_module(dotted: str) -> str:
  """Returns a name below kfac if it is not in contrib.kfac, else "".

  Args:
    dotted: Dotted name, e.g. "kfac.python.ops.optimizer".

  Returns:
    String.
  """
  parts = dotted.split(".")
  if parts[1:2] != ["python"]:
    known = renames.ROOT_NAMES | {"KfacOptimizer", "LayerCollection"}
    module = parts[1] if len(parts) > 1 else None
  elif parts[2:3] not in ([], ["ops"]):
    return dotted
  else:
    known = renames.OPS_NAMES
    module = parts[3].removesuffix("_lib") if len(parts) > 3 else None
  return "" if module is None or module in known else dotted


def _port_module(source, node, module):
  """Ports the module of `from tensorflow.contrib.kfac... import ...`."""
  names = [alias.name for alias in node.names if alias.name != "*"]
  unknown = [name for name in [unknown_module(module)] + (
      [unknown_module(f"{module}.{name}") for name in names]
      if module in ("kfac", "kfac.python", "kfac.python.ops") else []) if name]
  if unknown:
    return Ported(left=[f"kfac has no {name}" for name in unknown])
  start, end = source.span(node)
  found = _FROM.match(source.text, start, end)
  assert found is not None
  return Ported(
      [(found.start(1), found.end(1), module)],
      f"from {node.module} -> from {module}")


def _port_plain(source, scope, node, program):
  """Ports the names of `import tensorflow.contrib.kfac...`."""
  ported, texts = Ported(), []
  for alias in node.names:
    dotted = scopes.canonical(alias.name)
    if dotted.split(".")[0] == "kfac" and alias.name != dotted:
      unknown = unknown_module(dotted)
      if unknown:
        ported.left.append(f"kfac has no {unknown}")
        continue
      new = dotted
      if not alias.asname:
        if free_name(program) != "kfac":
          new = _import_of(program, scope)
        program.bind_import(scope, free_name(program), "kfac")
        if _uses(program, "tensorflow"):
          new += ", tensorflow"
      found = _DOTTED.match(source.text, source.span(alias)[0])
      assert found is not None
      ported.edits.append((*found.span(), new))
      texts.append(f"import {alias.name} -> import {new}")
    elif dotted == scopes.CONTRIB and alias.asname and _only_kfac(
        program, alias.asname):
      ported.edits.append((*source.span(alias), _import_of(program, scope)))
      texts.append(f"import {ast.unparse(alias)} -> import kfac")
    elif dotted.startswith(scopes.CONTRIB):
      ported.left.append(not_ours(alias.name))
    elif dotted in renames.GONE:
      ported.left.append(f"{alias.name} {renames.GONE[dotted]}")
  ported.text = "; ".join(texts)
  return ported


def _port_names(source, scope, node, module, program):
  """Ports `from tensorflow[.contrib] import kfac or contrib, others`."""
  ported, ours = Ported(), []
  for alias in node.names:
    dotted = scopes.canonical(f"{module}.{alias.name}")
    if dotted == "kfac" or (dotted == scopes.CONTRIB and _only_kfac(
        program, alias.asname or alias.name)):
      ours.append(alias)
    elif dotted.startswith(scopes.CONTRIB):
      ported.left.append(not_ours(f"{node.module}.{alias.name}"))
    elif dotted in renames.GONE:
      ported.left.append(f"{node.module}.{alias.name} {renames.GONE[dotted]}")
  if not ours:
    return ported
  if "#" in source.segment(node):
    ported.left.append("there is a comment inside of the import")
    return ported
  statements = []
  for alias in ours:
    if alias.name == "contrib":
      statements.append("import " + _import_of(program, scope))
    elif alias.asname and alias.asname != "kfac":
      statements.append(f"import kfac as {alias.asname}")
    else:
      statements.append("import kfac")
  ported.edits = _replace_names(source, node, ours, statements)
  names = ", ".join(ast.unparse(alias) for alias in ours)
  ported.text = f"from {node.module} import {names} -> {'; '.join(statements)}"
  return ported


def _replace_names(source, node, ours, statements):
  """Returns the edits that replace some of the imported names by statements."""
  start, end = source.span(node)
  others = [alias for alias in node.names if alias not in ours]
  if not others:
    return [(start, end, _join(source, node, statements))]
  edits = [(start, start, _join(source, node, statements + [""]))]
  for index, alias in enumerate(node.names):
    if alias not in ours:
      continue
    if any(other in others for other in node.names[index + 1:]):
      edits.append((source.span(alias)[0],
                    source.span(node.names[index + 1])[0], ""))
    else:
      edits.append((source.span(node.names[index - 1])[1],
                    source.span(alias)[1], ""))
  return edits


def _join(source, node, statements):
  """Joins statements: on separate lines if the import starts its line."""
  indentation = source.indentation(node)
  if indentation is None:
    return "; ".join(statements)
  return (source.newline + indentation).join(statements)


def _only_kfac(program, name):
  """Whether a name of contrib is used for kfac only."""
  uses = [parent for scope, node, parent in program.nodes
          if isinstance(node, ast.Name) and node.id == name
          and scope.resolve(node) == scopes.CONTRIB]
  return bool(uses) and all(
      isinstance(parent, ast.Attribute) and parent.attr == "kfac"
      for parent in uses)


def _import_of(program, scope):
  """Returns "kfac", or "kfac as ..." if that name is taken; binds the name."""
  name = free_name(program)
  program.bind_import(scope, name, "kfac")
  return "kfac" if name == "kfac" else f"kfac as {name}"


def free_name(program: scopes.Program) -> str:
  """Returns a name that refers, or can refer, to kfac in all of a file."""
  taken = {name for scope in program.scopes
           for name in [*scope.imports, *scope.values]
           if not scope.imports_only(name)}
  return next(name for name in ("kfac", "contrib_kfac", "contrib_kfac_")
              if name not in taken)


def _uses(program, name):
  """Whether a module is used beyond contrib.kfac without its own import."""
  if any(dotted == name for scope in program.scopes
         for dotted in scope.imports.get(name, ())
         ) and _imported_alone(program, name):
    return False
  parents = {id(node): parent for _, node, parent in program.nodes}
  for _, node, parent in program.nodes:
    if isinstance(node, ast.Name) and node.id == name:
      above = parents.get(id(parent))
      chain = (isinstance(parent, ast.Attribute) and parent.attr == "contrib"
               and isinstance(above, ast.Attribute) and above.attr == "kfac")
      if not chain:
        return True
  return False


def _imported_alone(program, name):
  return any(alias.name == name and not alias.asname
             for _, node, _ in program.nodes if isinstance(node, ast.Import)
             for alias in node.names)


def place_of_import(source: sources.Source) -> tuple:
  """Finds a place for a new import.

  Args:
    source: Source.

  Returns:
    Offset, and the text to write before and after the import.
  """
  body = source.tree.body
  anchor = next((node for node in body if _imports_tensorflow(node)), None)
  if anchor is None:
    leading = [node for index, node in enumerate(body)
               if _is_future(node) or (index == 0 and _is_docstring(node))]
    anchor = leading[-1] if leading else None
  if anchor is None:
    first = body[0]
    lines = [first.lineno] + [
        node.lineno for node in getattr(first, "decorator_list", ())]
    return source.line_start(min(lines)), "", source.newline
  end = anchor.end_lineno
  for node in body:
    if node.lineno == end:
      end = node.end_lineno
  return source.line_end(end), source.newline, ""


def _imports_tensorflow(node):
  if isinstance(node, ast.Import):
    return any(alias.name.split(".")[0] == "tensorflow" for alias in node.names)
  return (isinstance(node, ast.ImportFrom) and not node.level
          and (node.module or "").split(".")[0] == "tensorflow")


def _is_future(node):
  return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _is_docstring(node):
  return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
          and isinstance(node.value.value, str))
