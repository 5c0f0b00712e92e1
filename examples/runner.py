"""Trains one model with K-FAC, momentum or Adam, or compares the three.

The loop, its flags and its report, shared by the programs of this directory.
A program describes its model by an Experiment and calls `main`.
"""

import collections.abc
import dataclasses
import importlib
import itertools
import math
import os
import sys
import time

import numpy as np
import tensorflow.compat.v1 as tf
from absl import app
from absl import flags

import kfac
from examples import mnist
from examples import recipe
from kfac.python.ops.kfac_utils import schedules

OPTIMIZERS = ("kfac", "momentum", "adam")
MOMENTUM_TYPES = ("regular", "adam", "qmodel")
# The one whose lowest loss the others are to reach.
BASELINE = "momentum"
EVALUATE_EVERY = 10
_EVALUATION_BATCH = 1000

flags.DEFINE_enum("optimizer", "kfac", OPTIMIZERS, "The optimizer to train by.")
flags.DEFINE_boolean(
    "compare", False, "Train by all three optimizers, from the same weights on "
    "the same batches.")
flags.DEFINE_float(
    "learning_rate", None, "Learning rate; the defaults come from "
    "g3doc/examples.md.")
flags.DEFINE_float(
    "momentum", None, "Momentum of kfac (not of type qmodel) and momentum; by "
    "default the model's.")
flags.DEFINE_enum(
    "momentum_type", None, MOMENTUM_TYPES, "How kfac uses momentum; by default "
    "the model's. The type qmodel picks momentum by itself, and a learning "
    "rate that --learning_rate multiplies.")
flags.DEFINE_float("damping", None, "Damping of kfac; by default the model's.")
flags.DEFINE_float(
    "norm_constraint", None, "Norm constraint of kfac, only for the momentum "
    "type regular; by default the model's.")
flags.DEFINE_integer(
    "cov_update_every", 1, "Updates from one covariance update of kfac to the "
    "next.")
flags.DEFINE_integer(
    "inv_update_every", 1, "Updates from one inverse update of kfac to the "
    "next.")
flags.DEFINE_boolean(
    "recipe", False, "Run kfac by the recipe of examples/recipe.py, not by the "
    "model's settings.")
flags.DEFINE_integer("batch_size", None, "Digits per update.")
flags.DEFINE_integer("updates", None, "Updates to train for.")
flags.DEFINE_integer("epochs", None, "Epochs to train for, instead of updates.")
flags.DEFINE_integer(
    "evaluate_every", None, "Updates from one evaluation to the next; by "
    "default the program's.")
flags.DEFINE_integer("seed", 0, "Seed of weights, batches and sampled targets.")
flags.DEFINE_string(
    "data_dir", mnist.DEFAULT_DIR, "Directory with the four IDX files.")
flags.DEFINE_string("output_dir", ".", "Directory for the plot.")

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A model, and what was found to train it well.

  Attributes:
    name: Names the plot's file.
    build: Function of images [B, 784] in [0, 1] that returns logits [B, 10]
      and whatever `register` needs to know about the layers. It makes its
      variables by tf.get_variable, since it is called more than once.
    register: Function of (layer_collection, logits, layers, seed) that
      registers the layers and the predictive distribution with K-FAC.
    learning_rates: The best learning rate of each optimizer.
    momentums: The momentum of "kfac", which "qmodel" does not use, and of
      "momentum".
    damping: Damping for K-FAC.
    norm_constraint: Norm constraint for K-FAC, or None; only "regular" uses it.
    batch_size: Digits per update.
    updates: Updates to train for.
    momentum_type: One of MOMENTUM_TYPES, for K-FAC.
  """

  name: str
  build: collections.abc.Callable
  register: collections.abc.Callable
  learning_rates: collections.abc.Mapping
  momentums: collections.abc.Mapping
  damping: float
  norm_constraint: float | None
  batch_size: int
  updates: int
  momentum_type: str = "regular"


@dataclasses.dataclass
class History:
  """What the evaluations of one training run saw, the first before training.

  Attributes:
    optimizer: Name of the optimizer.
    learning_rate: Its learning rate.
    updates: Updates done before each evaluation.
    seconds: Seconds spent in them; evaluations do not count.
    losses: Mean loss over all training digits, in nats.
    accuracies: Share of the test digits that were told right; empty if the
      model tells none.
  """

  optimizer: str
  learning_rate: float
  updates: list = dataclasses.field(default_factory=list)
  seconds: list = dataclasses.field(default_factory=list)
  losses: list = dataclasses.field(default_factory=list)
  accuracies: list = dataclasses.field(default_factory=list)

  def add(self, update, seconds, loss, accuracy=None):
    """Appends one evaluation."""
    self.updates.append(update)
    self.seconds.append(seconds)
    self.losses.append(loss)
    if accuracy is not None:
      self.accuracies.append(accuracy)

  def describe_last(self):
    """Returns the last evaluation as text."""
    accuracy = (f"accuracy {self.accuracies[-1]:.2%}, "
                if self.accuracies else "")
    return f"loss {self.losses[-1]:.3g}, {accuracy}{self.seconds[-1]:.1f} s"

  def lowest_loss(self):
    """Returns the lowest loss, where NaN counts as infinite."""
    return min(loss if math.isfinite(loss) else math.inf
               for loss in self.losses)

  def first_at(self, loss):
    """Returns the first evaluation's index with at most this loss, or None."""
    return next((i for i, found in enumerate(self.losses) if found <= loss),
                None)


class SettingsError(ValueError):
  """Flags that make no sense; the message is one line."""


def check_flags(experiment):
  """Raises SettingsError for a value that no training run can use."""
  for name in ("batch_size", "updates", "epochs", "evaluate_every",
               "cov_update_every", "inv_update_every"):
    check_flag(name, "at least 1", lambda value: value >= 1)
  for name in ("learning_rate", "damping", "norm_constraint"):
    check_flag(name, "positive and finite", lambda v: 0. < v < math.inf)
  check_flag("momentum", "in [0, 1)", lambda value: 0. <= value < 1.)
  check_flag("seed", "in [0, 2**31)", lambda value: 0 <= value < 2**31)
  if FLAGS.epochs is not None and FLAGS.updates is not None:
    raise SettingsError(
        f"--epochs and --updates exclude each other, got {FLAGS.epochs} and "
                        f"{FLAGS.updates}.")
  check_comparison()
  for name, users in (
      ("momentum", ("kfac", "momentum")), ("damping", ("kfac",)),
      ("norm_constraint", ("kfac",)), ("momentum_type", ("kfac",)),
      ("cov_update_every", ("kfac",)), ("inv_update_every", ("kfac",))):
    if FLAGS[name].present and not set(users) & set(chosen_optimizers()):
      raise SettingsError("--{} is for {}, got --optimizer={}.".format(
          name, " and ".join(users), FLAGS.optimizer))
  _check_recipe()
  _check_momentum_type(experiment)
  check_output_dir(plot_path(experiment))


def _check_recipe():
  """Raises SettingsError for a flag that the recipe leaves no room for."""
  for name in ("learning_rate", "damping", "norm_constraint", "momentum_type",
               "cov_update_every", "inv_update_every"):
    if FLAGS.recipe and FLAGS[name].present:
      raise SettingsError(
          f"--{name} is set by --recipe, got {FLAGS[name].value}.")


def _check_momentum_type(experiment):
  """Raises SettingsError for a flag that K-FAC's momentum type has no use for.

  In a comparison --momentum still counts for the optimizer momentum.

  Args:
    experiment: The Experiment.
  """
  if "kfac" not in chosen_optimizers():
    return
  kind = momentum_type(experiment)
  for name, users in (("momentum", ("regular", "adam")),
                      ("norm_constraint", ("regular",))):
    shared = name == "momentum" and FLAGS.compare
    if FLAGS[name].present and kind not in users and not shared:
      raise SettingsError("--{} is for the momentum type {}, got {}.".format(
          name, " or ".join(users), kind))


def check_comparison():
  """Raises SettingsError for a flag that a comparison has no use for."""
  for name in ("optimizer", "learning_rate"):
    if FLAGS.compare and FLAGS[name].present:
      raise SettingsError(
          f"--{name} is for one optimizer, but --compare trains "
                          "all three.")


def check_flag(name, rule, holds):
  """Raises SettingsError if the flag is set and the rule does not hold."""
  value = FLAGS[name].value
  if value is not None and not holds(value):
    raise SettingsError(f"--{name} must be {rule}, got {value}.")


def check_output_dir(path):
  """Makes the output directory, so that its faults show before training.

  Args:
    path: Path of the plot in it.

  Raises:
    SettingsError: If the plot cannot be written there.
  """
  try:
    os.makedirs(FLAGS.output_dir, exist_ok=True)
  except OSError as error:
    raise SettingsError(
        f"--output_dir={FLAGS.output_dir} cannot be made, "
        f"{error.strerror}.") from None
  if not os.access(path if os.path.exists(path) else FLAGS.output_dir, os.W_OK):
    raise SettingsError(
        f"--output_dir={FLAGS.output_dir} cannot be written to.")


def chosen_optimizers():
  """Returns the names of the optimizers to train by."""
  return OPTIMIZERS if FLAGS.compare else (FLAGS.optimizer,)


def momentum_type(experiment):
  """Returns the momentum type of K-FAC."""
  return FLAGS.momentum_type or experiment.momentum_type


def plot_path(experiment):
  """Returns the path of the plot."""
  return os.path.join(FLAGS.output_dir, experiment.name + ".png")


class Trainer:
  """One model in a graph of its own, with an optimizer and a session.

  The graph's seed and the order of building make the first weights the same
  for every optimizer.

  Args:
    experiment: The Experiment.
    optimizer: One of OPTIMIZERS.
    learning_rate: Its learning rate.
    batch_size: Digits per update.
  """

  def __init__(self, experiment, optimizer, learning_rate, batch_size):
    self._experiment = experiment
    self._cov_op = self._inv_op = self._updates = None
    with tf.Graph().as_default() as graph:
      tf.set_random_seed(FLAGS.seed)
      with tf.name_scope("training"):
        self._images, self._labels = make_placeholders(batch_size)
        logits, layers = self._build(self._images)
        self._loss = mean_loss(logits, self._labels)
      with tf.name_scope("evaluation"):
        self._test_images, self._test_labels = make_placeholders(None)
        logits_out, _ = self._build(self._test_images)
        self._scores = score(logits_out, self._test_labels)
      self._weights = {v.op.name: v for v in tf.trainable_variables()}
      if optimizer == "kfac":
        self._make_kfac(logits, layers, learning_rate, batch_size)
      else:
        self._make_first_order(optimizer, learning_rate)
      config = tf.ConfigProto()
      config.gpu_options.allow_growth = True
      self._session = tf.Session(graph=graph, config=config)
      self._session.run(tf.global_variables_initializer())
      graph.finalize()

  def _build(self, images):
    """Builds the model on uint8 images; its variables are made only once."""
    with tf.variable_scope("model", reuse=tf.AUTO_REUSE):
      return self._experiment.build(tf.cast(images, tf.float32) / 255.)

  def _make_kfac(self, logits, layers, learning_rate, batch_size):
    """Registers the model and makes the ops of K-FAC."""
    if FLAGS.recipe:
      self._make_recipe(example_losses(logits, self._labels))
      return
    layer_collection = kfac.LayerCollection()
    self._experiment.register(layer_collection, logits, layers, FLAGS.seed)
    optimizer = kfac.KfacOptimizer(
        learning_rate=learning_rate, cov_ema_decay=0.95,
        damping=FLAGS.damping or self._experiment.damping,
        layer_collection=layer_collection,
        **self._momentum_settings(batch_size))
    self._train_op = optimizer.minimize(self._loss)
    self._cov_op = optimizer.cov_update_op
    self._inv_op = optimizer.inv_update_op

  def _make_recipe(self, losses):
    """Makes the train op and the updates of K-FAC as the recipe says."""
    def register_pass(layer_collection, examples):
      self._experiment.register(
          layer_collection, *self._build(tf.gather(self._images, examples)),
          FLAGS.seed)

    optimizer = recipe.make_optimizer(
        register_pass, losses, (self._images, self._labels),
        lambda batch: mean_loss(self._build(batch[0])[0], batch[1]))
    self._train_op = optimizer.minimize(self._loss)
    self._updates = schedules.Updates(
        optimizer, recipe.SCHEDULE, cov_first=True)

  def _momentum_settings(self, batch_size):
    """Returns K-FAC's arguments about momentum: each type has its own."""
    kind = momentum_type(self._experiment)
    if kind == "qmodel":
      return {"momentum_type": kind, "momentum": 0., "batch_size": batch_size}
    settings = {"momentum_type": kind, "momentum": self._momentum("kfac")}
    if kind == "regular":
      settings["norm_constraint"] = (
          FLAGS.norm_constraint or self._experiment.norm_constraint)
    return settings

  def _make_first_order(self, name, learning_rate):
    """Makes the train op of momentum or Adam."""
    if name == "momentum":
      optimizer = tf.train.MomentumOptimizer(
          learning_rate, self._momentum("momentum"))
    else:
      optimizer = tf.train.AdamOptimizer(learning_rate)
    self._train_op = optimizer.minimize(self._loss)

  def _momentum(self, name):
    """Returns the momentum for an optimizer, where the flag may be 0."""
    if FLAGS.momentum is not None:
      return FLAGS.momentum
    return self._experiment.momentums[name]

  def update(self, number, images, labels):
    """Does one update.

    Args:
      number: How many updates were done before.
      images: uint8 array [batch_size, 784].
      labels: int32 array [batch_size].
    """
    feed = {self._images: images, self._labels: labels}
    if self._updates is not None:
      self._updates.run(self._session, number, self._train_op, feed)
      return
    ops = [self._train_op]
    if self._cov_op is not None:
      if number == 0:
        # Until there are inverses, K-FAC has nothing to step by.
        self._session.run(self._cov_op, feed)
        self._session.run(self._inv_op)
      if number % FLAGS.cov_update_every == 0:
        ops.append(self._cov_op)
      if number % FLAGS.inv_update_every == 0:
        ops.append(self._inv_op)
    self._session.run(ops, feed)

  def evaluate(self, images, labels):
    """Returns the mean loss and the accuracy over a set of digits."""
    totals = np.zeros(2)
    for start in range(0, len(labels), _EVALUATION_BATCH):
      batch = slice(start, start + _EVALUATION_BATCH)
      totals += self._session.run(
          self._scores, {self._test_images: images[batch],
                         self._test_labels: labels[batch]})
    return totals / len(labels)

  def get_weights(self):
    """Returns the model's weights, a dict from variable name to array."""
    return self._session.run(self._weights)

  def close(self):
    """Closes the session."""
    self._session.close()


def make_placeholders(batch_size):
  """Returns placeholders for images uint8 [B, 784] and labels int32 [B]."""
  images = tf.placeholder(tf.uint8, [batch_size, mnist.IMAGE_SIZE**2])
  return images, tf.placeholder(tf.int32, [batch_size])


def example_losses(logits, labels):
  """Returns the cross entropies [B] of labels [B] under logits [B, 10]."""
  return tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=labels, logits=logits)


def mean_loss(logits, labels):
  """Returns the mean of the cross entropies."""
  return tf.reduce_mean(example_losses(logits, labels))


def score(logits, labels):
  """Returns the summed cross entropy, and how many labels are told right."""
  loss = example_losses(logits, labels)
  right = tf.equal(tf.argmax(logits, 1, output_type=tf.int32), labels)
  return tf.reduce_sum(loss), tf.reduce_sum(tf.cast(right, tf.float32))


def shuffled_batches(num_examples, batch_size, seed):
  """Yields index arrays [batch_size] without end, reshuffled every epoch.

  Digits that do not fill a last batch wait for the next epoch's shuffle.

  Args:
    num_examples: Number of examples in an epoch, at least batch_size.
    batch_size: Number of indices per batch, or a function of the number of
      batches before that returns it.
    seed: Seed of the shuffles.
  """
  random = np.random.RandomState(seed)
  start = num_examples
  for number in itertools.count():
    size = batch_size(number) if callable(batch_size) else batch_size
    if start + size > num_examples:
      order = random.permutation(num_examples)
      start = 0
    yield order[start:start + size]
    start += size


def train(experiment, optimizer, data):
  """Trains by one optimizer.

  Args:
    experiment: The Experiment.
    optimizer: One of OPTIMIZERS.
    data: mnist.Dataset.

  Returns:
    The History. It ends early if the loss is no longer finite.
  """
  rate = FLAGS.learning_rate or experiment.learning_rates[optimizer]
  batch_size = FLAGS.batch_size or experiment.batch_size
  num_updates = count_updates(experiment, len(data.train_labels), batch_size)
  batches = shuffled_batches(len(data.train_labels), batch_size, FLAGS.seed)
  trainer = Trainer(experiment, optimizer, rate, batch_size)
  history = History(optimizer, rate)
  progress = Progress(optimizer, num_updates)
  evaluate_every = FLAGS.evaluate_every or EVALUATE_EVERY
  seconds = 0.
  for number in range(num_updates + 1):
    if number % evaluate_every == 0 or number == num_updates:
      loss, _ = trainer.evaluate(data.train_images, data.train_labels)
      _, accuracy = trainer.evaluate(data.test_images, data.test_labels)
      history.add(number, seconds, loss, accuracy)
      progress.show(history)
      if number == num_updates or not math.isfinite(loss):
        break
    batch = next(batches)
    images, labels = data.train_images[batch], data.train_labels[batch]
    start = time.perf_counter()
    trainer.update(number, images, labels)
    seconds += time.perf_counter() - start
  progress.close()
  trainer.close()
  return history


def count_updates(experiment, num_examples, batch_size):
  """Returns the number of updates to train for."""
  if batch_size > num_examples:
    raise SettingsError(
        f"--batch_size must be at most the {num_examples} training digits, "
                        f"got {batch_size}.")
  if FLAGS.epochs is not None:
    return FLAGS.epochs * (num_examples // batch_size)
  return FLAGS.updates or experiment.updates


class Progress:
  """A progress bar by tqdm, or lines where tqdm is not installed.

  Args:
    optimizer: Name of the optimizer, shown before the bar.
    num_updates: Updates in a full bar.
  """

  def __init__(self, optimizer, num_updates):
    self._optimizer = optimizer
    self._num_updates = num_updates
    self._bar = None
    tqdm = _import_or_none("tqdm")
    if tqdm:
      self._bar = tqdm.tqdm(
          total=num_updates, desc=optimizer.ljust(8), unit="update", ncols=100)

  def show(self, history):
    """Shows the last evaluation of a History."""
    update = history.updates[-1]
    text = history.describe_last()
    if self._bar is not None:
      self._bar.set_postfix_str(text, refresh=False)
      self._bar.update(update - self._bar.n)
    else:
      print(
          f"{self._optimizer} {update}/{self._num_updates}: {text}", flush=True)

  def close(self):
    """Ends the bar."""
    if self._bar is not None:
      self._bar.close()


def _import_or_none(name):
  """Imports a module of the extra `examples`; None if it is not installed."""
  try:
    return importlib.import_module(name)
  except ImportError:
    return None


def make_table(histories):
  """Returns the lines of the closing table.

  Args:
    histories: One History per optimizer. If BASELINE is among them, the table
      tells when each optimizer reached its lowest loss.
  """
  rows = [["optimizer", "learning rate", "lowest loss", "final loss",
           "test accuracy", "seconds"]]
  for history in histories:
    rows.append([
        history.optimizer, f"{history.learning_rate:g}",
        f"{history.lowest_loss():.3g}",
        f"{history.losses[-1]:.3g}",
        f"{history.accuracies[-1]:.2%}",
        f"{history.seconds[-1]:.1f}"])
  goal = next((history.lowest_loss() for history in histories
               if history.optimizer == BASELINE), None)
  if goal is not None and len(histories) > 1:
    rows[0] += [f"updates to {goal:.3g}", "seconds to it"]
    for row, history in zip(rows[1:], histories, strict=True):
      row += _cells_at(history, goal)
  return align(rows)


def align(rows):
  """Returns the lines of a table, given as a list of rows of cells."""
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  return ["  ".join(cell.rjust(width) for cell, width in
                    zip(row, widths, strict=True)) for row in rows]


def _cells_at(history, goal):
  """Returns updates and seconds to a loss as text, "-" if never reached."""
  index = history.first_at(goal)
  if index is None:
    return ["-", "-"]
  return [str(history.updates[index]), f"{history.seconds[index]:.1f}"]


def report_plot(histories, path, log_axes="y"):
  """Draws the plot, and prints where it is or why there is none.

  Args:
    histories: One History per optimizer.
    path: Path of the PNG file.
    log_axes: See `write_plot`.
  """
  try:
    drawn = write_plot(histories, path, log_axes)
    print(f"Plot: {path}" if drawn else
          "No plot: matplotlib is not installed (pip install matplotlib).")
  except OSError as error:
    print(f"No plot: {error}.")


def write_plot(histories, path, log_axes="y"):
  """Draws the losses against updates and seconds into a PNG file.

  Args:
    histories: One History per optimizer.
    path: Path of the file.
    log_axes: "y", or "xy" if updates and seconds are logarithmic too.

  Returns:
    Whether matplotlib was there to draw it.
  """
  if not _import_or_none("matplotlib"):
    return False
  figure = importlib.import_module("matplotlib.figure").Figure(
      figsize=(10, 4), layout="constrained")
  left, right = figure.subplots(1, 2, sharey=True)
  for history in histories:
    label = f"{history.optimizer}, {history.learning_rate:g}"
    left.semilogy(history.updates, history.losses, label=label)
    right.semilogy(history.seconds, history.losses, label=label)
  if "x" in log_axes:
    for axes in (left, right):
      axes.set_xscale("log", nonpositive="mask")
    # 200 in place of 2 x 10^2.
    plain = importlib.import_module("matplotlib.ticker").LogFormatter
    left.yaxis.set_major_formatter(plain())
    left.yaxis.set_minor_formatter(plain())
  left.set_xlabel("updates")
  right.set_xlabel("seconds")
  left.set_ylabel("training loss (nats)")
  left.legend(title="optimizer, learning rate")
  figure.savefig(path)
  return True


def run(experiment):
  """Trains as the flags say, then prints the table and draws the plot.

  Args:
    experiment: The Experiment.

  Returns:
    One History per optimizer.

  Raises:
    SettingsError: If a flag's value is of no use.
    mnist.DataError: If the digits cannot be read.
  """
  check_flags(experiment)
  data = mnist.load(FLAGS.data_dir)
  histories = [train(experiment, optimizer, data)
               for optimizer in chosen_optimizers()]
  print("\n".join(make_table(histories)))
  for history in histories:
    if not math.isfinite(history.losses[-1]):
      print(
          f"{history.optimizer} diverged: the loss was {history.losses[-1]} "
          f"after {history.updates[-1]} updates.")
  report_plot(histories, plot_path(experiment))
  return histories


def main(experiment):
  """Runs the program of an Experiment, see `run_program`."""
  run_program(experiment.name, lambda: run(experiment))


def run_program(name, function):
  """Runs a program of this directory; faults of its input end it in one line.

  Args:
    name: Name of the program, the beginning of that line.
    function: Function without arguments to call when the flags are read.
  """
  def start(argv):
    try:
      if len(argv) > 1:
        raise SettingsError(f"no argument without -- is known, got {argv[1]}.")
      function()
    except (SettingsError, mnist.DataError) as error:
      sys.exit(f"{name}: {error}")

  def parse(argv):
    try:
      return FLAGS(argv)
    except flags.Error as error:
      sys.exit("{}: {}".format(name, " ".join(str(error).split())))

  tf.logging.set_verbosity(tf.logging.ERROR)
  app.run(start, flags_parser=parse)
