"""Times the phases of K-FAC's steps, and whole steps in momentum steps.

python examples/benchmarks/step_cost.py                       # all models
python examples/benchmarks/step_cost.py --models=convnet
python examples/benchmarks/step_cost.py --memory              # peak memory

Every number is the median of several runs; runs of all kinds take turns, so
that what else the machine does slows all alike. Read ratios, not seconds.
"""

import os
import resource
import subprocess
import sys
import time

# Run as a file, Python looks for modules here but not two directories above.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))))

import numpy as np
import tensorflow.compat.v1 as tf
from absl import app
from absl import flags

from examples import runner
from examples.benchmarks import models
from kfac.python.ops.curvature_matrix_vector_products import (
  CurvatureMatrixVectorProductComputer,
)
from kfac.python.ops.kfac_utils import schedules

# The recommended schedule takes its statistics from the first of this many
# parts of the batch.
FRACTION = 8
# What to expect of a step, in momentum steps: schedule, whether statistics are
# of the whole batch, and the kind of step.
Schedule = schedules.Schedule
SCHEDULES = {
    "recommended": (Schedule(cov_every=2, inv_every=20, shares=20), False,
                    "regular"),
    "cov 1, inv 5": (Schedule(cov_every=1, inv_every=5), True, "regular"),
    "all in every run": (Schedule(cov_every=1, inv_every=1), True, "regular"),
    "recommended, qmodel": (Schedule(cov_every=2, inv_every=20, shares=20),
                            False, "qmodel"),
}
# The goals, by model and schedule.
GOALS = {
    ("autoencoder", "recommended"): 1.75,
    ("autoencoder", "cov 1, inv 5"): 2.3,
    ("autoencoder", "all in every run"): 3.0,
    ("autoencoder", "recommended, qmodel"): 2.4,
    ("autoencoder_4000", "recommended"): 1.4,
    ("convnet", "recommended"): 1.6,
    ("convnet", "cov 1, inv 5"): 3.0,
}
SLOWEST_GOAL = 1.5
MEMORY_GOAL = 1.3
# A step small enough to change nothing in as many runs.
_RATE = 1e-7

flags.DEFINE_list("models", list(models.MODELS), "Models to time.")
flags.DEFINE_integer("rounds", 9, "Runs of each kind.")
flags.DEFINE_integer("steps", 100, "Steps among which the slowest is sought; 0 "
                     "to leave it out.")
flags.DEFINE_boolean("memory", False, "Measure peak memory, each optimizer in "
                     "a process of its own, and no times.")
flags.DEFINE_string("process", None, "Only for the benchmark itself: the "
                    "optimizer whose memory this process measures.")

FLAGS = flags.FLAGS


class Benchmark:
  """One model in a graph, with all optimizers on the same variables.

  Attributes:
    build_seconds: Seconds in which the K-FAC of the whole batch was built.
    num_nodes: Number of nodes of the finished graph.
    momentum: The train op of momentum.
    optimizers: {(whole batch, kind): (KfacOptimizer, train op)}.
  """

  def __init__(self, model, kinds):
    """Builds all.

    Args:
      model: models.Model.
      kinds: Set of pairs: whether statistics are of the whole batch, and
        "regular" or "qmodel".
    """
    self._model = model
    with tf.Graph().as_default() as graph:
      inputs = tf.convert_to_tensor(models.make_inputs(model, model.batch_size))
      outputs, layers, self._loss = models.make_pass(model, inputs)
      self._variables = tf.trainable_variables()
      optimizer = tf.train.MomentumOptimizer(_RATE, 0.9)
      self.momentum = optimizer.minimize(self._loss)
      self._grads = tf.gradients(self._loss, self._variables)
      part = model.batch_size // FRACTION
      part_outputs, part_layers, _ = models.make_pass(model, inputs[:part])
      self.optimizers = {}
      for whole, kind in sorted(kinds, reverse=True):
        start = time.perf_counter()
        self.optimizers[whole, kind] = self._make_kfac(
            outputs if whole else part_outputs,
            layers if whole else part_layers,
            model.batch_size if whole else part, inputs, whole, kind)
        if whole:
          self.build_seconds = time.perf_counter() - start
      self._phases = self._make_phases()
      self.updates = {
          name: schedules.Updates(self.optimizers[whole, kind][0], schedule)
          for name, (schedule, whole, kind) in SCHEDULES.items()}
      config = tf.ConfigProto()
      config.gpu_options.allow_growth = True
      self.session = tf.Session(graph=graph, config=config)
      self.session.run(tf.global_variables_initializer())
      graph.finalize()
      self.num_nodes = len(graph.get_operations())
    for updates in self.updates.values():
      updates.run(self.session, 0, self.momentum)

  def _make_kfac(self, outputs, layers, num_examples, inputs, whole, kind):
    """Makes a KfacOptimizer and its train op."""
    settings = {"momentum_type": kind, "name": "KFAC_{}_{}".format(
        "whole" if whole else "part", kind)}
    if kind == "qmodel":
      settings.update(
          batch_size=num_examples, momentum=0., adapt_damping=True,
          train_batch=inputs,
          loss_fn=lambda batch: models.make_pass(self._model, batch)[2])
    optimizer = models.make_optimizer(
        self._model, outputs, layers, learning_rate=_RATE, damping=1.,
        cov_ema_decay=0.95, **settings)
    return optimizer, optimizer.minimize(self._loss)

  def _make_phases(self):
    """Returns {phase: (fetches, phase whose time is taken off, or None)}."""
    optimizer, train_op = self.optimizers[True, "regular"]
    estimator = optimizer._fisher_est
    vectors = list(zip(self._grads, self._variables, strict=True))
    precon = [product for product, _ in estimator.multiply_inverse(vectors)]
    sampled = [tensor for factor in estimator.factors
               for source in factor._data for tensor in source]
    computer = CurvatureMatrixVectorProductComputer(
        optimizer._layers.losses, self._variables)
    directions = 2 * [[tf.convert_to_tensor(v) for v in self._variables]]
    products = computer.multiply_fisher_factor_transpose_many(directions)
    phases = {
        "forward": (self._loss, None),
        "forward and backward": (self._grads, None),
        "sampled backward": (sampled, "forward"),
        "sampled backward and covariances": (estimator.cov_update_op, None),
        "inverses": (estimator.inv_update_op, None),
        "preconditioning": (precon, "forward and backward"),
        "quadratic model": (products, "forward"),
        "whole step": (train_op, None),
    }
    # Ops, since the values are not wanted; and no group, of which TensorFlow
    # would drop what has no effect.
    return {name: ([getattr(fetch, "op", fetch)
                    for fetch in tf.nest.flatten(fetches)], less)
            for name, (fetches, less) in phases.items()}

  def time_phases(self, rounds):
    """Returns {phase: median seconds}."""
    seconds = self._medians(
        {name: fetches for name, (fetches, _) in self._phases.items()}, rounds)
    result = {name: seconds[name] - (seconds[less] if less else 0.)
              for name, (_, less) in self._phases.items()}
    result["covariances"] = (
        result.pop("sampled backward and covariances") -
        seconds["sampled backward"])
    result["the rest of a step"] = (
        result.pop("whole step") - result["forward and backward"] -
        result["preconditioning"])
    return result

  def _medians(self, runs, rounds):
    """Returns {name: median seconds} of ops that take turns."""
    times = {name: [] for name in runs}
    for _ in range(rounds + 1):
      for name, op in runs.items():
        times[name].append(self._time(op))
    return {name: np.median(values[1:]) for name, values in times.items()}

  def _time(self, op):
    start = time.perf_counter()
    self.session.run(op)
    return time.perf_counter() - start

  def compare_steps(self, rounds):
    """Times whole steps by all schedules.

    A turn is the shortest run of steps after which the schedule repeats, and
    a momentum step after each.

    Args:
      rounds: Number of turns.

    Returns:
      {schedule: (median seconds of a step, median ratio to momentum)}.
    """
    results = {}
    for name, (schedule, whole, kind) in SCHEDULES.items():
      train_op = self.optimizers[whole, kind][1]
      length = max(schedule.inv_every, schedule.cov_every)
      for t in range(1, length + 1):
        # TensorFlow prepares each set of fetches when it is first run.
        self._step(name, t, train_op)
      steps, ratios = [], []
      for _ in range(max(2, -(-rounds // length)) if length > 1 else rounds):
        times = np.array([
            (self._step(name, t, train_op), self._time(self.momentum))
            for t in range(1, length + 1)])
        steps.append(np.mean(times[:, 0]))
        ratios.append(np.mean(times[:, 0]) / np.mean(times[:, 1]))
      results[name] = np.median(steps), np.median(ratios)
    return results

  def _step(self, name, t, train_op):
    start = time.perf_counter()
    self.updates[name].run(self.session, t, train_op)
    return time.perf_counter() - start

  def slowest_step(self, name, steps):
    """Returns the slowest of some steps by a schedule over their median."""
    _, whole, kind = SCHEDULES[name]
    times = [self._step(name, t, self.optimizers[whole, kind][1])
             for t in range(1, steps + 1)]
    return np.max(times) / np.median(times)


def report(name, benchmark):
  """Prints the table of one model."""
  model = models.MODELS[name]
  print(
      f"\n{name}, batch {model.batch_size}: {benchmark.num_nodes} nodes, K-FAC "
      f"built in {benchmark.build_seconds:.2f} s")
  phases = benchmark.time_phases(FLAGS.rounds)
  momentum = benchmark._medians(
      {"momentum": benchmark.momentum}, FLAGS.rounds)["momentum"]
  rows = [("phase, statistics of the whole batch", "ms", "momentum steps")]
  rows += [(phase, f"{1e3 * seconds:.1f}",
            f"{seconds / momentum:.2f}")
           for phase, seconds in phases.items()]
  rows.append(("a momentum step", f"{1e3 * momentum:.1f}", "1.00"))
  print("\n".join(runner.align(rows)))
  rows = [("schedule", "ms a step", "momentum steps", "goal")]
  for schedule, (seconds, ratio) in benchmark.compare_steps(
      FLAGS.rounds).items():
    rows.append((schedule, f"{1e3 * seconds:.1f}",
                 f"{ratio:.2f}",
                 _verdict(ratio, GOALS.get((name, schedule)))))
  if FLAGS.steps:
    slowest = benchmark.slowest_step("recommended", FLAGS.steps)
    rows.append((f"slowest of {FLAGS.steps} recommended, in medians",
                 "", f"{slowest:.2f}", _verdict(slowest, SLOWEST_GOAL)))
  print("\n".join(runner.align(rows)), flush=True)


def _verdict(value, goal):
  if goal is None:
    return ""
  return "{:.2f} {}".format(
      goal, "met" if value <= goal else f"missed by {value - goal:.2f}")


def measure_memory(model, name):
  """Trains for some steps, and prints the peak memory in MB.

  Args:
    model: models.Model.
    name: "none" for no step, "momentum", "whole" or "recommended".
  """
  with tf.Graph().as_default(), tf.Session() as sess:
    inputs = tf.convert_to_tensor(models.make_inputs(model, model.batch_size))
    outputs, layers, loss = models.make_pass(model, inputs)
    updates = None
    if name == "momentum":
      train_op = tf.train.MomentumOptimizer(_RATE, 0.9).minimize(loss)
    elif name != "none":
      if name == "recommended":
        outputs, layers, _ = models.make_pass(
            model, inputs[:model.batch_size // FRACTION])
      optimizer = models.make_optimizer(
          model, outputs, layers, learning_rate=_RATE, damping=1.)
      train_op = optimizer.minimize(loss)
      updates = schedules.Updates(optimizer, SCHEDULES[
          "recommended" if name == "recommended" else "cov 1, inv 5"][0])
    sess.run(tf.global_variables_initializer())
    for t in range(12 if name != "none" else 0):
      if updates is None:
        sess.run(train_op)
      else:
        updates.run(sess, t, train_op)
  # Linux counts in kilobytes.
  print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.)


def count_memory(model):
  """Counts what training by K-FAC has to hold at once.

  Args:
    model: models.Model.

  Returns:
    MB of parameters, gradients, velocities, factors, inverses, activations.
  """
  with tf.Graph().as_default():
    inputs = tf.convert_to_tensor(models.make_inputs(model, model.batch_size))
    outputs, layers, _ = models.make_pass(model, inputs)
    optimizer = models.make_optimizer(
        model, outputs, layers, learning_rate=_RATE, damping=1.)
    assert optimizer.inv_update_op is not None
    factors = optimizer._fisher_est.factors
    elements = 3 * sum(v.shape.num_elements() for v in tf.trainable_variables())
    elements += 2 * sum(f.get_cov().shape.num_elements() for f in factors)
    # Outputs, and the inputs of the next layer.
    elements += sum(a.shape.num_elements() + b.shape.num_elements()
                    for _, a, b in layers)
  return 4. * elements / 2**20


def report_memory(name):
  """Prints the peak memory of each optimizer in a process of its own."""
  def peak(process):
    return float(subprocess.run(
        [sys.executable, os.path.abspath(__file__), "--models=" + name,
         "--process=" + process], check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True).stdout.split()[-1])

  model = models.MODELS[name]
  none, momentum, whole, part = (
      peak(process) for process in ("none", "momentum", "whole", "recommended"))
  count = count_memory(model)
  print(f"\n{name}, batch {model.batch_size}, peak memory of a process, MB")
  rows = [("process", "MB", "over momentum's", "goal"),
          ("without a step", f"{none:.0f}", "", ""),
          ("momentum", f"{momentum:.0f}", "1.00", "")]
  for label, value in (("K-FAC, cov 1, inv 5", whole),
                       ("K-FAC, recommended", part)):
    rows.append((label, f"{value:.0f}",
                 f"{value / momentum:.2f}",
                 _verdict(value / momentum, MEMORY_GOAL)))
  rows.append(("by count, K-FAC needs", f"{count:.0f}", "", ""))
  for label, value in (("cov 1, inv 5", whole), ("recommended", part)):
    rows.append((f"{label}: steps' part over the count",
                 f"{value - none:.0f}", f"{(value - none) / count:.2f}",
                 _verdict((value - none) / count, 1.25)))
  print("\n".join(runner.align(rows)), flush=True)


def main(_):
  """Runs the benchmark."""
  unknown = set(FLAGS.models) - set(models.MODELS)
  if unknown:
    sys.exit(
        f"--models must be of {sorted(models.MODELS)}, got {sorted(unknown)}.")
  kinds = {(whole, kind) for _, whole, kind in SCHEDULES.values()}
  for name in FLAGS.models:
    model = models.MODELS[name]
    if FLAGS.process:
      measure_memory(model, FLAGS.process)
    elif FLAGS.memory:
      report_memory(name)
    else:
      benchmark = Benchmark(model, kinds)
      report(name, benchmark)
      benchmark.session.close()


if __name__ == "__main__":
  tf.disable_v2_behavior()
  tf.logging.set_verbosity(tf.logging.ERROR)
  app.run(main)
