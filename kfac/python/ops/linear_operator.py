"""TensorFlow's linear operators M, extended by products from the right.

Operators accept IndexedSlices, the gradient of an embedding, where the product
is as sparse: a dense M multiplies each given row from the right, and a diagonal
M from the left scales each given row. Other products of IndexedSlices raise
NotImplementedError.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import sparse

__all__ = [
    "LinearOperatorDiag",
    "LinearOperatorExtras",
    "LinearOperatorFullMatrix",
    "linalg",
]

linalg = tf.linalg


class LinearOperatorExtras:
  """Mixin with these products, listed before an operator of tf.linalg.

  It needs the operator's `matmul`, which it extends.
  """

  def matmul(self, x: Any, adjoint: bool = False, adjoint_arg: bool = False,
             name: str = "matmul") -> Any:
    """Multiplies by the operator from the left.

    Args:
      x: Tensor [n, k], [k, n] with adjoint_arg; an operator; or IndexedSlices.
      adjoint: Whether to multiply by M^H in place of M.
      adjoint_arg: Whether to multiply x^H in place of x.
      name: Name scope of the ops.

    Returns:
      M x [m, k], an operator if x is one, IndexedSlices if x is.

    Raises:
      NotImplementedError: If x is IndexedSlices, and M is not diagonal or an
        adjoint is true.
    """
    if not isinstance(x, tf.IndexedSlices):
      operator: Any = super()  # The base that is listed after this mixin.
      return operator.matmul(
          x, adjoint=adjoint, adjoint_arg=adjoint_arg, name=name)
    _check_no_adjoint(adjoint, adjoint_arg)
    with tf.name_scope(name):
      return self._matmul_slices(x)

  def matmul_right(self, x: hints.TensorLike, adjoint: bool = False,
                   adjoint_arg: bool = False, name: str = "matmul") -> Any:
    """Multiplies by the operator from the right.

    Args:
      x: Tensor [k, m], [m, k] with adjoint_arg; or IndexedSlices.
      adjoint: Whether to multiply by M^H in place of M.
      adjoint_arg: Whether to multiply x^H in place of x.
      name: Name scope of the ops.

    Returns:
      x M [k, n], IndexedSlices if x is.

    Raises:
      NotImplementedError: If x is IndexedSlices, and M is not dense or an
        adjoint is true.
    """
    with tf.name_scope(name):
      if isinstance(x, tf.IndexedSlices):
        _check_no_adjoint(adjoint, adjoint_arg)
        return self._matmul_right_slices(x)
      return self._matmul_right_dense(x, adjoint, adjoint_arg)

  def _matmul_right_dense(self, x, adjoint, adjoint_arg):
    # x M = (M^H x^H)^H.
    return tf.linalg.adjoint(self.matmul(
        x, adjoint=not adjoint, adjoint_arg=not adjoint_arg))

  def _matmul_slices(self, x):
    """Returns M x of IndexedSlices x, if it is as sparse as x."""
    raise NotImplementedError(
        "matmul takes IndexedSlices only for a diagonal operator, got "
        f"{type(self).__name__}.")

  def _matmul_right_slices(self, x):
    """Returns x M of IndexedSlices x, if it is as sparse as x."""
    raise NotImplementedError(
        "matmul_right takes IndexedSlices only for a dense operator, got "
        f"{type(self).__name__}.")


class LinearOperatorFullMatrix(
    LinearOperatorExtras, tf.linalg.LinearOperatorFullMatrix):
  """A dense matrix [m, n]."""

  def _matmul_right_dense(self, x, adjoint, adjoint_arg):
    return tf.matmul(
        x, self.to_dense(), adjoint_a=adjoint_arg, adjoint_b=adjoint)

  def _matmul_right_slices(self, x):
    return sparse.matmul_sparse_dense(x, self.to_dense())


class LinearOperatorDiag(LinearOperatorExtras, tf.linalg.LinearOperatorDiag):
  """A diagonal matrix [n, n], given by its diagonal [n]."""

  def _matmul_slices(self, x):
    return sparse.matmul_diag_sparse(self.diag_part(), x)


def _check_no_adjoint(adjoint, adjoint_arg):
  """Raises NotImplementedError if one of them is true."""
  if adjoint or adjoint_arg:
    raise NotImplementedError(
        "adjoint and adjoint_arg must be False for IndexedSlices, got "
        f"{adjoint!r} and {adjoint_arg!r}.")
