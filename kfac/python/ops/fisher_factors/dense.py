"""DenseSquareMatrixFactor: a dense covariance and the matrices kept of it."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from kfac.python.ops import linear_operator as lo
from kfac.python.ops.fisher_factors import base
from kfac.python.ops.fisher_factors import matrix_functions
from kfac.python.ops.fisher_factors import naming
from kfac.python.ops.fisher_factors import retries
from kfac.python.ops.fisher_factors import variables
from kfac.python.ops.utils import bad_numbers
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


class Kept(NamedTuple):
  """A matrix to keep.

  Attributes:
    value: Tensor.
    good: Whether it is finite and accurate, boolean tensor []. If not, the
      matrix that is kept so far stays.
  """

  value: tf.Tensor
  good: tf.Tensor


class InverseUpdate:
  """One inverse update: the intermediate results that kept matrices share.

  The covariance is read once, so that all kept matrices belong to the same
  covariance even if the same session.run also updates it.

  Attributes:
    factor: The DenseSquareMatrixFactor.
    cov: Its covariance, tensor [n, n].
    is_known: Whether the covariance was ever updated, boolean tensor [].
    num_updates: The number of covariance updates that `cov` contains, tensor
      []; None if the factor does not keep it.
  """

  def __init__(self, factor: Any) -> None:
    self.factor = factor
    # Read before the covariance, which then contains at least so many.
    self.num_updates = (None if factor.num_updates_kept is None
                         else tf.identity(factor.num_updates))
    with tf.control_dependencies([] if self.num_updates is None
                                 else [self.num_updates]):
      self.is_known, self.cov = factor._read_cov()
    self._good: list[tf.Tensor] = []
    self._dampings: dict[Any, tf.Tensor] = {}
    self._choleskys: dict[Any, Kept] = {}

  def assign(self, variable: tf.Variable, kept: Kept) -> tf.Tensor:
    """Makes the op that keeps a matrix, provided that there is a covariance.

    One session.run may execute the covariance updates, the inverse updates and
    the step in any order. With the inverse of a covariance that was never
    updated, the first step would be the gradient divided by the damping.

    Args:
      variable: Variable that keeps the value.
      kept: The matrix.

    Returns:
      Tensor, the variable after the update, which does not change it if the
      covariance is unknown or the matrix is not good.

    Raises:
      tf.errors.InvalidArgumentError: In the session, if the matrix is not good
        and ON_BAD_NUMBERS is "raise".
    """
    good = bad_numbers.checked(
        tf.logical_or(kept.good, tf.logical_not(self.is_known)),
        f"{variable.op.name} was not updated, since it is not finite")
    self._good.append(good)
    return tf.convert_to_tensor(tf.assign(variable, tf.where_v2(
        tf.logical_and(self.is_known, good), kept.value, variable)))

  def with_count(self, matrices: list) -> list:
    """Stores how many covariance updates the kept matrices contain.

    If one of them is not good, the number stays, too.

    Args:
      matrices: List of tensors, the matrices after the update.

    Returns:
      List of the same tensors, which wait until the number is stored.
    """
    if self.num_updates is None:
      return matrices
    store = self.assign(self.factor.num_updates_kept, Kept(
        self.num_updates, tf.reduce_all(self._good)))
    with tf.control_dependencies([store]):
      return [tf.identity(matrix) for matrix in matrices]

  def damping(self, damping_func: hints.Thunk) -> tf.Tensor:
    """Returns the damping as a tensor of the factor's dtype."""
    key = naming.graph_func_to_id(damping_func)
    if key not in self._dampings:
      self._dampings[key] = scalars.cast_scalar(damping_func(), self.cov.dtype)
    return self._dampings[key]

  def eigendecomp(self) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns eigenvalues [n] and Q [n, n]."""
    return self.factor.get_eigendecomp(self.cov)

  def of_eigendecomp(self, function: Callable[..., Sequence[tf.Tensor]],
                     damping_func: hints.Thunk) -> list:
    """Computes matrices to keep from the eigendecomposition.

    Args:
      function: Function of the eigendecomposition and the damping that returns
        a list of tensors.
      damping_func: Function that returns the damping.

    Returns:
      List of Kept.
    """
    values, good = retries.retried(
        lambda _, damping: function(self.eigendecomp(), damping),
        lambda cov, damping: function(
            matrix_functions.eigendecomposition(cov), damping),
        _are_finite, self.cov, self.damping(damping_func))
    return [Kept(value, good) for value in values]

  def cholesky(self, damping_func: hints.Thunk) -> Kept:
    """Returns L [n, n]."""
    key = naming.graph_func_to_id(damping_func)
    if key not in self._choleskys:
      def compute(cov, damping):
        return [matrix_functions.cholesky(cov, damping)]

      (value,), good = retries.retried(
          compute, compute, _are_finite, self.cov, self.damping(damping_func))
      self._choleskys[key] = Kept(value, good)
    return self._choleskys[key]

  def cholesky_inverse(self, damping_func: hints.Thunk) -> Kept:
    """Returns L^-1 [n, n]."""
    value, good = self.cholesky(damping_func)
    inverse = matrix_functions.triangular_inverse(value)
    return Kept(inverse, tf.logical_and(good, bad_numbers.is_finite(inverse)))

  def matpower(self, exp: float, damping_func: hints.Thunk) -> Kept:
    """Returns (C + damping I)^exp [n, n]."""
    if self.factor.needs_eigendecomp():
      return self.of_eigendecomp(
          lambda eigen, damping: [
              matrix_functions.matpower(eigen, exp, damping)],
          damping_func)[0]
    (value,), good = retries.retried(
        lambda *args: [matrix_functions.inverse(*args)],
        lambda *args: [matrix_functions.careful_inverse(*args)],
        lambda cov, damping, values: matrix_functions.is_inverse(
            cov, damping, values[0]),
        self.cov, self.damping(damping_func))
    return Kept(value, good)


def _are_finite(cov, damping, values):
  del cov, damping
  return tf.reduce_all([bad_numbers.is_finite(value) for value in values])


# The matrices that a factor can keep: the kind, which names the variable, and
# the function that computes it. `key` is (exp, damping id) for powers,
# otherwise (damping id,).
Quantity = collections.namedtuple("Quantity", ["kind", "compute"])

QUANTITIES = {
    "matpower": Quantity(
        "matpower_exp{}",
        lambda update, key, damping: update.matpower(key[0], damping)),
    "cholesky": Quantity(
        "cholesky",
        lambda update, key, damping: update.cholesky(damping)),
    "cholesky_inverse": Quantity(
        "cholesky_inverse",
        lambda update, key, damping: update.cholesky_inverse(damping)),
}


class DenseSquareMatrixFactor(base.FisherFactor):
  """A dense covariance [n, n].

  Powers and Cholesky factors are registered first, then their variables are
  created. An inverse update computes all of them from one covariance.
  """

  def __init__(self, colocate_cov_ops_with_inputs: bool = False) -> None:
    """Initializes a factor that keeps no matrices, see FisherFactor."""
    super().__init__(colocate_cov_ops_with_inputs)
    # Variables by (exp, damping id), and by (damping id,).
    self._matpower_by_exp_and_damping: dict[Any, Any] = (
        collections.OrderedDict())
    self._kept: dict[str, dict[Any, Any]] = {
        "matpower": self._matpower_by_exp_and_damping,
        "cholesky": collections.OrderedDict(),
        "cholesky_inverse": collections.OrderedDict(),
    }
    self._registered: dict[tuple[str, Any], hints.Thunk] = (
        collections.OrderedDict())
    self._eigendecomp: tuple[tf.Tensor, tf.Tensor] | None = None

  def _is_finite(self, new_cov):
    # A covariance is positive semidefinite: no element exceeds the largest one
    # of the diagonal.
    return bad_numbers.is_finite(tf.linalg.diag_part(new_cov))

  def get_cov_as_linear_operator(  # noqa: D102
      self) -> tf.linalg.LinearOperator:
    return _self_adjoint(tf.convert_to_tensor(self.get_cov()))

  def _register(self, quantity, *key_and_damping):
    *rest, damping = key_and_damping
    damping_func = naming.as_damping_func(damping)
    key = (*rest, naming.graph_func_to_id(damping_func))
    self._registered.setdefault((quantity, key), damping_func)

  def register_inverse(self, damping_func: hints.Damping) -> None:
    """Announces the use of (C + damping I)^-1."""
    self.register_matpower(-1, damping_func)

  def register_matpower(self, exp: float,
                        damping_func: hints.Damping | None = None, *,
                        damping: hints.Damping | None = None) -> None:
    """Announces the use of (C + damping I)^exp.

    Args:
      exp: Number. Power 1 is not kept.
      damping_func: Function with a func_id that returns the damping, or the
        damping itself.
      damping: The same by its older name.
    """
    if exp != 1:
      self._register("matpower", exp, either(damping_func, damping))

  def register_cholesky(self,  # noqa: D102
                        damping_func: hints.Damping) -> None:
    self._register("cholesky", damping_func)

  def register_cholesky_inverse(self,  # noqa: D102
                                damping_func: hints.Damping) -> None:
    self._register("cholesky_inverse", damping_func)

  @property
  def kept_variables(self) -> list:
    """List of the variables of kept matrices."""
    return [variable for kept in self._kept.values()
            for variable in kept.values()]

  @property
  def contrib_kept_names(self) -> list[str]:
    """List of contrib.kfac's names of `kept_variables`, below the scope."""
    return [naming.contrib_kept_name(*_kind_and_damping_id(quantity, key))
            for quantity, kept in self._kept.items() for key in kept]

  @property
  def damping_funcs(self) -> list:
    """The different dampings of announced powers, as functions."""
    by_id = {naming.graph_func_to_id(damping_func): damping_func
             for damping_func in self._registered.values()}
    return list(by_id.values())

  def instantiate_inv_variables(self) -> None:
    """Creates a variable for each matrix that was registered."""
    names = naming.kept_names(
        [_kind_and_damping_id(*registered) for registered in self._registered])
    with tf.variable_scope(self.name):
      for (quantity, key), name in zip(self._registered, names, strict=True):
        if key not in self._kept[quantity]:
          self._kept[quantity][key] = variables.make_variable(
              name, self._cov_shape, self._dtype,
              variables.inverse_initializer)
      if (self.num_updates_kept is None and self.damping_funcs
          and self.num_updates is not None
          and not constants.read("fisher_factors", "CONTRIB_VARIABLES")):
        self.num_updates_kept = variables.make_variable(
            "num_updates_kept", [], self.num_updates.dtype,
            tf.zeros_initializer())

  def make_inverse_update_ops(self) -> list:
    """Makes the ops that compute each kept matrix from the covariance.

    Returns:
      List of tensors, the matrices after the update, which changes nothing
      before the first covariance update. A matrix that cannot be computed, even
      with more damping, stays as it is.
    """
    self.reset_eigendecomp()  # It belongs to the ops of an earlier update.
    update = InverseUpdate(self)
    return update.with_count(self._keep(update))

  def _keep(self, update):
    """Makes the ops of one InverseUpdate."""
    return [
        update.assign(self._kept[quantity][key],
                      QUANTITIES[quantity].compute(update, key, damping_func))
        for (quantity, key), damping_func in self._registered.items()]

  def needs_eigendecomp(self) -> bool:
    """Whether the powers come from an eigendecomposition.

    They do if a power is not an inverse, or if there are at least
    EIGENVALUE_DECOMPOSITION_THRESHOLD inverses: an eigendecomposition costs
    more than an inverse, but all powers and dampings share it.

    Returns:
      Boolean.
    """
    exps = [key[0] for quantity, key in self._registered
            if quantity == "matpower"]
    threshold = constants.read(
        "fisher_factors", "EIGENVALUE_DECOMPOSITION_THRESHOLD")
    return any(exp != -1 for exp in exps) or len(exps) >= threshold

  def register_eigendecomp(self) -> None:
    """Makes the ops of the eigendecomposition (1.4 and 1.5)."""
    self.get_eigendecomp()

  def reset_eigendecomp(self) -> None:
    """Makes the next get_eigendecomp() create new ops."""
    self._eigendecomp = None

  def get_eigendecomp(
      self, cov: hints.TensorLike | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Decomposes the present covariance C = Q diag(eigenvalues) Q^T.

    Args:
      cov: Tensor [n, n], the covariance if it has been read.

    Returns:
      Eigenvalues [n], clipped from below, and Q [n, n]; the same tensors until
      the ops of another inverse update are made.
    """
    if self._eigendecomp is None:
      self._eigendecomp = matrix_functions.eigendecomposition(
          self.get_cov() if cov is None else cov)
    return self._eigendecomp

  def _get_kept(self, quantity, *key_and_damping):
    *rest, damping = key_and_damping
    damping_id = naming.graph_func_to_id(naming.as_damping_func(damping))
    return tf.convert_to_tensor(self._kept[quantity][(*rest, damping_id)])

  def get_inverse(self, damping_func: hints.Damping | None = None, *,
                  damping: hints.Damping | None = None) -> Any:
    """Returns (C + damping I)^-1 as of the last inverse update.

    Args:
      damping_func: As in register_matpower.
      damping: The same by its older name.

    Returns:
      LinearOperator [n, n].
    """
    return self.get_matpower(-1, either(damping_func, damping))

  def get_damped_inverse(self, damping: hints.Damping) -> Any:
    """Returns the matrix of get_inverse (1.7)."""
    return self._get_kept("matpower", -1, damping)

  def get_matpower(
      self, exp: float, damping_func: hints.Damping | None = None, *,
      damping: hints.Damping | None = None) -> tf.linalg.LinearOperator:
    """Returns (C + damping I)^exp as of the last inverse update.

    Args:
      exp: Number. For 1, the present covariance is used.
      damping_func: As in register_matpower.
      damping: The same by its older name.

    Returns:
      LinearOperator [n, n].

    Raises:
      KeyError: If it was not registered.
    """
    damping_func = naming.as_damping_func(either(damping_func, damping))
    if exp != 1:
      return _self_adjoint(self._get_kept("matpower", exp, damping_func))
    cov = tf.convert_to_tensor(self.get_cov())
    damping = scalars.cast_scalar(damping_func(), cov.dtype)
    return _self_adjoint(
        cov + damping * tf.eye(self._cov_shape[0], dtype=cov.dtype))

  def get_cholesky(self,  # noqa: D102
                   damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    return lo.LinearOperatorFullMatrix(
        self._get_kept("cholesky", damping_func), is_non_singular=True)

  def get_cholesky_inverse(  # noqa: D102
      self, damping_func: hints.Damping) -> tf.linalg.LinearOperator:
    return lo.LinearOperatorFullMatrix(
        self._get_kept("cholesky_inverse", damping_func), is_non_singular=True)


# The name of the class up to TensorFlow 1.8.
InverseProvidingFactor = DenseSquareMatrixFactor


def _kind_and_damping_id(quantity, key):
  *rest, damping_id = key
  kind = QUANTITIES[quantity].kind.format(*map(naming.list_to_string, rest))
  return kind, damping_id


def _self_adjoint(matrix):
  return lo.LinearOperatorFullMatrix(
      matrix, is_non_singular=True, is_self_adjoint=True,
      is_positive_definite=True, is_square=True)


def either(damping_func: hints.Damping | None,
           damping: hints.Damping | None) -> Any:
  """Returns an argument that has two names, whichever was given."""
  if (damping_func is None) == (damping is None):
    raise TypeError("damping_func must be given, and once.")
  return damping if damping_func is None else damping_func
