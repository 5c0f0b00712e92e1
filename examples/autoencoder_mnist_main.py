"""Trains a deep autoencoder on handwritten digits, or on curves, with K-FAC.

python examples/autoencoder_mnist_main.py               # K-FAC alone
python examples/autoencoder_mnist_main.py --compare     # beside the others
python examples/autoencoder_mnist_main.py --data=curves # another data set
python examples/autoencoder_mnist_main.py --help        # all flags
"""

import functools
import math
import os
import sys
import time

# Run as a file, Python looks for modules here but not in the directory above.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np
from absl import flags

from examples import autoencoder
from examples import curves
from examples import mnist
from examples import recipe
from examples import runner

NAME = "autoencoder"
BATCH_SIZE = 1000
# Updates from one look at the loss to the next, where a look costs more than an
# update: about as many looks for each.
EVALUATE_EVERY = {"kfac": 2, "momentum": 20, "adam": 20}
UPDATES = {"kfac": 200, "momentum": 3000, "adam": 2000}
# Learning rates that a comparison tries. "best" is what "fine" found.
GRIDS = {
    "coarse": {"momentum": (0.001, 0.003, 0.01), "adam": (5e-4, 1e-3)},
    "fine": {"momentum": (0.001, 0.002, 0.003, 0.006, 0.01),
             "adam": (3e-4, 5e-4, 1e-3, 2e-3)},
    "best": {"momentum": (0.006,), "adam": (1e-3,)},
}
# Losses are means over at most so many training images.
SAMPLE_SIZE = 10000
# A run has diverged if its loss is not finite, or so many times the first.
DIVERGED = 10.

flags.DEFINE_enum("data", "mnist", ["mnist", "curves"], "The training images: "
                  "digits, or curves that are drawn at random.")
flags.DEFINE_float(
    "batch_growth", None, "Updates in which the batch grows by the factor e, "
    "until it is the training set; by default it does not grow.")
flags.DEFINE_float("target", None, "Training loss at which training stops.")
flags.DEFINE_float("seconds", None, "Seconds of updates after which training "
                   "stops.")
flags.DEFINE_enum("grid", "best", sorted(GRIDS), "Learning rates of momentum "
                  "and Adam that a comparison tries.")
for _name in ("optimizer", "compare", "learning_rate", "batch_size", "updates",
              "evaluate_every", "seed", "data_dir", "output_dir"):
  flags.declare_key_flag(_name)

FLAGS = flags.FLAGS


def check_flags():
  """Raises SettingsError for a value that no training run can use."""
  for name in ("momentum", "momentum_type", "damping", "norm_constraint",
               "cov_update_every", "inv_update_every", "epochs"):
    if FLAGS[name].present:
      raise runner.SettingsError(
          f"--{name} is for other programs, got {FLAGS[name].value}.")
  for name in ("batch_size", "updates", "evaluate_every"):
    runner.check_flag(name, "at least 1", lambda value: value >= 1)
  for name in ("learning_rate", "batch_growth", "target", "seconds"):
    runner.check_flag(name, "positive and finite", lambda v: 0. < v < math.inf)
  runner.check_flag("seed", "in [0, 2**31)", lambda v: 0 <= v < 2**31)
  runner.check_comparison()
  if FLAGS["grid"].present and not FLAGS.compare:
    raise runner.SettingsError(
        f"--grid is for --compare, got {FLAGS.grid}.")
  if FLAGS["data_dir"].present and FLAGS.data != "mnist":
    raise runner.SettingsError(
        f"--data_dir is for --data=mnist, got --data={FLAGS.data}.")
  runner.check_output_dir(plot_path())


def plot_path():
  """Returns the path of the plot."""
  return os.path.join(FLAGS.output_dir, NAME + ".png")


def load_images():
  """Returns the training images, uint8 [n, 784].

  Raises:
    mnist.DataError: If the digits cannot be read.
    runner.SettingsError: If there are fewer than in a batch.
  """
  if FLAGS.data == "curves":
    images = np.round(255. * curves.make_images()).astype(np.uint8)
  else:
    images = mnist.load(FLAGS.data_dir).train_images
  if batch_size() > len(images):
    raise runner.SettingsError(
        f"--batch_size must be at most the {len(images)} training images, got "
        f"{batch_size()}.")
  return images


def batch_size():
  """Returns the batch size of the first update."""
  return FLAGS.batch_size or BATCH_SIZE


def sample(images):
  """Returns the images that losses are means over, always the same ones."""
  if len(images) <= SAMPLE_SIZE:
    return images
  chosen = np.random.RandomState(0).permutation(len(images))[:SAMPLE_SIZE]
  return images[np.sort(chosen)]


def default_rate(optimizer):
  """Returns the learning rate of an optimizer that is trained alone."""
  if optimizer == "kfac":
    return recipe.RECIPE["learning_rate"]
  return GRIDS["best"][optimizer][0]


def train(optimizer, learning_rate, images):
  """Trains by one optimizer.

  Args:
    optimizer: One of runner.OPTIMIZERS.
    learning_rate: Its learning rate.
    images: uint8 array [n, 784].

  Returns:
    The runner.History. It ends early if the run diverges, reaches --target or
    has used up --seconds.
  """
  num_updates = FLAGS.updates or UPDATES[optimizer]
  evaluate_every = FLAGS.evaluate_every or EVALUATE_EVERY[optimizer]
  batches = runner.shuffled_batches(len(images), functools.partial(
      autoencoder.growing_batch_size, first=batch_size(),
      growth=FLAGS.batch_growth, most=len(images)), FLAGS.seed)
  evaluated = sample(images)
  trainer = autoencoder.Trainer(optimizer, learning_rate, FLAGS.seed)
  history = runner.History(optimizer, learning_rate)
  progress = runner.Progress(optimizer, num_updates)
  seconds = 0.
  for number in range(num_updates + 1):
    is_last = number == num_updates or _is_over(seconds)
    if is_last or number % evaluate_every == 0:
      history.add(number, seconds, trainer.evaluate(evaluated))
      progress.show(history)
      if is_last or has_diverged(history) or _is_reached(history):
        break
    batch = images[next(batches)]
    start = time.perf_counter()
    trainer.update(batch)
    seconds += time.perf_counter() - start
  progress.close()
  trainer.close()
  return history


def _is_over(seconds):
  """Whether the budget of seconds is used up."""
  return FLAGS.seconds is not None and seconds >= FLAGS.seconds


def _is_reached(history):
  """Whether the target is reached."""
  return FLAGS.target is not None and history.losses[-1] <= FLAGS.target


def has_diverged(history):
  """Whether the last loss is not finite, or much more than the first."""
  return not history.losses[-1] <= DIVERGED * history.losses[0]


def compare(images):
  """Trains by all three optimizers, and prints how they compare.

  Args:
    images: uint8 array [n, 784].

  Returns:
    One runner.History per optimizer: K-FAC's, then those of the best learning
    rates of momentum and Adam.
  """
  best = []
  for optimizer in ("momentum", "adam"):
    tried = [train(optimizer, rate, images)
             for rate in GRIDS[FLAGS.grid][optimizer]]
    print("\n".join(make_grid_table(tried)), flush=True)
    best.append(min(tried, key=lambda history: history.lowest_loss()))
  kfac = train("kfac", default_rate("kfac"), images)
  print("\n".join(make_comparison(kfac, best)))
  return [kfac, *best]


def make_grid_table(histories):
  """Returns the lines of a table with a row for each run."""
  rows = [["optimizer", "learning rate", "updates", "seconds", "lowest loss"]]
  for history in histories:
    rows.append([
        history.optimizer, f"{history.learning_rate:g}",
        str(history.updates[-1]), f"{history.seconds[-1]:.1f}",
        _describe_lowest(history)])
  return runner.align(rows)


def _describe_lowest(history):
  """Writes the lowest loss, and whether the run diverged."""
  return "{:.2f}{}".format(history.lowest_loss(), ", diverged" if
                           has_diverged(history) else "")


def make_comparison(kfac, others):
  """Returns the lines of a table: K-FAC against the others.

  Args:
    kfac: runner.History of K-FAC.
    others: List of those of other optimizers. For the lowest loss of each the
      table has the updates and the seconds that it took and that K-FAC took.

  Returns:
    List of strings; "-" stands for what K-FAC did not reach.
  """
  rows = [["optimizer", "learning rate", "lowest loss", "updates", "kfac's",
           "ratio", "seconds", "kfac's", "ratio"]]
  for history in others:
    goal = history.lowest_loss()
    index, kfac_index = history.first_at(goal), kfac.first_at(goal)
    rows.append([history.optimizer, f"{history.learning_rate:g}",
                 f"{goal:.2f}"])
    for column, text in (("updates", "{:d}"), ("seconds", "{:.1f}")):
      taken = getattr(history, column)[index]
      rows[-1].append(text.format(taken))
      rows[-1] += (["-", "-"] if kfac_index is None else
                   _against(taken, getattr(kfac, column)[kfac_index], text))
  return runner.align(rows)


def _against(taken, by_kfac, text):
  """Returns the cells of what K-FAC took, and how much less that is."""
  ratio = f"{taken / by_kfac:.1f}" if by_kfac else "-"
  return [text.format(by_kfac), ratio]


def run():
  """Trains as the flags say, then prints a table and draws the plot.

  Returns:
    One runner.History per optimizer.

  Raises:
    runner.SettingsError: If a flag's value is of no use.
    mnist.DataError: If the digits cannot be read.
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
  runner.run_program(NAME, run)
