"""Registration of losses: the distributions that the model predicts.

`reuse` is as for layers: with True, the tensors are another tower of the loss
of that name.
"""

from __future__ import annotations

from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops import loss_functions as lf
from kfac.python.ops.layer_collection import layers
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.utils import hints


class LossRegistrations:
  """The loss-registering half of LayerCollection."""

  @property
  def losses(self) -> list:
    """All losses, a list: by loss, then by tower."""
    return [loss for towers in self.towers_by_loss for loss in towers]

  @property
  def towers_by_loss(self) -> list:
    """For each loss the list of its towers."""
    return [list(towers) for towers in self._loss_dict.values()]

  def register_loss_function(
      self, loss: Any, colocation_op: Any, base_name: str,
      name: str | None = None,
      reuse: hints.Reuse = layers.VARIABLE_SCOPE) -> None:
    """Registers a loss.

    Args:
      loss: LossFunction.
      colocation_op: Tensor or op beside which the loss is evaluated.
      base_name: What the name is made of if there is none.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.

    Raises:
      KeyError: If the name is known and not reused, or reused and unknown.
      ValueError: If `loss` is not a LossFunction, or of another graph.
    """
    if not isinstance(loss, lf.LossFunction):
      raise ValueError(f"loss must be a LossFunction, got {loss!r}.")
    check.check_graph(self._graph, "loss inputs", tf.nest.flatten(loss.inputs))
    reuse = layers.resolve_reuse(reuse)
    known = name in self._loss_dict
    if reuse is True and not known:
      raise KeyError(
          f"name must be that of a registered loss to reuse it, got {name!r}."
          )
    if reuse is False and known:
      raise KeyError(
          f"name must be new unless the loss is reused, got {name!r}.")
    name = name or self._graph.unique_name(base_name)
    self._loss_dict.setdefault(name, []).append(loss)
    self.loss_colocation_ops[loss] = colocation_op

  def register_categorical_predictive_distribution(
      self, logits: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      reuse: hints.Reuse = layers.VARIABLE_SCOPE) -> None:
    """Registers a softmax over classes.

    Args:
      logits: Tensor [batch, classes].
      seed: Seed of the sampled targets.
      targets: Integer tensor [batch]; needed only by the estimation mode
        "empirical" and by total_loss.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
    """
    check.check_graph(self._graph, "logits", logits)
    self.register_loss_function(
        lf.CategoricalLogitsNegativeLogProbLoss(
            logits, targets=targets, seed=seed),
        logits, "categorical_predictive_distribution", name=name, reuse=reuse)

  def register_normal_predictive_distribution(
      self, mean: hints.TensorLike, var: hints.Scalar = 0.5,
      seed: int | None = None, targets: hints.TensorLike | None = None,
      name: str | None = None,
      reuse: hints.Reuse = layers.VARIABLE_SCOPE) -> None:
    """Registers a normal distribution of known variance.

    Args:
      mean: Tensor [batch, dims].
      var: Variance. With the default, minus the log probability is the sum of
        squared errors, up to a constant.
      seed: Seed of the sampled targets.
      targets: Tensor like `mean`; needed only by the estimation mode
        "empirical" and by total_loss.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
    """
    check.check_graph(self._graph, "mean", mean)
    self.register_loss_function(
        lf.NormalMeanNegativeLogProbLoss(
            mean, var, targets=targets, seed=seed),
        mean, "normal_predictive_distribution", name=name, reuse=reuse)

  def register_multi_bernoulli_predictive_distribution(
      self, logits: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      reuse: hints.Reuse = layers.VARIABLE_SCOPE) -> None:
    """Registers independent yes-or-no variables.

    Args:
      logits: Tensor [batch, dims].
      seed: Seed of the sampled targets.
      targets: Tensor like `logits` of zeros and ones; needed only by the
        estimation mode "empirical" and by total_loss.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
    """
    check.check_graph(self._graph, "logits", logits)
    self.register_loss_function(
        lf.MultiBernoulliNegativeLogProbLoss(
            logits, targets=targets, seed=seed),
        logits, "multi_bernoulli_predictive_distribution", name=name,
        reuse=reuse)

  def _evaluate(self, how):
    values = []
    for loss in self.losses:
      with tf.colocate_with(self.loss_colocation_ops[loss]):
        values.append(how(loss))
    return values

  def eval_losses(self) -> tf.Tensor:
    """Returns each loss on its targets, a list of scalars."""
    return self._evaluate(lambda loss: loss.evaluate())

  def eval_losses_on_samples(self) -> tf.Tensor:
    """Returns each loss on targets sampled from the model, as scalars."""
    return self._evaluate(lambda loss: loss.evaluate_on_sample())

  def total_loss(self) -> tf.Tensor:
    """Returns the sum of the losses on their targets."""
    return tf.add_n(self.eval_losses())

  def total_sampled_loss(self) -> tf.Tensor:
    """Returns the sum of the losses on targets sampled from the model."""
    return tf.add_n(self.eval_losses_on_samples())
