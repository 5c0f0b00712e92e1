"""FisherFactor: one statistic, its covariance and that one's moving average.

Data come as `data[source][tower]`: a source is one backward pass (there are
several only in the estimation mode "exact"), a tower a part of the batch.
The covariances of sources add up, those of towers are averaged.
"""

from __future__ import annotations

import abc
import copy
import inspect
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import utils
from kfac.python.ops.fisher_factors import contrib_aliases
from kfac.python.ops.fisher_factors import covariance
from kfac.python.ops.fisher_factors import moving_average
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints


def as_towers(data: Any) -> tuple:
  """Returns a list of towers as a tuple; a bare tensor is one tower."""
  return tuple(data) if isinstance(data, (list, tuple)) else (data,)


def as_sources(data: Any) -> tuple:
  """Returns sources of towers as tuples; a bare tensor is one of both."""
  return tuple(as_towers(source) for source in as_towers(data))


def _holds_tensors(value):
  """True for tensors, and nested lists, tuples and dicts with one in them."""
  if isinstance(value, dict):
    value = list(value.values())
  if isinstance(value, (list, tuple)):
    return any(_holds_tensors(item) for item in value)
  return tf.is_tensor(value) or isinstance(value, utils.PartitionedTensor)


class FisherFactor(contrib_aliases.OldNames, abc.ABC):
  """A statistic of the data of a layer, e.g. A or G.

  A subclass sets `_data[source][tower]` in its constructor and says what its
  scope (`_var_scope`), the shape of its covariance (`_cov_shape`) and the new
  covariance of one source and tower (`_compute_new_cov`) are. One that keeps
  its data otherwise defines `_num_sources` and `_dtype` too, and if there are
  several towers `_num_towers`.
  """

  def __init__(self, colocate_cov_ops_with_inputs: bool = False) -> None:
    """Starts a factor without data or variables.

    Args:
      colocate_cov_ops_with_inputs: Whether covariances are computed beside
        the data even if these have no device of their own.
    """
    self._colocate_cov_ops_with_inputs = colocate_cov_ops_with_inputs
    self._data = ((),)
    self._cov = None
    self._average = None

  @property
  def name(self) -> str:
    """The factor's variable scope, below that of the estimator."""
    return self._var_scope

  @property
  @abc.abstractmethod
  def _var_scope(self):
    """Name of the scope of the factor's variables, unlike any other's."""

  @property
  @abc.abstractmethod
  def _cov_shape(self):
    """Shape in which the covariance is stored."""

  @abc.abstractmethod
  def _compute_new_cov(self, source, tower):
    """Returns the covariance of the data of one source and tower."""

  @property
  def _num_sources(self):
    return len(self._data)

  @property
  def _num_towers(self):
    return len(self._data[0]) or 1  # data that only the subclass knows

  @property
  def _dtype(self):
    return self._data[0][0].dtype.base_dtype

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
    return moving_average.covariance_initializer

  def instantiate_cov_variables(self) -> None:
    """Makes the covariance and what its moving average needs.

    Raises:
      ValueError: If they exist already.
    """
    if self._cov is not None:
      raise ValueError(
          "instantiate_cov_variables must be called once, factor "
          f"{self.name!r} has its "
          "variables.")
    with tf.variable_scope(self._var_scope):
      self._cov = moving_average.make_variable(
          "cov", self._cov_shape, self._dtype, self._cov_initializer)
      self._average = moving_average.MovingAverage(self._cov, "cov")

  def make_covariance_update_op(
      self, ema_decay: hints.Scalar,
      ema_weight: hints.Scalar | None = None) -> tf.Operation:
    """Makes the op that averages the covariance of the present data in.

    Args:
      ema_decay: Scalar in [0, 1), the weight of the past.
      ema_weight: Scalar, the weight of the present; 1 - ema_decay if None.

    Returns:
      Op.
    """
    return self._moving_average().update(
        self._over_sources_and_towers(self._compute_new_cov),
        ema_decay, ema_weight)

  def _moving_average(self):
    """The moving average of `_cov`, also of one that a subclass has put there.

    Returns:
      A MovingAverage.
    """
    if self._average is None or self._average.variable is not self._cov:
      with tf.variable_scope(self._var_scope):
        self._average = moving_average.MovingAverage(self._cov, "cov")
    return self._average

  def with_data_of(self, other: FisherFactor) -> FisherFactor:
    """Makes a factor with these variables and the data of another one.

    Data are the attributes of `other` that hold tensors.

    Args:
      other: Factor of the same class that was just made, without variables.

    Returns:
      FisherFactor; its covariance update updates the variables of this one.
    """
    double = copy.copy(self)
    if self._cov is not None:
      double._average = self._moving_average()
    for name, value in vars(other).items():
      if _holds_tensors(value):
        setattr(double, name, value)
    return double

  def _over_sources_and_towers(self, statistic):
    """Sums a statistic over sources and averages it over towers.

    Args:
      statistic: Function of (source, tower), or as before TensorFlow 1.8 of
        the source alone; returns a tensor.

    Returns:
      Tensor.
    """
    by_tower = len(inspect.signature(statistic).parameters) > 1
    sources = []
    for source in range(self._num_sources):
      towers = []
      for tower in range(self._num_towers):
        with self._place_beside_data(tower):
          towers.append(statistic(source, tower) if by_tower
                        else statistic(source))
      sources.append(tf.add_n(towers) / len(towers) if len(towers) > 1
                     else towers[0])
    total = tf.add_n(sources) if len(sources) > 1 else sources[0]
    return utils.cross_replica_mean(total) if utils.on_tpu() else total

  def get_cov(self) -> tf.Variable:
    """Returns the variable that holds the (averaged) covariance."""
    return self._cov

  @abc.abstractmethod
  def get_cov_as_linear_operator(self) -> tf.linalg.LinearOperator:
    """Returns the covariance as a LinearOperator [n, n]."""

  @abc.abstractmethod
  def instantiate_inv_variables(self) -> None:
    """Makes the variables of all matrices that were registered."""

  @abc.abstractmethod
  def make_inverse_update_ops(self) -> list:
    """Makes the ops that compute the kept matrices from the covariance.

    Returns:
      List of ops.
    """

  @abc.abstractmethod
  def register_matpower(self, exp: float, damping_func: hints.Damping) -> None:
    """Announces that (C + damping I)^exp will be wanted.

    Args:
      exp: Number.
      damping_func: Function with a func_id that returns the damping, or the
        damping itself.
    """

  @abc.abstractmethod
  def register_cholesky(self, damping_func: hints.Damping) -> None:
    """Announces that L with L L^T = C + damping I will be wanted.

    Args:
      damping_func: As in register_matpower.
    """

  @abc.abstractmethod
  def register_cholesky_inverse(self, damping_func: hints.Damping) -> None:
    """Announces that L^-1 will be wanted.

    Args:
      damping_func: As in register_matpower.
    """

  @abc.abstractmethod
  def get_matpower(self, exp: float,
                   damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    """Returns (C + damping I)^exp as it was at the last inverse update.

    Args:
      exp: Number. With 1, the present covariance is used.
      damping_func: As in register_matpower.

    Returns:
      LinearOperator [n, n].

    Raises:
      KeyError: If a dense factor was not told by register_matpower.
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
