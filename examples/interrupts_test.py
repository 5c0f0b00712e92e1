"""Tests of signals and closed pipes, with real processes."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

from examples import fake_mnist
from examples import interrupts

EXAMPLES = pathlib.Path(__file__).parent
PNG = b"\x89PNG\r\n\x1a\n"
# A program without TensorFlow: it tells when it is ready, and notes signals.
SMALL = """
import signal, sys, time
from examples import interrupts
if "ignore" in sys.argv:
  signal.signal(signal.SIGINT, signal.SIG_IGN)
interrupts.catch()
with interrupts.cleanup(lambda: print("first made, last removed")):
  with interrupts.cleanup(lambda: print("cleaned up")):
    if "keep" in sys.argv:
      interrupts.keep_results()
    print("ready", flush=True)
    while True:
      if interrupts.requested() and "twice" not in sys.argv:
        print(interrupts.signal_name(), flush=True)
        sys.exit(interrupts.exit_status())
      if interrupts.requested() and "told" not in sys.argv:
        print("noted", flush=True)
        sys.argv.append("told")
      time.sleep(0.001)
"""


class ProcessCase(unittest.TestCase):
  """Starts processes that do not outlive the test."""

  def setUp(self):
    super().setUp()
    # A signal that is ignored here would be ignored in the processes.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    self.addCleanup(signal.signal, signal.SIGINT, before)
    self._dir = tempfile.mkdtemp()
    self.addCleanup(shutil.rmtree, self._dir)

  def _start(self, *args, stderr=subprocess.STDOUT, path=""):
    """Starts Python with stdout in a pipe and a folder in its search path."""
    process = subprocess.Popen(
        [sys.executable, *args], stdout=subprocess.PIPE, stderr=stderr,
        cwd=self._dir,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(
            [path, str(EXAMPLES.parent)]).lstrip(os.pathsep)))
    self.addCleanup(self._end, process)
    return process

  def _end(self, process):
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
      if stream is not None:
        stream.close()

  def _start_training(self, *flags, **kwargs):
    """Starts the perceptron on a small data set.

    Args:
      *flags: Flags of the program.
      **kwargs: Arguments of `_start`.

    Returns:
      The process.
    """
    fake_mnist.write_dataset(self._dir)
    return self._start(
        str(EXAMPLES / "mlp_mnist_main.py"), "--batch_size=20",
        "--optimizer=momentum", "--evaluate_every=1",
        f"--data_dir={self._dir}", *flags, **kwargs)

  def _read_until(self, process, text):
    """Reads the output up to a text, and returns it."""
    output = b""
    while text not in output:
      chunk = os.read(process.stdout.fileno(), 1 << 16)
      self.assertTrue(chunk, output)
      output += chunk
    return output


class SmallProgramTest(ProcessCase):

  def testWithoutResultsASignalEndsTheProgramAtOnce(self):
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
      process = self._start("-c", SMALL)
      self._read_until(process, b"ready\n")
      process.send_signal(number)
      output, _ = process.communicate()
      self.assertEqual(
          output, b"cleaned up\nfirst made, last removed\n")
      self.assertEqual(process.returncode, status)

  def testWithResultsTheFirstSignalIsNoted(self):
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
      process = self._start("-c", SMALL, "keep")
      self._read_until(process, b"ready\n")
      process.send_signal(number)
      output, _ = process.communicate()
      self.assertEqual(
          output, number.name.encode()
          + b"\ncleaned up\nfirst made, last removed\n")
      self.assertEqual(process.returncode, status)

  def testTheSecondSignalEndsTheProgramAtOnce(self):
    process = self._start("-c", SMALL, "keep", "twice")
    self._read_until(process, b"ready\n")
    process.send_signal(signal.SIGINT)
    self._read_until(process, b"noted\n")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    self.assertEqual(output, b"cleaned up\nfirst made, last removed\n")
    self.assertEqual(process.returncode, 130)

  def testAnIgnoredSignalStaysIgnored(self):
    process = self._start("-c", SMALL, "ignore")
    self._read_until(process, b"ready\n")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    self.assertEqual(process.returncode, 143)


class CaughtTest(unittest.TestCase):

  def testHandlersAndStateAreRestored(self):
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with interrupts.caught():
      interrupts.keep_results()
      os.kill(os.getpid(), signal.SIGTERM)
      self.assertTrue(interrupts.requested())
      with interrupts.caught():
        self.assertFalse(interrupts.requested())
      self.assertEqual(interrupts.signal_name(), "SIGTERM")
      self.assertEqual(interrupts.exit_status(), 143)
    self.assertFalse(interrupts.requested())
    self.assertEqual(
        [signal.getsignal(number) for number in interrupts.SIGNALS], before)


class ProgramTest(ProcessCase):

  def testEachProgramCatchesSignalsBeforeItImportsTensorFlow(self):
    programs = sorted(EXAMPLES.glob("*_main.py"))
    programs.append(EXAMPLES / "benchmarks" / "step_cost.py")
    self.assertGreater(len(programs), 7)
    for path in programs:
      source = path.read_text(encoding="utf-8")
      before, caught, after = source.partition(
          'if __name__ == "__main__":\n'
          "  # Importing TensorFlow takes seconds.\n"
          "  from examples import interrupts\n"
          "  interrupts.catch()\n")
      self.assertTrue(caught, path)
      self.assertNotIn("\nfrom", before, path)
      self.assertIn("programs.", after, path)

  def testSignalDuringTrainingReportsTheResultsSoFar(self):
    # All run at the same time.
    processes = [
        (number, self._start_training(
            "--output_dir=" + number.name, "--updates=1000000"))
        for number in (signal.SIGINT, signal.SIGTERM)]
    for number, process in processes:
      self._read_until(process, b"loss ")
      process.send_signal(number)
    for number, process in processes:
      output = process.communicate()[0].decode()
      self.assertEqual(process.returncode, 128 + number, output)
      self.assertNotIn("Traceback", output)
      self.assertIn("test accuracy", output)
      self.assertIn("momentum  ", output)
      # The table and this line begin after the line of the progress bar.
      self.assertIn(f"\nmlp_mnist: interrupted by {number.name}.\n", output)
      self._check_plot(os.path.join(self._dir, number.name), output)

  def _check_plot(self, folder, output):
    """Asserts that a folder has only the plot, if matplotlib is installed."""
    if "No plot: matplotlib" in output:
      self.assertEqual(os.listdir(folder), [])
      return
    self.assertEqual(os.listdir(folder), ["mlp_mnist.png"])
    contents = pathlib.Path(folder, "mlp_mnist.png").read_bytes()
    self.assertEqual(contents[:8], PNG)
    self.assertIn(b"IEND", contents[-12:])

  def testClosedOutput(self):
    process = self._start_training("--updates=2", stderr=subprocess.PIPE)
    process.stdout.close()
    errors = process.stderr.read()
    self.assertEqual(process.wait(), 141)
    self.assertNotIn(b"Traceback", errors)
    self.assertNotIn(b"Exception", errors)

  def testSignalDuringTheImports(self):
    # A package that is never imported completely, in place of TensorFlow.
    os.mkdir(os.path.join(self._dir, "tensorflow"))
    with open(os.path.join(self._dir, "tensorflow", "__init__.py"), "w",
              encoding="utf-8") as stream:
      stream.write("import time\nprint('importing', flush=True)\n"
                   "while True:\n  time.sleep(0.001)\n")
    process = self._start_training(path=self._dir)
    self._read_until(process, b"importing\n")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate()
    self.assertEqual(output, b"")
    self.assertEqual(process.returncode, 130)


if __name__ == "__main__":
  unittest.main()
