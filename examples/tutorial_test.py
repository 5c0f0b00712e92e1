"""Tests of the program that draws the figures of the tutorial."""

import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import flagsaver

from examples import fake_mnist
from examples import interrupts
from examples import mnist
from examples import programs
from examples import runner
from examples import tutorial_main

PNG = b"\x89PNG\r\n\x1a\n"
# matplotlib cannot be imported.
NO_MATPLOTLIB = {"matplotlib": None, "matplotlib.figure": None}


class FiguresTestCase(tf.test.TestCase):
  """Saves the flags for one test; one directory has data and figures."""

  main = tutorial_main

  def setUp(self):
    super().setUp()
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)
    saver = flagsaver.flagsaver()
    saver.__enter__()
    self.addCleanup(saver.__exit__, None, None, None)
    fake_mnist.write_dataset(self._dir, num_train=520)

  def _argv(self, *args):
    return ["figures", "--data_dir=" + self._dir, "--output_dir=" + self._dir,
            *args]

  def _run(self, *args):
    """Returns the result of the program and its printed output."""
    runner.FLAGS(self._argv(*args))
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(
        io.StringIO()):
      result = self.main.run()
    return result, printed.getvalue()

  def _error(self, *args):
    """Runs the whole program and returns its one-line error."""
    with unittest.mock.patch.object(sys, "argv", self._argv(*args)):
      with self.assertRaises(SystemExit) as caught:
        programs.run_program(self.main.NAME, self.main.run)
    message = caught.exception.code
    self.assertIsInstance(message, str)
    self.assertNotIn("\n", message)
    self.assertStartsWith(message, self.main.NAME + ": ")
    return message[len(self.main.NAME) + 2:]

  def _assert_png(self, name):
    """Fails unless a file is a PNG, about 900 pixels wide."""
    with open(os.path.join(self._dir, name), "rb") as stream:
      head = stream.read(20)
    self.assertEqual(head[:8], PNG)
    self.assertBetween(int.from_bytes(head[16:20], "big"), 850, 1050)


class FlagsTest(FiguresTestCase):

  def testFlagsOfOtherPrograms(self):
    for flag in ("optimizer=adam", "compare", "learning_rate=1", "momentum=0.5",
                 "momentum_type=adam", "damping=1", "norm_constraint=1",
                 "epochs=1", "cov_update_every=2", "inv_update_every=2",
                 "recipe", "auto", "batch_size=5"):
      with self.subTest(flag=flag), flagsaver.flagsaver():
        self.assertStartsWith(
            self._error("--" + flag),
            f"--{flag.split('=')[0]} is not used by this program, got ")

  def testValuesOutOfRange(self):
    for name in ("updates", "evaluate_every"):
      with self.subTest(name=name), flagsaver.flagsaver():
        self.assertEqual(self._error(f"--{name}=0"),
                         f"--{name} must be at least 1, got 0.")
    self.assertEqual(self._error("--seed=-1"),
                     "--seed must be in [0, 2**31), got -1.")

  def testMatplotlibIsMissing(self):
    with unittest.mock.patch.dict(sys.modules, NO_MATPLOTLIB):
      self.assertEqual(
          self._error(), "matplotlib must be installed to draw the figures "
          "(pip install matplotlib).")

  def testMissingData(self):
    path = os.path.join(self._dir, "no")
    self.assertEqual(self._error("--data_dir=" + path),
                     f"{path!r}: no such directory.")


class FactorsTest(FiguresTestCase):

  def testFirstInputFactorEqualsNumpy(self):
    runner.FLAGS(self._argv())
    images = mnist.load(self._dir).train_images[:30]
    factors = tutorial_main.compute_factors(images)
    self.assertEqual(list(factors), ["A1", "G1", "A2", "G2", "A3", "G3"])
    self.assertEqual([len(cov) for cov in factors.values()],
                     [785, 128, 129, 64, 65, 10])
    a = np.hstack([images / 255., np.ones([30, 1])])
    self.assertAllClose(factors["A1"], a.T @ a / 30., atol=1e-5)
    for cov in factors.values():
      self.assertAllClose(cov, cov.T)

  def testEigenvaluesOmitRoundingErrors(self):
    Q, _ = np.linalg.qr(np.random.RandomState(0).randn(4, 4))
    spectrum = np.array([1e-12, 2., 1e-3, 5.])
    self.assertAllClose(
        tutorial_main.eigenvalues((Q * spectrum) @ Q.T), [5., 2., 1e-3])


class ProgramTest(FiguresTestCase):

  def testDrawsBothFigures(self):
    histories, printed = self._run("--updates=2", "--evaluate_every=1")
    self.assertEqual([history.optimizer for history in histories],
                     ["kfac", "momentum", "adam"])
    for history in histories:
      self.assertEqual(history.updates, [0, 1, 2])
      self.assertEqual(history.losses[0], histories[0].losses[0])
    self._assert_png("tutorial_factors.png")
    self._assert_png("tutorial_loss.png")
    self.assertIn("updates until momentum's lowest loss", printed)
    self.assertIn("tutorial_factors.png", printed)

  def testSignalLeavesTheTableAndTheFigureSoFar(self):
    def fake(_, optimizer, *__):
      os.kill(os.getpid(), signal.SIGINT)
      return runner.History(
          optimizer, 1., [0, 2], [0., 1.], [2., 1.], [0.1, 0.9])

    with unittest.mock.patch.object(runner, "train", fake), (
        interrupts.caught()):
      interrupts.keep_results()
      histories, printed = self._run()
    self.assertEqual([history.optimizer for history in histories], ["kfac"])
    self.assertIn("test accuracy", printed)
    self._assert_png("tutorial_loss.png")


if __name__ == "__main__":
  tf.test.main()
