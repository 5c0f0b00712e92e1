"""Jupyter notebooks, whose code cells are ported as one program.

Only the sources of cells change; all other bytes of the file stay.
"""

from __future__ import annotations

import ast
import json
import re
import warnings

from . import program as programs
from . import report
from . import rewriting

# A line that separates cells. It is a comment, which porting keeps.
_MARK = "# kfac.python.tools.port: cell {}"
_MARK_LINE = re.compile(r"^# kfac\.python\.tools\.port: cell (\d+)$",
                        re.MULTILINE)
# What stands in for a line that IPython reads, and Python does not.
# A comment suffices where the line continues another one.
_STAND_IN = "# kfac.python.tools.port: line {}"
_STAND_IN_LINE = re.compile(
    r"(?:pass  )?# kfac\.python\.tools\.port: line (\d+)")
# `%magic`, `!command`, `?name`, `name?`, `x = %magic`, `x = !command`.
_SPECIAL = re.compile(
    r"[%!?]|[\w.,\s()\[\]]+=\s*(?:!|%[a-zA-Z])|[\w.*%]+\?\??\s*$")
# The cell magics after which the cell is Python.
_PYTHON_CELL = re.compile(r"%%(?:capture|prun|time|timeit)\b")
_UNUSUAL = ("the layout of its JSON is unusual and cannot be kept; save it "
            "with Jupyter first")


def port(path: str, data: bytes,
         release: str | None = None) -> report.Result | None:
  """Ports a notebook.

  Args:
    path: Path, for the report.
    data: Bytes of the file.
    release: See rewriting.port.

  Returns:
    report.Result, or None if the notebook does not use kfac.
  """
  if b"kfac" not in data:
    return None
  try:
    text = data.decode("utf-8")
    notebook = json.loads(text)
    cells = [_Cell(number, cell)
             for number, cell in enumerate(notebook["cells"], 1)
             if cell["cell_type"] == "code"]
  except (ValueError, KeyError, TypeError) as error:
    note = report.Note(1, "left", f"is no notebook of format 4: {error}")
    return report.Result(path, None, None, [note])
  stand_ins: list[str] = []
  program = "\n".join(cell.program(stand_ins) for cell in cells)
  try:
    result = rewriting.port_text(path, program + "\n", release)
  except programs.ProgramError as error:
    note = _in_cell(program, report.Note(error.line, "left", error.message))
    return report.Result(path, None, None, [note])
  if result is None:
    return None
  notes = [_in_cell(program, note) for note in result.notes]
  assert result.new is not None
  if result.new == program + "\n":
    return report.Result(path, text, text, notes)
  write = _writer(notebook, text)
  if write is None:
    notes = [note for note in notes if note.kind == "left"]
    notes.append(report.Note(1, "left", _UNUSUAL))
    return report.Result(path, text, text, notes)
  # The program starts with a mark, so the first part is empty.
  parts = _MARK_LINE.split(result.new.removesuffix("\n"))
  before, sources = parts[0], parts[2::2]
  for index, (cell, source) in enumerate(zip(cells, sources, strict=True)):
    last = index == len(cells) - 1
    source = source.removeprefix("\n")
    source = source if last else source.removesuffix("\n")
    cell.replace(before + source, stand_ins)
    before = ""
  new = write(notebook)
  return report.Result(path, text, new, notes, new.encode("utf-8"))


class _Cell:
  """A code cell.

  Args:
    number: Its number among all cells, from 1.
    cell: The cell, a dict.
  """

  def __init__(self, number, cell):
    self._number = number
    self._cell = cell
    source = cell["source"]
    self._text = source if isinstance(source, str) else "".join(source)

  def program(self, stand_ins):
    """Returns the mark of the cell, and its text as Python.

    Args:
      stand_ins: List to which it appends the lines that were replaced.

    Returns:
      String.
    """
    return _MARK.format(self._number) + "\n" + self._python(stand_ins)

  def _python(self, stand_ins):
    if _parses(self._text):
      return self._text
    lines = self._text.split("\n")
    first = next((line for line in lines if line.strip()), "")
    every = first.startswith("%%") and not _PYTHON_CELL.match(first)
    python, continued = [], False
    for line in lines:
      code = line.lstrip()
      special = every or continued or _SPECIAL.match(code)
      if special and code:
        python.append(line[:len(line) - len(code)]
                      + ("" if every or continued else "pass  ")
                      + _STAND_IN.format(len(stand_ins)))
        stand_ins.append(code)
      else:
        python.append(line)
      continued = bool(special) and line.endswith("\\")
    return "\n".join(python)

  def replace(self, python, stand_ins):
    """Replaces the source of the cell by a changed `program`."""
    text = _STAND_IN_LINE.sub(
        lambda found: stand_ins[int(found.group(1))], python)
    if text != self._text:
      self._cell["source"] = text if isinstance(
          self._cell["source"], str) else text.splitlines(keepends=True)


def _parses(text):
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      ast.parse(text)
  except (SyntaxError, ValueError):
    return False
  return True


def _in_cell(program, note):
  """Returns a note on a line of the program as one on a line of a cell."""
  lines = program.split("\n")
  number = next((n for n in range(min(note.line, len(lines)), 0, -1)
                 if _MARK_LINE.match(lines[n - 1])), 1)
  found = _MARK_LINE.match(lines[number - 1])
  cell = int(found.group(1)) if found else 0
  return report.Note(max(note.line - number, 1), note.kind, note.text, cell)


def _writer(notebook, text):
  """Returns the function that writes JSON in the layout of a text, or None."""
  found = re.match(r"\{\r?\n([ \t]+)", text)
  indent = found.group(1) if found else None
  end = text[len(text.rstrip()):]
  for separators in ((",", ": "), (", ", ": "), (",", ":")):
    for is_ascii in (False, True):
      for sort_keys in (False, True):
        def write(value, options=(separators, is_ascii, sort_keys)):
          return json.dumps(value, indent=indent, separators=options[0],
                            ensure_ascii=options[1], sort_keys=options[2]) + end
        if write(notebook) == text:
          return write
  return None
