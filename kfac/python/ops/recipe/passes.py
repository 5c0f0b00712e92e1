"""The forward passes of a model that a recipe needs.

There are up to four: the gradient uses the whole batch, the statistics and the
quadratic model use parts of it, and the loss after a step uses the whole batch
again. A pass is built by a function of the user's, or copied from the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import calls
from kfac.python.ops.layer_collection import collection
from kfac.python.ops.utils import graph_copy


def first_sizes(batch: Sequence[tf.Tensor]) -> list:
  """Returns the different first sizes of tensors that are known, as ints."""
  sizes = {None if tensor.shape.ndims is None else tensor.shape.as_list()[0]
           for tensor in batch}
  return sorted(sizes - {None})


def _check_first_sizes(batch):
  """Raises ValueError if tensors cannot have an axis of examples in common."""
  known = first_sizes(batch)
  if not batch or len(known) > 1:
    raise ValueError(
        "batch must have one tensor or more, with equal first sizes, got "
        f"{known if batch else 'none'}.")


def _check_one_tower(layers):
  """Raises ValueError if towers divide a batch, by sizes in the graph."""
  towers = [block.num_registered_towers for block in layers.get_blocks()]
  towers += map(len, layers.towers_by_loss)
  if max(towers, default=1) > 1:
    raise ValueError(
        f"layer_collection must have one tower, got {max(towers)}.")


class BuiltPass:
  """A pass that a function builds.

  Attributes:
    batch: Nested structure of tensors [B, ...].
    layers: LayerCollection of the whole batch.
    loss: Scalar tensor, the mean loss.
    example_losses: Tensor [B]; None if the function returns a scalar.
  """

  def __init__(self, build: Callable[[Any, Any], tf.Tensor],
               batch: Any) -> None:
    """Builds the pass of the whole batch.

    Args:
      build: Function of (layer_collection, batch) that builds a forward pass,
        registers its layers and losses, and returns the loss of each example
        [B], or the mean loss. Another call must use the same variables, for
        instance by tf.get_variable.
      batch: Nested structure of tensors [B, ...].

    Raises:
      ValueError: If the batch has no tensors, or of different first sizes.
    """
    _check_first_sizes(tf.nest.flatten(batch))
    self._build = build
    self.batch = batch
    self.layers = collection.LayerCollection()
    losses = self._built(self.layers, batch)
    self._scope = tf.get_variable_scope()
    self.example_losses = losses if losses.shape.ndims == 1 else None
    self.loss = tf.reduce_mean(losses)

  def _built(self, layers, batch):
    with tf.variable_scope(tf.get_variable_scope(), reuse=tf.AUTO_REUSE):
      return tf.convert_to_tensor(self._build(layers, batch))

  def part(self, examples: tf.Tensor) -> collection.LayerCollection:
    """Registers a pass of some examples.

    Args:
      examples: Int tensor [n], indices of examples.

    Returns:
      LayerCollection.

    Raises:
      ValueError: If the function creates new variables.
    """
    layers = collection.LayerCollection()
    self._built(layers, tf.nest.map_structure(
        lambda tensor: tf.gather(tensor, examples), self.batch))
    new = set(layers.registered_variables) - set(
        self.layers.registered_variables)
    if new:
      raise ValueError(
          "build must use the same variables at each call, got "
          f"{sorted(variable.name for variable in new)} at the second one.")
    return layers

  def loss_again(self) -> tf.Tensor:
    """Computes the loss of the whole batch with the present variables.

    It is copied, so that random numbers are the same, or else built again.
    """
    try:
      return _loss_again(self)
    except graph_copy.NotCopyable:
      with tf.variable_scope(self._scope, auxiliary_name_scope=False):
        return tf.reduce_mean(self._built(_NoRegistrations(), self.batch))


class _NoRegistrations(collection.LayerCollection):
  """A LayerCollection that ignores registrations, for use in a branch."""


for _name in dir(collection.LayerCollection):
  if _name.startswith(("auto_register_", "register_")):
    setattr(_NoRegistrations, _name, lambda self, *args, **kwargs: None)


class CopiedPass:
  """A pass that exists in the graph, and is copied.

  Attributes:
    batch: List of tensors [B, ...]; empty if there are none.
    layers: LayerCollection of the whole batch.
    loss: Scalar tensor.
    example_losses: Tensor [B], or None if they are unknown.
  """

  def __init__(self, layers: collection.LayerCollection, loss: tf.Tensor,
               batch: Any = None, example_losses: Any = None) -> None:
    """Finds the batch and the losses of its examples.

    Args:
      layers: LayerCollection with all layers and losses.
      loss: Scalar tensor, the loss that the gradient is computed of.
      batch: Nested structure of tensors [B, ...]; None to find them.
      example_losses: Tensor [B]; None to find it.

    Raises:
      ValueError: If the batch is given, and has no tensors or different first
        sizes.
    """
    self.layers = layers
    self.loss = tf.convert_to_tensor(loss)
    self.batch = (graph_copy.batch_tensors([self.loss]) if batch is None
                  else tf.nest.flatten(batch))
    if batch is not None:
      _check_first_sizes(self.batch)
    self.example_losses = (
        graph_copy.example_losses(self.loss, self.batch)
        if example_losses is None else example_losses)

  def part(self, examples: tf.Tensor) -> collection.LayerCollection:
    """Registers a copy of the pass for some examples.

    Args:
      examples: Int tensor [n], indices of examples.

    Returns:
      LayerCollection.

    Raises:
      ValueError: If the pass cannot be copied; the message says why.
    """
    _check_first_sizes(self.batch)
    _check_one_tower(self.layers)
    registered = calls.tensors(self.layers)
    replaced = {tensor: tf.gather(tensor, examples) for tensor in self.batch}
    copies = graph_copy.copy(registered, replaced=replaced)
    layers = collection.LayerCollection()
    whole = tf.shape(self.batch[0])[0]
    calls.repeated(
        self.layers, layers,
        {tensor.name: new for tensor, new in zip(
            registered, copies, strict=True)},
        lambda number: number * tf.size(examples) // whole)
    return layers

  def loss_again(self) -> tf.Tensor:
    """Copies the loss with the present variables; all else is the same."""
    return _loss_again(self)


def _loss_again(forward):
  return graph_copy.copy(
      [forward.loss], variables=forward.layers.registered_variables)[0]
