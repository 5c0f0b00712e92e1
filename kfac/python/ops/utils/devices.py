"""Devices that are assigned to functions in turn."""

from __future__ import annotations

import itertools
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
