"""Fisher blocks: the Fisher matrix of one layer, composed of factors.

Attributes:
  NORMALIZE_DAMPING_POWER: The power of the number of replications by which the
    damping of a block is divided; 0 for no division.
  PI_TYPE: The split of damping between A and G: "tracenorm", or "off" for equal
    parts.
  CONV_LOCATIONS: How the locations of a convolution are counted: by its
    "outputs", or by its "inputs" and strides as in contrib.kfac.
"""

from __future__ import annotations

from kfac.python.ops.fisher_blocks.base import FisherBlock
from kfac.python.ops.fisher_blocks.base import _package_func
from kfac.python.ops.fisher_blocks.base import maybe_tuple
from kfac.python.ops.fisher_blocks.convolution import ConvDiagonalFB
from kfac.python.ops.fisher_blocks.convolution import ConvKFCBasicFB
from kfac.python.ops.fisher_blocks.convolution import ConvKFCBasicMultiIndepFB
from kfac.python.ops.fisher_blocks.convolution import num_conv_locations
from kfac.python.ops.fisher_blocks.damping import compute_pi_adjusted_damping
from kfac.python.ops.fisher_blocks.damping import compute_pi_tracenorm
from kfac.python.ops.fisher_blocks.damping import normalize_damping
from kfac.python.ops.fisher_blocks.depthwise import DepthwiseConvDiagonalFB
from kfac.python.ops.fisher_blocks.depthwise import DepthwiseConvKFCBasicFB
from kfac.python.ops.fisher_blocks.depthwise import (
  conv2d_filter_to_depthwise_conv2d_filter,
)
from kfac.python.ops.fisher_blocks.depthwise import (
  depthwise_conv2d_filter_to_conv2d_filter,
)
from kfac.python.ops.fisher_blocks.embedding import EmbeddingKFACFB
from kfac.python.ops.fisher_blocks.embedding import EmbeddingKFACMultiIndepFB
from kfac.python.ops.fisher_blocks.fully_connected import (
  FullyConnectedDiagonalFB,
)
from kfac.python.ops.fisher_blocks.fully_connected import (
  FullyConnectedKFACBasicFB,
)
from kfac.python.ops.fisher_blocks.fully_connected import (
  FullyConnectedMultiIndepFB,
)
from kfac.python.ops.fisher_blocks.generic import FullFB
from kfac.python.ops.fisher_blocks.generic import NaiveDiagonalFB
from kfac.python.ops.fisher_blocks.kronecker import KroneckerProductFB
from kfac.python.ops.fisher_blocks.scale_and_shift import (
  ScaleAndShiftDiagonalFB,
)
from kfac.python.ops.fisher_blocks.scale_and_shift import ScaleAndShiftFullFB
from kfac.python.ops.fisher_blocks.series import FullyConnectedSeriesFB
from kfac.python.ops.fisher_blocks.series import SeriesFBApproximation
from kfac.python.ops.fisher_blocks.single_factor import DiagonalFB
from kfac.python.ops.fisher_blocks.towers import InputOutputMultiTower
from kfac.python.ops.fisher_blocks.towers import InputOutputMultiTowerMultiUse
from kfac.python.ops.fisher_factors.naming import PackagedFunc
from kfac.python.ops.utils import constants

# The name in kfac 0.2.4.
NaiveFullFB = FullFB

PI_OFF_NAME = "off"
PI_TRACENORM_NAME = "tracenorm"

NORMALIZE_DAMPING_POWER = 1.0
PI_TYPE = PI_TRACENORM_NAME
CONV_LOCATIONS = "outputs"

_CHOICES = {
    "PI_TYPE": (PI_OFF_NAME, PI_TRACENORM_NAME),
    "CONV_LOCATIONS": ("outputs", "inputs"),
}


def set_global_constants(normalize_damping_power: float | None = None,
                         pi_type: str | None = None, *,
                         conv_locations: str | None = None) -> None:
  """Sets the constants of this module whose argument is not None.

  Args:
    normalize_damping_power: See NORMALIZE_DAMPING_POWER.
    pi_type: See PI_TYPE.
    conv_locations: See CONV_LOCATIONS.

  Raises:
    ValueError: If a string is not one of the choices above.
  """
  constants.write(
      "fisher_blocks", NORMALIZE_DAMPING_POWER=normalize_damping_power,
      PI_TYPE=pi_type, CONV_LOCATIONS=conv_locations)


__all__ = [
    "ConvDiagonalFB",
    "ConvKFCBasicFB",
    "EmbeddingKFACFB",
    "FisherBlock",
    "FullFB",
    "FullyConnectedDiagonalFB",
    "FullyConnectedKFACBasicFB",
    "KroneckerProductFB",
    "NaiveDiagonalFB",
    "compute_pi_adjusted_damping",
    "compute_pi_tracenorm",
    "normalize_damping",
    "num_conv_locations",
    "set_global_constants",
]
