"""StatsHook writes what NumPy computes, and draws it."""

import glob
import os
import shutil
import tempfile
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.ops.kfac_utils import stats_hook

_PNG = b"\x89PNG\r\n\x1a\n"
_NO_MATPLOTLIB = {"matplotlib": None, "matplotlib.figure": None}
_STEP = ("alpha", "mu", "predicted_change", "gradient_norm", "step_norm",
         "cosine")


class _FolderTestCase(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)
    self.addCleanup(tf.summary.FileWriterCache.clear)

  def _png(self, name="kfac_stats.png"):
    """Returns the first bytes of a figure."""
    with open(os.path.join(self._dir, name), "rb") as file:
      return file.read(len(_PNG))


class StatsHookTest(_FolderTestCase):

  def setUp(self):
    super().setUp()
    # FigureTest draws all panels.
    panels = unittest.mock.patch.object(
        stats_hook, "_PANELS", stats_hook._PANELS[:2])
    panels.start()
    self.addCleanup(panels.stop)

  def _train(self, num_steps, invert_every=1, make_hook=None, global_step=True,
             **kwargs):
    """Trains in a monitored session, with runs that are no steps between.

    Args:
      num_steps: Int.
      invert_every: See PeriodicInvCovUpdateKfacOpt.
      make_hook: Function of the optimizer; StatsHook if None.
      global_step: Whether there is a global step.
      **kwargs: Arguments of StatsHook.

    Returns:
      V1 and V2 after the last step.
    """
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
          invert_every, 1, learning_rate=1., cov_ema_decay=0.8, damping=0.05,
          layer_collection=model.layers, estimation_mode="exact", momentum=0.,
          momentum_type="qmodel", batch_size=dense_net.BATCH_SIZE)
      step = tf.train.create_global_step() if global_step else None
      train_op = optimizer.minimize(model.loss, step)
      if make_hook is None:
        kwargs.setdefault("output_dir", self._dir)
        hook = stats_hook.StatsHook(optimizer, **kwargs)
      else:
        hook = make_hook(optimizer)
      with tf.train.SingularMonitoredSession([hook]) as sess:
        for x, y in dense_net.batches(num_steps):
          feed = {model.x: x, model.y: y}
          sess.run(model.loss, feed)
          sess.run([model.loss, train_op], feed)
        return dense_net.stacked(sess.run(model.variables))

  def _events(self, folder=None):
    """Returns {global step: {name: value}} of the event file of a folder."""
    path, = glob.glob(os.path.join(folder or self._dir, "events.*"))
    events = {}
    for event in tf.train.summary_iterator(path):
      for value in event.summary.value:
        self.assertStartsWith(value.tag, "kfac/")
        events.setdefault(event.step, {})[value.tag[5:]] = value.simple_value
    return events

  def testSummariesEqualNumPy(self):
    params = self._train(4, every_n_steps=1)
    oracle, expected = dense_net.Kfac(0.05, 0.8), {}
    for number, batch in enumerate(dense_net.batches(4), 1):
      old = oracle.params
      grads = dense_net.Net(old, *batch).grads
      oracle.step(*batch, 1., momentum_type="qmodel")
      step = [a - b for a, b in zip(oracle.params, old, strict=True)]
      norms = [np.sqrt(dense_net.dot(v, v)) for v in (grads, step)]
      conditions = [np.linalg.cond(matrix)
                    for A, G, _ in oracle._damped([None, None], 0.05)
                    for matrix in (A, G)]
      expected[number] = (
          [*oracle.coefficients, oracle.change, *norms,
           -dense_net.dot(grads, step) / np.prod(norms)], conditions)
    self.assertAllClose(oracle.params, params, 1e-9, 1e-9)
    events = self._events()
    self.assertEqual([1, 2, 3, 4], list(events))
    for number, (of_step, conditions) in expected.items():
      got = events[number]
      self.assertAllClose(of_step, [got[name] for name in _STEP], 1e-5, 1e-6)
      # Read after the step, and so with the covariances that it used.
      for kind, values in (("condition", conditions), ("age", 4 * [0.]),
                           ("damping", [0.05])):
        self.assertAllClose(values, [
            value for name, value in got.items() if name.startswith(kind)],
            1e-5, 1e-6)
    self.assertEqual(_PNG, self._png())

  def testEveryNthStepIsWrittenAndWhatIsOmittedIsNot(self):
    self._train(8, 4, every_n_steps=3, omit=("condition", "mu"))
    events = self._events()
    self.assertEqual([1, 4, 7], list(events))
    ages = [[value for name, value in values.items()
             if name.startswith("age/")] for values in events.values()]
    self.assertAllEqual([4 * [0.], 4 * [3.], 4 * [2.]], ages)
    for values in events.values():
      self.assertContainsSubset(["alpha", "damping"], values)
      self.assertFalse([name for name in values
                        if name.startswith("condition/") or name == "mu"])

  def testHookDoesNotChangeTraining(self):
    expected = self._train(5, 2, make_hook=lambda _: (
        tf.train.SessionRunHook()))
    self.assertAllClose(
        expected, self._train(5, 2, every_n_steps=2), 0., 0.)

  def testOwnWriterAndNoGlobalStep(self):
    with tf.Graph().as_default():
      writer = tf.summary.FileWriter(self._dir)
    self._train(2, output_dir=None, summary_writer=writer, every_n_steps=1,
                global_step=False)
    self.assertEqual([1, 2], list(self._events()))
    self.assertEqual(_PNG, self._png())
    writer.close()

  def testAskedForTheWrongTrainOpItWarns(self):
    with tf.Graph().as_default():
      other = tf.no_op().name
    with self.assertLogs("absl", "WARNING") as logs:
      self._train(1, train_op=other)
    self.assertEqual(
        ["No stats were written: no run fetched the train op."],
        [record.getMessage() for record in logs.records])

  def testWithoutMatplotlibThereIsOneLine(self):
    with unittest.mock.patch.dict("sys.modules", _NO_MATPLOTLIB), (
        self.assertLogs("absl", "INFO")) as logs:
      self._train(1)
    self.assertEqual(
        ["kfac_stats.png was not drawn: matplotlib is not installed."],
        [record.getMessage() for record in logs.records
         if "png" in record.getMessage()])
    self.assertLen(self._events(), 1)
    self.assertEmpty(glob.glob(os.path.join(self._dir, "*.png")))

  def testFigureThatCannotBeWrittenIsOneLine(self):
    os.mkdir(os.path.join(self._dir, "kfac_stats.png"))
    with self.assertLogs("absl", "WARNING") as logs:
      self._train(1)
    message, = [record.getMessage() for record in logs.records]
    self.assertRegex(
        message, "^kfac_stats.png was not drawn: .*Is a directory.*[.]$")

  def testPointsAreThinnedOut(self):
    with unittest.mock.patch.object(stats_hook, "_MAX_POINTS", 3), (
        unittest.mock.patch.object(
            stats_hook, "write_figure", return_value=True)) as write:
      self._train(6, every_n_steps=1)
    points, path = write.call_args[0]
    self.assertEqual([1, 5], [step for step, _ in points])
    self.assertEqual(os.path.join(self._dir, "kfac_stats.png"), path)
    self.assertLen(self._events(), 6)

  def testArgumentsAreChecked(self):
    for value in (0, -1, 1.5, True, None):
      with self.assertRaisesRegex(
          ValueError, f"^every_n_steps must be an int >= 1, got {value!r}.$"):
        stats_hook.StatsHook(None, self._dir, value)
    with self.assertRaisesRegex(
        ValueError, "^output_dir or summary_writer must be given, and only "
        "one, got None and None.$"):
      stats_hook.StatsHook(None)
    with self.assertRaisesRegex(
        ValueError, "^output_dir or summary_writer must be given, and only "
        "one, got 'a' and 'b'.$"):
      stats_hook.StatsHook(None, "a", summary_writer="b")
    with self.assertRaisesRegex(
        ValueError, "^omit must be a sequence of names, got 'rho'.$"):
      stats_hook.StatsHook(None, "a", omit="rho")
    with self.assertRaisesRegex(
        ValueError, r"^omit must have names of stats, \['age', .*\], got "
        "'rho'.$"):
      self._train(0, omit=("rho",))
    with tf.Graph().as_default():
      optimizer = kfac.KfacOptimizer(0.1, 0.9, 0.1, dense_net.build().layers)
      with self.assertRaisesRegex(
          ValueError, "^stats must be called after minimize"):
        stats_hook.StatsHook(optimizer, self._dir).begin()


class FigureTest(_FolderTestCase):

  def testShowsWhateverComes(self):
    bad = (np.nan, np.inf, -np.inf, 0., -1., 1e300)
    names = ("damping", "rho", "alpha", "mu", "gradient_norm", "cosine",
             *(f"condition/{'long' * 20}{index}" for index in range(12)))
    points = [(step, {name: bad[(step + index) % len(bad)]
                      for index, name in enumerate(names)})
              for step in range(12)]
    none = [(0, dict.fromkeys(names, np.nan))]
    for name, some in (("some", points), ("none", none)):
      path = os.path.join(self._dir, name)
      self.assertTrue(stats_hook.write_figure(some, path))
      self.assertEqual(_PNG, self._png(name + ".png"))


if __name__ == "__main__":
  tf.test.main()
