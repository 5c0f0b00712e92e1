"""LossCollection: the losses of a model, and the graph that they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.layer_collection import calls
from kfac.python.ops.layer_collection import losses
from kfac.python.ops.layer_collection import registration
from kfac.python.ops.layer_collection import validation as check
from kfac.python.ops.loss_functions import coefficients
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

VARIABLE_SCOPE = registration.VARIABLE_SCOPE


@calls.recorded
class LossCollection:
  """The losses of a model, as distributions that the model predicts.

  The methods `register_*` share `name` and `reuse`, see LayerCollection, and
  `coeff`, a number >= 0 or a scalar tensor: it multiplies the loss, and so its
  Fisher matrix.

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
    self._is_final = False
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
  def registered_variables(self) -> tuple:
    """Tuple of all variables of registered layers."""
    return ()

  @property
  def losses(self) -> list:
    """List of all losses: by loss, then by tower."""
    return self._losses.as_list()

  @property
  def towers_by_loss(self) -> list:
    """List over losses of the list of their towers."""
    return self._losses.towers_by_loss()

  @property
  def loss_coeffs(self) -> dict:
    """Dict from a loss to its coefficient, a number or a scalar tensor."""
    return dict(self._losses.coeffs)

  def register_loss_function(
      self, loss: Any, colocation_op: Any, base_name: str,
      name: str | None = None, reuse: hints.Reuse = VARIABLE_SCOPE, *,
      coeff: hints.Scalar = 1.) -> None:
    """Registers a loss.

    Args:
      loss: LossFunction.
      colocation_op: Tensor or op that the loss is colocated with.
      base_name: Prefix of the name if `name` is None.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss; as for layers.
      coeff: See the class.

    Raises:
      KeyError: If the name is known and not reused, or reused and unknown.
      ValueError: If `loss` is not a LossFunction, or of another graph, or
        `coeff` is negative or no scalar.
    """
    self._adopt_graph_of(getattr(loss, "inputs", None))
    self._losses.add(
        self._graph, loss, colocation_op, base_name, name, reuse, coeff)

  def register_categorical_predictive_distribution(
      self, logits: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      reuse: hints.Reuse = VARIABLE_SCOPE, *,
      coeff: hints.Scalar = 1.) -> None:
    """Registers a softmax over classes.

    Args:
      logits: Tensor [batch, classes].
      seed: Seed of the sampled targets.
      targets: Integer tensor [batch]; required by the estimation mode
        "empirical" and by total_loss alone.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
      coeff: See the class.
    """
    self.register_loss_function(
        *losses.categorical(
            self._adopt_graph_of(logits), logits, seed, targets), name, reuse,
        coeff=coeff)

  def register_onehot_categorical_predictive_distribution(
      self, logits: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      reuse: hints.Reuse = VARIABLE_SCOPE, *,
      coeff: hints.Scalar = 1.) -> None:
    """Registers a softmax over classes whose targets are rows.

    Args:
      logits: Tensor [batch, classes].
      seed: Seed of the sampled targets.
      targets: Tensor [batch, classes] of one-hot rows or of probabilities;
        required by the estimation mode "empirical" and by total_loss alone.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
      coeff: See the class.
    """
    self.register_loss_function(
        *losses.onehot_categorical(
            self._adopt_graph_of(logits), logits, seed, targets), name, reuse,
        coeff=coeff)

  def register_softmax_cross_entropy_loss(
      self, logits: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      coeff: hints.Scalar = 1., reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Another name of register_categorical_predictive_distribution (0.2.4).

    Args:
      logits: Tensor [batch, classes].
      seed: Seed of the sampled targets.
      targets: Integer tensor [batch], or None.
      name: Name of the loss, or None for a new one.
      coeff: See the class.
      reuse: Whether this is another tower of a registered loss.
    """
    self.register_categorical_predictive_distribution(
        logits, seed, targets, name, reuse, coeff=coeff)

  def register_normal_predictive_distribution(
      self, mean: hints.TensorLike, var: hints.Scalar = 0.5,
      seed: int | None = None, targets: hints.TensorLike | None = None,
      name: str | None = None, reuse: hints.Reuse = VARIABLE_SCOPE, *,
      coeff: hints.Scalar = 1.) -> None:
    """Registers a normal distribution of known variance.

    Args:
      mean: Tensor [batch, dims].
      var: Variance, which must not depend on registered variables. With the
        default, the negative log probability is the sum of squared errors, up
        to a constant.
      seed: Seed of the sampled targets.
      targets: Tensor like `mean`; required by the estimation mode "empirical"
        and by total_loss alone.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
      coeff: See the class.
    """
    self.register_loss_function(
        *losses.normal(self._adopt_graph_of(mean), mean, var, seed, targets,
                       self.registered_variables), name, reuse, coeff=coeff)

  def register_normal_mean_and_variance_predictive_distribution(
      self, mean: hints.TensorLike, variance: hints.TensorLike,
      seed: int | None = None, targets: hints.TensorLike | None = None,
      name: str | None = None, reuse: hints.Reuse = VARIABLE_SCOPE, *,
      coeff: hints.Scalar = 1.) -> None:
    """Registers a normal distribution whose variance is predicted too.

    Args:
      mean: Tensor [batch, dims].
      variance: Tensor > 0 that broadcasts with it, for example [batch, 1].
      seed: Seed of the sampled targets.
      targets: Tensor like `mean`; required by the estimation mode "empirical"
        and by total_loss alone.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
      coeff: See the class.
    """
    self.register_loss_function(
        *losses.normal_mean_and_variance(
            self._adopt_graph_of(mean), mean, variance, seed, targets),
        name, reuse, coeff=coeff)

  def register_squared_error_loss(
      self, prediction: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      coeff: hints.Scalar = 1., reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Registers the sum of squared errors: a normal with variance 1/2 (0.2.4).

    Args:
      prediction: Tensor [batch] or [batch, dims].
      seed: Seed of the sampled targets.
      targets: Tensor like `prediction`; required by the estimation mode
        "empirical" and by total_loss alone.
      name: Name of the loss, or None for a new one.
      coeff: See the class.
      reuse: Whether this is another tower of a registered loss.
    """
    self.register_loss_function(
        *losses.squared_error(self._adopt_graph_of(prediction), prediction,
                              seed, targets), name, reuse, coeff=coeff)

  def register_multi_bernoulli_predictive_distribution(
      self, logits: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      reuse: hints.Reuse = VARIABLE_SCOPE, *,
      coeff: hints.Scalar = 1.) -> None:
    """Registers independent Bernoulli variables.

    Args:
      logits: Tensor [batch, dims].
      seed: Seed of the sampled targets.
      targets: Tensor like `logits` of zeros and ones; required by the
        estimation mode "empirical" and by total_loss alone.
      name: Name of the loss, or None for a new one.
      reuse: Whether this is another tower of a registered loss.
      coeff: See the class.
    """
    self.register_loss_function(
        *losses.multi_bernoulli(
            self._adopt_graph_of(logits), logits, seed, targets), name, reuse,
        coeff=coeff)

  def register_sigmoid_cross_entropy_loss(
      self, logits: hints.TensorLike, seed: int | None = None,
      targets: hints.TensorLike | None = None, name: str | None = None,
      coeff: hints.Scalar = 1., reuse: hints.Reuse = VARIABLE_SCOPE) -> None:
    """Another name of register_multi_bernoulli_predictive_distribution (0.2.4).

    Args:
      logits: Tensor [batch, dims].
      seed: Seed of the sampled targets.
      targets: Tensor like `logits` of zeros and ones, or None.
      name: Name of the loss, or None for a new one.
      coeff: See the class.
      reuse: Whether this is another tower of a registered loss.
    """
    self.register_multi_bernoulli_predictive_distribution(
        logits, seed, targets, name, reuse, coeff=coeff)

  def register_losses_of(self, loss: tf.Tensor,
                         var_list: Sequence[Any] | None = None,
                         batch_size: hints.Scalar | None = None) -> list:
    """Registers the losses that a scalar is a sum of.

    These are softmax and sigmoid cross entropies and squared errors in the
    graph of the scalar, with their targets. Terms that do not depend both on
    data and on variables, such as L2 regularization, are left out. The
    coefficients are those with which the sum of the registered losses is, up to
    constants, `batch_size` times the scalar without what is left out.

    Args:
      loss: Scalar tensor.
      var_list: The variables that are trained; by default the trainable ones of
        the graph.
      batch_size: Number of examples, int or scalar tensor; by default the
        number of rows of each prediction.

    Returns:
      List over the registered losses of pairs: the name of the method that
      registers it, and a dict of its arguments.

    Raises:
      ValueError: If the loss has a term of another kind, or one whose weight
        differs between examples. It says for each why, and nothing is
        registered.
    """
    graph = self._adopt_graph_of(loss)
    check.check_graph(graph, "loss", loss)
    check.check_rank("loss", loss, [0])
    if batch_size is not None:
      check.check_batch_size(batch_size)
    if var_list is None:
      var_list = graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES)
    found = losses.find_terms(loss, var_list, batch_size)
    for method, arguments in found:
      getattr(self, method)(**arguments)
    return found

  def eval_losses(self, target_mode: str = "data",
                  coeff_mode: str = "regular", *,
                  counter: tf.Tensor | None = None) -> list:
    """Returns the list of the losses, scalar tensors.

    Args:
      target_mode: "data" for the registered targets, "sample" for sampled ones.
      coeff_mode: Whether a loss is multiplied by its coefficient ("regular"),
        by the root of it ("sqrt"), so that the second moment of its gradients
        is multiplied by the coefficient, or by 1 ("off").
      counter: Int64 tensor [] that determines the samples, or None.

    Raises:
      ValueError: If there is no such mode.
    """
    if target_mode not in ("data", "sample"):
      raise ValueError(
          "target_mode must be 'data' or 'sample', got "
          f"{scalars.shown(target_mode)}.")
    if target_mode == "sample":
      return self.eval_losses_on_samples(counter, coeff_mode=coeff_mode)
    return self._losses.evaluate(lambda loss: loss.evaluate(), coeff_mode)

  def eval_losses_on_samples(self, counter: tf.Tensor | None = None, *,
                             coeff_mode: str = "regular") -> list:
    """Returns the losses on sampled targets.

    Args:
      counter: Int64 tensor [] that determines the samples, or None.
      coeff_mode: See eval_losses.
    """
    return self._losses.evaluate_on_samples(counter, coeff_mode)

  def total_loss(self, coeff_mode: str = "regular") -> tf.Tensor:
    """Returns the sum of the losses on their targets.

    Args:
      coeff_mode: See eval_losses.
    """
    return tf.add_n(self.eval_losses(**_changed(coeff_mode)))

  def total_sampled_loss(self, coeff_mode: str = "regular", *,
                         counter: tf.Tensor | None = None) -> tf.Tensor:
    """Returns the sum of eval_losses_on_samples(counter).

    Args:
      coeff_mode: See eval_losses.
      counter: Int64 tensor [] that determines the samples, or None.
    """
    return tf.add_n(
        self.eval_losses_on_samples(counter, **_changed(coeff_mode)))


def _changed(coeff_mode):
  """Returns the argument coeff_mode unless it has its default."""
  # A subclass of a user may redefine the methods of contrib.kfac.
  coefficients.check_mode(coeff_mode)
  return {} if coeff_mode == "regular" else {"coeff_mode": coeff_mode}
