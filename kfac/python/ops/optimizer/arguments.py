"""The arguments of KfacOptimizer: their types by name, and their checks."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypedDict

from kfac.python.ops.layer_collection import collection
from kfac.python.ops.optimizer import damping
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


class RuleArguments(TypedDict, total=False):
  """The keyword arguments of KfacOptimizer that go with `adapt_damping`."""

  loss_fn: Callable[[Any], hints.TensorLike]
  train_batch: Any
  is_chief: bool
  min_damping: hints.Scalar
  max_damping: hints.Scalar | None
  damping_adaptation_decay: float
  damping_adaptation_interval: int
  max_loss_increase: float | None
  max_predicted_decrease: float | None


class Arguments(RuleArguments, total=False):
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


def check_momentum_type(momentum_type: str) -> str:
  """Returns a momentum type in lower case, or raises ValueError."""
  known = ("adam", "qmodel", "regular")
  if (not isinstance(momentum_type, str)
      or momentum_type.lower() not in known):
    raise ValueError(
        f"momentum_type must be one of {known}, got {momentum_type!r}.")
  return momentum_type.lower()


# The names of damping.Rule for arguments of KfacOptimizer.
RULE_ARGUMENTS = {
    "loss_fn": "loss_fn", "train_batch": "batch", "is_chief": "is_chief",
    "min_damping": "min_damping", "max_damping": "max_damping",
    "damping_adaptation_decay": "decay",
    "damping_adaptation_interval": "interval",
    "max_loss_increase": "max_loss_increase",
    "max_predicted_decrease": "max_predicted_decrease",
}


def rule_arguments(adapt_damping: bool, given: Mapping[str, Any]) -> dict:
  """Returns the arguments of `damping.Rule`.

  Args:
    adapt_damping: See KfacOptimizer.
    given: The keyword arguments for the adaptation.

  Returns:
    Dict by the names of `damping.Rule`. By default, `max_predicted_decrease` is
    `damping.MAX_PREDICTED_DECREASE`.

  Raises:
    TypeError: If an argument is unknown or missing.
    ValueError: If there are arguments without `adapt_damping`.
  """
  for name in given:
    if name not in RULE_ARGUMENTS:
      raise TypeError(f"{name} is no argument of KfacOptimizer.")
    if not adapt_damping:
      raise ValueError(
          f"{name} must not be given unless adapt_damping is True.")
  for name in ("loss_fn", "train_batch"):
    if adapt_damping and given.get(name) is None:
      raise TypeError(f"{name} must be given with adapt_damping.")
  if not adapt_damping:
    return {}
  # Not the default of Rule, because contrib's way to adapt has no such bound.
  known = {"max_predicted_decrease": damping.MAX_PREDICTED_DECREASE, **given}
  return {RULE_ARGUMENTS[name]: value for name, value in known.items()}


def check_learning_rate(learning_rate: hints.LearningRate | None) -> None:
  """Raises ValueError unless it is a scalar >= 0 or a function."""
  if learning_rate is None:
    raise ValueError(
        "learning_rate must be a scalar or a function that returns it, got "
        "None.")
  scalars.check_number("learning_rate", learning_rate, minimum=0.)


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
  scalars.check_number("momentum", momentum, minimum=0.)
  scalars.check_number("norm_constraint", norm_constraint, above=0.)
  if norm_constraint is not None and momentum_type != "regular":
    raise ValueError(
        "norm_constraint must be None unless momentum_type is 'regular', got "
        f"{norm_constraint!r} with {momentum_type!r}.")
  if momentum_type != "qmodel":
    for name, value in (("qmodel_losses", qmodel_losses),
                        ("qmodel_example_weights", qmodel_example_weights)):
      if value is not None:
        raise ValueError(
            f"{name} must be None unless momentum_type is 'qmodel', "
                         f"got {value!r}.")
    return
  if not scalars.is_number(momentum) or momentum != 0:
    raise ValueError(
        f"momentum must be 0 with momentum_type 'qmodel', got {momentum!r}.")
  if batch_size is None:
    raise ValueError(
        "batch_size must be given with momentum_type 'qmodel', got None.")


def check_gradients(grads_and_vars: hints.VecsAndVars) -> None:
  """Raises ValueError if a gradient is missing."""
  for grad, variable in grads_and_vars:
    if grad is None:
      raise ValueError(
          "grads_and_vars must have a gradient for each variable, got None "
          f"for {variable.name}.")
