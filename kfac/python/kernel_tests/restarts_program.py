"""Training programs that are killed and started again, for restarts_test.py.

  python restarts_program.py '[{"configuration": ..., ...}, ...]'

Each entry of the list is the arguments of `live`. Importing TensorFlow takes
longer than training, so one process imports it and is forked for each life of a
program. It builds no graph itself: that starts threads, which a forked process
does not have.
"""

import json
import os
import signal
import sys
import time

# As in conftest.py.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.ops.kfac_utils import background
from kfac.python.ops.kfac_utils import periodic_inv_cov_update_kfac_opt
from kfac.python.ops.kfac_utils import schedules

NUM_STEPS = 36
STEPS_PER_CHECKPOINT = 3
# The steps that a killed life may begin after those that are waited for.
EXTRA_STEPS = 2
BATCH_SIZE = 256
SIZES = (32, 48, 10)

GRAPH_MODES = {
    "disable_v2_behavior": tf.disable_v2_behavior,
    "disable_eager_execution": tf.disable_eager_execution,
    "eager": lambda: None,
}


class Net:
  """A perceptron, and batches that are a function of the global step."""

  def __init__(self, approximations=("kron", "kron")):
    self.step = tf.train.get_or_create_global_step()
    seed = tf.stack([tf.constant(7, tf.int64), tf.identity(self.step)])
    x = tf.random.stateless_normal([BATCH_SIZE, SIZES[0]], seed)
    teacher = tf.random.stateless_normal(SIZES[::2], [1, 2])
    self.batch = x, tf.argmax(tf.matmul(x, teacher), axis=1)
    self.layers = kfac.LayerCollection()
    self.variables = []
    for index, sizes in enumerate(zip(SIZES[:-1], SIZES[1:], strict=True)):
      self.variables.append((
          tf.get_variable(f"w{index}", sizes,
                          initializer=tf.glorot_uniform_initializer()),
          tf.get_variable(f"b{index}", sizes[1:],
                          initializer=tf.zeros_initializer())))
    self.loss = self._loss(self.batch, zip(
        self.variables, approximations, strict=True))

  def _loss(self, batch, registrations=None):
    """Returns the loss of a batch, and registers layers and loss if asked."""
    hidden, labels = batch
    names = dict(registrations or {})
    for index, (w, b) in enumerate(self.variables):
      inputs, hidden = hidden, tf.matmul(hidden, w) + b
      if names:
        self.layers.register_fully_connected(
            (w, b), inputs, hidden, approx=names[w, b])
      if index + 1 < len(self.variables):
        hidden = tf.tanh(hidden)
    if names:
      self.layers.register_categorical_predictive_distribution(hidden)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=hidden))

  def loss_fn(self, batch):
    """Returns the loss of a batch."""
    return self._loss(batch)


def regular():
  """Momentum "regular", and a block whose step reads a covariance."""
  net = Net(("kron", "diagonal"))
  optimizer = kfac.KfacOptimizer(
      0.05, 0.9, 0.01, net.layers, momentum=0.9, norm_constraint=0.01)
  train_op = optimizer.minimize(net.loss, net.step)
  return train_op, [schedules.ScheduleHook(
      optimizer, schedules.Schedule(cov_every=2, inv_every=3), train_op,
      cov_first=True)]


def qmodel():
  """The quadratic model, adapted damping, and steps that are rejected."""
  net = Net()
  optimizer = kfac.KfacOptimizer(
      2., 0.9, 0.1, net.layers, momentum=0., momentum_type="qmodel",
      batch_size=BATCH_SIZE, estimation_mode="curvature_prop",
      adapt_damping=True, loss_fn=net.loss_fn, train_batch=net.batch,
      damping_adaptation_interval=3, max_loss_increase=0.)
  train_op = optimizer.minimize(net.loss, net.step)
  return train_op, [schedules.ScheduleHook(
      optimizer, schedules.Schedule(inv_every=3, shares=3), train_op,
      cov_first=True)]


def periodic():
  """All updates in the train op: burn-in, inverses in shares, adaptation."""
  net = Net()
  optimizer = periodic_inv_cov_update_kfac_opt.PeriodicInvCovUpdateKfacOpt(
      invert_every=4, cov_update_every=2, num_burnin_steps=3, amortize=True,
      learning_rate=1., damping=0.1, layer_collection=net.layers, momentum=None,
      momentum_type="qmodel", batch_size=BATCH_SIZE, adapt_damping=True,
      loss_fn=net.loss_fn, train_batch=net.batch, damping_adaptation_interval=2)
  return optimizer.minimize(net.loss, net.step), []


def in_background():
  """Inverses in a thread of their own, of age 0."""
  net = Net()
  optimizer = kfac.KfacOptimizer(0.05, 0.9, 0.01, net.layers)
  train_op = optimizer.minimize(net.loss, net.step)
  return train_op, [
      background.BackgroundInversesHook(optimizer, 0, train_op)]


CONFIGURATIONS = {
    "regular": regular, "qmodel": qmodel, "periodic": periodic,
    "in_background": in_background,
}


class _Report(tf.train.SessionRunHook):
  """Writes a byte to a pipe before each step.

  After a number of steps it waits to be killed.
  """

  def __init__(self, reports, lifeline, max_steps):
    self._reports = reports
    self._lifeline = lifeline
    self._num_left = max_steps

  def before_run(self, run_context):
    if self._num_left == 0:
      os.read(self._lifeline, 1)  # Returns if the parent has ended.
      os._exit(1)
    if self._num_left is not None:
      self._num_left -= 1
    os.write(self._reports, b".")


def train(configuration, mode, folder, seed, num_steps, report):
  """Trains up to a number of steps, from the last checkpoint of a folder.

  Args:
    configuration: See `live`.
    mode: See `live`.
    folder: See `live`.
    seed: See `live`.
    num_steps: See `live`.
    report: _Report.
  """
  GRAPH_MODES[mode]()
  with tf.Graph().as_default():
    if seed is not None:
      tf.set_random_seed(seed)
    train_op, hooks = CONFIGURATIONS[configuration]()
    hooks += [report, tf.train.StopAtStepHook(last_step=num_steps)]
    # Without the graph, whose text takes longer than a step.
    saver = tf.train.CheckpointSaverHook(
        folder, save_steps=STEPS_PER_CHECKPOINT, save_graph_def=False)
    with tf.train.MonitoredTrainingSession(
        checkpoint_dir=folder, hooks=hooks, chief_only_hooks=[saver],
        save_checkpoint_secs=None, save_checkpoint_steps=None,
        save_summaries_steps=None, save_summaries_secs=None,
        log_step_count_steps=None) as sess:
      while num_steps and not sess.should_stop():
        sess.run(train_op)


def _in_child(held, function, *args):
  """Calls a function in a forked process, and returns the id of that.

  Args:
    held: A file that only this process holds open.
    function: Function.
    *args: Its arguments.
  """
  child = os.fork()
  if child:
    return child
  try:
    os.close(held)
    function(*args)
    os._exit(0)
  except BaseException as error:
    print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
  finally:
    os._exit(1)


def _wait(child):
  """Waits for a child, and raises RuntimeError unless it succeeded."""
  _, status = os.waitpid(child, 0)
  if status:
    raise RuntimeError(f"a child must succeed, got status {status}.")


def _kill_after(child, reports, num_steps, delay):
  """Kills a child after some of its steps have begun, and some seconds."""
  for _ in range(num_steps):
    if not os.read(reports, 1):
      raise RuntimeError(f"{num_steps} steps must be left, got fewer.")
  time.sleep(delay)
  os.kill(child, signal.SIGKILL)
  _, status = os.waitpid(child, 0)
  if not os.WIFSIGNALED(status):
    raise RuntimeError(f"a child must have been killed, got {status}.")


def live(configuration, mode, folder, seed=None, kills=(),
         num_steps=NUM_STEPS):
  """Trains, is killed and starts again, until the training has ended.

  Args:
    configuration: Key of CONFIGURATIONS.
    mode: Key of GRAPH_MODES.
    folder: Directory of checkpoints.
    seed: Seed of the graph, or None.
    kills: List of pairs: the number of steps that a life begins, and the
      seconds from then until it is killed.
    num_steps: Int; 0 only saves the first checkpoint.
  """
  for kill in [*kills, None]:
    reports, write_report = os.pipe()
    lifeline, held = os.pipe()
    max_steps = None if kill is None else kill[0] + EXTRA_STEPS
    child = _in_child(
        held, train, configuration, mode, folder, seed, num_steps,
        _Report(write_report, lifeline, max_steps))
    os.close(write_report)
    if kill is None:
      _wait(child)
    else:
      _kill_after(child, reports, *kill)
    for end in (reports, lifeline, held):
      os.close(end)


if __name__ == "__main__":
  for arguments in json.loads(sys.argv[1]):
    live(**arguments)
