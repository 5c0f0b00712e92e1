"""KfacOptimizer: gradient -> preconditioned gradient -> velocity -> step.

A step reads top to bottom: minimize or apply_gradients -> _compute_update_steps
-> one of _step_regular, _step_adam and _step_qmodel -> after_step of the
DampingControl.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import estimator
from kfac.python.ops.layer_collection import collection
from kfac.python.ops.optimizer import arguments
from kfac.python.ops.optimizer import damping as damping_lib
from kfac.python.ops.optimizer import delegation
from kfac.python.ops.optimizer import missing_inverses
from kfac.python.ops.optimizer import quadratic_model
from kfac.python.ops.optimizer import stats as stats_lib
from kfac.python.ops.optimizer import steps as steps_lib
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import workers as workers_lib


class KfacOptimizer(tf.train.GradientDescentOptimizer):
  """K-FAC (Martens & Grosse 2015).

  Run `train_op = optimizer.minimize(loss)` together with `cov_update_op` and
  `inv_update_op`, each at its own period, or take their thunks from
  `make_vars_and_create_op_thunks`. There are four types of momentum, with
  P = (F + damping I)^-1:

      "regular"         v <- momentum v + P g
      "adam"            v <- momentum v + g, and the step is P v
      "qmodel"          v <- mu v - alpha P g, where alpha and mu minimise the
                        quadratic model of the loss
      "qmodel_fixedmu"  the same, with mu = momentum

  Parameters change by -learning_rate times v (or P v).
  """

  @arguments.accepts_successor_order
  def __init__(
      self, learning_rate: hints.LearningRate | None,
      cov_ema_decay: hints.Scalar = 0.95,
      damping: hints.Damping = arguments.UNSET,
      layer_collection: collection.LayerCollection = arguments.UNSET,
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
      **options: hints.Unpack[arguments.Options]) -> None:
    """Stores the settings; nothing is built yet.

    With a LayerCollection as the third argument, the arguments by position are
    those of kfac 0.2.4, and so are the defaults: see arguments.SUCCESSOR_ORDER.

    Args:
      learning_rate: Scalar >= 0, or a function that returns it. With the types
        "qmodel" it is usually 1, the meaning of None.
      cov_ema_decay: Weight of the past in moving averages, in [0, 1).
      damping: Scalar >= 0; mandatory.
      layer_collection: LayerCollection with layers and losses; mandatory.
      var_list: List of the registered variables; by default all trainable
        variables.
      momentum: Scalar; 0 or None with "qmodel".
      momentum_type: "regular", "adam", "qmodel" or "qmodel_fixedmu".
      norm_constraint: Bound of lr^2 g . P g, or of lr^2 v . P v with "adam", or
        None; not with the types "qmodel".
      name: Name, also of the variable scope.
      estimation_mode: See FisherEstimator.
      colocate_gradients_with_ops: See FisherEstimator.
      batch_size: Number of examples, required with the types "qmodel".
      placement_strategy: See make_fisher_estimator.
      adapt_damping: Whether the damping is adapted by the reduction ratio on
        the batch of each step; see also set_damping_adaptation_params.
      precon_damping_mult: Scalar > 0. The damping of the inverses is this
        multiple of the damping of the quadratic model.
      qmodel_losses: List of LossFunctions, or a LayerCollection with them,
        whose Fisher matrix "qmodel" uses; `batch_size` then refers to them. By
        default those of `layer_collection`. Statistics and the quadratic model
        should not share a small part of the batch: the model would be flat in
        all directions that the statistics do not contain.
      qmodel_example_weights: Tensor [examples], weights of the examples of
        `qmodel_losses`, whose sum is `batch_size`; see sample_examples.
      cov_devices: See make_fisher_estimator.
      inv_devices: See make_fisher_estimator.
      **options: See arguments.Options.

    Raises:
      TypeError: If a mandatory argument is missing.
      ValueError: If a value is out of range or contradicts another.
    """
    arguments.check_given(damping=damping, layer_collection=layer_collection)
    self._momentum_type = arguments.check_momentum_type(momentum_type)
    learning_rate, momentum = arguments.rate_and_momentum(
        self._momentum_type, learning_rate, momentum)
    arguments.check_together(
        self._momentum_type, momentum, norm_constraint, batch_size,
        qmodel_losses, qmodel_example_weights)
    arguments.check_dampings(damping, precon_damping_mult)
    rule = arguments.rule_arguments(adapt_damping, options)
    arguments.check_options(options, self._momentum_type, batch_size)
    super().__init__(learning_rate, name=name)
    self._momentum = momentum
    self._norm_constraint: Any = norm_constraint
    self._weight_decay: Any = arguments.weight_decay(options)
    self._rescale: Any = arguments.rescale(options)
    self._batch_size: Any = batch_size
    self._layers = layer_collection
    self._workers = options.get("workers", workers_lib.ALONE)
    self._qmodel_losses: Any = qmodel_losses
    self._qmodel_example_weights = qmodel_example_weights
    self._qmodel: Any = None  # M and c of the step.
    self._asked_for_thunks = False
    self._num_skipped_steps: Any = None
    self._made_step: stats_lib.MadeStep | None = None
    self._stats: dict[str, tf.Tensor] | None = None
    self._assigned: dict[str, Any] = {}  # Update ops that a subclass assigns.
    self._damping = damping_lib.DampingControl(
        damping, precon_damping_mult, options.get("l2_reg", 0.),
        options.get("loss"), self._workers)
    self._fisher_est = estimator.make_fisher_estimator(
        placement_strategy=placement_strategy,
        variables=lambda: steps_lib.variables_of(
            layer_collection.graph, var_list),
        cov_ema_decay=cov_ema_decay, damping=self._damping.of_inverses,
        layer_collection=layer_collection, estimation_mode=estimation_mode,
        colocate_gradients_with_ops=colocate_gradients_with_ops,
        name=name + "/FisherEstimator", cov_devices=cov_devices,
        inv_devices=inv_devices, batch_size=batch_size,
        compute_params_stats=bool(options.get("compute_params_stats")),
        workers=self._workers)
    if adapt_damping:
      self._adapt_damping(options.get("dtype"), **rule)

  @property
  def variables(self) -> list:
    """List of the registered variables.

    Called like the method of other optimizers, it returns the variables that
    the optimizer itself has created.
    """
    return steps_lib.CallableList(
        self.registered_variables, super().variables)

  @property
  def registered_variables(self) -> list:
    """List of the registered variables."""
    return self._fisher_est.variables

  layers = delegation.delegate("_fisher_est", "layers", "The LayerCollection.")
  factors = delegation.delegate(
      "_fisher_est", "factors", "The factors, in the order of their creation.")
  mat_type = delegation.delegate(
      "_fisher_est", "mat_type", "See FisherEstimator.mat_type.")
  params_stats = delegation.delegate(
      "_fisher_est", "params_stats", "See FisherEstimator.params_stats.")

  def get_cov_vars(self) -> list:
    """Returns the variables of the covariances, creating what is missing."""
    return self._fisher_est.get_cov_vars()

  def get_inv_vars(self) -> list:
    """Returns the variables of the inverses, creating what is missing."""
    return self._fisher_est.get_inv_vars()

  # A step, top to bottom.

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
      global_step: Variable that counts steps; required if
        set_damping_adaptation_params was called.
      var_list: The registered variables, in any order, or None.
      gate_gradients: See tf.train.Optimizer.
      aggregation_method: See tf.train.Optimizer.
      colocate_gradients_with_ops: See tf.train.Optimizer.
      name: Name of the op.
      grad_loss: See tf.train.Optimizer.

    Returns:
      Op.

    Raises:
      ValueError: If `var_list` or the registrations do not fit.
      KeyError: If `global_step` is missing.
    """
    var_list = self.check_var_list(var_list)
    self._make_update_ops()
    self._make_skip_counter()
    with tf.variable_scope(self.get_name()):
      with tf.control_dependencies(
          self._damping.before_step(loss, global_step)):
        return super().minimize(
            loss, global_step, var_list, gate_gradients, aggregation_method,
            colocate_gradients_with_ops, name, grad_loss)

  def compute_gradients(
      self, loss: hints.TensorLike, var_list: Sequence[Any] | None = None,
      gate_gradients: int = tf.train.Optimizer.GATE_OP,
      aggregation_method: int | None = None,
      colocate_gradients_with_ops: bool = False,
      grad_loss: hints.TensorLike | None = None) -> hints.Pairs:
    """Differentiates the loss with respect to the registered variables.

    Args:
      loss: Scalar tensor.
      var_list: The registered variables, in any order, or None.
      gate_gradients: See tf.train.Optimizer.
      aggregation_method: See tf.train.Optimizer.
      colocate_gradients_with_ops: See tf.train.Optimizer.
      grad_loss: See tf.train.Optimizer.

    Returns:
      List of (gradient, variable), which carries the loss for apply_gradients.
    """
    var_list = self.check_var_list(var_list)
    # SyncReplicasOptimizer calls apply_gradients on a parameter server.
    self._make_update_ops()
    return steps_lib.Gradients(super().compute_gradients(
        loss, var_list, gate_gradients, aggregation_method,
        colocate_gradients_with_ops, grad_loss), loss)

  def check_var_list(self, var_list: Sequence[Any] | None) -> list:
    """Returns the variables of a step, see arguments.check_var_list."""
    return arguments.check_var_list(var_list, self.registered_variables)

  def apply_gradients(self, grads_and_vars: hints.VecsAndVars, *args: Any,
                      **kwargs: Any) -> tf.Operation:
    """Makes the op that preconditions gradients and steps.

    A step with a gradient, loss or update that is not finite changes nothing
    but `global_step`, and is counted and reported; see set_on_bad_numbers.

    Args:
      grads_and_vars: Iterable of (gradient, variable), for each registered
        variable.
      *args: `global_step` and `name`, see tf.train.Optimizer.
      **kwargs: The same.

    Returns:
      Op.

    Raises:
      ValueError: If a gradient is missing.
      tf.errors.InvalidArgumentError: In the session, if the step is not finite,
        after set_on_bad_numbers("raise").
    """
    grads_and_vars = steps_lib.Gradients(
        grads_and_vars, getattr(grads_and_vars, "loss", None))
    arguments.check_gradients(grads_and_vars)
    self._make_update_ops()
    self._make_skip_counter()
    global_step, name = steps_lib.global_step_and_name(*args, **kwargs)
    train_ops = tf.get_collection_ref(tf.GraphKeys.TRAIN_OP)
    others = list(train_ops)
    step = self._workers.finish(
        lambda name: self._make_step(grads_and_vars, global_step, name), name)
    assert self._made_step is not None
    self._made_step = self._made_step._replace(train_op=step)
    train_ops[:] = [*others, step]  # What judges a step is part of it.
    return step

  def _make_step(self, grads_and_vars, global_step, name):
    """Makes the op of a step, for the batch of all workers."""
    grads_and_vars = steps_lib.mean_over(self._workers, grads_and_vars)
    state = self._damping.state_before_step(
        grads_and_vars.loss, [variable for _, variable in grads_and_vars],
        global_step)
    missing = missing_inverses.make_warning_op(self._fisher_est.factors)
    # Inverses are read when the gradients are there, wherever these come from.
    waits_for = [*state.ops, missing, *[grad for grad, _ in grads_and_vars]]
    with tf.control_dependencies(waits_for if self._workers.updates else []):
      steps = self._compute_update_steps(grads_and_vars)
      if not isinstance(steps, list):  # A list may carry alpha and mu.
        steps = list(steps)
      step = super().apply_gradients(
          steps, global_step, None if state.judged else name)
    step = self._damping.after_step(step, state, self._velocity, name)
    self._made_step = stats_lib.MadeStep(
        step, grads_and_vars, steps, self._learning_rate_tensor)
    return step

  def _make_update_ops(self):
    """Creates the update ops, unless thunks are to make them.

    A session that starts after minimize may finalize the graph.
    """
    self._fisher_est.build()
    if not self._asked_for_thunks:
      self._fisher_est.cov_update_op  # noqa: B018
      self._fisher_est.inv_update_op  # noqa: B018

  def _make_skip_counter(self):
    """Creates the variable that counts skipped steps, unless it exists."""
    if self._num_skipped_steps is None:
      self._num_skipped_steps = steps_lib.make_skip_counter(self.get_name())

  def _compute_update_steps(self, grads_and_vars):
    """Returns pairs of a variable's change over -learning_rate, and it."""
    step = {"regular": self._step_regular, "adam": self._step_adam,
            "qmodel": self._step_qmodel,
            "qmodel_fixedmu": self._step_qmodel}[self._momentum_type]
    made = step(grads_and_vars)
    steps = self._damping.with_predicted_change(
        made.steps, made.predict, made.usable)
    if self._weight_decay is not None:
      steps = steps_lib.with_weight_decay(steps, self._weight_decay)
    return stats_lib.Steps(
        [(steps_lib.zero_unless(made.usable, step), variable)
         for step, variable in steps],
        made.alpha, made.mu, made.predict)

  def _multiply_preconditioner(self, vecs_and_vars):
    """Returns (P vector, variable) for pairs; a subclass may redefine it."""
    return self._fisher_est.multiply_inverse(vecs_and_vars)

  def _step_regular(self, grads_and_vars):
    """Updates v <- momentum v + P g, with P g clipped."""
    precon = self._multiply_preconditioner(grads_and_vars)
    coeff = self._clip_coeff(grads_and_vars, precon)
    usable = self._is_usable(
        grads_and_vars, precon, {"the clip coefficient": coeff})
    steps = self._update_velocities(
        precon, *steps_lib.keep_unless(usable, self._momentum, coeff))
    predict = self._change_predictor(grads_and_vars, steps)
    return steps_lib.Step(steps, predict, -coeff, self._momentum, usable)

  def _step_adam(self, grads_and_vars):
    """Updates v <- momentum v + g; the step is P v, clipped."""
    finite = steps_lib.are_finite([grad for grad, _ in grads_and_vars])
    velocity = self._update_velocities(
        grads_and_vars, *steps_lib.keep_unless(finite, self._momentum, 1.))
    steps = list(self._multiply_preconditioner(velocity))
    coeff = self._clip_coeff(velocity, steps)
    usable = self._is_usable(grads_and_vars, [*steps, *grads_and_vars],
                             {"the clip coefficient": coeff})
    steps = steps_lib.scaled(steps, coeff)
    predict = self._change_predictor(grads_and_vars, steps)
    return steps_lib.Step(steps, predict, -coeff, self._momentum, usable)

  def _step_qmodel(self, grads_and_vars):
    """Updates v <- mu v - alpha P g."""
    precon = self._multiply_preconditioner(grads_and_vars)
    prev_updates = self._scaled_by_learning_rate(
        [(self._velocity(variable), variable) for _, variable in precon])
    alpha, mu, change = self._compute_qmodel_hyperparams(
        precon, prev_updates, grads_and_vars)
    usable = self._is_usable(
        grads_and_vars, precon, {"alpha": alpha, "mu": mu,
                                 "the predicted change": change})
    steps = steps_lib.scaled(self._update_velocities(
        precon, *steps_lib.keep_unless(usable, mu, -alpha)), self._rescale)
    return steps_lib.Step(
        steps, lambda: self._qmodel_prediction(alpha, mu, change), alpha, mu,
        usable)

  def _qmodel_prediction(self, alpha, mu, change):
    """Returns the Prediction for the step of alpha and mu."""
    if self._qmodel is None or (self._momentum_type == "qmodel"
                                and scalars.is_one(self._rescale)):
      # alpha and mu are the best ones, and so is the length of the step.
      return quadratic_model.Prediction(change, -change)
    M, c = self._qmodel
    return quadratic_model.of_multiple(
        M, c, tf.stack([alpha, mu]), self._rescale)

  def _is_usable(self, grads_and_vars, vecs_and_vars, coefficients):
    """Returns whether all numbers of a step are finite, boolean tensor [].

    A step that is not usable is counted and reported.

    Args:
      grads_and_vars: Pairs that may carry the loss.
      vecs_and_vars: Pairs of what enters a velocity or a variable, and it.
      coefficients: Scalars by name.
    """
    others = {"the learning rate": self._learning_rate_value(),
              "the loss": getattr(grads_and_vars, "loss", None)}
    return steps_lib.check_step(
        vecs_and_vars, {**coefficients, **others}, self._num_skipped_steps)

  def _squared_fisher_norm(self, grads_and_vars, precon_grads_and_vars):
    """Returns the scalar g . P g."""
    return steps_lib.inner_product(
        [grad for grad, _ in grads_and_vars],
        [grad for grad, _ in precon_grads_and_vars])

  def _clip_coeff(self, vecs_and_vars, precon_vecs_and_vars):
    """Returns the scale of a step, 1 without a norm constraint."""
    return 1. if self._norm_constraint is None else self._update_clip_coeff(
        vecs_and_vars, precon_vecs_and_vars)

  def _update_clip_coeff(self, grads_and_vars, precon_grads_and_vars):
    """Returns the scale of P g that satisfies the norm constraint, a scalar."""
    return steps_lib.clip_coefficient(
        self._squared_fisher_norm(grads_and_vars, precon_grads_and_vars),
        self._learning_rate_value(), self._norm_constraint)

  def _compute_qmodel_hyperparams(self, precon_grads_and_vars,
                                  prev_updates_and_vars, grads_and_vars,
                                  variables=None):
    """Minimises the quadratic model, over alpha alone with "qmodel_fixedmu".

    Args:
      precon_grads_and_vars: List of (P g, variable), the direction d1.
      prev_updates_and_vars: List of (previous update, variable), d2.
      grads_and_vars: List of (g, variable).
      variables: List of variables; those of the gradients if None.

    Returns:
      Scalars alpha and mu, and the predicted change of the loss.
    """
    variables = variables or [variable for _, variable in grads_and_vars]
    grads, *directions = (
        [tf.convert_to_tensor(dict((v, t) for t, v in pairs)[variable])
         for variable in variables]
        for pairs in (grads_and_vars, precon_grads_and_vars,
                      prev_updates_and_vars))
    M = quadratic_model.curvature(
        self._qmodel_losses or self._layers, variables, directions,
        self._damping.value, self._batch_size, self._qmodel_example_weights,
        self._workers)
    c = tf.stack([steps_lib.inner_product(grads, d) for d in directions])
    self._qmodel = M, c
    coefficients, change = (
        quadratic_model.minimum(M, c) if self._momentum_type == "qmodel"
        else quadratic_model.minimum_for_mu(M, c, self._momentum))
    return coefficients[0], coefficients[1], change

  def _change_predictor(
      self, grads_and_vars, steps) -> Callable[[], quadratic_model.Prediction]:
    """Returns a function that predicts the change by steps, with approximate F.

    The damping of the quadratic model may be another than that of the inverses.

    Args:
      grads_and_vars: List of (g, variable).
      steps: List of (change over -learning_rate, variable).
    """
    updates = self._scaled_by_learning_rate(steps)
    return quadratic_model.predictor(
        grads_and_vars, updates, lambda: self._fisher_est.multiply(
            updates, self._damping.model_share))

  def _scaled_by_learning_rate(self, steps):
    """Returns pairs with -learning_rate times the first entries of `steps`."""
    return steps_lib.scaled(
        steps, scalars.product(self._learning_rate_value(), -1.))

  def _learning_rate_value(self):
    learning_rate = self._learning_rate
    return learning_rate() if callable(learning_rate) else learning_rate

  def _prepare(self):
    """Makes the tensor of the learning rate, which scales the steps."""
    self._learning_rate_tensor = steps_lib.rate_tensor(
        self._learning_rate_value())

  def _velocity(self, variable):
    with plain_variables.no_scope_settings():
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
    new = steps_lib.update_velocities(
        [self._velocity(variable) for variable in variables],
        [vec for vec, _ in vecs_and_vars], decay, vec_coeff)
    return list(zip(new, variables, strict=True))

  # The damping.

  damping = delegation.delegate(
      "_damping", "damping",
      "The damping as it was given; a variable if it is adapted.")
  damping_adaptation_interval = delegation.delegate(
      "_damping", "interval",
      "The number of steps between adaptations of the damping.")

  def set_damping_adaptation_params(
      self, is_chief: bool, prev_train_batch: Any,
      loss_fn: Callable[[Any], hints.TensorLike],
      min_damping: hints.Scalar = 1e-5, damping_adaptation_decay: float = 0.99,
      damping_adaptation_interval: int = 5) -> None:
    """Adapts the damping by the reduction ratio.

    `minimize` then requires `global_step`.

    Args:
      is_chief: Whether this process adapts the damping.
      prev_train_batch: Argument of `loss_fn`: the batch of the last step.
      loss_fn: Function of a batch that returns the loss, as trained.
      min_damping: Lower bound of the damping.
      damping_adaptation_decay: Damping is divided or multiplied by this number
        to the power of the interval; in (0, 1).
      damping_adaptation_interval: Int, the number of steps between
        adaptations.

    Raises:
      ValueError: If it was called before, if the inverses exist already and so
        cannot follow, or if a value is out of range.
    """
    self._adapt_damping(
        is_chief=is_chief, batch=prev_train_batch, loss_fn=loss_fn,
        min_damping=min_damping, decay=damping_adaptation_decay,
        interval=damping_adaptation_interval, immediately=False,
        counts_steps=False)

  def _adapt_damping(self, dtype=None, **rule):
    """Adapts the damping by a `damping.Rule`, given by its arguments."""
    if self._damping.rule is not None:
      raise ValueError("set_damping_adaptation_params must be called once, and "
                       "not with adapt_damping.")
    follow = constants.read("optimizer", "ADAPTED_DAMPING_REACHES_INVERSES")
    if follow and self._fisher_est.made_factors():
      raise ValueError(
          "set_damping_adaptation_params must be called before the update ops "
          "are asked for, so that the damping reaches the inverses.")
    registered = self._layers.registered_variables
    dtype = dtype or precision.wide_dtype(
        registered[0].dtype if registered else tf.float32)
    scope = tf.get_variable_scope()
    with tf.variable_scope(self.get_name()):
      self._damping.adapt(damping_lib.Rule(scope=scope, **rule), dtype)
    if follow:
      self._fisher_est.set_damping(self._damping.of_inverses)

  def maybe_pre_update_adapt_damping(self) -> tf.Operation:
    """Returns the op that judges the last step if that is due.

    Unless update_damping_immediately is True, run it before the inverses are
    updated, so that these have the new damping, and while `prev_train_batch` is
    still the batch of the last step. The train op contains it, and runs it
    first; a step is judged once.
    """
    return self._damping.pre_update_op()

  def set_loss(self, loss: hints.TensorLike) -> None:
    """Sets the argument `loss` of the constructor, before minimize.

    Args:
      loss: Scalar tensor.

    Raises:
      ValueError: If it is no scalar.
    """
    arguments.check_scalar_loss(loss)
    self._damping.loss = loss

  # What can be watched.

  def stats(self) -> dict[str, tf.Tensor]:
    """Returns scalar tensors that describe the step and the factors.

    A step does no work for values that are not fetched. Those of a step belong
    to the step of the same session.run; to fetch one of them alone is to run
    the step. The others are state; fetch them in a run of their own.

        of a step    gradient_norm, step_norm, cosine, alpha, mu,
                     predicted_change
        state        damping, rho, actual_change, rejected_steps, skipped_steps
        of a factor  age/NAME, condition/NAME, skipped_updates/NAME; state, too

    stats.md has the meaning and the unit of each value, and when it is absent.

    Returns:
      Dict from names to tensors, of the step made last before the first call.

    Raises:
      ValueError: If no step was made, or if the graph is already finalized.
    """
    if self._stats is None:
      self._stats = stats_lib.make(
          self._made_step, self._damping, self._fisher_est.factors,
          self._num_skipped_steps)
    return dict(self._stats)

  learning_rate = property(
      lambda self: self._learning_rate, doc="The rate as it was given.")
  momentum = property(
      lambda self: self._momentum, doc="The momentum as it was given.")
  rho = delegation.delegate(
      "_damping", "rho",
      "Variable with the reduction ratio, or None with constant damping.")
  qmodel_change = delegation.delegate(
      "_damping", "predicted_change",
      "Variable with the predicted change, or None with constant damping.")
  counter = delegation.delegate(
      "_damping", "num_steps",
      "Variable that counts steps, or None unless steps are judged by it.")

  _rho, _q_model_change = rho, qmodel_change  # Their names in contrib.kfac.

  # The updates of the factors.

  cov_update_thunks = delegation.delegate(
      "_fisher_est", "cov_update_thunks",
      "Functions that make the covariance update of each factor, a tensor.")
  cov_update_ops = delegation.delegate(
      "_fisher_est", "cov_update_ops",
      "The new covariance of each factor, a tensor that runs its update.")
  cov_update_op = delegation.assignable(
      "_fisher_est", "cov_update_op",
      "One op that updates all covariances; a subclass may assign it.")
  inv_update_thunks = delegation.delegate(
      "_fisher_est", "inv_update_thunks",
      "Functions that make the inverse update op of each factor.")
  inv_update_ops = delegation.delegate(
      "_fisher_est", "inv_update_ops",
      "The inverse update op of each factor.")
  inv_update_op = delegation.assignable(
      "_fisher_est", "inv_update_op",
      "One op that updates all inverses; a subclass may assign it.")
  inv_updates_dict = delegation.assignable(
      "_fisher_est", "inv_updates_dict",
      "The new value of each kept matrix by name (1.4, 1.5); assignable.")

  def _ask_for_thunks(self):
    if self._asked_for_thunks:
      raise ValueError(
          "make_vars_and_create_op_thunks, create_ops_and_vars_thunks and "
          "make_ops_and_vars must be called once, one of them.")
    self._asked_for_thunks = True

  def make_vars_and_create_op_thunks(self) -> tuple[list, list]:
    """Creates the variables of the factors and returns thunks of their updates.

    Returns:
      Two lists of functions: they make the covariance and the inverse update
      op of each factor.

    Raises:
      ValueError: If thunks were asked for before.
    """
    self._ask_for_thunks()
    return self._fisher_est.build()

  def create_ops_and_vars_thunks(self) -> tuple[list, list, list, list]:
    """Returns thunks of the variables of the factors and of their updates.

    Returns:
      Four lists with a function per factor, to be called in this order: they
      create its covariance variables, covariance update op, inverse variables
      and inverse update op.

    Raises:
      ValueError: If thunks were asked for, or variables created, before.
    """
    self._ask_for_thunks()
    return self._fisher_est.create_ops_and_vars_thunks()

  def make_ops_and_vars(self) -> tuple:
    """Creates the variables of the factors and their updates (1.8).

    Returns:
      Covariance update ops, one op of them all, inverse update ops, one op of
      them all, and the thunks of both.

    Raises:
      ValueError: If thunks were asked for before.
    """
    self._ask_for_thunks()
    return self._fisher_est.make_ops_and_vars(scope=self.get_name())
