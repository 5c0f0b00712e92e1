"""Registration of parameters whose use is unknown or not supported."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import hints


def generic(context: registration.Context, params: Any,
            batch_size: hints.Scalar,
            approx: str | None) -> registration.Registration:
  """See LayerCollection.register_generic."""
  check.check_not_empty("params", params)
  check.check_graph(context.graph, "params", params)
  check.check_dtype("params", params, "floating")
  batch_size = tf.compat.dimension_value(batch_size)
  check.check_batch_size(batch_size)
  block_type, _ = context.block_type("generic", params, approx)
  return registration.Registration(
      params, block_type(context.layer_collection, params), (batch_size,))
