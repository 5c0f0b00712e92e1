"""An endless queue of ops in random order."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import constants
from kfac.python.ops.utils import stateless_seeds

__all__ = ["OpQueue"]


class OpQueue:
  """Ops in a random order: each once per round, each round shuffled anew.

  It distributes expensive ops, such as the inverse updates of all factors, over
  the steps of a program, or over several workers. The number of draws is a
  variable, and the order of a round is a function of its number:

  - A program that is restored from a checkpoint continues the round.
  - Workers that build the same queue and share the variable, for example on a
    parameter server, draw each op once per round together.

  An op that was drawn by a program that then ended is not drawn again before
  the next round.
  """

  def __init__(self, ops: Sequence[Any], seed: int | None = None) -> None:
    """Adds the queue to the graph of the ops.

    The variable is in GLOBAL_VARIABLES; with CONTRIB_VARIABLES, whose
    checkpoints have no place for it, in LOCAL_VARIABLES. It is beside the
    global step; without one, the current device scope of that graph says where
    it is. If no initializer has run when an op is drawn, the draw initializes
    it.

    Args:
      ops: Operations or tensors of one graph, identified by name. An op that
        occurs twice still runs once per round.
      seed: Integer that fixes the order, or None: then the seed of the graph
        fixes it, and without one every program has an order of its own.

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
    # Workers that pass the ops in another order agree all the same.
    self._names = sorted(self._ops_by_name)
    with self.ops[0].graph.as_default(), tf.name_scope("op_queue"):
      self._next_index = _next_index(len(self._names), seed)

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
    return self._ops_by_name[self._names[sess.run(self._next_index)]]


def _next_index(count, seed):
  """Returns a tensor that takes the next of `count` indices in every run."""
  contrib = constants.read("fisher_factors", "CONTRIB_VARIABLES")
  with tf.init_scope(), _device():
    num_draws = stateless_seeds.make_counter(
        "op_queue/num_draws", is_seeded=seed is not None, multiple_of=count,
        collections=[tf.GraphKeys.LOCAL_VARIABLES] if contrib else None)
    number = _take_number(num_draws)
    order = tf.argsort(tf.random.stateless_uniform(
        [count], stateless_seeds.stateless_seed(
            number // count, "op_queue", seed)))
    return order[number % count]


@contextlib.contextmanager
def _device():
  """Context of the device of the counter."""
  global_step = tf.train.get_global_step()
  # Workers share it, wherever the queue is made. GPUs cannot count.
  with tf.device("" if global_step is None else global_step.device):
    with tf.device("/cpu:0"):
      yield


def _take_number(counter):
  """Returns the value of a counter, and increments it at the same time."""
  # Two workers that do this at once may both take the first number.
  initialized = tf.cond(
      tf.is_variable_initialized(counter), lambda: tf.constant(True),
      lambda: _initialized(counter))
  with tf.control_dependencies([initialized]):
    # Unlike assign_add, it cannot return what another worker has counted.
    return tf.raw_ops.ResourceCountUpTo(
        resource=counter.handle, limit=tf.int64.max, T=tf.int64)


def _initialized(counter):
  with tf.control_dependencies([tf.assign(counter, counter.initial_value)]):
    return tf.constant(True)
