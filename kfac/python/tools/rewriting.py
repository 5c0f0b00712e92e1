"""Rewrites a program that uses tensorflow.contrib.kfac to one that uses kfac.

It edits only imports, chains of attributes and calls, in place. Anything else
becomes a note.
"""

from __future__ import annotations

import re
from typing import Any

import libcst as cst

from . import calls
from . import import_edits
from . import losses
from . import program as programs
from . import renames
from . import report
from . import successor

# What a program mentions that updates inverses, or sets their initial value.
_UPDATES = re.compile(
    r"cov_update|inv_update|update_thunks|make_ops_and_vars|create_ops_and_vars"
    r"|make_vars_and_create|PeriodicInvCovUpdate|init_inverses_at_zero"
    r"|INIT_INVERSES_AT_ZERO|BackgroundInverses|schedules")


def port(path: str, data: bytes,
         release: str | None = None) -> report.Result | None:
  """Ports a file.

  Args:
    path: Path, for the report.
    data: Bytes of the file.
    release: Release that the file is written for, one of renames.RELEASES,
      or renames.SUCCESSOR; None if unknown.

  Returns:
    report.Result, or None if the file does not use kfac.
  """
  if b"kfac" not in data:
    return None
  try:
    text, encoding = programs.decode(data)
    result = port_text(path, text, release)
  except programs.ProgramError as error:
    note = report.Note(error.line, "left", error.message)
    return report.Result(path, None, None, [note])
  if result is not None and result.new != text:
    assert result.new is not None
    result.data = result.new.encode(encoding)
  return result


def port_text(path: str, text: str,
              release: str | None = None) -> report.Result | None:
  """Ports a program.

  Args:
    path: Path, for the report.
    text: The program.
    release: Release that it is written for, one of renames.RELEASES, or
      renames.SUCCESSOR; None if unknown.

  Returns:
    report.Result without `data`, or None if the program does not use kfac.

  Raises:
    ProgramError: If the text is not a program in Python 3, or too deep.
  """
  try:
    return _Porting(path, programs.Program(text), release).result()
  except RecursionError:
    raise programs.ProgramError(
        1, "its expressions are nested too deeply") from None


class _Porting:
  """The edits and notes of one file."""

  def __init__(self, path, program, release):
    self._path = path
    self._program = program
    self._release = release
    self._edits: dict[cst.CSTNode, list] = {}
    self._notes: list[report.Note] = []

  def result(self):
    """Returns the Result, None if the file does not use kfac."""
    self._port_imports()
    self._port_chains()
    if self._is_for_its_release():
      self._port_calls()
    if not self._edits and not self._uses_kfac():
      return None
    self._note_what_is_left()
    return self._finish()

  def _add(self, edits):
    for node, function in edits:
      self._edits.setdefault(node, []).append(function)

  def _change(self, node, edits, text):
    self._add(edits)
    self._notes.append(
        report.Note(self._program.line(node), "changed", text))

  def _leave(self, node, text):
    self._notes.append(report.Note(self._program.line(node), "left", text))

  def _nodes(self, *types) -> Any:
    return [node for node in self._program.nodes if isinstance(node, types)]

  def _port_imports(self):
    for node in self._nodes(cst.Import, cst.ImportFrom):
      found = import_edits.port_import(self._program, node)
      if found.edits:
        self._change(node, found.edits, found.text)
      for text in found.left:
        self._leave(node, text)

  def _port_chains(self):
    kept = []
    for node in self._nodes(cst.Attribute):
      if node.attr.value != "kfac" or (
          self._program.resolve(node.value) != programs.CONTRIB):
        continue
      if not self._program.is_read(node):
        self._leave(node, f"{programs.unparse(node)} cannot be edited, as it "
                    "is assigned to")
      elif "#" in self._program.source(node):
        self._leave(node,
                    f"there is a comment inside of {programs.unparse(node)}")
      else:
        kept.append(node)
    if not kept:
      return
    name, needs_import = self._name_of_kfac(kept)
    if needs_import:
      self._add([import_edits.added_import(
          self._program, "kfac" if name == "kfac" else f"kfac as {name}")])
    for node in kept:
      edit = (node, lambda new: cst.Name(name, lpar=new.lpar, rpar=new.rpar))
      self._change(node, [edit], f"{programs.unparse(node)} -> {name}")

  def _name_of_kfac(self, where):
    """Chooses the name of kfac in the rewritten chains.

    Args:
      where: The chains.

    Returns:
      Name, and whether an import of it has to be added.
    """
    if all(self._program.imports_only(self._program.scope(node), "kfac")
           for node in where):
      return "kfac", False
    name = import_edits.free_name(self._program)
    return name, not self._program.imports_only(self._program.top, name)

  def _is_for_its_release(self):
    """Whether calls may be ported; notes it if the program is one for 0.2."""
    if self._release == renames.SUCCESSOR:
      for node, name, advice in successor.lacking(self._program):
        self._leave(node, f"kfac has no {name} of 0.2.4: {advice}")
      return True
    found = None if self._edits else successor.marker(
        self._program, strict=self._release is None)
    if found is None:
      return True
    node, name = found
    releases = ("TensorFlow 1 has" if self._release is None
                else f"TensorFlow {self._release} has")
    self._leave(node, f"{name} is of kfac 0.2, and no contrib.kfac of "
                f"{releases} it: calls are left; pass --release 0.2.4")
    return False

  def _port_calls(self):
    from_contrib = bool(self._edits)
    uses_kfac = self._uses_kfac()
    for node in self._nodes(cst.Call):
      called = calls.callee(self._program, node)
      if called is None or not uses_kfac:
        continue
      problem = ""
      if self._release is None and from_contrib:
        problem = calls.ambiguous(called, node)
      elif self._release is not None:
        edits, text, problem = calls.positional_edits(
            called, node, self._release)
        if edits:
          self._change(node, edits, text)
        edits, text = self._default_edits(called, node)
        if edits:
          self._change(node, edits, text)
      if problem:
        self._leave(node, problem)

  def _default_edits(self, called, node):
    setter = renames.DEFAULT_SETTERS.get(called.name)
    if setter and setter in self._program.text:
      return [], ""
    return calls.default_edits(called, node, self._release)

  def _uses_kfac(self):
    """Whether anything in the file refers to kfac, or may do so."""
    return any(name.split(".")[0] == "kfac"
               for name in self._program.imported()) or any(
                   self._refers_to_kfac(node) for node in self._program.nodes)

  def _refers_to_kfac(self, node):
    if isinstance(node, cst.Attribute):
      return _is_contrib_kfac(node) or (
          self._program.resolve(node) or "").split(".")[0] == "kfac"
    return _names_contrib_kfac(_string(node))

  def _note_what_is_left(self):
    for node in self._program.nodes:
      parent = self._program.parent(node)
      if isinstance(node, cst.Attribute):
        self._note_attribute(node, parent)
      elif isinstance(node, cst.Call):
        self._note_call(node)
      elif not isinstance(parent, (cst.Expr, cst.ConcatenatedString)):
        text = _string(node)
        if _names_contrib_kfac(text):
          text = text if len(text) < 60 else text[:57] + "..."
          self._leave(node, f"a string names contrib.kfac: {text!r}")
    for node in self._program.names():
      if (self._program.resolve(node) == programs.CONTRIB
          and not isinstance(self._program.parent(node), cst.Attribute)):
        self._leave(node, _contrib_itself(node.value))
    for node, text in losses.notes(self._program):
      self._leave(node, text)
    self._note_inverses()
    self._note_tensorflow_2()

  def _note_attribute(self, node, parent):
    dotted = self._program.resolve(node)
    base = self._program.resolve(node.value)
    text = programs.unparse(node)
    if base == programs.CONTRIB and node.attr.value != "kfac":
      self._leave(node, import_edits.not_ours(text))
    elif dotted == programs.CONTRIB and not isinstance(parent, cst.Attribute):
      self._leave(node, _contrib_itself(text))
    elif base == "kfac" and _is_contrib_kfac(node.value) and (
        import_edits.unknown_module(dotted)):
      self._leave(node, f"kfac has no {dotted}")
    elif dotted in renames.GONE:
      self._leave(node, f"{text} {renames.GONE[dotted]}")
    elif _is_contrib_kfac(node) and dotted != "kfac":
      owner = programs.unparse(node.value.value)
      self._leave(node, f"it is unknown what {owner} is")

  def _note_call(self, node):
    is_getattr = (isinstance(node.func, cst.Name) and len(node.args) > 1
                  and node.func.value in ("getattr", "hasattr"))
    if is_getattr and _string(node.args[1].value) == "contrib" and (
        self._program.resolve(node.args[0].value) == "tensorflow"):
      self._leave(
          node, f"{programs.unparse(node)} asks for contrib by a string")

  def _note_inverses(self):
    """Notes that inverses which are never updated started at the identity."""
    if self._release not in renames.INVERSES_AT_IDENTITY or (
        _UPDATES.search(self._program.text)):
      return
    found = [(node, calls.callee(self._program, node))
             for node in self._nodes(cst.Call)]
    optimizers = [node for node, called in found
                  if called and called.short == "KfacOptimizer"]
    steps = any(isinstance(node.func, cst.Attribute) and node.func.attr.value
                in ("minimize", "apply_gradients") for node, _ in found)
    if optimizers and steps:
      self._leave(
          optimizers[0], "covariances and inverses are never updated; inverses "
          f"started at the identity in {self._release}, and start at zero now: "
          "call fisher_factors.set_global_constants(init_inverses_at_zero="
          "False, init_covariances_at_zero=False, zero_debias=False) before")

  def _note_tensorflow_2(self):
    """Notes that the program expects TensorFlow 1 of `import tensorflow`."""
    for node in self._nodes(cst.Attribute):
      if (isinstance(node.value, cst.Name)
          and node.attr.value in renames.GRAPH_NAMES
          and self._program.resolve(node.value) == "tensorflow"):
        name = node.value.value
        found = self._program.bindings(self._program.scope(node), name)
        if found == ["tensorflow"]:
          self._leave(node, f"{programs.unparse(node)} is TensorFlow 1: "
                      f"`import tensorflow.compat.v1 as {name}` and "
                      f"{name}.disable_v2_behavior(), or tf_upgrade_v2")
          return

  def _finish(self):
    text = self._program.text
    if not self._edits:
      return report.Result(self._path, text, text, self._notes)
    new = _transformed(self._program, self._edits)
    try:
      programs.check_syntax(new)
    except programs.ProgramError as error:
      note = report.Note(1, "left", "it would not parse when ported "
                         f"({error.line}: {error.message}); port it by hand")
      return report.Result(self._path, text, text, [note])
    return report.Result(self._path, text, new, self._notes)


def _transformed(program, edits):
  """Returns the text of a program after edits."""
  return program.code(program.module.visit(programs.Replacement(edits)))


def _contrib_itself(text):
  return f"{text} is gone with TensorFlow 2; name contrib.kfac itself"


def _is_contrib_kfac(node):
  return (isinstance(node, cst.Attribute) and node.attr.value == "kfac"
          and isinstance(node.value, cst.Attribute)
          and node.value.attr.value == "contrib")


def _string(node):
  """Returns the value of a string, "" for any other node."""
  if isinstance(node, (cst.SimpleString, cst.ConcatenatedString)):
    value = node.evaluated_value
  elif isinstance(node, cst.FormattedStringText):
    value = node.value
  else:
    return ""
  return value if isinstance(value, str) else ""


def _names_contrib_kfac(text):
  return re.search(r"\bcontrib[./]kfac\b", text) is not None
