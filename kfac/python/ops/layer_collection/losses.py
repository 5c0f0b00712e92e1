"""Registration of losses: the distributions that the model predicts."""

from __future__ import annotations

import collections
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import loss_functions as lf
from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.loss_functions import coefficients
from kfac.python.ops.tensormatch import losses as graph_losses
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import workers


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


def onehot_categorical(graph: tf.Graph, logits: Any, seed: int | None,
                       targets: hints.TensorLike | None) -> LossRegistration:
  """See register_onehot_categorical_predictive_distribution."""
  check.check_graph(graph, "logits", logits)
  return LossRegistration(
      lf.OnehotCategoricalLogitsNegativeLogProbLoss(
          logits, targets=targets, seed=seed),
      logits, "onehot_categorical_predictive_distribution")


def normal(graph: tf.Graph, mean: Any, var: hints.Scalar, seed: int | None,
           targets: hints.TensorLike | None,
           variables: Sequence[Any]) -> LossRegistration:
  """See LayerCollection.register_normal_predictive_distribution."""
  check.check_graph(graph, "mean", mean)
  loss = lf.NormalMeanNegativeLogProbLoss(
      mean, var, targets=targets, seed=seed)
  check_fixed_variances([loss], variables)
  return LossRegistration(loss, mean, "normal_predictive_distribution")


def check_fixed_variances(losses: Sequence[lf.LossFunction],
                          variables: Sequence[Any]) -> None:
  """Raises ValueError if the variance of a normal depends on layers.

  Its class takes the variance for a constant. A variance that a layer predicts
  has a Fisher matrix of its own.

  Args:
    losses: List of LossFunctions.
    variables: The registered variables.
  """
  for loss in losses:
    if isinstance(loss, lf.NormalMeanNegativeLogProbLoss):
      var: Any = loss._var
      variable = graph_losses.first_dependency(var, variables)
      if variable is not None:
        raise ValueError(
            "var must not depend on registered variables, use "
            "register_normal_mean_and_variance_predictive_distribution, got "
            f"{var.name}, which depends on {variable.name}.")


def normal_mean_and_variance(
    graph: tf.Graph, mean: Any, variance: Any, seed: int | None,
    targets: hints.TensorLike | None) -> LossRegistration:
  """See register_normal_mean_and_variance_predictive_distribution."""
  check.check_graph(graph, "mean", mean)
  check.check_graph(graph, "variance", variance)
  return LossRegistration(
      lf.NormalMeanVarianceNegativeLogProbLoss(
          mean, variance, targets=targets, seed=seed),
      mean, "normal_mean_and_variance_predictive_distribution")


def squared_error(graph: tf.Graph, prediction: Any, seed: int | None,
                  targets: hints.TensorLike | None) -> LossRegistration:
  """See LayerCollection.register_squared_error_loss."""
  check.check_graph(graph, "prediction", prediction)
  check.check_rank("prediction", prediction, [1, 2])
  mean = prediction
  if prediction.shape.rank == 1:
    # Estimation mode "exact" takes examples with one dimension of outputs.
    mean, targets = tf.expand_dims(prediction, 1), _as_column(targets)
  return LossRegistration(
      lf.NormalMeanNegativeLogProbLoss(mean, targets=targets, seed=seed),
      prediction, "squared_error_loss")


def _as_column(targets):
  """Returns targets [batch] as [batch, 1]; others as they are."""
  if hasattr(targets, "graph"):
    return tf.expand_dims(targets, 1) if targets.shape.rank == 1 else targets
  is_array = isinstance(targets, (np.ndarray, list, tuple))
  return np.expand_dims(targets, 1) if (
      is_array and np.ndim(targets) == 1) else targets


def multi_bernoulli(graph: tf.Graph, logits: Any, seed: int | None,
                    targets: hints.TensorLike | None) -> LossRegistration:
  """See LayerCollection.register_multi_bernoulli_predictive_distribution."""
  check.check_graph(graph, "logits", logits)
  return LossRegistration(
      lf.MultiBernoulliNegativeLogProbLoss(logits, targets=targets, seed=seed),
      logits, "multi_bernoulli_predictive_distribution")


def find_terms(loss: tf.Tensor, variables: Sequence[Any],
               batch_size: Any) -> list[tuple[str, dict]]:
  """Finds what LossCollection.register_losses_of registers.

  Args:
    loss: Scalar tensor.
    variables: The variables that are trained.
    batch_size: Number of examples, or None.

  Returns:
    List of pairs: the name of a method, and its arguments.

  Raises:
    ValueError: If a term cannot be registered, or there is none.
  """
  terms, problems = graph_losses.find(loss, variables)
  if not terms and not problems:
    problems = ["no term that depends on data and on trained variables"]
  rows = {term.prediction.shape.as_list()[0] for term in terms} - {None}
  if len(rows) > 1 and batch_size is None:
    problems.append(
        f"predictions of {sorted(rows)} examples, where batch_size must tell")
  if problems:
    raise ValueError(
        "loss must be a weighted sum of softmax cross entropies, sigmoid cross "
        f"entropies and squared errors, got {'; '.join(problems)}.")
  return [_call(term, term.weight.times_rows(term.prediction, batch_size))
          for term in terms]


def _call(term, coeff):
  """Returns the method that registers a Term, and its arguments."""
  prediction, targets = term.prediction, term.targets
  if term.kind == "softmax":
    is_onehot = targets.shape.rank == prediction.shape.rank
    method = ("register_onehot_categorical_predictive_distribution"
              if is_onehot else "register_categorical_predictive_distribution")
    return method, {"logits": prediction, "targets": targets, "coeff": coeff}
  prediction, targets = _as_matrix(prediction), _as_matrix(targets)
  if term.kind == "sigmoid":
    return "register_multi_bernoulli_predictive_distribution", {
        "logits": prediction, "targets": targets, "coeff": coeff}
  return "register_normal_predictive_distribution", {
      "mean": prediction, "targets": targets, "coeff": coeff}


def _as_matrix(tensor):
  """Returns a tensor [rows, ...] as [rows, dims] where dims are known."""
  lengths = tensor.shape.as_list()[1:]
  if len(lengths) == 1 or None in lengths:
    return tensor
  return tf.reshape(tensor, [-1, int(np.prod(lengths, dtype=np.int64))])


class Losses:
  """The registered losses of a model.

  Attributes:
    coeffs: Dict from a loss to its coefficient, a number or a scalar tensor.
    colocation_ops: Dict from a loss to the op it is colocated with.
  """

  def __init__(self) -> None:
    """Starts without losses."""
    self._by_name: dict[str, list] = collections.OrderedDict()
    self.coeffs: dict[Any, Any] = {}
    self.colocation_ops: dict[Any, Any] = {}

  def add(self, graph: tf.Graph, loss: Any, colocation_op: Any, base_name: str,
          name: str | None, reuse: hints.Reuse, coeff: hints.Scalar) -> None:
    """See LayerCollection.register_loss_function."""
    if not isinstance(loss, lf.LossFunction):
      raise ValueError(f"loss must be a LossFunction, got {loss!r}.")
    check.check_graph(graph, "loss inputs", tf.nest.flatten(loss.inputs))
    coefficients.check(coeff)
    if not scalars.is_number(coeff):
      check.check_graph(graph, "coeff", coeff)
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
    self.coeffs[loss] = coeff
    self.colocation_ops[loss] = colocation_op

  def towers_by_loss(self) -> list:
    """Returns the list over losses of the list of their towers."""
    return [list(towers) for towers in self._by_name.values()]

  def as_list(self) -> list:
    """Returns all losses: by loss, then by tower."""
    return [loss for towers in self._by_name.values() for loss in towers]

  def evaluate(self, how: Callable[[Any], Any], coeff_mode: str) -> list:
    """Returns the list of a function of each loss, colocated with the loss.

    Args:
      how: Function of a LossFunction that returns a scalar tensor.
      coeff_mode: How coefficients count, see LossCollection.eval_losses.

    Raises:
      ValueError: If there is no such coeff_mode.
    """
    coefficients.check_mode(coeff_mode)
    values = []
    for loss in self.as_list():
      with tf.colocate_with(self.colocation_ops[loss]):
        values.append(
            coefficients.scaled(how(loss), self.coeffs[loss], coeff_mode))
    return values

  def evaluate_on_samples(self, counter: tf.Tensor | None,
                          coeff_mode: str) -> list:
    """See LayerCollection.eval_losses_on_samples."""
    indices = {loss: index for index, loss in enumerate(self.as_list())}

    def on_sample(loss):
      if counter is None or not isinstance(loss, lf.NegativeLogProbLoss):
        return loss.evaluate_on_sample()
      return loss.evaluate_on_counted_sample(
          counter, workers.current().numbered(indices[loss]))

    return self.evaluate(on_sample, coeff_mode)
