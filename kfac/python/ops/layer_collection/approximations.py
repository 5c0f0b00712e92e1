"""The approximation table: kind of layer -> approximation -> block.

The first approximation of a kind is its default. A new one is a row here, and
a row in the contract test of the blocks.
"""

from __future__ import annotations

import functools
from typing import Any

from kfac.python.ops import fisher_blocks as fb
from kfac.python.ops.utils import scalars

APPROX_KRONECKER_NAME = "kron"
APPROX_DIAGONAL_NAME = "diagonal"
APPROX_FULL_NAME = "full"
APPROX_KRONECKER_INDEP_NAME = "kron_indep"
APPROX_KRONECKER_SERIES_1_NAME = "kron_series_1"
APPROX_KRONECKER_SERIES_2_NAME = "kron_series_2"

APPROXIMATIONS: dict[str, dict[str, Any]] = {
    "generic": {
        APPROX_DIAGONAL_NAME: fb.NaiveDiagonalFB,
        APPROX_FULL_NAME: fb.FullFB,
    },
    "fully_connected": {
        APPROX_KRONECKER_NAME: fb.FullyConnectedKFACBasicFB,
        APPROX_DIAGONAL_NAME: fb.FullyConnectedDiagonalFB,
    },
    "conv2d": {
        APPROX_KRONECKER_NAME: fb.ConvKFCBasicFB,
        APPROX_DIAGONAL_NAME: fb.ConvDiagonalFB,
    },
    "convolution": {
        APPROX_KRONECKER_NAME: fb.ConvKFCBasicFB,
    },
    "depthwise_conv2d": {
        APPROX_DIAGONAL_NAME: fb.DepthwiseConvDiagonalFB,
        APPROX_KRONECKER_NAME: fb.DepthwiseConvKFCBasicFB,
    },
    "scale_and_shift": {
        APPROX_FULL_NAME: fb.ScaleAndShiftFullFB,
        APPROX_DIAGONAL_NAME: fb.ScaleAndShiftDiagonalFB,
    },
    "embedding": {
        APPROX_KRONECKER_NAME: fb.EmbeddingKFACFB,
    },
    "fully_connected_multi": {
        APPROX_KRONECKER_INDEP_NAME: fb.FullyConnectedMultiIndepFB,
        APPROX_KRONECKER_SERIES_1_NAME: functools.partial(
            fb.FullyConnectedSeriesFB, option=fb.SeriesFBApproximation.option1),
        APPROX_KRONECKER_SERIES_2_NAME: functools.partial(
            fb.FullyConnectedSeriesFB, option=fb.SeriesFBApproximation.option2),
    },
    "conv2d_multi": {
        APPROX_KRONECKER_INDEP_NAME: fb.ConvKFCBasicMultiIndepFB,
    },
    "embedding_multi": {
        APPROX_KRONECKER_INDEP_NAME: fb.EmbeddingKFACMultiIndepFB,
    },
}

DEFAULTS = {kind: next(iter(table)) for kind, table in APPROXIMATIONS.items()}


def check_approximation(kind: str, approx: str) -> None:
  """Raises ValueError if there is no such approximation of a kind of layer.

  Args:
    kind: Key of APPROXIMATIONS.
    approx: Name of an approximation.
  """
  if not isinstance(approx, str) or approx not in APPROXIMATIONS[kind]:
    raise ValueError(
        f"approx of {kind} must be one of {sorted(APPROXIMATIONS[kind])}, got "
        f"{scalars.shown(approx)}.")


def check_any_kind(approx: str | None) -> None:
  """Raises ValueError unless an approximation of some kind of layer is named.

  Args:
    approx: Name of an approximation, or None for the default.
  """
  names = {name for table in APPROXIMATIONS.values() for name in table}
  if approx is not None and (
      not isinstance(approx, str) or approx not in names):
    raise ValueError(
        f"approximation must be one of {sorted(names)}, got "
        f"{scalars.shown(approx)}.")


def default_property(kind: str) -> Any:
  """Returns the property of LayerCollection with the default of a kind."""
  def get(self) -> str:
    return self._defaults[kind]
  get.__doc__ = f"Name of the default approximation of {kind}."
  return property(get)


def default_setter(kind: str) -> Any:
  """Returns the method of LayerCollection that sets the default of a kind."""
  def set_default(self, value: str) -> None:
    check_approximation(kind, value)
    self._defaults[kind] = value
  set_default.__doc__ = f"Sets the default approximation of {kind}."
  return set_default
