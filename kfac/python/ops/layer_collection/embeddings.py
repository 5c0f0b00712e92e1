"""Registration of embedding layers, whose table may be partitioned."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import layers
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import hints


class EmbeddingRegistrations(layers.LayerRegistrations):
  """Embedding layers; see layers.py for `approx` and `reuse`."""

  def register_embedding(self, params: hints.Vector, inputs: hints.TensorLike,
                         outputs: hints.TensorLike, approx: str | None = None,
                         reuse: hints.Reuse = layers.VARIABLE_SCOPE, *,
                         partition_strategy: str = "mod") -> None:
    """Registers an embedding layer, outputs = sum of the rows of W picked.

    Args:
      params: W [vocab_size, dim]; or a partitioned variable, or the list of
        its parts.
      inputs: Integer tensor [batch], or [batch, ids of an example].
      outputs: Tensor [batch, dim].
      approx: "kron" (default).
      reuse: See layers.py.
      partition_strategy: What tf.nn.embedding_lookup was given: "mod" or
        "div". It counts only if there are several parts.
    """
    params, inputs, vocab_size = self._check_embedding(
        params, inputs, outputs, partition_strategy)
    block_type, _ = self._get_block_type(
        params, approx, self.default_embedding_approximation,
        layers._EMBEDDING_APPROX_TO_BLOCK_TYPES)
    check.check_one_use(inputs, outputs)
    self._register(params, block_type(self, vocab_size), reuse, 1, inputs,
                   outputs)

  def register_embedding_multi(self, params: hints.Vector,
                               inputs: hints.OneOrMore,
                               outputs: hints.OneOrMore,
                               num_uses: int | None = None,
                               approx: str | None = None,
                               reuse: hints.Reuse = layers.VARIABLE_SCOPE, *,
                               partition_strategy: str = "mod") -> None:
    """Registers an embedding layer that is used several times.

    Args:
      params: As in register_embedding.
      inputs: List over uses of integer tensors [batch] or [batch, ids of a
        example]; or one tensor [uses * batch, ..], all of the first use before
        all of the second.
      outputs: The same, [.., dim].
      num_uses: Number of uses, needed with one tensor.
      approx: "kron_indep" (default).
      reuse: See layers.py.
      partition_strategy: As in register_embedding.
    """
    params, inputs, vocab_size = self._check_embedding(
        params, inputs, outputs, partition_strategy)
    block_type, _ = self._get_block_type(
        params, approx, self.default_embedding_multi_approximation,
        layers._EMBEDDING_MULTI_APPROX_TO_BLOCK_TYPES)
    block = block_type(self, vocab_size, num_uses=num_uses)
    self._register(params, block, reuse, layers.graph_uses(inputs), inputs,
                   outputs)

  def _check_embedding(self, params, inputs, outputs, partition_strategy):
    """Checks an embedding layer.

    Args:
      params: As in register_embedding.
      inputs: Tensor, or list over uses.
      outputs: The same.
      partition_strategy: As in register_embedding.

    Returns:
      Key of the layer; inputs, as rows of the parts laid one after the other;
      size of the vocabulary.
    """
    parts = _parts(params)
    if partition_strategy not in ("mod", "div"):
      raise ValueError(
          "partition_strategy must be 'mod' or 'div', got "
          f"{partition_strategy!r}.")
    if any(part.shape.rank == 1 for part in parts[1:]):
      raise ValueError(
          "params must be W without a bias, got "
          f"{[part.name for part in parts]}.")
    for part in parts:
      _, dim = self._check_layer(part, [2], inputs, outputs, "integer")
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
    return list(params)  # a partitioned variable
  return [params]


def _rows_of_mod(ids, sizes):
  """Where the parts of a table of strategy "mod" hold some ids.

  Id i is row i // n of part i mod n, for n parts.

  Args:
    ids: Integer tensor, or list of such.
    sizes: Rows of each part.

  Returns:
    Integer tensor, or list: rows of the parts laid one after the other.
  """
  if isinstance(ids, (list, tuple)):
    return [_rows_of_mod(one, sizes) for one in ids]
  starts = tf.constant([sum(sizes[:i]) for i in range(len(sizes))], ids.dtype)
  return tf.gather(starts, ids % len(sizes)) + ids // len(sizes)
