"""FisherEstimator: from the losses of a model to products with its Fisher."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import estimation_modes
from kfac.python.ops import factor_updates
from kfac.python.ops import not_built
from kfac.python.ops import params_stats
from kfac.python.ops import placement
from kfac.python.ops.layer_collection import collection
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import devices
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import stateless_seeds
from kfac.python.ops.utils import workers as workers_lib

__all__ = [
    "FisherEstimator",
    "FisherEstimatorRoundRobin",
    "make_fisher_estimator",
]


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
    ValueError: If the strategy is unknown.
  """
  if placement_strategy not in (None, "round_robin"):
    raise ValueError(
        "placement_strategy must be None or 'round_robin', got "
        f"{placement_strategy!r}.")
  if placement_strategy is None:
    return FisherEstimator(**kwargs)
  return FisherEstimatorRoundRobin(**kwargs)


class FisherEstimator:
  """Estimates the Fisher matrix of a model, block by block.

  Products take and return lists of (vector, variable), with one vector per
  registered variable, in any order.
  """

  _cov_devices: Any = None
  _inv_devices: Any = None

  def __init__(
      self, variables: Sequence[Any] | Callable[[], Sequence[Any]],
      cov_ema_decay: hints.Scalar, damping: hints.Damping | None = None,
      layer_collection: collection.LayerCollection | None = None,
      exps: Sequence[float] = (-1,), estimation_mode: str = "gradients",
      colocate_gradients_with_ops: bool = True, name: str = "FisherEstimator",
      compute_cholesky: bool = False, compute_cholesky_inverse: bool = False, *,
      cov_devices: hints.Devices | None = None,
      inv_devices: hints.Devices | None = None,
      damping_fn: hints.Damping | None = None,
      compute_params_stats: bool = False,
      batch_size: hints.Scalar | None = None,
      workers: workers_lib.Workers = workers_lib.ALONE) -> None:
    """Stores what to estimate; nothing is built yet.

    Args:
      variables: List of the registered variables, or a function that returns
        it.
      cov_ema_decay: Weight of the past in moving averages, in [0, 1).
      damping: Number, tensor or variable >= 0; or a function that returns
        one, which is called once, when the factors are made.
      layer_collection: LayerCollection with layers and losses; mandatory.
      exps: Powers to prepare for multiply_matpower.
      estimation_mode: "gradients", "empirical", "curvature_prop" or "exact",
        see estimation_modes.py.
      colocate_gradients_with_ops: Whether gradients are colocated with the ops
        that they are gradients of.
      name: Name, the default scope of the variables.
      compute_cholesky: Whether to prepare for multiply_cholesky.
      compute_cholesky_inverse: Whether to prepare for
        multiply_cholesky_inverse.
      cov_devices: See placement.RoundRobinPlacementMixin.
      inv_devices: The same.
      damping_fn: The name of `damping` in TensorFlow 1.7.
      compute_params_stats: Whether to compute `params_stats`.
      batch_size: Scalar, by which these are divided.
      workers: Workers, over which covariances are averaged.

    Raises:
      TypeError: If there is no layer collection, or not exactly one damping.
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
    if compute_params_stats and batch_size is None:
      raise ValueError(
          "batch_size must be given with compute_params_stats, got None.")
    if compute_params_stats and workers.count > 1:
      raise ValueError(
          "compute_params_stats must be False with several workers, got "
          f"{workers.count} workers.")
    self._damping: Any = damping_fn if damping is None else damping
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
    self._compute_params_stats = compute_params_stats
    self._batch_size: Any = batch_size
    self._params_stats: list | None = None
    self._made_factors = False
    self._sample_counter: tf.Variable | None = None
    if cov_devices is not None:
      self._cov_devices = devices.check("cov_devices", cov_devices)
    if inv_devices is not None:
      self._inv_devices = devices.check("inv_devices", inv_devices)
    self._workers = workers
    self._updates = factor_updates.FactorUpdates(
        self.make_vars_and_create_op_thunks, self._cov_devices,
        self._inv_devices, workers)

  @property
  def variables(self) -> list:
    """List of the registered variables."""
    return list(self._variables() if callable(self._variables)
                else self._variables)

  @property
  def damping(self) -> Any:
    """The damping: number, tensor or variable."""
    return self._damping() if callable(self._damping) else self._damping

  def set_damping(self, damping: hints.Damping) -> None:
    """Replaces the damping, before the factors are made.

    Args:
      damping: As in the constructor.
    """
    assert not self.made_factors()
    self._damping = damping

  @property
  def blocks(self) -> tuple:
    """The blocks, in the order of registration."""
    return self._layers.get_blocks()

  @property
  def factors(self) -> tuple:
    """The factors, in the order of their creation."""
    return self._layers.get_factors()

  @property
  def layers(self) -> collection.LayerCollection:
    """The LayerCollection."""
    return self._layers

  @property
  def mat_type(self) -> str:
    """The matrix that is estimated, "Fisher" or "GGN" (Gauss-Newton)."""
    return "GGN" if self._estimation_mode.endswith("_GGN") else "Fisher"

  @property
  def params_stats(self) -> list:
    """The gradient of the losses of the estimation for each variable.

    List of tensors in the order of `variables`: in the modes with samples, of
    the losses on the sampled targets, in "empirical" on those registered; in
    the other modes, of what is propagated back. It is summed over the sources,
    and divided by `batch_size`.
    """
    _check_prepared("compute_params_stats", self._compute_params_stats)
    self.build()
    assert self._params_stats is not None
    return list(self._params_stats)

  def get_cov_vars(self) -> list:
    """Returns the variables of the covariances, creating what is missing."""
    self.build()
    return [variable for factor in self.factors
            for variable in factor.get_cov_vars()]

  def get_inv_vars(self) -> list:
    """Returns the variables of the inverses, creating what is missing."""
    self.build()
    return [variable for factor in self.factors
            for variable in factor.get_inv_vars()]

  @property
  def name(self) -> str:
    """The name of the estimator."""
    return self._name

  def made_factors(self) -> bool:
    """Returns whether the factors were made, which fixes the damping."""
    return self._made_factors

  def made_vars(self) -> bool:
    """Returns whether all variables of the factors exist."""
    return self._updates.made_variables()

  def create_ops_and_vars_thunks(
      self, scope: str | None = None) -> tuple[list, list, list, list]:
    """Makes the factors, and returns thunks of their variables and ops.

    Variables must be created before updates, covariances before inverses.

    Args:
      scope: Variable scope; the estimator's name if None.

    Returns:
      Four lists with a function per factor. They create its covariance
      variables, covariance update op, inverse variables and inverse update op.

    Raises:
      ValueError: If this was called before, or if registrations do not match
        the losses.
    """
    if self._made_factors:
      raise ValueError("create_ops_and_vars_thunks and "
                       "make_vars_and_create_op_thunks must be called once.")
    scope = scope or self.name
    self._make_sample_counter(scope)
    self._make_factors()
    return self._updates.create(self.factors, scope, self._cov_ema_decay)

  def make_vars_and_create_op_thunks(
      self, scope: str | None = None) -> tuple[list, list]:
    """Creates all variables and returns thunks of the update ops.

    Args:
      scope: Variable scope; the estimator's name if None.

    Returns:
      List of functions that make the covariance update op of each factor, and
      of functions that make its inverse update op.

    Raises:
      ValueError: See create_ops_and_vars_thunks.
    """
    self.create_ops_and_vars_thunks(scope=scope)
    return self._updates.make_variables()

  def build(self, scope: str | None = None) -> tuple[list, list]:
    """Creates the factors and all variables that do not exist yet.

    Args:
      scope: Variable scope; the estimator's name if None.

    Returns:
      Lists of covariance and of inverse update thunks.
    """
    return self._updates.build(scope)

  def make_ops_and_vars(self, scope: str | None = None) -> tuple:
    """Creates all variables and update ops (1.8).

    Args:
      scope: Variable scope; the estimator's name if None.

    Returns:
      See FactorUpdates.make_ops_and_vars.
    """
    return self._updates.make_ops_and_vars(scope)

  @property
  def cov_update_thunks(self) -> list:
    """Functions that make the covariance update of each factor, a tensor."""
    return self._updates.cov_update_thunks

  @property
  def cov_update_ops(self) -> list:
    """The new covariance of each factor, a tensor that runs its update."""
    return self._updates.cov_update_ops

  @property
  def cov_update_op(self) -> tf.Operation:
    """One op that updates all covariances."""
    return self._updates.cov_update_op

  @property
  def inv_update_thunks(self) -> list:
    """Functions that make the inverse update op of each factor."""
    return self._updates.inv_update_thunks

  @property
  def inv_update_ops(self) -> list:
    """The inverse update op of each factor."""
    return self._updates.inv_update_ops

  @property
  def inv_update_op(self) -> tf.Operation:
    """One op that updates all inverses."""
    return self._updates.inv_update_op

  def can_be_gradual(self, index: int) -> bool:
    """Whether the inverse of a factor can be computed in parts.

    Args:
      index: Index in `factors`.

    Returns:
      Boolean, see FactorUpdates.can_be_gradual.
    """
    return self._updates.can_be_gradual(index)

  def gradual_inv_thunks(
      self, index: int, num_parts: int) -> tuple[hints.Thunk, hints.Thunk]:
    """Returns functions that make the ops of a gradual inverse.

    Args:
      index: Index in `factors`.
      num_parts: Int >= 1, the number of runs that one inverse takes.

    Returns:
      See FactorUpdates.gradual_inv_thunks.
    """
    return self._updates.gradual_inv_thunks(index, num_parts)

  @property
  def inv_updates_dict(self) -> dict:
    """The new value of each kept matrix by its tensor's name (1.4, 1.5)."""
    return {new.name: new for new in self._updates.inv_updates}

  def make_cov_update_op_in_branch(self) -> tf.Operation:
    """Makes an op that updates all covariances from gradients of its own.

    `cov_update_op` and the thunks use gradients that are computed outside of
    any control flow. In a branch of a tf.cond, these would be computed even if
    the branch is not taken. This op has its own sampled targets, backward pass
    and products in the branch in which it is made. Any number of branches may
    have such an op. Inverse update thunks can be used in branches as they are.

    Returns:
      Op.

    Raises:
      ValueError: If the variables of the factors do not exist yet.
    """
    if not self.made_vars():
      raise ValueError(
          "make_cov_update_op_in_branch must be called after build(), which "
          "creates the variables outside of the branch.")
    return self._updates.make_cov_update_op(self._blocks_and_grads())

  def _make_sample_counter(self, scope):
    """Creates the counter from which random numbers are drawn, if there is one.

    Args:
      scope: Variable scope.
    """
    if (self._sample_counter is not None
        or not estimation_modes.is_random(self._estimation_mode, self._layers)
        or constants.read("fisher_factors", "CONTRIB_VARIABLES")):
      return
    with tf.init_scope(), tf.variable_scope(scope):
      self._sample_counter = stateless_seeds.make_counter(
          "sample_counter", all(getattr(loss, "_seed", None) is not None
                                for loss in self._layers.losses))

  def _blocks_and_grads(self):
    """Differentiates the losses.

    What is random differs from one session.run to the next, and is the same for
    all blocks.

    Returns:
      List of pairs: a block, and for each source the gradients with respect to
      the tensors of the block.
    """
    blocks = self.blocks
    sources = self._sources(
        [block.tensors_to_compute_grads() for block in blocks])
    return _by_block(blocks, sources)

  def _sources(self, tensors):
    """Returns for each source the gradients with respect to tensors."""
    counter = None
    if self._sample_counter is not None:
      # Read once, after the assignment.
      counter = tf.convert_to_tensor(
          tf.assign_add(self._sample_counter, tf.ones([], tf.int64)))
      [counter] = self._workers.from_chief([counter], "sample_counter")
    with self._workers.building():
      return estimation_modes.compute_gradients(
          self._estimation_mode, self._layers, tensors,
          self._colocate_gradients_with_ops, counter)

  def _blocks_grads_and_stats(self):
    """Returns the same as _blocks_and_grads, and makes `params_stats`."""
    if not self._compute_params_stats:
      return self._blocks_and_grads()
    mode, variables = self._estimation_mode, self.variables
    if not params_stats.are_of_sources(mode):
      self._params_stats = params_stats.exact(
          mode, self._layers, variables, self._colocate_gradients_with_ops,
          self._batch_size)
      return self._blocks_and_grads()
    blocks = self.blocks
    sources = self._sources([
        *[block.tensors_to_compute_grads() for block in blocks], variables])
    self._params_stats = params_stats.from_sources(
        [source[-1] for source in sources], self._batch_size)
    return _by_block(blocks, sources)

  def _make_factors(self):
    """Makes the factors from gradients, and registers what they keep."""
    layers = self._layers
    layers.create_subgraph()
    layers.check_registration(self.variables)
    damping = self.damping  # A function is called once.
    scalars.check_number("damping", damping, minimum=0.)
    self._damping = damping
    for block, grads_list in self._blocks_grads_and_stats():
      block.instantiate_factors(grads_list, damping)
      _name_factors(layers.fisher_blocks.layer_name(block), self.factors)
      for exp in self._exps:
        block.register_matpower(exp)
      if self._compute_cholesky:
        block.register_cholesky()
      if self._compute_cholesky_inverse:
        block.register_cholesky_inverse()
    self._made_factors = True

  def multiply_inverse(self, vecs_and_vars: hints.VecsAndVars) -> hints.Pairs:
    """Multiplies by (F + damping I)^-1.

    Args:
      vecs_and_vars: List of (vector, variable).

    Returns:
      List of (product, variable) in the same order.
    """
    return self.multiply_matpower(-1, vecs_and_vars)

  def multiply(self, vecs_and_vars: hints.VecsAndVars,
               damping_mult: hints.Scalar = 1.) -> hints.Pairs:
    """Multiplies by F + damping_mult damping I.

    Args:
      vecs_and_vars: List of (vector, variable).
      damping_mult: Scalar > 0, multiplies the damping.

    Returns:
      List of (product, variable) in the same order.
    """
    if scalars.is_one(damping_mult):
      return self.multiply_matpower(1, vecs_and_vars)
    return self._apply_transformation(
        vecs_and_vars, lambda block, vec: block.multiply(vec, damping_mult))

  def multiply_matpower(self, exp: float,
                        vecs_and_vars: hints.VecsAndVars) -> hints.Pairs:
    """Multiplies by (F + damping I)^exp.

    Args:
      exp: Number, one of `exps`, or 1.
      vecs_and_vars: List of (vector, variable).

    Returns:
      List of (product, variable) in the same order.

    Raises:
      ValueError: If `exp` was not prepared.
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
      ValueError: If it was not prepared.
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
      ValueError: If it was not prepared.
    """
    _check_prepared("compute_cholesky_inverse", self._compute_cholesky_inverse)
    return self._apply_transformation(
        vecs_and_vars,
        lambda block, vec: block.multiply_cholesky_inverse(vec, transpose))

  def _apply_transformation(self, vecs_and_vars, transform):
    """Applies a function of (block, vector) to all blocks.

    Args:
      vecs_and_vars: List of (vector, variable).
      transform: Function of a block and a vector shaped like its parameters.

    Returns:
      List of (result, variable) in the same order.

    Raises:
      ValueError: If the variables are not exactly the registered ones.
    """
    vecs_and_vars = list(vecs_and_vars)
    self.build()
    vecs = {variable: vec for vec, variable in vecs_and_vars}
    registered = set(self._layers.registered_variables)
    if set(vecs) != registered or len(vecs) != len(vecs_and_vars):
      raise ValueError(
          "vecs_and_vars must have each registered variable once, got "
          f"{[v.name for _, v in vecs_and_vars]}, "
          f"registered are {sorted(v.name for v in registered)}.")
    results: dict[Any, Any] = {}
    for params, block in self._layers.fisher_blocks.items():
      if isinstance(params, tuple) and len(params) == 1:
        results[params[0]] = transform(block, vecs[params[0]])
      elif isinstance(params, tuple):
        vec = tuple(vecs[variable] for variable in params)
        results.update(zip(params, transform(block, vec), strict=True))
      else:
        results[params] = transform(block, vecs[params])
    return [(results[variable], variable) for _, variable in vecs_and_vars]


class FisherEstimatorRoundRobin(placement.RoundRobinPlacementMixin,
                                FisherEstimator):
  """A FisherEstimator whose first arguments are the devices."""


__getattr__ = not_built.getter(
    __name__, "use FisherEstimatorRoundRobin, or register one tower for each "
    "device with reuse=True", ["FisherEstimatorReplicaRoundRobin"])


def _by_block(blocks, sources):
  """Returns pairs of a block and, for each source, its gradients."""
  return [(block, [source[index] for source in sources])
          for index, block in enumerate(blocks)]


def _check_prepared(argument, value):
  if not value:
    raise ValueError(f"{argument} must be True, got {value!r}.")


def _name_factors(layer, factors):
  """Gives names to the factors that a block made without them.

  They get the role "F", and numbers in the order in which they were made.

  Args:
    layer: Name of the block's layer; None if it is not registered.
    factors: All factors up to now.
  """
  for factor in factors:
    if layer is not None and not factor.is_named:
      factor.set_name(f"{layer}/F", {other.name for other in factors})
