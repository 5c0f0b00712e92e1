"""Python source files: reading, positions, and edits that keep all other bytes.

Positions are offsets in the text; `ast` counts lines, and bytes within them.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
import warnings
from collections.abc import Iterable

# A node with a position.
Located = ast.expr | ast.stmt | ast.alias

# Lines as Python's parser counts them; str.splitlines splits at more places.
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

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


class SourceError(Exception):
  """The error about a file that cannot be ported, with `line` and `message`."""

  def __init__(self, line: int, message: str) -> None:
    super().__init__(message)
    self.line = line
    self.message = message


class Source:
  """The text of a Python file.

  Attributes:
    text: The text, with the file's line ends.
    encoding: Name of the file's encoding.
    lines: List of its lines, each with its end.
    tree: Its syntax tree.
  """

  def __init__(self, data: bytes) -> None:
    """Reads a file.

    Args:
      data: Bytes of the file.

    Raises:
      SourceError: If the file's encoding cannot decode them, or if the text is
        not a program in Python 3.
    """
    try:
      self.encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
      self.text = data.decode(self.encoding)
    except (SyntaxError, UnicodeDecodeError) as error:
      raise SourceError(1, f"cannot be decoded: {error}") from None
    self.lines = split_lines(self.text)
    self.tree = self._parse()
    self._starts = [0]
    for line in self.lines:
      self._starts.append(self._starts[-1] + len(line))

  def _parse(self):
    try:
      with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        return ast.parse(self.text)
    except (SyntaxError, ValueError) as error:
      line = getattr(error, "lineno", None) or 1
      message = getattr(error, "msg", None) or str(error)
      text = "".join(self.lines[line - 1:line])
      if _PYTHON_2.search(text) or "Missing parentheses" in message:
        raise SourceError(line, "is Python 2, make it Python 3 first (2to3 "
                          f"does most): {message}") from None
      raise SourceError(
          line, f"does not parse as Python: {message}") from None

  def encode(self, text: str) -> bytes:
    """Returns a text as bytes in the file's encoding."""
    return text.encode(self.encoding)

  def offset(self, line: int, column: int) -> int:
    """Returns the offset of a position.

    Args:
      line: Line from 1.
      column: Byte of the line in UTF-8, from 0.

    Returns:
      Int.
    """
    text = self.lines[line - 1] if line <= len(self.lines) else ""
    return self._starts[line - 1] + len(
        text.encode("utf-8")[:column].decode("utf-8"))

  def span(self, node: Located) -> tuple[int, int]:
    """Returns the offsets of the start and the end of a node."""
    assert node.end_lineno is not None and node.end_col_offset is not None
    return (self.offset(node.lineno, node.col_offset),
            self.offset(node.end_lineno, node.end_col_offset))

  def segment(self, node: Located) -> str:
    """Returns the text of a node."""
    start, end = self.span(node)
    return self.text[start:end]

  def is_at_its_span(self, node: ast.expr) -> bool:
    """Whether an expression's position is right; in f-strings it may not be."""
    try:
      found = ast.parse(f"({self.segment(node)}\n)", mode="eval")
    except (SyntaxError, ValueError, IndexError):
      return False
    return ast.dump(found.body) == ast.dump(node)

  def line_end(self, line: int) -> int:
    """Returns the offset of the end of a line, before its newline."""
    return self._starts[line - 1] + len(self.lines[line - 1].rstrip("\r\n"))

  def line_start(self, line: int) -> int:
    """Returns the offset of the start of a line."""
    return self._starts[line - 1]

  def indentation(self, node: ast.stmt) -> str | None:
    """Returns the blanks before a statement; None if other text precedes it."""
    before = self.text[self.line_start(node.lineno):self.span(node)[0]]
    return None if before.strip() else before

  @property
  def newline(self) -> str:
    """The end of the first line that has one, else a newline."""
    first = self.lines[0] if self.lines else ""
    return first[len(first.rstrip("\r\n")):] or "\n"


def split_lines(text: str) -> list:
  """Returns the lines of a text, each with its end."""
  return _LINE.findall(text)


def apply_edits(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
  """Replaces parts of a text.

  Args:
    text: String.
    edits: Iterable of (start, end, replacement) that do not overlap; edits at
      the same place keep their order.

  Returns:
    String.
  """
  pieces, done = [], 0
  for start, end, replacement in sorted(edits, key=lambda edit: edit[:2]):
    assert start >= done
    pieces += [text[done:start], replacement]
    done = end
  return "".join(pieces + [text[done:]])
