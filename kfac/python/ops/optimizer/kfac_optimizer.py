"""KfacOptimizer: gradient -> preconditioned gradient -> velocity -> step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import estimator
from kfac.python.ops.layer_collection import collection
from kfac.python.ops.optimizer import adapted_damping
from kfac.python.ops.optimizer import arguments
from kfac.python.ops.optimizer import norm_constraint as norm_constraint_lib
from kfac.python.ops.optimizer import quadratic_steps
from kfac.python.ops.optimizer import ready_ops
from kfac.python.ops.optimizer import velocities
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

_UNSET = object()


class KfacOptimizer(ready_ops.ReadyOps, adapted_damping.AdaptedDamping,
                    quadratic_steps.QuadraticSteps,
                    tf.train.GradientDescentOptimizer):
  """K-FAC (Martens & Grosse 2015).

  Run `train_op = optimizer.minimize(loss)` together with `cov_update_op` and
  `inv_update_op`, each as often as you like, or take their thunks from
  `make_vars_and_create_op_thunks`. Momentum is of one of three types, with
  P = (F + damping I)^-1:

      "regular"  v <- momentum v + P g
      "adam"     v <- momentum v + g, and the step is P v
      "qmodel"   v <- mu v - alpha P g, where alpha and mu minimise the
                 quadratic model of the loss

  and parameters change by -learning_rate times v (or P v).
  """

  def __init__(
      self, learning_rate: hints.LearningRate | None,
      cov_ema_decay: hints.Scalar = 0.95, damping: hints.Damping = _UNSET,
      layer_collection: collection.LayerCollection = _UNSET,
      var_list: Sequence[Any] | None = None,
      momentum: hints.Scalar | None = 0.9, momentum_type: str = "regular",
      norm_constraint: hints.Scalar | None = None, name: str = "KFAC",
      estimation_mode: str = "gradients",
      colocate_gradients_with_ops: bool = True,
      batch_size: hints.Scalar | None = None,
      placement_strategy: str | None = None, *, adapt_damping: bool = False,
      precon_damping_mult: hints.Scalar = 1., qmodel_losses: Any = None,
      qmodel_example_weights: hints.TensorLike | None = None,
      cov_devices: hints.Devices | None = None,
      inv_devices: hints.Devices | None = None,
      **adaptation: hints.Unpack[arguments.Adaptation]) -> None:
    """Says how to train; nothing is built yet.

    Args:
      learning_rate: Scalar >= 0, or a function that returns it; usually 1 with
        "qmodel", which None stands for there.
      cov_ema_decay: Weight of the past in moving averages, in [0, 1).
      damping: Scalar >= 0; mandatory.
      layer_collection: LayerCollection with layers and losses; mandatory.
      var_list: List of the variables that are registered; by default all
        trainable variables.
      momentum: Scalar; 0 or None with "qmodel".
      momentum_type: "regular", "adam" or "qmodel".
      norm_constraint: Bound of lr^2 g . P g, or None; only with "regular".
      name: Name, also of the variable scope.
      estimation_mode: See FisherEstimator.
      colocate_gradients_with_ops: See FisherEstimator.
      batch_size: Number of examples, needed with "qmodel".
      placement_strategy: See make_fisher_estimator.
      adapt_damping: Whether damping follows how good the quadratic model is,
        judged on the batch of each step; see also
        set_damping_adaptation_params.
      precon_damping_mult: Scalar > 0. The inverses have this times the
        damping, the quadratic model the damping.
      qmodel_losses: List of LossFunctions, or a LayerCollection with them,
        whose Fisher matrix "qmodel" uses; `batch_size` is then theirs. By
        default those of `layer_collection`. A small part of the batch should
        not serve both: where statistics know only the examples that the model
        is measured on, it seems flat in all other directions.
      qmodel_example_weights: Tensor [examples], weights of the examples of
        `qmodel_losses`, for a batch_size that is their sum; see
        sample_examples.
      cov_devices: See make_fisher_estimator.
      inv_devices: See make_fisher_estimator.
      **adaptation: With `adapt_damping`: `loss_fn` and `train_batch`, what it
        takes, are mandatory; `min_damping`, `max_damping`,
        `damping_adaptation_decay`, `damping_adaptation_interval`, `is_chief`
        and `max_loss_increase` as in damping_adaptation.DampingAdaptation.

    Raises:
      TypeError: If something mandatory is missing.
      ValueError: If a value is out of range or does not go with another.
    """
    for argument, value in (("damping", damping),
                            ("layer_collection", layer_collection)):
      if value is _UNSET or value is None:
        raise TypeError(f"{argument} must be given.")
    self._momentum_type = _check_momentum_type(momentum_type)
    if self._momentum_type == "qmodel":
      learning_rate = 1. if learning_rate is None else learning_rate
      momentum = 0. if momentum is None else momentum
    _check_together(self._momentum_type, momentum, norm_constraint, batch_size,
                    qmodel_losses, qmodel_example_weights)
    _check_learning_rate(learning_rate)
    scalars.check_number("damping", damping, minimum=0.)
    scalars.check_number("precon_damping_mult", precon_damping_mult, above=0.)
    settings = _adaptation_settings(adapt_damping, adaptation)
    super().__init__(learning_rate, name=name)
    self._momentum = momentum
    self._norm_constraint = norm_constraint
    self._batch_size = batch_size
    self._layers = layer_collection
    self._initial_damping = damping
    self._precon_damping_mult = precon_damping_mult
    self._qmodel_losses = getattr(qmodel_losses, "losses", qmodel_losses)
    self._qmodel_example_weights = qmodel_example_weights
    self._loss = None
    self._fisher_est = estimator.make_fisher_estimator(
        placement_strategy=placement_strategy,
        variables=lambda: _variables(layer_collection.graph, var_list),
        cov_ema_decay=cov_ema_decay, damping=self._of_inverses(damping),
        layer_collection=layer_collection, estimation_mode=estimation_mode,
        colocate_gradients_with_ops=colocate_gradients_with_ops,
        name=name + "/FisherEstimator", cov_devices=cov_devices,
        inv_devices=inv_devices)
    if adapt_damping:
      self._start_adaptation(**settings)

  @property
  def variables(self) -> list:
    """List of the variables that are registered.

    Called like the method of other optimizers, it gives the variables that the
    optimizer itself has made.
    """
    return _CallableList(self.registered_variables, super().variables)

  @property
  def registered_variables(self) -> list:
    """List of the variables that are registered."""
    return self._fisher_est.variables

  def minimize(
      self, loss: hints.TensorLike, global_step: hints.Scalar | None = None,
      var_list: Sequence[Any] | None = None,
      gate_gradients: int = tf.train.Optimizer.GATE_OP,
      aggregation_method: int | None = None,
      colocate_gradients_with_ops: bool = False, name: str | None = None,
      grad_loss: hints.TensorLike | None = None) -> tf.Operation:
    """Makes the train op: one step.

    Args:
      loss: Scalar tensor, a mean over the batch.
      global_step: Variable to count steps in; needed if damping is adapted.
      var_list: Nothing else than the registered variables, in any order.
      gate_gradients: See tf.train.Optimizer.
      aggregation_method: See tf.train.Optimizer.
      colocate_gradients_with_ops: See tf.train.Optimizer.
      name: Name of the op.
      grad_loss: See tf.train.Optimizer.

    Returns:
      Op.

    Raises:
      ValueError: If `var_list` or the registrations do not fit.
      KeyError: If damping is adapted and there is no `global_step`.
    """
    var_list = self._check_var_list(var_list)
    self._fisher_est.build()
    with tf.variable_scope(self.get_name()):
      with tf.control_dependencies(self._judge_last_step(loss, global_step)):
        self._loss = loss
        try:
          return super().minimize(
              loss, global_step, var_list, gate_gradients, aggregation_method,
              colocate_gradients_with_ops, name, grad_loss)
        finally:
          self._loss = None

  def compute_gradients(
      self, loss: hints.TensorLike, var_list: Sequence[Any] | None = None,
      gate_gradients: int = tf.train.Optimizer.GATE_OP,
      aggregation_method: int | None = None,
      colocate_gradients_with_ops: bool = False,
      grad_loss: hints.TensorLike | None = None) -> hints.Pairs:
    """Differentiates the loss by the registered variables.

    Args:
      loss: Scalar tensor.
      var_list: Nothing else than the registered variables, in any order.
      gate_gradients: See tf.train.Optimizer.
      aggregation_method: See tf.train.Optimizer.
      colocate_gradients_with_ops: See tf.train.Optimizer.
      grad_loss: See tf.train.Optimizer.

    Returns:
      List of (gradient, variable).
    """
    return super().compute_gradients(
        loss, self._check_var_list(var_list), gate_gradients,
        aggregation_method, colocate_gradients_with_ops, grad_loss)

  def _check_var_list(self, var_list):
    registered = self.registered_variables
    if var_list is None:
      return registered
    if set(var_list) != set(registered):
      raise ValueError(
          "var_list must be the variables of the optimizer, "
          f"{sorted(v.name for v in registered)}, got "
          f"{sorted(v.name for v in var_list)}.")
    return list(var_list)

  def apply_gradients(self, grads_and_vars: hints.VecsAndVars, *args: Any,
                      **kwargs: Any) -> tf.Operation:
    """Makes the op that preconditions gradients and steps.

    Args:
      grads_and_vars: Iterable of (gradient, variable), for each registered
        variable.
      *args: `global_step` and `name`, see tf.train.Optimizer.
      **kwargs: The same.

    Returns:
      Op.

    Raises:
      ValueError: If a gradient is missing.
    """
    grads_and_vars = list(grads_and_vars)
    _check_gradients(grads_and_vars)
    self._fisher_est.build()
    apply = super().apply_gradients
    return self._judge_step(
        lambda: apply(self._compute_update_steps(grads_and_vars), *args,
                      **kwargs),
        self._loss, [variable for _, variable in grads_and_vars])

  def _compute_update_steps(self, grads_and_vars):
    """Returns pairs of a variable and what it is to change by, over -lr."""
    if self._momentum_type == "qmodel":
      return self._step_qmodel(grads_and_vars)
    step = {"regular": self._step_regular, "adam": self._step_adam}
    steps = step[self._momentum_type](grads_and_vars)
    return self._remember_change(
        steps, lambda: self._approximate_change(grads_and_vars, steps))

  def _step_regular(self, grads_and_vars):
    """Sets v <- momentum v + P g, with P g clipped."""
    precon = self._fisher_est.multiply_inverse(grads_and_vars)
    coeff = 1.0
    if self._norm_constraint is not None:
      coeff = self._update_clip_coeff(grads_and_vars, precon)
    return self._update_velocities(precon, self._momentum, coeff)

  def _step_adam(self, grads_and_vars):
    """Sets v <- momentum v + g; the step is P v."""
    velocity = self._update_velocities(grads_and_vars, self._momentum)
    return self._fisher_est.multiply_inverse(velocity)

  def _step_qmodel(self, grads_and_vars):
    """Sets v <- mu v - alpha P g."""
    precon = self._fisher_est.multiply_inverse(grads_and_vars)
    dtype = grads_and_vars[0][1].dtype.base_dtype
    scale = -scalars.cast_scalar(self._learning_rate_value(), dtype)
    prev_updates = [
        (scale * self._velocity(variable), variable) for _, variable in precon]
    alpha, mu, change = self._compute_qmodel_hyperparams(
        precon, prev_updates, grads_and_vars)
    return self._remember_change(
        self._update_velocities(precon, mu, -alpha), lambda: change)

  def _squared_fisher_norm(self, grads_and_vars, precon_grads_and_vars):
    """Returns the scalar g . P g."""
    return norm_constraint_lib.inner_product(
        [grad for grad, _ in grads_and_vars],
        [grad for grad, _ in precon_grads_and_vars])

  def _update_clip_coeff(self, grads_and_vars, precon_grads_and_vars):
    """Returns the scalar that scales P g to respect the norm constraint."""
    return norm_constraint_lib.clip_coefficient(
        self._squared_fisher_norm(grads_and_vars, precon_grads_and_vars),
        self._learning_rate_value(), self._norm_constraint)

  def _learning_rate_value(self):
    learning_rate = self._learning_rate
    return learning_rate() if callable(learning_rate) else learning_rate

  def _prepare(self):
    """Makes the tensor of the learning rate that steps are scaled by."""
    learning_rate = self._learning_rate_value()
    if scalars.is_number(learning_rate):
      # To full precision; a variable's step casts it to its own dtype.
      learning_rate = scalars.cast_scalar(learning_rate, tf.float64)
    self._learning_rate_tensor = tf.convert_to_tensor(
        learning_rate, name="learning_rate")

  def _velocity(self, variable):
    return self._zeros_slot(variable, "velocity", self.get_name())

  def _update_velocities(self, vecs_and_vars, decay, vec_coeff=1.0):
    """Updates v <- decay v + vec_coeff vec.

    Args:
      vecs_and_vars: List of (vector, variable).
      decay: Scalar.
      vec_coeff: Scalar.

    Returns:
      List of (new velocity, variable).
    """
    variables = [variable for _, variable in vecs_and_vars]
    new = velocities.update_velocities(
        [self._velocity(variable) for variable in variables],
        [vec for vec, _ in vecs_and_vars], decay, vec_coeff)
    return list(zip(new, variables, strict=True))


class _CallableList(list):
  """A list that can also be called."""

  def __init__(self, items, function):
    super().__init__(items)
    self._function = function

  def __call__(self):
    """Returns what the function returns."""
    return self._function()


def _variables(graph, var_list):
  if var_list is not None:
    return list(var_list)
  with graph.as_default():
    return tf.trainable_variables()


def _check_momentum_type(momentum_type):
  known = ("adam", "qmodel", "regular")
  if (not isinstance(momentum_type, str)
      or momentum_type.lower() not in known):
    raise ValueError(
        f"momentum_type must be one of {known}, got {momentum_type!r}.")
  return momentum_type.lower()


# How DampingAdaptation calls what KfacOptimizer is given.
_ADAPTATION_SETTINGS = {
    "loss_fn": "loss_fn", "train_batch": "batch", "is_chief": "is_chief",
    "min_damping": "min_damping", "max_damping": "max_damping",
    "damping_adaptation_decay": "decay",
    "damping_adaptation_interval": "interval",
    "max_loss_increase": "max_loss_increase",
}


def _adaptation_settings(adapt_damping, given):
  """Returns the settings under the names of DampingAdaptation."""
  for name in given:
    if name not in _ADAPTATION_SETTINGS:
      raise TypeError(f"{name} is no argument of KfacOptimizer.")
    if not adapt_damping:
      raise ValueError(
          f"{name} must not be given unless adapt_damping is True.")
  for name in ("loss_fn", "train_batch"):
    if adapt_damping and given.get(name) is None:
      raise TypeError(f"{name} must be given with adapt_damping.")
  return {_ADAPTATION_SETTINGS[name]: value for name, value in given.items()}


def _check_learning_rate(learning_rate):
  """Raises ValueError unless it is a scalar >= 0 or a function."""
  if learning_rate is None:
    raise ValueError(
        "learning_rate must be a scalar or a function that returns it, got "
        "None.")
  scalars.check_number("learning_rate", learning_rate, minimum=0.)


def _check_together(momentum_type, momentum, norm_constraint, batch_size,
                    qmodel_losses, qmodel_example_weights):
  """Raises ValueError if arguments do not go together."""
  scalars.check_number("momentum", momentum, minimum=0.)
  scalars.check_number("norm_constraint", norm_constraint, minimum=0.)
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


def _check_gradients(grads_and_vars):
  """Raises ValueError if a gradient is missing."""
  for grad, variable in grads_and_vars:
    if grad is None:
      raise ValueError(
          "grads_and_vars must have a gradient for each variable, got None "
          f"for {variable.name}.")
