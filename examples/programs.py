"""Runs a program of this directory, and ends it with one line if it fails.

| exit status | reason |
|---|---|
| 0 | the program is done |
| 1 | a flag, the data or an output is invalid; stderr has one line |
| 130, 143 | SIGINT (Ctrl-C) or SIGTERM, see interrupts.py |
| 141 | stdout or stderr was closed, for instance by `| head` |
"""

import contextlib
import errno
import os
import sys

import tensorflow.compat.v1 as tf
from absl import app
from absl import flags

from examples import interrupts
from examples import mnist
from examples import plots
from examples import runner

# What a shell reports for a program that SIGPIPE ended.
CLOSED_OUTPUT = 141
# Errors of writing that are not faults of the program.
_WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# Otherwise the first program defines --help for all that follow, and whoever
# restores earlier flags removes it.
app.define_help_flags()

FLAGS = flags.FLAGS


def main(experiment):
  """Runs the program of a runner.Experiment; see `run_program`."""
  run_program(experiment.name, lambda: runner.run(experiment))


def run_program(name, function):
  """Runs a program; see the table of exit statuses above.

  Args:
    name: Name of the program, with which an error begins.
    function: Function without arguments, called after the flags are parsed.
  """
  def start(argv):
    try:
      if len(argv) > 1:
        raise runner.SettingsError(
            f"arguments must begin with --, got {argv[1]}.")
      function()
    except (runner.SettingsError, plots.OutputError,
            mnist.DataError) as error:
      sys.exit(f"{name}: {error}")
    if interrupts.requested():
      print(f"{name}: interrupted by {interrupts.signal_name()}.",
            file=sys.stderr)
      sys.exit(interrupts.exit_status())

  def parse(argv):
    try:
      return FLAGS(argv)
    except flags.Error as error:
      message = " ".join(str(error).split())
      sys.exit(f"{name}: {message}")

  tf.logging.set_verbosity(tf.logging.ERROR)
  with interrupts.caught(), _checked_output(name):
    app.run(start, flags_parser=parse)


@contextlib.contextmanager
def _checked_output(name):
  """Context that ends the program if stdout or stderr cannot be written.

  Args:
    name: Name of the program.
  """
  try:
    try:
      yield
    finally:
      # Otherwise Python does so later, and prints a traceback.
      _flush()
  except BrokenPipeError:
    _discard_output()
    sys.exit(CLOSED_OUTPUT)
  except OSError as error:
    if error.errno not in _WRITE_ERRORS:
      raise
    _discard_output()
    sys.exit(f"{name}: the output cannot be written, {error.strerror}.")


def _flush():
  """Writes what print has kept; Python has no stream for a closed file."""
  for stream in (sys.stdout, sys.stderr):
    if stream is not None:
      stream.flush()


def _discard_output():
  """Redirects the streams that cannot be written to the null device."""
  for stream in (sys.stdout, sys.stderr):
    try:
      if stream is not None:
        stream.flush()
    except OSError:
      null = os.open(os.devnull, os.O_WRONLY)
      os.dup2(null, stream.fileno())
      os.close(null)
