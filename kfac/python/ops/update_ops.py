"""The update ops of all factors, on one lazy build.

Programs of different ages ask for them in different ways: as attributes right
after construction, as lists of thunks, or not at all. Whoever comes first has
everything built, and all get the same.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops import estimation_modes
from kfac.python.ops.fisher_factors import base
from kfac.python.ops.utils import hints


class UpdateOps:
  """Mixin of FisherEstimator that offers the update ops, most of them lazily.

  Whoever makes thunks calls `_keep_thunks`; until then nothing is built.
  """

  _thunks = None
  _variable_thunks = ()

  def _keep_thunks(self, variable_thunks, cov_thunks, inv_thunks):
    self._variable_thunks = variable_thunks
    self._thunks = cov_thunks, inv_thunks

  def build(self, scope: str | None = None) -> tuple[list, list]:
    """Makes all variables that do not exist yet.

    Args:
      scope: Variable scope; the estimator's name if None.

    Returns:
      Lists of covariance and of inverse update thunks.
    """
    if self._thunks is None:
      self._thunks = self.make_vars_and_create_op_thunks(scope=scope)
    for thunk in self._variable_thunks:
      thunk()
    return self._thunks

  def make_ops_and_vars(self, scope: str | None = None) -> tuple:
    """Makes all variables and update ops (1.8).

    Args:
      scope: Variable scope; the estimator's name if None.

    Returns:
      Covariance update ops, one op of them all, inverse update ops, one op of
      them all, and the lists of covariance and of inverse update thunks.
    """
    self.build(scope)
    return (self.cov_update_ops, self.cov_update_op, self.inv_update_ops,
            self.inv_update_op, self.cov_update_thunks, self.inv_update_thunks)

  def _blocks_and_grads(self):
    """Differentiates the losses, here and now.

    Returns:
      List of pairs: a block, and over sources the gradients by the tensors
      that it names.
    """
    blocks = self.blocks
    sources = estimation_modes.compute_gradients(
        self._estimation_mode, self._layers,
        [block.tensors_to_compute_grads() for block in blocks],
        self._colocate_gradients_with_ops)
    return [(block, [source[index] for source in sources])
            for index, block in enumerate(blocks)]

  def make_cov_update_op_in_branch(self) -> tf.Operation:
    """Makes an op that updates all covariances, by gradients of its own.

    `cov_update_op` and the thunks use gradients that were made at the build,
    outside of any control flow; in a branch of a tf.cond, these are computed
    even if it is not taken. This op has all of it in the branch in which it is
    made: sampled targets, backward pass and products. Such an op may be made
    in any number of branches. The inverse update thunks need nothing of the
    kind.

    Returns:
      Op.

    Raises:
      ValueError: If the factors have no variables yet.
    """
    if not self.made_vars():
      raise ValueError(
          "make_cov_update_op_in_branch must be called after build(), which "
          "makes the variables outside of the branch.")
    others = {}
    for block, grads_list in self._blocks_and_grads():
      others.update(stand_ins(block, grads_list, self._damping))
    _, thunks = self._cov_update_thunks_of(
        [others.get(factor, factor) for factor in self.factors])
    return tf.group(*[thunk() for thunk in thunks])

  @property
  def cov_update_thunks(self) -> list:
    """Functions that make the covariance update op of each factor."""
    return self.build()[0]

  @property
  def inv_update_thunks(self) -> list:
    """Functions that make the inverse update op of each factor."""
    return self.build()[1]

  def _ops(self, name, thunks):
    """Makes ops and one op of them all, named `name`, unless there are any."""
    made = self.__dict__.setdefault("_made_update_ops", {})
    if name not in made:
      ops = [thunk() for thunk in thunks]
      made[name] = ops, tf.group(*ops, name=name)
    return made[name]

  @property
  def cov_update_ops(self) -> list:
    """The covariance update op of each factor."""
    return self._ops("cov_update_op", self.cov_update_thunks)[0]

  @property
  def cov_update_op(self) -> tf.Operation:
    """One op that updates all covariances."""
    return self._ops("cov_update_op", self.cov_update_thunks)[1]

  @property
  def inv_update_ops(self) -> list:
    """The inverse update op of each factor."""
    return self._ops("inv_update_op", self.inv_update_thunks)[0]

  @property
  def inv_update_op(self) -> tf.Operation:
    """One op that updates all inverses."""
    return self._ops("inv_update_op", self.inv_update_thunks)[1]

  @property
  def inv_updates_dict(self) -> dict:
    """Inverse update ops by name, of factors that keep inverses (1.4, 1.5)."""
    return {op.name: op for op in self.inv_update_ops if op.control_inputs}


def stand_ins(block: Any, grads_list: Sequence[Any],
              damping: hints.Scalar) -> dict:
  """Makes factors like those of a block, of other gradients.

  A copy of the block makes them in the same way as it made its own. A factor
  that is nowhere in the block's attributes gets none.

  Args:
    block: FisherBlock with factors.
    grads_list: Gradients, as instantiate_factors takes them.
    damping: Scalar, as instantiate_factors takes it.

  Returns:
    Dict from the factors of the block to others, which share the variables
    of these but have the data of the new gradients.
  """
  double = copy.copy(block)
  for name, value in vars(block).items():
    if isinstance(value, (dict, list, set)):
      setattr(double, name, copy.copy(value))
  double._layer_collection = _NewFactors(block._layer_collection)
  double.instantiate_factors(grads_list, damping)
  made = {}
  for name, value in vars(block).items():
    old, new = _factors_in(value), _factors_in(getattr(double, name, None))
    if [type(factor) for factor in old] == [type(factor) for factor in new]:
      made.update(zip(old, new, strict=True))
    else:
      logging.warning(
          "%s of %s cannot be made of new gradients, so covariance updates in "
          "branches use those from outside.", name, type(block).__name__)
  return {old: old.with_data_of(new) for old, new in made.items()
          if old is not new}


class _NewFactors:
  """A LayerCollection that makes factors anew and keeps none."""

  def __init__(self, layer_collection):
    self._layer_collection = layer_collection

  def __getattr__(self, name):
    return getattr(self._layer_collection, name)

  def make_or_get_factor(self, cls, args):
    """Makes a factor."""
    return cls(*args)


def _factors_in(value):
  """Returns the list of the factors in nested lists, tuples and dicts."""
  if isinstance(value, base.FisherFactor):
    return [value]
  if isinstance(value, dict):
    value = list(value.values())
  if not isinstance(value, (list, tuple)):
    return []
  return [factor for item in value for factor in _factors_in(item)]
