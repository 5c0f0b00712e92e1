"""Distribution of work over steps."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


def batch_execute(global_step: hints.Scalar, thunks: Sequence[hints.Thunk],
                  batch_size: int, name: str | None = None) -> list:
  """Runs some of the ops in each step, all of them in turn.

  With three thunks and a batch size of two, step 0 runs the first and the
  second, step 1 the third and the first, and so on.

  Args:
    global_step: int, or tensor or variable of shape [] and an integer dtype.
      The number of the step, starting at 0.
    thunks: Sequence of functions without arguments. Each makes and returns an
      op, a tensor, or a list of these; the values are discarded.
    batch_size: int >= 1. Number of thunks that take effect in a step; if there
      are fewer, each takes effect once.
    name: Name of the scope of the ops.

  Returns:
    List of bool tensors, one for each thunk, to be run once in a step: whether
    it took effect. The order within a step is undefined.

  Raises:
    ValueError: If `batch_size` is not an int >= 1.
  """
  # A Python int, since NumPy's would set the dtype.
  batch_size = scalars.check_int("batch_size", batch_size, 1)
  count = len(thunks)
  with tf.name_scope(name, "batch_execute"):
    step = tf.convert_to_tensor(global_step)
    # The step is reduced first, since the product might overflow.
    first = tf.floormod(tf.floormod(step, count) * batch_size, count)
    return [
        tf.cond(tf.floormod(position - first, count) < batch_size,
                functools.partial(_run, thunk), _skip)
        for position, thunk in enumerate(thunks)]


def _run(thunk):
  made = [op for op in tf.nest.flatten(thunk()) if op is not None]
  with tf.control_dependencies(made):
    return tf.constant(True)


def _skip():
  return tf.constant(False)
