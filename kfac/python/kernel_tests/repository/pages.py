"""Pages in Markdown: their fenced blocks, headings and links."""

import collections
import os
import re
import subprocess
import sys

from kfac.python.kernel_tests.repository import architecture

# language: The word after the opening fence; line: its number, from 1; text:
# the lines between the fences; before: the paragraph above, in one line.
Block = collections.namedtuple("Block", ["language", "line", "text", "before"])


def folder():
  """Returns the folder of the pages."""
  return architecture.project_root() / "g3doc"


def all_pages():
  """Returns the paths of all pages of the site."""
  return sorted(folder().rglob("*.md"))


def name(path):
  """Returns the path of a page below the folder of the pages."""
  return path.relative_to(folder()).as_posix()


def read(path):
  """Returns the text of a page."""
  return path.read_text(encoding="utf-8")


def blocks(text, language=None):
  """Lists the fenced blocks of a page.

  Args:
    text: The page.
    language: The language wanted; None for all.

  Returns:
    List of Block.

  Raises:
    ValueError: If the last block has no end.
  """
  found, start, before = [], None, []
  lines = text.split("\n")
  for index, line in enumerate(lines):
    if line.startswith("```"):
      if start is None:
        start = index
        continue
      found.append(Block(lines[start][3:].strip(), start + 1, "\n".join(
          lines[start + 1:index] + [""]), " ".join(before)))
      start, before = None, []
    elif start is None and line.strip():
      if not lines[index - 1].strip():
        before = []
      before.append(line)
  if start is not None:
    raise ValueError(f"a block must end, got none for line {start + 1}.")
  return [block for block in found if language in (None, block.language)]


def prose(text):
  """Returns a page without its fenced blocks."""
  return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(text):
  """Returns the anchors of the headings of a page, as on GitHub."""
  found, counts = set(), collections.Counter()
  for heading in re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE):
    anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    found.add(f"{anchor}-{counts[anchor]}"
              if counts[anchor] else anchor)
    counts[anchor] += 1
  return found


def links(text):
  """Lists (path, anchor) of the links of a page to files of this tree."""
  return re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", prose(text))


def commands(text):
  """Lists the commands of the sh blocks of a page, each in one line."""
  joined = "".join(block.text for block in blocks(text, "sh"))
  joined = re.sub(r"\\\n\s*", "", joined)
  return [line for line in joined.splitlines() if line]


def run(arguments, cwd, timeout=300, root=None):
  """Runs Python in a folder, with a tree on its path and no window.

  Args:
    arguments: List of arguments of Python.
    cwd: The folder.
    timeout: Seconds.
    root: Root of the tree; this tree if None.

  Returns:
    Its output.

  Raises:
    AssertionError: If it fails; the message has its output.
  """
  environment = dict(
      os.environ, PYTHONPATH=str(root or architecture.project_root()),
      PYTHONDONTWRITEBYTECODE="1", TF_CPP_MIN_LOG_LEVEL="2",
      MPLBACKEND="Agg")
  done = subprocess.run(
      [sys.executable, *map(str, arguments)], cwd=cwd, env=environment,
      capture_output=True, text=True, timeout=timeout)
  if done.returncode:
    command = " ".join(map(str, arguments))
    raise AssertionError(
        f"python {command} failed:\n{done.stdout}{done.stderr}")
  return done.stdout
