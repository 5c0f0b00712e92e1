"""Sums and means over the replicas of a computation on TPUs.

Everywhere else there is one replica.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


def on_tpu() -> bool:
  """Whether ops made now belong to a computation for TPUs.

  Such a computation, made by tf.tpu.replicate and similar functions, marks its
  graph with an op and each of its ops with an attribute. Only in a graph with
  that op is a probe made, whose attribute decides.

  Returns:
    bool.
  """
  if tf.executing_eagerly():
    return False
  graph = tf.get_default_graph()
  # The body of a branch or a loop is a graph inside the marked one.
  while getattr(graph, "outer_graph", None) is not None:
    graph = graph.outer_graph
  if all(op.type != "TPUReplicateMetadata" for op in graph.get_operations()):
    return False
  with graph.as_default():
    probe = tf.no_op(name="on_tpu")
  return "_tpu_replicate" in probe.node_def.attr


def cross_replica_mean(tensor: hints.TensorLike,
                       name: str | None = None) -> tf.Tensor:
  """Averages a tensor over the replicas of the computation being built.

  Args:
    tensor: Tensor of floats, of the same shape in every replica.
    name: Name of the scope of the ops.

  Returns:
    Tensor of the same shape.

  Raises:
    ValueError: Outside of a computation for TPUs.
  """
  if not on_tpu():
    raise ValueError(
        f"cross_replica_mean needs a computation for TPUs, got {tensor!r} "
        "outside of one.")
  with tf.name_scope(name, "cross_replica_mean", [tensor]):
    value = tf.convert_to_tensor(tensor)
    replicas = tf.tpu.cross_replica_sum(tf.ones([], value.dtype))
    return tf.tpu.cross_replica_sum(value) / replicas


def is_replicated() -> bool:
  """Whether ops made now are run by several replicas: the same as `on_tpu`."""
  return on_tpu()


def is_tpu_replicated() -> bool:
  """Does what `on_tpu` does."""
  return on_tpu()


def get_tf_replicator() -> None:
  """Returns None: kfac 0.2.4 could have a replicator."""
  return None


def get_num_replicas() -> int:
  """Returns 1.

  Raises:
    NotImplementedError: In a computation for TPUs.
  """
  _check_one_replica("get_num_replicas")
  return 1


def get_replica_id() -> int:
  """Returns 0.

  Raises:
    NotImplementedError: In a computation for TPUs.
  """
  _check_one_replica("get_replica_id")
  return 0


def all_sum(structure: Any, name: str | None = None) -> Any:
  """Sums each tensor of a structure over the replicas.

  Args:
    structure: Tensor, or nested structure of tensors.
    name: Name of the scope of the ops.

  Returns:
    The structure of the sums; outside of a computation for TPUs, of the tensors
    themselves.
  """
  return _over_replicas(
      structure, tf.tpu.cross_replica_sum, name or "all_sum")


def all_average(structure: Any, name: str | None = None) -> Any:
  """Averages each tensor of a structure over the replicas, see `all_sum`.

  Args:
    structure: Tensor, or nested structure of tensors.
    name: Name of the scope of the ops.

  Returns:
    The structure of the means.
  """
  return _over_replicas(structure, cross_replica_mean, name or "all_average")


def map_gather(thunks: Sequence[hints.Thunk],
               name: str | None = None) -> list:
  """Calls functions that are distributed over the replicas, of which one is.

  Args:
    thunks: Functions without arguments.
    name: Name of the scope of the ops.

  Returns:
    List of what they return.

  Raises:
    NotImplementedError: In a computation for TPUs.
  """
  _check_one_replica("map_gather")
  with tf.name_scope(name, "map_gather"):
    return [thunk() for thunk in thunks]


def _over_replicas(structure, reduce, name):
  """Applies a function to each tensor in a computation for TPUs."""
  with tf.name_scope(name):
    function = reduce if on_tpu() else tf.identity
    return tf.nest.map_structure(function, structure)


def _check_one_replica(function):
  """Raises NotImplementedError in a computation for TPUs."""
  if on_tpu():
    raise NotImplementedError(
        f"{function} is not built for TPUs: use all_sum or all_average.")
