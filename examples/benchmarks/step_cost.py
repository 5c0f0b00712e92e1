"""Measures the time and memory of a step of K-FAC, relative to momentum.

python examples/benchmarks/step_cost.py                       # all models
python examples/benchmarks/step_cost.py --models=convnet
python examples/benchmarks/step_cost.py --memory              # peak memory

Every number is the median of several runs. The measured ops take turns, so
that other load on the machine slows all of them equally. Ratios are therefore
more reliable than times.
"""

import os
import resource
import subprocess
import sys
import time

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

from examples import interrupts
from examples import programs
from examples import runner
from examples import tables
from examples.benchmarks import models
from kfac.python.ops import curvature_matrix_vector_products as cmvp
from kfac.python.ops.kfac_utils import schedules

# The recommended schedule takes statistics from the first 1 /
# STATISTICS_DIVISOR of the batch.
STATISTICS_DIVISOR = 8
# Whole steps that are measured: the schedule, and the variant of K-FAC. A
# variant is whether statistics use the whole batch, and the momentum type.
SCHEDULES = {
    "recommended": (
        schedules.Schedule(cov_every=2, inv_every=20, shares=20),
        (False, "regular")),
    "cov_every=1, inv_every=5": (
        schedules.Schedule(cov_every=1, inv_every=5), (True, "regular")),
    "cov_every=1, inv_every=1": (
        schedules.Schedule(cov_every=1, inv_every=1), (True, "regular")),
    "recommended, qmodel": (
        schedules.Schedule(cov_every=2, inv_every=20, shares=20),
        (False, "qmodel")),
}
# The meaning of the schedules, printed before the tables.
EXPLANATION = (
    f"recommended: statistics from 1/{STATISTICS_DIVISOR} of the batch every "
    "2 updates; each inverse every 20 updates, some of them at each update.\n"
    "qmodel: step size and momentum from the quadratic model, and adapted "
    "damping.")
# The steps are so small that the variables hardly change.
_RATE = 1e-7

flags.DEFINE_list("models", list(models.MODELS), "Models to measure.")
flags.DEFINE_integer("rounds", 9, "Number of runs of each op.")
flags.DEFINE_integer("steps", 100, "Number of steps in the search for the "
                     "slowest step; 0 omits the search.")
flags.DEFINE_boolean("memory", False, "Measure the peak memory instead of "
                     "times, of each optimizer in a separate process.")
flags.DEFINE_string("process", None, "Internal: the optimizer whose peak "
                    "memory this process measures.")

FLAGS = flags.FLAGS


class Benchmark:
  """A model in one graph, with all optimizers on the same variables.

  Attributes:
    build_seconds: Time to build K-FAC with statistics from the whole batch.
    num_nodes: Number of nodes of the graph.
    momentum: The train op of momentum.
    optimizers: Dict from (whole_batch, momentum_type) to (KfacOptimizer, train
      op).
    updates: Dict from the name of a schedule to its schedules.Updates.
    session: The session of the graph.
  """

  def __init__(self, model, variants):
    """Builds the graph.

    Args:
      model: models.Model.
      variants: Set of variants of K-FAC, see SCHEDULES.
    """
    self._model = model
    with tf.Graph().as_default() as graph:
      inputs = tf.convert_to_tensor(models.make_inputs(model, model.batch_size))
      outputs, layers, self._loss = models.make_pass(model, inputs)
      self._variables = tf.trainable_variables()
      optimizer = tf.train.MomentumOptimizer(_RATE, 0.9)
      self.momentum = optimizer.minimize(self._loss)
      self._grads = tf.gradients(self._loss, self._variables)
      part_size = model.batch_size // STATISTICS_DIVISOR
      part_outputs, part_layers, _ = models.make_pass(
          model, inputs[:part_size])
      self.optimizers = {}
      for whole_batch, momentum_type in sorted(variants, reverse=True):
        start = time.perf_counter()
        self.optimizers[whole_batch, momentum_type] = self._make_kfac(
            outputs if whole_batch else part_outputs,
            layers if whole_batch else part_layers,
            model.batch_size if whole_batch else part_size, inputs,
            whole_batch, momentum_type)
        if whole_batch:
          self.build_seconds = time.perf_counter() - start
      self._phases = self._make_phases()
      self.updates = {
          name: schedules.Updates(self.optimizers[variant][0], schedule)
          for name, (schedule, variant) in SCHEDULES.items()}
      self.session = runner.start_session(graph)
      self.num_nodes = len(graph.get_operations())
    for updates in self.updates.values():
      updates.run(self.session, 0, self.momentum)

  def _make_kfac(self, outputs, layers, num_examples, inputs, whole_batch,
                 momentum_type):
    """Creates a KfacOptimizer and its train op."""
    part = "whole" if whole_batch else "part"
    settings = {"momentum_type": momentum_type,
                "name": f"KFAC_{part}_{momentum_type}"}
    if momentum_type == "qmodel":
      settings.update(
          batch_size=num_examples, momentum=0., adapt_damping=True,
          train_batch=inputs,
          loss_fn=lambda batch: models.make_pass(self._model, batch)[2])
    optimizer = models.make_optimizer(
        self._model, outputs, layers, learning_rate=_RATE, damping=1.,
        cov_ema_decay=0.95, **settings)
    return optimizer, optimizer.minimize(self._loss)

  def _make_phases(self):
    """Returns {phase: (fetches, phase whose time is subtracted, or None)}."""
    optimizer, train_op = self.optimizers[True, "regular"]
    estimator = optimizer._fisher_est
    vectors = list(zip(self._grads, self._variables, strict=True))
    precon = [product for product, _ in estimator.multiply_inverse(vectors)]
    sampled = [tensor for factor in estimator.factors
               for source in factor._data for tensor in source]
    computer = cmvp.CurvatureMatrixVectorProductComputer(
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
    # Ops avoid copying the values. They are not grouped, because TensorFlow
    # would prune the ones without side effects.
    return {name: ([getattr(fetch, "op", fetch)
                    for fetch in tf.nest.flatten(fetches)], subtracted)
            for name, (fetches, subtracted) in phases.items()}

  def time_phases(self, rounds):
    """Returns {phase: median seconds}."""
    seconds = self.median_seconds(
        {name: fetches for name, (fetches, _) in self._phases.items()}, rounds)
    result = {name: seconds[name] - (seconds[subtracted] if subtracted else 0.)
              for name, (_, subtracted) in self._phases.items()}
    result["covariances"] = (
        result.pop("sampled backward and covariances") -
        seconds["sampled backward"])
    result["rest of the step"] = (
        result.pop("whole step") - result["forward and backward"] -
        result["preconditioning"])
    return result

  def median_seconds(self, runs, rounds):
    """Returns {name: median seconds} of ops that take turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
      for name, op in runs.items():
        times[name].append(self._time(op))
    return {name: np.median(values[1:]) for name, values in times.items()}

  def _time(self, op):
    start = time.perf_counter()
    self.session.run(op)
    return time.perf_counter() - start

  def compare_steps(self, rounds):
    """Times whole steps of all schedules.

    A round is one period of the schedule, with a momentum step after each step
    of K-FAC.

    Args:
      rounds: Number of rounds.

    Returns:
      {schedule: (median seconds per step, median ratio to a momentum step)}.
    """
    results = {}
    for name, (schedule, variant) in SCHEDULES.items():
      train_op = self.optimizers[variant][1]
      length = max(schedule.inv_every, schedule.cov_every)
      for t in range(1, length + 1):
        # TensorFlow prepares each set of fetches at its first run.
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
    """Returns the ratio of the slowest step of a schedule to the median."""
    _, variant = SCHEDULES[name]
    train_op = self.optimizers[variant][1]
    times = [self._step(name, t, train_op) for t in range(1, steps + 1)]
    return np.max(times) / np.median(times)


def report(name, benchmark):
  """Prints the tables of one model."""
  model = models.MODELS[name]
  print(f"\n{name}, batch size {model.batch_size}: the graph has "
        f"{benchmark.num_nodes} nodes, building K-FAC took "
        f"{benchmark.build_seconds:.2f} s")
  phases = benchmark.time_phases(FLAGS.rounds)
  momentum = benchmark.median_seconds(
      {"momentum": benchmark.momentum}, FLAGS.rounds)["momentum"]
  rows = [("phase, with statistics from the whole batch", "ms",
           "ratio to a momentum step")]
  rows += [(phase, f"{1e3 * seconds:.1f}", f"{seconds / momentum:.2f}")
           for phase, seconds in phases.items()]
  rows.append(("momentum step", f"{1e3 * momentum:.1f}", "1.00"))
  print("\n".join(tables.align(rows)))
  rows = [("schedule", "ms per step", "ratio to a momentum step")]
  rows += [(schedule, f"{1e3 * seconds:.1f}", f"{ratio:.2f}")
           for schedule, (seconds, ratio) in benchmark.compare_steps(
               FLAGS.rounds).items()]
  print("\n".join(tables.align(rows)), flush=True)
  if FLAGS.steps:
    slowest = benchmark.slowest_step("recommended", FLAGS.steps)
    print(f"The slowest of {FLAGS.steps} recommended steps takes "
          f"{slowest:.2f} times the median.", flush=True)


def measure_memory(model, name):
  """Trains for some steps, and prints the peak memory in MB.

  Args:
    model: models.Model.
    name: "none" for no steps, "momentum", "whole" or "recommended".
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
            model, inputs[:model.batch_size // STATISTICS_DIVISOR])
      optimizer = models.make_optimizer(
          model, outputs, layers, learning_rate=_RATE, damping=1.)
      train_op = optimizer.minimize(loss)
      updates = schedules.Updates(optimizer, SCHEDULES[
          "recommended" if name == "recommended"
          else "cov_every=1, inv_every=5"][0])
    sess.run(tf.global_variables_initializer())
    for t in range(12 if name != "none" else 0):
      if updates is None:
        sess.run(train_op)
      else:
        updates.run(sess, t, train_op)
  # Linux counts in kilobytes.
  print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.)


def count_memory(model):
  """Computes the size of the tensors that K-FAC needs at the same time.

  Args:
    model: models.Model.

  Returns:
    MB of the parameters, gradients, velocities, factors, inverses and
    activations.
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
    # The outputs of a layer, and the inputs of the next layer.
    elements += sum(a.shape.num_elements() + b.shape.num_elements()
                    for _, a, b in layers)
  return 4. * elements / 2**20


def report_memory(name):
  """Prints the peak memory of each optimizer, in separate processes."""
  def peak(optimizer):
    process = subprocess.Popen(
        [sys.executable, os.path.abspath(__file__), "--models=" + name,
         "--process=" + optimizer], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True)
    with process, interrupts.cleanup(process.kill):
      output, _ = process.communicate()
    if process.returncode:
      raise subprocess.CalledProcessError(process.returncode, process.args)
    return float(output.split()[-1])

  model = models.MODELS[name]
  none, momentum, whole, part = (
      peak(optimizer)
      for optimizer in ("none", "momentum", "whole", "recommended"))
  print(f"\n{name}, batch size {model.batch_size}: K-FAC needs tensors of "
        f"{count_memory(model):.0f} MB")
  rows = [("training with", "peak MB of the process", "MB of the training",
           "ratio of peaks to momentum"),
          ("no steps", f"{none:.0f}", "0", f"{none / momentum:.2f}")]
  rows += [(label, f"{value:.0f}", f"{value - none:.0f}",
            f"{value / momentum:.2f}")
           for label, value in (("momentum", momentum),
                                ("K-FAC, cov_every=1, inv_every=5", whole),
                                ("K-FAC, recommended", part))]
  print("\n".join(tables.align(rows)), flush=True)


def run():
  """Runs the benchmark.

  Raises:
    runner.SettingsError: If a flag is invalid.
  """
  unknown = set(FLAGS.models) - set(models.MODELS)
  if unknown:
    raise runner.SettingsError(
        f"--models must be among {sorted(models.MODELS)}, got "
        f"{sorted(unknown)}.")
  variants = {variant for _, variant in SCHEDULES.values()}
  if not FLAGS.process:
    print(EXPLANATION)
  for name in FLAGS.models:
    model = models.MODELS[name]
    if FLAGS.process:
      measure_memory(model, FLAGS.process)
    elif FLAGS.memory:
      report_memory(name)
    else:
      benchmark = Benchmark(model, variants)
      report(name, benchmark)
      benchmark.session.close()


if __name__ == "__main__":
  tf.disable_v2_behavior()
  programs.run_program("step_cost", run)
