"""Registration of embedding layers, whose table may be partitioned."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import scalars


def embedding(context: registration.Context, params: Any, inputs: Any,
              outputs: Any, approx: str | None,
              partition_strategy: str) -> registration.Registration:
  """See LayerCollection.register_embedding."""
  params, inputs, vocab_size = _check(
      context, params, inputs, outputs, partition_strategy)
  block_type, _ = context.block_type("embedding", params, approx)
  check.check_one_use(inputs, outputs)
  return registration.Registration(
      params, block_type(context.layer_collection, vocab_size),
      (inputs, outputs))


def embedding_multi(context: registration.Context, params: Any, inputs: Any,
                    outputs: Any, num_uses: int | None, approx: str | None,
                    partition_strategy: str) -> registration.Registration:
  """See LayerCollection.register_embedding_multi."""
  params, inputs, vocab_size = _check(
      context, params, inputs, outputs, partition_strategy)
  check.check_num_uses(num_uses, inputs, outputs)
  block_type, _ = context.block_type("embedding_multi", params, approx)
  block = block_type(context.layer_collection, vocab_size, num_uses=num_uses)
  return registration.Registration(params, block, (inputs, outputs))


def _check(context, params, inputs, outputs, partition_strategy):
  """Checks an embedding layer.

  Args:
    context: Context.
    params: As in LayerCollection.register_embedding.
    inputs: Tensor, or list over uses.
    outputs: The same.
    partition_strategy: As in LayerCollection.register_embedding.

  Returns:
    Key of the layer; inputs, as rows of the concatenated parts; size of the
    vocabulary.
  """
  parts = _parts(params)
  check.check_not_empty("params", parts)
  check.check_graph(context.graph, "params", parts)
  if (not isinstance(partition_strategy, str)
      or partition_strategy not in ("mod", "div")):
    raise ValueError(
        "partition_strategy must be 'mod' or 'div', got "
        f"{scalars.shown(partition_strategy)}.")
  if any(part.shape.rank == 1 for part in parts[1:]):
    raise ValueError("params must be W without a bias, got "
                     f"{[part.name for part in parts]}.")
  for part in parts:
    _, dim = registration.check_layer(
        context.graph, part, [2], inputs, outputs, "integer")
  check.check_rank("inputs", inputs, [1, 2])
  check.check_shape("outputs", outputs, [None, dim])
  sizes = [part.shape.as_list()[0] for part in parts]
  if len(parts) > 1:
    if partition_strategy == "mod":
      inputs = _rows_of_mod(inputs, sizes)
    return tuple(parts), inputs, sum(sizes)
  return parts[0], inputs, sizes[0]


def _parts(params):
  """Returns the variables of W as a list."""
  if isinstance(params, (list, tuple)):
    return list(params)
  # The class of compat.v1 does not cover all resource variables.
  whole = (tf.Variable, tf.compat.v2.Variable, tf.Tensor)
  if not isinstance(params, whole) and hasattr(params, "__iter__"):
    return list(params)  # A partitioned variable.
  return [params]


def _rows_of_mod(ids, sizes):
  """Maps ids to rows of the concatenated parts of a table of strategy "mod".

  Of n parts, id i is row i // n of part i mod n.

  Args:
    ids: Integer tensor, or list of such.
    sizes: Rows of each part.

  Returns:
    Integer tensor, or list of such.
  """
  if isinstance(ids, (list, tuple)):
    return [_rows_of_mod(one, sizes) for one in ids]
  starts = tf.constant([sum(sizes[:i]) for i in range(len(sizes))], ids.dtype)
  return tf.gather(starts, ids % len(sizes)) + ids // len(sizes)
