"""The initial damping, calibrated on one batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import graph_copy
from kfac.python.ops.utils import hints

CANDIDATES = tuple(10. ** exponent for exponent in range(-4, 4))


def calibrate_damping(session: tf.Session, optimizer: Any, train_op: Any,
                      loss: hints.TensorLike, feed_dict: dict | None = None,
                      candidates: Sequence[float] = CANDIDATES) -> float:
  """Sets the damping to the candidate whose first step lowers a loss the most.

  Each candidate starts from the same state, runs a covariance update, an
  inverse update and one step, and is judged by the loss afterwards, on the same
  batch: what an iterator or a queue yields is drawn once and then fed. Then all
  variables but the damping are restored. Call it before training, after the
  variables are initialised; it costs a few runs per candidate.

  Args:
    session: tf.Session.
    optimizer: KfacOptimizer whose damping is a variable: with adapt_damping,
      or given as one.
    train_op: The op that its `minimize` returned.
    loss: Scalar tensor, the loss on the batch that is fed. A batch larger than
      that of a step makes the choice more reliable.
    feed_dict: The batch, if it is fed.
    candidates: Numbers > 0.

  Returns:
    The damping, a number.

  Raises:
    ValueError: See `calibrate`.
  """
  return calibrate(
      session, optimizer,
      lambda: [optimizer.cov_update_op, optimizer.inv_update_op, train_op],
      loss, graph_copy.batch_tensors([loss]), feed_dict, candidates)


def _drawn(session, tensors, feed_dict):
  """Returns the feeds, with the values of all tensors that are not fed."""
  feeds = dict(feed_dict or {})
  fed = {getattr(key, "name", key) for key in feeds}
  drawn = [tensor for tensor in tensors if tensor.name not in fed]
  return {**feeds, **dict(zip(drawn, session.run(drawn, feeds), strict=True))}


def calibrate(session: tf.Session, optimizer: Any,
              ops: Callable[[], Sequence[Any]],
              loss: hints.TensorLike, batch: Sequence[tf.Tensor],
              feed_dict: dict | None, candidates: Sequence[float]) -> float:
  """Does what calibrate_damping does, for any ops that a step consists of.

  Args:
    session: See calibrate_damping.
    optimizer: See calibrate_damping.
    ops: Function that returns the ops to run one after the other, each in a
      session call.
    loss: See calibrate_damping.
    batch: The tensors that examples come from. What is not fed of them is drawn
      once.
    feed_dict: See calibrate_damping.
    candidates: See calibrate_damping.

  Returns:
    The damping, a number.

  Raises:
    ValueError: If the damping is not a variable, if there are no candidates, if
      none leads to a finite loss, or if all lead to the same one, as with a
      train op whose first runs do not step; then no variable has changed.
  """
  damping = optimizer.damping
  if not hasattr(damping, "load"):
    raise ValueError(
        f"optimizer must have a variable as its damping, got {damping!r}.")
  candidates = [float(value) for value in candidates]
  if not candidates or min(candidates) <= 0.:
    raise ValueError(
        f"candidates must be one number > 0 or more, got {candidates}.")
  feed_dict = _drawn(session, batch, feed_dict)
  with session.graph.as_default():
    state = tf.global_variables()
  before = session.run(state)
  num_skipped = _num_skipped(session, optimizer)

  def restore():
    for variable, value in zip(state, before, strict=True):
      variable.load(value, session)

  losses: dict[float, float] = {}
  try:
    for value in candidates:
      restore()
      damping.load(value, session)
      for op in ops():
        session.run(op, feed_dict)
      found = float(session.run(loss, feed_dict))
      skipped = _num_skipped(session, optimizer) > num_skipped
      losses[value] = (
          math.inf if skipped or not math.isfinite(found) else found)
  finally:
    restore()
  best = min(candidates, key=lambda value: losses[value])
  if math.isinf(losses[best]):
    raise ValueError(
        f"candidates must have one with a finite loss, got {candidates}.")
  if len(losses) > 1 and len(set(losses.values())) == 1:
    raise ValueError(
        "candidates must lead to different losses after a run of train_op, got "
        f"{losses[best]} for each of {candidates}; during a burn-in the "
        "parameters do not move.")
  damping.load(best, session)
  return best


def _num_skipped(session, optimizer):
  """Returns the number of skipped steps, 0 if they are not counted."""
  counter = optimizer._num_skipped_steps
  return 0 if counter is None else int(session.run(counter))
