"""The update ops of all factors, on one lazy build.

Programs of different ages ask for them in different ways: as attributes right
after construction, as lists of thunks, or not at all. Whoever comes first has
everything built, and all get the same.
"""

import tensorflow.compat.v1 as tf


class UpdateOps:
  """Mixin of estimators that offers the update ops as lazy properties.

  Whoever makes thunks calls `_keep_thunks`; until then nothing is built.
  """

  _thunks = None
  _variable_thunks = ()

  def _keep_thunks(self, variable_thunks, cov_thunks, inv_thunks):
    self._variable_thunks = variable_thunks
    self._thunks = cov_thunks, inv_thunks

  def build(self, scope=None):
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

  def make_ops_and_vars(self, scope=None):
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

  @property
  def cov_update_thunks(self):
    """Functions that make the covariance update op of each factor."""
    return self.build()[0]

  @property
  def inv_update_thunks(self):
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
  def cov_update_ops(self):
    """The covariance update op of each factor."""
    return self._ops("cov_update_op", self.cov_update_thunks)[0]

  @property
  def cov_update_op(self):
    """One op that updates all covariances."""
    return self._ops("cov_update_op", self.cov_update_thunks)[1]

  @property
  def inv_update_ops(self):
    """The inverse update op of each factor."""
    return self._ops("inv_update_op", self.inv_update_thunks)[0]

  @property
  def inv_update_op(self):
    """One op that updates all inverses."""
    return self._ops("inv_update_op", self.inv_update_thunks)[1]

  @property
  def inv_updates_dict(self):
    """Inverse update ops by name, of factors that keep inverses (1.4, 1.5)."""
    return {op.name: op for op in self.inv_update_ops if op.control_inputs}
