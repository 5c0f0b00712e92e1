"""Programs for the package kfac 0.2, the successor of tensorflow.contrib.kfac.

They import `kfac` too. Two sets of tables list what no release of contrib has:
what 0.2.4 has and this package lacks, with what to use in its place, and what
both have, by which such programs are recognized.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

import libcst as cst

from . import calls
from . import losses
from . import program as programs
from . import renames

_NO_REPLICAS = ("there are no replicas; register one tower for each device, "
                "with reuse=True")
_NO_PATTERNS = "use auto_register_layers of LayerCollection"
_NO_SUA = "use 'kron'"

# {names below kfac or kfac.python.ops: what to use}. A name stands for all that
# is below it.
_LACKING_NAMES = {
    "keras": "train with KfacOptimizer in a graph, and register the model by "
             "auto_register_layers of LayerCollection",
    "graph_matcher tensormatch.graph_matcher tensormatch.graph_patterns "
    "tensormatch.tensorflow_graph_util": _NO_PATTERNS,
    # The module has some of its names here.
    " ".join(f"{module}.{name}"
             for module in ("graph_search", "tensormatch.graph_search")
             for name in (
                 "MatchRecord", "RecordType",
                 "filter_grouped_variable_records", "filter_records",
                 "filter_subgraph_records", "filter_user_registered_records",
                 "record_affine_from_bindings",
                 "record_batch_norm_from_bindings",
                 "record_scale_and_shift_from_bindings",
                 "register_records", "register_subgraph_layers")):
        _NO_PATTERNS,
    "estimator.FisherEstimatorReplicaRoundRobin "
    "placement.ReplicaRoundRobinPlacementMixin utils.DistributedVarOp "
    "utils.MirroredVariableWrapper": _NO_REPLICAS,
    "fisher_factors.ConvInputSUAKroneckerFactor":
        "use ConvInputKroneckerFactor",
    "layer_collection.APPROX_KRONECKER_SUA_NAME": _NO_SUA,
}

# {arguments: what to use}, of the callables in CALLABLES.
_LACKING_ARGUMENTS = {
    "tf_replicator distribute_transformations": _NO_REPLICAS,
    "trans_devices": "remove it: products with inverses are computed where the "
                     "device scope of the program says",
    "use_sua_approx_for_input_factor": "remove it",
    "include_damping_in_qmodel_change": "remove it: it is True",
}
# The values of these arguments that this package accepts.
ACCEPTED = {
    "tf_replicator": ("None",),
    "use_sua_approx_for_input_factor": ("False",),
    "include_damping_in_qmodel_change": ("None", "True"),
}
CALLABLES = re.compile(
    r"(\w*KfacOptimizer|\w*KfacOpt|FisherEstimator\w*|\w+PlacementMixin"
    r"|set_global_constants|\w+FB|\w+Factor|\w+MultiKF|register_\w+"
    r"|eval_losses|total_(sampled_)?loss|append_homog)$")

_LACKING_STRINGS = {
    "kron_sua": _NO_SUA,
    "replica_round_robin": _NO_REPLICAS,
}

# The rest is in this package too, and in no release of contrib.
_NAMES = """
AsyncInvCovUpdateKfacOpt async_inv_cov_update_kfac_opt
kfac_utils.async_inv_cov_update_kfac_opt
data_reader data_reader_alt kfac_utils.data_reader kfac_utils.data_reader_alt
graph_search.ensure_sequence graph_search.register_layers
tensormatch.graph_search.ensure_sequence
tensormatch.graph_search.register_layers
CurvatureMatrixVectorProductComputer linear_operator.linalg
optimizer.ip optimizer.ip_p optimizer.set_global_constants optimizer.sprod
optimizer.sprod_p
fisher_blocks.NaiveFullFB fisher_blocks.ScaleAndShiftDiagonalFB
fisher_blocks.ScaleAndShiftFullFB
fisher_factors.ASSUME_ZERO_MEAN_ACTIVATIONS fisher_factors.ConvInputMultiKF
fisher_factors.ConvOutputMultiKF fisher_factors.DiagonalKroneckerFactor
fisher_factors.DiagonalMultiKF fisher_factors.NaiveFullFactor
fisher_factors.SUBTRACT_MEAN_CONTRIB_FROM_COV
fisher_factors.ScaleAndShiftDiagonalFactor fisher_factors.ScaleAndShiftFactor
fisher_factors.ScaleAndShiftFullFactor fisher_factors.maybe_place_on_device
layer_collection.APPROX_KRONECKER_BOTH_DIAG_NAME
layer_collection.APPROX_KRONECKER_INDEP_BOTH_DIAG_NAME
layer_collection.APPROX_KRONECKER_INDEP_IN_DIAG_NAME
layer_collection.APPROX_KRONECKER_INDEP_OUT_DIAG_NAME
layer_collection.APPROX_KRONECKER_IN_DIAG_NAME
layer_collection.APPROX_KRONECKER_OUT_DIAG_NAME
utils.AccumulatorVariable utils.MovingAverageVariable utils.all_average
utils.all_sum utils.assert_variables_match_pairs_list utils.cls_name
utils.get_num_replicas utils.get_replica_id utils.get_shape
utils.get_tf_replicator utils.ip utils.ip_p utils.is_reference_variable
utils.is_replicated utils.is_tpu_replicated utils.map_gather
utils.multiline_print utils.num_conv_locations utils.preferred_int_dtype
utils.smart_assign utils.smart_cond utils.sprod utils.sprod_p utils.sum_
utils.sum_p
"""

# This package has it for programs of its own.
_OWN_NAMES = """
PeriodicInvCovUpdateKfacOpt periodic_inv_cov_update_kfac_opt
kfac_utils.periodic_inv_cov_update_kfac_opt
"""

# Methods, whose objects need not be known. Graphs have finalize as well.
_METHODS = """
auto_register_layers finalize register_conv1d register_scale_and_shift
register_squared_error_loss register_softmax_cross_entropy_loss
register_sigmoid_cross_entropy_loss set_default_conv2d_multi_approximation
set_default_scale_and_shift_approximation multiply_ggn multiply_ggn_factor
multiply_ggn_factor_transpose multiply_ggn_factor_replicated_one_hot
get_cov_vars get_inv_vars maybe_pre_update_adapt_damping set_loss check_var_list
run_cov_inv_ops stop_cov_inv_ops
"""

_ARGUMENTS = """
use_weight_decay weight_decay_coeff qmodel_update_rescale compute_params_stats
update_damping_immediately prev_train_batch use_passed_loss l2_reg
damping_decrease_rho_threshold damping_increase_rho_threshold print_logs
coeff coeff_mode target_mode dense_inputs patch_mask diagonal_approx_for_input
diagonal_approx_for_output assume_zero_mean_activations
subtract_mean_contrib_from_cov max_num_patches
max_num_patches_per_dimension get_sanitized_name_fn
use_patches_second_moment_op homog_value
"""

_STRINGS = """
kron_in_diag kron_out_diag kron_both_diag kron_indep_in_diag
kron_indep_out_diag kron_indep_both_diag qmodel_fixedmu curvature_prop_GGN
exact_GGN
"""


class Table(NamedTuple):
  """What to look for.

  Attributes:
    names: Names below kfac or kfac.python.ops.
    arguments: Arguments of what matches CALLABLES.
    strings: Strings.
    methods: Methods.
  """

  names: Collection[str]
  arguments: Collection[str] = ()
  strings: Collection[str] = ()
  methods: Collection[str] = ()


def _by_name(table):
  return {name: advice for names, advice in table.items()
          for name in names.split()}


_ADVICE = _by_name({
    **_LACKING_NAMES, **_LACKING_ARGUMENTS, **_LACKING_STRINGS})
# What this package lacks; what it has; and what programs for this package use
# as often as those for 0.2.4.
LACKING = Table(*(frozenset(_by_name(table)) for table in (
    _LACKING_NAMES, _LACKING_ARGUMENTS, _LACKING_STRINGS)))
COMMON = Table(*(frozenset(listed.split()) for listed in (
    _NAMES, _ARGUMENTS, _STRINGS, _METHODS)))
OWN = Table(frozenset(_OWN_NAMES.split()))


def lacking(program: programs.Program) -> list:
  """Finds what a program for 0.2.4 uses and this package lacks.

  Args:
    program: The program.

  Returns:
    List of (node, what it is, what to use).
  """
  return [(node, name, _ADVICE[name.strip("'")]) for node in program.nodes
          for name in _used(program, node, LACKING, by_place=True)]


def marker(program: programs.Program, strict: bool) -> tuple | None:
  """Finds what only a program for 0.2.x uses.

  Args:
    program: The program.
    strict: Whether the program may be one for this package. What both have
      counts then only if a call has another default in 0.2.4.

  Returns:
    (node, what it is), or None.
  """
  if not any(dotted.split(".")[0] == "kfac"
             for dotted in _plain_imports(program)):
    return None
  tables = [LACKING]
  if not strict or _has_other_defaults(program):
    tables.append(COMMON)
  if not strict:
    tables.append(OWN)
  for node in program.nodes:
    for name in (name for table in tables
                 for name in _used(program, node, table)):
      return node, name
    if isinstance(node, cst.Call) and _has_order_of_successor(program, node):
      return node, "KfacOptimizer with layer_collection as 3rd argument"
  return None


def _has_other_defaults(program):
  """Whether a call means something else in 0.2.4, by its defaults."""
  found = ((calls.callee(program, node), node) for node in program.nodes
           if isinstance(node, cst.Call))
  return any(called and calls.default_edits(
      called, node, renames.SUCCESSOR)[0] for called, node in found)


def _has_order_of_successor(program, node):
  """Whether a call of KfacOptimizer has just its 3 arguments of 0.2.4."""
  called = calls.callee(program, node)
  return called and called.short == "KfacOptimizer" and len(
      called.positional(node)) == 3 and not any(
          arg.star or arg.keyword and arg.keyword.value in (
              "layer_collection", "damping") for arg in node.args)


def _used(program, node, table, by_place=False):
  """Returns what a node uses of a table.

  Args:
    program: The program.
    node: Node of it.
    table: Table.
    by_place: Whether arguments by place are those of 0.2.4.

  Returns:
    List of names; of strings as Python writes them.
  """
  if isinstance(node, (cst.Import, cst.ImportFrom)):
    return [name for name in _imported(node) if name in table.names]
  if isinstance(node, cst.Attribute):
    short = _short(program.resolve(node) or "")
    if short in table.names:
      return [short]
    method = node.attr.value
    return [method] if method in table.methods and (
        method != "finalize"
        or losses.Search(program).is_collection(node.value)) else []
  if isinstance(node, cst.Call):
    return [name for name, value in _arguments(program, node, by_place)
            if name in table.arguments and programs.unparse(value)
            not in ACCEPTED.get(name, ())]
  if isinstance(node, cst.SimpleString):
    text = node.evaluated_value
    if isinstance(text, str) and text in table.strings and isinstance(
        program.parent(node), (cst.Arg, cst.AssignTarget, cst.Assign)):
      return [repr(text)]
  return []


def _plain_imports(program):
  """Yields the dotted names that imports write."""
  for node in program.nodes:
    if isinstance(node, cst.Import):
      yield from (programs.dotted_name(alias.name) for alias in node.names)
    elif isinstance(node, cst.ImportFrom) and not node.relative:
      yield programs.dotted_name(node.module)


def _imported(node):
  """Returns the names below kfac that an import imports, each once."""
  if isinstance(node, cst.Import):
    dotted = [programs.dotted_name(alias.name) for alias in node.names]
  elif node.relative:
    dotted = []
  else:
    module = programs.dotted_name(node.module)
    dotted = [module] + (
        [] if isinstance(node.names, cst.ImportStar) else
        [f"{module}.{programs.dotted_name(alias.name)}"
         for alias in node.names])
  parts = [name.split(".") for name in dotted]
  return dict.fromkeys(
      _short(".".join(names[:end])) for names in parts
      for end in range(2, len(names) + 1))


def _short(dotted):
  """Returns a name below kfac or kfac.python.ops; "" for any other name."""
  if not dotted.startswith("kfac."):
    return ""
  return re.sub(r"^kfac\.(python\.(ops\.)?)?", "", dotted)


def _arguments(program, node, by_place):
  """Returns (name, value) of the arguments of a call of something in kfac."""
  called = calls.callee(program, node)
  name = called.name if called else programs.dotted_name(node.func)
  if not CALLABLES.match(name.rpartition(".")[2]):
    return []
  given = [(arg.keyword.value, arg.value) for arg in node.args
           if arg.keyword is not None]
  if called and by_place:
    order = renames.order(called.name, renames.SUCCESSOR)
    given += [(name, arg.value) for name, arg in zip(
        order, called.positional(node), strict=False)]
  return given
