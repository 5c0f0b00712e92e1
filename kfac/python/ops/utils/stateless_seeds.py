"""Seeds of stateless random ops, from a counter that checkpoints contain.

The state of other random ops is lost when a program ends. A stateless op draws
the same numbers whenever its seed is the same, so that a run that is restored
with its counter continues as if it had never stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import plain_variables

# Half of the range of int64, so that a counter has room to grow.
_RANGE = 2 ** 62


def hash_of(*key: Any) -> int:
  """Returns a number in [0, 2^62) that is the same in every process.

  Args:
    *key: Strings, ints and None.
  """
  text = repr([part if part is None or isinstance(part, str) else int(part)
               for part in key])
  return int.from_bytes(
      hashlib.sha256(text.encode()).digest()[:8], "big") % _RANGE


def make_counter(name: str, is_seeded: bool, multiple_of: int = 1,
                 collections: Sequence[str] | None = None) -> tf.Variable:
  """Creates a counter in the current variable scope.

  It starts at a hash of the graph's seed. Without one it starts at a random
  number, so that two runs differ, and each continues its own sequence when it
  is restored.

  Args:
    name: Name below the scope; a number is appended if a variable has it.
    is_seeded: Whether all that uses the counter has seeds of its own, so that
      runs are equal even if the graph has no seed.
    multiple_of: Int >= 1, of which the initial value is a multiple.
    collections: See plain_variables.make_variable.

  Returns:
    Int64 variable [] whose initial value is in [0, 2^62).
  """
  def initializer(shape, dtype, partition_info=None):
    del partition_info
    graph_seed = tf.get_default_graph().seed
    if graph_seed is None and not is_seeded:
      start = tf.random_uniform(shape, maxval=_RANGE, dtype=dtype)
      return start - start % multiple_of
    start = hash_of("counter", graph_seed)
    return tf.fill(shape, tf.constant(start - start % multiple_of, dtype))

  return plain_variables.make_variable(
      plain_variables.unused_name(name), initializer, [], tf.int64, collections)


def stateless_seed(counter: hints.TensorLike, *key: Any) -> tf.Tensor:
  """Returns the seed of a stateless random op.

  Args:
    counter: Int64 tensor [], another one in each run.
    *key: Strings, ints and None, which identify the op among those that use the
      same counter.

  Returns:
    Int64 tensor [2].
  """
  return tf.stack([tf.constant(hash_of(*key), tf.int64),
                   tf.cast(counter, tf.int64)])
