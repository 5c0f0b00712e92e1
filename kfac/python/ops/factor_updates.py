"""FactorUpdates: the variables of all factors, and the ops that update them.

A covariance update reads: the data of a factor -> `factor.
make_covariance_update_op` -> the covariance -> its moving average.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops.fisher_factors import gradual_inverse
from kfac.python.ops.utils import devices
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import overriding
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import workers as workers_lib

Thunks = Sequence[hints.Thunk]


class FactorUpdates:
  """Creates the variables and the update ops of all factors, each once.

  The first access builds, outside of control flow and of control dependencies;
  every access returns the same ops.
  """

  def __init__(
      self, make_thunks: Callable[..., Any],
      cov_devices: hints.Devices | None = None,
      inv_devices: hints.Devices | None = None,
      workers: workers_lib.Workers = workers_lib.ALONE) -> None:
    """Builds nothing yet.

    Args:
      make_thunks: Function with a keyword `scope` that calls `adopt`, and
        returns lists of covariance and of inverse update thunks. `build` calls
        it unless `adopt` was called before.
      cov_devices: Names of devices that covariances and their updates are
        assigned to in turn, or None.
      inv_devices: The same for the inverse updates.
      workers: Workers, over which covariances are averaged.
    """
    self._make_thunks = make_thunks
    self._cov_devices = cov_devices
    self._inv_devices = inv_devices
    self._workers = workers
    self._factors: Sequence[Any] | None = None
    self._scope: str | None = None
    self._cov_ema_decay: Any = None
    self._created: list[_Once] = []
    self._variable_thunks: list[hints.Thunk] = []
    self._thunks: tuple[list, list] | None = None
    self._ops: dict[str, tuple[list, tf.Operation]] = {}
    # Inverse update thunks as `create` made them, and as `adopt` got them.
    self._own_inv_updates: list[hints.Thunk] = []
    self._inv_updates: list[hints.Thunk] = []
    self._gradual: dict[int, gradual_inverse.GradualInverse] = {}
    # Inverse update op of a factor -> the new values of its kept matrices.
    self._new_matrices: dict[tf.Operation, list] = {}

  def create(self, factors: Sequence[Any], scope: str,
             cov_ema_decay: hints.Scalar) -> tuple[list, list, list, list]:
    """Makes and adopts the thunks of the variables and updates of factors.

    Args:
      factors: Sequence of FisherFactor.
      scope: Variable scope of the factors.
      cov_ema_decay: Scalar in [0, 1), the decay of the moving averages.

    Returns:
      Four lists with a function per factor, without devices. They create its
      covariance variables, covariance update op, inverse variables and inverse
      update op.
    """
    self._factors, self._scope = factors, scope
    self._cov_ema_decay = cov_ema_decay
    cov_variables = [_Once(_scoped(scope, factor.instantiate_cov_variables))
                     for factor in factors]
    inv_variables = [_Once(_scoped(scope, factor.instantiate_inv_variables))
                     for factor in factors]
    self._created = cov_variables + inv_variables
    inv_updates = [
        _scoped(scope, functools.partial(self._update_inverses, index))
        for index in range(len(factors))]
    self._own_inv_updates = inv_updates
    thunks = cov_variables, self._cov_updates({}), inv_variables, inv_updates
    self.adopt(*thunks)
    return thunks

  def adopt(self, cov_variables: Thunks, cov_updates: Thunks,
            inv_variables: Thunks, inv_updates: Thunks) -> None:
    """Assigns devices to thunks, from which all variables and ops then come.

    Args:
      cov_variables: See `create`; as the other arguments.
      cov_updates: See `create`.
      inv_variables: See `create`.
      inv_updates: See `create`.
    """
    self._inv_updates = list(inv_updates)
    self._variable_thunks = (
        devices.assign(cov_variables, self._cov_devices) + list(inv_variables))
    self._thunks = (devices.assign(cov_updates, self._cov_devices),
                    devices.assign(inv_updates, self._inv_devices))

  def made_variables(self) -> bool:
    """Returns whether all variables of the factors exist."""
    return bool(self._created) and all(thunk.done for thunk in self._created)

  def build(self, scope: str | None = None) -> tuple[list, list]:
    """Creates all variables that do not exist yet.

    Args:
      scope: Variable scope, or None for that of `make_thunks`.

    Returns:
      Lists of covariance and of inverse update thunks.
    """
    with tf.init_scope():
      if self._thunks is None:
        # A placement strategy of a subclass may return thunks of its own.
        self._thunks = self._make_thunks(scope=scope)
      return self.make_variables()

  def make_variables(self) -> tuple[list, list]:
    """Does what `build` does, after `adopt`."""
    assert self._thunks is not None
    for thunk in self._variable_thunks:
      thunk()
    self._variable_thunks = []
    return self._thunks

  def make_ops_and_vars(self, scope: str | None = None) -> tuple:
    """Creates all variables and update ops (1.8).

    Args:
      scope: Variable scope, or None for that of `make_thunks`.

    Returns:
      Covariance update ops, one op of them all, inverse update ops, one op of
      them all, and the lists of covariance and of inverse update thunks.
    """
    self.build(scope)
    return (self.cov_update_ops, self.cov_update_op, self.inv_update_ops,
            self.inv_update_op, self.cov_update_thunks, self.inv_update_thunks)

  @property
  def cov_update_thunks(self) -> list:
    """Functions that make the covariance update of each factor, a tensor."""
    return self.build()[0]

  @property
  def inv_update_thunks(self) -> list:
    """Functions that make the inverse update op of each factor."""
    return self.build()[1]

  @property
  def cov_update_ops(self) -> list:
    """The new covariance of each factor, a tensor that runs its update."""
    return self._made("cov_update_op", self.cov_update_thunks)[0]

  @property
  def cov_update_op(self) -> tf.Operation:
    """One op that updates all covariances."""
    return self._made("cov_update_op", self.cov_update_thunks)[1]

  @property
  def inv_update_ops(self) -> list:
    """The inverse update op of each factor."""
    return self._made("inv_update_op", self.inv_update_thunks)[0]

  @property
  def inv_update_op(self) -> tf.Operation:
    """One op that updates all inverses."""
    return self._made("inv_update_op", self.inv_update_thunks)[1]

  @property
  def inv_updates(self) -> list:
    """The new value of each kept matrix, tensors that run its update."""
    return [new for op in self.inv_update_ops
            for new in self._new_matrices.get(op, [op])]

  def _update_inverses(self, index):
    """Makes the op that updates all kept matrices of a factor."""
    assert self._factors is not None
    new_matrices = self._workers.share(self._factors, index)
    op = tf.group(*new_matrices)
    self._new_matrices[op] = new_matrices
    return op

  def can_be_gradual(self, index: int) -> bool:
    """Whether the inverse of a factor can be computed in parts.

    Args:
      index: Index of the factor.

    Returns:
      Boolean; see gradual_inverse.is_possible. False also if a subclass updates
      the inverse by a function of its own.
    """
    self.build()
    assert self._factors is not None
    return (self._inv_updates[index:index + 1]
            == self._own_inv_updates[index:index + 1]
            and gradual_inverse.is_possible(self._factors[index]))

  def gradual_inv_thunks(
      self, index: int, num_parts: int) -> tuple[hints.Thunk, hints.Thunk]:
    """Creates the variables of a gradual inverse, once, and its thunks.

    Args:
      index: Index of a factor that `can_be_gradual`.
      num_parts: Int >= 1, the number of runs that one inverse takes.

    Returns:
      Functions that make the op of the next part, and the op that gives up an
      inverse that is under way.
    """
    self.build()
    assert self._factors is not None
    if index not in self._gradual:
      with tf.init_scope():
        self._gradual[index] = gradual_inverse.GradualInverse(
            self._factors[index])
    inverse = self._gradual[index]
    thunks = [
        _scoped(self._scope, functools.partial(self._workers.update, function))
        for function in (functools.partial(inverse.make_update_op, num_parts),
                         inverse.make_restart_op)]
    if self._inv_devices is not None:
      device = self._inv_devices[index % len(self._inv_devices)]
      thunks = devices.assign(thunks, [device])
    return thunks[0], thunks[1]

  def _made(self, name, thunks):
    """Returns the ops of thunks, and their group `name`, made once."""
    if name not in self._ops:
      with tf.init_scope():
        ops = [thunk() for thunk in thunks]
        self._ops[name] = ops, tf.group(*ops, name=name)
    return self._ops[name]

  def make_cov_update_op(
      self, blocks_and_grads: Sequence[tuple[Any, Sequence[Any]]]
  ) -> tf.Operation:
    """Makes an op that updates all covariances, given other gradients.

    Args:
      blocks_and_grads: Pairs of a block and a `grads_list`, as
        `FisherBlock.instantiate_factors` takes it.

    Returns:
      Op.
    """
    data = {factor: args for block, grads_list in blocks_and_grads
            for factor, args in factor_data(block, grads_list)}
    assert self._factors is not None
    without = sum(factor not in data for factor in self._factors)
    if without:
      logging.warning(
          "%d of %d factors get their data from outside of the branch, so the "
          "backward pass runs even if the covariance update is skipped; blocks "
          "that define factor_data avoid this.", without, len(self._factors))
    thunks = devices.assign(self._cov_updates(data), self._cov_devices)
    return tf.group(*[thunk() for thunk in thunks])

  def _cov_updates(self, data):
    """Returns covariance update thunks of all factors.

    Args:
      data: Dict from factors to their data, if not the constructor's.
    """
    assert self._factors is not None
    return [
        _scoped(self._scope, functools.partial(
            self._update_covariance, functools.partial(
                factor.make_covariance_update_op, self._cov_ema_decay,
                **({"data": data[factor]} if factor in data else {}))))
        for factor in self._factors]

  def _update_covariance(self, make_op):
    """Makes the covariance update of a factor, for the batch of all workers."""
    with self._workers.building():
      return self._workers.update(make_op)


def factor_data(block: Any, grads_list: Sequence[Any]) -> list:
  """Returns the data of a block's factors for other gradients.

  Args:
    block: FisherBlock with factors.
    grads_list: As `FisherBlock.instantiate_factors` takes it.

  Returns:
    What `block.factor_data` returns; or nothing if a subclass redefines
    `instantiate_factors` alone, so that its factors may have other data.
  """
  if overriding.definer(block, "factor_data") is not overriding.definer(
      block, "instantiate_factors"):
    return []
  return block.factor_data(grads_list)


class _Once:
  """A function that runs the first time it is called.

  Attributes:
    done: Whether it ran.
  """

  def __init__(self, function):
    self._function = function
    self.done = False

  def __call__(self):
    if not self.done:
      self.done = True
      with tf.init_scope():
        self._function()


def _scoped(scope, function):
  """Returns a function that runs another one in a plain variable scope."""
  def scoped():
    # Also the variables of a user's factor get no settings from the model's
    # scope.
    with tf.variable_scope(scope), plain_variables.no_scope_settings():
      return function()
  return scoped
