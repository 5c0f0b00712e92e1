"""The numerics of contrib.kfac in TensorFlow 1.10.1, where they differ."""

from __future__ import annotations

from kfac.python.ops.utils import constants


def use_contrib_numerics() -> None:
  """Restores contrib.kfac's values of the constants that affect results.

  Call it before a graph is built. CHANGELOG.md lists the corrections that it
  reverts.
  """
  constants.write("optimizer", ADAPTED_DAMPING_REACHES_INVERSES=False)
  constants.write("fisher_blocks", CONV_LOCATIONS="inputs")
