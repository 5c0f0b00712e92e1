"""Trains the convolutional network in several processes, on one or more hosts.

python examples/convnet_mnist_distributed_main.py --local_cluster
    # a server and two workers on this machine
python examples/convnet_mnist_distributed_main.py --local_cluster \
    --mode=collective --worker_replicas=3          # three workers, no server
python examples/convnet_mnist_distributed_main.py --job=worker --task=0 \
    --ps_hosts=HOST:PORT --worker_hosts=HOST:PORT,HOST:PORT
    # one process of a cluster; each server and worker is started like this
python examples/convnet_mnist_distributed_main.py --help           # all flags
"""

import dataclasses
import os
import sys
import time

# A program that runs as a file does not find modules in the parent directory.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if __name__ == "__main__":
  # Importing TensorFlow takes seconds.
  from examples import interrupts
  interrupts.catch()
  # The end of a process is no error for the servers of the others.
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow.compat.v1 as tf
from absl import flags

from examples import cluster
from examples import convnet_mnist_main
from examples import distributed
from examples import mnist
from examples import programs
from examples import runner
from kfac.python.ops.kfac_utils import watchdog

flags.DEFINE_boolean(
    "local_cluster", False, "Start all processes on this machine.")
flags.DEFINE_enum(
    "mode", "synchronous", list(distributed.MODES),
    "How the workers train together. synchronous: each step is that of one "
    "process with the whole batch. sync_replicas: by SyncReplicasOptimizer. "
    "asynchronous: each worker makes steps of its own. collective: as "
    "synchronous, without servers.")
flags.DEFINE_enum(
    "job", None, ["ps", "worker"], "Whether this process is a server (ps) or a "
    "worker.")
flags.DEFINE_integer(
    "task", None, "Number of this process in its job; worker 0 is the chief.")
flags.DEFINE_list("ps_hosts", None, "HOST:PORT of each server.")
flags.DEFINE_list("worker_hosts", None, "HOST:PORT of each worker.")
flags.DEFINE_string(
    "master", None, "Target of a TensorFlow server that this worker uses, in "
    "place of hosts: grpc://HOST:PORT.")
flags.DEFINE_integer(
    "ps_tasks", None, "Number of servers; 1 by default in a local cluster.")
flags.DEFINE_alias("num_servers", "ps_tasks")
flags.DEFINE_integer(
    "worker_replicas", None, "Number of workers; in a local cluster 2 by "
    "default, or 3 with dedicated workers.")
flags.DEFINE_enum(
    "op_strategy", "chief_worker", list(distributed.OP_STRATEGIES),
    "Who updates statistics and inverses, if the mode is sync_replicas or "
    "asynchronous: the chief besides its gradients, or the last two workers, "
    "one of them statistics, the other inverses, and they nothing else.")
flags.DEFINE_integer(
    "replicas_to_aggregate", None, "Number of gradients in a mean, if the mode "
    "is sync_replicas. By default there is one from each worker that computes "
    "gradients.")
flags.DEFINE_string(
    "checkpoint_dir", None, "Directory of checkpoints, from which a chief that "
    "starts again continues.")
flags.DEFINE_integer("save_every", 20, "Updates between two checkpoints.")
flags.DEFINE_boolean(
    "watchdog", True, "End all processes if one of them is lost.")
flags.DEFINE_float(
    "grace_secs", 20., "Seconds of silence after which a process is lost.")
flags.DEFINE_alias("num_epochs", "epochs")
flags.adopt_module_key_flags(convnet_mnist_main)

FLAGS = flags.FLAGS
EXPERIMENT = dataclasses.replace(
    convnet_mnist_main.EXPERIMENT, name="convnet_mnist_distributed", updates=60)

_LOCAL = ("job", "task", "ps_hosts", "worker_hosts", "master")
_MIN_GRACE_SECS = 3.
# Workers close their sessions after they have finished; if a server were gone,
# TensorFlow would print errors.
_LINGER_SECS = 3.
# Number of characters of an error of TensorFlow in a line.
_MAX_REASON = 200


def count_tasks():
  """Returns the numbers of workers and servers, by flags.

  Raises:
    runner.SettingsError: If flags are invalid, missing, or contradict others.
  """
  defaults = (None, None)
  if FLAGS.local_cluster:
    defaults = (3 if FLAGS.op_strategy == "dedicated_workers" else 2, 1)
  counts = [_count(*args) for args in zip(
      ("worker_replicas", "ps_tasks"), ("worker_hosts", "ps_hosts"), defaults,
      strict=True)]
  if FLAGS.mode == "collective":
    counts[1] = 0
  for name, count in zip(("worker", "ps"), counts, strict=True):
    if count is None:
      raise runner.SettingsError(
          f"--{name}_hosts must be given, or --local_cluster.")
  return counts


def _count(count_name, hosts_name, default):
  """Returns the number of processes of a job, or None if it is not given."""
  count, hosts = FLAGS[count_name].value, FLAGS[hosts_name].value
  if hosts is None:
    return default if count is None else count
  if count not in (None, len(hosts)):
    raise runner.SettingsError(
        f"--{count_name} must be {len(hosts)}, the number of --{hosts_name}, "
        f"got {count}.")
  return len(hosts)


def check_flags():
  """Raises SettingsError if a flag is invalid."""
  runner.check_unused("optimizer", "compare", "momentum_type", "recipe", "auto")
  runner.check_flags(EXPERIMENT)
  runner.check_values(
      runner.COUNT, "worker_replicas", "ps_tasks", "replicas_to_aggregate",
      "save_every")
  runner.check_values(
      (f"at least {_MIN_GRACE_SECS:g}", lambda value: value >= _MIN_GRACE_SECS),
      "grace_secs")
  _check_mode()
  for name in _LOCAL if FLAGS.local_cluster else ():
    if FLAGS[name].present:
      raise runner.SettingsError(
          f"--local_cluster determines --{name}, got {FLAGS[name].value}.")
  num_workers, num_servers = count_tasks()
  if FLAGS.op_strategy == "dedicated_workers" and (
      num_workers < distributed.MIN_DEDICATED):
    raise runner.SettingsError(
        "--worker_replicas must be at least "
        f"{distributed.MIN_DEDICATED} with dedicated workers, got "
        f"{num_workers}.")
  _check_batch_size(num_workers)
  if not FLAGS.local_cluster:
    _check_task(num_workers, num_servers)


def _check_mode():
  """Raises SettingsError if the mode ignores a flag."""
  unused = {
      "synchronous": ("op_strategy", "replicas_to_aggregate"),
      "asynchronous": ("replicas_to_aggregate",),
      "collective": ("op_strategy", "replicas_to_aggregate", "ps_tasks",
                     "ps_hosts", "master")}.get(FLAGS.mode, ())
  for name in unused:
    if FLAGS[name].present:
      raise runner.SettingsError(
          f"--{name} is not used by the mode {FLAGS.mode}, got "
          f"{FLAGS[name].value}.")
  if FLAGS.op_strategy == "dedicated_workers":
    for name in ("cov_update_every", "inv_update_every"):
      if FLAGS[name].present:
        raise runner.SettingsError(
            f"--{name} is not used by dedicated workers, got "
            f"{FLAGS[name].value}.")


def _check_batch_size(num_workers):
  """Raises SettingsError if a batch has no equal parts."""
  num_parts = _place(0, num_workers, 1).num_parts
  size = FLAGS.batch_size or EXPERIMENT.batch_size
  if size % num_parts:
    raise runner.SettingsError(
        f"--batch_size must be a multiple of {num_parts}, the number of "
        f"workers that compute gradients, got {size}.")


def _check_task(num_workers, num_servers):
  """Raises SettingsError if the flags do not describe one process."""
  for name in ("job", "task"):
    if FLAGS[name].value is None:
      raise runner.SettingsError(
          f"--{name} must be given without --local_cluster.")
  count = num_workers if FLAGS.job == "worker" else num_servers
  if not 0 <= FLAGS.task < count:
    raise runner.SettingsError(
        f"--task must be in [0, {count}), the processes of the job "
        f"{FLAGS.job}, got {FLAGS.task}.")
  if FLAGS.master is not None:
    if FLAGS.job == "ps":
      raise runner.SettingsError("--master is only used by workers.")
    return
  for name in ("worker_hosts", "ps_hosts"):
    if FLAGS[name].value is None and not (
        name == "ps_hosts" and FLAGS.mode == "collective"):
      raise runner.SettingsError(f"--{name} must be given, or --master.")


def _place(index, num_workers, num_servers):
  """Returns the distributed.Place of a worker."""
  return distributed.Place(
      FLAGS.mode, index, num_workers, num_servers, FLAGS.op_strategy,
      FLAGS.replicas_to_aggregate)


def run_local_cluster():
  """Starts all processes, and ends with the exit status of the chief."""
  mnist.load(FLAGS.data_dir)  # One process tells an error, not all.
  num_workers, num_servers = count_tasks()
  addresses = cluster.free_addresses(num_workers + num_servers)
  hosts = ["--worker_hosts=" + ",".join(addresses[:num_workers])]
  if num_servers:
    hosts.append("--ps_hosts=" + ",".join(addresses[num_workers:]))
  common = [*sys.argv, "--nolocal_cluster", *hosts]
  tasks = [
      cluster.Task(f"/job:{job}/task:{index}", run_task,
                   ([*common, f"--job={job}", f"--task={index}"],))
      for job, count in (("worker", num_workers), ("ps", num_servers))
      for index in range(count)]
  try:
    status = cluster.run(tasks[0], tasks[1:])
  except cluster.ProcessError as error:
    sys.exit(f"\n{error}")  # The progress bar has no end of line.
  sys.exit(status)


def run_task(argv):
  """Runs one process of a local cluster.

  Args:
    argv: Name of the program, and its flags.
  """
  sys.argv = argv
  programs.run_program(EXPERIMENT.name, run)


def run():
  """Runs all processes, or the one that flags describe."""
  check_flags()
  if FLAGS.local_cluster:
    run_local_cluster()
  tf.disable_v2_behavior()
  tf.enable_resource_variables()
  num_workers, num_servers = count_tasks()
  place = _place(FLAGS.task, num_workers, num_servers)
  try:
    if FLAGS.job == "ps":
      serve(place)
    else:
      train(place)
  except watchdog.LostTaskError as error:
    sys.exit(str(error))
  except tf.errors.OpError as error:
    # Sessions of other modes are made again, if they can be.
    if FLAGS.mode != "collective":
      raise
    reason = " ".join(str(error.message).split())[:_MAX_REASON]
    raise runner.SettingsError(
        "another worker has ended, and all must start again: "
        f"{reason}") from None


def serve(place):
  """Runs a server, until the chief has finished if there is a watchdog."""
  server = make_server(tf.ConfigProto(device_count={"GPU": 0}))
  if FLAGS.watchdog:
    make_watchdog(place, server.target).serve()
    time.sleep(_LINGER_SECS)
  else:
    server.join()


def train(place):
  """Runs a worker; the chief reports the results."""
  data = mnist.load(FLAGS.data_dir)
  distributed.quiet_threads()
  with tf.Graph().as_default():
    replica = distributed.Replica(EXPERIMENT, place, data)
    target = FLAGS.master
    if target is None:
      target = make_server(replica.mode.server_config).target
    dogs = []
    if FLAGS.watchdog:
      dogs = [make_watchdog(
          place, target, getattr(replica.mode, "start", None))]
    with distributed.make_session(
        replica, place, target, FLAGS.checkpoint_dir, FLAGS.save_every,
        dogs) as session:
      if not place.is_chief:
        replica.follow(session)
        return
      history = replica.lead(session)
  runner.report(EXPERIMENT, [history], data)


def make_server(config):
  """Starts the server of this process.

  Args:
    config: tf.ConfigProto, or None.

  Returns:
    tf.train.Server.

  Raises:
    runner.SettingsError: If it cannot be started.
  """
  try:
    return tf.train.Server(read_hosts(), FLAGS.job, FLAGS.task, config=config)
  except tf.errors.OpError as error:
    message = " ".join(str(error.message).split())
    raise runner.SettingsError(
        "no server can be started at "
        f"{read_hosts()[FLAGS.job][FLAGS.task]!r}: {message}") from None


def read_hosts():
  """Returns the addresses of all processes, a dict from jobs to lists."""
  hosts = {"worker": FLAGS.worker_hosts, "ps": FLAGS.ps_hosts}
  return {job: each for job, each in hosts.items() if each}


def make_watchdog(place, target, on_join=None):
  """Returns the watchdog of this process.

  Args:
    place: distributed.Place; of a server, that of a worker.
    target: Target of the server.
    on_join: Function of a session and a generation, or None.
  """
  # Only the names of the tasks are needed.
  tasks = {"worker": place.num_workers, "ps": place.num_servers}
  hosts = {job: [f"{job}{index}:0" for index in range(count)]
           for job, count in tasks.items() if count}
  return watchdog.Watchdog(
      hosts, FLAGS.job, FLAGS.task, target,
      synchronous=place.mode in ("synchronous", "collective"),
      restarts=place.mode != "collective", grace_secs=FLAGS.grace_secs,
      beat_secs=min(1., FLAGS.grace_secs / 16.), on_join=on_join)


if __name__ == "__main__":
  programs.run_program(EXPERIMENT.name, run)
