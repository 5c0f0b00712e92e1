"""Members of a factor as TensorFlow 1.4 to 1.8 named or called them.

FisherFactor lists each function among its methods.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def compute_new_cov(factor: Any, source: int, tower: int) -> tf.Tensor:
  """Calls `_compute_new_cov`, which took the source alone up to 1.7.

  Args:
    factor: FisherFactor.
    source: Int, index of the source.
    tower: Int, index of the tower.

  Returns:
    Tensor, the covariance of this source and tower.
  """
  try:
    return factor._compute_new_cov(source, tower)
  except TypeError as error:
    if error.__traceback__ is None or error.__traceback__.tb_next is not None:
      raise  # The call was accepted, and failed inside.
    return factor._compute_new_cov(source)


def instantiate_covariance(factor: Any) -> None:
  """Same as instantiate_cov_variables (1.7)."""
  factor.instantiate_cov_variables()


def get_cov_var(factor: Any) -> tf.Variable:
  """Same as get_cov (1.8)."""
  return factor.get_cov()


def register_damped_inverse(factor: Any, damping: hints.Damping) -> None:
  """Same as register_matpower of power -1 (1.7)."""
  factor.register_matpower(-1, damping)


def left_multiply_matpower(factor: Any, x: hints.TensorLike, exp: float,
                           damping_func: hints.Damping) -> Any:
  """Returns (C + damping I)^exp x (1.8)."""
  return factor.get_matpower(exp, damping_func).matmul(x)


def right_multiply_matpower(factor: Any, x: hints.TensorLike, exp: float,
                            damping_func: hints.Damping) -> Any:
  """Returns x (C + damping I)^exp (1.8)."""
  return factor.get_matpower(exp, damping_func).matmul_right(x)


def left_multiply(factor: Any, x: hints.TensorLike,
                  damping: hints.Damping) -> Any:
  """Returns (C + damping I) x (1.7)."""
  return factor.left_multiply_matpower(x, 1, damping)


def right_multiply(factor: Any, x: hints.TensorLike,
                   damping: hints.Damping) -> Any:
  """Returns x (C + damping I) (1.7)."""
  return factor.right_multiply_matpower(x, 1, damping)


def left_multiply_inverse(factor: Any, x: hints.TensorLike,
                          damping: hints.Damping) -> Any:
  """Returns (C + damping I)^-1 x (1.7)."""
  return factor.left_multiply_matpower(x, -1, damping)


def right_multiply_inverse(factor: Any, x: hints.TensorLike,
                           damping: hints.Damping) -> Any:
  """Returns x (C + damping I)^-1 (1.7)."""
  return factor.right_multiply_matpower(x, -1, damping)
