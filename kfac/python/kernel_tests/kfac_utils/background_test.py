"""Tests of inverses in a background thread: age, errors, termination."""

import threading
import time

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.ops.kfac_utils import background

TIMEOUT = 60  # Seconds, so that a test cannot hang. No test measures time.


class _Session:
  """A session whose runs wait until `let` is called.

  Attributes:
    log: List of events.
  """

  def __init__(self, log=None):
    self.log = [] if log is None else log
    self.started = threading.Semaphore(0)
    self._gate = threading.Semaphore(0)
    self._error = None

  def run(self, fetches):
    self.started.release()
    assert self._gate.acquire(timeout=TIMEOUT)
    if self._error is not None:
      raise self._error
    self.log.append(fetches)

  def let(self, count=1, error=None):
    """Lets runs return, or raise an error."""
    self._error = error
    for _ in range(count):
      self._gate.release()

  def await_start(self):
    assert self.started.acquire(timeout=TIMEOUT)


class BackgroundInversesTest(tf.test.TestCase):

  def _in_thread(self, function):
    """Starts a thread; returns a function that joins it."""
    thread = threading.Thread(target=function)
    thread.start()

    def join():
      thread.join(TIMEOUT)
      self.assertFalse(thread.is_alive())
    return join

  def testFirstStepWaitsForInverses(self):
    session = _Session()
    with background.BackgroundInverses(session, "inv", 5) as inverses:
      self.assertIsNone(inverses.age)

      def step():
        inverses.step()
        session.log.append("step")

      join = self._in_thread(step)
      session.await_start()
      session.let()
      join()
      self.assertEqual(session.log, ["inv", "step"])
      self.assertEqual(inverses.age, 0)

  def testStepsContinueUntilInversesAreTooOld(self):
    for max_age in (1, 3):
      session = _Session()
      with background.BackgroundInverses(session, "inv", max_age) as inverses:
        session.let()
        inverses.step()
        session.await_start()
        # The second run waits; it has the covariances of the second step.
        for age in range(1, max_age + 1):
          inverses.step()
          self.assertEqual(inverses.age, age)
          if age == 1:
            session.await_start()

        def step(inverses=inverses, log=session.log):
          inverses.step()
          log.append("step")

        session.log.clear()
        join = self._in_thread(step)
        session.let()
        join()
        self.assertEqual(session.log, ["inv", "step"])
        session.let(10)

  def testNoUpdateWithoutNewCovariances(self):
    session = _Session()
    session.let(10)
    with background.BackgroundInverses(session, "inv", 0) as inverses:
      for number in range(1, 4):
        inverses.step()
        self.assertEqual(session.log, number * ["inv"])
        self.assertEqual(inverses.age, 0)
    self.assertEqual(session.log, 3 * ["inv"])

  def testErrorsReachTheNextStep(self):
    session = _Session()
    inverses = background.BackgroundInverses(session, "inv", 0)
    session.let(error=ArithmeticError("singular"))
    for _ in range(2):
      with self.assertRaisesRegex(ArithmeticError, "singular"):
        inverses.step()
    inverses.stop()  # The error has been raised already.

  def testErrorsAreRaisedByStop(self):
    for use_context in (False, True):
      session = _Session()
      inverses = background.BackgroundInverses(session, "inv", 9)
      session.let()
      inverses.step()
      session.await_start()
      inverses.step()
      session.await_start()
      session.let(error=ArithmeticError("singular"))
      with self.assertRaisesRegex(ArithmeticError, "singular"):
        if use_context:
          with inverses:
            pass
        else:
          inverses.stop()
      inverses.stop()

  def testErrorOfTheBlockTakesPrecedence(self):
    session = _Session()
    session.let(error=ArithmeticError("singular"))
    with self.assertRaisesRegex(ValueError, "mine"):
      with background.BackgroundInverses(session, "inv", 0) as inverses:
        with self.assertRaises(ArithmeticError):
          inverses.step()
        raise ValueError("mine")

  def testStopEndsTheThread(self):
    session = _Session()
    inverses = background.BackgroundInverses(session, "inv", 0)
    for _ in range(2):
      inverses.stop()
      self.assertFalse(inverses._thread.is_alive())
    with self.assertRaisesRegex(
        RuntimeError, "step must be called before stop."):
      inverses.step()
    self.assertTrue(inverses._thread.daemon)

  def testStopWaitsForTheCurrentRun(self):
    session = _Session()
    inverses = background.BackgroundInverses(session, "inv", 1)
    session.let()
    inverses.step()
    session.await_start()
    inverses.step()
    session.await_start()

    def stop():
      inverses.stop()
      session.log.append("stopped")

    join = self._in_thread(stop)
    session.let()
    join()
    self.assertEqual(session.log, ["inv", "inv", "stopped"])

  def testStopReleasesWaitingSteps(self):
    session = _Session()
    inverses = background.BackgroundInverses(session, "inv", 0)

    def step():
      with self.assertRaisesRegex(
          RuntimeError, "step must be called before stop."):
        inverses.step()
      session.log.append("released")

    joins = [self._in_thread(step)]
    session.await_start()  # The update has older covariances.
    joins.append(self._in_thread(step))
    while inverses._num_updates < 2:
      time.sleep(0)
    joins.append(self._in_thread(inverses.stop))
    while not inverses._stopped:
      time.sleep(0)
    session.let()
    for join in joins:
      join()
    self.assertCountEqual(session.log, ["inv", "released", "released"])

  def testMaxAge(self):
    for value in (-1, 0.5, None):
      for make in (lambda age: background.BackgroundInverses(None, [], age),
                   lambda age: background.BackgroundInversesHook(None, age)):
        with self.assertRaisesRegex(
            ValueError, f"max_age must be an int >= 0, got {value!r}."):
          make(value)


class TrainingTest(tf.test.TestCase):

  def _build(self, global_step=None):
    model = dense_net.build()
    optimizer = kfac.KfacOptimizer(
        0.1, 0.9, 0.1, model.layers, estimation_mode="exact")
    return model, optimizer, optimizer.minimize(model.loss, global_step)

  def testAgeZeroEqualsSynchronousTraining(self):
    data = dense_net.batches(4)
    with tf.Graph().as_default() as graph, self.session() as sess:
      model, optimizer, train_op = self._build()
      cov_op, inv_op = optimizer.cov_update_op, optimizer.inv_update_op
      initializer = tf.global_variables_initializer()
      graph.finalize()
      sess.run(initializer)
      expected = dense_net.train(
          sess, model, optimizer, train_op, data, (cov_op, inv_op))
      sess.run(initializer)
      with background.BackgroundInverses(sess, inv_op, 0) as inverses:
        for x, y in data:
          feed = {model.x: x, model.y: y}
          sess.run(cov_op, feed)
          inverses.step()
          sess.run(train_op, feed)
      self.assertAllClose(
          expected, dense_net.stacked(sess.run(model.variables)), rtol=1e-9)

  def _train(self, data, folder, max_age):
    """Trains with the hook; returns global step and loss of the last batch."""
    with tf.Graph().as_default():
      step = tf.train.create_global_step()
      model, optimizer, train_op = self._build(step)
      hook = background.BackgroundInversesHook(optimizer, max_age, train_op)
      with tf.train.MonitoredTrainingSession(
          checkpoint_dir=folder, hooks=[hook], save_checkpoint_secs=None,
          save_checkpoint_steps=100) as sess:
        for x, y in data:
          sess.run(model.variables)  # Another run, without a feed.
          _, loss = sess.run(
              [train_op, model.loss], {model.x: x, model.y: y})
        count = sess.run(step)
        thread = hook._inverses._thread
      self.assertFalse(thread.is_alive())
      return count, loss

  def testHook(self):
    data = 30 * dense_net.batches(1)
    folder = self.get_temp_dir()
    count, start = self._train(data[:1], folder, 0)
    self.assertEqual(count, 1)
    count, end = self._train(data[1:], folder, 3)
    self.assertEqual(count, 30)
    self.assertLess(end, start)

  def testHookOfAgeZeroContinuesFromACheckpoint(self):
    data = dense_net.batches(6)
    with tf.Graph().as_default(), self.session() as sess:
      model, optimizer, train_op = self._build()
      updates = optimizer.cov_update_op, optimizer.inv_update_op
      sess.run(tf.global_variables_initializer())
      dense_net.train(sess, model, optimizer, train_op, data[:-1], updates)
      x, y = data[-1]
      expected = sess.run(model.loss, {model.x: x, model.y: y})
    folder = self.get_temp_dir()
    self._train(data[:2], folder, 0)
    self._train(data[2:5], folder, 0)
    _, loss = self._train(data[5:], folder, 0)
    self.assertAllClose(loss, expected, rtol=1e-9)

  def testHookRestartsInANewSession(self):
    with tf.Graph().as_default():
      model, optimizer, train_op = self._build()
      hook = background.BackgroundInversesHook(optimizer, 2)
      hook.begin()
      initializer = tf.global_variables_initializer()
      (x, y), = dense_net.batches(1)
      threads = []
      for _ in range(2):
        with tf.Session() as sess:
          sess.run(initializer)
          hook.after_create_session(sess, None)
          self.assertIsNone(hook._inverses)
          args = tf.train.SessionRunArgs(train_op, {model.x: x, model.y: y})
          context = tf.train.SessionRunContext(args, sess)
          self.assertIs(hook.before_run(context).fetches,
                        optimizer.cov_update_op)
          threads.append(hook._inverses._thread)
      self.assertFalse(threads[0].is_alive())
      hook.end(None)
      self.assertFalse(threads[1].is_alive())

  def testHookThatNeverRan(self):
    with tf.Graph().as_default():
      _, optimizer, _ = self._build()
      hook = background.BackgroundInversesHook(optimizer, 2)
      hook.begin()
      hook.after_create_session(None, None)
      hook.end(None)


if __name__ == "__main__":
  tf.test.main()
