"""Edits of import statements.

An edit is a node and a function of it, which returns what takes its place.
"""

from __future__ import annotations

import dataclasses

import libcst as cst

from . import program as programs
from . import renames

_BLANK = cst.SimpleWhitespace(" ")


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


def port_import(program: programs.Program,
                node: cst.Import | cst.ImportFrom) -> Ported:
  """Ports an import statement.

  Args:
    program: The program.
    node: Import statement.

  Returns:
    Ported.
  """
  if isinstance(node, cst.Import):
    return _port_plain(program, node)
  name = programs.dotted_name(node.module)
  if node.relative or not name.startswith("tensorflow"):
    return Ported()
  module = programs.canonical(name)
  if module.split(".")[0] == "kfac":
    return _port_module(node, name, module)
  if module.startswith(programs.CONTRIB + "."):
    return Ported(left=[not_ours(name)])
  if module in renames.GONE:
    return Ported(left=[f"{name} {renames.GONE[module]}"])
  if isinstance(node.names, cst.ImportStar):
    return Ported()
  return _port_names(program, node, name, module)


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


def _port_module(node, name, module):
  """Ports the module of `from tensorflow.contrib.kfac... import ...`."""
  names = [] if isinstance(node.names, cst.ImportStar) else [
      programs.dotted_name(alias.name) for alias in node.names]
  unknown = [found for found in [unknown_module(module)] + (
      [unknown_module(f"{module}.{imported}") for imported in names]
      if module in ("kfac", "kfac.python", "kfac.python.ops") else []) if found]
  if unknown:
    return Ported(left=[f"kfac has no {found}" for found in unknown])
  return Ported(
      [(node, lambda new: new.with_changes(
          module=programs.expression(module)))],
      f"from {name} -> from {module}")


def _port_plain(program, node):
  """Ports the names of `import tensorflow.contrib.kfac...`."""
  ported, texts, made = Ported(), [], {}
  scope = program.scope(node)
  for alias in node.names:
    name = programs.dotted_name(alias.name)
    dotted = programs.canonical(name)
    if dotted.split(".")[0] == "kfac" and name != dotted:
      unknown = unknown_module(dotted)
      if unknown:
        ported.left.append(f"kfac has no {unknown}")
        continue
      new = [dotted]
      if not alias.asname:
        if free_name(program) != "kfac":
          new = [_import_of(program, scope)]
        program.bind_import(scope, free_name(program), "kfac")
        if _uses(program, "tensorflow"):
          new.append("tensorflow")
      made[alias] = [_alias(text) for text in new]
      if alias.asname:
        made[alias] = [alias.with_changes(name=programs.expression(dotted))]
      texts.append(f"import {name} -> import {', '.join(new)}")
    elif dotted == programs.CONTRIB and alias.asname and _only_kfac(
        program, alias.evaluated_alias):
      made[alias] = [_alias(_import_of(program, scope))]
      texts.append(f"import {programs.unparse(alias)} -> import kfac")
    elif dotted.startswith(programs.CONTRIB):
      ported.left.append(not_ours(name))
    elif dotted in renames.GONE:
      ported.left.append(f"{name} {renames.GONE[dotted]}")
  if made:
    ported.edits = [(node, lambda new: _replace_aliases(node, new, made))]
  ported.text = "; ".join(texts)
  return ported


def _replace_aliases(old, new, made):
  """Returns an import with some of its names replaced by others.

  Args:
    old: The cst.Import as it was.
    new: The same import, its parts replaced.
    made: {name of `old`: list of what takes its place}.

  Returns:
    cst.Import.
  """
  names = []
  for before, after in zip(old.names, new.names, strict=True):
    *first, last = made.get(before, [after])
    names += [alias.with_changes(comma=cst.Comma(whitespace_after=_BLANK))
              for alias in first] + [last.with_changes(comma=after.comma)]
  return new.with_changes(names=names)


def _alias(text):
  """Returns a name of an import, such as "kfac as k"."""
  name, _, asname = text.partition(" as ")
  return cst.ImportAlias(
      programs.expression(name),
      asname=cst.AsName(cst.Name(asname)) if asname else None)


def _port_names(program, node, name, module):
  """Ports `from tensorflow[.contrib] import kfac or contrib, others`."""
  ported, ours = Ported(), []
  scope = program.scope(node)
  for alias in node.names:
    imported = programs.dotted_name(alias.name)
    dotted = programs.canonical(f"{module}.{imported}")
    if dotted == "kfac" or (dotted == programs.CONTRIB and _only_kfac(
        program, alias.evaluated_alias or imported)):
      ours.append(alias)
    elif dotted.startswith(programs.CONTRIB):
      ported.left.append(not_ours(f"{name}.{imported}"))
    elif dotted in renames.GONE:
      ported.left.append(f"{name}.{imported} {renames.GONE[dotted]}")
  if not ours:
    return ported
  if "#" in program.source(node):
    ported.left.append("there is a comment inside of the import")
    return ported
  statements = []
  for alias in ours:
    asname = alias.evaluated_alias
    if programs.dotted_name(alias.name) == "contrib":
      statements.append(_import_of(program, scope))
    elif asname and asname != "kfac":
      statements.append(f"kfac as {asname}")
    else:
      statements.append("kfac")
  ported.edits = _replace_names(program, node, ours, statements)
  names = ", ".join(programs.unparse(alias) for alias in ours)
  new = "; ".join("import " + text for text in statements)
  ported.text = f"from {name} import {names} -> {new}"
  return ported


def _replace_names(program, node, ours, statements):
  """Returns the edits that replace some of the imported names by statements.

  They are on lines of their own if the import starts its line.
  """
  before = [cst.Import([_alias(text)]) for text in statements]
  others = [alias for alias in node.names if alias not in ours]
  if others:
    if others[-1] is not node.names[-1]:
      others[-1] = others[-1].with_changes(comma=node.names[-1].comma)
    before.append(node.with_changes(names=others))
  *first, last = before
  line = program.parent(node)
  if not first or not isinstance(line, cst.SimpleStatementLine) or (
      line.body[0] is not node):
    return [(node, lambda new: _in_place_of(new, before))]
  return [(node, lambda new: _in_place_of(new, [last])),
          (line, lambda new: _with_lines_before(new, first))]


def _in_place_of(old, statements):
  """Returns statements that follow each other on the line of another one."""
  *first, last = statements
  semicolon = cst.Semicolon(whitespace_after=_BLANK)
  return cst.FlattenSentinel(
      [statement.with_changes(semicolon=semicolon) for statement in first]
      + [last.with_changes(semicolon=old.semicolon)])


def _with_lines_before(line, statements):
  """Returns lines of one statement each, and then a statement.

  The comments above `line` are above the first of them.
  """
  lines = [cst.SimpleStatementLine([statement]) for statement in statements]
  lines[0] = lines[0].with_changes(leading_lines=line.leading_lines)
  return cst.FlattenSentinel([*lines, line.with_changes(leading_lines=[])])


def _only_kfac(program, name):
  """Whether a name of contrib is used for kfac only."""
  uses = [program.parent(node) for node in program.names()
          if node.value == name and program.resolve(node) == programs.CONTRIB]
  return bool(uses) and all(
      isinstance(parent, cst.Attribute) and parent.attr.value == "kfac"
      for parent in uses)


def _import_of(program, scope):
  """Returns "kfac", or "kfac as ..." if that name is taken; binds the name."""
  name = free_name(program)
  program.bind_import(scope, name, "kfac")
  return "kfac" if name == "kfac" else f"kfac as {name}"


def free_name(program: programs.Program) -> str:
  """Returns a name that refers, or can refer, to kfac in all of a file."""
  taken = {name for scope in program.scopes
           for name in program.bound_names(scope)
           if not program.imports_only(scope, name)}
  return next(name for name in ("kfac", "contrib_kfac", "contrib_kfac_")
              if name not in taken)


def _uses(program, name):
  """Whether a module is used beyond contrib.kfac without its own import."""
  if any(programs.dotted_name(alias.name) == name and not alias.asname
         for node in program.nodes if isinstance(node, cst.Import)
         for alias in node.names):
    return False
  for node in program.names():
    if node.value == name:
      parent = program.parent(node)
      above = program.parent(parent)
      chain = (isinstance(parent, cst.Attribute)
               and parent.attr.value == "contrib"
               and isinstance(above, cst.Attribute)
               and above.attr.value == "kfac")
      if not chain:
        return True
  return False


def added_import(program: programs.Program, text: str) -> tuple:
  """Adds an import to the module: after that of TensorFlow, if there is one.

  Args:
    program: The program.
    text: What is imported: "kfac", or "kfac as ...".

  Returns:
    An edit.
  """
  body = program.module.body
  line = cst.SimpleStatementLine([cst.Import([_alias(text)])])
  anchor = next((node for node in body if _imports_tensorflow(node)), None)
  if anchor is None:
    leading = [node for index, node in enumerate(body)
               if _is_future(node) or (index == 0 and _is_docstring(node))]
    anchor = leading[-1] if leading else None
  if anchor is None:
    return body[0], lambda new: cst.FlattenSentinel(
        [line.with_changes(leading_lines=new.leading_lines),
         new.with_changes(leading_lines=[])])
  return anchor, lambda new: cst.FlattenSentinel(
      [*(new if isinstance(new, cst.FlattenSentinel) else [new]), line])


def _statements(node):
  """Returns the statements of a line; none for one with a block."""
  return node.body if isinstance(node, cst.SimpleStatementLine) else ()


def _imports_tensorflow(node):
  for statement in _statements(node):
    if isinstance(statement, cst.Import):
      names = [programs.dotted_name(alias.name) for alias in statement.names]
    elif isinstance(statement, cst.ImportFrom) and not statement.relative:
      names = [programs.dotted_name(statement.module)]
    else:
      continue
    if any(name.split(".")[0] == "tensorflow" for name in names):
      return True
  return False


def _is_future(node):
  return any(isinstance(statement, cst.ImportFrom)
             and programs.dotted_name(statement.module) == "__future__"
             for statement in _statements(node))


def _is_docstring(node):
  return any(isinstance(statement, cst.Expr) and isinstance(
      statement.value, (cst.SimpleString, cst.ConcatenatedString))
             for statement in _statements(node)[:1])
