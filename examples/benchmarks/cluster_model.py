"""Computes the traffic and the time of a step with several workers.

Nothing here is measured. Traffic follows from the ops that kfac makes; the
times also from assumptions about machines, see `Machine`. The two ways to share
a step are those of kfac.python.ops.kfac_utils:

    servers       ServerWorkers: variables are on servers, worker 0 is the chief
    collectives   CollectiveWorkers: each worker has all variables
"""

import collections
import math

import numpy as np

from kfac.python.ops.kfac_utils import schedules

WAYS = ("servers", "collectives")
PHASES = ("step", "covariances", "inverses")
# Of a float32.
BYTES = 4

# What an update of ServerWorkers reads from the servers. A covariance update
# reads each covariance before and after it.
_COV_READS = 2
# An inverse update reads each covariance four times: for the damping of both
# factors of a layer, to check the diagonal, and to invert it. It reads each
# inverse twice: to keep it if the new one is not finite, and after the update.
_INV_READS = 6

# inputs: number of inputs of a layer, with the one that is always 1, if it has
#   a bias; k * k * channels for a convolution.
# outputs: number of outputs, or of channels.
# locations: number of locations of each example, 1 if it is no convolution.
Layer = collections.namedtuple("Layer", ["inputs", "outputs", "locations"])
# parameters: number of all parameters.
# factors: list of the numbers of rows of all factors.
Sizes = collections.namedtuple("Sizes", ["parameters", "factors"])
# A part of a phase. Rounds follow each other.
# links: array [tasks, tasks] of the numbers that each task sends to each other
#   one; servers come first, then workers.
# hops: number of messages that wait for each other.
Round = collections.namedtuple("Round", ["links", "hops"])
# flops: operations per second that a worker attains.
# bandwidth: bytes per second of its link, in each direction.
# latency: seconds of a message.
Machine = collections.namedtuple("Machine", ["flops", "bandwidth", "latency"])
# compute, traffic: seconds.
Time = collections.namedtuple("Time", ["compute", "traffic"])


def dense_layers(layer_sizes):
  """Returns the Layers of a network of dense layers with biases."""
  return [Layer(num_in + 1, num_out, 1) for num_in, num_out in zip(
      layer_sizes[:-1], layer_sizes[1:], strict=True)]


def resnet50_layers():
  """Returns the Layers of ResNet-50 for images of 224 x 224, without biases.

  They are those of He et al. 2016 (https://arxiv.org/abs/1512.03385), table 1.
  The first 1 x 1 convolution of each stage but the first has stride 2. Batch
  normalization is omitted.
  """
  layers = [Layer(7 * 7 * 3, 64, 112**2)]
  channels = 64
  for stage, num_blocks in enumerate((3, 4, 6, 3)):
    width, locations = 64 * 2**stage, (56 // 2**stage)**2
    for block in range(num_blocks):
      if block == 0:  # The projection of the shortcut.
        layers.append(Layer(channels, 4 * width, locations))
      layers += [Layer(channels, width, locations),
                 Layer(3 * 3 * width, width, locations),
                 Layer(width, 4 * width, locations)]
      channels = 4 * width
  return [*layers, Layer(channels + 1, 1000, 1)]


# The scales and shifts of batch normalization, which have no factors here.
RESNET50_NORMALIZATION = 53120


def sizes_of(layers, other_parameters=0):
  """Returns the Sizes of Layers.

  Args:
    layers: List of Layers.
    other_parameters: Number of parameters of other layers.
  """
  return Sizes(
      sum(layer.inputs * layer.outputs for layer in layers) + other_parameters,
      [size for layer in layers for size in (layer.inputs, layer.outputs)])


def owners(sizes, num_workers):
  """Returns which worker inverts each factor, as collectives.inverse_owners."""
  found = [0] * len(sizes.factors)
  for worker, share in enumerate(schedules.balanced_shares(
      [size**3 for size in sizes.factors], num_workers)):
    for index in share:
      found[index] = worker
  return found


def broadcast_targets(rank, source, num_workers):
  """Returns the workers to which one sends what a source broadcasts.

  TensorFlow sends along a binary tree, whose root is worker 0. Another source
  sends to its children, and to the workers 0 and 1.

  Args:
    rank: Number of the worker.
    source: Number of the worker that has the values.
    num_workers: Number of workers.
  """
  first = 2 * rank + (1 if source == 0 else 2)
  to_root = [0, 1] if rank == source != 0 else []
  return [target for target in (*to_root, first, first + 1)
          if target < num_workers and target != source]


def rounds(way, phase, sizes, num_workers, num_servers=1, due=None):
  """Computes what the tasks send to each other.

  Args:
    way: One of WAYS.
    phase: One of PHASES.
    sizes: Sizes.
    num_workers: Int >= 1.
    num_servers: Int >= 1. Variables and queues are taken to be evenly
      distributed over servers.
    due: List of the indices of the factors whose inverses are updated; None
      for all.

  Returns:
    List of Rounds.
  """
  due = range(len(sizes.factors)) if due is None else due
  if way == "servers":
    due_elements = sum(sizes.factors[index]**2 for index in due)
    return _server_rounds(
        phase, sizes.parameters, _elements(sizes), due_elements, num_workers,
        num_servers)
  if phase == "inverses":
    return [_broadcasts(sizes, num_workers, due)]
  return [_ring(sizes.parameters if phase == "step" else _elements(sizes),
                num_workers)]


def _elements(sizes):
  """Returns the number of elements of all factors."""
  return sum(size**2 for size in sizes.factors)


def _server_rounds(phase, num_params, num_elements, num_due, num_workers,
                   num_servers):
  """Returns the Rounds of servers, see `rounds`."""
  def exchange(to_chief=0, from_chief=0, to_helpers=0, from_helpers=0):
    links = np.zeros([num_servers + num_workers] * 2)
    links[:num_servers, num_servers] = to_chief / num_servers
    links[num_servers, :num_servers] = from_chief / num_servers
    links[:num_servers, num_servers + 1:] = to_helpers / num_servers
    links[num_servers + 1:, :num_servers] = from_helpers / num_servers
    return Round(links, 2)  # A request and its answer.

  if phase == "inverses":
    return [exchange(to_chief=_INV_READS * num_due),
            exchange(from_chief=num_due)]
  sent = num_params if phase == "step" else num_elements
  total = sent if num_workers > 1 else 0
  to_chief, from_chief = (
      (num_params + num_elements, 2 * num_params) if phase == "step"
      else (_COV_READS * num_elements, num_elements))
  return [exchange(to_chief=num_params, to_helpers=num_params),
          exchange(from_helpers=sent),
          exchange(to_chief=total + to_chief),
          exchange(from_chief=from_chief)]


def _ring(num_elements, num_workers):
  """Returns the Round of a sum around a ring."""
  links = np.zeros([num_workers] * 2)
  if num_workers > 1:
    for worker in range(num_workers):
      links[worker, (worker + 1) % num_workers] = (
          2 * (num_workers - 1) / num_workers * num_elements)
  return Round(links, 2 * (num_workers - 1))


def _broadcasts(sizes, num_workers, due):
  """Returns the Round in which owners send their inverses."""
  links = np.zeros([num_workers] * 2)
  owner_of = owners(sizes, num_workers)
  elements = collections.Counter()
  for index in due:
    elements[owner_of[index]] += sizes.factors[index]**2
  for source, count in elements.items():
    for worker in range(num_workers):
      for target in broadcast_targets(worker, source, num_workers):
        links[worker, target] += count
  return Round(links, math.ceil(math.log2(num_workers)))


def links(*args, **kwargs):
  """Returns the sum of the links of `rounds`, bytes."""
  return BYTES * sum(part.links for part in rounds(*args, **kwargs))


def busiest(counts):
  """Returns the largest sum of what one task sends, or receives.

  Args:
    counts: Array [tasks, tasks] of what is sent.
  """
  return max(counts.sum(axis=0).max(), counts.sum(axis=1).max())


def operations(layers, batch_size, fraction=1.):
  """Counts the floating-point operations of a step in one process.

  g3doc/performance.md explains them.

  Args:
    layers: List of Layers.
    batch_size: Number of examples.
    fraction: Part of the batch that the covariances use.

  Returns:
    {phase: operations}, where "step" is divided into "gradient", which the
    workers share, and "preconditioning", which each does that updates the
    variables. "inverses" is a list, one number per factor.
  """
  def products(layer):
    return 2 * batch_size * layer.locations * layer.inputs * layer.outputs

  each = list(map(products, layers))
  return {
      # The first layer needs no gradient with respect to its inputs.
      "gradient": 3 * sum(each) - each[0],
      "preconditioning": sum(
          2 * a * g * (a + g) for a, g, _ in layers),
      "covariances": fraction * (sum(each) - each[0] + sum(
          1.25 * batch_size * layer.locations * (
              layer.inputs**2 + layer.outputs**2) for layer in layers)),
      "inverses": [2 * size**3 for size in sizes_of(layers).factors],
  }


class Simulation:
  """The time of steps of a model with several workers.

  Work and traffic of a phase follow each other, and the traffic of a round
  takes as long as that of its busiest link.

  Args:
    layers: List of Layers.
    batch_size: Number of examples of all workers.
    machine: Machine.
    other_parameters: See `sizes_of`.
    fraction: See `operations`.
  """

  def __init__(self, layers, batch_size, machine, other_parameters=0,
               fraction=1.):
    self.sizes = sizes_of(layers, other_parameters)
    self._operations = operations(layers, batch_size, fraction)
    self._machine = machine

  def time(self, way, phase, num_workers, num_servers=1, due=None):
    """Returns the Time of a phase; see `rounds` for the arguments."""
    work = {
        "step": lambda: (self._operations["gradient"] / num_workers
                         + self._operations["preconditioning"]),
        "covariances": lambda: self._operations["covariances"] / num_workers,
        "inverses": lambda: self._inversion(way, num_workers, due),
    }[phase]()
    parts = rounds(way, phase, self.sizes, num_workers, num_servers, due)
    return Time(work / self._machine.flops, sum(
        BYTES * busiest(part.links) / self._machine.bandwidth
        + part.hops * self._machine.latency for part in parts))

  def _inversion(self, way, num_workers, due):
    """Returns the operations of the worker that has most to invert."""
    owner_of = owners(self.sizes, num_workers if way == "collectives" else 1)
    work = collections.Counter()
    for index in range(len(owner_of)) if due is None else due:
      work[owner_of[index]] += self._operations["inverses"][index]
    return max(work.values(), default=0)

  def mean_step(self, way, schedule, num_workers, num_servers=1):
    """Returns the mean Time of steps with the updates of a schedule.

    Args:
      way: One of WAYS.
      schedule: schedules.Schedule.
      num_workers: Int >= 1.
      num_servers: Int >= 1.
    """
    times = self._times(way, schedule, num_workers, num_servers)
    weights = [1., 1. / schedule.cov_every] + [
        1. / schedule.inv_every] * schedule.shares
    return Time(*(float(np.dot(weights, part))
                  for part in zip(*times, strict=True)))

  def slowest_step(self, way, schedule, num_workers, num_servers=1):
    """Returns the seconds of a step with covariances and the slowest share."""
    step, cov, *shares = map(sum, self._times(
        way, schedule, num_workers, num_servers))
    return step + cov + max(shares)

  def _times(self, way, schedule, num_workers, num_servers):
    """Returns the Times of a step, of covariances and of each share."""
    shares = schedules.balanced_shares(
        [size**3 for size in self.sizes.factors], schedule.shares)
    return [
        self.time(way, "step", num_workers, num_servers),
        self.time(way, "covariances", num_workers, num_servers),
        *(self.time(way, "inverses", num_workers, num_servers, share)
          for share in shares)]


def saturating_workers(layers, examples_per_worker, machine, num_servers,
                       other_parameters=0):
  """Computes with how many workers the links of the servers are saturated.

  Each worker reads the parameters from the servers and sends them a gradient.
  From this number of workers on, this takes the servers longer than it takes a
  worker to compute its gradient.

  Args:
    layers: List of Layers.
    examples_per_worker: Number of examples of each worker.
    machine: Machine.
    num_servers: Int >= 1.
    other_parameters: See `sizes_of`.

  Returns:
    Int.
  """
  gradient = (operations(layers, examples_per_worker)["gradient"]
              / machine.flops)
  # A server sends while it receives, but a step has to read before it sends.
  per_worker = (2 * BYTES * sizes_of(layers, other_parameters).parameters
                / num_servers / machine.bandwidth)
  return math.ceil(gradient / per_worker)
