"""Trains a model with K-FAC in several processes: the part of one worker.

The modes differ in how the workers train together:

* synchronous: the variables are on servers. Each step is that of one process
  with the whole batch.
* collective: the same without servers; all workers have all variables.
* asynchronous: the variables are on servers. A step is that of one worker with
  its part of the batch, at any time.
* sync_replicas: the variables are on servers. A step uses the mean gradient of
  the workers. Statistics and inverses are updated at any time.

In the last two modes either the chief updates statistics and inverses, or
workers that do nothing else.
"""

import dataclasses
import math
import threading
import time

import tensorflow.compat.v1 as tf

import kfac
from examples import interrupts
from examples import mnist
from examples import progress
from examples import runner
from kfac.python.ops import op_queue
from kfac.python.ops.kfac_utils import collectives
from kfac.python.ops.kfac_utils import periodic_inv_cov_update_kfac_opt
from kfac.python.ops.kfac_utils import server_workers

OP_STRATEGIES = ("chief_worker", "dedicated_workers")
# Of the strategy dedicated_workers: gradients, covariances and inverses.
MIN_DEDICATED = 3
GRADIENTS, COVARIANCES, INVERSES = "gradients", "covariances", "inverses"
# A message of the chief in place of the number of the next batch.
_END = -1
_POLL_SECS = 0.1
_STOP_SECS = 2
# How often a worker looks whether the chief has initialized the variables.
_RECOVERY_WAIT_SECS = 1

FLAGS = runner.FLAGS


@dataclasses.dataclass(frozen=True)
class Place:
  """The place of a worker in its cluster.

  Attributes:
    mode: One of MODES.
    index: Int, number of the worker; 0 is the chief.
    num_workers: Int, number of all workers.
    num_servers: Int, number of servers.
    op_strategy: One of OP_STRATEGIES; only sync_replicas and asynchronous have
      a choice.
    replicas_to_aggregate: Int, number of gradients in the mean of
      sync_replicas, or None for one from each worker that computes gradients.
  """

  mode: str
  index: int
  num_workers: int
  num_servers: int = 1
  op_strategy: str = "chief_worker"
  replicas_to_aggregate: int | None = None

  @property
  def is_chief(self):
    """Whether this is the first worker."""
    return self.index == 0

  @property
  def is_dedicated(self):
    """Whether statistics and inverses have workers of their own."""
    return self.op_strategy == "dedicated_workers"

  @property
  def role(self):
    """What the worker computes: GRADIENTS, COVARIANCES or INVERSES."""
    if self.index < self.num_parts:
      return GRADIENTS
    return COVARIANCES if self.index == self.num_parts else INVERSES

  @property
  def num_parts(self):
    """Number of the workers that compute gradients, each of a part."""
    return self.num_workers - 2 * self.is_dedicated

  def part_of(self, batch):
    """Returns the part of a batch for this worker.

    The worker of the covariances takes the first one.

    Args:
      batch: Array [batch_size, ..], batch_size a multiple of num_parts.
    """
    size = len(batch) // self.num_parts
    start = size * (self.index % self.num_parts)
    return batch[start:start + size]


class Batches:
  """The batches of mnist.shuffled_batches, by number."""

  def __init__(self, num_examples, batch_size, seed):
    """Keeps the arguments, see mnist.shuffled_batches."""
    self._args = num_examples, batch_size, seed
    self._restart()

  def _restart(self):
    self._batches = mnist.shuffled_batches(*self._args)
    self._number = -1
    self._batch = None

  def batch(self, number):
    """Returns the indices of a batch; fast if numbers increase."""
    if number < self._number:
      self._restart()
    while self._number < number:
      self._batch = next(self._batches)
      self._number += 1
    return self._batch


class Synchronous:
  """The workers make each step together; servers have the variables.

  Each mode has the following methods. `run` has the arguments of
  tf.Session.run, and `session` is one.

  Attributes:
    device: Device, or function of an op, for the graph.
    config: tf.ConfigProto of sessions.
    server_config: tf.ConfigProto of the server of the worker, or None.
    hooks: List of hooks of the session, after `build`.
  """

  server_config: tf.ConfigProto | None = None
  hooks: tuple = ()

  def __init__(self, place):
    """Makes no op.

    Args:
      place: Place.
    """
    self._place = place
    self.device = device_setter(place)
    self.config = filtered_config(place)
    self._workers = server_workers.ServerWorkers(
        place.num_workers, place.index, place.num_servers)

  def build(self, loss, settings):
    """Makes the ops.

    Args:
      loss: Loss of the part of the batch.
      settings: Dict of arguments of KfacOptimizer.
    """
    self._global_step = tf.train.get_global_step()
    self._train_op = make_periodic(self._workers, settings).minimize(
        loss, self._global_step)
    self._number = tf.placeholder(tf.int64, [])
    [self._next] = self._workers.from_chief([self._number], "next_batch")

  def start(self, session, generation):
    """Begins a period without restarts: `on_join` of the watchdog."""
    self._workers.start(session, generation)

  def next_batch(self, run, total, must_end):
    """Returns the number of the next batch, or None at the end.

    Args:
      run: Function.
      total: Int, number of all updates.
      must_end: Bool, whether the chief wants to end now.
    """
    feed = {}
    if self._place.is_chief:
      number = run(self._global_step)
      feed[self._number] = _END if must_end or number >= total else number
    number = run(self._next, feed)
    return None if number == _END else number

  def update(self, session, run, number, feed):
    """Does what this worker does for a step.

    Args:
      session: tf.Session.
      run: Function.
      number: Int, what `next_batch` has returned.
      feed: Dict with the part of the batch.
    """
    del session, number
    run(self._train_op, feed)


class Collective:
  """The workers make each step together, and each has all variables.

  See Synchronous for the methods.
  """

  def __init__(self, place):
    self._workers = collectives.CollectiveWorkers(
        place.num_workers, place.index)
    self.device = self._workers.device
    self.config = self.server_config = self._workers.config
    self.hooks = [collectives.InitialValuesHook(self._workers)]

  def build(self, loss, settings):
    """Makes the ops."""
    self._global_step = tf.train.get_global_step()
    self._train_op = make_periodic(self._workers, settings).minimize(
        loss, self._global_step)
    self._must_end = tf.placeholder(tf.float32, [])
    [self._share_ended] = self._workers.mean([self._must_end], "must_end")

  def next_batch(self, run, total, must_end):
    """Returns the number of the next batch, or None at the end."""
    number = run(self._global_step)
    ended = run(self._share_ended, {self._must_end: float(must_end)})
    return None if ended or number >= total else number

  def update(self, session, run, number, feed):
    """Runs a step."""
    del session, number
    run(self._train_op, feed)


class Asynchronous:
  """Each worker updates the variables on servers at any time.

  Only the chief, or workers that do nothing else, update statistics and
  inverses. See Synchronous for the methods.
  """

  server_config = None
  hooks: tuple = ()

  def __init__(self, place):
    self._place = place
    self.device = device_setter(place)
    self.config = filtered_config(place)
    self._last = None

  def build(self, loss, settings):
    """Makes the ops."""
    optimizer = kfac.KfacOptimizer(**settings)
    self._train_op = self._minimize(optimizer, loss)
    self._cov_op = optimizer.cov_update_op
    self._inv_op = optimizer.inv_update_op
    self._queue = None
    if self._place.is_dedicated:
      self._queue = op_queue.OpQueue(optimizer.inv_update_ops, FLAGS.seed)
    # Whether there are inverses, so that steps may begin.
    is_prepared = _make_flag("is_prepared", tf.GraphKeys.GLOBAL_VARIABLES)
    has_ended = _make_flag("has_ended", tf.GraphKeys.LOCAL_VARIABLES)
    self._state = [tf.train.get_global_step(), is_prepared, has_ended]
    self._set_prepared = tf.assign(is_prepared, True).op
    self._end = tf.assign(has_ended, True).op

  def _minimize(self, optimizer, loss):
    """Makes the train op."""
    return optimizer.minimize(loss, tf.train.get_global_step())

  def next_batch(self, run, total, must_end):
    """Returns the number of the next batch, or None at the end."""
    if must_end:
      run(self._end)
    while True:
      number, self._is_prepared, has_ended = run(self._state)
      if has_ended or number >= total:
        return None
      if self._is_prepared or self._place.is_chief:
        return self._batch_at(number)
      time.sleep(_POLL_SECS)

  def _batch_at(self, step):
    """Returns the number of the batch at a step, of which each uses a part."""
    return step // self._place.num_parts

  def update(self, session, run, number, feed):
    """Computes what the role of the worker says."""
    if self._place.role == INVERSES:
      run(self._queue.next_op(session))
    elif self._place.role == COVARIANCES:
      run(self._cov_op, feed)
    else:
      if self._place.is_chief:
        self._update_statistics(run, number, feed)
      run(self._train_op, feed)

  def _update_statistics(self, run, number, feed):
    """Runs the updates of the chief that are due."""
    is_first = not self._is_prepared
    if not is_first and self._place.is_dedicated:
      return
    if is_first or self._is_due(number, FLAGS.cov_update_every):
      run(self._cov_op, feed)
    if is_first or self._is_due(number, FLAGS.inv_update_every):
      run(self._inv_op)
    if is_first:
      run(self._set_prepared)
    self._last = number

  def _is_due(self, number, every):
    """Whether a multiple of `every` has come; numbers may be left out."""
    return self._last is None or number // every > self._last // every


class SyncReplicas(Asynchronous):
  """A step uses the mean of gradients, by tf.train.SyncReplicasOptimizer."""

  def _minimize(self, optimizer, loss):
    place = self._place
    together = tf.train.SyncReplicasOptimizer(
        optimizer, place.replicas_to_aggregate or place.num_parts,
        place.num_parts)
    train_op = together.minimize(loss, tf.train.get_global_step())
    if place.role == GRADIENTS:
      self.hooks = [together.make_session_run_hook(place.is_chief)]
    return train_op

  def _batch_at(self, step):
    return step


MODES = {"synchronous": Synchronous, "sync_replicas": SyncReplicas,
         "asynchronous": Asynchronous, "collective": Collective}


def device_setter(place):
  """Returns the function of devices: variables are on the servers."""
  return tf.train.replica_device_setter(
      place.num_servers, worker_device=f"/job:worker/task:{place.index}")


def filtered_config(place):
  """Returns the configuration of a session that needs no other worker."""
  return tf.ConfigProto(device_filters=[
      "/job:ps", f"/job:worker/task:{place.index}"])


def make_periodic(workers, settings):
  """Returns the optimizer whose train op runs all updates that are due."""
  return periodic_inv_cov_update_kfac_opt.PeriodicInvCovUpdateKfacOpt(
      FLAGS.inv_update_every, FLAGS.cov_update_every, workers=workers,
      **settings)


def _make_flag(name, collection):
  """Creates a bool variable, False at the beginning."""
  return tf.get_variable(
      name, [], tf.bool, tf.zeros_initializer(), trainable=False,
      collections=[collection])


class Replica:
  """The graph of a worker, and what it does with it.

  Args:
    experiment: runner.Experiment.
    place: Place.
    data: mnist.Dataset.
  """

  def __init__(self, experiment, place, data):
    self._experiment, self._place, self._data = experiment, place, data
    batch_size = FLAGS.batch_size or experiment.batch_size
    num_examples = len(data.train_labels)
    self._batches = Batches(num_examples, batch_size, FLAGS.seed)
    self._total = runner.count_updates(experiment, num_examples, batch_size)
    self.mode = MODES[place.mode](place)
    tf.set_random_seed(FLAGS.seed)
    with tf.device(self.mode.device):
      self._global_step = tf.train.get_or_create_global_step()
      with tf.name_scope("training"):
        self._feeds = runner.make_placeholders(batch_size // place.num_parts)
        logits, layers = self._build(self._feeds[0])
        loss = runner.mean_loss(logits, self._feeds[1])
      with tf.name_scope("evaluation"):
        self._test_feeds = runner.make_placeholders(None)
        test_logits, _ = self._build(self._test_feeds[0])
        self._scores = runner.score(test_logits, self._test_feeds[1])
      layer_collection = kfac.LayerCollection()
      experiment.register(layer_collection, logits, layers, FLAGS.seed)
      self.mode.build(loss, self._settings(layer_collection))

  def _build(self, images):
    """Builds the model for uint8 images; all calls share the variables."""
    with tf.variable_scope("model", reuse=tf.AUTO_REUSE):
      return self._experiment.build(tf.cast(images, tf.float32) / 255.)

  @property
  def learning_rate(self):
    """The learning rate of K-FAC."""
    return FLAGS.learning_rate or self._experiment.learning_rates["kfac"]

  def _settings(self, layer_collection):
    """Returns the arguments of KfacOptimizer."""
    experiment = self._experiment
    momentum = FLAGS.momentum
    return {
        "learning_rate": self.learning_rate,
        "cov_ema_decay": 0.95,
        "damping": FLAGS.damping or experiment.damping,
        "layer_collection": layer_collection,
        "momentum": (
            experiment.momentums["kfac"] if momentum is None else momentum),
        "norm_constraint": FLAGS.norm_constraint or experiment.norm_constraint,
    }

  def follow(self, session):
    """Trains as a worker that is not the chief, until the end."""
    while self._step(session):
      pass

  def lead(self, session):
    """Trains as the chief, and evaluates between updates.

    Args:
      session: tf.train.MonitoredSession.

    Returns:
      runner.History. It ends early if the loss is not finite, or if a signal
      interrupts the program.
    """
    history = runner.History("kfac", self.learning_rate)
    shown = progress.Progress(history.label, self._total)
    interrupts.keep_results()
    try:
      self._lead(session, history, shown)
    finally:
      shown.close()
    return history

  def _lead(self, session, history, shown):
    """See `lead`."""
    evaluate_every = FLAGS.evaluate_every or runner.EVALUATE_EVERY
    seconds, next_evaluation = 0., 0
    must_end = False
    while not must_end:
      number = int(session.run(self._global_step))
      if number >= min(next_evaluation, self._total):
        loss, accuracy = self._evaluate(session)
        history.add(number, seconds, loss, accuracy)
        shown.show(history)
        next_evaluation = number - number % evaluate_every + evaluate_every
        must_end = number >= self._total or not math.isfinite(loss)
      must_end = must_end or interrupts.requested()
      start = time.perf_counter()
      self._step(session, must_end)
      seconds += time.perf_counter() - start

  def _evaluate(self, session):
    """Returns the loss of the training images and the test accuracy."""
    def score(images, labels):
      return session.run(self._scores, dict(zip(
          self._test_feeds, (images, labels), strict=True)))

    data = self._data
    loss, _ = runner.evaluate(score, data.train_images, data.train_labels)
    _, accuracy = runner.evaluate(score, data.test_images, data.test_labels)
    return loss, accuracy

  def _step(self, session, must_end=False):
    """Does the part of this worker of a step; again in a new session.

    Args:
      session: tf.train.MonitoredSession.
      must_end: Whether the chief wants to end.

    Returns:
      Whether it was not the end.
    """
    def step(step_context):
      run = step_context.run_with_hooks
      number = self.mode.next_batch(run, self._total, must_end)
      if number is None:
        return False
      indices = self._place.part_of(self._batches.batch(int(number)))
      parts = (self._data.train_images[indices],
               self._data.train_labels[indices])
      feed = dict(zip(self._feeds, parts, strict=True))
      self.mode.update(step_context.session, run, int(number), feed)
      return True

    return session.run_step_fn(step)


class PatientCreator(tf.train.SessionCreator):
  """Makes the sessions of workers, which wait for the chief.

  Args:
    target: Target of the server.
    config: tf.ConfigProto.
  """

  def __init__(self, target, config):
    self._args = target, config
    self._scaffold = tf.train.Scaffold()

  def create_session(self):
    """Waits until the chief has initialized all variables."""
    self._scaffold.finalize()
    manager = tf.train.SessionManager(
        local_init_op=self._scaffold.local_init_op,
        ready_op=self._scaffold.ready_op,
        ready_for_local_init_op=self._scaffold.ready_for_local_init_op,
        recovery_wait_secs=_RECOVERY_WAIT_SECS)
    return manager.wait_for_session(*self._args)


def quiet_threads():
  """Lets threads end silently when their session is closed.

  The thread of SyncReplicasOptimizer waits for gradients until then.
  """
  before = threading.excepthook

  def hook(args):
    if not issubclass(args.exc_type, tf.errors.CancelledError):
      before(args)

  threading.excepthook = hook


def make_session(replica, place, target, checkpoint_dir, save_every, dogs):
  """Returns the session of a worker.

  Args:
    replica: Replica.
    place: Its Place.
    target: Target of its server.
    checkpoint_dir: Directory of the checkpoints of the chief, or None.
    save_every: Int, number of updates between two checkpoints.
    dogs: List of a Watchdog, or an empty list.

  Returns:
    tf.train.MonitoredSession, or of a similar class.
  """
  config, hooks = replica.mode.config, list(replica.mode.hooks)
  if place.mode == "collective":
    # All processes have to start again after an error.
    savers = [tf.train.CheckpointSaverHook(
        checkpoint_dir, save_steps=save_every)] if (
            place.is_chief and checkpoint_dir) else []
    return tf.train.SingularMonitoredSession(
        dogs + hooks + savers + dogs, master=target, config=config,
        checkpoint_dir=checkpoint_dir if place.is_chief else None,
        stop_grace_period_secs=_STOP_SECS)
  if not place.is_chief:
    return tf.train.MonitoredSession(
        PatientCreator(target, config), dogs + hooks,
        stop_grace_period_secs=_STOP_SECS)
  return tf.train.MonitoredTrainingSession(
      target, True, checkpoint_dir, hooks=hooks + dogs, chief_only_hooks=dogs,
      save_checkpoint_secs=None, save_checkpoint_steps=save_every,
      save_summaries_steps=None, save_summaries_secs=None, config=config,
      stop_grace_period_secs=_STOP_SECS, log_step_count_steps=None)
