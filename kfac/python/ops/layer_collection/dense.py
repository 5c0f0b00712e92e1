"""Registration of dense layers."""

from __future__ import annotations

from typing import Any

from kfac.python.ops.fisher_blocks import views
from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check


def fully_connected(context: registration.Context, params: Any, inputs: Any,
                    outputs: Any, approx: str | None,
                    view: views.View | None = None,
                    batch_size: Any = None) -> registration.Registration:
  """See LayerCollection.register_fully_connected."""
  settings = _check(context, params, inputs, outputs, view, batch_size)
  check.check_one_use(inputs, outputs)
  block_type, _ = context.block_type("fully_connected", params, approx)
  block = block_type(context.layer_collection,
                     has_bias=registration.has_bias(params), **settings)
  return registration.Registration(params, block, (inputs, outputs))


def fully_connected_multi(context: registration.Context, params: Any,
                          inputs: Any, outputs: Any, num_uses: int | None,
                          approx: str | None, view: views.View | None = None,
                          batch_size: Any = None) -> registration.Registration:
  """See LayerCollection.register_fully_connected_multi."""
  settings = _check(context, params, inputs, outputs, view, batch_size)
  check.check_num_uses(num_uses, inputs, outputs)
  block_type, name = context.block_type("fully_connected_multi", params, approx)
  if settings and name.startswith("kron_series"):
    raise ValueError("approx must be 'kron_indep' for inputs of rank above 2, "
                     f"got {name!r}.")
  block = block_type(
      context.layer_collection, has_bias=registration.has_bias(params),
      num_uses=num_uses, **settings)
  return registration.Registration(params, block, (inputs, outputs))


def _check(context, params, inputs, outputs, view, batch_size):
  """Checks a dense layer, and returns the settings of its block by name."""
  check.check_not_empty("params", params)
  weights, *bias = params if isinstance(params, (list, tuple)) else [params]
  if view is None:
    shape = registration.check_layer(
        context.graph, params, [2], inputs, outputs)
    if _max_rank(inputs) <= 2 and batch_size is None:
      check.check_shape("inputs", inputs, [None, shape[0]])
      check.check_shape("outputs", outputs, [None, shape[1]])
      return {}
    view = views.DENSE  # The axes between examples and features are positions.
  else:
    shape = registration.check_layer(
        context.graph, weights, list(range(1, 9)), inputs, outputs, view=view)
  num_in, num_out = view.matrix_shape(shape)
  for variable in bias:
    check.check_graph(context.graph, "params", variable)
    check.check_num_elements("bias", variable, num_out)
  for name, tensors, arrangement, size in (
      ("inputs", inputs, view.inputs, num_in),
      ("outputs", outputs, view.outputs, num_out)):
    for tensor in tensors if isinstance(tensors, (list, tuple)) else [tensors]:
      check.check_features(name, tensor, arrangement, size)
  check.check_same_rows(inputs, outputs, view)
  if batch_size is None:
    return {"view": view}
  check.check_batch_size(batch_size)
  return {"view": view, "batch_size": batch_size}


def _max_rank(tensors):
  """Returns the largest rank of a tensor or of a list of them."""
  tensors = tensors if isinstance(tensors, (list, tuple)) else [tensors]
  return max(tensor.shape.rank or 0 for tensor in tensors)
