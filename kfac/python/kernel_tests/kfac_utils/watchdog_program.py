"""A task of a small cluster under a watchdog, for watchdog_test.py.

The chief trains in lockstep with the other workers: each step takes a piece of
work from every one of them and gives each a token, through queues on the first
server. A worker that is missing therefore blocks all others in a run.

The program loads TensorFlow once and forks a process for every task. Commands
come as JSON values, one a line:

* [task, out, err] starts a task, a dict, with its output in two files. The
  answer is the number of the process.
* A number asks for the status of that process. The answer is null while it
  runs, and its exit status or minus its signal afterwards.

At the end of the input all processes are killed. Tasks print events as JSON
values, one a line.
"""

import gc
import json
import os
import signal
import sys
import time

import tensorflow.compat.v1 as tf

from kfac.python.ops.kfac_utils import watchdog

SAVE_STEPS = 10


def tell(value):
  """Prints a JSON value on a line."""
  print(json.dumps(value), flush=True)


class Lockstep:
  """The graph.

  Attributes:
    step: The global step, which the chief increments.
    is_last: Fed by the chief: whether the step is the last one.
    train_op: The op of a step of this task; of a worker, `is_last`.
    flush_op: Empties the queues, if `num_old` is fed with their sizes.
  """

  def __init__(self, device, is_chief, num_workers):
    """Builds it.

    Args:
      device: Device of the variable and the queues.
      is_chief: Whether this task is the chief.
      num_workers: Int, the number of workers without the chief.
    """
    with tf.device(device):
      self.step = tf.train.create_global_step()
      queues = [
          tf.FIFOQueue(1000, tf.bool, [[]], shared_name=name, name=name)
          for name in ("work", "tokens")]
      work, tokens = queues
      self.sizes = [queue.size() for queue in queues]
      self.num_old = tf.placeholder(tf.int32, [2])
      self.flush_op = [queue.dequeue_many(self.num_old[i])
                       for i, queue in enumerate(queues)]
      self.is_last = tf.placeholder(tf.bool, [])
      if is_chief:
        with tf.control_dependencies([work.dequeue_many(num_workers)]):
          with tf.control_dependencies([self.step.assign_add(1)]):
            self.train_op = tokens.enqueue_many(
                [tf.fill([num_workers], self.is_last)])
      else:
        with tf.control_dependencies([work.enqueue(True)]):
          self.train_op = tokens.dequeue()

  def flush(self, session):
    """Removes what an earlier generation left in the queues."""
    session.run(self.flush_op, {self.num_old: session.run(self.sizes)})


class PatientCreator(tf.train.SessionCreator):
  """Makes sessions of workers as TensorFlow does, but looks more often."""

  def __init__(self, target, config):
    self._args = target, config
    self._scaffold = tf.train.Scaffold()

  def create_session(self):  # noqa: D102
    self._scaffold.finalize()
    return tf.train.SessionManager(
        local_init_op=self._scaffold.local_init_op,
        ready_op=self._scaffold.ready_op, recovery_wait_secs=0.2,
        ).wait_for_session(*self._args)


def make_session(task, target, config, dog):
  """Returns the MonitoredSession of a worker or the chief."""
  if task["index"]:
    return tf.train.MonitoredSession(
        PatientCreator(target, config), [dog], stop_grace_period_secs=2)
  return tf.train.MonitoredTrainingSession(
      target, True, task["folder"], hooks=[dog], chief_only_hooks=[dog],
      config=config, save_checkpoint_secs=None, save_summaries_steps=None,
      save_checkpoint_steps=SAVE_STEPS, log_step_count_steps=None,
      stop_grace_period_secs=2)


def train(task, target, make_dog):
  """Trains until there is a file "stop"; the end of the chief ends all."""
  is_chief = task["index"] == 0
  keeper = "ps" if "ps" in task["cluster"] else "worker"
  graph = Lockstep(f"/job:{keeper}/task:0/device:CPU:0", is_chief,
                   len(task["cluster"]["worker"]) - 1)

  def on_join(session, generation):
    if is_chief:
      graph.flush(session)
    tell(["joined", generation, int(session.run(graph.step))])

  config = tf.ConfigProto(device_filters=[
      f"/job:{keeper}", f"/job:worker/task:{task['index']}"])
  with make_session(task, target, config, make_dog(on_join)) as session:
    stop = os.path.join(task["folder"], "stop")
    is_last = False
    while not is_last:
      if is_chief:
        is_last = os.path.exists(stop)
        session.run(graph.train_op, {graph.is_last: is_last})
        tell(["step", int(session.run(graph.step))])
        time.sleep(0.02)
      else:
        is_last = session.run(graph.train_op)


def run_task(task):
  """Runs a task; ends with status 3 and a line if another one is lost."""
  tf.disable_v2_behavior()
  server = tf.train.Server(task["cluster"], task["job"], task["index"])

  def make_dog(on_join=None):
    return watchdog.Watchdog(
        task["cluster"], task["job"], task["index"], server.target,
        on_join=on_join, **task["options"])

  try:
    if task["job"] == "ps":
      make_dog().serve()
    else:
      train(task, server.target, make_dog)
  except watchdog.LostTaskError as error:
    print(error, file=sys.stderr, flush=True)
    sys.exit(3)


def redirect(*files):
  """Replaces standard input, output and error by files."""
  for number, file in enumerate(files):
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND if number else os.O_RDONLY
    os.dup2(os.open(file, flags), number)


def main(run=run_task):
  """Obeys commands; returns in a forked process when its task ends.

  Args:
    run: Function of a task that runs it.
  """
  gc.freeze()  # Forked processes end faster.
  while line := sys.stdin.readline():
    command = json.loads(line)
    if isinstance(command, int):
      number, status = os.waitpid(command, os.WNOHANG)
      tell(os.waitstatus_to_exitcode(status) if number else None)
      continue
    task, *files = command
    number = os.fork()
    if not number:
      redirect(os.devnull, *files)
      return run(task)
    tell(number)
  os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
  main()
