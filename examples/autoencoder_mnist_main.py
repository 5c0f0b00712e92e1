"""Trains a deep autoencoder on handwritten digits, or on curves, with K-FAC.

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
from examples import programs
from examples import recipe
from examples import runner

NAME = "autoencoder"
BATCH_SIZE = 1000
# Number of updates between two evaluations. An evaluation costs more than an
# update, so all optimizers have about the same number of evaluations.
EVALUATE_EVERY = {"kfac": 2, "momentum": 20, "adam": 20}
UPDATES = {"kfac": 200, "momentum": 3000, "adam": 2000}
# Learning rates that a comparison tries. "best" has the best rates of "fine".
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "coarse": {"momentum": (0.001, 0.003, 0.01), "adam": (5e-4, 1e-3)},
    "fine": {"momentum": (0.001, 0.002, 0.003, 0.006, 0.01),
             "adam": (3e-4, 5e-4, 1e-3, 2e-3)},
    "best": {"momentum": (0.006,), "adam": (1e-3,)},
}
# Losses are means over at most SAMPLE_SIZE training images.
SAMPLE_SIZE = 10000
# A run diverges if its loss is not finite, or exceeds DIVERGED times the first.
DIVERGED = 10.

flags.DEFINE_enum("data", "mnist", ["mnist", "curves"], "The training images: "
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
              "evaluate_every", "seed", "data_dir", "output_dir"):
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
  runner.check_comparison()
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
    return recipe.RECIPE["learning_rate"]
  return GRIDS["best"][optimizer][0]


def train(optimizer, learning_rate, images):
  """Trains with one optimizer.

  Args:
    optimizer: One of runner.OPTIMIZERS.
    learning_rate: Learning rate of the optimizer.
    images: uint8 array [n, 784].

  Returns:
    The runner.History. It ends early if the run diverges, reaches --target or
    exceeds --seconds, or if a signal interrupts the program.
  """
  num_updates = FLAGS.updates or UPDATES[optimizer]
  evaluate_every = FLAGS.evaluate_every or EVALUATE_EVERY[optimizer]
  batches = mnist.shuffled_batches(len(images), functools.partial(
      autoencoder.growing_batch_size, first=batch_size(),
      growth=FLAGS.batch_growth, most=len(images)), FLAGS.seed)
  evaluation_images = sample(images)
  trainer = autoencoder.Trainer(optimizer, learning_rate, FLAGS.seed)
  history = runner.History(optimizer, learning_rate)
  progress = runner.Progress(optimizer, num_updates)
  interrupts.keep_results()
  seconds = 0.
  for number in range(num_updates + 1):
    is_last = number == num_updates or _is_over(seconds)
    if is_last or number % evaluate_every == 0:
      history.add(number, seconds, trainer.evaluate(evaluation_images))
      progress.show(history)
      if is_last or has_diverged(history) or _is_reached(history):
        break
    if interrupts.requested():
      break
    batch = images[next(batches)]
    start = time.perf_counter()
    trainer.update(batch)
    seconds += time.perf_counter() - start
  progress.close()
  trainer.close()
  return history


def _is_over(seconds):
  """Whether training has taken --seconds."""
  return FLAGS.seconds is not None and seconds >= FLAGS.seconds


def _is_reached(history):
  """Whether the last loss is at most --target."""
  return FLAGS.target is not None and history.losses[-1] <= FLAGS.target


def has_diverged(history):
  """Whether the last loss is not finite, or much larger than the first."""
  # Also true if the loss is NaN.
  return not history.losses[-1] <= DIVERGED * history.losses[0]


def compare(images):
  """Trains with all three optimizers, and prints tables of the results.

  Args:
    images: uint8 array [n, 784].

  Returns:
    One runner.History per optimizer: K-FAC, then momentum and Adam with the
    best learning rate of each. Some are missing if a signal interrupts the
    program.
  """
  best = []
  for optimizer in ("momentum", "adam"):
    histories = runner.until_interrupted(
        train(optimizer, rate, images)
        for rate in GRIDS[FLAGS.grid][optimizer])
    if histories:
      print("\n".join(make_grid_table(histories)), flush=True)
      best.append(min(histories, key=lambda history: history.lowest_loss()))
  if interrupts.requested():
    return best
  kfac = train("kfac", default_rate("kfac"), images)
  print("\n".join(make_comparison(kfac, best)))
  print("Updates and seconds are those until the training loss is at most the "
        "lowest loss of the row's optimizer; - means that K-FAC did not reach "
        "it.")
  return [kfac, *best]


def make_grid_table(histories):
  """Returns the lines of a table with a row for each run."""
  rows = [["optimizer", "learning rate", "updates", "seconds", "lowest loss"]]
  for history in histories:
    rows.append([
        history.label, f"{history.learning_rate:g}",
        str(history.updates[-1]), f"{history.seconds[-1]:.1f}",
        _describe_lowest(history)])
  return runner.align(rows)


def _describe_lowest(history):
  """Formats the lowest loss, and whether the run diverged."""
  suffix = ", diverged" if has_diverged(history) else ""
  return f"{history.lowest_loss():.2f}{suffix}"


def make_comparison(kfac, others):
  """Returns the lines of a table that compares K-FAC with other optimizers.

  For the lowest loss of each optimizer, the table has the updates and seconds
  that the optimizer and K-FAC needed to reach it.

  Args:
    kfac: runner.History of K-FAC.
    others: List of runner.History, one per other optimizer.

  Returns:
    List of strings.
  """
  rows = [["optimizer", "learning rate", "lowest loss",
           "updates", "K-FAC updates", "ratio",
           "seconds", "K-FAC seconds", "ratio"]]
  for history in others:
    goal = history.lowest_loss()
    index, kfac_index = history.first_at(goal), kfac.first_at(goal)
    rows.append([history.label, f"{history.learning_rate:g}", f"{goal:.2f}"])
    for column, spec in (("updates", "d"), ("seconds", ".1f")):
      needed = getattr(history, column)[index]
      rows[-1].append(f"{needed:{spec}}")
      if kfac_index is None:
        rows[-1] += ["-", "-"]
      else:
        by_kfac = getattr(kfac, column)[kfac_index]
        rows[-1] += [f"{by_kfac:{spec}}",
                     f"{needed / by_kfac:.1f}" if by_kfac else "-"]
  return runner.align(rows)


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
  if FLAGS.compare:
    histories = compare(images)
  else:
    rate = FLAGS.learning_rate or default_rate(FLAGS.optimizer)
    histories = [train(FLAGS.optimizer, rate, images)]
    print("\n".join(make_grid_table(histories)))
  runner.report_plot(histories, plot_path(), log_axes="xy")
  return histories


if __name__ == "__main__":
  programs.run_program(NAME, run)
