"""LossCollection: the losses of a model, and the graph that they belong to."""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import calls
from kfac.python.ops.layer_collection import losses
from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import hints

VARIABLE_SCOPE = registration.VARIABLE_SCOPE


@calls.recorded
class LossCollection:
  """The losses of a model, as distributions that the model predicts.

  The methods `register_*` share `name` and `reuse`, see LayerCollection.

  Attributes:
    loss_colocation_ops: Dict from a loss to the op it is colocated with.
  """

  def __init__(self, graph: tf.Graph | None, name: str) -> None:
    """Makes an empty collection.

    Args:
      graph: The graph of the model. If None, the collection adopts the graph of
        the first registration.
      name: Name, made unique in the graph.
    """
    self._losses = losses.Losses()
    self._calls: list[calls.Call] = []
    self.loss_colocation_ops = self._losses.colocation_ops
    self._name = name
    self._adopts_graph = graph is None
    self._use_graph(graph or tf.get_default_graph())

  def _use_graph(self, graph: tf.Graph) -> None:
    """Makes a graph that of the collection."""
    self._graph = graph
    with graph.as_default(), tf.variable_scope(None, self._name) as scope:
      self._var_scope = scope.name

  def _adopt_graph_of(self, value: Any) -> tf.Graph:
    """Returns the graph; the first registration may determine it.

    Args:
      value: Tensor or variable, or a (nested) list of them.

    Returns:
      The graph of the collection.

    Raises:
      ValueError: If the graph is the body of a branch, loop or function.
    """
    found = check.graph_of(value)
    if found is not None and self._adopts_graph:
      check.check_not_in_control_flow(found)
      if found is not self._graph:
        self._use_graph(found)
      self._adopts_graph = False
    return self._graph

  @property
  def graph(self) -> tf.Graph:
    """The graph of the model."""
    return self._graph

  @property
  def losses(self) -> list:
    """List of all losses: by loss, then by tower."""
    return self._losses.as_list()

  @property
  def towers_by_loss(self) -> list:
    """List over losses of the list of their towers."""
    return self._losses.towers_by_loss()

  def register_loss_function(
      self, loss: Any, colocation_op: Any, base_name: str,
      name: str | None = None, reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers a loss.

    Args:
      loss: LossFunction.
      colocation_op: Tensor or op that the loss is colocated with.
      base_name: Prefix of the name if `name` is None.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss; as for layers.

    Raises:
      KeyError: If the name is known and not reused, or reused and unknown.
      ValueError: If `loss` is not a LossFunction, or of another graph.
    """
    self._adopt_graph_of(getattr(loss, "inputs", None))
    self._losses.add(
        self._graph, loss, colocation_op, base_name, name, reuse)

  def register_categorical_predictive_distribution(
      self, logits: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers a softmax over classes.

    Args:
      logits: Tensor [batch, classes].
      seed: Seed of the sampled targets.
      targets: Integer tensor [batch]; required by the estimation mode
        "empirical" and by total_loss alone.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
    """
    self.register_loss_function(
        *losses.categorical(
            self._adopt_graph_of(logits), logits, seed, targets), name, reuse)

  def register_normal_predictive_distribution(
      self, mean: hints.TensorLike, var: hints.Scalar = 0.5,
      seed: int | None = None, targets: hints.TensorLike | None = None,
      name: str | None = None, reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers a normal distribution of known variance.

    Args:
      mean: Tensor [batch, dims].
      var: Variance. With the default, the negative log probability is the sum
        of squared errors, up to a constant.
      seed: Seed of the sampled targets.
      targets: Tensor like `mean`; required by the estimation mode "empirical"
        and by total_loss alone.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
    """
    self.register_loss_function(
        *losses.normal(self._adopt_graph_of(mean), mean, var, seed, targets),
        name, reuse)

  def register_multi_bernoulli_predictive_distribution(
      self, logits: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers independent Bernoulli variables.

    Args:
      logits: Tensor [batch, dims].
      seed: Seed of the sampled targets.
      targets: Tensor like `logits` of zeros and ones; required by the
        estimation mode "empirical" and by total_loss alone.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
    """
    self.register_loss_function(
        *losses.multi_bernoulli(
            self._adopt_graph_of(logits), logits, seed, targets), name, reuse)

  def eval_losses(self) -> list:
    """Returns the list of the losses on their targets, scalar tensors."""
    return self._losses.evaluate(lambda loss: loss.evaluate())

  def eval_losses_on_samples(self, counter: tf.Tensor | None = None) -> list:
    """Returns the losses on sampled targets.

    Args:
      counter: Int64 tensor [] that determines the samples, or None.
    """
    return self._losses.evaluate_on_samples(counter)

  def total_loss(self) -> tf.Tensor:
    """Returns the sum of the losses on their targets."""
    return tf.add_n(self.eval_losses())

  def total_sampled_loss(self, counter: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the sum of eval_losses_on_samples(counter)."""
    return tf.add_n(self.eval_losses_on_samples(counter))
