"""Trains a model with K-FAC, momentum or Adam, or compares the three.

This module has the training loop, the command line flags and the report that
the programs in this directory share. A program describes its model by an
Experiment and calls `programs.main`.
"""

import collections.abc
import dataclasses
import math
import os
import time
from typing import Any

import numpy as np
import tensorflow.compat.v1 as tf
from absl import flags
from absl import logging

import kfac
from examples import interrupts
from examples import mnist
from examples import plots
from examples import progress
from examples import tables
from kfac.python.ops.recipe import rules

OPTIMIZERS = ("kfac", "momentum", "adam")
MOMENTUM_TYPES = ("regular", "adam", "qmodel")
# Names in tables and plots.
LABELS = {"kfac": "K-FAC", "momentum": "momentum", "adam": "Adam"}
EVALUATE_EVERY = 10
# Flags that the recipe determines.
_KFAC_SETTINGS = ("learning_rate", "damping", "norm_constraint",
                  "momentum_type", "cov_update_every", "inv_update_every")
# A run has diverged if its loss exceeds DIVERGED times the first.
DIVERGED = 10.
_EVALUATION_BATCH = 1000

flags.DEFINE_enum("optimizer", "kfac", OPTIMIZERS, "The optimizer.")
flags.DEFINE_boolean(
    "compare", False, "Train with all three optimizers, from the same initial "
    "weights and on the same batches.")
flags.DEFINE_float(
    "learning_rate", None, "Learning rate. The default depends on the model "
    "and the optimizer, see g3doc/examples.md.")
flags.DEFINE_float(
    "momentum", None, "Momentum coefficient of momentum, and of kfac unless "
    "its momentum type is qmodel. The default depends on the model.")
flags.DEFINE_enum(
    "momentum_type", None, MOMENTUM_TYPES, "How kfac uses momentum. With "
    "qmodel, a quadratic model of the loss chooses the momentum and the step "
    "size, and --learning_rate scales the step. The default depends on the "
    "model.")
flags.DEFINE_float(
    "damping", None, "Damping of kfac. The default depends on the model.")
flags.DEFINE_float(
    "norm_constraint", None, "Norm constraint of kfac, only with the momentum "
    "type regular. The default depends on the model.")
flags.DEFINE_integer(
    "cov_update_every", 1, "Updates between two covariance updates of kfac.")
flags.DEFINE_integer(
    "inv_update_every", 1, "Updates between two inverse updates of kfac.")
flags.DEFINE_boolean(
    "recipe", None, "Train kfac with kfac.recipe instead of the settings of "
    "the model. The default is true unless one of these is given.")
flags.DEFINE_boolean(
    "auto", False, "Register only the losses of the model with kfac, which "
    "finds the layers, and logs what it found.")
flags.DEFINE_integer("batch_size", None, "Number of examples in a batch.")
flags.DEFINE_integer("updates", None, "Number of updates.")
flags.DEFINE_integer("epochs", None, "Number of epochs, instead of --updates.")
flags.DEFINE_integer(
    "evaluate_every", None, "Updates between two evaluations. The default "
    "depends on the program.")
flags.DEFINE_integer(
    "seed", 0, "Seed of the initial weights, the batches and sampled targets.")
flags.DEFINE_string(
    "data_dir", mnist.DEFAULT_DIR, "Directory of the four IDX files of MNIST.")
flags.DEFINE_string("output_dir", ".", "Directory of the plot.")

FLAGS = flags.FLAGS


def register_categorical(layer_collection, logits, layers, seed=None):
  """Registers a categorical distribution over the classes, and no layers.

  Args:
    layer_collection: kfac.LayerCollection.
    logits: Logits [B, 10].
    layers: Ignored.
    seed: Seed for sampling targets from the predictive distribution, or None.
  """
  del layers
  layer_collection.register_categorical_predictive_distribution(
      logits, seed=seed)


def register_found_layers(layer_collection):
  """Registers all layers on which the losses depend, and logs what they are.

  Args:
    layer_collection: kfac.LayerCollection with all losses.

  Returns:
    The report of kfac, one row for each layer.
  """
  report = layer_collection.auto_register_layers()
  logging.info("automatic registration:\n%s", report)
  return report


@dataclasses.dataclass(frozen=True)
class Experiment:
  """A model and its default settings.

  Attributes:
    name: Name of the program, and of the plot's file.
    build: Function of images [B, 784] in [0, 1] that returns logits [B, 10]
      and the layers for `register`. It is called more than once, so it creates
      its variables with tf.get_variable.
    register: Function of (layer_collection, logits, layers, seed) that
      registers the layers and the predictive distribution with K-FAC; None if
      K-FAC always finds the layers.
    learning_rates: The best learning rate of each optimizer.
    momentums: The momentum coefficients of "kfac", where the momentum type
      "qmodel" ignores it, and of "momentum".
    damping: Damping of K-FAC.
    norm_constraint: Norm constraint of K-FAC, or None. Only the momentum type
      "regular" uses it.
    batch_size: Number of examples in a batch.
    updates: Number of updates.
    momentum_type: Momentum type of K-FAC, one of MOMENTUM_TYPES.
    recipe_choices: Choices that replace those of kfac.recipe.
    register_losses: Function like `register` that registers only the
      predictive distribution; with --auto, K-FAC finds the layers.
    validates: Whether the losses that are reported are those of the test
      examples, and not of the training examples.
  """

  name: str
  build: collections.abc.Callable[..., Any]
  register: collections.abc.Callable[..., None] | None
  learning_rates: collections.abc.Mapping[str, float]
  momentums: collections.abc.Mapping[str, float]
  damping: float
  norm_constraint: float | None
  batch_size: int
  updates: int
  momentum_type: str = "regular"
  recipe_choices: collections.abc.Mapping[str, Any] = dataclasses.field(
      default_factory=dict)
  register_losses: collections.abc.Callable[..., None] = register_categorical
  validates: bool = False


@dataclasses.dataclass
class History:
  """The evaluations of one training run; the first one precedes training.

  Attributes:
    optimizer: Name of the optimizer.
    learning_rate: Learning rate of the optimizer.
    updates: Number of updates before each evaluation.
    seconds: Duration of these updates, without evaluations.
    losses: Mean loss over the examples, in nats.
    accuracies: Fraction of the test examples that are classified correctly;
      empty if the model is not a classifier.
    examples: "training" or "validation", the examples of the losses. The
      latter are the test examples.
  """

  optimizer: str
  learning_rate: float
  updates: list[int] = dataclasses.field(default_factory=list)
  seconds: list[float] = dataclasses.field(default_factory=list)
  losses: list[float] = dataclasses.field(default_factory=list)
  accuracies: list[float] = dataclasses.field(default_factory=list)
  examples: str = "training"

  @property
  def label(self):
    """Name of the optimizer in tables and plots."""
    return LABELS[self.optimizer]

  def describe_settings(self):
    """Returns the entry of a plot's legend."""
    return f"{self.label}, learning rate {self.learning_rate:g}"

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
    """Returns the lowest loss; NaN counts as infinite."""
    return min(loss if math.isfinite(loss) else math.inf
               for loss in self.losses)

  def has_diverged(self):
    """Whether the last loss is not finite, or much larger than the first."""
    # Also true if the loss is NaN.
    return not self.losses[-1] <= DIVERGED * self.losses[0]

  def first_at(self, goal):
    """Returns the index of the first loss that is at most `goal`, or None."""
    return next((i for i, loss in enumerate(self.losses) if loss <= goal), None)


class SettingsError(ValueError):
  """A flag is invalid; the message is one line."""


# Rules for the values of flags, see check_values.
COUNT = ("at least 1", lambda value: value >= 1)
POSITIVE = ("positive and finite", lambda value: 0. < value < math.inf)
SEED = ("in [0, 2**31)", lambda value: 0 <= value < 2**31)
_MOMENTUM = ("in [0, 1)", lambda value: 0. <= value < 1.)


def check_flags(experiment):
  """Raises SettingsError if a flag is invalid."""
  check_values(COUNT, "batch_size", "updates", "epochs", "evaluate_every",
               "cov_update_every", "inv_update_every")
  check_values(POSITIVE, "learning_rate", "damping", "norm_constraint")
  check_values(_MOMENTUM, "momentum")
  check_values(SEED, "seed")
  if FLAGS.epochs is not None and FLAGS.updates is not None:
    raise SettingsError(
        f"--epochs and --updates are mutually exclusive, got {FLAGS.epochs} "
        f"and {FLAGS.updates}.")
  check_comparison()
  for name, optimizers in (
      ("momentum", ("kfac", "momentum")), ("damping", ("kfac",)),
      ("norm_constraint", ("kfac",)), ("momentum_type", ("kfac",)),
      ("auto", ("kfac",)),
      ("cov_update_every", ("kfac",)), ("inv_update_every", ("kfac",))):
    if FLAGS[name].present and not set(optimizers) & set(chosen_optimizers()):
      raise SettingsError(
          f"--{name} applies to {' and '.join(optimizers)}, got "
          f"--optimizer={FLAGS.optimizer}.")
  if experiment.register is None and FLAGS["auto"].present and not FLAGS.auto:
    raise SettingsError("--auto must be true for this program, got false.")
  _check_recipe()
  _check_momentum_type(experiment)
  check_output_dir(plot_path(experiment))


def _check_recipe():
  """Raises SettingsError if a flag contradicts --recipe."""
  for name in _KFAC_SETTINGS:
    if FLAGS.recipe and FLAGS[name].present:
      raise SettingsError(
          f"--recipe determines --{name}, got {FLAGS[name].value}.")


def uses_recipe():
  """Whether K-FAC trains with the recipe."""
  if FLAGS.recipe is not None:
    return FLAGS.recipe
  return not any(FLAGS[name].present for name in _KFAC_SETTINGS)


def _check_momentum_type(experiment):
  """Raises SettingsError if the momentum type of K-FAC ignores a flag."""
  if "kfac" not in chosen_optimizers():
    return
  chosen = momentum_type(experiment)
  for name, types in (("momentum", ("regular", "adam")),
                      ("norm_constraint", ("regular",))):
    # In a comparison, --momentum also applies to the optimizer momentum.
    shared = name == "momentum" and FLAGS.compare
    if FLAGS[name].present and chosen not in types and not shared:
      raise SettingsError(
          f"--{name} applies to the momentum type {' or '.join(types)}, got "
          f"{chosen}.")


def check_comparison():
  """Raises SettingsError if a flag contradicts --compare."""
  for name in ("optimizer", "learning_rate"):
    if FLAGS.compare and FLAGS[name].present:
      raise SettingsError(
          f"--{name} applies to a single optimizer, but --compare trains all "
          "three.")


def check_unused(*names):
  """Raises SettingsError if a flag is set that the program does not use."""
  for name in names:
    if FLAGS[name].present:
      raise SettingsError(
          f"--{name} is not used by this program, got {FLAGS[name].value}.")


def check_values(rule, *names):
  """Raises SettingsError if a flag is set and its value breaks the rule."""
  description, is_valid = rule
  for name in names:
    value = FLAGS[name].value
    if value is not None and not is_valid(value):
      raise SettingsError(f"--{name} must be {description}, got {value}.")


def check_output_dir(path):
  """Creates the output directory, so that errors occur before training.

  Args:
    path: Path of a plot in the output directory.

  Raises:
    SettingsError: If the plot cannot be written.
  """
  try:
    os.makedirs(FLAGS.output_dir, exist_ok=True)
  except OSError as error:
    raise SettingsError(
        f"--output_dir={FLAGS.output_dir} cannot be created, "
        f"{error.strerror}.") from None
  # An existing plot is replaced, not written to.
  if not os.access(FLAGS.output_dir, os.W_OK | os.X_OK):
    raise SettingsError(f"--output_dir={FLAGS.output_dir} is not writable.")
  if os.path.isdir(path):
    raise SettingsError(
        f"--output_dir={FLAGS.output_dir} must not have a directory named "
        f"{os.path.basename(path)}.")


def chosen_optimizers():
  """Returns the names of the optimizers to train with."""
  return OPTIMIZERS if FLAGS.compare else (FLAGS.optimizer,)


def momentum_type(experiment):
  """Returns the momentum type of K-FAC."""
  return FLAGS.momentum_type or experiment.momentum_type


def plot_path(experiment):
  """Returns the path of the plot."""
  return os.path.join(FLAGS.output_dir, experiment.name + ".png")


class Trainer:
  """A model and an optimizer in their own graph, with a session.

  The initial weights are the same for every optimizer, because the graphs have
  the same seed and the model is built first.

  Args:
    experiment: The Experiment.
    optimizer: One of OPTIMIZERS.
    learning_rate: Learning rate of the optimizer.
    batch_size: Number of examples in a batch.
  """

  def __init__(self, experiment, optimizer, learning_rate, batch_size):
    self._experiment = experiment
    self._cov_op = self._inv_op = None
    with tf.Graph().as_default() as graph:
      tf.set_random_seed(FLAGS.seed)
      with tf.name_scope("training"):
        self._images, self._labels = make_placeholders(batch_size)
        logits, layers = self._build(self._images)
        self._loss = mean_loss(logits, self._labels)
      with tf.name_scope("evaluation"):
        self._test_images, self._test_labels = make_placeholders(None)
        test_logits, _ = self._build(self._test_images)
        self._scores = score(test_logits, self._test_labels)
      self._weights = {v.op.name: v for v in tf.trainable_variables()}
      if optimizer == "kfac":
        self._make_kfac(logits, layers, learning_rate, batch_size)
      else:
        self._make_first_order(optimizer, learning_rate)
      self._session = start_session(graph)

  def _build(self, images):
    """Builds the model for uint8 images; all calls share the variables."""
    with tf.variable_scope("model", reuse=tf.AUTO_REUSE):
      return self._experiment.build(tf.cast(images, tf.float32) / 255.)

  def _make_kfac(self, logits, layers, learning_rate, batch_size):
    """Registers the model and creates the ops of K-FAC."""
    layer_collection = kfac.LayerCollection()
    finds_layers = FLAGS.auto or self._experiment.register is None
    register = (self._experiment.register_losses if finds_layers
                else self._experiment.register)
    register(layer_collection, logits, layers, FLAGS.seed)
    if finds_layers:
      register_found_layers(layer_collection)
    if uses_recipe():
      self._train_op = kfac.recipe.Recipe(
          layer_collection, self._loss,
          **self._experiment.recipe_choices).minimize()
      return
    optimizer = kfac.KfacOptimizer(
        learning_rate=learning_rate, cov_ema_decay=0.95,
        damping=FLAGS.damping or self._experiment.damping,
        layer_collection=layer_collection,
        **self._momentum_settings(batch_size))
    self._train_op = optimizer.minimize(self._loss)
    self._cov_op = optimizer.cov_update_op
    self._inv_op = optimizer.inv_update_op

  def _momentum_settings(self, batch_size):
    """Returns the arguments of K-FAC that depend on the momentum type."""
    chosen = momentum_type(self._experiment)
    if chosen == "qmodel":
      return {"momentum_type": chosen, "momentum": 0., "batch_size": batch_size}
    settings = {"momentum_type": chosen, "momentum": self._momentum("kfac")}
    if chosen == "regular":
      settings["norm_constraint"] = (
          FLAGS.norm_constraint or self._experiment.norm_constraint)
    return settings

  def _make_first_order(self, name, learning_rate):
    """Creates the train op of momentum or Adam."""
    if name == "momentum":
      optimizer = tf.train.MomentumOptimizer(
          learning_rate, self._momentum("momentum"))
    else:
      optimizer = tf.train.AdamOptimizer(learning_rate)
    self._train_op = optimizer.minimize(self._loss)

  def _momentum(self, name):
    """Returns the momentum coefficient of an optimizer."""
    if FLAGS.momentum is not None:  # It may be 0.
      return FLAGS.momentum
    return self._experiment.momentums[name]

  def update(self, number, images, labels):
    """Runs one update.

    Args:
      number: Number of previous updates.
      images: uint8 array [batch_size, 784].
      labels: int32 array [batch_size].
    """
    feed = {self._images: images, self._labels: labels}
    ops = [self._train_op]
    if self._cov_op is not None:
      if number == 0:
        # The first step needs inverses.
        self._session.run(self._cov_op, feed)
        self._session.run(self._inv_op)
      if number % FLAGS.cov_update_every == 0:
        ops.append(self._cov_op)
      if number % FLAGS.inv_update_every == 0:
        ops.append(self._inv_op)
    self._session.run(ops, feed)

  def evaluate(self, images, labels):
    """Returns the mean loss and the accuracy over a set of examples."""
    return evaluate(lambda *batch: self._session.run(
        self._scores, {self._test_images: batch[0],
                       self._test_labels: batch[1]}), images, labels)

  def get_weights(self):
    """Returns the weights of the model, a dict from variable name to array."""
    return self._session.run(self._weights)

  def close(self):
    """Closes the session."""
    self._session.close()


def start_session(graph):
  """Initializes the variables of the default graph and finalizes it."""
  config = tf.ConfigProto()
  # By default TensorFlow optimizes a graph twice before its first run.
  config.graph_options.rewrite_options.meta_optimizer_iterations = 1
  config.gpu_options.allow_growth = True
  session = tf.Session(graph=graph, config=config)
  session.run(tf.global_variables_initializer())
  graph.finalize()
  return session


def make_placeholders(batch_size):
  """Returns placeholders for images uint8 [B, 784] and labels int32 [B]."""
  images = tf.placeholder(tf.uint8, [batch_size, mnist.IMAGE_SIZE**2])
  return images, tf.placeholder(tf.int32, [batch_size])


def example_losses(logits, labels):
  """Returns the cross entropies [B] of labels [B] under logits [B, 10]."""
  return tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=labels, logits=logits)


def mean_loss(logits, labels):
  """Returns the mean cross entropy."""
  return tf.reduce_mean(example_losses(logits, labels))


def score(logits, labels):
  """Returns the summed cross entropy and the number of correct predictions."""
  losses = example_losses(logits, labels)
  correct = tf.equal(tf.argmax(logits, 1, output_type=tf.int32), labels)
  return tf.reduce_sum(losses), tf.reduce_sum(tf.cast(correct, tf.float32))


def evaluate(score_batch, images, labels):
  """Returns the mean loss and the accuracy over a set of examples.

  Args:
    score_batch: Function of images and labels of a part of the set that returns
      what `score` does.
    images: uint8 array [n, 784].
    labels: int32 array [n].

  Returns:
    Array [2].
  """
  totals = np.zeros(2)
  for start in range(0, len(labels), _EVALUATION_BATCH):
    batch = slice(start, start + _EVALUATION_BATCH)
    totals += score_batch(images[batch], labels[batch])
  return totals / len(labels)


def train(experiment, optimizer, data):
  """Trains with one optimizer.

  Args:
    experiment: The Experiment.
    optimizer: One of OPTIMIZERS.
    data: mnist.Dataset.

  Returns:
    The History. It ends early if the loss is not finite, or if a signal
    interrupts the program.
  """
  rate = FLAGS.learning_rate or default_rate(experiment, optimizer)
  batch_size = FLAGS.batch_size or experiment.batch_size
  num_updates = count_updates(experiment, len(data.train_labels), batch_size)
  batches = mnist.shuffled_batches(
      len(data.train_labels), batch_size, FLAGS.seed)
  trainer = Trainer(experiment, optimizer, rate, batch_size)
  history = History(optimizer, rate)
  if experiment.validates:
    history.examples = "validation"
  shown = progress.Progress(history.label, num_updates)
  interrupts.keep_results()
  evaluate_every = FLAGS.evaluate_every or EVALUATE_EVERY
  seconds = 0.
  for number in range(num_updates + 1):
    if number % evaluate_every == 0 or number == num_updates:
      loss, accuracy = trainer.evaluate(data.test_images, data.test_labels)
      if not experiment.validates:
        loss, _ = trainer.evaluate(data.train_images, data.train_labels)
      history.add(number, seconds, loss, accuracy)
      shown.show(history)
      if number == num_updates or not math.isfinite(loss):
        break
    if interrupts.requested():
      break
    batch = next(batches)
    images, labels = data.train_images[batch], data.train_labels[batch]
    start = time.perf_counter()
    trainer.update(number, images, labels)
    seconds += time.perf_counter() - start
  shown.close()
  trainer.close()
  return history


def default_rate(experiment, optimizer):
  """Returns the learning rate of an optimizer without --learning_rate."""
  if optimizer == "kfac" and uses_recipe():
    return rules.SETTINGS["learning_rate"]
  return experiment.learning_rates[optimizer]


def until_interrupted(histories):
  """Collects the results of runs, until a signal interrupts the program.

  Args:
    histories: Iterator over Histories; each step trains once.

  Returns:
    List of Histories. The last one may be incomplete.
  """
  collected = []
  while not interrupts.requested():
    try:
      collected.append(next(histories))
    except StopIteration:
      break
  return collected


def count_updates(experiment, num_examples, batch_size):
  """Returns the number of updates."""
  if batch_size > num_examples:
    raise SettingsError(
        f"--batch_size must be at most {num_examples}, the number of training "
        f"examples, got {batch_size}.")
  if FLAGS.epochs is not None:
    return FLAGS.epochs * (num_examples // batch_size)
  return FLAGS.updates or experiment.updates


def run(experiment):
  """Trains according to the flags, prints tables and draws the plot.

  Args:
    experiment: The Experiment.

  Returns:
    One History per optimizer.

  Raises:
    SettingsError: If a flag is invalid.
    plots.OutputError: If the plot cannot be written.
    mnist.DataError: If the data cannot be read.
  """
  check_flags(experiment)
  data = mnist.load(FLAGS.data_dir)
  histories = until_interrupted(train(experiment, optimizer, data)
                                for optimizer in chosen_optimizers())
  report(experiment, histories, data)
  return histories


def report(experiment, histories, data):
  """Prints tables and draws the plot.

  Args:
    experiment: The Experiment.
    histories: List of Histories, one per optimizer.
    data: mnist.Dataset.

  Raises:
    plots.OutputError: If the plot cannot be written.
  """
  tables.print_report(histories, len(
      data.test_labels if experiment.validates else data.train_labels))
  for history in histories:
    if not math.isfinite(history.losses[-1]):
      print(f"{history.label} diverged: the loss was {history.losses[-1]} "
            f"after {history.updates[-1]} updates.")
  size = FLAGS.batch_size or experiment.batch_size
  plots.report_losses(
      [plots.optimizers_panel(f"{experiment.name}, batches of {size}",
                              histories)], plot_path(experiment))
