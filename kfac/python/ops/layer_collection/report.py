"""What auto_register_layers found: a table, also as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Row(NamedTuple):
  """A layer.

  Attributes:
    variables: Names of its variables.
    kind: Kind of the layer, e.g. "dense", or "generic".
    approximation: Name of the approximation.
    num_uses: Number of uses in each tower; None if unknown.
    inputs: Names of the inputs of the first tower, by use.
    outputs: Names of the outputs, likewise.
    reason: Why the layer is generic; None otherwise.
    ops: Names of the ops that use the variables.
  """

  variables: tuple[str, ...]
  kind: str
  approximation: str
  num_uses: int | None = None
  inputs: tuple[str, ...] = ()
  outputs: tuple[str, ...] = ()
  reason: str | None = None
  ops: tuple[str, ...] = ()


class Report(Sequence):
  """The rows of all layers; its text is a table."""

  def __init__(self, rows: Sequence[Row]) -> None:
    """Keeps the rows.

    Args:
      rows: Rows, in the order of registration.
    """
    self.rows = tuple(rows)

  def __getitem__(self, index):
    """Returns a row."""
    return self.rows[index]

  def __len__(self):
    """Returns the number of layers."""
    return len(self.rows)

  @property
  def generic(self) -> tuple[Row, ...]:
    """The rows of layers that are not known."""
    return tuple(row for row in self.rows if row.reason is not None)

  def __str__(self):
    """Returns a line for each layer, then why layers are generic."""
    header = ("variables", "kind", "approximation", "uses", "inputs", "outputs")
    table = [header, *[(
        ", ".join(row.variables), row.kind, row.approximation,
        "-" if row.num_uses is None else str(row.num_uses),
        _first(row.inputs), _first(row.outputs)) for row in self.rows]]
    widths = [max(len(line[column]) for line in table)
              for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(
        line, widths, strict=True)).rstrip() for line in table]
    lines += [f"{describe(row)}: {REGISTERED}" for row in self.generic]
    return "\n".join(lines)


def describe(row: Row) -> str:
  """Returns a phrase on why a layer is not known.

  Args:
    row: Row with a reason.
  """
  return f"{', '.join(row.variables)} {row.reason} (ops {_first(row.ops, 3)})"


# What happens to a layer that is not known.
REGISTERED = "registered as generic, by its gradient alone."


def _first(names, count=1):
  """Returns the first names, and how many there are."""
  if not names:
    return "-"
  shown = ", ".join(names[:count])
  return shown if len(names) <= count else f"{shown}, .. ({len(names)})"
