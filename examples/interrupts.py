"""Ends a program at SIGINT or SIGTERM without a traceback.

Ctrl-C sends SIGINT. As long as a program has no results, a signal ends it at
once. After `keep_results` the first signal is only noted: the training loop
asks `requested` before each update, and the program reports the results so far.
The second signal ends it at once. The exit status is 128 plus the number of the
signal, as in a shell: 130 for SIGINT, 143 for SIGTERM.

A program calls `catch` before it imports TensorFlow. This module therefore
imports nothing that takes long.
"""

import contextlib
import os
import signal
import sys

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _State:
  """What is known in this process.

  Attributes:
    received: The first signal that was noted, or None.
    has_results: Whether the next signal is noted instead of ending the program.
    cleanups: Functions to call before a signal ends the program.
  """

  def __init__(self):
    self.received = None
    self.has_results = False
    self.cleanups = []


_state = _State()


def catch():
  """Installs the handlers; a signal that is ignored stays ignored."""
  for number in SIGNALS:
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, _handle)


@contextlib.contextmanager
def caught():
  """Context in which signals are handled, and which begins without results."""
  global _state
  before = _state, {number: signal.getsignal(number) for number in SIGNALS}
  _state = _State()
  catch()
  try:
    yield
  finally:
    _state = before[0]
    for number, handler in before[1].items():
      signal.signal(number, handler)


def keep_results():
  """Declares that there are results to report before a signal ends this."""
  _state.has_results = True


def requested():
  """Whether a signal asked the program to end."""
  return _state.received is not None


def signal_name():
  """Returns the name of the signal that was noted, such as "SIGINT"."""
  return signal.Signals(_state.received).name


def exit_status():
  """Returns the exit status for the signal that was noted."""
  return 128 + _state.received


@contextlib.contextmanager
def cleanup(function):
  """Context that calls a function at its end, also if that is due to a signal.

  Args:
    function: Function without arguments, such as one that deletes a file.
  """
  _state.cleanups.append(function)
  try:
    yield
  finally:
    _state.cleanups.pop()
    function()


def _handle(number, frame):
  """Notes a signal, or ends the program."""
  del frame
  if _state.has_results and _state.received is None:
    _state.received = number
    return
  # The signal may have interrupted any of these functions, or a write.
  for function in reversed([*_state.cleanups]):
    with contextlib.suppress(Exception):
      function()
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(Exception):
      stream.flush()
  # An exception could be caught by the code that the signal interrupted, or
  # lose its way in a callback of TensorFlow.
  os._exit(128 + number)
