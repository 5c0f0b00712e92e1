"""Programs for the package kfac 0.2, the successor of tensorflow.contrib.kfac.

They import `kfac` too. The tables list what 0.2.4 has and this package lacks,
with what to use in its place.
"""

from __future__ import annotations

import re

import libcst as cst

from . import calls
from . import losses
from . import program as programs
from . import renames

_BY_HAND = "register each layer with a method of LayerCollection"
_NO_REPLICAS = ("there are no replicas; register one tower for each device, "
                "with reuse=True")
_GENERIC = "use register_generic"
_KRON = "use 'kron' or 'diagonal'"
_COPY = "define it in the program"

# {names below kfac or kfac.python.ops: what to use}.
_NAMES = {
    "keras": "train with KfacOptimizer in a graph, and register the layers in "
             "a LayerCollection",
    "AsyncInvCovUpdateKfacOpt async_inv_cov_update_kfac_opt "
    "kfac_utils.async_inv_cov_update_kfac_opt":
        "use kfac_utils.background.BackgroundInverses",
    "data_reader data_reader_alt kfac_utils.data_reader "
    "kfac_utils.data_reader_alt":
        "adapt_damping takes train_batch and loss_fn",
    "tensormatch graph_matcher graph_search": _BY_HAND,
    "CurvatureMatrixVectorProductComputer":
        "it is in kfac.curvature_matrix_vector_products",
    "linear_operator placement": "import it from kfac.python.ops",
    "estimator.FisherEstimatorReplicaRoundRobin "
    "placement.ReplicaRoundRobinPlacementMixin utils.DistributedVarOp "
    "utils.MirroredVariableWrapper utils.all_average utils.all_sum "
    "utils.get_num_replicas utils.get_replica_id utils.get_tf_replicator "
    "utils.is_replicated utils.is_tpu_replicated utils.map_gather "
    "optimizer.set_global_constants": _NO_REPLICAS,
    "fisher_blocks.NaiveFullFB": "use fisher_blocks.FullFB",
    "fisher_factors.NaiveFullFactor": "use fisher_factors.FullFactor",
    "fisher_blocks.ScaleAndShiftDiagonalFB fisher_blocks.ScaleAndShiftFullFB "
    "fisher_factors.ScaleAndShiftDiagonalFactor "
    "fisher_factors.ScaleAndShiftFactor fisher_factors.ScaleAndShiftFullFactor":
        _GENERIC,
    "fisher_factors.ConvInputMultiKF fisher_factors.ConvOutputMultiKF":
        "use register_conv2d_multi",
    "fisher_factors.ConvInputSUAKroneckerFactor":
        "use ConvInputKroneckerFactor",
    "fisher_factors.DiagonalKroneckerFactor fisher_factors.DiagonalMultiKF":
        "use FullyConnectedKroneckerFactor",
    "fisher_factors.ASSUME_ZERO_MEAN_ACTIVATIONS "
    "fisher_factors.SUBTRACT_MEAN_CONTRIB_FROM_COV":
        "remove it: covariances have the mean in them",
    "fisher_factors.maybe_place_on_device": "use tf.device",
    "layer_collection.APPROX_KRONECKER_BOTH_DIAG_NAME "
    "layer_collection.APPROX_KRONECKER_INDEP_BOTH_DIAG_NAME "
    "layer_collection.APPROX_KRONECKER_INDEP_IN_DIAG_NAME "
    "layer_collection.APPROX_KRONECKER_INDEP_OUT_DIAG_NAME "
    "layer_collection.APPROX_KRONECKER_IN_DIAG_NAME "
    "layer_collection.APPROX_KRONECKER_OUT_DIAG_NAME "
    "layer_collection.APPROX_KRONECKER_SUA_NAME": _KRON,
    "linear_operator.linalg": "use tf.linalg",
    "utils.AccumulatorVariable utils.MovingAverageVariable":
        "use tf.train.ExponentialMovingAverage",
    "utils.num_conv_locations": "use fisher_blocks.num_conv_locations",
    "utils.smart_assign utils.smart_cond": "use tf.assign and tf.cond",
    "utils.get_shape": "use x.shape.as_list()",
    "optimizer.ip optimizer.ip_p optimizer.sprod optimizer.sprod_p "
    "utils.assert_variables_match_pairs_list utils.cls_name utils.ip "
    "utils.ip_p utils.is_reference_variable utils.multiline_print "
    "utils.preferred_int_dtype utils.sprod utils.sprod_p utils.sum_ "
    "utils.sum_p": _COPY,
}

# {names of methods: what to use}. Their objects need not be known.
_METHODS = {
    "auto_register_layers": _BY_HAND,
    "register_conv1d": "use register_convolution",
    "register_scale_and_shift": _GENERIC,
    "register_squared_error_loss":
        "use register_normal_predictive_distribution",
    "register_softmax_cross_entropy_loss":
        "use register_categorical_predictive_distribution",
    "register_sigmoid_cross_entropy_loss":
        "use register_multi_bernoulli_predictive_distribution",
    "set_default_conv2d_multi_approximation":
        "pass approx to register_conv2d_multi",
    "set_default_scale_and_shift_approximation": _GENERIC,
    "multiply_ggn": "use multiply_hessian of a loss, "
                    "multiply_generalized_gauss_newton of a computer",
    "multiply_ggn_factor multiply_ggn_factor_transpose":
        "use multiply_hessian_factor of a loss, "
        "multiply_generalized_gauss_newton_factor of a computer",
    "get_cov_vars get_inv_vars": "use tf.get_collection with a scope",
    "maybe_pre_update_adapt_damping set_loss check_var_list":
        "remove it: minimize does this",
}

# {arguments: what to use}, of the callables in _CALLABLES.
_ARGUMENTS = {
    "use_weight_decay weight_decay_coeff":
        "make an op that decays the variables after the step",
    "qmodel_update_rescale": "scale the learning rate",
    "compute_params_stats": "remove it",
    "update_damping_immediately prev_train_batch loss use_passed_loss":
        "adapt_damping evaluates loss_fn on train_batch after each step",
    "l2_reg": "return the regularized loss from loss_fn",
    "damping_decrease_rho_threshold damping_increase_rho_threshold":
        "remove it: the thresholds are 3/4 and 1/4",
    "print_logs": "remove it",
    "tf_replicator": _NO_REPLICAS,
    "dtype": "remove it: dtypes are those of the variables",
    "coeff": "scale the loss by a loss function of the program",
    "coeff_mode target_mode": "remove it: losses have no coefficients",
    "dense_inputs": "use register_embedding for inputs that are indices",
    "patch_mask use_sua_approx_for_input_factor": "remove it",
    "diagonal_approx_for_input diagonal_approx_for_output": _KRON,
    "assume_zero_mean_activations subtract_mean_contrib_from_cov":
        "remove it: covariances have the mean in them",
    "sub_sample_patches max_num_patches max_num_patches_per_dimension":
        "use max_num_outer_products_per_cov_row",
    "get_sanitized_name_fn use_patches_second_moment_op homog_value":
        "remove it",
}
_CALLABLES = re.compile(
    r"(KfacOptimizer|KfacOpt|FisherEstimator\w*|set_global_constants|\w+FB"
    r"|\w+Factor|register_\w+|eval_losses|total_(sampled_)?loss|append_homog)$")

_STRINGS = {
    "kron_in_diag kron_out_diag kron_both_diag kron_indep_in_diag "
    "kron_indep_out_diag kron_indep_both_diag kron_sua": _KRON,
    "qmodel_fixedmu": "use 'qmodel'",
    "curvature_prop_GGN": "use 'curvature_prop'",
    "exact_GGN": "use 'exact'",
}


def _by_name(table):
  return {name: advice for names, advice in table.items()
          for name in names.split()}


NAMES, METHODS = _by_name(_NAMES), _by_name(_METHODS)
ARGUMENTS, STRINGS = _by_name(_ARGUMENTS), _by_name(_STRINGS)


def lacking(program: programs.Program) -> list:
  """Finds what a program for 0.2.4 uses and this package lacks.

  Args:
    program: The program.

  Returns:
    List of (node, what it is, what to use).
  """
  search = losses.Search(program)
  found: list[tuple[cst.CSTNode, str, str]] = []
  for node in program.nodes:
    if isinstance(node, (cst.Import, cst.ImportFrom)):
      found += [(node, name, NAMES[name]) for name in _imported(node)]
    elif isinstance(node, cst.Attribute):
      dotted, name = program.resolve(node), node.attr.value
      short = _short(dotted or "")
      if short in NAMES:
        found.append((node, short, NAMES[short]))
      elif name in METHODS:
        found.append((node, name, METHODS[name]))
      elif name == "finalize" and search.is_collection(node.value):
        found.append((node, name, "remove it"))
    elif isinstance(node, cst.Call):
      found += [(node, argument, ARGUMENTS[argument])
                for argument in _arguments(program, node)
                if argument in ARGUMENTS]
    elif isinstance(node, cst.SimpleString):
      text = node.evaluated_value
      if isinstance(text, str) and text in STRINGS and isinstance(
          program.parent(node), (cst.Arg, cst.AssignTarget, cst.Assign)):
        found.append((node, repr(text), STRINGS[text]))
  return found


def marker(program: programs.Program, strict: bool) -> tuple | None:
  """Finds what only a program for 0.2.x uses.

  Args:
    program: The program.
    strict: Whether this package must lack it; else it suffices that all
      releases of contrib lack it.

  Returns:
    (node, what it is), or None.
  """
  imports_kfac = any(
      dotted.split(".")[0] == "kfac" for dotted in _plain_imports(program))
  if not imports_kfac:
    return None
  for node, name, _ in lacking(program):
    if name not in ("linear_operator", "placement", "loss"):
      return node, name
  for node in program.nodes:
    if isinstance(node, cst.Call):
      called = calls.callee(program, node)
      if called and called.short == "KfacOptimizer" and len(
          called.positional(node)) == 3 and not any(
              arg.star or arg.keyword and arg.keyword.value in (
                  "layer_collection", "damping") for arg in node.args):
        return node, "KfacOptimizer with layer_collection as 3rd argument"
    if not strict and isinstance(node, (cst.Attribute, cst.Name)):
      name = programs.dotted_name(node).rpartition(".")[2]
      if name == "PeriodicInvCovUpdateKfacOpt":
        return node, name
  return None


def _plain_imports(program):
  """Yields the dotted names that imports write."""
  for node in program.nodes:
    if isinstance(node, cst.Import):
      yield from (programs.dotted_name(alias.name) for alias in node.names)
    elif isinstance(node, cst.ImportFrom) and not node.relative:
      yield programs.dotted_name(node.module)


def _imported(node):
  """Returns the names in NAMES that an import imports."""
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
  found = (_short(".".join(names[:end])) for names in parts
           for end in range(2, len(names) + 1))
  return [name for name in dict.fromkeys(found) if name in NAMES]


def _short(dotted):
  """Returns a name below kfac or kfac.python.ops; "" for any other name."""
  if not dotted.startswith("kfac."):
    return ""
  below = re.sub(r"^kfac\.(python\.(ops\.)?)?", "", dotted)
  # `linear_operator` and `placement` are lacking in the root only.
  return "" if dotted.startswith("kfac.python.ops.") and below in (
      "linear_operator", "placement") else below


def _arguments(program, node):
  """Returns the names of the arguments of a call of something in kfac."""
  called = calls.callee(program, node)
  name = called.name if called else programs.dotted_name(node.func)
  if not _CALLABLES.match(name.rpartition(".")[2]):
    return []
  given = [arg.keyword.value for arg in node.args if arg.keyword is not None]
  if called:
    order = renames.order(called.name, renames.SUCCESSOR)
    given = order[:len(called.positional(node))] + given
  return given
