"""Tries the settings that the documentation shows on models of other kinds.

python examples/benchmarks/settings.py                  # all settings
python examples/benchmarks/settings.py --settings=shown,adam --networks=gru
python examples/benchmarks/settings.py --batch_sizes=64 --seeds=0,1,2

A setting that the documentation shows should train any model. The program
trains each model of field_models.py with each setting, on two data sets and
with several batch sizes, and prints one line for each run.
"""

import collections
import math
import os
import sys

# A program that runs as a file does not find modules two directories above.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

if __name__ == "__main__":
  # Importing TensorFlow takes seconds.
  from examples import interrupts
  interrupts.catch()

import numpy as np
import tensorflow.compat.v1 as tf
from absl import flags

import kfac
from examples import curves
from examples import interrupts
from examples import mnist
from examples import programs
from examples import runner
from examples.benchmarks import field_models

UPDATES = 100
BATCH_SIZES = (64, 256, 1024)
NUM_CURVES = 10000
# The first examples of the training set, whose mean loss is printed.
NUM_EVALUATED = 1000

# The initial loss is about log(10), that of equal probabilities. To learn the
# frequencies of the classes alone, log(4) on the curves, takes off less than
# half of it.
TRAINED_SHARE = 0.5
# Batches disagree, so the loss may rise a little. A loss far above that of
# equal probabilities is due to steps that were too long.
DIVERGED_SHARE = 1.5

# images: float32 [n, 784] in [0, 1]; labels: int32 [n].
Data = collections.namedtuple("Data", ["images", "labels"])


class Network:
  """A model of field_models.py in the default graph, and its batch.

  Attributes:
    images: Placeholder [None, 784], pixels in [0, 1].
    labels: Placeholder [None].
    loss: The mean loss of the batch.
  """

  def __init__(self, name, seed):
    """Builds the forward pass of the batch.

    Args:
      name: One of field_models.MODELS.
      seed: Seed of the sampled targets.
    """
    self._name = name
    self._seed = seed
    self.images = tf.placeholder(tf.float32, [None, mnist.IMAGE_SIZE**2])
    self.labels = tf.placeholder(tf.int32, [None])
    self._logits, self._layers, losses = field_models.make_pass(
        name, self.images, self.labels)
    self.loss = tf.reduce_mean(losses)

  def mean_loss(self, images, labels):
    """Builds the mean loss of other examples."""
    return tf.reduce_mean(
        field_models.make_pass(self._name, images, labels)[2])

  def register(self, layer_collection):
    """Registers the pass of the batch."""
    field_models.register(
        layer_collection, self._logits, self._layers, self._seed)


def make_shown(network, batch_size):
  """README.md, g3doc/index.md and g3doc/tutorial.md: the recipe."""
  del batch_size
  layers = kfac.LayerCollection()
  network.register(layers)
  train_op = kfac.recipe.Recipe(layers, network.loss).minimize()
  return lambda sess, number, feed: sess.run(train_op, feed)


def make_recipe(network, batch_size):
  """The recipe with a known batch size, from which more rules follow."""
  layers = kfac.LayerCollection()
  network.register(layers)
  train_op = kfac.recipe.Recipe(
      layers, network.loss, batch_size=batch_size).minimize()
  return lambda sess, number, feed: sess.run(train_op, feed)


def make_momentum(network, batch_size):
  """Momentum, for comparison."""
  del batch_size
  train_op = tf.train.MomentumOptimizer(0.05, 0.9).minimize(network.loss)
  return lambda sess, number, feed: sess.run(train_op, feed)


def make_adam(network, batch_size):
  """Adam, for comparison."""
  del batch_size
  train_op = tf.train.AdamOptimizer(1e-3).minimize(network.loss)
  return lambda sess, number, feed: sess.run(train_op, feed)


# Functions of (Network, batch size) that build the optimizer. They return a
# function of (session, number of previous updates, feed dict) that runs one
# update.
SETTINGS = {
    "shown": make_shown,
    "recipe": make_recipe,
    "momentum": make_momentum,
    "adam": make_adam,
}


def load_digits():
  """Reads the digits; see mnist.load for errors."""
  digits = mnist.load(FLAGS.data_dir)
  return Data(digits.train_images.astype(np.float32) / 255.,
              digits.train_labels)


def make_curves():
  """Draws curves; the class is the quadrant with the most ink."""
  images = curves.make_images(NUM_CURVES)
  return Data(images, fullest_quadrants(images))


def fullest_quadrants(images):
  """Computes which quadrant of each image has the most ink.

  Args:
    images: Array [n, 784].

  Returns:
    int32 array [n]: 0 and 1 are the upper left and right, 2 and 3 the lower.
  """
  half = mnist.IMAGE_SIZE // 2
  ink = np.reshape(images, [-1, 2, half, 2, half]).sum(axis=(2, 4))
  return np.argmax(ink.reshape(-1, 4), axis=1).astype(np.int32)


DATASETS = {"digits": load_digits, "curves": make_curves}

HEADER = ("setting", "model", "data", "batch", "seed", "first loss",
          "lowest loss", "last loss", "highest loss", "verdict")
_WIDTHS = (9, 11, 7, 5, 4, 10, 11, 9, 12, 0)

flags.DEFINE_list("settings", list(SETTINGS), "Settings to try.")
flags.DEFINE_list("networks", list(field_models.MODELS), "Models to train.")
flags.DEFINE_list("datasets", list(DATASETS), "Data sets to train on.")
flags.DEFINE_list("batch_sizes", [str(size) for size in BATCH_SIZES],
                  "Numbers of examples in a batch.")
flags.DEFINE_list("seeds", ["0"], "Seeds of the initial weights, the batches "
                  "and sampled targets.")
for _name in ("updates", "evaluate_every", "data_dir"):
  flags.declare_key_flag(_name)

FLAGS = flags.FLAGS


def train(setting, model, data, batch_size, seed):
  """Trains a model with a setting.

  Args:
    setting: One of SETTINGS.
    model: One of field_models.MODELS.
    data: Data.
    batch_size: Number of examples in a batch.
    seed: Seed of the initial weights, the batches and sampled targets.

  Returns:
    runner.History. It ends early if the loss is not finite, or if a signal
    interrupts the program.
  """
  history = runner.History(setting, math.nan)
  num_updates = FLAGS.updates or UPDATES
  evaluate_every = FLAGS.evaluate_every or 1
  batches = mnist.shuffled_batches(len(data.labels), batch_size, seed)
  with tf.Graph().as_default() as graph:
    tf.set_random_seed(seed)
    # The model comes first, so that all settings have the same initial weights.
    network = Network(model, seed)
    evaluated = network.mean_loss(tf.constant(data.images[:NUM_EVALUATED]),
                                  tf.constant(data.labels[:NUM_EVALUATED]))
    update = SETTINGS[setting](network, batch_size)
    with runner.start_session(graph) as sess:
      for number in range(num_updates + 1):
        if number % evaluate_every == 0 or number == num_updates:
          history.add(number, 0., float(sess.run(evaluated)))
        if (number == num_updates or not math.isfinite(history.losses[-1])
            or interrupts.requested()):
          break
        batch = next(batches)
        update(sess, number, {network.images: data.images[batch],
                              network.labels: data.labels[batch]})
  return history


def verdict(history):
  """Decides whether a run trained, see TRAINED_SHARE and DIVERGED_SHARE.

  Args:
    history: runner.History, its first loss precedes training.

  Returns:
    "diverges at step k" if the loss after k updates is the first one that is
    not finite or far above the first loss; otherwise "trains" if the last loss
    is small enough, and "stalls" if it is not.
  """
  first = history.losses[0]
  for number, loss in zip(history.updates, history.losses, strict=True):
    # NaN is not at most anything.
    if not loss <= DIVERGED_SHARE * first or math.isinf(loss):
      return f"diverges at step {number}"
  return "trains" if history.losses[-1] < TRAINED_SHARE * first else "stalls"


def make_cells(model, data_name, batch_size, seed, history):
  """Returns the cells of a line of the table, see HEADER."""
  after = history.losses[1:]
  highest = (math.nan if any(map(math.isnan, after))
             else max(after, default=math.nan))
  return (history.optimizer, model, data_name, str(batch_size), str(seed),
          *(f"{loss:.3g}" for loss in (
              history.losses[0], history.lowest_loss(), history.losses[-1],
              highest)), verdict(history))


def format_line(cells):
  """Aligns cells; the program prints a line as soon as a run ends."""
  return "  ".join(cell.rjust(width) for cell, width in
                   zip(cells, _WIDTHS, strict=True))


def _choose(flag, table):
  """Returns the names in a flag, or raises SettingsError."""
  names = FLAGS[flag].value
  if not names or set(names) - set(table):
    raise runner.SettingsError(
        f"--{flag} must be among {sorted(table)}, got {','.join(names)!r}.")
  return names


def _integers(flag, rule):
  """Returns the integers in a flag, or raises SettingsError."""
  description, is_valid = rule
  values = FLAGS[flag].value
  if not values or not all(
      value.isdecimal() and is_valid(int(value)) for value in values):
    raise runner.SettingsError(
        f"--{flag} must be integers {description}, got {','.join(values)!r}.")
  return [int(value) for value in values]


def run():
  """Trains according to the flags, and prints the table.

  Returns:
    List of the cells of each line.

  Raises:
    runner.SettingsError: If a flag is invalid.
    mnist.DataError: If the data cannot be read.
  """
  runner.check_values(runner.COUNT, "updates", "evaluate_every")
  runner.check_unused(
      "optimizer", "compare", "learning_rate", "momentum", "momentum_type",
      "damping", "norm_constraint", "cov_update_every", "inv_update_every",
      "recipe", "batch_size", "epochs", "seed", "output_dir")
  choices = [_choose("settings", SETTINGS),
             _choose("networks", field_models.MODELS),
             _integers("batch_sizes", runner.COUNT),
             _integers("seeds", runner.SEED)]
  data = {name: DATASETS[name]() for name in _choose("datasets", DATASETS)}
  for name, batch_size in ((n, b) for n in data for b in choices[2]):
    if batch_size > len(data[name].labels):
      raise runner.SettingsError(
          f"--batch_sizes must be at most {len(data[name].labels)}, the number "
          f"of examples of {name}, got {batch_size}.")
  return _train_all(data, *choices)


def _train_all(data, settings, models, batch_sizes, seeds):
  """Trains with all combinations, and prints and returns their cells."""
  print(format_line(HEADER), flush=True)
  interrupts.keep_results()
  lines = []
  for seed in seeds:
    for name in data:
      for model in models:
        for batch_size in batch_sizes:
          for setting in settings:
            if interrupts.requested():
              return lines
            history = train(setting, model, data[name], batch_size, seed)
            lines.append(make_cells(model, name, batch_size, seed, history))
            print(format_line(lines[-1]), flush=True)
  return lines


if __name__ == "__main__":
  tf.disable_v2_behavior()
  programs.run_program("settings", run)
