"""Draws the figures of the programs in this directory, and writes them."""

import collections
import contextlib
import importlib
import math
import os

from examples import extras
from examples import interrupts

# One row of a figure: its title, the title of the legend, which says in what
# the lines differ, and the lines, a list of (label, runner.History).
Panel = collections.namedtuple("Panel", ["title", "legend_title", "lines"])

# A logarithmic axis of fewer decades has ticks between powers of ten.
FEW_DECADES = 2.5
# A logarithmic axis in this range has plain numbers.
PLAIN = 1e-3, 1e5
_WIDTH, _ROW_HEIGHT = 9., 3.8  # Inches.


class OutputError(Exception):
  """A figure cannot be written; the message is one line."""


def make_figure(num_rows=1):
  """Returns a figure for rows of plots, 900 pixels wide."""
  return importlib.import_module("matplotlib.figure").Figure(
      figsize=(_WIDTH, num_rows * _ROW_HEIGHT), dpi=100, layout="constrained")


def describe(axes, xlabel, ylabel, legend_title=None):
  """Labels the axes of a plot, and adds a grid and a legend.

  Args:
    axes: Axes of matplotlib.
    xlabel: Label of the horizontal axis, with its unit.
    ylabel: Label of the vertical axis, with its unit.
    legend_title: What distinguishes the lines; None means no legend.
  """
  axes.set_xlabel(xlabel)
  axes.set_ylabel(ylabel)
  axes.grid(alpha=0.3)
  if legend_title is not None:
    axes.legend(title=legend_title, fontsize="small")


def optimizers_panel(title, histories):
  """Returns a Panel whose lines differ in the optimizer.

  Args:
    title: Title of the panel.
    histories: List of runner.Histories.
  """
  return Panel(title, "optimizer", [
      (history.describe_settings(), history) for history in histories])


def draw_losses(panels, log_x=False):
  """Draws the losses against updates and, beside it, against seconds.

  Args:
    panels: Sequence of Panels. All have the same vertical axis.
    log_x: Whether updates and seconds have logarithmic axes, too.

  Returns:
    Figure of matplotlib.
  """
  figure = make_figure(len(panels))
  rows = figure.subfigures(len(panels), 1, squeeze=False)[:, 0]
  first = None
  for row, panel in zip(rows, panels, strict=True):
    row.suptitle(panel.title, fontsize="medium")
    left, right = row.subplots(1, 2, sharey=True)
    for label, history in panel.lines:
      left.semilogy(history.updates, history.losses, label=label)
      right.semilogy(history.seconds, history.losses, label=label)
    _, shown = panel.lines[0]
    describe(left, "updates", f"{shown.examples} loss (nats)",
             panel.legend_title)
    describe(right, "training time without evaluations (seconds)", "")
    if first is None:
      first = left
    else:
      left.sharey(first)
    # A logarithmic axis needs a positive number.
    if log_x and any(history.updates[-1] for _, history in panel.lines):
      for axes in (left, right):
        axes.set_xscale("log", nonpositive="mask")
        label_decades(axes.xaxis)
  label_decades(first.yaxis)
  return figure


def label_decades(axis):
  """Makes the ticks of a logarithmic axis readable.

  An axis of few decades has ticks at 1, 2, 3 and 5 times the powers of ten.
  Numbers of usual size are not written as powers of ten.

  Args:
    axis: Axis of matplotlib, with its final limits.
  """
  ticker = importlib.import_module("matplotlib.ticker")
  low, high = axis.get_view_interval()
  if math.log10(high / low) < FEW_DECADES:
    axis.set_major_locator(ticker.LogLocator(subs=(1., 2., 3., 5.)))
    axis.set_minor_locator(ticker.NullLocator())
  if PLAIN[0] <= low and high <= PLAIN[1]:
    axis.set_major_formatter(ticker.FormatStrFormatter("%g"))


def write_losses(panels, path, log_x=False):
  """Draws losses by `draw_losses`, and writes the figure.

  Args:
    panels: Sequence of Panels.
    path: Path of the PNG file.
    log_x: Whether updates and seconds have logarithmic axes, too.

  Returns:
    False if matplotlib is not installed, and no figure was drawn.

  Raises:
    OutputError: If the file cannot be written.
  """
  if not extras.import_or_none("matplotlib"):
    return False
  save_figure(draw_losses(panels, log_x), path)
  return True


def report_losses(panels, path, log_x=False):
  """Calls `write_losses`, and prints the path or why there is no figure."""
  drawn = write_losses(panels, path, log_x)
  print(f"Plot: {path}" if drawn else
        "No plot: matplotlib is not installed (pip install matplotlib).",
        flush=True)


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
