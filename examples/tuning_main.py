"""Shows the effect of each setting of K-FAC, from too small to too large.

python examples/tuning_main.py                  # all figures
python examples/tuning_main.py --knob=damping   # one figure
python examples/tuning_main.py --help           # all flags
"""

import collections
import contextlib
import dataclasses
import math
import os
import sys

# A program that runs as a file does not find modules in the parent directory.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if __name__ == "__main__":
  # Importing TensorFlow takes seconds.
  from examples import interrupts
  interrupts.catch()

from absl import flags

import kfac
from examples import interrupts
from examples import mlp_mnist_main
from examples import mnist
from examples import plots
from examples import programs
from examples import runner
from examples import tables
from examples import tutorial_main

NAME = "tuning"
UPDATES = 200
EVALUATE_EVERY = 5

# One run: its label, and the settings that differ from BASE, a dict. Its keys
# are those of BASE, "recipe", "recipe_changes" (a dict of choices of
# kfac.recipe), "cov_examples_fraction", "updates" and
# "evaluate_every".
Choice = collections.namedtuple("Choice", ["label", "changes"])
# One row of a figure: the setting that its Choices vary, and what they share.
Panel = collections.namedtuple("Panel", ["knob", "shared", "choices"])

# The default settings. A fixed learning rate makes the effect of a bad setting
# visible, because no quadratic model corrects the step size.
BASE = {
    "momentum_type": "regular", "learning_rate": 0.05, "momentum": 0.5,
    "damping": 0.001, "norm_constraint": 0.003, "batch_size": 500,
    "cov_every": 1, "inv_every": 1,
}
QMODEL = {"momentum_type": "qmodel", "learning_rate": 1.}
UNBOUND = {"norm_constraint": None}
# The damping needs many updates to fall until it harms.
ADAPTED = {"recipe": True, "updates": 2000, "evaluate_every": 25}
VERDICTS = ("too small", "good", "too large")
INTERVALS = ("expensive", "good", "long", "too long")


def _vary(name, values, verdicts=VERDICTS, **fixed):
  """Returns a Choice for each value of a setting; all have `fixed`."""
  return tuple(
      Choice(f"{value:g} ({verdict})", dict(fixed, **{name: value}))
      for value, verdict in zip(values, verdicts, strict=True))


def _vary_recipe(batch_size, **changes):
  """Returns a Choice without and with the bound of the predicted decrease."""
  return tuple(
      Choice(label, dict(ADAPTED, batch_size=batch_size, recipe_changes=dict(
          changes, max_predicted_decrease=share)))
      for label, share in (("no bound", None), ("0.25", 0.25)))


KNOBS = {
    "damping": (
        Panel("damping", "fixed learning rate",
              _vary("damping", (1e-6, 1e-3, 1.))),
        Panel("damping", "quadratic model",
              _vary("damping", (1e-6, 1e-3, 1.), **QMODEL))),
    "learning_rate": (
        Panel("learning rate", "no norm constraint",
              _vary("learning_rate", (0.002, 0.05, 1.), **UNBOUND)),),
    "norm_constraint": (
        Panel("norm constraint", "learning rate 0.3",
              _vary("norm_constraint", (1e-6, 1e-3, 1.),
                    learning_rate=0.3)),),
    "momentum": (
        Panel("momentum", "learning rate 0.05",
              _vary("momentum", (0., 0.5, 0.9, 0.98),
                    VERDICTS + ("far too large",))),),
    "statistics": (
        Panel("batch size", "fixed learning rate", _vary(
            "batch_size", (20, 100, 500), ("too small", "small", "good"))),
        Panel("fraction of the batch for covariances", "batches of 500", _vary(
            "cov_examples_fraction", (0.01, 0.1, 1.),
            ("too small", "small", "whole batch")))),
    "schedule": (
        Panel("updates between inverse updates", "fixed learning rate",
              _vary("inv_every", (1, 5, 20, 100), INTERVALS)),
        Panel("updates between inverse updates", "quadratic model",
              _vary("inv_every", (1, 5, 20, 100), INTERVALS, **QMODEL))),
    "step_size": (
        Panel("choice of the step size", "batches of 500", (
            Choice("fixed learning rate 0.05", {}),
            Choice("quadratic model", QMODEL),
            Choice("quadratic model, adapted damping", {"recipe": True}))),),
    "adaptation": (
        Panel("bound of the predicted decrease", "batches of 200",
              _vary_recipe(batch_size=200)),
        Panel("bound of the predicted decrease",
              "batches of 500, min_damping 1e-8",
              _vary_recipe(batch_size=500, min_damping=1e-8))),
}

flags.DEFINE_enum("knob", None, sorted(KNOBS), "The setting to vary. By "
                  "default the program varies all settings in turn.")
for _name in ("updates", "evaluate_every", "seed", "data_dir", "output_dir"):
  flags.declare_key_flag(_name)

FLAGS = flags.FLAGS


def knobs():
  """Returns the names of the settings to vary."""
  return [FLAGS.knob] if FLAGS.knob else list(KNOBS)


def plot_path(knob):
  """Returns the path of the figure of a setting."""
  return os.path.join(FLAGS.output_dir, f"{NAME}_{knob}.png")


@contextlib.contextmanager
def changed_flags(**values):
  """Context that changes the values of flags."""
  before = {name: FLAGS[name].value for name in values}
  try:
    for name, value in values.items():
      FLAGS[name].value = value
    yield
  finally:
    for name, value in before.items():
      FLAGS[name].value = value


@contextlib.contextmanager
def changed_constants(**values):
  """Context that changes constants of kfac.fisher_factors."""
  before = {name: getattr(kfac.fisher_factors, name.upper())
            for name in values}
  kfac.fisher_factors.set_global_constants(**values)
  try:
    yield
  finally:
    kfac.fisher_factors.set_global_constants(**before)


def train(changes, data):
  """Trains the perceptron with BASE and some changes.

  Args:
    changes: Dict of the settings that differ, see Choice.
    data: mnist.Dataset.

  Returns:
    runner.History.
  """
  settings = dict(BASE, **changes)
  experiment = dataclasses.replace(
      mlp_mnist_main.EXPERIMENT, name=NAME,
      updates=settings.get("updates", UPDATES),
      learning_rates={"kfac": settings["learning_rate"]},
      momentums={"kfac": settings["momentum"]},
      recipe_choices=settings.get("recipe_changes", {}),
      **{name: settings[name] for name in (
          "momentum_type", "damping", "norm_constraint", "batch_size")})
  constants = {name: value for name, value in changes.items()
               if name == "cov_examples_fraction"}
  with changed_constants(**constants), changed_flags(
      cov_update_every=settings["cov_every"],
      inv_update_every=settings["inv_every"],
      recipe=settings.get("recipe", False),
      evaluate_every=FLAGS.evaluate_every or settings.get(
          "evaluate_every", EVALUATE_EVERY)):
    return runner.train(experiment, "kfac", data)


def train_panels(panels, data):
  """Trains with each choice, until a signal interrupts the program.

  Args:
    panels: Sequence of Panels.
    data: mnist.Dataset.

  Returns:
    The Panels with the choices that were trained with, at least one; and for
    each Panel, one runner.History per choice.
  """
  trained, found = [], []
  for panel in panels:
    histories = runner.until_interrupted(
        train(choice.changes, data) for choice in panel.choices)
    if histories:
      trained.append(panel._replace(choices=panel.choices[:len(histories)]))
      found.append(histories)
  return trained, found


def make_table(panel, histories):
  """Returns the lines of a table with one row per choice of a panel.

  Args:
    panel: Panel.
    histories: One runner.History per choice.
  """
  most = max(history.updates[-1] for history in histories)
  marks = [most // 10, most // 4, most]
  rows = [[_title(panel)] + [f"loss after {mark} updates" for mark in marks]
          + ["lowest loss", "highest loss", "final test accuracy",
             "seconds of training"]]
  for choice, history in zip(panel.choices, histories, strict=True):
    finite = [loss for loss in history.losses if math.isfinite(loss)]
    rows.append(
        [choice.label] + [_loss_at(history, mark) for mark in marks]
        + [f"{min(finite):.2g}", f"{max(finite):.2g}",
           f"{history.accuracies[-1]:.2%}", f"{history.seconds[-1]:.1f}"])
  return tables.align(rows)


def _title(panel):
  """Returns the title of a panel, for instance "damping, quadratic model"."""
  return f"{panel.knob}, {panel.shared}"


def _loss_at(history, update):
  """Formats the loss of the last evaluation up to an update."""
  index = sum(evaluated <= update for evaluated in history.updates) - 1
  return f"{history.losses[index]:.2g}"


def plot_panels(panels, histories):
  """Returns the rows of a figure.

  Args:
    panels: Sequence of Panels.
    histories: For each panel, one runner.History per choice.

  Returns:
    List of plots.Panels.
  """
  return [
      plots.Panel(_title(panel), panel.knob, [
          (choice.label, history)
          for choice, history in zip(panel.choices, lines, strict=True)])
      for panel, lines in zip(panels, histories, strict=True)]


def run():
  """Trains according to the flags, prints tables and draws figures.

  Returns:
    Dict from the name of a setting to a list that has, for each panel, the
    list of runner.History.

  Raises:
    runner.SettingsError: If a flag is invalid, or matplotlib is not installed.
    plots.OutputError: If a figure cannot be written.
    mnist.DataError: If the data cannot be read.
  """
  tutorial_main.check_flags([plot_path(knob) for knob in knobs()])
  tutorial_main.check_matplotlib()
  data = mnist.load(FLAGS.data_dir)
  found = {}
  for knob in knobs():
    panels, found[knob] = train_panels(KNOBS[knob], data)
    for panel, histories in zip(panels, found[knob], strict=True):
      print("\n".join(make_table(panel, histories)), flush=True)
    print(f"Losses are means over {len(data.train_labels):,} training images "
          "in nats, updates are steps, and the seconds are those of the "
          "updates, without evaluations; fewer are better.")
    plots.report_losses(plot_panels(panels, found[knob]), plot_path(knob))
    if interrupts.requested():
      break
  return found


if __name__ == "__main__":
  programs.run_program(NAME, run)
