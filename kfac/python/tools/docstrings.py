"""Docstrings and signatures as Markdown, the same in every Python release."""

from __future__ import annotations

import ast
import inspect
import math
import re
import textwrap
from collections.abc import Callable

_LISTS = ("Args", "Attributes", "Constants", "Raises")
_SECTION = re.compile(r"^(Args|Attributes|Constants|Raises|Returns|Yields):$")
_ITEM = re.compile(r"^([*\w][\w*., ]*): (.*)$")
_WIDTH = 80


def sections(text: str | None) -> list:
  """Splits a docstring.

  Args:
    text: The docstring, or None.

  Returns:
    List of (name of the section, its lines without their indentation). The
    first has the name "".
  """
  found = [("", [])]
  for line in inspect.cleandoc(text or "").split("\n"):
    match = _SECTION.match(line)
    if match:
      found.append((match.group(1), []))
    elif found[-1][0] and line and not line.startswith(" "):
      found.append(("", [line]))
    else:
      found[-1][1].append(line)
  return [(name, inspect.cleandoc("\n".join([""] + lines)).split("\n"))
          for name, lines in found]


def to_markdown(text: str | None, leave_out: tuple = ()) -> list[str]:
  """Turns a docstring into Markdown.

  Args:
    text: The docstring, or None.
    leave_out: Names of sections that are not wanted.

  Returns:
    List of lines, with an empty one after each block.
  """
  result = []
  for name, lines in sections(text):
    if name in leave_out or not any(lines):
      continue
    if name:
      result += [f"{name}:", ""]
    if name in _LISTS:
      for item, words in items(lines):
        result += wrap(f"`{item}`: {escape(words)}", "- ")
      result.append("")
    else:
      result += _paragraphs(lines)
  return result


def items(lines: list[str]) -> list:
  """Reads lines of "name: words", whose words may go on, indented.

  Args:
    lines: List of lines.

  Returns:
    List of (name, words).
  """
  found = []
  for line in lines:
    match = _ITEM.match(line)
    if match:
      found.append([match.group(1), match.group(2)])
    elif found:
      found[-1][1] += " " + line.strip()
  return [(name, " ".join(words.split())) for name, words in found]


def _paragraphs(lines):
  """Returns text as it is, with indented paragraphs as fenced blocks."""
  result, code = [], []
  for index, line in enumerate(lines + ["."]):
    is_code = line.startswith("  ") and (
        bool(code) or not (index and lines[index - 1]))
    if is_code or code and not line:
      code.append(line)
      continue
    if code:
      text = textwrap.dedent("\n".join(code)).strip("\n")
      result += ["```text", *text.split("\n"), "```", ""]
      code = []
    result.append(escape(line))
  result.pop()
  return result if result[-1:] == [""] else result + [""]


def escape(text: str) -> str:
  """Returns text in which Markdown sees no markup but code in backticks."""
  parts = text.split("`")
  if len(parts) % 2 == 0:  # an odd number of backticks marks nothing
    parts = [text.replace("`", r"\`")]
  parts[::2] = [re.sub(r"([*<]|(?<!\w)_)", r"\\\1", part)
                for part in parts[::2]]
  return "`".join(parts)


def wrap(text: str, start: str = "") -> list[str]:
  """Breaks text into lines of 80 columns.

  Args:
    text: Text without ends of lines.
    start: What the first line begins with; others are indented by as much.

  Returns:
    List of lines.
  """
  return textwrap.wrap(
      text, _WIDTH, initial_indent=start, subsequent_indent=" " * len(start),
      break_long_words=False, break_on_hyphens=False)


def signature(name: str, function: Callable, bound: bool = True) -> list[str]:
  """Returns a call as lines of code, with type hints as they were written.

  Args:
    name: What is called.
    function: Function, of which `self` or `cls` is left out if it is bound.
    bound: Whether it is.

  Returns:
    List of lines.
  """
  function = inspect.unwrap(function)
  parameters = list(inspect.signature(function).parameters.values())
  written, returns = _written(function)
  words, star = [], False
  for parameter in parameters[int(bound):]:
    if parameter.kind is parameter.VAR_POSITIONAL:
      star = True
    elif parameter.kind is parameter.KEYWORD_ONLY and not star:
      words.append("*")
      star = True
    words.append(_parameter(parameter, *written.get(
        parameter.name, (None, None))))
  head, tail = name + "(", ")" + (
      " -> " + returns if returns not in (None, "None") else "")
  line = head + ", ".join(words) + tail
  if len(line) <= _WIDTH:
    return [line]
  # Blanks inside of a parameter are no places to break at.
  packed = ", ".join(word.replace(" ", "\0") for word in words)
  return [head] + [
      line.replace("\0", " ") for line in
      wrap(packed + tail.replace(" ", "\0"), "    ")]


def _written(function):
  """Reads type hints and defaults from the source of a function.

  Args:
    function: Function.

  Returns:
    Dict from the name of a parameter to (hint, default), texts or None; and
    the hint of what it returns. Empty and None for a function without source.
  """
  try:
    source = textwrap.dedent(inspect.getsource(function))
    node = ast.parse(source).body[0]
  except (OSError, SyntaxError, TypeError):
    return {}, None
  if not isinstance(node, ast.FunctionDef):
    return {}, None

  def text(part):
    words = part and ast.get_source_segment(source, part)
    # A hint in quotes is a name that is not known yet.
    return words and " ".join(words.split()).strip('"')

  arguments = node.args
  plain = arguments.posonlyargs + arguments.args
  defaults = [None] * (len(plain) - len(arguments.defaults)) + list(
      arguments.defaults)
  pairs = list(zip(plain, defaults, strict=True)) + list(
      zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
  pairs += [(one, None) for one in (arguments.vararg, arguments.kwarg) if one]
  return ({argument.arg: (text(argument.annotation), default and " ".join(
      ast.get_source_segment(source, default).split()))
           for argument, default in pairs}, text(node.returns))


def _parameter(parameter, hint, written):
  """Returns a parameter with its hint and its default."""
  stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
  words = stars.get(parameter.kind, "") + parameter.name
  if hint:
    words += ": " + hint
  if parameter.default is parameter.empty:
    return words
  value = literal(parameter.default)
  if value is None:
    is_private = not written or written.startswith("_")
    value = "..." if is_private else written
  return "{}{}{}".format(words, " = " if hint else "=", value)


def literal(value: object) -> str | None:
  """Returns the code of a plain value, or None if it is not plain.

  Args:
    value: Any object.

  Returns:
    Text for None, numbers, strings, and tuples of these.
  """
  if isinstance(value, tuple) and type(value) is tuple:
    parts = [literal(part) for part in value]
    if None in parts:
      return None
    return "({}{})".format(", ".join(parts), "," if len(parts) == 1 else "")
  if type(value) is str:
    return f'"{value}"' if '"' not in value else repr(value)
  if type(value) is float and not math.isfinite(value):
    return None
  if value is None or type(value) in (bool, int, float):
    return repr(value)
  return None
