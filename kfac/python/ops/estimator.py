"""FisherEstimator: from the losses of a model to products with its Fisher."""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import estimation_modes
from kfac.python.ops import placement
from kfac.python.ops import update_ops
from kfac.python.ops.layer_collection import collection
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

__all__ = ["FisherEstimator", "make_fisher_estimator"]


def make_fisher_estimator(placement_strategy: str | None = None,
                          **kwargs: Any) -> FisherEstimator:
  """Makes a FisherEstimator.

  Args:
    placement_strategy: None, or "round_robin".
    **kwargs: Arguments of the estimator; `cov_devices` and `inv_devices`, see
      placement.RoundRobinPlacementMixin.

  Returns:
    FisherEstimator.

  Raises:
    ValueError: If there is no such strategy.
  """
  if placement_strategy not in (None, "round_robin"):
    raise ValueError(
        "placement_strategy must be None or 'round_robin', got "
        f"{placement_strategy!r}.")
  if placement_strategy is None:
    return FisherEstimator(**kwargs)
  return FisherEstimatorRoundRobin(**kwargs)


class FisherEstimator(update_ops.UpdateOps):
  """Estimates the Fisher matrix of a model, block by block.

  Products take and return lists of (vector, variable), with a vector for each
  registered variable, in any order.
  """

  _cov_devices = None
  _inv_devices = None

  def __init__(
      self, variables: Sequence[Any] | Callable[[], Sequence[Any]],
      cov_ema_decay: hints.Scalar, damping: hints.Damping | None = None,
      layer_collection: collection.LayerCollection | None = None,
      exps: Sequence[float] = (-1,), estimation_mode: str = "gradients",
      colocate_gradients_with_ops: bool = True, name: str = "FisherEstimator",
      compute_cholesky: bool = False, compute_cholesky_inverse: bool = False, *,
      cov_devices: hints.Devices | None = None,
      inv_devices: hints.Devices | None = None,
      damping_fn: hints.Damping | None = None) -> None:
    """Says what to estimate; nothing is built yet.

    Args:
      variables: List of the variables that are registered, or a function that
        returns it.
      cov_ema_decay: Weight of the past in moving averages, in [0, 1).
      damping: Number, tensor or variable >= 0; or a function that returns
        one, which is called once, when the factors are made.
      layer_collection: LayerCollection with layers and losses; mandatory.
      exps: Powers that multiply_matpower is to be prepared for.
      estimation_mode: "gradients", "empirical", "curvature_prop" or "exact",
        see estimation_modes.py.
      colocate_gradients_with_ops: Whether gradients are computed beside the
        ops they belong to.
      name: Name, the default scope of the variables.
      compute_cholesky: Whether multiply_cholesky is to be prepared for.
      compute_cholesky_inverse: Whether multiply_cholesky_inverse is.
      cov_devices: See placement.RoundRobinPlacementMixin.
      inv_devices: The same.
      damping_fn: What damping was called in TensorFlow 1.7.

    Raises:
      TypeError: If there is no layer collection, or not one damping.
      ValueError: If a value is out of range.
    """
    if layer_collection is None:
      raise TypeError("layer_collection must be given.")
    if (damping is None) == (damping_fn is None):
      raise TypeError("damping must be given, and once.")
    if estimation_mode not in estimation_modes.MODES:
      raise ValueError(
          f"estimation_mode must be one of {sorted(estimation_modes.MODES)}, "
          f"got {estimation_mode!r}.")
    self._damping = damping_fn if damping is None else damping
    scalars.check_number("damping", self._damping, minimum=0.)
    scalars.check_number("cov_ema_decay", cov_ema_decay, minimum=0., below=1.)
    self._variables = variables
    self._cov_ema_decay = cov_ema_decay
    self._layers = layer_collection
    self._exps = tuple(exps)
    self._estimation_mode = estimation_mode
    self._colocate_gradients_with_ops = colocate_gradients_with_ops
    self._name = name
    self._compute_cholesky = compute_cholesky
    self._compute_cholesky_inverse = compute_cholesky_inverse
    self._num_variables_to_make = None
    self._scope = None
    if cov_devices is not None:
      self._cov_devices = placement.check_devices("cov_devices", cov_devices)
    if inv_devices is not None:
      self._inv_devices = placement.check_devices("inv_devices", inv_devices)

  @property
  def variables(self) -> list:
    """List of the variables that are registered."""
    return list(self._variables() if callable(self._variables)
                else self._variables)

  @property
  def damping(self) -> Any:
    """The damping: number, tensor or variable."""
    return self._damping() if callable(self._damping) else self._damping

  def set_damping(self, damping: hints.Damping) -> None:
    """Replaces the damping; the factors must not be made yet.

    Args:
      damping: As in the constructor.
    """
    assert not self.made_factors()
    self._damping = damping

  @property
  def blocks(self) -> list:
    """The blocks, in the order of registration."""
    return self._layers.get_blocks()

  @property
  def factors(self) -> list:
    """The factors, in the order in which they were made."""
    return self._layers.get_factors()

  @property
  def name(self) -> str:
    """The estimator's name."""
    return self._name

  # -> (covariance update thunks, inverse update thunks)
  make_vars_and_create_op_thunks = (
      placement.RoundRobinPlacementMixin.make_vars_and_create_op_thunks)

  def made_factors(self) -> bool:
    """Whether the factors were made, which fixes the damping."""
    return self._num_variables_to_make is not None

  def made_vars(self) -> bool:
    """Whether all variables of the factors were made."""
    return self._num_variables_to_make == 0

  def create_ops_and_vars_thunks(
      self, scope: str | None = None) -> tuple[list, list, list, list]:
    """Makes the factors, and returns thunks of their variables and ops.

    Variables have to be made before updates, covariances before inverses.

    Args:
      scope: Variable scope; the estimator's name if None.

    Returns:
      Four lists of functions with one for each factor: they make its
      covariance variables, covariance update op, inverse variables and inverse
      update op.

    Raises:
      ValueError: If this was called before, or if registrations do not fit
        the losses.
    """
    if self._num_variables_to_make is not None:
      raise ValueError("create_ops_and_vars_thunks and "
                       "make_vars_and_create_op_thunks must be called once.")
    self._make_factors()
    self._scope = scope = scope or self.name
    cov_variables, inv_variables, inv_updates = [], [], []
    self._num_variables_to_make = 2 * len(self.factors)
    for factor in self.factors:
      cov_variables.append(self._variable_thunk(
          scope, factor.instantiate_cov_variables))
      inv_variables.append(self._variable_thunk(
          scope, factor.instantiate_inv_variables))
      inv_updates.append(_scoped(scope, functools.partial(
          _group_inverse_updates, factor)))
    cov_updates, placed_cov_updates = self._cov_update_thunks_of(self.factors)
    self._keep_thunks(
        placement.deal_out(cov_variables, self._cov_devices) + inv_variables,
        placed_cov_updates,
        placement.deal_out(inv_updates, self._inv_devices))
    return cov_variables, cov_updates, inv_variables, inv_updates

  def _cov_update_thunks_of(self, factors):
    """Returns covariance update thunks, and the same under their devices."""
    thunks = [
        _scoped(self._scope, functools.partial(
            factor.make_covariance_update_op, self._cov_ema_decay))
        for factor in factors]
    return thunks, placement.deal_out(thunks, self._cov_devices)

  def _variable_thunk(self, scope, make):
    """Returns a function that makes variables the first time it is called."""
    made = []

    def thunk():
      if not made:
        made.append(True)
        with tf.init_scope():
          _scoped(scope, make)()
        self._num_variables_to_make -= 1
    return thunk

  def _make_factors(self):
    """Gradients of the losses -> blocks -> factors and what they will keep."""
    layers = self._layers
    layers.create_subgraph()
    layers.check_registration(self.variables)
    damping = self.damping
    scalars.check_number("damping", damping, minimum=0.)
    self._damping = damping  # a function is called once
    for block, grads_list in self._blocks_and_grads():
      block.instantiate_factors(grads_list, damping)
      for exp in self._exps:
        block.register_matpower(exp)
      if self._compute_cholesky:
        block.register_cholesky()
      if self._compute_cholesky_inverse:
        block.register_cholesky_inverse()

  def multiply_inverse(self, vecs_and_vars: hints.VecsAndVars) -> hints.Pairs:
    """Multiplies by (F + damping I)^-1.

    Args:
      vecs_and_vars: List of (vector, variable).

    Returns:
      List of (product, variable) in the same order.
    """
    return self.multiply_matpower(-1, vecs_and_vars)

  def multiply(self, vecs_and_vars: hints.VecsAndVars) -> hints.Pairs:
    """Multiplies by F + damping I, see multiply_inverse."""
    return self.multiply_matpower(1, vecs_and_vars)

  def multiply_matpower(self, exp: float,
                        vecs_and_vars: hints.VecsAndVars) -> hints.Pairs:
    """Multiplies by (F + damping I)^exp.

    Args:
      exp: Number, one of `exps`, or 1.
      vecs_and_vars: List of (vector, variable).

    Returns:
      List of (product, variable) in the same order.

    Raises:
      ValueError: If `exp` was not prepared for.
    """
    if exp != 1 and exp not in self._exps:
      raise ValueError(
          f"exp must be 1 or one of exps {self._exps}, got {exp!r}.")
    return self._apply_transformation(
        vecs_and_vars, lambda block, vec: block.multiply_matpower(vec, exp))

  def multiply_cholesky(self, vecs_and_vars: hints.VecsAndVars,
                        transpose: bool = False) -> hints.Pairs:
    """Multiplies by L with L L^T = F + damping I.

    Args:
      vecs_and_vars: List of (vector, variable).
      transpose: Whether to multiply by L^T instead.

    Returns:
      List of (product, variable) in the same order.

    Raises:
      ValueError: If it was not prepared for.
    """
    _check_prepared("compute_cholesky", self._compute_cholesky)
    return self._apply_transformation(
        vecs_and_vars,
        lambda block, vec: block.multiply_cholesky(vec, transpose))

  def multiply_cholesky_inverse(self, vecs_and_vars: hints.VecsAndVars,
                                transpose: bool = False) -> hints.Pairs:
    """Multiplies by L^-1 with L L^T = F + damping I.

    Args:
      vecs_and_vars: List of (vector, variable).
      transpose: Whether to multiply by L^-T instead.

    Returns:
      List of (product, variable) in the same order.

    Raises:
      ValueError: If it was not prepared for.
    """
    _check_prepared("compute_cholesky_inverse", self._compute_cholesky_inverse)
    return self._apply_transformation(
        vecs_and_vars,
        lambda block, vec: block.multiply_cholesky_inverse(vec, transpose))

  def _apply_transformation(self, vecs_and_vars, transform):
    """Applies a function of block and vector to all blocks.

    Args:
      vecs_and_vars: List of (vector, variable).
      transform: Function of a block and a vector shaped like its parameters.

    Returns:
      List of (result, variable) in the same order.

    Raises:
      ValueError: If variables are not exactly those registered.
    """
    vecs_and_vars = list(vecs_and_vars)
    vecs = {variable: vec for vec, variable in vecs_and_vars}
    registered = set(self._layers.registered_variables)
    if set(vecs) != registered or len(vecs) != len(vecs_and_vars):
      raise ValueError(
          "vecs_and_vars must have each registered variable once, got "
          f"{[v.name for _, v in vecs_and_vars]}, "
          f"registered are {sorted(v.name for v in registered)}.")
    results = {}
    for params, block in self._layers.fisher_blocks.items():
      if isinstance(params, tuple):
        vec = tuple(vecs[variable] for variable in params)
        results.update(zip(params, transform(block, vec), strict=True))
      else:
        results[params] = transform(block, vecs[params])
    return [(results[variable], variable) for _, variable in vecs_and_vars]


class FisherEstimatorRoundRobin(placement.RoundRobinPlacementMixin,
                                FisherEstimator):
  """A FisherEstimator whose devices come first."""


def _scoped(scope, function):
  """Returns a function that runs another in a scope of plain variables."""
  def scoped():
    with tf.variable_scope(scope) as variable_scope:
      # What the model's variables are made with is not meant for these.
      variable_scope.set_partitioner(None)
      variable_scope.set_regularizer(None)
      variable_scope.set_custom_getter(None)
      return function()
  return scoped


def _group_inverse_updates(factor):
  return tf.group(*factor.make_inverse_update_ops())


def _check_prepared(argument, value):
  if not value:
    raise ValueError(f"{argument} must be True, got {value!r}.")
