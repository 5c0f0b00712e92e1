"""FullyConnectedMultiKF: A or G of a layer that is used several times.

Besides the covariance over examples and uses, the series approximations keep
the covariance C1 of consecutive uses (lag one) and matrices derived from both
(Martens, Ba & Johnson 2018, section 3.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_factors import covariance
from kfac.python.ops.fisher_factors import dense
from kfac.python.ops.fisher_factors import fully_connected
from kfac.python.ops.fisher_factors import matrix_functions
from kfac.python.ops.fisher_factors import moving_average
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.fisher_factors import variables
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import precision

# What each option keeps: the variables, as pairs of kind and rank, and the
# function that computes them.
_OPTIONS: dict[int, tuple[tuple[tuple[str, int], ...], Any]] = {
    1: ((("Lmat", 2), ("psi", 1)), matrix_functions.series_option1),
    2: ((("Pmat", 2), ("Kmat", 2), ("mu", 1)),
        matrix_functions.series_option2),
}

# Kinds that contrib.kfac named otherwise.
_CONTRIB_KINDS = {"Pmat": "Lmat"}


class FullyConnectedMultiKF(fully_connected.FullyConnectedKroneckerFactor):
  """Covariance over examples and uses, and optionally that of lag one."""

  def __init__(self, tensors: Any = None,
               num_uses: int | None = None, has_bias: bool = False, *,
               colocate_cov_ops_with_inputs: bool = False,
               tensor_lists: Sequence[Any] | None = None) -> None:
    """Initializes the factor of activations or of gradients.

    Args:
      tensors: For each source and tower a tensor [uses * batch, n], the uses
        one after the other.
      num_uses: Number of uses; needed for the covariance of lag one.
      has_bias: Whether a 1 is appended to each row.
      colocate_cov_ops_with_inputs: See FisherFactor.
      tensor_lists: Up to TensorFlow 1.7 instead of `tensors`: for each source
        a list over uses of tensors [batch, n].
    """
    if tensor_lists is not None:
      num_uses = len(tensor_lists[0])
      tensors = [[tf.concat(uses, 0)] for uses in tensor_lists]
    super().__init__(tensors, has_bias, colocate_cov_ops_with_inputs)
    self._num_uses = num_uses
    self._cov_dt1: tf.Variable | None = None
    self._average_dt1: moving_average.MovingAverage | None = None
    self._has_cov_dt1 = False
    # (option, damping id) -> damping function, and -> list of variables.
    self._options: dict[tuple[int, Any], hints.Thunk] = {}
    self._quants: dict[tuple[int, Any], list] = {}

  @property
  def _var_scope(self):
    return "ff_fc_multi_" + naming.scope_string_from_params(
        [self._tensors, self._num_uses, self._has_bias])

  def register_cov_dt1(self) -> None:
    """Announces the use of the lag-one covariance.

    Raises:
      ValueError: If the number of uses is unknown.
    """
    if self._num_uses is None:
      raise ValueError("num_uses must be given for a lag-one covariance, got "
                       "None.")
    self._has_cov_dt1 = True

  def get_cov_dt1(self) -> tf.Variable:
    """Returns the variable [n, n] of the lag-one covariance.

    Raises:
      AssertionError: If it was not registered.
    """
    assert self._has_cov_dt1, "register_cov_dt1 was not called."
    return self._cov_dt1

  @property
  def cov_dt1(self) -> tf.Variable:
    """Same as get_cov_dt1() (0.2.4)."""
    return self.get_cov_dt1()

  def get_cov_vars(self) -> list:
    """Returns the list of the variables of both covariances."""
    return super().get_cov_vars() + (
        [] if self._cov_dt1 is None else [self._cov_dt1])

  def _tower_batch_size(self, source, tower):
    return super()._tower_batch_size(source, tower) // (self._num_uses or 1)

  def instantiate_cov_variables(self) -> None:  # noqa: D102
    super().instantiate_cov_variables()
    if self._has_cov_dt1:
      with tf.variable_scope(self.name):
        self._cov_dt1 = variables.make_variable(
            "cov_dt1", self._cov_shape, self._dtype,
            tf.zeros_initializer())
        self._average_dt1 = moving_average.MovingAverage(
            self._cov_dt1, "cov_dt1")

  def make_covariance_update_op(  # noqa: D102
      self, ema_decay: hints.Scalar, ema_weight: hints.Scalar | None = None,
      data: Sequence[Any] | None = None) -> tf.Tensor:
    if self._average_dt1 is None:
      return super().make_covariance_update_op(ema_decay, ema_weight, data)
    statistic = self._statistic_of(data)
    new_cov = statistic._new_cov()
    # Both are of the same data: no element of C1 exceeds the diagonal of C0.
    finite = self._is_finite(new_cov)
    update = self._moving_average().update(
        new_cov, ema_decay, ema_weight, finite)
    update_dt1 = self._average_dt1.update(
        statistic._new_cov_dt1(), ema_decay, ema_weight, finite)
    with tf.control_dependencies([update_dt1]):
      return tf.identity(update)

  def _new_cov_dt1(self):
    """Returns the lag-one covariance of the data of all sources and towers."""
    return self._over_sources_and_towers(self._compute_new_cov_dt1)

  def _compute_new_cov(self, source, tower):
    return self._with_assumed_mean(covariance.compute_cov(
        precision.as_wide_tensor(self._tensors[source][tower]),
        has_bias=self._has_bias))

  def _compute_new_cov_dt1(self, source, tower):
    """Sum over uses of x_{t+1} x_t^T, over the number of all rows."""
    rows = precision.as_wide_tensor(self._tensors[source][tower])
    if self._has_bias:
      rows = covariance.append_homog(rows)
    num_rows = tf.shape(rows)[0]
    batch_size = num_rows // self._num_uses
    return self._with_assumed_mean(covariance.compute_cov(
        rows[batch_size:], rows[:num_rows - batch_size], normalizer=num_rows))

  def _register_option(self, option, damping):
    damping_func = naming.as_damping_func(damping)
    self.register_cov_dt1()
    self._options.setdefault(
        (option, naming.graph_func_to_id(damping_func)), damping_func)

  def register_option1quants(self, damping_func: hints.Damping | None = None, *,
                             damping: hints.Damping | None = None) -> None:
    """Announces the use of C0^-1/2 U and psi.

    Args:
      damping_func: As in register_matpower.
      damping: The same by its older name.
    """
    self._register_option(1, dense.either(damping_func, damping))

  def register_option2quants(self, damping_func: hints.Damping | None = None, *,
                             damping: hints.Damping | None = None) -> None:
    """Announces the use of P, K and mu.

    Args:
      damping_func: As in register_matpower.
      damping: The same by its older name.
    """
    self._register_option(2, dense.either(damping_func, damping))

  def instantiate_inv_variables(self) -> None:  # noqa: D102
    super().instantiate_inv_variables()
    size = self._cov_shape[0]
    names = iter(naming.kept_names(_kinds_and_damping_ids(
        self._options, naming.has_contrib_names())))
    with tf.variable_scope(self.name):
      for option, damping_id in self._options:
        self._quants[option, damping_id] = [
            variables.make_variable(
                next(names), rank * [size], self._dtype,
                tf.zeros_initializer())
            for _, rank in _OPTIONS[option][0]]

  @property
  def damping_funcs(self) -> list:
    """The different dampings of announced powers and quantities."""
    return super().damping_funcs + list(self._options.values())

  @property
  def kept_variables(self) -> list:
    """List of the variables of kept matrices and quantities."""
    return super().kept_variables + [
        variable for quants in self._quants.values() for variable in quants]

  @property
  def contrib_kept_names(self) -> list[str]:
    """List of contrib.kfac's names of `kept_variables`, below the scope."""
    return super().contrib_kept_names + [
        naming.contrib_kept_name(*pair)
        for pair in _kinds_and_damping_ids(self._quants, contrib=True)]

  def _keep(self, update):
    ops = super()._keep(update)
    if not self._options:
      return ops
    cov_dt1 = tf.convert_to_tensor(self._cov_dt1)  # One read, like update.cov.
    for (option, damping_id), damping_func in self._options.items():
      def compute(eigen, damping, option=option):
        return _OPTIONS[option][1](
            eigen, tf.cast(cov_dt1, damping.dtype), damping)

      ops += [update.assign(variable, kept) for variable, kept in zip(
          self._quants[option, damping_id],
          update.of_eigendecomp(compute, damping_func), strict=True)]
    return ops

  def _get_option(self, option, damping):
    key = (option, naming.graph_func_to_id(naming.as_damping_func(damping)))
    return [tf.convert_to_tensor(quant) for quant in self._quants[key]]

  def get_option1quants(self, damping_func: hints.Damping | None = None, *,
                        damping: hints.Damping | None = None) -> list:
    """Returns C0^-1/2 U [n, n] and psi [n] as of the last inverse update.

    Args:
      damping_func: As in register_matpower.
      damping: The same by its older name.

    Returns:
      List of two tensors.
    """
    return self._get_option(1, dense.either(damping_func, damping))

  def get_option2quants(self, damping_func: hints.Damping | None = None, *,
                        damping: hints.Damping | None = None) -> list:
    """Returns P [n, n], K [n, n] and mu [n] as of the last inverse update.

    Args:
      damping_func: As in register_matpower.
      damping: The same by its older name.

    Returns:
      List of three tensors.
    """
    return self._get_option(2, dense.either(damping_func, damping))


def _kinds_and_damping_ids(options, contrib):
  """Lists the kind and the damping id of each variable of options.

  Args:
    options: Sequence of (option, damping id).
    contrib: Whether kinds have contrib.kfac's names.
  """
  return [(_CONTRIB_KINDS.get(kind, kind) if contrib else kind, damping_id)
          for option, damping_id in options
          for kind, _ in _OPTIONS[option][0]]
