"""Placement: the devices on which covariances and inverses are computed."""

from __future__ import annotations

from typing import Any

from absl import logging

from kfac.python.ops import factor_updates
from kfac.python.ops import not_built
from kfac.python.ops.utils import devices
from kfac.python.ops.utils import hints


class RoundRobinPlacementMixin:
  """Assigns devices to the factors of an estimator in turn.

  A mixin, as in contrib.kfac, for classes that also derive from an estimator
  with the method `create_ops_and_vars_thunks(scope)`. Factor i gets
  cov_devices[i mod n] for its covariance and the update of that, and
  inv_devices[i mod n] for the update of its inverses. The variables of the
  inverses are placed by the device scope of the caller.
  """

  def __init__(self, cov_devices: hints.Devices | None = None,
               inv_devices: hints.Devices | None = None,
               trans_devices: hints.Devices | None = None,
               **kwargs: Any) -> None:
    """Initializes the estimator.

    Args:
      cov_devices: List of device names, or None to leave the choice to
        TensorFlow.
      inv_devices: The same.
      trans_devices: Ignored with a warning: products with the inverses are
        computed where the caller's device scope says.
      **kwargs: Arguments of the estimator.

    Raises:
      ValueError: If a list of devices is empty or a string.
    """
    if trans_devices is not None:
      logging.warning(
          "trans_devices has no effect: products with the inverses are "
          "computed where the device scope of the caller says.")
    self._cov_devices = devices.check("cov_devices", cov_devices)
    self._inv_devices = devices.check("inv_devices", inv_devices)
    self._updates = factor_updates.FactorUpdates(
        self.make_vars_and_create_op_thunks, cov_devices, inv_devices)
    super().__init__(**kwargs)

  def create_ops_and_vars_thunks(self, scope: str | None = None) -> tuple:
    """Returns the thunks of the estimator, see FisherEstimator."""
    return super().create_ops_and_vars_thunks(scope=scope)  # type: ignore[misc]

  def make_vars_and_create_op_thunks(
      self, scope: str | None = None) -> tuple[list, list]:
    """See FisherEstimator.make_vars_and_create_op_thunks.

    Args:
      scope: As there.

    Returns:
      As there.
    """
    self._updates.adopt(*self.create_ops_and_vars_thunks(scope=scope))
    return self._updates.make_variables()

  def make_ops_and_vars(self, scope: str | None = None) -> tuple:
    """Creates all variables and update ops (1.8).

    Args:
      scope: Variable scope; the estimator's name if None.

    Returns:
      See FactorUpdates.make_ops_and_vars.
    """
    return self._updates.make_ops_and_vars(scope)


__getattr__ = not_built.getter(
    __name__, "use RoundRobinPlacementMixin, or register one tower for each "
    "device with reuse=True", ["ReplicaRoundRobinPlacementMixin"])
