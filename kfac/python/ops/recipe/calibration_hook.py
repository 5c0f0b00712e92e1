"""CalibrationHook: calibrates a Recipe in a monitored session."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf


class CalibrationHook(tf.train.SessionRunHook):
  """Calibrates the damping of a Recipe before its first step.

  A program that continues from a checkpoint keeps the damping that it had.
  """

  def __init__(self, recipe: Any) -> None:
    """Keeps the recipe.

    Args:
      recipe: Recipe whose `minimize` was called.
    """
    self._recipe = recipe
    self._is_done = False

  def before_run(self, run_context: Any) -> Any:  # noqa: D102
    if self._is_done:
      return
    self._is_done = True
    session = run_context.session
    if session.run(self._recipe.optimizer.num_runs) == 0:
      self._recipe.calibrate(session, run_context.original_args.feed_dict)
