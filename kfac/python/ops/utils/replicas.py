"""Means over the replicas of a computation on TPUs."""

from __future__ import annotations

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
