"""Rewrites a program that uses tensorflow.contrib.kfac to one that uses kfac.

It edits only imports, chains of attributes and calls, in place. Anything else
becomes a note.
"""

from __future__ import annotations

import ast
import re

from . import calls
from . import import_edits
from . import renames
from . import report
from . import scopes
from . import sources


def port(path: str, data: bytes,
         release: str | None = None) -> report.Result | None:
  """Ports a file.

  Args:
    path: Path, for the report.
    data: Bytes of the file.
    release: Release that the file is written for, one of renames.RELEASES;
      None if unknown.

  Returns:
    report.Result, or None if the file does not use kfac.
  """
  if b"kfac" not in data:
    return None
  try:
    source = sources.Source(data)
  except sources.SourceError as error:
    note = report.Note(error.line, "left", error.message)
    return report.Result(path, None, None, [note])
  return _Porting(path, source, release).result()


class _Porting:
  """The edits and notes of one file."""

  def __init__(self, path, source, release):
    self._path = path
    self._source = source
    self._release = release
    self._program = scopes.Program(source.tree)
    self._edits = []
    self._notes = []

  def result(self):
    """Returns the Result, None if the file does not use kfac."""
    self._port_imports()
    self._port_chains()
    self._port_calls()
    if not self._edits and not self._uses_kfac():
      return None
    self._note_what_is_left()
    return self._finish()

  def _change(self, node, edits, text):
    self._edits += edits
    self._notes.append(report.Note(node.lineno, "changed", text))

  def _leave(self, node, text):
    self._notes.append(report.Note(node.lineno, "left", text))

  def _nodes(self, *types):
    return [item for item in self._program.nodes if isinstance(item[1], types)]

  def _port_imports(self):
    for scope, node, _ in self._nodes(ast.Import, ast.ImportFrom):
      found = import_edits.port_import(self._source, scope, node, self._program)
      if found.edits:
        self._change(node, found.edits, found.text)
      for text in found.left:
        self._leave(node, text)

  def _port_chains(self):
    chains = [
        (scope, node) for scope, node, _ in self._nodes(ast.Attribute)
        if node.attr == "kfac"
        and scope.resolve(node.value) == scopes.CONTRIB]
    kept = []
    for scope, node in chains:
      if not self._source.is_at_its_span(node):
        self._leave(node, _no_place(node))
      elif "#" in self._source.segment(node):
        self._leave(node, f"there is a comment inside of {ast.unparse(node)}")
      else:
        kept.append((scope, node))
    if not kept:
      return
    name, needs_import = self._name_of_kfac([scope for scope, _ in kept])
    if needs_import:
      at, before, after = import_edits.place_of_import(self._source)
      statement = "import kfac" + (
          "" if name == "kfac" else f" as {name}")
      self._edits.append((at, at, before + statement + after))
    for _, node in kept:
      self._change(node, [(*self._source.span(node), name)],
                   f"{ast.unparse(node)} -> {name}")

  def _name_of_kfac(self, where):
    """Chooses the name of kfac in the rewritten chains.

    Args:
      where: Scopes of the chains.

    Returns:
      Name, and whether an import of it has to be added.
    """
    if all(scope.imports_only("kfac") for scope in where):
      return "kfac", False
    name = import_edits.free_name(self._program)
    return name, not self._program.scopes[0].imports_only(name)

  def _port_calls(self):
    from_contrib = bool(self._edits)
    for scope, node, _ in self._nodes(ast.Call):
      name = calls.callable_name(scope, node)
      if name is None or not self._uses_kfac():
        continue
      problem = ""
      if self._release is None and from_contrib:
        problem = calls.ambiguous(name, node)
      elif self._release is not None and not self._source.is_at_its_span(node):
        problem = _no_place(node.func)
      elif self._release is not None:
        edits, text, problem = calls.positional_edits(
            self._source, name, node, self._release)
        if edits:
          self._change(node, edits, text)
        edits, text = self._default_edits(name, node)
        if edits:
          self._change(node, edits, text)
      if problem:
        self._leave(node, problem)

  def _default_edits(self, name, node):
    setter = renames.DEFAULT_SETTERS.get(name)
    if setter and setter in self._source.text:
      return [], ""
    return calls.default_edits(self._source, name, node, self._release)

  def _uses_kfac(self):
    """Whether anything in the file refers to kfac, or may do so."""
    return any(
        _refers_to_kfac(scope, node) for scope, node, _ in self._program.nodes
    ) or any(
        scopes.canonical(name).split(".")[0] == "kfac"
        for scope in self._program.scopes
        for names in scope.imports.values() for name in names)

  def _note_what_is_left(self):
    for scope, node, parent in self._program.nodes:
      if isinstance(node, ast.Attribute):
        self._note_attribute(scope, node, parent)
      elif isinstance(node, ast.Name):
        if (scope.resolve(node) == scopes.CONTRIB
            and isinstance(node.ctx, ast.Load)
            and not isinstance(parent, ast.Attribute)):
          self._leave(node, _contrib_itself(node.id))
      elif isinstance(node, ast.Constant):
        docstring = isinstance(parent, ast.Expr)
        if _names_contrib_kfac(node) and not docstring:
          text = str(node.value)
          text = text if len(text) < 60 else text[:57] + "..."
          self._leave(node, f"a string names contrib.kfac: {text!r}")
      elif isinstance(node, ast.Call):
        self._note_call(scope, node)
    self._note_tensorflow_2()

  def _note_attribute(self, scope, node, parent):
    dotted = scope.resolve(node)
    base = scope.resolve(node.value)
    text = ast.unparse(node)
    if base == scopes.CONTRIB and node.attr != "kfac":
      self._leave(node, import_edits.not_ours(text))
    elif dotted == scopes.CONTRIB and not isinstance(parent, ast.Attribute):
      self._leave(node, _contrib_itself(text))
    elif base == "kfac" and _is_contrib_kfac(node.value) and (
        import_edits.unknown_module(dotted)):
      self._leave(node, f"kfac has no {dotted}")
    elif dotted in renames.GONE:
      self._leave(node, f"{text} {renames.GONE[dotted]}")
    elif _is_contrib_kfac(node) and dotted != "kfac":
      self._leave(
          node, f"it is unknown what {ast.unparse(node.value.value)} is")
    elif (isinstance(node.value, ast.Attribute) and node.attr == "append"
          and node.value.attr == "losses"
          and ast.unparse(node.value.value) in self._collections()):
      self._leave(node, f"{text}: losses are registered, by "
                  "register_loss_function")

  def _collections(self):
    """Returns the targets to which the file assigns LayerCollections."""
    return {ast.unparse(target) for node in ast.walk(self._source.tree)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
            and ast.unparse(node.value.func).endswith("LayerCollection")
            for target in node.targets}

  def _note_call(self, scope, node):
    is_getattr = (isinstance(node.func, ast.Name) and len(node.args) > 1
                  and node.func.id in ("getattr", "hasattr")
                  and isinstance(node.args[1], ast.Constant))
    if is_getattr and node.args[1].value == "contrib" and (
        scope.resolve(node.args[0]) == "tensorflow"):
      self._leave(node, f"{ast.unparse(node)} asks for contrib by a string")

  def _note_tensorflow_2(self):
    """Notes that the program expects TensorFlow 1 of `import tensorflow`."""
    for scope, node, _ in self._nodes(ast.Attribute):
      if (isinstance(node.value, ast.Name) and node.attr in renames.GRAPH_NAMES
          and scope.resolve(node.value) == "tensorflow"):
        name = node.value.id
        owner = scope.owner(name)
        if owner.imports.get(name) == ["tensorflow"]:
          self._leave(node, f"{ast.unparse(node)} is TensorFlow 1: `import "
                      f"tensorflow.compat.v1 as {name}` and "
                      f"{name}.disable_v2_behavior(), or tf_upgrade_v2")
          return

  def _finish(self):
    source, edits = self._source, list(dict.fromkeys(self._edits))
    if not edits:
      return report.Result(self._path, source.text, source.text, self._notes)
    new = sources.apply_edits(source.text, edits)
    data = source.encode(new)
    try:
      sources.Source(data)
    except sources.SourceError as error:
      note = report.Note(1, "left", "it would not parse when ported "
                         f"({error.line}: {error.message}); port it by hand")
      return report.Result(self._path, source.text, source.text, [note])
    return report.Result(self._path, source.text, new, self._notes, data)


def _no_place(node):
  return (f"{ast.unparse(node)} cannot be edited where it is: in an f-string, "
          "or assigned to")


def _contrib_itself(text):
  return f"{text} is gone with TensorFlow 2; name contrib.kfac itself"


def _refers_to_kfac(scope, node):
  if isinstance(node, ast.Constant):
    return _names_contrib_kfac(node)
  return isinstance(node, ast.Attribute) and (
      _is_contrib_kfac(node)
      or (scope.resolve(node) or "").split(".")[0] == "kfac")


def _is_contrib_kfac(node):
  return (isinstance(node, ast.Attribute) and node.attr == "kfac"
          and isinstance(node.value, ast.Attribute)
          and node.value.attr == "contrib")


def _names_contrib_kfac(constant):
  return isinstance(constant.value, str) and re.search(
      r"\bcontrib[./]kfac\b", constant.value) is not None
