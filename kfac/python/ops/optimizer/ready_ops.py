"""The update ops of the factors, as attributes and methods of an optimizer."""

from __future__ import annotations

from typing import Any


def _of_estimator(name, doc) -> Any:
  return property(lambda self: getattr(self._fisher_est, name), doc=doc)


class ReadyOps:
  """Mixin of optimizers with a FisherEstimator `_fisher_est`.

  All of these are on one lazy build, see update_ops.py.
  """

  _asked_for_thunks = False

  cov_update_thunks = _of_estimator(
      "cov_update_thunks", "Functions that make the ops of cov_update_ops.")
  cov_update_ops = _of_estimator(
      "cov_update_ops", "The covariance update op of each factor.")
  cov_update_op = _of_estimator(
      "cov_update_op", "One op that updates all covariances.")
  inv_update_thunks = _of_estimator(
      "inv_update_thunks", "Functions that make the ops of inv_update_ops.")
  inv_update_ops = _of_estimator(
      "inv_update_ops", "The inverse update op of each factor.")
  inv_update_op = _of_estimator(
      "inv_update_op", "One op that updates all inverses.")
  inv_updates_dict = _of_estimator(
      "inv_updates_dict", "Inverse update ops by name.")

  def _ask_for_thunks(self):
    if self._asked_for_thunks:
      raise ValueError(
          "make_vars_and_create_op_thunks, create_ops_and_vars_thunks and "
          "make_ops_and_vars must be called once, one of them.")
    self._asked_for_thunks = True

  def make_vars_and_create_op_thunks(self) -> tuple[list, list]:
    """Makes the variables of the factors and returns thunks of their updates.

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
      Four lists of functions with one for each factor: they make its
      covariance variables, covariance update op, inverse variables and inverse
      update op, and are called in this order.

    Raises:
      ValueError: If thunks were asked for, or variables made, before.
    """
    self._ask_for_thunks()
    return self._fisher_est.create_ops_and_vars_thunks()

  def make_ops_and_vars(self) -> tuple:
    """Makes the variables of the factors and their updates (1.8).

    Returns:
      Covariance update ops, one op of them all, inverse update ops, one op of
      them all, and the thunks of both.

    Raises:
      ValueError: If thunks were asked for before.
    """
    self._ask_for_thunks()
    return self._fisher_est.make_ops_and_vars(scope=self.get_name())
