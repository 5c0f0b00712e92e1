"""Registration of embedding layers, whose table may be partitioned."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.fisher_blocks import views
from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import scalars


def embedding(context: registration.Context, params: Any, inputs: Any,
              outputs: Any, approx: str | None, partition_strategy: str,
              batch_size: Any = None) -> registration.Registration:
  """See LayerCollection.register_embedding."""
  params, inputs, vocab_size, settings = _check(
      context, params, inputs, outputs, partition_strategy, batch_size)
  block_type, _ = context.block_type("embedding", params, approx)
  check.check_one_use(inputs, outputs)
  return registration.Registration(
      params, block_type(context.layer_collection, vocab_size, **settings),
      (inputs, outputs))


def embedding_multi(context: registration.Context, params: Any, inputs: Any,
                    outputs: Any, num_uses: int | None, approx: str | None,
                    partition_strategy: str,
                    batch_size: Any = None) -> registration.Registration:
  """See LayerCollection.register_embedding_multi."""
  params, inputs, vocab_size, settings = _check(
      context, params, inputs, outputs, partition_strategy, batch_size)
  check.check_num_uses(num_uses, inputs, outputs)
  block_type, _ = context.block_type("embedding_multi", params, approx)
  block = block_type(context.layer_collection, vocab_size, num_uses=num_uses,
                     **settings)
  return registration.Registration(params, block, (inputs, outputs))


def _check(context, params, inputs, outputs, partition_strategy, batch_size):
  """Checks an embedding layer.

  Args:
    context: Context.
    params: As in LayerCollection.register_embedding.
    inputs: Tensor, or list over uses.
    outputs: The same.
    partition_strategy: As in LayerCollection.register_embedding.
    batch_size: The same.

  Returns:
    Key of the layer; inputs, as rows of the concatenated parts; size of the
    vocabulary; dict of other arguments of the block.
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
  settings = _settings(inputs, outputs, dim, batch_size)
  sizes = [part.shape.as_list()[0] for part in parts]
  if len(parts) > 1:
    if partition_strategy == "mod":
      inputs = _rows_of_mod(inputs, sizes)
    return tuple(parts), inputs, sum(sizes), settings
  return parts[0], inputs, sizes[0], settings


def _settings(inputs, outputs, dim, batch_size):
  """Checks shapes, and returns the other arguments of the block as a dict."""
  first_ids, first_rows = (
      data[0] if isinstance(data, (list, tuple)) else data
      for data in (inputs, outputs))
  rank = first_ids.shape.rank
  has_positions = rank is not None and rank > 1 and (
      first_rows.shape.rank == rank + 1)
  if not has_positions and batch_size is None:
    check.check_rank("inputs", inputs, [1, 2])
    check.check_shape("outputs", outputs, [None, dim])
    return {}
  check.check_rank("inputs", inputs, [rank])
  check.check_rank("outputs", outputs, [rank + 1])
  for use in outputs if isinstance(outputs, (list, tuple)) else [outputs]:
    check.check_features("outputs", use, views.Arrangement(), dim)
  view = views.View(inputs=views.Arrangement(num_features=0))
  check.check_same_rows(inputs, outputs, view)
  if batch_size is None:
    return {"view": view}
  check.check_batch_size(batch_size)
  return {"view": view, "batch_size": batch_size}


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
