"""Rejected steps: the variables as they were before, and no velocity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def keep(variables: Sequence[Any]) -> list:
  """Makes copies of the values that variables have now.

  Args:
    variables: List of variables.

  Returns:
    List of tensors that no later update changes.
  """
  # What is read from a reference variable may be its very memory.
  return [tf.raw_ops.DeepCopy(x=variable.read_value())
          for variable in variables]


def undo(rejected: hints.TensorLike, variables: Sequence[Any],
         kept: Sequence[Any], velocities: Sequence[Any]) -> list:
  """Makes the ops that undo a step if it is rejected.

  Args:
    rejected: Boolean tensor [].
    variables: List of variables that the step has changed.
    kept: Their values before it, see `keep`.
    velocities: List of the variables of the velocities. They become zero, so
      that the next step does not go the same way again.

  Returns:
    List of ops.
  """
  olds = kept + [tf.zeros_like(velocity) for velocity in velocities]
  return [
      tf.assign(variable, tf.where_v2(rejected, old, variable.read_value())).op
      for variable, old in zip([*variables, *velocities], olds, strict=True)]
