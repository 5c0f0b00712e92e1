"""The report of port.py: what it changed, what it left unchanged and why."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Sequence

# Lines as Python's parser counts them; str.splitlines splits at more places.
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")


@dataclasses.dataclass(frozen=True, order=True)
class Note:
  """One line of the report.

  Attributes:
    line: Line of the file as it was, from 1.
    kind: "changed" or "left".
    text: The change; or the problem, with its reason.
    cell: Number of the cell of a notebook in which `line` is, from 1; 0 if the
      file is none.
  """

  line: int
  kind: str
  text: str
  cell: int = 0

  @property
  def place(self) -> str:
    """The line, in a notebook after the cell."""
    return f"cell {self.cell}:{self.line}" if self.cell else str(self.line)


@dataclasses.dataclass
class Result:
  """The result for a file.

  Attributes:
    path: Path of the file.
    old: Its text; None if it could not be read.
    new: Its new text, the same object if nothing changes.
    notes: List of Note.
    data: Bytes of the new text; None if nothing changes.
  """

  path: str
  old: str | None
  new: str | None
  notes: list
  data: bytes | None = None

  @property
  def left(self) -> list:
    """The notes about what is left to do by hand."""
    return [note for note in self.notes if note.kind == "left"]

  def diff(self) -> str:
    """Returns the unified diff, without carriage returns."""
    if self.data is None:
      return ""
    assert self.old is not None and self.new is not None
    old, new = ([line.rstrip("\r\n") for line in _LINE.findall(text)]
                for text in (self.old, self.new))
    lines = difflib.unified_diff(old, new, "a/" + self.path, "b/" + self.path,
                                 lineterm="")
    return "".join(line + "\n" for line in lines)

  def lines(self, *kinds: str) -> list:
    """Returns the report, one line for each note of some kinds, or of all."""
    notes = sorted(set(self.notes), key=lambda note: (note.cell, note))
    return [f"{self.path}:{note.place}: {note.kind}: {note.text}"
            for note in notes if not kinds or note.kind in kinds]


def summary(results: Sequence[Result], written: bool) -> str:
  """Returns the last line of the report.

  Args:
    results: List of Result.
    written: Whether changes were written.

  Returns:
    String.
  """
  changed = [result for result in results if result.data is not None]
  changes = sum(note.kind == "changed" for result in changed
                for note in set(result.notes))
  left = sum(len(set(result.left)) for result in results)
  state = "written" if written or not changed else (
      "not written; pass --write to write them")
  return (f"{len(changed)} of {len(results)} files changed in {changes} "
          f"places ({state}), {left} left to you.")
