"""Writes the figures of the programs in this directory."""

import contextlib
import os

from examples import interrupts


class OutputError(Exception):
  """A figure cannot be written; the message is one line."""


def save_figure(figure, path):
  """Writes a figure; an existing file stays unless all of it is written.

  Args:
    figure: Figure of matplotlib.
    path: Path of the PNG file.

  Raises:
    OutputError: If the file cannot be written.
  """
  partial = f"{path}.{os.getpid()}.partial"

  def remove():
    with contextlib.suppress(OSError):
      os.remove(partial)

  with interrupts.cleanup(remove):
    try:
      figure.savefig(partial, format="png")
      os.replace(partial, path)
    except OSError as error:
      raise OutputError(
          f"the plot {path} cannot be written, {error.strerror or error}."
      ) from None
