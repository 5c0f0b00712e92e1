"""Base classes of losses; derive from them to add a loss."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import bad_numbers
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import overriding
from kfac.python.ops.utils import stateless_seeds

# What kfac 0.2.4 calls the members of the Hessian.
_GGN_MEMBERS = (
    "multiply_ggn", "multiply_ggn_factor", "multiply_ggn_factor_transpose",
    "multiply_ggn_factor_replicated_one_hot", "ggn_factor_inner_shape",
    "ggn_factor_inner_static_shape",
)


def _constant(structure):
  """Treats targets or samples as constants in differentiation."""
  return tf.nest.map_structure(tf.stop_gradient, structure)


class LossFunction(abc.ABC):
  """A loss over a batch, as a function of `inputs`, and its curvature.

  H is the Hessian of the loss with respect to its inputs, one block per
  example, and B a matrix with B B^T = H. Vectors in the space of the inputs
  have the structure and shapes of `inputs`: a tensor or a tuple of tensors.
  Vectors in the inner space, which B is applied to, are tensors of the shape
  `hessian_factor_inner_shape`.

  A subclass defines `_evaluate(targets)`, the loss as a scalar tensor, and the
  abstract members. The members of the Hessian have two spellings, `hessian` of
  contrib.kfac and `ggn` (generalized Gauss-Newton) of kfac 0.2.4; a subclass
  may define either.
  """

  def __init_subclass__(cls, **kwargs: Any) -> None:
    """Lets members that a subclass defines as `ggn` define those of H."""
    super().__init_subclass__(**kwargs)
    for name in _GGN_MEMBERS:
      other = name.replace("ggn", "hessian")
      if name in vars(cls) and other not in vars(cls):
        setattr(cls, other, vars(cls)[name])

  def __init__(self, targets: hints.TensorLike | None = None) -> None:
    """Keeps the targets.

    Args:
      targets: Tensor that the loss compares its inputs with, or None if it is
        never evaluated on targets.
    """
    self._targets: tf.Tensor | None = targets

  @property
  def targets(self) -> tf.Tensor | None:
    """The targets, or None."""
    return self._targets

  @property
  @abc.abstractmethod
  def inputs(self) -> Any:
    """The tensor, or the tuple of tensors, that the loss is a function of."""

  @property
  def input_minibatches(self) -> list:
    """List of the inputs of each registered minibatch."""
    return [self.inputs]

  @property
  def dtype(self) -> tf.DType:
    """The dtype of the inputs, of the first one if there are several."""
    return tf.nest.flatten(self.inputs)[0].dtype.base_dtype

  @property
  def num_registered_minibatches(self) -> int:
    """Number of minibatches that the inputs consist of."""
    return len(self.input_minibatches)

  def evaluate(self) -> tf.Tensor:
    """Returns the loss on the targets, which count as constants.

    Returns:
      Scalar tensor, summed over the batch.

    Raises:
      ValueError: If there are no targets.
    """
    if self.targets is None:
      raise ValueError(
          f"targets must be given to evaluate {type(self).__name__}, got None.")
    return self._evaluate(_constant(self.targets))

  def _evaluate(self, targets):
    """Returns the loss on the given targets as a scalar tensor."""
    del targets
    raise NotImplementedError(
        f"{type(self).__name__} must define _evaluate(targets).")

  @abc.abstractmethod
  def multiply_hessian(self, vector: Any) -> Any:
    """Returns H v; v and the result are structured like `inputs`."""

  @abc.abstractmethod
  def multiply_hessian_factor(self, vector: tf.Tensor) -> Any:
    """Returns B v, structured like `inputs`; v is in the inner space."""

  @abc.abstractmethod
  def multiply_hessian_factor_transpose(self, vector: Any) -> tf.Tensor:
    """Returns B^T v, in the inner space; v is structured like `inputs`."""

  @abc.abstractmethod
  def multiply_hessian_factor_replicated_one_hot(self,
                                                 index: Sequence[int]) -> Any:
    """Returns column `index` (a tuple of one int) of B for every example."""

  @property
  @abc.abstractmethod
  def hessian_factor_inner_shape(self) -> tf.Tensor:
    """Int tensor, the shape of the inner space of B, batch first."""

  @property
  @abc.abstractmethod
  def hessian_factor_inner_static_shape(self) -> tf.TensorShape:
    """TensorShape, the static part of `hessian_factor_inner_shape`."""

  def multiply_ggn(self, vector: Any) -> Any:
    """Another name of `multiply_hessian`."""
    return self.multiply_hessian(vector)

  def multiply_ggn_factor(self, vector: tf.Tensor) -> Any:
    """Another name of `multiply_hessian_factor`."""
    return self.multiply_hessian_factor(vector)

  def multiply_ggn_factor_transpose(self, vector: Any) -> tf.Tensor:
    """Another name of `multiply_hessian_factor_transpose`."""
    return self.multiply_hessian_factor_transpose(vector)

  def multiply_ggn_factor_replicated_one_hot(self,
                                             index: Sequence[int]) -> Any:
    """Another name of `multiply_hessian_factor_replicated_one_hot`."""
    return self.multiply_hessian_factor_replicated_one_hot(index)

  @property
  def ggn_factor_inner_shape(self) -> tf.Tensor:
    """Another name of `hessian_factor_inner_shape`."""
    return self.hessian_factor_inner_shape

  @property
  def ggn_factor_inner_static_shape(self) -> tf.TensorShape:
    """Another name of `hessian_factor_inner_static_shape`."""
    return self.hessian_factor_inner_static_shape


class NegativeLogProbLoss(LossFunction):
  """The loss -log p(targets); the inputs are the parameters of p.

  F is the Fisher information of p with respect to its parameters: the
  expectation of the Hessian over targets drawn from p. B is a matrix with
  B B^T = F (Martens 2014, "New insights and perspectives on the natural
  gradient method", sections 5 and 9).
  """

  def __init__(self, seed: int | None = None, *,
               targets: hints.TensorLike | None = None) -> None:
    """Keeps the seed and the targets.

    Args:
      seed: Int, the operation seed of samples; None for a random one.
      targets: See `LossFunction`.
    """
    super().__init__(targets=targets)
    self._seed = seed

  @property
  def inputs(self) -> Any:
    """The parameters."""
    return self.params

  @property
  @abc.abstractmethod
  def params(self) -> Any:
    """The parameters of p: a tensor or a tuple of tensors."""

  @abc.abstractmethod
  def multiply_fisher(self, vector: Any) -> Any:
    """Returns F v; v and the result are structured like `params`."""

  @abc.abstractmethod
  def multiply_fisher_factor(self, vector: tf.Tensor) -> Any:
    """Returns B v, structured like `params`; v is in the inner space."""

  @abc.abstractmethod
  def multiply_fisher_factor_transpose(self, vector: Any) -> tf.Tensor:
    """Returns B^T v, in the inner space; v is structured like `params`."""

  @abc.abstractmethod
  def multiply_fisher_factor_replicated_one_hot(self,
                                                index: Sequence[int]) -> Any:
    """Returns column `index` (a tuple of one int) of B for every example."""

  @property
  @abc.abstractmethod
  def fisher_factor_inner_shape(self) -> tf.Tensor:
    """Int tensor, the shape of the inner space of B, batch first."""

  @property
  @abc.abstractmethod
  def fisher_factor_inner_static_shape(self) -> tf.TensorShape:
    """TensorShape, the static part of `fisher_factor_inner_shape`."""

  @abc.abstractmethod
  def sample(self, seed: int | None) -> tf.Tensor:
    """Returns targets drawn from p, with the given operation seed."""

  def evaluate_on_sample(self, seed: int | None = None) -> tf.Tensor:
    """Returns the loss on targets drawn from p, which count as constants.

    Args:
      seed: Int, the operation seed; None for the constructor's.

    Returns:
      Scalar tensor, summed over the batch.

    Raises:
      tf.errors.InvalidArgumentError: In the session, if the parameters of p are
        not finite and ON_BAD_NUMBERS is "raise".
    """
    if seed is None:
      seed = self._seed
    with tf.control_dependencies(self._check_params()):
      return self._evaluate(_constant(self.sample(seed)))

  def _check_params(self):
    """Returns ops that end the run if the parameters of p are not finite."""
    if constants.read("utils", "ON_BAD_NUMBERS") == "skip":
      return []
    finite = tf.reduce_all([bad_numbers.is_finite(value)
                            for value in tf.nest.flatten(self.params)])
    return [bad_numbers.checked(
        finite, f"the inputs of {type(self).__name__} are not finite; it may "
        f"be {bad_numbers.CAUSES}")]

  def evaluate_on_counted_sample(self, counter: tf.Tensor,
                                 index: int) -> tf.Tensor:
    """Returns the loss on targets drawn from p, which count as constants.

    The targets are a function of the parameters, the constructor's seed and the
    arguments; see `stateless_sample`. A class that defines only
    `sample(seed)`, or redefines what `evaluate_on_sample` does, is evaluated by
    that, so that the targets depend on the state of its random ops.

    Args:
      counter: Int64 tensor [], another one in each run.
      index: Int, which loss of the model this is.

    Returns:
      Scalar tensor, summed over the batch.

    Raises:
      tf.errors.InvalidArgumentError: As evaluate_on_sample does.
    """
    sample = None
    if overriding.is_up_to_date(
        self, "stateless_sample", "sample", "evaluate_on_sample"):
      sample = self.stateless_sample(stateless_seeds.stateless_seed(
          counter, "sample", index, self._seed))
    if sample is None:
      return self.evaluate_on_sample()
    with tf.control_dependencies(self._check_params()):
      return self._evaluate(_constant(sample))

  def stateless_sample(self, seed: tf.Tensor) -> tf.Tensor | None:
    """Returns targets drawn from p that only depend on the seed.

    Args:
      seed: Int64 tensor [2], the seed of a stateless random op.

    Returns:
      Tensor, or None if the class has only `sample`.
    """
    del seed
    return None


class NaturalParamsNegativeLogProbLoss(NegativeLogProbLoss):
  """A loss with natural parameters of an exponential family as inputs.

  Its Hessian does not depend on the targets and equals the Fisher information
  (Martens 2014, section 9.2).
  """

  def multiply_hessian(self, vector: Any) -> Any:
    """Returns F v."""
    return self.multiply_fisher(vector)

  def multiply_hessian_factor(self, vector: tf.Tensor) -> Any:
    """Returns B v of the Fisher factor B."""
    return self.multiply_fisher_factor(vector)

  def multiply_hessian_factor_transpose(self, vector: Any) -> tf.Tensor:
    """Returns B^T v of the Fisher factor B."""
    return self.multiply_fisher_factor_transpose(vector)

  def multiply_hessian_factor_replicated_one_hot(self,
                                                 index: Sequence[int]) -> Any:
    """Returns column `index` of the Fisher factor for every example."""
    return self.multiply_fisher_factor_replicated_one_hot(index)

  @property
  def hessian_factor_inner_shape(self) -> tf.Tensor:
    """The `fisher_factor_inner_shape`."""
    return self.fisher_factor_inner_shape

  @property
  def hessian_factor_inner_static_shape(self) -> tf.TensorShape:
    """The `fisher_factor_inner_static_shape`."""
    return self.fisher_factor_inner_static_shape


class DistributionNegativeLogProbLoss(NegativeLogProbLoss):
  """A loss whose p is an object with `log_prob(value)` and `sample(seed=)`."""

  def __init__(self, seed: int | None = None, *, dist: Any = None,
               targets: hints.TensorLike | None = None) -> None:
    """Keeps the distribution, the seed and the targets.

    Args:
      seed: See `NegativeLogProbLoss`.
      dist: The distribution; None if the subclass defines `dist` itself.
      targets: See `LossFunction`.
    """
    super().__init__(seed=seed, targets=targets)
    self._dist = dist

  @property
  def dist(self) -> Any:
    """The distribution of the targets.

    Raises:
      NotImplementedError: If there is none.
    """
    if self._dist is None:
      raise NotImplementedError(
          f"{type(self).__name__} must define dist or pass it to the "
          "constructor.")
    return self._dist

  def _evaluate(self, targets):
    return -tf.reduce_sum(self.dist.log_prob(targets))

  def sample(self, seed: int | None) -> tf.Tensor:
    """Returns targets drawn from `dist`, with the operation seed."""
    return self.dist.sample(seed=seed)

  def stateless_sample(self, seed: tf.Tensor) -> tf.Tensor | None:
    """Returns targets drawn from `dist`, None if it has only `sample`."""
    dist = self.dist
    if not overriding.is_up_to_date(dist, "stateless_sample", "sample"):
      return None
    return dist.stateless_sample(seed)
