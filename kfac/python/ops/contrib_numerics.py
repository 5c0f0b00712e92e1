"""The numerics of contrib.kfac in TensorFlow 1.10.1, where they differ."""

from __future__ import annotations

from kfac.python.ops.utils import constants

# (module, constant) -> the value with which contrib.kfac's results, and the
# names of its variables, return.
CONTRIB_VALUES = {
    ("estimation_modes", "SIGNS_IN_EXACT_MODE"): False,
    ("fisher_blocks", "CONV_LOCATIONS"): "inputs",
    ("fisher_factors", "CONTRIB_VARIABLES"): True,
    ("optimizer", "ADAPTED_DAMPING_REACHES_INVERSES"): False,
}


def use_contrib_numerics() -> None:
  """Restores contrib.kfac's values of the constants that affect results.

  Call it before a graph is built. CHANGELOG.md lists the corrections that it
  reverts.
  """
  for (module, name), value in CONTRIB_VALUES.items():
    constants.write(module, **{name: value})
