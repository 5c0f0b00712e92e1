"""Counts the bytes that a session.run copies between devices.

TensorFlow divides a graph by device and adds a pair of nodes, send and receive,
for each tensor that another device needs. It traces the size of whatever such a
node sends, also between the tasks of a cluster:

    counts = copied_bytes.measure(session, optimizer.cov_update_op)
    for (sender, receiver), count in counts.items():
      print(sender, receiver, count)

The CPU devices of one process share their memory, so that nothing is really
copied between them. They count like others, which makes them a model of
accelerators.
"""

import collections

import numpy as np
import tensorflow.compat.v1 as tf

_SENDS = ("_Send", "_HostSend")
_RECEIVES = ("_Recv", "_HostRecv")
# Dtypes of which only a reference is traced.
_REFERENCES = (tf.string, tf.resource, tf.variant)


def measure(session, fetches, feed_dict=None):
  """Runs fetches with a trace, and counts what was copied.

  Args:
    session: Session.
    fetches: See tf.Session.run.
    feed_dict: See tf.Session.run; its keys are tensors.

  Returns:
    See `count`.

  Raises:
    ValueError: See `count`.
  """
  options = tf.RunOptions(
      trace_level=tf.RunOptions.FULL_TRACE, output_partition_graphs=True)
  metadata = tf.RunMetadata()
  session.run(fetches, feed_dict, options=options, run_metadata=metadata)
  feed_sizes = {
      tensor.name: np.asarray(value, tensor.dtype.as_numpy_dtype).nbytes
      for tensor, value in (feed_dict or {}).items()}
  return count(metadata, feed_sizes)


def count(metadata, feed_sizes=None):
  """Counts what was copied in a run.

  Not counted are strings, resource handles and lists of tensors; nor feeds and
  fetches between the client and the device that it talks to, which is the first
  CPU of a process. From there on and up to there they count.

  Args:
    metadata: tf.RunMetadata of a run with FULL_TRACE and
      output_partition_graphs.
    feed_sizes: Dict from names of fed tensors to numbers of bytes. In a
      cluster, these are needed for feeds that are sent to another device.

  Returns:
    Counter of bytes by (sending device, receiving device), without zeros.

  Raises:
    ValueError: If the run was not traced, or if the size of a feed is needed.
  """
  if not metadata.partition_graphs or not metadata.step_stats.dev_stats:
    raise ValueError(
        "metadata must be of a run with FULL_TRACE and "
        "output_partition_graphs.")
  sizes = _Sizes(metadata, feed_sizes or {})
  copied = collections.Counter()
  for graph in metadata.partition_graphs:
    for node in graph.node:
      if node.op in _SENDS and not node.attr["client_terminated"].b:
        copied[_text(node, "send_device"), _text(node, "recv_device")] += (
            sizes.of(node.device, node.input[0]))
  return +copied


class _Sizes:
  """The numbers of bytes of the tensors of a run."""

  def __init__(self, metadata, feed_sizes):
    self._feed_sizes = feed_sizes
    # A tensor in a loop is computed several times.
    self._traced = collections.Counter()
    for stats in metadata.step_stats.dev_stats:
      for node in stats.node_stats:
        for output in node.output:
          key = stats.device, node.node_name, output.slot
          self._traced[key] += _size(output.tensor_description)
    self._nodes, self._senders = {}, {}
    for graph in metadata.partition_graphs:
      for node in graph.node:
        self._nodes[node.device, node.name] = node
        if node.op in _SENDS:
          self._senders[_text(node, "tensor_name"), node.attr[
              "recv_device"].s] = node

  def of(self, device, name):
    """Returns the bytes of a node's input, summed over its computations."""
    if name.startswith("^"):
      return 0
    name, _, slot = name.partition(":")
    node = self._nodes[device, name]
    if node.op not in _RECEIVES:  # These are not traced.
      return self._traced[device, name, int(slot or 0)]
    if not node.attr["client_terminated"].b:
      sender = self._senders[
          _text(node, "tensor_name"), node.attr["recv_device"].s]
      return self.of(sender.device, sender.input[0])
    feed = _text(node, "tensor_name")
    if feed not in self._feed_sizes:
      raise ValueError(f"feed_sizes must contain {feed!r}, which is sent.")
    return self._feed_sizes[feed]


def _size(description):
  if not description.dtype:  # Of a transfer, not of an op.
    return 0
  dtype = tf.as_dtype(description.dtype).base_dtype
  if dtype in _REFERENCES:
    return 0
  return dtype.size * int(np.prod(
      [dimension.size for dimension in description.shape.dim], dtype=np.int64))


def _text(node, attribute):
  return node.attr[attribute].s.decode()
