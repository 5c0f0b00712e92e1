"""Placement: on which devices covariances and inverses are computed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import update_ops
from kfac.python.ops.utils import hints


def check_devices(name: str, devices: hints.Devices) -> Any:
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


class RoundRobinPlacementMixin(update_ops.UpdateOps):
  """Mixin of estimators that deals devices out to factors in turn.

  The estimator defines `create_ops_and_vars_thunks(scope)`. Factor i gets
  cov_devices[i mod n] for its covariance and the update of that one, and
  inv_devices[i mod n] for the update of its inverses; the variables of these
  go where the caller's device scope says.
  """

  def __init__(self, cov_devices: hints.Devices | None = None,
               inv_devices: hints.Devices | None = None, **kwargs: Any) -> None:
    """Starts an estimator.

    Args:
      cov_devices: List of device names, or None to leave it to TensorFlow.
      inv_devices: The same.
      **kwargs: Arguments of the estimator.

    Raises:
      ValueError: If a list of devices is empty or none.
    """
    self._cov_devices = check_devices("cov_devices", cov_devices)
    self._inv_devices = check_devices("inv_devices", inv_devices)
    super().__init__(**kwargs)

  def make_vars_and_create_op_thunks(
      self, scope: str | None = None) -> tuple[list, list]:
    """Makes all variables and returns thunks of the update ops.

    Args:
      scope: Variable scope; the estimator's name if None.

    Returns:
      List of functions that make the covariance update op of each factor, and
      of functions that make its inverse update op.
    """
    (cov_variable_thunks, cov_update_thunks, inv_variable_thunks,
     inv_update_thunks) = self.create_ops_and_vars_thunks(scope=scope)
    for thunk in (deal_out(cov_variable_thunks, self._cov_devices)
                  + list(inv_variable_thunks)):
      thunk()
    thunks = (deal_out(cov_update_thunks, self._cov_devices),
              deal_out(inv_update_thunks, self._inv_devices))
    # What is offered as properties is placed, too.
    self._keep_thunks((), *thunks)
    return thunks


def deal_out(thunks: Sequence[hints.Thunk],
             devices: hints.Devices | None) -> list:
  """Deals devices out to thunks in turn.

  Args:
    thunks: List of functions without arguments.
    devices: List of device names, or None to leave it to TensorFlow.

  Returns:
    List of the same functions, each under its device.
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
