r"""Ports programs from tensorflow.contrib.kfac to kfac.

    python -m kfac.python.tools.port FILE_OR_FOLDER... [--write] [--release R]

It shows a diff and a report; with --write it changes the files. It rewrites all
spellings of imports and of `tf.contrib.kfac`, and with --release also calls
whose meaning has changed since that release. The report lists what it leaves
unchanged.

Exit status: 0 if nothing is left to do by hand, 1 if something is (see the
report), 2 if the command line is wrong. With --diff-only: 0 if nothing would
change and nothing is left, 1 if a file would change, 2 if something is left or
the command line is wrong.

It needs LibCST, which the extra `port` installs. In a clone it runs without
TensorFlow, and without the time of its import:

    PYTHONPATH=kfac/python python -m tools.port ...
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence

from . import renames
from . import report
from . import shadowing

_MISSING = "port needs LibCST: python -m pip install libcst\n"


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program.

  Args:
    argv: List of arguments; those of the process if None.

  Returns:
    Exit status.
  """
  parser = argparse.ArgumentParser(
      prog="port", description=(__doc__ or "").partition("\n\n")[0],
      epilog="Exit status: 0 if nothing is left to do by hand, 1 if something "
             "is, 2 if the command line is wrong. With --diff-only: 0 if "
             "nothing would change and nothing is left, 1 if a file would "
             "change, 2 if something is left or the command line is wrong.")
  parser.add_argument("paths", nargs="+", metavar="FILE_OR_FOLDER",
                      help="in folders, all *.py and *.ipynb that are not "
                      "hidden")
  parser.add_argument("--write", action="store_true",
                      help="change the files; by default only show the diff")
  parser.add_argument("--diff-only", action="store_true",
                      help="for scripts: print the diff alone, and what is "
                      "left to stderr")
  parser.add_argument("--release", type=_release,
                      choices=(*renames.RELEASES, renames.SUCCESSOR),
                      help="release of TensorFlow that the programs are "
                      "written for; 0.2.4 is the package kfac of that release")
  arguments = parser.parse_args(argv)
  if importlib.util.find_spec("libcst") is None:
    parser.exit(2, _MISSING)
  if arguments.write and arguments.diff_only:
    parser.error("--diff-only must not be given with --write.")
  missing = [path for path in arguments.paths if not os.path.exists(path)]
  if missing:
    parser.error(f"FILE_OR_FOLDER must exist, got {missing[0]!r}.")
  results = port_paths(arguments.paths, arguments.release, arguments.write)
  # Paths and programs may contain characters that the streams cannot encode.
  for stream in (sys.stdout, sys.stderr):
    if hasattr(stream, "reconfigure"):
      stream.reconfigure(errors="backslashreplace")
  for result in results:
    sys.stdout.write(result.diff())
  if arguments.diff_only:
    return _finish_diff(results)
  for result in results:
    sys.stdout.writelines(line + "\n" for line in result.lines())
  sys.stdout.write(report.summary(results, arguments.write) + "\n")
  return int(any(result.left for result in results))


def _finish_diff(results):
  """Writes what is left to stderr, and returns the exit status."""
  for result in results:
    sys.stderr.writelines(line + "\n" for line in result.lines("left"))
  if any(result.left for result in results):
    return 2
  return int(any(result.data is not None for result in results))


def _release(text):
  """Returns a release without what does not matter: 1.4.1 is 1.4."""
  short = ".".join(text.split(".")[:2])
  return renames.SUCCESSOR if short == "0.2" else short


def port_paths(paths: Sequence[str], release: str | None = None,
               write: bool = False) -> list:
  """Ports files and all files in folders.

  Args:
    paths: List of paths.
    release: One of renames.RELEASES, renames.SUCCESSOR, or None.
    write: Whether to change the files.

  Returns:
    List of report.Result of the files that use kfac.
  """
  # It needs LibCST, which is not a dependency of kfac; main reports that.
  from . import notebooks
  from . import rewriting

  results = []
  for path in find_files(paths):
    try:
      with open(path, "rb") as file:
        porter = notebooks if path.endswith(".ipynb") else rewriting
        result = porter.port(path, file.read(), release)
      if result is not None and result.data is not None and write:
        with open(path, "wb") as file:
          file.write(result.data)
    except OSError as error:
      note = report.Note(1, "left", error.strerror or str(error))
      result = report.Result(path, None, None, [note])
    if result is not None:
      hidden = shadowing.message(shadowing.program_folder(path))
      if hidden is not None:
        result.notes.append(report.Note(1, "left", hidden))
      results.append(result)
  return results


def find_files(paths: Sequence[str]) -> list:
  """Lists the given files, and *.py and *.ipynb files in the given folders.

  It skips hidden files and folders below these, and links to folders.

  Args:
    paths: List of paths.

  Returns:
    List of paths, each once.
  """
  found = []
  for path in paths:
    if not os.path.isdir(path):
      found.append(path)
    for folder, folders, files in os.walk(path):
      folders[:] = sorted(name for name in folders if not name.startswith("."))
      found += [
          os.path.join(folder, name) for name in sorted(files)
          if name.endswith((".py", ".ipynb")) and not name.startswith(".")]
  return list(dict.fromkeys(found))


if __name__ == "__main__":
  sys.exit(main())
