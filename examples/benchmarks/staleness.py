"""Trains with inverses of a given age: how old may they be?

Inverses that are computed beside the steps, by a thread or by another machine,
lack the last covariance updates (`kfac_utils.background`). How many they lack
depends on the speed of the machine. Here it is exact, so that a run can be
repeated: inverses are computed at every update, and are used `age` updates
later.
"""

import collections

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from examples import convnet
from examples import interrupts
from examples import mlp
from examples import mnist
from examples import runner
from examples import tables

AGES = (0, 1, 2, 5, 10, 20, 50)

# title: model and way to choose the step size.
# build, register: functions of a model of examples/.
# settings: arguments of KfacOptimizer.
# batch_size: number of examples in a batch.
# updates: number of updates after which the losses are compared.
Case = collections.namedtuple("Case", [
    "title", "build", "register", "settings", "batch_size", "updates"])

CASES = {
    # The settings of tuning_main.py, which g3doc/tuning.md explains.
    "perceptron": Case(
        "perceptron, fixed learning rate", mlp.build, mlp.register,
        {"learning_rate": 0.05, "momentum": 0.5, "damping": 0.001,
         "norm_constraint": 0.003}, 500, 200),
    "perceptron_qmodel": Case(
        "perceptron, quadratic model", mlp.build, mlp.register,
        {"momentum_type": "qmodel", "learning_rate": 1., "momentum": 0.,
         "batch_size": 500, "damping": 0.001}, 500, 200),
    # The settings of convnet_mnist_main.py, with smaller batches.
    "convnet": Case(
        "convnet, fixed learning rate", convnet.build, convnet.register,
        {"learning_rate": 0.03, "momentum": 0.5, "damping": 0.01,
         "norm_constraint": 0.003}, 200, 100),
}


class LateInverses:
  """Inverses that lack exactly `age` covariance updates.

  Like BackgroundInverses, it has the first inverses at once: after t updates
  the inverses contain max(1, t - age) of them.
  """

  def __init__(self, optimizer, age):
    """Makes the ops.

    Args:
      optimizer: KfacOptimizer.
      age: Int >= 0, the number of covariance updates that inverses lack.
    """
    self._inv_op = optimizer.inv_update_op
    self._variables = optimizer.get_inv_vars()
    self._values = [tf.placeholder(variable.dtype.base_dtype, variable.shape)
                    for variable in self._variables]
    self._assign = tf.group(*[
        tf.assign(variable, value) for variable, value in zip(
            self._variables, self._values, strict=True)])
    self._age = age
    self._kept = collections.deque(maxlen=age + 1)

  def step(self, session):
    """Updates the inverses after a covariance update, before the step.

    Args:
      session: Session.
    """
    session.run(self._inv_op)
    if self._age == 0:
      return
    self._kept.append(session.run(self._variables))
    session.run(self._assign, dict(zip(
        self._values, self._kept[0], strict=True)))


class _Training:
  """A model, its optimizer and its inverses, in a graph of their own."""

  def __init__(self, case, age, seed):
    """Builds the graph and starts the session."""
    with tf.Graph().as_default() as graph:
      tf.set_random_seed(seed)
      self._batch = runner.make_placeholders(case.batch_size)
      logits, layers = self._build(case, self._batch[0])
      self._examples = runner.make_placeholders(None)
      self._scores = runner.score(
          self._build(case, self._examples[0])[0], self._examples[1])
      layer_collection = kfac.LayerCollection()
      case.register(layer_collection, logits, layers, seed)
      optimizer = kfac.KfacOptimizer(
          layer_collection=layer_collection, cov_ema_decay=0.95,
          **case.settings)
      self._step = optimizer.minimize(runner.mean_loss(logits, self._batch[1]))
      self._cov_op = optimizer.cov_update_op
      self._inverses = LateInverses(optimizer, age)
      self.session = runner.start_session(graph)

  def _build(self, case, images):
    with tf.variable_scope("model", reuse=tf.AUTO_REUSE):
      return case.build(tf.cast(images, tf.float32) / 255.)

  def update(self, batch):
    """Runs one update on a pair of images and labels."""
    feed = dict(zip(self._batch, batch, strict=True))
    self.session.run(self._cov_op, feed)
    self._inverses.step(self.session)
    self.session.run(self._step, feed)

  def loss(self, images, labels):
    """Returns the mean loss over examples."""
    return float(runner.evaluate(lambda *part: self.session.run(
        self._scores, dict(zip(self._examples, part, strict=True))),
        images, labels)[0])


def train(case, age, seed, data):
  """Trains with inverses of an age.

  Args:
    case: Case.
    age: Int >= 0, see LateInverses.
    seed: Seed of the initial weights, the batches and sampled targets.
    data: mnist.Dataset.

  Returns:
    Mean loss over the training images after all updates.
  """
  images, labels = data.train_images, data.train_labels
  batches = mnist.shuffled_batches(len(labels), case.batch_size, seed)
  training = _Training(case, age, seed)
  with training.session:
    for _ in range(case.updates):
      batch = next(batches)
      training.update((images[batch], labels[batch]))
    return training.loss(images, labels)


def compare(case, ages, seeds, data):
  """Trains with inverses of several ages.

  Args:
    case: Case.
    ages: Sequence of ints.
    seeds: Sequence of ints.
    data: mnist.Dataset.

  Returns:
    {age: list of losses, one per seed}. There are fewer if a signal interrupts
    the program.
  """
  losses: dict = {age: [] for age in ages}
  for seed in seeds:
    for age in ages:
      if not interrupts.requested():
        losses[age].append(train(case, age, seed, data))
  return losses


def make_table(case, losses):
  """Returns the lines of the table of one case.

  Args:
    case: Case.
    losses: What `compare` returns; the first age is the one that others are
      compared with.
  """
  rows = [(f"{case.title}: age of the inverses",
           f"loss after {case.updates} updates", "ratio to the first row",
           "lowest and highest ratio")]
  reference = next(iter(losses.values()))
  for age, values in losses.items():
    if values:
      ratios = ratios_of(values, reference)
      rows.append((str(age), f"{geometric_mean(values):.2g}",
                   f"{geometric_mean(ratios):.2f}",
                   f"{min(ratios):.2f} to {max(ratios):.2f}"))
  return tables.align(rows)


def ratios_of(losses, reference):
  """Returns the ratio of each loss to that of the same seed.

  Args:
    losses: List of losses, one per seed.
    reference: List of at least as many losses.
  """
  return [loss / other
          for loss, other in zip(losses, reference, strict=False)]


def geometric_mean(values):
  """Returns the geometric mean of positive numbers; NaN if one is NaN."""
  return float(np.exp(np.mean(np.log(values))))


def report(cases, ages, seeds, data):
  """Trains and prints one table for each case.

  Args:
    cases: List of Cases.
    ages: List of ints.
    seeds: List of ints.
    data: mnist.Dataset.

  Returns:
    List of what `compare` returns.
  """
  print(f"Losses are mean cross entropies over {len(data.train_labels):,} "
        f"training images, and geometric means over {len(seeds)} seeds. "
        "Inverses of age a lack the last a covariance updates.", flush=True)
  interrupts.keep_results()
  results = []
  for case in cases:
    results.append(compare(case, ages, seeds, data))
    print("\n" + "\n".join(make_table(case, results[-1])), flush=True)
  return results
