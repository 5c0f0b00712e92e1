"""An endless queue of ops in random order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

__all__ = ["OpQueue"]


class OpQueue:
  """Ops in a random order: each once per round, each round shuffled anew.

  It distributes expensive ops, such as the inverse updates of all factors, over
  the steps of a program. An op of the graph draws the order, so that the
  sequence continues from one session.run to the next.
  """

  def __init__(self, ops: Sequence[Any], seed: int | None = None) -> None:
    """Adds the queue to the graph of the ops.

    Args:
      ops: Operations or tensors of one graph, identified by name. An op that
        occurs twice still runs once per round.
      seed: Integer that fixes the order, or None.

    Raises:
      ValueError: If there are no ops, or two different ops have one name.
    """
    self._ops_by_name: dict[str, Any] = {}
    for op in ops:
      if self._ops_by_name.setdefault(op.name, op) is not op:
        raise ValueError(
            f"ops must have different names, got {op.name!r} twice.")
    if not self._ops_by_name:
      raise ValueError("ops must hold at least one op, got none.")
    with self.ops[0].graph.as_default(), tf.name_scope("op_queue"):
      self._next_name = _endless_shuffle(list(self._ops_by_name), seed)

  @property
  def ops(self) -> list:
    """List of the ops, in the order given."""
    return list(self._ops_by_name.values())

  def next_op(self, sess: tf.Session) -> Any:
    """Draws the next op, without running it.

    Args:
      sess: Session of the ops' graph; one session.run draws the op.

    Returns:
      One of `ops`.
    """
    return self._ops_by_name[tf.compat.as_str(sess.run(self._next_name))]


def _endless_shuffle(names, seed):
  """Returns a string tensor that takes the next of the names in every run."""
  dataset = tf.data.Dataset.from_tensor_slices(names)
  dataset = dataset.shuffle(len(names), seed=seed).repeat()
  return tf.data.make_one_shot_iterator(dataset).get_next()
