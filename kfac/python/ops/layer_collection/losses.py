"""Registration of losses: the distributions that the model predicts."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from kfac.python.ops import loss_functions as lf
from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import hints


class LossRegistration(NamedTuple):
  """A tower of a loss: first arguments of register_loss_function.

  Attributes:
    loss: LossFunction.
    colocation_op: Tensor or op that the loss is colocated with.
    base_name: Prefix of the name of a loss without a name.
  """

  loss: lf.LossFunction
  colocation_op: Any
  base_name: str


def categorical(graph: tf.Graph, logits: Any, seed: int | None,
                targets: hints.TensorLike | None) -> LossRegistration:
  """See LayerCollection.register_categorical_predictive_distribution."""
  check.check_graph(graph, "logits", logits)
  return LossRegistration(
      lf.CategoricalLogitsNegativeLogProbLoss(
          logits, targets=targets, seed=seed),
      logits, "categorical_predictive_distribution")


def normal(graph: tf.Graph, mean: Any, var: hints.Scalar, seed: int | None,
           targets: hints.TensorLike | None) -> LossRegistration:
  """See LayerCollection.register_normal_predictive_distribution."""
  check.check_graph(graph, "mean", mean)
  return LossRegistration(
      lf.NormalMeanNegativeLogProbLoss(mean, var, targets=targets, seed=seed),
      mean, "normal_predictive_distribution")


def multi_bernoulli(graph: tf.Graph, logits: Any, seed: int | None,
                    targets: hints.TensorLike | None) -> LossRegistration:
  """See LayerCollection.register_multi_bernoulli_predictive_distribution."""
  check.check_graph(graph, "logits", logits)
  return LossRegistration(
      lf.MultiBernoulliNegativeLogProbLoss(logits, targets=targets, seed=seed),
      logits, "multi_bernoulli_predictive_distribution")


class Losses:
  """The registered losses of a model.

  Attributes:
    colocation_ops: Dict from a loss to the op it is colocated with.
  """

  def __init__(self) -> None:
    """Starts without losses."""
    self._by_name: dict[str, list] = collections.OrderedDict()
    self.colocation_ops: dict[Any, Any] = {}

  def add(self, graph: tf.Graph, loss: Any, colocation_op: Any, base_name: str,
          name: str | None, reuse: hints.Reuse) -> None:
    """See LayerCollection.register_loss_function."""
    if not isinstance(loss, lf.LossFunction):
      raise ValueError(f"loss must be a LossFunction, got {loss!r}.")
    check.check_graph(graph, "loss inputs", tf.nest.flatten(loss.inputs))
    reuse = registration.resolve_reuse(reuse)
    known = name in self._by_name
    if reuse is True and not known:
      raise KeyError(
          f"name must be that of a registered loss to reuse it, got {name!r}.")
    if reuse is False and known:
      raise KeyError(
          f"name must be new unless the loss is reused, got {name!r}.")
    name = name or graph.unique_name(base_name)
    self._by_name.setdefault(name, []).append(loss)
    self.colocation_ops[loss] = colocation_op

  def towers_by_loss(self) -> list:
    """Returns the list over losses of the list of their towers."""
    return [list(towers) for towers in self._by_name.values()]

  def as_list(self) -> list:
    """Returns all losses: by loss, then by tower."""
    return [loss for towers in self._by_name.values() for loss in towers]

  def evaluate(self, how: Callable[[Any], Any]) -> list:
    """Returns the list of a function of each loss, colocated with the loss.

    Args:
      how: Function of a LossFunction that returns a scalar tensor.
    """
    values = []
    for loss in self.as_list():
      with tf.colocate_with(self.colocation_ops[loss]):
        values.append(how(loss))
    return values

  def evaluate_on_samples(self, counter: tf.Tensor | None) -> list:
    """See LayerCollection.eval_losses_on_samples."""
    indices = {loss: index for index, loss in enumerate(self.as_list())}

    def on_sample(loss):
      if counter is None or not isinstance(loss, lf.NegativeLogProbLoss):
        return loss.evaluate_on_sample()
      return loss.evaluate_on_counted_sample(counter, indices[loss])

    return self.evaluate(on_sample)
