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
APPROX_KRONECKER_IN_DIAG_NAME = "kron_in_diag"
APPROX_KRONECKER_OUT_DIAG_NAME = "kron_out_diag"
APPROX_KRONECKER_BOTH_DIAG_NAME = "kron_both_diag"
APPROX_DIAGONAL_NAME = "diagonal"
APPROX_FULL_NAME = "full"
APPROX_KRONECKER_INDEP_NAME = "kron_indep"
APPROX_KRONECKER_INDEP_IN_DIAG_NAME = "kron_indep_in_diag"
APPROX_KRONECKER_INDEP_OUT_DIAG_NAME = "kron_indep_out_diag"
APPROX_KRONECKER_INDEP_BOTH_DIAG_NAME = "kron_indep_both_diag"
APPROX_KRONECKER_SERIES_1_NAME = "kron_series_1"
APPROX_KRONECKER_SERIES_2_NAME = "kron_series_2"
APPROX_KRONECKER_SUA_NAME = "kron_sua"

# Approximation of kfac 0.2.4 that is not built -> what to use instead.
NOT_BUILT = {APPROX_KRONECKER_SUA_NAME: APPROX_KRONECKER_NAME}


def _with_diagonals(block, names):
  """Returns the rows of a block with A, G, or both cut to the diagonal.

  Args:
    block: Class of the block.
    names: The names of the three approximations, in this order.
  """
  return {
      name: functools.partial(block, diagonal_approx_for_input=A,
                              diagonal_approx_for_output=G)
      for name, (A, G) in zip(
          names, ((True, False), (False, True), (True, True)), strict=True)}


APPROXIMATIONS: dict[str, dict[str, Any]] = {
    "generic": {
        APPROX_DIAGONAL_NAME: fb.NaiveDiagonalFB,
        APPROX_FULL_NAME: fb.FullFB,
    },
    "fully_connected": {
        APPROX_KRONECKER_NAME: fb.FullyConnectedKFACBasicFB,
        APPROX_DIAGONAL_NAME: fb.FullyConnectedDiagonalFB,
        **_with_diagonals(fb.FullyConnectedKFACBasicFB, (
            APPROX_KRONECKER_IN_DIAG_NAME, APPROX_KRONECKER_OUT_DIAG_NAME,
            APPROX_KRONECKER_BOTH_DIAG_NAME)),
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
        **_with_diagonals(fb.FullyConnectedMultiIndepFB, (
            APPROX_KRONECKER_INDEP_IN_DIAG_NAME,
            APPROX_KRONECKER_INDEP_OUT_DIAG_NAME,
            APPROX_KRONECKER_INDEP_BOTH_DIAG_NAME)),
    },
    "conv2d_multi": {
        APPROX_KRONECKER_INDEP_NAME: fb.ConvKFCBasicMultiIndepFB,
    },
    "embedding_multi": {
        APPROX_KRONECKER_INDEP_NAME: fb.EmbeddingKFACMultiIndepFB,
    },
}

DEFAULTS = {kind: next(iter(table)) for kind, table in APPROXIMATIONS.items()}


def name_of(block: Any) -> str:
  """Returns the name of the approximation of a block.

  Args:
    block: FisherBlock; with one of a user's own, the name of its class.
  """
  matches = [
      (len(getattr(block_type, "keywords", {})), name)
      for table in APPROXIMATIONS.values()
      for name, block_type in table.items()
      if type(block) is getattr(block_type, "func", block_type)
      and all(getattr(block, f"_{key}") == value for key, value in getattr(
          block_type, "keywords", {}).items())]
  # The row with the most settings says the most.
  return max(matches)[1] if matches else type(block).__name__


def check_built(approx: Any) -> None:
  """Raises NotImplementedError if an approximation of kfac 0.2.4 is not built.

  Args:
    approx: Name of an approximation, or anything else.
  """
  if isinstance(approx, str) and approx in NOT_BUILT:
    raise NotImplementedError(
        f"approx {approx!r} is not built, use {NOT_BUILT[approx]!r}.")


def check_approximation(kind: str, approx: str) -> None:
  """Raises ValueError if there is no such approximation of a kind of layer.

  Args:
    kind: Key of APPROXIMATIONS.
    approx: Name of an approximation.
  """
  check_built(approx)
  if not isinstance(approx, str) or approx not in APPROXIMATIONS[kind]:
    raise ValueError(
        f"approx of {kind} must be one of {sorted(APPROXIMATIONS[kind])}, got "
        f"{scalars.shown(approx)}.")


def check_any_kind(approx: str | None) -> None:
  """Raises ValueError unless an approximation of some kind of layer is named.

  Args:
    approx: Name of an approximation, or None for the default.
  """
  check_built(approx)
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
