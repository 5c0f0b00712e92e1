"""Registration of dense layers."""

from __future__ import annotations

from typing import Any

from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check


def fully_connected(context: registration.Context, params: Any, inputs: Any,
                    outputs: Any,
                    approx: str | None) -> registration.Registration:
  """See LayerCollection.register_fully_connected."""
  _check(context, params, inputs, outputs)
  check.check_one_use(inputs, outputs)
  block_type, _ = context.block_type("fully_connected", params, approx)
  block = block_type(context.layer_collection,
                     has_bias=registration.has_bias(params))
  return registration.Registration(params, block, (inputs, outputs))


def fully_connected_multi(context: registration.Context, params: Any,
                          inputs: Any, outputs: Any, num_uses: int | None,
                          approx: str | None) -> registration.Registration:
  """See LayerCollection.register_fully_connected_multi."""
  _check(context, params, inputs, outputs)
  check.check_num_uses(num_uses, inputs, outputs)
  block_type, _ = context.block_type("fully_connected_multi", params, approx)
  block = block_type(context.layer_collection,
                     has_bias=registration.has_bias(params), num_uses=num_uses)
  return registration.Registration(params, block, (inputs, outputs))


def _check(context, params, inputs, outputs):
  num_in, num_out = registration.check_layer(
      context.graph, params, [2], inputs, outputs)
  check.check_shape("inputs", inputs, [None, num_in])
  check.check_shape("outputs", outputs, [None, num_out])
