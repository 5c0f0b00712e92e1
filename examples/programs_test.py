"""Tests of how programs end."""

import errno
import os
import signal
import sys
import unittest.mock

import tensorflow.compat.v1 as tf

from examples import interrupts
from examples import plots
from examples import programs
from examples import runner_test


class RunProgramTest(runner_test.RunnerTestCase):

  def _exit(self, function, *args, stdout=None):
    """Runs a program, and returns the argument of sys.exit."""
    with unittest.mock.patch.object(sys, "argv", self._argv(*args)), (
        unittest.mock.patch.object(sys, "stdout", stdout or sys.stdout)):
      with self.assertRaises(SystemExit) as caught:
        programs.run_program("small", function)
    return caught.exception.code

  def testStatusIsZeroAtTheEnd(self):
    self.assertIsNone(self._exit(lambda: None))

  def testOutputErrorIsOneLine(self):
    def fail():
      raise plots.OutputError("the plot cannot be written.")
    self.assertEqual(self._exit(fail), "small: the plot cannot be written.")

  def testInterruptedProgramEndsWithItsStatus(self):
    def interrupt():
      interrupts.keep_results()
      os.kill(os.getpid(), signal.SIGINT)
    self.assertEqual(self._exit(interrupt), 130)

  def testClosedOutput(self):
    # The line stays in the buffer, or is written at once, or there is help.
    for function, args in ((lambda: print("line"), ()),
                           (lambda: print("line", flush=True), ()),
                           (lambda: None, ("--help",))):
      reading, writing = os.pipe()
      os.close(reading)
      with open(writing, "w", encoding="utf-8") as stdout:
        self.assertEqual(
            self._exit(function, *args, stdout=stdout),
            programs.CLOSED_OUTPUT)
        # Neither does Python's own flush at the end fail.
        stdout.flush()

  def testFullDisk(self):
    for flush in (False, True):
      with open("/dev/full", "w", encoding="utf-8") as stdout:
        code = self._exit(lambda flush=flush: print("line", flush=flush),
                          stdout=stdout)
        self.assertEqual(
            code, "small: the output cannot be written, "
            f"{os.strerror(errno.ENOSPC)}.")
        stdout.flush()

  def testOtherErrorsAreNotHidden(self):
    def fail():
      raise FileNotFoundError(errno.ENOENT, "a fault of the program")
    with unittest.mock.patch.object(sys, "argv", self._argv()), (
        self.assertRaisesRegex(FileNotFoundError, "a fault")):
      programs.run_program("small", fail)

  def testProgramWithoutStandardStreams(self):
    # Python has None for a stream that was closed when it started.
    with unittest.mock.patch.object(sys, "stderr", None), (
        unittest.mock.patch.object(sys, "argv", self._argv(
            "--optimizer=momentum", "--updates=1"))), (
        unittest.mock.patch.object(sys, "stdout", None)):
      with self.assertRaises(SystemExit) as caught:
        programs.main(runner_test.EXPERIMENT)
    self.assertIsNone(caught.exception.code)



if __name__ == "__main__":
  tf.test.main()
