"""The numbers of contrib.kfac of TensorFlow 1.10.1, where ours differ."""

from __future__ import annotations

from kfac.python.ops.utils import constants


def use_contrib_numerics() -> None:
  """Sets the constants back to which contrib.kfac's numbers belong.

  Call it before a graph is built. CHANGELOG.md tells what is corrected
  without it.
  """
  constants.write("optimizer", ADAPTED_DAMPING_REACHES_INVERSES=False)
  constants.write("fisher_blocks", CONV_LOCATIONS="inputs")
