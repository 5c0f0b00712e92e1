"""Trains a deep autoencoder on handwritten digits, or on curves, with K-FAC.

python examples/autoencoder_mnist_main.py --demo        # two minutes
python examples/autoencoder_mnist_main.py               # K-FAC
python examples/autoencoder_mnist_main.py --compare     # all optimizers
python examples/autoencoder_mnist_main.py --data=curves # another data set
python examples/autoencoder_mnist_main.py --help        # all flags
"""

import functools
import os
import sys
import time

# A program that runs as a file does not find modules in the parent directory.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if __name__ == "__main__":
  # Importing TensorFlow takes seconds.
  from examples import interrupts
  interrupts.catch()

import numpy as np
from absl import flags

from examples import autoencoder
from examples import curves
from examples import interrupts
from examples import mnist
from examples import plots
from examples import programs
from examples import progress
from examples import runner
from examples import tables
from kfac.python.ops.recipe import rules

NAME = "autoencoder"
BATCH_SIZE = 1000
# Number of updates between two evaluations. An evaluation costs more than an
# update, so all optimizers have about the same number of evaluations.
EVALUATE_EVERY = {"kfac": 2, "momentum": 20, "adam": 20}
UPDATES = {"kfac": 200, "momentum": 3000, "adam": 2000}
# With --demo, momentum and Adam have fewer updates. K-FAC trains until it has
# passed both, but not for more than its usual number.
DEMO_UPDATES = {"kfac": UPDATES["kfac"], "momentum": 340, "adam": 340}
# Learning rates that a comparison tries. "best" has the best rates of "fine",
# "demo" those of "demo_fine" after DEMO_UPDATES.
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "coarse": {"momentum": (0.001, 0.003, 0.01), "adam": (5e-4, 1e-3)},
    "fine": {"momentum": (0.001, 0.002, 0.003, 0.006, 0.01),
             "adam": (3e-4, 5e-4, 1e-3, 2e-3)},
    "best": {"momentum": (0.006,), "adam": (1e-3,)},
    "demo_fine": {
        "momentum": (0.001, 0.002, 0.003, 0.006, 0.01, 0.015, 0.02),
        "adam": (3e-4, 5e-4, 1e-3, 2e-3, 3e-3, 5e-3)},
    "demo": {"momentum": (0.002,), "adam": (1e-3,)},
}
# Losses are means over at most SAMPLE_SIZE training images.
SAMPLE_SIZE = 10000
# What the flag --data means, in titles of plots.
DATA = {"mnist": "handwritten digits", "curves": "random curves"}

flags.DEFINE_boolean(
    "demo", False, "A short comparison: momentum and Adam train for "
    f"{DEMO_UPDATES['adam']} updates, each with its best learning rate for so "
    "many, and K-FAC until its loss is as low as the lowest of both.")
flags.DEFINE_enum("data", "mnist", list(DATA), "The training images: "
                  "handwritten digits, or random curves.")
flags.DEFINE_float(
    "batch_growth", None, "Number of updates in which the batch grows by a "
    "factor of e, up to the whole training set. By default it is constant.")
flags.DEFINE_float("target", None, "Training loss at which training stops.")
flags.DEFINE_float("seconds", None, "Seconds of training, without evaluations, "
                   "after which it stops.")
flags.DEFINE_enum("grid", "best", sorted(GRIDS), "Learning rates of momentum "
                  "and Adam that a comparison tries.")
for _name in ("optimizer", "compare", "learning_rate", "batch_size", "updates",
              "evaluate_every", "seed", "auto", "data_dir", "output_dir"):
  flags.declare_key_flag(_name)

FLAGS = flags.FLAGS


def check_flags():
  """Raises SettingsError if a flag is invalid."""
  runner.check_unused(
      "momentum", "momentum_type", "damping", "norm_constraint",
      "cov_update_every", "inv_update_every", "epochs")
  runner.check_values(runner.COUNT, "batch_size", "updates", "evaluate_every")
  runner.check_values(
      runner.POSITIVE, "learning_rate", "batch_growth", "target", "seconds")
  runner.check_values(runner.SEED, "seed")
  for name in ("optimizer", "learning_rate", "grid", "target"):
    if FLAGS.demo and FLAGS[name].present:
      raise runner.SettingsError(
          f"--demo determines --{name}, got {FLAGS[name].value}.")
  runner.check_comparison()
  trains_kfac = FLAGS.demo or "kfac" in runner.chosen_optimizers()
  if FLAGS["auto"].present and not trains_kfac:
    raise runner.SettingsError(
        f"--auto applies to kfac, got --optimizer={FLAGS.optimizer}.")
  if FLAGS["grid"].present and not FLAGS.compare:
    raise runner.SettingsError(
        f"--grid requires --compare, got --grid={FLAGS.grid} without it.")
  if FLAGS["data_dir"].present and FLAGS.data != "mnist":
    raise runner.SettingsError(
        f"--data_dir requires --data=mnist, got --data={FLAGS.data}.")
  runner.check_output_dir(plot_path())


def plot_path():
  """Returns the path of the plot."""
  return os.path.join(FLAGS.output_dir, NAME + ".png")


def load_images():
  """Returns the training images, uint8 [n, 784].

  Raises:
    mnist.DataError: If the data cannot be read.
    runner.SettingsError: If a batch has more images than the training set.
  """
  if FLAGS.data == "curves":
    images = np.round(255. * curves.make_images()).astype(np.uint8)
  else:
    images = mnist.load(FLAGS.data_dir).train_images
  if batch_size() > len(images):
    raise runner.SettingsError(
        f"--batch_size must be at most {len(images)}, the number of training "
        f"examples, got {batch_size()}.")
  return images


def batch_size():
  """Returns the batch size of the first update."""
  return FLAGS.batch_size or BATCH_SIZE


def sample(images):
  """Returns the images for evaluations, always the same ones."""
  if len(images) <= SAMPLE_SIZE:
    return images
  chosen = np.random.RandomState(0).permutation(len(images))[:SAMPLE_SIZE]
  return images[np.sort(chosen)]


def default_rate(optimizer):
  """Returns the default learning rate of an optimizer."""
  if optimizer == "kfac":
    return rules.SETTINGS["learning_rate"]
  return GRIDS["best"][optimizer][0]


def train(optimizer, learning_rate, images, target=None):
  """Trains with one optimizer.

  Args:
    optimizer: One of runner.OPTIMIZERS.
    learning_rate: Learning rate of the optimizer.
    images: uint8 array [n, 784].
    target: Training loss at which training stops, or None.

  Returns:
    The runner.History. It ends early if the run diverges, reaches the target or
    exceeds --seconds, or if a signal interrupts the program.
  """
  updates = DEMO_UPDATES if FLAGS.demo else UPDATES
  num_updates = FLAGS.updates or updates[optimizer]
  evaluate_every = FLAGS.evaluate_every or EVALUATE_EVERY[optimizer]
  batches = mnist.shuffled_batches(len(images), functools.partial(
      autoencoder.growing_batch_size, first=batch_size(),
      growth=FLAGS.batch_growth, most=len(images)), FLAGS.seed)
  evaluation_images = sample(images)
  trainer = autoencoder.Trainer(
      optimizer, learning_rate, FLAGS.seed, auto=FLAGS.auto)
  history = runner.History(optimizer, learning_rate)
  shown = progress.Progress(history.label, num_updates)
  interrupts.keep_results()
  seconds = 0.
  for number in range(num_updates + 1):
    is_last = number == num_updates or _is_over(seconds)
    if is_last or number % evaluate_every == 0:
      history.add(number, seconds, trainer.evaluate(evaluation_images))
      shown.show(history)
      is_reached = target is not None and history.losses[-1] <= target
      if is_last or is_reached:
        shown.end_here()
      if is_last or is_reached or history.has_diverged():
        break
    if interrupts.requested():
      break
    batch = images[next(batches)]
    start = time.perf_counter()
    trainer.update(batch)
    seconds += time.perf_counter() - start
  shown.close()
  trainer.close()
  return history


def _is_over(seconds):
  """Whether training has taken --seconds."""
  return FLAGS.seconds is not None and seconds >= FLAGS.seconds


def compare(images):
  """Trains with all three optimizers, and prints a table of each grid.

  Args:
    images: uint8 array [n, 784].

  Returns:
    One runner.History per optimizer: K-FAC, then momentum and Adam with the
    best learning rate of each. Some are missing if a signal interrupts the
    program.
  """
  best = []
  for optimizer, rates in GRIDS["demo" if FLAGS.demo else FLAGS.grid].items():
    histories = runner.until_interrupted(
        train(optimizer, rate, images, FLAGS.target) for rate in rates)
    if len(histories) > 1:
      tables.print_runs(histories, len(sample(images)))
      print()
    if histories:
      best.append(min(histories, key=lambda history: history.lowest_loss()))
  if interrupts.requested():
    return best
  target = FLAGS.target
  if FLAGS.demo:
    target = min(history.lowest_loss() for history in best)
  return [train("kfac", default_rate("kfac"), images, target), *best]


def run():
  """Trains according to the flags, prints tables and draws the plot.

  Returns:
    One runner.History per optimizer.

  Raises:
    runner.SettingsError: If a flag is invalid.
    plots.OutputError: If the plot cannot be written.
    mnist.DataError: If the data cannot be read.
  """
  check_flags()
  images = load_images()
  if FLAGS.compare or FLAGS.demo:
    histories = compare(images)
  else:
    rate = FLAGS.learning_rate or default_rate(FLAGS.optimizer)
    histories = [train(FLAGS.optimizer, rate, images, FLAGS.target)]
  tables.print_report(histories, len(sample(images)))
  plots.report_losses([plots.optimizers_panel(
      f"deep autoencoder, {DATA[FLAGS.data]}, batches of {batch_size()}",
      histories)], plot_path(), log_x=True)
  return histories


if __name__ == "__main__":
  programs.run_program(NAME, run)
