"""GradualInverse: the inverse of one large covariance, a part at a time.

Block Gauss-Jordan elimination inverts M = C + damping I in steps of equal cost:
each sweeps some rows (Goodnight 1979, "A tutorial on the SWEEP operator", The
American Statistician 33). Rows of a positive definite matrix can be swept in
any order, without pivots.

For the next rows K, with P = W[K, K] and R = W[K, :] - I[K, :], a sweep is

    W <- W - R^T P^-1 R

Once all rows of W = M are swept, W = 2 I - M^-1. The usual sweep ends at -M^-1
and assigns rows, columns and block separately. This one only subtracts, since
it leaves 2 I in place.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_factors import dense
from kfac.python.ops.fisher_factors import matrix_functions
from kfac.python.ops.fisher_factors import variables
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import overriding

# Below this number of rows, the ops of a part take longer than the part.
MIN_ROWS = 128


def is_possible(factor: Any) -> bool:
  """Whether the inverse of a factor can be computed gradually.

  Args:
    factor: FisherFactor with variables.

  Returns:
    Boolean. False unless the factor keeps one matrix, (C + damping I)^-1 by
    Cholesky decomposition, and a subclass does not redefine how. False with
    CONTRIB_VARIABLES, which has no place for the state. False if a GPU may
    round matrix products to TensorFloat-32, which is not accurate enough.
  """
  return (
      isinstance(factor, dense.DenseSquareMatrixFactor)
      and all(overriding.definer(factor, name) is dense.DenseSquareMatrixFactor
              for name in ("make_inverse_update_ops", "_keep"))
      and [(quantity, key[0]) for quantity, key in factor._registered] == [
          ("matpower", -1)]
      and not factor.needs_eigendecomp()
      and factor.num_updates_kept is not None
      and constants.read("utils", "POSDEF_INV_METHOD").startswith("cholesky")
      and not _may_round_products(factor.get_cov().dtype.base_dtype))


def _may_round_products(dtype):
  return (dtype == tf.float32
          and tf.config.experimental.tensor_float_32_execution_enabled()
          and bool(tf.config.list_physical_devices("GPU")))


class GradualInverse:
  """Computes the kept inverse of a factor by successive runs of one op.

  The state is in variables, so that training restored from a checkpoint goes
  on in the middle of an inverse:

    work: W [n, n], whose diagonal starts at one, which scales M.
    scale: [n], the reciprocal roots of the diagonal of M.
    probe: M z [n] for a vector z of random signs, to check the result.
    position: Number of rows that are swept; 0 if no inverse is under way.
    num_updates_read: Number of covariance updates that W contains.
  """

  def __init__(self, factor: Any) -> None:
    """Creates the variables, in the scope of the factor's other variables.

    Args:
      factor: Factor for which `is_possible`.
    """
    self._factor = factor
    self._damping_func, = factor.damping_funcs
    self._kept, = factor.kept_variables
    self._dtype = self._kept.dtype.base_dtype
    self._size = int(self._kept.shape[0])
    zeros = tf.zeros_initializer()

    def make(name, shape, dtype=self._dtype):
      return variables.make_variable(name, shape, dtype, zeros)

    # The current scope may be another one than that of the factor was.
    parent = factor.num_updates_kept.op.name.rpartition("/")[0]
    scope = tf.VariableScope(False, f"{parent}/gradual_inverse")
    with tf.device(self._kept.device), tf.variable_scope(
        scope, auxiliary_name_scope=False):
      self._work = make("work", [self._size, self._size])
      self._scale = make("scale", [self._size])
      self._probe = make("probe", [self._size])
      self._position = make("position", [], tf.int64)
      self._num_updates_read = make(
          "num_updates_read", [], factor.num_updates_kept.dtype)

  def make_update_op(self, num_parts: int) -> tf.Operation:
    """Makes the op that does the next part of an inverse.

    The first part reads covariance and damping; nothing happens if there is no
    covariance yet. The last part keeps the result, symmetric up to rounding.
    If that is not accurate, it runs the ordinary update of the factor instead.
    If a later covariance was inverted in the meantime, it keeps nothing.

    Args:
      num_parts: Int >= 1, the number of runs that one inverse takes. It may
        change while an inverse is under way.

    Returns:
      Op.
    """
    position = self._read_position()
    swept = tf.equal(position, self._size)
    under_way = tf.cond(
        position > 0, lambda: tf.constant(True), self._start)
    # The result costs about as much as a sweep, so it is a part of its own.
    done = tf.cond(
        tf.logical_and(under_way, tf.logical_not(swept)),
        lambda: self._sweep(position, max(num_parts - 1, 1)), _nothing)
    finish = tf.logical_or(swept, done) if num_parts == 1 else swept
    with tf.control_dependencies([done]):
      return tf.cond(tf.identity(finish), self._finish, _nothing).op

  def make_restart_op(self) -> tf.Operation:
    """Makes the op that gives up an inverse that is under way.

    It also initializes the variables if the initializer of the program ran
    before they were made.

    Returns:
      Op.
    """
    def initialize():
      state = (self._work, self._scale, self._probe, self._num_updates_read)
      return _after(*[tf.assign(variable, tf.zeros(
          variable.shape, variable.dtype.base_dtype)) for variable in state])

    initialized = tf.cond(
        tf.is_variable_initialized(self._position), _nothing, initialize)
    with tf.control_dependencies([initialized]):
      return self._set_position(0).op

  def _read_position(self):
    """Returns the position, 0 if it is not initialized."""
    return tf.cond(
        tf.is_variable_initialized(self._position),
        lambda: tf.identity(self._position), lambda: tf.zeros([], tf.int64))

  def _set_position(self, position):
    return tf.assign(self._position, tf.cast(position, tf.int64))

  def _start(self):
    """Stores the covariance; returns whether there is one."""
    update = dense.InverseUpdate(self._factor)

    def store():
      matrix = tf.linalg.set_diag(
          update.cov, tf.linalg.diag_part(update.cov)
          + update.damping(self._damping_func))
      diagonal = tf.linalg.diag_part(matrix)
      scale = tf.math.rsqrt(diagonal)
      signs = matrix_functions.random_signs(self._size, self._dtype)
      return _after(
          tf.assign(self._work, scale[:, None] * matrix * scale),
          tf.assign(self._scale, scale),
          tf.assign(self._probe, tf.linalg.matvec(matrix, signs)),
          tf.assign(self._num_updates_read, update.num_updates))

    return tf.cond(update.is_known, store, lambda: tf.constant(False))

  def _sweep(self, position, num_sweeps):
    """Sweeps the next rows; returns whether these were the last ones."""
    # Sweep i of num_sweeps ends at row ceil(i size / num_sweeps).
    sweep = position * num_sweeps // self._size + 1
    end = -(-sweep * self._size // num_sweeps)
    rows = self._work[position:end]
    # Cholesky decomposition and triangular inverse of a block are a small part
    # of the work, the rest are matrix products.
    root = tf.linalg.triangular_solve(
        tf.linalg.cholesky(rows[:, position:end]),
        tf.eye(end - position, dtype=self._dtype))
    identity = tf.one_hot(
        tf.range(position, end), self._size, dtype=self._dtype)
    half = tf.matmul(root, rows - identity)
    # In place: the slice above is a copy.
    swept = tf.assign_sub(self._work, tf.matmul(half, half, transpose_a=True))
    with tf.control_dependencies([swept.op, self._set_position(end).op]):
      return tf.equal(end, self._size)

  def _finish(self):
    """Keeps the inverse, or runs the ordinary update."""
    work = tf.convert_to_tensor(self._work)
    scale = tf.convert_to_tensor(self._scale)
    unscaled = tf.linalg.set_diag(-work, 2. - tf.linalg.diag_part(work))
    inverse = scale[:, None] * unscaled * scale
    good = matrix_functions.are_random_signs(
        tf.linalg.matvec(inverse, tf.convert_to_tensor(self._probe)))
    read = tf.identity(self._num_updates_read)
    is_latest = read >= self._factor.num_updates_kept

    def keep():
      return _after(tf.assign(self._kept, inverse),
                    tf.assign(self._factor.num_updates_kept, read))

    def update():
      return _after(*self._factor.make_inverse_update_ops())

    with tf.control_dependencies([self._set_position(0)]):
      return tf.cond(is_latest, lambda: tf.cond(good, keep, update), _nothing)


def _after(*tensors):
  with tf.control_dependencies([tf.group(*tensors)]):
    return tf.constant(True)


def _nothing():
  return tf.constant(False)
