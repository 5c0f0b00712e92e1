"""A warning if steps are run but inverses are never updated.

Kept inverses start at zero, so that the parameters do not move.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

NUM_STEPS = 10

_MESSAGE = (
    f"kfac: {NUM_STEPS} steps were run before any inverse was updated, so the "
    "parameters have not moved. Run optimizer.cov_update_op and "
    "optimizer.inv_update_op too.")


def make_warning_op(factors: Sequence[Any]) -> tf.Operation:
  """Makes the op that counts steps and writes one line to stderr.

  A queue counts the steps: it needs no initialization and is not part of
  checkpoints.

  Args:
    factors: Sequence of FisherFactor with variables.

  Returns:
    Op, to be run with each step. After NUM_STEPS steps it does nothing.
  """
  kept = [variable for factor in factors for variable in factor.kept_variables]
  if not kept:
    return tf.no_op()
  queue = tf.FIFOQueue(NUM_STEPS, [tf.bool], [[]], name="steps_counted")
  size = queue.size()

  def count():
    last = tf.equal(size, NUM_STEPS - 1)
    with tf.control_dependencies([
        queue.enqueue(True), tf.cond(last, check, _nothing)]):
      return tf.constant(True)

  def check():
    zero = [tf.equal(tf.reshape(variable, [-1])[0], 0) for variable in kept]
    return tf.cond(tf.reduce_all(zero), warn, _nothing)

  def warn():
    with tf.control_dependencies([
        tf.print(_MESSAGE, output_stream=sys.stderr)]):
      return tf.constant(True)

  return tf.cond(size < NUM_STEPS, count, _nothing).op


def _nothing():
  return tf.constant(False)
