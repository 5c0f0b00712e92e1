"""Fisher factors: the statistics A, G and others, and their kept inverses.

Attributes:
  INIT_COVARIANCES_AT_ZERO: Whether covariances start at zero rather than at the
    identity. It has no effect with ZERO_DEBIAS.
  ZERO_DEBIAS: Whether moving averages are corrected for their initial value.
  INIT_INVERSES_AT_ZERO: Whether kept matrices are zero rather than the identity
    before their first update; with zero, a layer does not move until then.
  EIGENVALUE_DECOMPOSITION_THRESHOLD: The number of kept inverses of a factor
    from which on they are computed from one eigendecomposition.
  EIGENVALUE_CLIPPING_THRESHOLD: Lower bound of eigenvalues before damping.
  TOWER_STRATEGY: "concat" joins the towers of a batch before covariances are
    computed; "separate" computes one covariance per tower, on the tower's
    device, and averages them.
  COLOCATE_COV_OPS_WITH_INPUTS: Whether covariances are computed on the device
    of the data, if the data have an explicit device.
  COV_EXAMPLES_FRACTION: Fraction of the examples, the first of each tower, from
    which the covariances of dense layers are computed.
  MAX_PATCH_ELEMENTS: The maximum number of elements of the patches of a
    convolution in memory. Larger batches are processed in chunks of at least
    one example.
  FLOAT64_INVERSE_SIZE: The largest number of rows of a factor whose inverse,
    if it fails in float32, is computed in float64, which takes 2 to 4 times as
    long.
  ASSUME_ZERO_MEAN_ACTIVATIONS: Whether A of a layer with a bias is computed as
    if the activations had mean zero: its last row and column are zero but for
    their common entry.
  SUBTRACT_MEAN_CONTRIB_FROM_COV: Whether the outer product of the mean is then
    subtracted, so that the rest of A is a covariance. It has no effect without
    ASSUME_ZERO_MEAN_ACTIVATIONS.
  CONTRIB_VARIABLES: Whether the variables of K-FAC are those of contrib.kfac,
    under its names, so that a plain Saver reads its checkpoints. Targets are
    then sampled by ops whose state no checkpoint contains.
"""

from __future__ import annotations

from typing import Any

from absl import logging

from kfac.python.ops.fisher_factors.base import FisherFactor
from kfac.python.ops.fisher_factors.convolution import ConvDiagonalFactor
from kfac.python.ops.fisher_factors.convolution import ConvInputKroneckerFactor
from kfac.python.ops.fisher_factors.convolution import ConvInputMultiKF
from kfac.python.ops.fisher_factors.convolution import (
  ConvInputSUAKroneckerFactor,
)
from kfac.python.ops.fisher_factors.convolution import ConvOutputKroneckerFactor
from kfac.python.ops.fisher_factors.convolution import ConvOutputMultiKF
from kfac.python.ops.fisher_factors.covariance import (
  _subsample_for_cov_computation,
)
from kfac.python.ops.fisher_factors.covariance import append_homog
from kfac.python.ops.fisher_factors.covariance import compute_cov
from kfac.python.ops.fisher_factors.covariance import maybe_colocate_with
from kfac.python.ops.fisher_factors.covariance import place_on_device
from kfac.python.ops.fisher_factors.dense import DenseSquareMatrixFactor
from kfac.python.ops.fisher_factors.dense import InverseProvidingFactor
from kfac.python.ops.fisher_factors.diagonal import DiagonalFactor
from kfac.python.ops.fisher_factors.diagonal_kronecker import (
  DiagonalKroneckerFactor,
)
from kfac.python.ops.fisher_factors.diagonal_kronecker import DiagonalMultiKF
from kfac.python.ops.fisher_factors.embedding import (
  EmbeddingInputKroneckerFactor,
)
from kfac.python.ops.fisher_factors.fully_connected import (
  FullyConnectedDiagonalFactor,
)
from kfac.python.ops.fisher_factors.fully_connected import (
  FullyConnectedKroneckerFactor,
)
from kfac.python.ops.fisher_factors.generic import FullFactor
from kfac.python.ops.fisher_factors.generic import NaiveDiagonalFactor
from kfac.python.ops.fisher_factors.naming import graph_func_to_id
from kfac.python.ops.fisher_factors.naming import graph_func_to_string
from kfac.python.ops.fisher_factors.naming import list_to_string
from kfac.python.ops.fisher_factors.naming import scalar_or_tensor_to_string
from kfac.python.ops.fisher_factors.naming import scope_string_from_name
from kfac.python.ops.fisher_factors.naming import scope_string_from_params
from kfac.python.ops.fisher_factors.recurrent import FullyConnectedMultiKF
from kfac.python.ops.fisher_factors.scale_and_shift import (
  ScaleAndShiftDiagonalFactor,
)
from kfac.python.ops.fisher_factors.scale_and_shift import ScaleAndShiftFactor
from kfac.python.ops.fisher_factors.scale_and_shift import (
  ScaleAndShiftFullFactor,
)
from kfac.python.ops.fisher_factors.variables import covariance_initializer
from kfac.python.ops.fisher_factors.variables import (
  diagonal_covariance_initializer,
)
from kfac.python.ops.fisher_factors.variables import inverse_initializer
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import scalars

INIT_COVARIANCES_AT_ZERO = True
ZERO_DEBIAS = True
INIT_INVERSES_AT_ZERO = True
EIGENVALUE_DECOMPOSITION_THRESHOLD = 2
EIGENVALUE_CLIPPING_THRESHOLD = 0.0
TOWER_STRATEGY = "concat"
COLOCATE_COV_OPS_WITH_INPUTS = True
COV_EXAMPLES_FRACTION = 1.0
MAX_PATCH_ELEMENTS = 2 ** 24
FLOAT64_INVERSE_SIZE = 2048
ASSUME_ZERO_MEAN_ACTIVATIONS = False
SUBTRACT_MEAN_CONTRIB_FROM_COV = True
CONTRIB_VARIABLES = False

# Sub-sampling of the data of ConvInputKroneckerFactor, see there.
_MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW = 1
_MAX_NUM_PATCHES = 10_000_000
_SUB_SAMPLE_OUTER_PRODUCTS = False
_INPUTS_TO_EXTRACT_PATCHES_FACTOR = 0.5
_SUB_SAMPLE_INPUTS = False

# Names in kfac 0.2.4.
NaiveFullFactor = FullFactor
maybe_place_on_device = place_on_device

_CHOICES = {"TOWER_STRATEGY": ("concat", "separate")}


def set_global_constants(
    init_covariances_at_zero: bool | None = None,
    zero_debias: bool | None = None, init_inverses_at_zero: bool | None = None,
    eigenvalue_decomposition_threshold: int | None = None,
    eigenvalue_clipping_threshold: float | None = None,
    max_num_outer_products_per_cov_row: float | None = None,
    sub_sample_outer_products: bool | None = None,
    inputs_to_extract_patches_factor: float | None = None,
    sub_sample_inputs: bool | None = None, tower_strategy: str | None = None, *,
    colocate_cov_ops_with_inputs: bool | None = None,
    cov_examples_fraction: float | None = None,
    max_patch_elements: int | None = None,
    assume_zero_mean_activations: bool | None = None,
    subtract_mean_contrib_from_cov: bool | None = None,
    sub_sample_patches: bool | None = None,
    max_num_patches: int | None = None,
    max_num_patches_per_dimension: float | None = None,
    get_sanitized_name_fn: Any = None,
    use_patches_second_moment_op: bool | None = None) -> None:
  """Sets the constants of this module whose argument is not None.

  Args:
    init_covariances_at_zero: See INIT_COVARIANCES_AT_ZERO.
    zero_debias: See ZERO_DEBIAS.
    init_inverses_at_zero: See INIT_INVERSES_AT_ZERO.
    eigenvalue_decomposition_threshold: See EIGENVALUE_DECOMPOSITION_THRESHOLD.
    eigenvalue_clipping_threshold: See EIGENVALUE_CLIPPING_THRESHOLD.
    max_num_outer_products_per_cov_row: Number of patches per row of the A of a
      convolution, if patches are sub-sampled.
    sub_sample_outer_products: Whether patches are sub-sampled.
    inputs_to_extract_patches_factor: Fraction of the examples from which
      patches are taken, if examples are sub-sampled.
    sub_sample_inputs: Whether examples are sub-sampled.
    tower_strategy: See TOWER_STRATEGY.
    colocate_cov_ops_with_inputs: See COLOCATE_COV_OPS_WITH_INPUTS.
    cov_examples_fraction: In (0, 1], see COV_EXAMPLES_FRACTION.
    max_patch_elements: Number >= 1, see MAX_PATCH_ELEMENTS.
    assume_zero_mean_activations: See ASSUME_ZERO_MEAN_ACTIVATIONS.
    subtract_mean_contrib_from_cov: See SUBTRACT_MEAN_CONTRIB_FROM_COV.
    sub_sample_patches: Same as sub_sample_outer_products (0.2.4).
    max_num_patches: Number of patches >= 1 that sub-sampling never exceeds.
    max_num_patches_per_dimension: Same as max_num_outer_products_per_cov_row
      (0.2.4).
    get_sanitized_name_fn: Without effect, with a warning: factors are named
      after their layers.
    use_patches_second_moment_op: Without effect, with a warning: A is computed
      without patches where that is cheaper.

  Raises:
    ValueError: If `tower_strategy` is unknown, a number is out of range, or a
      constant is given by both of its names with different values.
  """
  scalars.check_number("cov_examples_fraction", cov_examples_fraction, above=0.,
                       maximum=1.)
  scalars.check_number("max_patch_elements", max_patch_elements, minimum=1)
  scalars.check_number("max_num_patches", max_num_patches, minimum=1)
  for name, value in (
      ("get_sanitized_name_fn", get_sanitized_name_fn),
      ("use_patches_second_moment_op", use_patches_second_moment_op)):
    if value is not None:
      logging.log_first_n(
          logging.WARNING, "%s has no effect in fisher_factors, see "
          "set_global_constants.", 1, name)
  constants.write(
      "fisher_factors",
      INIT_COVARIANCES_AT_ZERO=init_covariances_at_zero,
      ZERO_DEBIAS=zero_debias,
      INIT_INVERSES_AT_ZERO=init_inverses_at_zero,
      EIGENVALUE_DECOMPOSITION_THRESHOLD=eigenvalue_decomposition_threshold,
      EIGENVALUE_CLIPPING_THRESHOLD=eigenvalue_clipping_threshold,
      _MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW=_one_of(
          max_num_outer_products_per_cov_row=max_num_outer_products_per_cov_row,
          max_num_patches_per_dimension=max_num_patches_per_dimension),
      _MAX_NUM_PATCHES=max_num_patches,
      _SUB_SAMPLE_OUTER_PRODUCTS=_one_of(
          sub_sample_outer_products=sub_sample_outer_products,
          sub_sample_patches=sub_sample_patches),
      _INPUTS_TO_EXTRACT_PATCHES_FACTOR=inputs_to_extract_patches_factor,
      _SUB_SAMPLE_INPUTS=sub_sample_inputs,
      TOWER_STRATEGY=tower_strategy,
      COLOCATE_COV_OPS_WITH_INPUTS=colocate_cov_ops_with_inputs,
      COV_EXAMPLES_FRACTION=cov_examples_fraction,
      MAX_PATCH_ELEMENTS=max_patch_elements,
      ASSUME_ZERO_MEAN_ACTIVATIONS=assume_zero_mean_activations,
      SUBTRACT_MEAN_CONTRIB_FROM_COV=subtract_mean_contrib_from_cov)


def _one_of(**named: Any) -> Any:
  """Returns the value of an argument that has two names; None if not given."""
  given = {name: value for name, value in named.items() if value is not None}
  if len(set(given.values())) > 1:
    raise ValueError(
        f"{' and '.join(given)} are one constant and must be equal, got "
        f"{list(given.values())}.")
  return next(iter(given.values()), None)


__all__ = [
    "ConvDiagonalFactor",
    "ConvInputKroneckerFactor",
    "ConvOutputKroneckerFactor",
    "DiagonalFactor",
    "EmbeddingInputKroneckerFactor",
    "FisherFactor",
    "FullFactor",
    "FullyConnectedDiagonalFactor",
    "FullyConnectedKroneckerFactor",
    "InverseProvidingFactor",
    "NaiveDiagonalFactor",
    "append_homog",
    "compute_cov",
    "covariance_initializer",
    "diagonal_covariance_initializer",
    "inverse_initializer",
    "maybe_colocate_with",
    "scalar_or_tensor_to_string",
    "scope_string_from_name",
    "scope_string_from_params",
    "set_global_constants",
]
