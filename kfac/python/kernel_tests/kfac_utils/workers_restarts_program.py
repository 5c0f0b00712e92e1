"""A task of a cluster whose workers are killed, for workers_restarts_test.py.

A task is a dict as in watchdog_program.py with `case`, the arguments of
workers_program.build, and `steps`. The job "alone" trains in one process.
"""

import os
import pathlib
import sys

# As in conftest.py.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.kfac_utils import watchdog_program
from kfac.python.kernel_tests.kfac_utils import workers_program
from kfac.python.ops.kfac_utils import collectives
from kfac.python.ops.kfac_utils import server_workers
from kfac.python.ops.kfac_utils import watchdog
from kfac.python.ops.utils import workers as workers_lib


def train(session, runs, feeds, steps):
  """Trains up to a number of steps, with the batch of the global step."""
  step = tf.train.get_global_step()

  def one_step(step_context):  # TensorFlow checks the name.
    # A run without hooks does not tell why a session was closed.
    number = int(step_context.run_with_hooks(step))
    if number >= steps:
      step_context.request_stop()
      return
    for run in runs:
      step_context.run_with_hooks(run, feeds(number))
    watchdog_program.tell(["step", number])

  while not session.should_stop():
    session.run_step_fn(one_step)


def run_worker(task, target, make_dog):
  """Trains as the chief or as another worker."""
  index, cluster = task["index"], tf.train.ClusterSpec(task["cluster"])
  count = cluster.num_tasks("worker")
  together = server_workers.ServerWorkers(
      count, index, cluster.num_tasks("ps"))
  with tf.device(tf.train.replica_device_setter(
      worker_device=f"/job:worker/task:{index}", cluster=cluster)):
    batch, feeds = workers_program.read(
        workers_program.batches(task["steps"]), index, count, False)
    runs, _ = workers_program.build(batch, 1, together, **task["case"])
  config = tf.ConfigProto(
      device_filters=["/job:ps", f"/job:worker/task:{index}"])
  session = watchdog_program.make_session(
      task, target, config, make_dog(together.start))
  with session:
    train(session, runs, feeds, task["steps"])


def run_collective_worker(task, together, target, dog):
  """Trains as one of several workers without servers."""
  with tf.device(together.device):
    batch, feeds = workers_program.read(
        workers_program.batches(task["steps"]), together.index, together.count,
        False)
    runs, _ = workers_program.build(batch, 1, together, **task["case"])
  is_chief = together.index == 0
  with tf.train.MonitoredTrainingSession(
      target, checkpoint_dir=task["folder"] if is_chief else None,
      chief_only_hooks=[dog] if is_chief else [],
      hooks=[dog, collectives.InitialValuesHook(together)],
      config=together.config, stop_grace_period_secs=2,
      save_summaries_steps=None, log_step_count_steps=None) as session:
    train(session, runs, feeds, task["steps"])


class ResultsHook(tf.train.SessionRunHook):
  """Saves the trained variables at the end."""

  def __init__(self, path):
    self._path = path

  def begin(self):  # noqa: D102
    self._variables = {
        variable.op.name: variable for variable in tf.trainable_variables()}

  def end(self, session):  # noqa: D102
    np.savez(self._path, **session.run(self._variables))


def run_alone(task):
  """Trains in this process on the joint batches."""
  count = len(task["cluster"]["worker"])
  batch, feeds = workers_program.read(
      workers_program.batches(task["steps"]), 0, 1, False)
  runs, _ = workers_program.build(
      batch, count, workers_lib.ALONE, **task["case"])
  path = pathlib.Path(task["folder"]) / "alone.npz"
  with tf.train.MonitoredSession(hooks=[ResultsHook(path)]) as session:
    train(session, runs, feeds, task["steps"])


def run_task(task):
  """Runs a task; ends with status 3 and a line if another one is lost."""
  tf.disable_eager_execution()
  tf.set_random_seed(3)
  if task["job"] == "alone":
    return run_alone(task)
  together = None
  if "ps" not in task["cluster"]:
    together = collectives.CollectiveWorkers(
        len(task["cluster"]["worker"]), task["index"])
  server = tf.train.Server(
      task["cluster"], task["job"], task["index"],
      config=together and together.config)

  def make_dog(on_join=None):
    return watchdog.Watchdog(
        task["cluster"], task["job"], task["index"], server.target,
        on_join=on_join, restarts=together is None, **task["options"])

  try:
    if task["job"] == "ps":
      make_dog().serve()
    elif together is not None:
      run_collective_worker(task, together, server.target, make_dog())
    else:
      run_worker(task, server.target, make_dog)
  except watchdog.LostTaskError as error:
    print(error, file=sys.stderr, flush=True)
    sys.exit(3)


if __name__ == "__main__":
  watchdog_program.main(run_task)
