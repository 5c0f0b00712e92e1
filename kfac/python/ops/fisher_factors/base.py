"""FisherFactor: one statistic, its covariance and the moving average of that.

The data are `data[source][tower]`: a source is one backward pass (only the
estimation mode "exact" has several), a tower is a part of the batch. The
covariances of sources are added, those of towers are averaged.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_factors import contrib_aliases
from kfac.python.ops.fisher_factors import covariance
from kfac.python.ops.fisher_factors import moving_average
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.fisher_factors import variables
from kfac.python.ops.utils import bad_numbers
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import workers


def as_towers(data: Any) -> tuple:
  """Returns towers as a tuple; a bare tensor is one tower."""
  return tuple(data) if isinstance(data, (list, tuple)) else (data,)


def as_sources(data: Any) -> tuple:
  """Returns sources of towers as tuples; a bare tensor is one of each."""
  return tuple(as_towers(source) for source in as_towers(data))


class FisherFactor(abc.ABC):
  """A statistic of the data of a layer, such as A or G.

  A subclass sets `_data[source][tower]` in its constructor and defines its
  contrib name (`_var_scope`), the shape of its covariance (`_cov_shape`) and
  the covariance of the data of one source and tower (`_compute_new_cov`). A
  subclass that keeps its data elsewhere also defines `_num_sources` and
  `_dtype`, and `_num_towers` if there are several towers.
  """

  def __init__(self, colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes a factor without data or variables.

    Args:
      colocate_cov_ops_with_inputs: Whether covariances are colocated with the
        data even if the data have no explicit device.
    """
    self._colocate_cov_ops_with_inputs = colocate_cov_ops_with_inputs
    self._data: Sequence[Sequence[Any]] = ((),)
    self._cov: Any = None
    self._average: moving_average.MovingAverage | None = None

  _scope_suffix = ""
  _name: str | None = None

  @property
  def name(self) -> str:
    """The variable scope of the factor, relative to that of the estimator.

    It is the contrib name unless a LayerCollection named the factor.
    """
    return self.contrib_name if self._name is None else self._name

  @property
  def contrib_name(self) -> str:
    """The name that contrib.kfac gave to the variable scope."""
    return self._var_scope + self._scope_suffix

  @property
  def is_named(self) -> bool:
    """Whether the factor has another name than its contrib name."""
    return self._name is not None

  def make_name_unique(self, names: set[str]) -> None:
    """Appends a number to the contrib name if another factor has it.

    Args:
      names: The names of other factors, to which the name is added.
    """
    unique = plain_variables.unique_name(self._var_scope, names)
    self._scope_suffix = unique[len(self._var_scope):]

  def set_name(self, name: str, names: set[str]) -> None:
    """Names the factor, before its variables exist.

    It has no effect with CONTRIB_VARIABLES.

    Args:
      name: Name. A number is appended if another factor has it.
      names: The names of other factors, to which the name is added.
    """
    if not naming.has_contrib_names():
      self._name = plain_variables.unique_name(name, names)

  @property
  def kept_variables(self) -> list:
    """List of the variables of kept matrices."""
    return []

  @property
  def contrib_kept_names(self) -> list[str]:
    """List of contrib.kfac's names of `kept_variables`, below the scope."""
    return []

  @property
  def damping_funcs(self) -> list:
    """The different dampings of announced powers, as functions."""
    return []

  @property
  def num_updates(self) -> Any:
    """Variable [], the number of covariance updates; None if not counted."""
    return None if self._average is None else self._average.num_updates

  @property
  def num_skipped_updates(self) -> Any:
    """Variable [], the number of skipped updates; None if not counted."""
    return None if self._average is None else self._average.num_skipped

  # Variable [], the number of covariance updates that the kept matrices
  # contain; None if the factor keeps none, or if updates are not counted.
  num_updates_kept: Any = None

  @property
  @abc.abstractmethod
  def _var_scope(self):
    """The unique name that contrib.kfac gives to the variable scope."""

  @property
  @abc.abstractmethod
  def _cov_shape(self):
    """The shape in which the covariance is stored."""

  @abc.abstractmethod
  def _compute_new_cov(self, source, tower):
    """Returns the covariance of the data of one source and tower."""

  @property
  def _num_sources(self):
    return len(self._data)

  @property
  def _num_towers(self):
    return len(self._data[0]) or 1  # The data may be elsewhere.

  @property
  def _dtype(self):
    return precision.wide_dtype(self._data[0][0].dtype)

  def _get_data_device(self, tower):
    return self._data[0][tower].device if self._data[0] else None

  def _place_beside_data(self, tower):
    if self._colocate_cov_ops_with_inputs:
      return tf.colocate_with(tf.convert_to_tensor(self._data[0][tower]))
    if not constants.read("fisher_factors", "COLOCATE_COV_OPS_WITH_INPUTS"):
      return covariance.place_on_device(None)
    return covariance.place_on_device(self._get_data_device(tower))

  @property
  def _cov_initializer(self):
    return variables.covariance_initializer

  def instantiate_cov_variables(self) -> None:
    """Creates the variables of the covariance and of its moving average.

    Raises:
      ValueError: If they exist already.
    """
    if self._cov is not None:
      raise ValueError(
          "instantiate_cov_variables must be called once, factor "
          f"{self.name!r} has its variables.")
    with tf.variable_scope(self.name):
      self._cov = variables.make_variable(
          "cov", self._cov_shape, self._dtype, self._cov_initializer)
      self._average = moving_average.MovingAverage(self._cov, "cov")

  def make_covariance_update_op(
      self, ema_decay: hints.Scalar, ema_weight: hints.Scalar | None = None,
      data: Sequence[Any] | None = None) -> tf.Tensor:
    """Makes the op that includes the covariance of data in the average.

    Args:
      ema_decay: Scalar in [0, 1), the weight of the past.
      ema_weight: Scalar, the weight of the new covariance; 1 - ema_decay if
        None.
      data: Arguments of the constructor with other tensors, as
        `FisherBlock.factor_data` returns them; None for the constructor's own.

    Returns:
      Tensor, the new covariance, read after the update. A covariance of the
      data that is not finite is skipped.
    """
    new_cov = self._statistic_of(data)._new_cov()
    return self._moving_average().update(
        new_cov, ema_decay, ema_weight, self._is_finite(new_cov))

  def _is_finite(self, new_cov):
    """Returns whether a covariance is finite, boolean tensor []."""
    return bad_numbers.is_finite(new_cov)

  def _statistic_of(self, data):
    """Returns a factor of this class with other data, and without variables."""
    return self if data is None else type(self)(*data)

  def _new_cov(self):
    """Returns the covariance of the data of all sources and towers."""
    return self._over_sources_and_towers(
        lambda source, tower: precision.as_wide_tensor(
            contrib_aliases.compute_new_cov(self, source, tower)))

  def _moving_average(self):
    """Returns the moving average of `_cov`, which a subclass may have set."""
    if self._average is None or self._average.variable is not self._cov:
      with tf.variable_scope(self.name):
        self._average = moving_average.MovingAverage(self._cov, "cov")
    return self._average

  def _over_sources_and_towers(
      self, statistic: Callable[[int, int], Any]) -> tf.Tensor:
    """Sums a statistic over sources and averages it over towers.

    Args:
      statistic: Function of (source, tower) that returns a tensor.

    Returns:
      Tensor.
    """
    sources = []
    for source in range(self._num_sources):
      towers = []
      for tower in range(self._num_towers):
        with self._place_beside_data(tower):
          towers.append(statistic(source, tower))
      sources.append(tf.add_n(towers) / len(towers) if len(towers) > 1
                     else towers[0])
    total = tf.add_n(sources) if len(sources) > 1 else sources[0]
    return self._over_workers(
        utils.cross_replica_mean(total) if utils.on_tpu() else total)

  def _over_workers(self, statistic):
    """Returns the mean of a statistic over the workers."""
    return workers.current().mean([statistic], "covariance")[0]

  def _read_cov(self):
    """Returns whether there ever was a covariance, and the covariance."""
    if self._average is None or self._average.variable is not self._cov:
      is_known = moving_average.is_assigned(self.get_cov())
    else:
      is_known = self._average.is_known()
    with tf.control_dependencies([is_known]):
      return is_known, tf.identity(self.get_cov())

  def get_cov(self) -> tf.Variable:
    """Returns the variable that holds the moving average of the covariance."""
    return self._cov

  @property
  def cov(self) -> tf.Variable:
    """Same as get_cov() (0.2.4)."""
    return self.get_cov()

  def get_cov_vars(self) -> list:
    """Returns the list of the variables of covariances, empty without any."""
    return [] if self.get_cov() is None else [self.get_cov()]

  def get_inv_vars(self) -> list:
    """Returns the list of the variables of kept matrices."""
    return self.kept_variables

  def batch_size(self, source: int = 0) -> Any:
    """Returns the number of examples of all towers.

    Args:
      source: Index of the source whose data are counted.

    Returns:
      Int; a scalar tensor if it is unknown before the session.
    """
    return sum(self._tower_batch_size(source, tower)
               for tower in range(self._num_towers))

  def check_partial_batch_sizes(self) -> tf.Operation:
    """Makes the op that fails unless all towers have as many examples.

    The covariances of towers are averaged with equal weights. With towers of
    different sizes, examples therefore have different weights.

    Returns:
      Operation.

    Raises:
      ValueError: If sizes that are known differ.
    """
    sizes = [self._tower_batch_size(0, tower)
             for tower in range(self._num_towers)]
    known = {size for size in sizes if isinstance(size, int)}
    if len(known) > 1:
      raise ValueError(
          f"towers must have the same number of examples, got {sizes}.")
    return tf.group(*[
        tf.debugging.assert_equal(
            size, sizes[0], message="towers must have the same number of "
            "examples")
        for size in sizes[1:] if not (known and isinstance(size, int)
                                      and isinstance(sizes[0], int))])

  def _tower_batch_size(self, source, tower):
    """Returns the number of examples of a tower, an int or scalar tensor."""
    if not self._data[0]:
      raise NotImplementedError(
          f"{type(self).__name__} must define _tower_batch_size(source, "
          "tower).")
    data = self._data[source][tower]
    parts = getattr(data, "tensors", [data])
    return sum(tf.compat.dimension_value(part.shape[0]) or tf.shape(part)[0]
               for part in parts)

  @abc.abstractmethod
  def get_cov_as_linear_operator(self) -> tf.linalg.LinearOperator:
    """Returns the covariance as a LinearOperator [n, n]."""

  @abc.abstractmethod
  def instantiate_inv_variables(self) -> None:
    """Creates a variable for each matrix that was registered."""

  @abc.abstractmethod
  def make_inverse_update_ops(self) -> list:
    """Makes the ops that compute the kept matrices from the covariance.

    Returns:
      List of tensors, the new matrices, read after the update.
    """

  @abc.abstractmethod
  def register_matpower(self, exp: float, damping_func: hints.Damping) -> None:
    """Announces the use of (C + damping I)^exp.

    Args:
      exp: Number.
      damping_func: Function with a func_id that returns the damping, or the
        damping itself.
    """

  @abc.abstractmethod
  def register_cholesky(self, damping_func: hints.Damping) -> None:
    """Announces the use of L with L L^T = C + damping I.

    Args:
      damping_func: As in register_matpower.
    """

  @abc.abstractmethod
  def register_cholesky_inverse(self, damping_func: hints.Damping) -> None:
    """Announces the use of L^-1.

    Args:
      damping_func: As in register_matpower.
    """

  @abc.abstractmethod
  def get_matpower(self, exp: float,
                   damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    """Returns (C + damping I)^exp as of the last inverse update.

    Args:
      exp: Number. For 1, the present covariance is used.
      damping_func: As in register_matpower.

    Returns:
      LinearOperator [n, n].

    Raises:
      KeyError: If a dense factor keeps no such power, see
        register_matpower.
    """

  @abc.abstractmethod
  def get_cholesky(self,
                   damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    """Returns L with L L^T = C + damping I.

    Args:
      damping_func: As in register_matpower.

    Returns:
      LinearOperator [n, n].
    """

  @abc.abstractmethod
  def get_cholesky_inverse(
      self, damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    """Returns L^-1.

    Args:
      damping_func: As in register_matpower.

    Returns:
      LinearOperator [n, n].
    """

  # Names of TensorFlow 1.4 to 1.8.
  instantiate_covariance = contrib_aliases.instantiate_covariance
  get_cov_var = contrib_aliases.get_cov_var
  register_damped_inverse = contrib_aliases.register_damped_inverse
  left_multiply_matpower = contrib_aliases.left_multiply_matpower
  right_multiply_matpower = contrib_aliases.right_multiply_matpower
  left_multiply = contrib_aliases.left_multiply
  right_multiply = contrib_aliases.right_multiply
  left_multiply_inverse = contrib_aliases.left_multiply_inverse
  right_multiply_inverse = contrib_aliases.right_multiply_inverse
