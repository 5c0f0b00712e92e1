"""What the methods of a factor were called before TensorFlow 1.9."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


class OldNames:
  """The same methods of a factor under the names of releases 1.4 to 1.8."""

  def instantiate_covariance(self) -> None:
    """Same as instantiate_cov_variables (1.7)."""
    self.instantiate_cov_variables()

  def get_cov_var(self) -> tf.Variable:
    """Same as get_cov (1.8)."""
    return self.get_cov()

  def register_damped_inverse(self, damping: hints.Damping) -> None:
    """Same as register_matpower of power -1 (1.7)."""
    self.register_matpower(-1, damping)

  def left_multiply_matpower(self, x: hints.TensorLike, exp: float,
                             damping_func: hints.Damping) -> Any:
    """Returns (C + damping I)^exp x (1.8)."""
    return self.get_matpower(exp, damping_func).matmul(x)

  def right_multiply_matpower(self, x: hints.TensorLike, exp: float,
                              damping_func: hints.Damping) -> Any:
    """Returns x (C + damping I)^exp (1.8)."""
    return self.get_matpower(exp, damping_func).matmul_right(x)

  def left_multiply(self, x: hints.TensorLike, damping: hints.Damping) -> Any:
    """Returns (C + damping I) x (1.7)."""
    return self.left_multiply_matpower(x, 1, damping)

  def right_multiply(self, x: hints.TensorLike, damping: hints.Damping) -> Any:
    """Returns x (C + damping I) (1.7)."""
    return self.right_multiply_matpower(x, 1, damping)

  def left_multiply_inverse(self, x: hints.TensorLike,
                            damping: hints.Damping) -> Any:
    """Returns (C + damping I)^-1 x (1.7)."""
    return self.left_multiply_matpower(x, -1, damping)

  def right_multiply_inverse(self, x: hints.TensorLike,
                             damping: hints.Damping) -> Any:
    """Returns x (C + damping I)^-1 (1.7)."""
    return self.right_multiply_matpower(x, -1, damping)
