"""Modules and folders named kfac beside a program, which hide the package.

A folder without `__init__.py` hides nothing: Python prefers a package that it
finds later.
"""

from __future__ import annotations

import os
import sys


def message(folder: str) -> str | None:
  """Says what hides the package from programs in a folder.

  Args:
    folder: Folder of a program, which Python searches first.

  Returns:
    One line; None if nothing hides the package.
  """
  package = os.path.join(folder, "kfac")
  if os.path.isdir(os.path.join(package, "python", "ops")):
    package = ""  # It is the package itself.
  for path, file in ((os.path.join(folder, "kfac.py"),) * 2,
                     (package, os.path.join(package, "__init__.py"))):
    if path and os.path.isfile(file):
      return (f"{path} is beside the program and hides the package kfac: "
              "rename it")
  return None


def program_folder(path: str) -> str:
  """Returns the folder that Python searches first for a program.

  Args:
    path: Path of a file.

  Returns:
    Its folder; that of the outermost package if the file is in a package.
  """
  folder = os.path.dirname(path)
  while os.path.isfile(os.path.join(folder, "__init__.py")) and (
      os.path.dirname(os.path.abspath(folder)) != os.path.abspath(folder)):
    folder = os.path.dirname(folder or os.path.abspath(folder))
  return folder


def message_about_main() -> str | None:
  """Returns `message` about the folder of the program that is running."""
  path = getattr(sys.modules.get("__main__"), "__file__", None)
  return message(os.path.dirname(path)) if path else None
