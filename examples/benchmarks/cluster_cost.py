"""Measures the time and the traffic of a step of K-FAC with several workers.

python examples/benchmarks/cluster_cost.py               # 1, 2 and 4 workers
python examples/benchmarks/cluster_cost.py --simulate    # other machines
python examples/benchmarks/cluster_cost.py --staleness   # old inverses

The workers and servers are processes of this machine. The joint batch does not
depend on their number. Each cluster runs twice: once for the times, and once
with a relay between all tasks, which counts bytes and takes time of its own.
"""

import dataclasses
import multiprocessing
import os
import sys
import time
from typing import Any
from typing import NamedTuple

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

from examples import autoencoder
from examples import cluster
from examples import interrupts
from examples import mnist
from examples import programs
from examples import runner
from examples import tables
from examples.benchmarks import byte_relay
from examples.benchmarks import cluster_model
from examples.benchmarks import models
from examples.benchmarks import staleness
from kfac.python.ops.kfac_utils import collectives
from kfac.python.ops.kfac_utils import schedules
from kfac.python.ops.kfac_utils import server_workers

UPDATES = 5
# What is timed: a step, alone or after updates.
STEPS = {
    "step": ("step",),
    "with covariances": ("covariances", "step"),
    "with inverses": ("covariances", "inverses", "step"),
}
# What is simulated: layers, number of parameters of other layers, and the
# number of examples of all workers.
SIMULATED = {
    "autoencoder": (
        cluster_model.dense_layers(autoencoder.LAYER_SIZES), 0, 10000),
    "ResNet-50": (
        cluster_model.resnet50_layers(), cluster_model.RESNET50_NORMALIZATION,
        3200),
}
SIMULATED_WORKERS = (1, 2, 4, 10, 30, 100)
SIMULATED_SERVERS = (1, 16)
SIMULATED_EXAMPLES = (10, 100, 1000)
# The schedule that g3doc/performance.md recommends.
SCHEDULE = schedules.Schedule(cov_every=2, inv_every=20, shares=20)
# Covariances are computed from this part of the batch.
FRACTION = 0.125
# The steps are so small that the variables hardly change.
_RATE = 1e-7
_WARM_UP = 2
_POLL_SECS = 0.01
# How long the last bytes may be on their way after a run.
_SETTLE_SECS = 0.2

flags.DEFINE_list("ways", list(cluster_model.WAYS), "How workers share a step.")
flags.DEFINE_list("worker_counts", ["1", "2", "4"], "Numbers of workers.")
flags.DEFINE_integer("servers", 1, "Number of servers.")
flags.DEFINE_enum("cluster_model", "autoencoder", sorted(models.MODELS),
                  "The model whose step is measured.")
flags.DEFINE_boolean("simulate", False, "Compute the time of steps on other "
                     "machines.")
flags.DEFINE_float("gflops", 1000., "With --simulate, the operations per "
                   "second that a worker attains, in 10^9.")
flags.DEFINE_float("gigabits", 10., "With --simulate, 10^9 bits per second of "
                   "the link of a task, in each direction.")
flags.DEFINE_float("latency_us", 50., "With --simulate, the microseconds of a "
                   "message.")
flags.DEFINE_boolean("staleness", False, "Train with inverses that lack the "
                     "last covariance updates.")
flags.DEFINE_list("cases", list(staleness.CASES), "With --staleness, what is "
                  "trained.")
flags.DEFINE_list("ages", [str(age) for age in staleness.AGES],
                  "With --staleness, the numbers of updates that inverses "
                  "lack. The first is the one that others are compared with.")
flags.DEFINE_integer("num_seeds", 3, "With --staleness, the number of seeds.")
for _name in ("batch_size", "updates", "data_dir"):
  flags.declare_key_flag(_name)

FLAGS = flags.FLAGS


@dataclasses.dataclass(frozen=True)
class Layout:
  """The tasks of a cluster. Servers come first, then workers.

  Attributes:
    way: One of cluster_model.WAYS.
    num_workers: Int, number of workers.
    num_servers: Int, number of servers; 0 with collectives.
  """

  way: str
  num_workers: int
  num_servers: int

  @property
  def num_tasks(self):
    """Number of all tasks."""
    return self.num_servers + self.num_workers

  def spec(self, addresses):
    """Returns the tf.train.ClusterSpec for the addresses of all tasks."""
    jobs = {"worker": addresses[self.num_servers:]}
    if self.num_servers:
      jobs["ps"] = addresses[:self.num_servers]
    return tf.train.ClusterSpec(jobs)


class Job(NamedTuple):
  """What a cluster measures.

  Attributes:
    layout: Layout.
    model: Key of models.MODELS.
    batch_size: Number of examples of all workers.
    repeats: How often each run is measured.
  """

  layout: Layout
  model: str
  batch_size: int
  repeats: int


class Shared(NamedTuple):
  """What the processes of a cluster share.

  Attributes:
    barrier: Barrier of the workers.
    done: Event, after which servers end.
    cpu: Array of the CPU seconds of each task.
    counts: byte_relay.Counts, or None if times are measured.
    results: Queue of what the chief has measured.
  """

  barrier: Any
  done: Any
  cpu: Any
  counts: byte_relay.Counts | None
  results: Any


class Measured(NamedTuple):
  """What was measured in a cluster.

  Attributes:
    seconds: {step: median seconds}, see STEPS.
    cpu: {step: CPU seconds of all tasks}.
    links: {phase: array [tasks, tasks] of the bytes that were sent}.
    sizes: cluster_model.Sizes of the model.
  """

  seconds: dict
  cpu: dict
  links: dict
  sizes: cluster_model.Sizes


class Worker:
  """A worker, in a process of its own.

  Args:
    job: Job.
    shared: Shared.
    addresses: Addresses of all tasks.
    index: Number of the worker.
  """

  def __init__(self, job, shared, addresses, index):
    self._job = job
    self._shared = shared
    self._index = index
    workers, config, device = self._join(addresses)
    with tf.Graph().as_default() as graph:
      with tf.device(device):
        self._build(workers)
        initial = [tf.global_variables_initializer()]
        if job.layout.way == "collectives":
          initial.append(workers.broadcast(tf.global_variables()))
        local = tf.local_variables_initializer()
    self._session = tf.Session(self._server.target, graph=graph, config=config)
    # Servers have the variables of all workers.
    for op in initial if index == 0 or job.layout.way != "servers" else []:
      self._session.run(op)
    self._session.run(local)
    shared.barrier.wait()
    for _ in range(_WARM_UP):
      self._run(STEPS["with inverses"])

  def _join(self, addresses):
    """Starts the server of the worker; returns Workers, config and device."""
    layout, index = self._job.layout, self._index
    spec = layout.spec(addresses)
    if layout.way == "servers":
      workers = server_workers.ServerWorkers(
          layout.num_workers, index, layout.num_servers)
      config = tf.ConfigProto(
          device_filters=["/job:ps", f"/job:worker/task:{index}"])
      device = tf.train.replica_device_setter(
          worker_device=f"/job:worker/task:{index}", cluster=spec)
    else:
      workers = collectives.CollectiveWorkers(layout.num_workers, index)
      config, device = workers.config, workers.device
    self._server = tf.train.Server(spec, "worker", index, config=config)
    return workers, config, device

  def _build(self, workers):
    """Builds the model for a part of the batch, and the optimizer."""
    model = models.MODELS[self._job.model]
    inputs = tf.constant(np.random.RandomState(self._index).rand(
        self._job.batch_size // workers.count, model.num_inputs), tf.float32)
    with tf.variable_scope("", use_resource=True):
      outputs, layers, loss = models.make_pass(model, inputs)
    optimizer = models.make_optimizer(
        model, outputs, layers, learning_rate=_RATE, damping=1.,
        cov_ema_decay=0.95, workers=workers)
    self._ops = {"step": optimizer.minimize(loss),
                 "covariances": optimizer.cov_update_op,
                 "inverses": optimizer.inv_update_op}
    self.sizes = cluster_model.Sizes(
        sum(v.shape.num_elements() for v in tf.trainable_variables()),
        [cov.shape.as_list()[0] for cov in optimizer.get_cov_vars()])

  def _run(self, phases):
    """Runs phases in order, and returns the seconds."""
    start = time.perf_counter()
    for phase in phases:
      if interrupts.requested():
        sys.exit(interrupts.exit_status())
      self._session.run(self._ops[phase])
    return time.perf_counter() - start

  def _meet(self, read):
    """Waits until all workers are here and all messages have arrived.

    Args:
      read: Function without arguments, called before a worker goes on.

    Returns:
      What it returns.
    """
    task = self._job.layout.num_servers + self._index
    self._shared.cpu[task] = time.process_time()
    self._shared.barrier.wait()
    time.sleep(_SETTLE_SECS)
    result = read()
    self._shared.barrier.wait()
    return result

  def time(self):
    """Returns {step: median seconds} and {step: CPU seconds of all tasks}."""
    seconds: dict = {name: [] for name in STEPS}
    cpu: dict = {name: [] for name in STEPS}
    before = self._meet(lambda: sum(self._shared.cpu))
    for _ in range(self._job.repeats):
      for name, phases in STEPS.items():
        seconds[name].append(self._run(phases))
        after = self._meet(lambda: sum(self._shared.cpu))
        cpu[name].append(after - before)
        before = after
    return [{name: float(np.median(values)) for name, values in part.items()}
            for part in (seconds, cpu)]

  def count(self):
    """Returns {phase: array of the bytes that were sent in a run}."""
    links = {}
    before = self._meet(self._shared.counts.read)
    for phase in cluster_model.PHASES:
      self._run([phase] * self._job.repeats)
      after = self._meet(self._shared.counts.read)
      links[phase] = (after - before) / self._job.repeats
      before = after
    return links


def work(job, shared, addresses, index):
  """Does what a worker does; the chief reports."""
  tf.logging.set_verbosity(tf.logging.ERROR)
  worker = Worker(job, shared, addresses, index)
  found = worker.count() if shared.counts else worker.time()
  if index == 0:
    shared.results.put((found, worker.sizes))
    shared.done.set()


def serve(job, shared, addresses, index):
  """Does what a server does until the chief is done."""
  server = tf.train.Server(job.layout.spec(addresses), "ps", index)
  while not shared.done.wait(_POLL_SECS):
    shared.cpu[index] = time.process_time()
  del server


def relay_bytes(relay, done):
  """Runs a byte_relay.Relay until the chief is done."""
  relay.start()
  done.wait()


def run_cluster(job, is_counting):
  """Starts the processes of a cluster.

  Args:
    job: Job.
    is_counting: Whether bytes are counted; otherwise times are measured.

  Returns:
    What the chief has found: what Worker.count or Worker.time returns, and
    the cluster_model.Sizes.
  """
  layout = job.layout
  addresses = cluster.free_addresses(layout.num_tasks)
  counts = byte_relay.Counts(layout.num_tasks) if is_counting else None
  shared = Shared(
      multiprocessing.Barrier(layout.num_workers), multiprocessing.Event(),
      multiprocessing.Array("d", layout.num_tasks), counts,
      multiprocessing.SimpleQueue())
  relay = byte_relay.Relay(addresses, counts) if is_counting else None
  tasks = []
  for number in range(layout.num_tasks):
    is_server = number < layout.num_servers
    index = number if is_server else number - layout.num_servers
    tasks.append(cluster.Task(
        f"{'server' if is_server else 'worker'} {index}",
        serve if is_server else work,
        (job, shared, relay.addresses(number) if relay else addresses, index)))
  if relay:
    tasks.append(cluster.Task("relay", relay_bytes, (relay, shared.done)))
  leader = tasks.pop(layout.num_servers)
  status = cluster.run(leader, tasks)
  if status:
    sys.exit(status)
  return shared.results.get()


def measure(job):
  """Returns what was Measured in two runs of a cluster."""
  (seconds, cpu), sizes = run_cluster(job, False)
  links, _ = run_cluster(job, True)
  return Measured(seconds, cpu, links, sizes)


def time_rows(measured):
  """Returns the rows of the table of times.

  Args:
    measured: {Layout: Measured}.
  """
  rows = [("way", "workers", *(f"ms {name}" for name in STEPS),
           *(f"CPU ms {name}" for name in STEPS))]
  rows += [
      (layout.way, str(layout.num_workers), *(
          f"{1e3 * values[name]:.0f}"
          for values in (found.seconds, found.cpu) for name in STEPS))
      for layout, found in measured.items()]
  return rows


def traffic_rows(measured):
  """Returns the rows of the table of bytes; see `time_rows`."""
  rows = [("way", "workers", "phase", "MB computed", "MB measured",
           "difference", "busiest computed", "busiest measured")]
  for layout, found in measured.items():
    for phase, links in found.links.items():
      computed = cluster_model.links(
          layout.way, phase, found.sizes, layout.num_workers,
          max(1, layout.num_servers))
      total = computed.sum()
      rows.append((
          layout.way, str(layout.num_workers), phase, _megabytes(total),
          _megabytes(links.sum()),
          f"{links.sum() / total - 1.:+.1%}" if total else "-",
          _megabytes(cluster_model.busiest(computed)),
          _megabytes(cluster_model.busiest(links))))
  return rows


def _megabytes(count):
  return f"{count / 1e6:.2f}"


def report_measured(ways, worker_counts, batch_size):
  """Measures clusters, and prints the tables.

  Args:
    ways: List of cluster_model.WAYS.
    worker_counts: List of ints.
    batch_size: Number of examples of all workers.
  """
  interrupts.keep_results()
  measured: dict = {}
  for way in ways:
    for count in worker_counts:
      layout = Layout(way, count, FLAGS.servers if way == "servers" else 0)
      measured[layout] = measure(Job(
          layout, FLAGS.cluster_model, batch_size, FLAGS.updates or UPDATES))
  print(f"{FLAGS.cluster_model}, joint batch of {batch_size} examples: median "
        "milliseconds, and CPU milliseconds of all tasks")
  print("\n".join(tables.align(time_rows(measured))))
  print("\nMB between tasks; the busiest task sends or receives most")
  print("\n".join(tables.align(traffic_rows(measured))), flush=True)


def simulated_rows(simulation):
  """Returns the rows of the table of a cluster_model.Simulation."""
  columns = [("servers", count) for count in SIMULATED_SERVERS]
  columns.append(("collectives", 0))
  names = [f"{way}, {count}" if count else way for way, count in columns]
  rows = [("workers", *(f"ms {name}" for name in names),
           *(f"traffic {name}" for name in names),
           *(f"slowest {name}" for name in names))]
  for count in SIMULATED_WORKERS:
    means, slowest = [], []
    for way, num_servers in columns:
      arguments = way, SCHEDULE, count, max(1, num_servers)
      means.append(simulation.mean_step(*arguments))
      slowest.append(simulation.slowest_step(*arguments))
    rows.append((str(count), *(f"{1e3 * sum(mean):.1f}" for mean in means),
                 *(f"{mean.traffic / sum(mean):.0%}" for mean in means),
                 *(f"{1e3 * seconds:.1f}" for seconds in slowest)))
  return rows


def saturation_rows(layers, other_parameters, machine):
  """Returns the rows of the table of saturated servers."""
  rows = [("examples per worker", *(
      f"workers, {count} servers" for count in SIMULATED_SERVERS))]
  rows += [(str(examples), *(
      str(cluster_model.saturating_workers(
          layers, examples, machine, count, other_parameters))
      for count in SIMULATED_SERVERS)) for examples in SIMULATED_EXAMPLES]
  return rows


def report_simulated(machine):
  """Computes and prints the time of steps on other machines.

  Args:
    machine: cluster_model.Machine.
  """
  print(f"Computed, not measured: {machine.flops / 1e9:g} GFLOP/s, "
        f"{8e-9 * machine.bandwidth:g} Gbit/s, {1e6 * machine.latency:g} us; "
        f"{SCHEDULE}, covariances from {FRACTION:g} of the batch")
  for name, (layers, other_parameters, batch_size) in SIMULATED.items():
    simulation = cluster_model.Simulation(
        layers, batch_size, machine, other_parameters, FRACTION)
    sizes = simulation.sizes
    print(f"\n{name}: {sizes.parameters:,} parameters, "
          f"{sum(size**2 for size in sizes.factors):,} elements of factors, "
          f"joint batch of {batch_size}")
    print("\n".join(tables.align(simulated_rows(simulation))))
    print("The servers are saturated from this number of workers on:")
    print("\n".join(tables.align(saturation_rows(
        layers, other_parameters, machine))), flush=True)


def _integers(name, minimum):
  """Returns the integers in a flag, or raises SettingsError."""
  values = FLAGS[name].value
  if not values or not all(
      value.isdecimal() and int(value) >= minimum for value in values):
    raise runner.SettingsError(
        f"--{name} must be integers of at least {minimum}, got "
        f"{','.join(values)!r}.")
  return list(dict.fromkeys(map(int, values)))


def _choices(name, known):
  """Returns the values of a flag, or raises SettingsError."""
  values = FLAGS[name].value
  if not values or set(values) - set(known):
    raise runner.SettingsError(
        f"--{name} must be among {list(known)}, got {','.join(values)!r}.")
  return list(dict.fromkeys(values))


def _batch_size(worker_counts):
  """Returns the joint batch size, or raises SettingsError."""
  batch_size = (FLAGS.batch_size
                or models.MODELS[FLAGS.cluster_model].batch_size)
  for count in worker_counts:
    if batch_size % count:
      raise runner.SettingsError(
          "--batch_size must be a multiple of all --worker_counts, got "
          f"{batch_size} for {count}.")
  return batch_size


def _run_staleness():
  """Trains with old inverses according to the flags."""
  cases = [staleness.CASES[name]
           for name in _choices("cases", staleness.CASES)]
  if FLAGS.updates:
    cases = [case._replace(updates=FLAGS.updates) for case in cases]
  staleness.report(cases, _integers("ages", 0), range(FLAGS.num_seeds),
                   mnist.load(FLAGS.data_dir))


def run():
  """Runs what the flags choose.

  Raises:
    runner.SettingsError: If a flag is invalid, or if a process fails.
    mnist.DataError: If the data cannot be read.
  """
  runner.check_values(
      runner.COUNT, "batch_size", "updates", "servers", "num_seeds")
  runner.check_values(runner.POSITIVE, "gflops", "gigabits", "latency_us")
  if FLAGS.simulate and FLAGS.staleness:
    raise runner.SettingsError(
        "--simulate and --staleness are mutually exclusive, got both.")
  if FLAGS.staleness:
    _run_staleness()
  elif FLAGS.simulate:
    report_simulated(cluster_model.Machine(
        1e9 * FLAGS.gflops, 1e9 * FLAGS.gigabits / 8, 1e-6 * FLAGS.latency_us))
  else:
    ways = _choices("ways", cluster_model.WAYS)
    counts = _integers("worker_counts", 1)
    try:
      report_measured(ways, counts, _batch_size(counts))
    except cluster.ProcessError as error:
      raise runner.SettingsError(str(error)) from error


if __name__ == "__main__":
  tf.disable_v2_behavior()
  programs.run_program("cluster_cost", run)
