"""Shows what each setting of K-FAC does, where it is too small or too large.

python examples/tuning_main.py                  # all pictures
python examples/tuning_main.py --knob=damping   # one of them
python examples/tuning_main.py --help           # all flags
"""

import collections
import contextlib
import dataclasses
import math
import os
import sys

# Run as a file, Python looks for modules here but not in the directory above.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from absl import flags

import kfac
from examples import mlp_mnist_main
from examples import mnist
from examples import runner
from examples import tutorial_main

NAME = "tuning"
UPDATES = 200
EVALUATE_EVERY = 5

# One run: how the picture calls it, and what it changes. Keys are those of
# BASE, "recipe" and "cov_examples_fraction".
Choice = collections.namedtuple("Choice", ["label", "changes"])
# One part of a picture.
Panel = collections.namedtuple("Panel", ["title", "choices"])

# What is not changed; at a fixed rate, where a bad setting shows.
BASE = {
    "momentum_type": "regular", "learning_rate": 0.05, "momentum": 0.5,
    "damping": 0.001, "norm_constraint": 0.003, "batch_size": 500,
    "cov_every": 1, "inv_every": 1,
}
QMODEL = {"momentum_type": "qmodel", "learning_rate": 1.}
UNBOUND = {"norm_constraint": None}
VERDICTS = ("too small", "good", "too large")


def _vary(name, values, verdicts=VERDICTS, **fixed):
  """Returns a Choice for each value of a setting; `fixed` is for all."""
  return tuple(
      Choice(f"{value:g}: {verdict}", dict(fixed, **{name: value}))
      for value, verdict in zip(values, verdicts, strict=True))


KNOBS = {
    "damping": (
        Panel("damping, fixed learning rate",
              _vary("damping", (1e-6, 1e-3, 1.))),
        Panel("damping, quadratic model",
              _vary("damping", (1e-6, 1e-3, 1.), **QMODEL))),
    "learning_rate": (
        Panel("learning rate, no norm constraint",
              _vary("learning_rate", (0.002, 0.05, 1.), **UNBOUND)),),
    "norm_constraint": (
        Panel("norm constraint, learning rate 0.3",
              _vary("norm_constraint", (1e-6, 1e-3, 1.),
                    learning_rate=0.3)),),
    "momentum": (
        Panel("momentum, learning rate 0.05",
              _vary("momentum", (0., 0.5, 0.9, 0.98),
                    VERDICTS + ("far too large",))),),
    "statistics": (
        Panel("batch size", _vary(
            "batch_size", (20, 100, 500), ("too small", "small", "good"))),
        Panel("share of the batch in covariances", _vary(
            "cov_examples_fraction", (0.01, 0.1, 1.),
            ("too small", "small", "all of it")))),
    "schedule": (
        Panel("updates between inverses, fixed learning rate",
              _vary("inv_every", (1, 5, 20, 100),
                    ("costly", "good", "rare", "too rare"))),
        Panel("updates between inverses, quadratic model",
              _vary("inv_every", (1, 5, 20, 100),
                    ("costly", "good", "rare", "too rare"), **QMODEL))),
    "step_size": (
        Panel("how the step size is chosen", (
            Choice("fixed rate 0.05", {}),
            Choice("quadratic model", QMODEL),
            Choice("quadratic model, damping adapted", {"recipe": True}))),),
}

flags.DEFINE_enum("knob", None, sorted(KNOBS), "The setting to vary; by "
                  "default one after the other.")
for _name in ("updates", "evaluate_every", "seed", "data_dir", "output_dir"):
  flags.declare_key_flag(_name)

FLAGS = flags.FLAGS


def knobs():
  """Returns the names of the settings to vary."""
  return [FLAGS.knob] if FLAGS.knob else list(KNOBS)


def plot_path(knob):
  """Returns the path of a setting's picture."""
  return os.path.join(FLAGS.output_dir, f"{NAME}_{knob}.png")


@contextlib.contextmanager
def changed_flags(**values):
  """Context in which flags have other values."""
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
  """Context in which constants of kfac.fisher_factors have other values."""
  before = {name: getattr(kfac.fisher_factors, name.upper())
            for name in values}
  kfac.fisher_factors.set_global_constants(**values)
  try:
    yield
  finally:
    kfac.fisher_factors.set_global_constants(**before)


def train(changes, data):
  """Trains the perceptron by BASE with some changes.

  Args:
    changes: Dict as in Choice.
    data: mnist.Dataset.

  Returns:
    runner.History.
  """
  settings = dict(BASE, **changes)
  experiment = dataclasses.replace(
      mlp_mnist_main.EXPERIMENT, name=NAME, updates=UPDATES,
      learning_rates={"kfac": settings["learning_rate"]},
      momentums={"kfac": settings["momentum"]},
      **{name: settings[name] for name in (
          "momentum_type", "damping", "norm_constraint", "batch_size")})
  constants = {name: value for name, value in changes.items()
               if name == "cov_examples_fraction"}
  with changed_constants(**constants), changed_flags(
      cov_update_every=settings["cov_every"],
      inv_update_every=settings["inv_every"],
      recipe=settings.get("recipe", False),
      evaluate_every=FLAGS.evaluate_every or EVALUATE_EVERY):
    return runner.train(experiment, "kfac", data)


def make_table(panel, histories):
  """Returns the lines of a table with a row for each choice of a panel.

  Args:
    panel: Panel.
    histories: One runner.History per choice.
  """
  most = max(history.updates[-1] for history in histories)
  marks = [most // 10, most // 4, most]
  rows = [[panel.title] + [f"loss after {mark}" for mark in marks]
          + ["lowest", "highest", "test accuracy"]]
  for choice, history in zip(panel.choices, histories, strict=True):
    finite = [loss for loss in history.losses if math.isfinite(loss)]
    rows.append(
        [choice.label] + [_loss_at(history, mark) for mark in marks]
        + [f"{min(finite):.2g}", f"{max(finite):.2g}",
           f"{history.accuracies[-1]:.2%}"])
  return runner.align(rows)


def _loss_at(history, update):
  """Returns as text the loss at the last evaluation up to an update."""
  index = sum(found <= update for found in history.updates) - 1
  return f"{history.losses[index]:.2g}"


def write_plot(panels, histories, path):
  """Draws the losses against updates into a PNG file.

  Args:
    panels: Sequence of Panels.
    histories: For each panel one runner.History per choice.
    path: Path of the file.
  """
  tutorial_main.write_losses([
      (panel.title, [(choice.label, history) for choice, history in zip(
          panel.choices, lines, strict=True)])
      for panel, lines in zip(panels, histories, strict=True)], path)


def run():
  """Trains as the flags say, prints a table and draws a picture per setting.

  Returns:
    Dict from the name of a setting to a list over panels of lists of
    runner.History.

  Raises:
    runner.SettingsError: If a flag's value is of no use, or matplotlib is not
      installed.
    mnist.DataError: If the digits cannot be read.
  """
  tutorial_main.check_flags([plot_path(knob) for knob in knobs()])
  tutorial_main.check_matplotlib()
  data = mnist.load(FLAGS.data_dir)
  found = {}
  for knob in knobs():
    found[knob] = [[train(choice.changes, data) for choice in panel.choices]
                   for panel in KNOBS[knob]]
    for panel, histories in zip(KNOBS[knob], found[knob], strict=True):
      print("\n".join(make_table(panel, histories)), flush=True)
    write_plot(KNOBS[knob], found[knob], plot_path(knob))
    print(f"Plot: {plot_path(knob)}", flush=True)
  return found


if __name__ == "__main__":
  runner.run_program(NAME, run)
