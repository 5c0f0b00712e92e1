"""The arguments of KfacOptimizer: their types by name, and their checks."""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypedDict
from typing import TypeVar

from absl import logging

from kfac.python.ops.layer_collection import collection
from kfac.python.ops.optimizer import damping
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import workers as workers_lib

_Function = TypeVar("_Function", bound=Callable[..., Any])

UNSET: Any = object()

QMODEL_TYPES = ("qmodel", "qmodel_fixedmu")
_MOMENTUM_TYPES = ("adam", *QMODEL_TYPES, "regular")


class RuleArguments(TypedDict, total=False):
  """The keyword arguments of KfacOptimizer that go with `adapt_damping`.

  Attributes:
    loss_fn: Function of a batch that returns the loss, as trained; mandatory.
    train_batch: The batch of the step; mandatory if the damping is adapted
      immediately, or if the passed loss is not used.
    prev_train_batch: The batch of the last step; mandatory unless the damping
      is adapted immediately.
    update_damping_immediately: Whether a step is judged right after it, on
      `train_batch`. If not, it is judged in the next run, before anything else,
      on `prev_train_batch`; see
      KfacOptimizer.maybe_pre_update_adapt_damping.
    use_passed_loss: Whether the loss before a step is `loss`, or the one that
      minimize gets; if neither is a scalar, or if this is False, it is computed
      by `loss_fn` on `train_batch`.
    is_chief: See damping.Rule; as the following.
    min_damping: See damping.Rule.
    max_damping: See damping.Rule.
    damping_adaptation_decay: `decay` of damping.Rule.
    damping_adaptation_interval: `interval` of damping.Rule.
    damping_decrease_rho_threshold: `decrease_above` of damping.Rule.
    damping_increase_rho_threshold: `increase_below` of damping.Rule.
    max_loss_increase: See damping.Rule.
    max_predicted_decrease: See damping.Rule; 1/4 by default.
  """

  loss_fn: Callable[[Any], hints.TensorLike] | None
  train_batch: Any
  prev_train_batch: Any
  update_damping_immediately: bool
  use_passed_loss: bool
  is_chief: bool
  min_damping: hints.Scalar
  max_damping: hints.Scalar | None
  damping_adaptation_decay: float
  damping_adaptation_interval: int
  damping_decrease_rho_threshold: float
  damping_increase_rho_threshold: float
  max_loss_increase: float | None
  max_predicted_decrease: float | None


class Options(RuleArguments, total=False):
  """The keyword arguments of KfacOptimizer that 0.2.4 added, and later ones.

  Attributes:
    use_weight_decay: Whether weight_decay_coeff times each variable is added to
      the finished update, which is multiplied by -learning_rate; False by
      default. The quadratic model does not contain it, since it is no part of
      the loss (Loshchilov & Hutter 2019).
    weight_decay_coeff: Scalar >= 0; 0.1 by default.
    qmodel_update_rescale: Scalar > 0 that multiplies the update which the
      quadratic model chooses, or None.
    compute_params_stats: See FisherEstimator; it needs `batch_size`.
    loss: Scalar tensor, the loss before a step; by default what minimize gets.
    l2_reg: Scalar >= 0 that is added to the damping of the inverses, not to
      that of the quadratic model; 0 by default. For a loss with the term
      l2_reg / 2 |x|^2, whose curvature the factors do not contain.
    print_logs: Ignored with a warning; see KfacOptimizer.stats.
    tf_replicator: Must be None.
    dtype: Dtype of the variables of an adapted damping; by default that of the
      parameters.
    workers: workers.Workers that make each step together; by default this
      process alone. `batch_size` is that of one worker.
  """

  use_weight_decay: bool
  weight_decay_coeff: hints.Scalar
  qmodel_update_rescale: hints.Scalar | None
  compute_params_stats: bool
  loss: Any
  l2_reg: hints.Scalar
  print_logs: bool
  tf_replicator: Any
  dtype: hints.DType | None
  workers: workers_lib.Workers


class Arguments(Options, total=False):
  """The keyword arguments of KfacOptimizer."""

  learning_rate: hints.LearningRate | None
  cov_ema_decay: hints.Scalar
  damping: hints.Damping
  layer_collection: collection.LayerCollection
  var_list: Sequence[Any] | None
  momentum: hints.Scalar | None
  momentum_type: str
  norm_constraint: hints.Scalar | None
  name: str
  estimation_mode: str
  colocate_gradients_with_ops: bool
  batch_size: hints.Scalar | None
  placement_strategy: str | None
  adapt_damping: bool
  precon_damping_mult: hints.Scalar
  qmodel_losses: Any
  qmodel_example_weights: hints.TensorLike | None
  cov_devices: hints.Devices | None
  inv_devices: hints.Devices | None


# The order of the arguments in the release 0.2.4 of the package kfac.
SUCCESSOR_ORDER = tuple(
    "learning_rate damping layer_collection cov_ema_decay var_list momentum "
    "momentum_type use_weight_decay weight_decay_coeff qmodel_update_rescale "
    "norm_constraint name estimation_mode colocate_gradients_with_ops "
    "batch_size placement_strategy compute_params_stats adapt_damping "
    "update_damping_immediately is_chief prev_train_batch loss loss_fn "
    "min_damping l2_reg damping_adaptation_decay damping_adaptation_interval "
    "damping_decrease_rho_threshold damping_increase_rho_threshold "
    "precon_damping_mult use_passed_loss train_batch print_logs tf_replicator "
    "dtype".split())

# Its defaults, where they are others than here.
SUCCESSOR_DEFAULTS = {"momentum_type": "adam", "max_predicted_decrease": None}


def accepts_successor_order(init: _Function) -> _Function:
  """Makes a constructor accept the positions of 0.2.4 as well.

  They are known by a LayerCollection in third place.

  Args:
    init: Constructor that accepts SUCCESSOR_ORDER by name.

  Returns:
    Constructor with the signature of `init`.
  """
  @functools.wraps(init)
  def either(self, *args, **kwargs):
    if len(args) > 2 and isinstance(args[2], collection.LayerCollection):
      args, kwargs = (), successor_arguments(args, kwargs)
    init(self, *args, **kwargs)

  return either  # type: ignore[return-value]


def successor_arguments(positional: Sequence[Any],
                        named: Mapping[str, Any]) -> dict:
  """Returns the arguments of a call in the order of 0.2.4, by name.

  Args:
    positional: Sequence of the arguments without a name.
    named: The others.

  Returns:
    Dict with the arguments, and with SUCCESSOR_DEFAULTS for those not given.

  Raises:
    TypeError: If an argument is given twice, or if there are too many.
  """
  if len(positional) > len(SUCCESSOR_ORDER):
    raise TypeError(
        f"KfacOptimizer takes {len(SUCCESSOR_ORDER)} arguments by position, "
        f"got {len(positional)}.")
  by_place = dict(zip(SUCCESSOR_ORDER, positional, strict=False))
  for name in by_place:
    if name in named:
      raise TypeError(f"{name} must be given once, got two values.")
  given = {**by_place, **named}
  applied = {name: value for name, value in SUCCESSOR_DEFAULTS.items()
             if name not in given and (
                 name in SUCCESSOR_ORDER or given.get("adapt_damping"))}
  if applied:
    logging.info(
        "KfacOptimizer: layer_collection is the third argument, as in kfac "
        "0.2.4, so its defaults apply: %s.", ", ".join(
            f"{name}={value!r}" for name, value in applied.items()))
  return {**applied, **given}


def check_momentum_type(momentum_type: str) -> str:
  """Returns a momentum type in lower case, or raises ValueError."""
  if (not isinstance(momentum_type, str)
      or momentum_type.lower() not in _MOMENTUM_TYPES):
    raise ValueError(f"momentum_type must be one of {_MOMENTUM_TYPES}, got "
                     f"{momentum_type!r}.")
  return momentum_type.lower()


def check_dampings(damping: Any, precon_damping_mult: Any) -> None:
  """Raises ValueError if a damping or its multiple is out of range."""
  scalars.check_number("damping", damping, minimum=0.)
  scalars.check_number("precon_damping_mult", precon_damping_mult, above=0.)


def check_given(**values: Any) -> None:
  """Raises TypeError for arguments that are `UNSET` or None."""
  for name, value in values.items():
    if value is UNSET or value is None:
      raise TypeError(f"{name} must be given.")


# The names of damping.Rule for arguments of KfacOptimizer.
RULE_ARGUMENTS = {
    "loss_fn": "loss_fn", "train_batch": "batch",
    "prev_train_batch": "prev_batch",
    "update_damping_immediately": "immediately",
    "use_passed_loss": "use_passed_loss", "is_chief": "is_chief",
    "min_damping": "min_damping", "max_damping": "max_damping",
    "damping_adaptation_decay": "decay",
    "damping_adaptation_interval": "interval",
    "damping_decrease_rho_threshold": "decrease_above",
    "damping_increase_rho_threshold": "increase_below",
    "max_loss_increase": "max_loss_increase",
    "max_predicted_decrease": "max_predicted_decrease",
}


def rule_arguments(adapt_damping: bool, given: Mapping[str, Any]) -> dict:
  """Returns the arguments of `damping.Rule`.

  Args:
    adapt_damping: See KfacOptimizer.
    given: The `Options` of KfacOptimizer.

  Returns:
    Dict by the names of `damping.Rule`; empty unless `adapt_damping`. By
    default, `max_predicted_decrease` is `damping.MAX_PREDICTED_DECREASE`.

  Raises:
    TypeError: If an argument is unknown or missing.
    ValueError: If there are arguments without `adapt_damping` that 0.2.4 did
      not have. It ignored its own, which is a warning.
  """
  for name in given:
    if name not in Options.__annotations__:
      raise TypeError(f"{name} is no argument of KfacOptimizer.")
  rule = {name: given[name] for name in RULE_ARGUMENTS if name in given}
  if not adapt_damping:
    _check_unused(rule)
    return {}
  immediately = rule.get("update_damping_immediately", True)
  _check_batches(rule, immediately)
  # Not the default of Rule, because contrib's way to adapt has no such bound.
  known = {"max_predicted_decrease": damping.MAX_PREDICTED_DECREASE, **rule}
  return {RULE_ARGUMENTS[name]: value for name, value in known.items()}


def _check_unused(rule):
  """Checks arguments of the rule that are given without `adapt_damping`."""
  for name in rule:
    if name not in SUCCESSOR_ORDER:
      raise ValueError(
          f"{name} must not be given unless adapt_damping is True.")
  # Programs pass the default of 0.2.4 along.
  unused = sorted(name for name, value in rule.items() if value is not None)
  if unused:
    logging.warning("KfacOptimizer: without adapt_damping, these arguments "
                    "have no effect: %s.", ", ".join(unused))


def _check_batches(rule, immediately):
  """Checks that the rule has its function, and the batches that it needs."""
  if rule.get("loss_fn") is None:
    raise TypeError("loss_fn must be given with adapt_damping.")
  if immediately and rule.get("train_batch") is None:
    raise TypeError("train_batch must be given with adapt_damping.")
  if immediately and rule.get("prev_train_batch") is not None:
    logging.warning("KfacOptimizer: prev_train_batch has no effect while "
                    "update_damping_immediately is True.")
  if not immediately and rule.get("prev_train_batch") is None:
    raise TypeError("prev_train_batch must be given unless "
                    "update_damping_immediately is True.")
  if not rule.get("use_passed_loss", True) and rule.get("train_batch") is None:
    raise TypeError(
        "train_batch must be given unless use_passed_loss is True.")


def check_options(options: Options, momentum_type: str,
                  batch_size: hints.Scalar | None) -> None:
  """Checks those options that are no arguments of the rule.

  Args:
    options: The options that are given.
    momentum_type: See KfacOptimizer.
    batch_size: See KfacOptimizer.

  Raises:
    ValueError: If one is out of range, or not supported.
  """
  for name, bound in (("weight_decay_coeff", "minimum"),
                      ("qmodel_update_rescale", "above"),
                      ("l2_reg", "minimum")):
    scalars.check_number(name, options.get(name), **{bound: 0.})
  check_scalar_loss(options.get("loss"))
  workers = options.get("workers", workers_lib.ALONE)
  if not isinstance(workers, workers_lib.Workers):
    raise ValueError(f"workers must be Workers, got {workers!r}.")
  if options.get("tf_replicator") is not None:
    raise ValueError(
        "tf_replicator must be None, since there are no replicas; register one "
        f"tower per device, got {options['tf_replicator']!r}.")
  if (not scalars.is_one(rescale(options))
      and momentum_type not in QMODEL_TYPES):
    raise ValueError(
        "qmodel_update_rescale must be None unless momentum_type is 'qmodel' "
        f"or 'qmodel_fixedmu', got {rescale(options)!r}.")
  if options.get("compute_params_stats"):
    if batch_size is None:
      raise ValueError(
          "batch_size must be given with compute_params_stats, got None.")
    scalars.check_number("batch_size", batch_size, above=0)
  if options.get("print_logs"):
    logging.warning("KfacOptimizer: print_logs has no effect; fetch what "
                    "optimizer.stats() returns.")
  if "weight_decay_coeff" in options and not options.get("use_weight_decay"):
    logging.warning("KfacOptimizer: weight_decay_coeff has no effect without "
                    "use_weight_decay.")


def weight_decay(options: Options) -> hints.Scalar | None:
  """Returns the coefficient of the weight decay, or None if there is none."""
  if not options.get("use_weight_decay"):
    return None
  return options.get("weight_decay_coeff", 0.1)


def rescale(options: Options) -> hints.Scalar:
  """Returns the scalar that multiplies what the quadratic model chooses."""
  value = options.get("qmodel_update_rescale")
  return 1. if value is None else value


def check_scalar_loss(loss: Any) -> None:
  """Raises ValueError unless a loss is None or may be a scalar."""
  shape = getattr(loss, "shape", None)
  if shape is not None and getattr(shape, "rank", len(shape or ())) not in (
      0, None):
    raise ValueError(f"loss must be a scalar, got shape {shape}.")


def check_var_list(var_list: Sequence[Any] | None,
                   registered: Sequence[Any]) -> list:
  """Returns the variables of a step.

  Args:
    var_list: The registered variables in any order, or None.
    registered: The registered variables.

  Raises:
    ValueError: If they are not the same.
  """
  if var_list is None:
    return list(registered)
  if set(var_list) != set(registered):
    raise ValueError(
        "var_list must be the variables of the optimizer, "
        f"{sorted(v.name for v in registered)}, got "
        f"{sorted(v.name for v in var_list)}.")
  return list(var_list)


def rate_and_momentum(
    momentum_type: str, learning_rate: hints.LearningRate | None,
    momentum: hints.Scalar | None
) -> tuple[hints.LearningRate, hints.Scalar]:
  """Returns the learning rate and the momentum.

  Args:
    momentum_type: See KfacOptimizer.
    learning_rate: Its argument. If the quadratic model determines the length
      of steps, None is 1.
    momentum: Its argument. With "qmodel", None is 0.

  Raises:
    ValueError: If one is None otherwise, or out of range.
  """
  if learning_rate is None and momentum_type in QMODEL_TYPES:
    learning_rate = 1.
  if momentum is None and momentum_type == "qmodel":
    momentum = 0.
  if learning_rate is None:
    raise ValueError(
        "learning_rate must be a scalar or a function that returns it, got "
        "None.")
  if momentum is None:
    raise ValueError(
        "momentum must be a scalar unless momentum_type is 'qmodel', got None.")
  scalars.check_number("learning_rate", learning_rate, minimum=0.)
  scalars.check_number("momentum", momentum, minimum=0.)
  return learning_rate, momentum


def check_together(momentum_type: str, momentum: Any, norm_constraint: Any,
                   batch_size: Any, qmodel_losses: Any,
                   qmodel_example_weights: Any) -> None:
  """Raises ValueError if arguments are out of range or contradict each other.

  Args:
    momentum_type: See KfacOptimizer; as the other arguments.
    momentum: See KfacOptimizer.
    norm_constraint: See KfacOptimizer.
    batch_size: See KfacOptimizer.
    qmodel_losses: See KfacOptimizer.
    qmodel_example_weights: See KfacOptimizer.
  """
  scalars.check_number("norm_constraint", norm_constraint, above=0.)
  if norm_constraint is not None and momentum_type in QMODEL_TYPES:
    raise ValueError(
        "norm_constraint must be None unless momentum_type is 'regular' or "
        f"'adam', got {norm_constraint!r} with {momentum_type!r}.")
  if momentum_type not in QMODEL_TYPES:
    for name, value in (("qmodel_losses", qmodel_losses),
                        ("qmodel_example_weights", qmodel_example_weights)):
      if value is not None:
        raise ValueError(
            f"{name} must be None unless momentum_type is 'qmodel' or "
            f"'qmodel_fixedmu', got {value!r}.")
    return
  if momentum_type == "qmodel" and (
      not scalars.is_number(momentum) or momentum != 0):
    raise ValueError(
        f"momentum must be 0 with momentum_type 'qmodel', got {momentum!r}.")
  if batch_size is None:
    raise ValueError(
        f"batch_size must be given with momentum_type {momentum_type!r}, got "
        "None.")


def check_gradients(grads_and_vars: hints.VecsAndVars) -> None:
  """Raises ValueError if a gradient is missing."""
  for grad, variable in grads_and_vars:
    if grad is None:
      raise ValueError(
          "grads_and_vars must have a gradient for each variable, got None "
          f"for {variable.name}.")
