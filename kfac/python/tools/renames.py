"""Changes between the releases of tf.contrib.kfac and kfac 0.2.4, as tables.

kfac still accepts every name of an argument. The meaning of positions and of
omitted arguments differs in some releases.
"""

from __future__ import annotations

# Releases of TensorFlow.
RELEASES = ("1.4", "1.5", "1.7", "1.8", "1.9", "1.10")
# The package kfac that followed tf.contrib.kfac.
SUCCESSOR = "0.2.4"

# The names in tensorflow.contrib.kfac.
ROOT_NAMES = frozenset([
    "curvature_matrix_vector_products", "estimator", "fisher_blocks",
    "fisher_factors", "layer_collection", "loss_functions", "op_queue",
    "optimizer", "utils"])
# The modules in tensorflow/contrib/kfac/python/ops, each with its `_lib`.
OPS_NAMES = ROOT_NAMES | {"linear_operator", "placement"}

# Modules of TensorFlow 1 that TensorFlow 2 lacks, or has with tf_keras only.
GONE = {
    "tensorflow.layers":
        "needs the legacy package tf_keras; make the variables with "
        "tf.get_variable and register them",
    "tensorflow.nn.rnn_cell":
        "needs the legacy package tf_keras; write the cell with tf.matmul and "
        "register_fully_connected_multi",
}

# Releases in which kept inverses start at the identity, not at zero.
INVERSES_AT_IDENTITY = ("1.4", "1.5", "1.7", "1.8")

# Names of `tensorflow` in TensorFlow 1 that TensorFlow 2 lacks.
GRAPH_NAMES = frozenset([
    "Session", "InteractiveSession", "placeholder", "get_variable",
    "variable_scope", "get_variable_scope", "trainable_variables",
    "global_variables", "global_variables_initializer", "AUTO_REUSE", "app",
    "add_to_collection", "get_collection", "assign", "assign_add",
    "set_random_seed", "get_default_graph", "to_float", "log"])

_LAYER, _FACTOR, _BLOCK = "layer_collection.", "fisher_factors.", (
    "fisher_blocks.")
_OPTIMIZER = "learning_rate cov_ema_decay damping layer_collection "
_COLOCATE = " colocate_cov_ops_with_inputs"
_CONV = (
    "params strides padding inputs outputs data_format dilations approx reuse "
    "sub_sample_inputs sub_sample_patches patch_mask")
_CONSTANTS = ("init_covariances_at_zero zero_debias init_inverses_at_zero "
              "eigenvalue_decomposition_threshold "
              "eigenvalue_clipping_threshold")
_OLD_CONV = "params strides padding inputs outputs approx"

# {callable: (order in this package, {releases: order in them})}. Only releases
# with another order are listed; methods are without their class.
_ORDERS = {
    "optimizer.KfacOptimizer": (
        _OPTIMIZER + "var_list momentum momentum_type norm_constraint name "
        "estimation_mode colocate_gradients_with_ops batch_size "
        "placement_strategy",
        {"1.4": _OPTIMIZER + "momentum momentum_type norm_constraint name",
         "1.5 1.7": _OPTIMIZER + "var_list momentum momentum_type "
         "norm_constraint name estimation_mode colocate_gradients_with_ops "
         "cov_devices inv_devices",
         SUCCESSOR: "learning_rate damping layer_collection cov_ema_decay "
         "var_list momentum momentum_type use_weight_decay weight_decay_coeff "
         "qmodel_update_rescale norm_constraint name estimation_mode "
         "colocate_gradients_with_ops batch_size placement_strategy "
         "compute_params_stats adapt_damping update_damping_immediately "
         "is_chief prev_train_batch loss loss_fn min_damping l2_reg "
         "damping_adaptation_decay damping_adaptation_interval "
         "damping_decrease_rho_threshold damping_increase_rho_threshold "
         "precon_damping_mult use_passed_loss train_batch print_logs "
         "tf_replicator dtype"}),
    "estimator.FisherEstimator": (
        "variables cov_ema_decay damping layer_collection exps "
        "estimation_mode colocate_gradients_with_ops name compute_cholesky "
        "compute_cholesky_inverse",
        {SUCCESSOR: "variables cov_ema_decay damping layer_collection exps "
         "estimation_mode colocate_gradients_with_ops name compute_cholesky "
         "compute_cholesky_inverse compute_params_stats batch_size",
         "1.4": "variables cov_ema_decay damping layer_collection "
         "estimation_mode",
         "1.5": "variables cov_ema_decay damping layer_collection "
         "estimation_mode colocate_gradients_with_ops cov_devices inv_devices",
         "1.7": "damping_fn variables cov_ema_decay layer_collection "
         "estimation_mode colocate_gradients_with_ops cov_devices "
         "inv_devices"}),
    "layer_collection.LayerCollection": (
        "graph name", {"1.5": "graph colocate_cov_ops_with_inputs name"}),
    "register_conv2d": (
        _CONV,
        {"1.4": _OLD_CONV, "1.5 1.7": _OLD_CONV + " reuse"}),
    "register_fully_connected": (
        "params inputs outputs approx reuse",
        {SUCCESSOR: "params inputs outputs approx dense_inputs reuse"}),
    "register_categorical_predictive_distribution": (
        "logits seed targets name reuse",
        {SUCCESSOR: "logits seed targets name coeff reuse"}),
    "register_multi_bernoulli_predictive_distribution": (
        "logits seed targets name reuse",
        {SUCCESSOR: "logits seed targets name coeff reuse"}),
    "register_normal_predictive_distribution": (
        "mean var seed targets name reuse",
        {SUCCESSOR: "mean var seed targets name coeff reuse"}),
    "register_fully_connected_multi": (
        "params inputs outputs num_uses approx reuse",
        {SUCCESSOR: "params inputs outputs num_uses approx dense_inputs reuse",
         "1.5 1.7": "params inputs outputs approx"}),
    _FACTOR + "ConvDiagonalFactor": (
        "inputs outputs_grads filter_shape strides padding data_format "
        "dilations has_bias",
        {"1.4 1.7": "inputs outputs_grads filter_shape strides padding "
         "has_bias",
         "1.5": "inputs outputs_grads filter_shape strides padding "
         "has_bias" + _COLOCATE}),
    _FACTOR + "ConvInputKroneckerFactor": (
        "inputs filter_shape padding strides dilation_rate data_format "
        "extract_patches_fn has_bias",
        {"1.4 1.7": "inputs filter_shape strides padding has_bias",
         "1.5": "inputs filter_shape strides padding has_bias"
         + _COLOCATE}),
    _FACTOR + "ConvOutputKroneckerFactor": (
        "outputs_grads data_format", {"1.5": "outputs_grads" + _COLOCATE}),
    _FACTOR + "FullyConnectedMultiKF": (
        "tensors num_uses has_bias",
        {"1.5": "tensors has_bias" + _COLOCATE, "1.7": "tensors has_bias"}),
    _FACTOR + "set_global_constants": (
        _CONSTANTS,
        {SUCCESSOR: _CONSTANTS + " assume_zero_mean_activations "
         "subtract_mean_contrib_from_cov sub_sample_inputs "
         "inputs_to_extract_patches_factor sub_sample_patches max_num_patches "
         "max_num_patches_per_dimension tower_strategy get_sanitized_name_fn "
         "use_patches_second_moment_op",
         "1.5": "init_covariances_at_zero zero_debias "
         "eigenvalue_decomposition_threshold eigenvalue_clipping_threshold",
         "1.7": "init_covariances_at_zero zero_debias "
         "eigenvalue_decomposition_threshold eigenvalue_clipping_threshold "
         "colocate_cov_ops_with_inputs",
         "1.8": "init_covariances_at_zero zero_debias "
         "eigenvalue_decomposition_threshold eigenvalue_clipping_threshold "
         "tower_strategy"}),
    "loss_functions.NegativeLogProbLoss": ("seed", {"1.4": "targets seed"}),
    "loss_functions.DistributionNegativeLogProbLoss": (
        "seed", {"1.4": "dist targets seed"}),
    _BLOCK + "ConvKFCBasicFB": (
        "layer_collection params padding strides",
        {"1.4": "layer_collection params inputs outputs strides padding",
         "1.5 1.7": "layer_collection params strides padding"}),
    _BLOCK + "ConvDiagonalFB": (
        "layer_collection params strides padding",
        {"1.4": "layer_collection params inputs outputs strides padding"}),
    _BLOCK + "FullyConnectedKFACBasicFB": (
        "layer_collection has_bias",
        {"1.4": "layer_collection inputs outputs has_bias"}),
    _BLOCK + "FullyConnectedDiagonalFB": (
        "layer_collection has_bias",
        {"1.4": "layer_collection inputs outputs has_bias"}),
    _BLOCK + "FullyConnectedMultiIndepFB": (
        "layer_collection has_bias num_uses",
        {"1.5 1.7": "layer_collection inputs outputs has_bias"}),
    _BLOCK + "FullyConnectedSeriesFB": (
        "layer_collection has_bias num_uses option",
        {"1.5 1.7": "layer_collection inputs outputs has_bias option"}),
}

_PERIODIC = "periodic_inv_cov_update_kfac_opt.PeriodicInvCovUpdateKfacOpt"
_ASYNC = "async_inv_cov_update_kfac_opt.AsyncInvCovUpdateKfacOpt"

# (callable, releases, argument, its default there, what it is now).
_DEFAULTS = (
    ("optimizer.KfacOptimizer", "1.4 1.5", "momentum", "0.0", "0.9"),
    *((optimizer, SUCCESSOR, *row)
      for optimizer in ("optimizer.KfacOptimizer", _PERIODIC, _ASYNC)
      for row in (("momentum_type", '"adam"', '"regular"'),
                  ("max_predicted_decrease", "None", "0.25"))),
    ("register_generic", "1.5 1.7 1.8", "approx", '"full"', '"diagonal"'),
    ("register_fully_connected_multi", "1.5 1.7", "approx",
     '"kron_series_2"', '"kron_indep"'),
)

# {argument: argument without which it must not be given}.
ONLY_WITH = {"max_predicted_decrease": "adapt_damping"}

# Setters of the default of `approx`.
DEFAULT_SETTERS = {
    "register_generic": "set_default_generic_approximation",
    "register_fully_connected_multi":
        "set_default_fully_connected_multi_approximation",
}


def is_known(name: str) -> bool:
  """Whether a callable has a row in the tables."""
  return name in _ORDERS or any(name == row[0] for row in _DEFAULTS)


def order(name: str, release: str | None = None) -> list:
  """Returns the names of a callable's arguments, in order.

  Args:
    name: Callable, such as "optimizer.KfacOptimizer" or "register_conv2d".
    release: One of RELEASES, or SUCCESSOR; None for this package.

  Returns:
    List of names; empty if there is no row for it.
  """
  ours, theirs = _ORDERS.get(name, ("", {}))
  for releases, listed in theirs.items():
    if release in releases.split():
      return listed.split()
  return ours.split()


def defaults(name: str, release: str) -> list:
  """Returns [(argument, its default in a release, its current default)]."""
  return [row[2:] for row in _DEFAULTS
          if row[0] == name and release in row[1].split()]
