"""Tests that 10,000 steps need no more memory, threads or files than 2,000.

The model is tiny, so that the bounds are below one small tensor per step.
"""

import ctypes
import gc
import os
import resource
import sys
import threading
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.ops.kfac_utils import background
from kfac.python.ops.kfac_utils import periodic_inv_cov_update_kfac_opt

WARM_UP, NUM_STEPS = 2000, 10000
BATCH_SIZE = 4
# A tensor has a buffer of 64 bytes, and a description of about the same size.
BYTES_PER_STEP = 48
# All Python objects; measuring makes one itself.
MAX_OBJECTS = 500
CONFIG = tf.ConfigProto(
    intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)


class Usage(NamedTuple):
  """What the process uses.

  Attributes:
    memory: Bytes of resident memory.
    objects: Number of blocks of memory of Python objects.
    python_threads: Number of threads of Python.
    threads: Number of all threads.
    files: Number of open file descriptors.
    nodes: Number of nodes of the default graph.
  """

  memory: int
  objects: int
  python_threads: int
  threads: int
  files: int
  nodes: int


def usage():
  """Measures the Usage of this process, on Linux."""
  gc.collect()
  # What earlier tests have freed would hide a leak.
  ctypes.CDLL(None).malloc_trim(0)
  with open("/proc/self/statm", encoding="ascii") as stream:
    pages = int(stream.read().split()[1])
  return Usage(
      pages * resource.getpagesize(), sys.getallocatedblocks(),
      threading.active_count(), len(os.listdir("/proc/self/task")),
      len(os.listdir("/proc/self/fd")),
      len(tf.get_default_graph().get_operations()))


class Model:
  """A linear model with two weights and fed data.

  Attributes:
    feed: Dict, the feed of a step.
    optimizer: KfacOptimizer.
    train_op: Op.
    weights: Variable [2, 1].
  """

  def __init__(self, optimizer_class, adapt_damping=False, **settings):
    """Builds the model in the default graph.

    Args:
      optimizer_class: KfacOptimizer or a subclass.
      adapt_damping: Whether the optimizer adapts its damping at each step.
      **settings: Arguments of the optimizer.
    """
    rng = np.random.RandomState(0)
    x = tf.placeholder(tf.float32, [BATCH_SIZE, 2])
    y = tf.placeholder(tf.float32, [BATCH_SIZE, 1])
    self.feed = {x: rng.normal(size=x.shape), y: rng.normal(size=y.shape)}
    self.weights = tf.get_variable(
        "weights", [2, 1], use_resource=True,
        initializer=tf.constant_initializer(3.))
    outputs = tf.matmul(x, self.weights)
    layers = kfac.LayerCollection()
    layers.register_fully_connected(self.weights, x, outputs)
    layers.register_normal_predictive_distribution(outputs, seed=1)
    if adapt_damping:
      settings.update(
          adapt_damping=True, train_batch=(x, y), loss_fn=self._loss,
          damping_adaptation_interval=1)
    self.optimizer = optimizer_class(
        layer_collection=layers, cov_ema_decay=0.9, damping=0.1, **settings)
    self.train_op = self.optimizer.minimize(
        self._loss((x, y)), tf.train.get_or_create_global_step())

  def _loss(self, batch):
    x, y = batch
    return tf.reduce_mean(tf.square(tf.matmul(x, self.weights) - y)) / 2.


class EnduranceTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    context = tf.Graph().as_default()
    context.__enter__()
    self.addCleanup(context.__exit__, None, None, None)

  def _growth(self, step):
    """Returns the Usage after all steps less the Usage after some."""
    before = None
    for number in range(NUM_STEPS):
      if number == WARM_UP:
        before = usage()
      step()
    return Usage(*np.subtract(usage(), before).tolist())

  def _check(self, growth):
    """Asserts that the growth is none, up to the noise of measuring."""
    self.assertLess(
        growth.memory, BYTES_PER_STEP * (NUM_STEPS - WARM_UP), growth)
    self.assertLess(growth.objects, MAX_OBJECTS, growth)
    # A thread of an earlier test may end meanwhile.
    self.assertLessEqual(growth.python_threads, 0, growth)
    self.assertLessEqual(growth.threads, 0, growth)
    self.assertLessEqual(growth.files, 0, growth)
    self.assertEqual(growth.nodes, 0, growth)

  def _initialize(self, session, model):
    session.run(tf.global_variables_initializer())
    self.assertAllEqual(session.run(model.weights), [[3.], [3.]])

  def _check_trained(self, session, model):
    """Asserts that the steps have found the minimum of the loss."""
    x, y = model.feed.values()
    expected, *_ = np.linalg.lstsq(x, y, rcond=None)
    self.assertAllClose(session.run(model.weights), expected, atol=1e-3)

  def testStepsWithAdaptedDamping(self):
    model = Model(kfac.KfacOptimizer, adapt_damping=True, learning_rate=1.,
                  momentum_type="qmodel", momentum=0., batch_size=BATCH_SIZE)
    ops = (model.optimizer.cov_update_op, model.optimizer.inv_update_op,
           model.train_op)
    with tf.Session(config=CONFIG) as session:
      self._initialize(session, model)

      def step():
        for op in ops:
          session.run(op, model.feed)

      self._check(self._growth(step))
      self._check_trained(session, model)

  def testPeriodicUpdatesInAMonitoredSession(self):
    model = Model(
        periodic_inv_cov_update_kfac_opt.PeriodicInvCovUpdateKfacOpt,
        invert_every=5, cov_update_every=2, learning_rate=0.1)
    with tf.train.MonitoredTrainingSession(config=CONFIG) as session:
      self._check(self._growth(
          lambda: session.run(model.train_op, model.feed)))
      self._check_trained(session, model)

  def testBackgroundInverses(self):
    model = Model(kfac.KfacOptimizer, learning_rate=0.1)
    cov_op, inv_op = (
        model.optimizer.cov_update_op, model.optimizer.inv_update_op)
    with tf.Session(config=CONFIG) as session:
      self._initialize(session, model)
      with background.BackgroundInverses(session, inv_op, 2) as inverses:
        def step():
          session.run(cov_op, model.feed)
          inverses.step()
          session.run(model.train_op, model.feed)

        self._check(self._growth(step))
      self._check_trained(session, model)

  def testALeakIsFound(self):
    leaked = []
    tensor = tf.constant([1., 2.])
    ended = threading.Event()

    def leak_thread():
      thread = threading.Thread(target=ended.wait)
      thread.start()
      self.addCleanup(thread.join)
      self.addCleanup(ended.set)  # Cleanups run in reverse order.

    def once(function):
      """Returns a step that calls a function at its last call."""
      calls = iter(range(NUM_STEPS))
      return lambda: next(calls) == NUM_STEPS - 1 and function()

    with tf.Session(config=CONFIG) as session:
      for step, fields in (
          (lambda: leaked.append(session.run(tensor)), ["objects"]),
          # A page, since smaller pieces may be left over from earlier tests.
          (lambda: leaked.append(np.ones([4096], np.uint8)), ["memory"]),
          (once(leak_thread), ["python_threads", "threads"]),
          (once(lambda: self.addCleanup(
              os.close, os.open(os.devnull, os.O_RDONLY))), ["files"]),
          (once(lambda: tf.constant(1.)), ["nodes"])):
        growth = self._growth(step)._asdict()
        for field in fields:
          only = dict.fromkeys(Usage._fields, 0)
          only[field] = growth[field]
          with self.assertRaises(AssertionError, msg=field):
            self._check(Usage(**only))


if __name__ == "__main__":
  tf.test.main()
