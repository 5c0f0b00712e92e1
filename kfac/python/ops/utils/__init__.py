"""Mathematical and graph helpers without K-FAC state."""

from __future__ import annotations

from kfac.python.ops import not_built
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils.averages import AccumulatorVariable
from kfac.python.ops.utils.averages import MovingAverageVariable
from kfac.python.ops.utils.containers import PartitionedTensor  # noqa: F401
from kfac.python.ops.utils.containers import SequenceDict
from kfac.python.ops.utils.containers import ensure_sequence
from kfac.python.ops.utils.containers import setdefault
from kfac.python.ops.utils.graph import SubGraph
from kfac.python.ops.utils.graph import fwd_gradients
from kfac.python.ops.utils.graph import generate_random_signs
from kfac.python.ops.utils.graph import linearize  # noqa: F401
from kfac.python.ops.utils.pairs import assert_variables_match_pairs_list
from kfac.python.ops.utils.pairs import ip
from kfac.python.ops.utils.pairs import ip_p
from kfac.python.ops.utils.pairs import sprod
from kfac.python.ops.utils.pairs import sprod_p
from kfac.python.ops.utils.pairs import sum_
from kfac.python.ops.utils.pairs import sum_p
from kfac.python.ops.utils.patches import extract_convolution_patches
from kfac.python.ops.utils.patches import extract_pointwise_conv2d_patches
from kfac.python.ops.utils.patches import is_data_format_channel_last
from kfac.python.ops.utils.patches import num_conv_locations
from kfac.python.ops.utils.posdef import cholesky  # noqa: F401
from kfac.python.ops.utils.posdef import compute_pi
from kfac.python.ops.utils.posdef import posdef_eig  # noqa: F401
from kfac.python.ops.utils.posdef import posdef_eig_functions
from kfac.python.ops.utils.posdef import posdef_eig_self_adjoint  # noqa: F401
from kfac.python.ops.utils.posdef import posdef_eig_svd  # noqa: F401
from kfac.python.ops.utils.posdef import posdef_inv
from kfac.python.ops.utils.posdef import posdef_inv_cholesky
from kfac.python.ops.utils.posdef import posdef_inv_eig  # noqa: F401
from kfac.python.ops.utils.posdef import posdef_inv_funcs
from kfac.python.ops.utils.posdef import posdef_inv_functions
from kfac.python.ops.utils.posdef import posdef_inv_matrix_inverse
from kfac.python.ops.utils.replicas import all_average
from kfac.python.ops.utils.replicas import all_sum
from kfac.python.ops.utils.replicas import cross_replica_mean  # noqa: F401
from kfac.python.ops.utils.replicas import get_num_replicas
from kfac.python.ops.utils.replicas import get_replica_id
from kfac.python.ops.utils.replicas import get_tf_replicator
from kfac.python.ops.utils.replicas import is_replicated
from kfac.python.ops.utils.replicas import is_tpu_replicated
from kfac.python.ops.utils.replicas import map_gather
from kfac.python.ops.utils.replicas import on_tpu  # noqa: F401
from kfac.python.ops.utils.reshaping import column_to_tensors
from kfac.python.ops.utils.reshaping import kronecker_product
from kfac.python.ops.utils.reshaping import layer_params_to_mat2d
from kfac.python.ops.utils.reshaping import mat2d_to_layer_params
from kfac.python.ops.utils.reshaping import tensors_to_column
from kfac.python.ops.utils.scheduling import batch_execute
from kfac.python.ops.utils.short_forms import cls_name
from kfac.python.ops.utils.short_forms import get_shape
from kfac.python.ops.utils.short_forms import is_reference_variable
from kfac.python.ops.utils.short_forms import multiline_print
from kfac.python.ops.utils.short_forms import preferred_int_dtype
from kfac.python.ops.utils.short_forms import smart_assign
from kfac.python.ops.utils.short_forms import smart_cond
from kfac.python.ops.utils.sparse import matmul_diag_sparse
from kfac.python.ops.utils.sparse import matmul_sparse_dense

__all__ = [
    "SequenceDict",
    "SubGraph",
    "batch_execute",
    "column_to_tensors",
    "compute_pi",
    "ensure_sequence",
    "extract_convolution_patches",
    "extract_pointwise_conv2d_patches",
    "fwd_gradients",
    "generate_random_signs",
    "is_data_format_channel_last",
    "kronecker_product",
    "layer_params_to_mat2d",
    "mat2d_to_layer_params",
    "matmul_diag_sparse",
    "matmul_sparse_dense",
    "posdef_inv",
    "posdef_inv_cholesky",
    "posdef_inv_funcs",
    "posdef_inv_matrix_inverse",
    "set_global_constants",
    "setdefault",
    "tensors_to_column",
]

# The method of posdef_inv: a key of posdef_inv_functions.
POSDEF_INV_METHOD = "cholesky"

# Largest number of rows that "cholesky" inverts by substitution; larger
# matrices are split into blocks.
CHOLESKY_BLOCK_SIZE = 256

# What happens to updates and steps that are not finite: "skip" or "raise".
ON_BAD_NUMBERS = "skip"

# The method of posdef_eig: a key of posdef_eig_functions.
POSDEF_EIG_METHOD = "self_adjoint"

# The tables themselves, so that a method added to one becomes a choice.
_CHOICES = {
    "ON_BAD_NUMBERS": ("skip", "raise"),
    "POSDEF_INV_METHOD": posdef_inv_functions,
    "POSDEF_EIG_METHOD": posdef_eig_functions,
}


def set_global_constants(posdef_inv_method: str | None = None,
                         tf_replicator: None = None, *,
                         cholesky_block_size: int | None = None) -> None:
  """Sets the constants of this module; None leaves one unchanged.

  Args:
    posdef_inv_method: Key of `posdef_inv_functions`.
    tf_replicator: None: replicators are not built.
    cholesky_block_size: Int >= 1, see CHOLESKY_BLOCK_SIZE.

  Raises:
    ValueError: If the method is not in the table, if there is a replicator, or
      if the size is below 1.
  """
  if tf_replicator is not None:
    raise ValueError(
        "tf_replicator must be None, since replicators are not built, got "
        f"{scalars.shown(tf_replicator)}.")
  scalars.check_number("cholesky_block_size", cholesky_block_size, minimum=1)
  constants.write("utils", POSDEF_INV_METHOD=posdef_inv_method,
                  CHOLESKY_BLOCK_SIZE=cholesky_block_size)


__getattr__ = not_built.getter(
    __name__, "use a variable and tf.assign, since there are no replicas",
    ["DistributedVarOp", "MirroredVariableWrapper"])
