"""Devices that are assigned to functions in turn, and remembered scopes."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def check(name: str, devices: hints.Devices | None) -> Any:
  """Raises ValueError unless devices are a list of names, or None.

  Args:
    name: Name of the argument.
    devices: Its value.

  Returns:
    `devices`.
  """
  if devices is not None and (isinstance(devices, str) or not list(devices)):
    raise ValueError(
        f"{name} must be a list of device names or None, got {devices!r}.")
  return devices


def assign(thunks: Sequence[hints.Thunk],
           devices: hints.Devices | None) -> list:
  """Assigns devices to functions in turn (round robin).

  Args:
    thunks: List of functions without arguments.
    devices: List of device names, or None to leave the choice to TensorFlow.

  Returns:
    List of the same functions, each run under its device.
  """
  if devices is None:
    return list(thunks)

  def place(thunk, device):
    def placed():
      with tf.device(device):
        return thunk()
    return placed

  return [place(*pair) for pair in zip(
      thunks, itertools.cycle(devices), strict=False)]


class DeviceScope:
  """The device scope that was current when this object was constructed.

  An optimizer makes variables and ops when they are first asked for. If it was
  constructed within tf.device(tf.train.replica_device_setter(...)) and is asked
  outside, its variables belong on the parameter servers all the same. Without a
  device, each process has variables of its own, and all but the chief wait for
  ever for their initial values.
  """

  def __init__(self) -> None:
    """Remembers the current scope."""
    self._functions = functions_in_scope()

  @contextlib.contextmanager
  def entered(self) -> Iterator[None]:
    """Context in which ops get the devices of the remembered scope.

    If the current scope does not lie within the remembered one already, it is
    treated as if it did: a device named there counts, and the remembered scope
    adds what it leaves open, such as the job. tf.device(None) ends both.
    """
    current = functions_in_scope()
    if current[:len(self._functions)] == self._functions:
      yield
      return
    with contextlib.ExitStack() as stack:
      for function in self._functions + current:
        stack.enter_context(tf.device(function))
      yield

  def wrap(self, thunks: Sequence[hints.Thunk]) -> list:
    """Returns a list of the same functions, each run in the remembered scope.

    Args:
      thunks: List of functions without arguments.
    """
    def wrapped(thunk):
      with self.entered():
        return thunk()
    return [functools.partial(wrapped, thunk) for thunk in thunks]


def functions_in_scope() -> list:
  """Returns the functions of the current device scope, the outermost first.

  A name in tf.device is a function, too; None in it is None.
  """
  if tf.executing_eagerly():
    return []
  # TensorFlow has no public way to read them.
  return list(getattr(
      tf.get_default_graph(), "_device_functions_outer_to_inner", []))
