"""StatsHook: the stats of an optimizer for TensorBoard, and as one figure."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops.kfac_utils import schedules
from kfac.python.ops.optimizer import stats as stats_lib
from kfac.python.ops.utils import scalars

FIGURE = "kfac_stats.png"

# The figure thins its points out when there are more.
_MAX_POINTS = 10000
# A legend of more lines would hide them.
_MAX_LEGEND = 10


class _Panel(NamedTuple):
  """A panel of the figure.

  Attributes:
    label: Label of the vertical axis.
    names: Names of values; of all factors for "age" and "condition".
    scale: Scale of the vertical axis.
  """

  label: str
  names: tuple
  scale: str = "linear"


# In rows: damping; coefficients and changes; norms; factors.
_PANELS = (
    _Panel("damping", ("damping",), "log"),
    _Panel("reduction ratio", ("rho",)),
    _Panel("coefficient", ("alpha", "mu")),
    _Panel("change of the loss", ("predicted_change", "actual_change")),
    _Panel("Euclidean norm", ("gradient_norm", "step_norm"), "log"),
    _Panel("cosine of -gradient and step", ("cosine",)),
    _Panel("age (covariance updates)", ("age",)),
    _Panel("condition number", ("condition",), "log"),
)


class StatsHook(tf.train.SessionRunHook):
  """Writes the stats of steps of a monitored session.

  The values of a step are fetched together with it, all others right after it.
  They become summaries "kfac/NAME" at the global step. At the end, the figure
  kfac_stats.png shows them if matplotlib is installed.
  """

  def __init__(self, optimizer: Any, output_dir: str | None = None,
               every_n_steps: int = 100, train_op: Any = None, *,
               summary_writer: Any = None,
               omit: Sequence[str] = ()) -> None:
    """Keeps the arguments; tensors are made by `begin`.

    Args:
      optimizer: KfacOptimizer.
      output_dir: Directory of the events and the figure.
      every_n_steps: Int >= 1; the first step of a session and then each n-th
        one is written.
      train_op: The train op; only runs that fetch it are steps. None for what
        `minimize` or `apply_gradients` returned.
      summary_writer: tf.summary.FileWriter, instead of `output_dir`.
      omit: Names of stats that are not computed. "age" and "condition" mean
        those of all factors. Conditions cost about n^3 for n x n covariances.

    Raises:
      ValueError: If a value is out of range, or unless one of `output_dir` and
        `summary_writer` is given.
    """
    if (output_dir is None) == (summary_writer is None):
      raise ValueError(
          "output_dir or summary_writer must be given, and only one, got "
          f"{output_dir!r} and {summary_writer!r}.")
    if isinstance(omit, str):
      raise ValueError(f"omit must be a sequence of names, got {omit!r}.")
    self._optimizer = optimizer
    self._output_dir = output_dir
    self._every_n_steps = scalars.check_int("every_n_steps", every_n_steps, 1)
    self._train_op = train_op
    self._writer = summary_writer
    self._omit = tuple(omit)
    self._of_step: dict[str, tf.Tensor] = {}
    self._state: dict[str, tf.Tensor] = {}
    self._global_step: Any = None
    self._num_steps = 0
    self._points: list[tuple[int, dict]] = []

  def begin(self) -> None:
    """Makes the tensors and the writer.

    Raises:
      ValueError: If the optimizer has made no step, or if a name of `omit` is
        that of no value.
    """
    stats = self._optimizer.stats()
    known = {kind for name in stats for kind in (name, _kind(name))}
    for name in self._omit:
      if name not in known:
        raise ValueError(
            f"omit must have names of stats, {sorted(known)}, got {name!r}.")
    kept = {name: tensor for name, tensor in stats.items()
            if name not in self._omit and _kind(name) not in self._omit}
    self._of_step = {name: tensor for name, tensor in kept.items()
                     if name in stats_lib.OF_STEP}
    self._state = {name: tensor for name, tensor in kept.items()
                   if name not in stats_lib.OF_STEP}
    if self._train_op is None:
      self._train_op = self._optimizer._made_step.train_op
    self._global_step = tf.train.get_global_step()
    if self._writer is None:
      self._writer = tf.summary.FileWriterCache.get(self._output_dir)

  def before_run(self, run_context: Any) -> Any:  # noqa: D102
    # Fetched with anything else, the values of a step would run one.
    if not schedules.is_step(run_context, self._train_op):
      return None
    self._num_steps += 1
    if (self._num_steps - 1) % self._every_n_steps:
      return None
    return tf.train.SessionRunArgs(self._of_step)

  def after_run(self, run_context: Any, run_values: Any) -> None:
    """Writes the values of a step."""
    if run_values.results is None:
      return
    fetches = {"state": self._state}
    if self._global_step is not None:
      fetches["step"] = self._global_step
    fetched = run_context.session.run(
        fetches, run_context.original_args.feed_dict)
    step = int(fetched.get("step", self._num_steps))
    values = {name: float(value) for name, value in
              {**run_values.results, **fetched["state"]}.items()}
    self._writer.add_summary(_summary(values), step)
    self._points.append((step, values))
    if len(self._points) > _MAX_POINTS:
      self._points = self._points[::2]

  def end(self, session: tf.Session) -> None:
    """Writes what is buffered, and the figure."""
    self._writer.flush()
    if not self._points:
      logging.warning("No stats were written: no run fetched the train op.")
      return
    path = os.path.join(self._writer.get_logdir(), FIGURE)
    try:
      if not write_figure(self._points, path):
        logging.info("%s was not drawn: matplotlib is not installed.", FIGURE)
    except OSError as error:
      logging.warning("%s was not drawn: %s.", FIGURE, error)


def write_figure(points: Sequence[tuple[int, Mapping[str, float]]],
                 path: str) -> bool:
  """Draws stats against the global step.

  Values that are not finite, and those that a logarithmic axis cannot show, are
  left out.

  Args:
    points: List of (global step, dict from names to numbers).
    path: Path of the PNG file.

  Returns:
    False if matplotlib is not installed, and no figure was drawn.
  """
  try:
    figure_lib = importlib.import_module("matplotlib.figure")
  except ImportError:
    return False
  figure = figure_lib.Figure(figsize=(11., 12.), layout="constrained")
  all_axes = figure.subplots(
      len(_PANELS) // 2, 2, sharex=True, squeeze=False)
  for panel, axes in zip(_PANELS, all_axes.flat, strict=True):
    _draw(panel, points, axes)
  for axes in all_axes[-1]:
    axes.set_xlabel("global step")
  figure.savefig(path)
  return True


def _draw(panel, points, axes):
  """Draws the values of a panel, if there are any."""
  names = [name for name in points[0][1]
           if name in panel.names or _kind(name) in panel.names]
  axes.set_ylabel(panel.label)
  axes.grid(alpha=0.3)
  shown = 0
  for number, name in enumerate(names):
    line = [(step, values[name]) for step, values in points
            if math.isfinite(values[name])
            and (panel.scale == "linear" or values[name] > 0.)]
    if not line:
      continue
    shown += 1
    axes.plot(*zip(*line, strict=True), label=_label(name), linewidth=1.,
              marker=None if len(line) > 1 else ".",
              linestyle=("-", "--", ":")[number // _MAX_LEGEND % 3])
  if not shown:
    axes.text(0.5, 0.5, "no values", ha="center", transform=axes.transAxes)
    return
  axes.set_yscale(panel.scale)
  handles, labels = axes.get_legend_handles_labels()
  axes.legend(handles[:_MAX_LEGEND], labels[:_MAX_LEGEND], fontsize="x-small")


def _label(name):
  """Returns the name for a legend, the factor of which may be long."""
  name = name.partition("/")[2] or name
  return name if len(name) <= 40 else f"{name[:28]}...{name[-9:]}"


def _kind(name):
  """Returns "age" for "age/FACTOR"."""
  return name.partition("/")[0]


def _summary(values):
  """Returns values by name as a tf.Summary."""
  return tf.Summary(value=[
      tf.Summary.Value(tag=f"kfac/{name}", simple_value=value)
      for name, value in values.items()])
