"""What can be watched of steps and factors, as scalar tensors.

None of them is computed unless it is fetched, and no step depends on one. There
are two kinds:

  Values of a step (OF_STEP) come from the tensors of the step and wait for its
  train op. Fetched together with the train op, they belong to that step.
  Fetched alone, they run the step: part of a step is never run.

  All other values read variables. In the same session.run as something that
  writes these, they are those before or after; a run of their own is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from kfac.python.ops.optimizer import damping as damping_lib
from kfac.python.ops.optimizer import steps as steps_lib
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

# The values of a step.
OF_STEP = ("gradient_norm", "step_norm", "cosine", "alpha", "mu",
           "predicted_change")


class Steps(list):
  """Pairs of a variable's change over -learning_rate, and the variable.

  The change of the variables is d = mu d_last + alpha lr P g, with the learning
  rate lr; with momentum of type "adam", P multiplies both terms.

  Attributes:
    alpha: Scalar.
    mu: Scalar.
    predict: Function that returns the quadratic_model.Prediction.
  """

  def __init__(self, pairs: Iterable[Any], alpha: hints.Scalar,
               mu: hints.Scalar, predict: Callable[[], Any]) -> None:
    """Keeps the arguments.

    Args:
      pairs: Iterable of (tensor, variable).
      alpha: See the class; as the other arguments.
      mu: See the class.
      predict: See the class.
    """
    super().__init__(pairs)
    self.alpha = alpha
    self.mu = mu
    self.predict = predict


class MadeStep(NamedTuple):
  """What `apply_gradients` made.

  Attributes:
    train_op: The op of the whole step.
    grads_and_vars: List of (gradient, variable).
    steps: Steps, or a list of such pairs from a subclass of a user's.
    learning_rate: Scalar tensor.
  """

  train_op: Any
  grads_and_vars: Sequence[Any]
  steps: Sequence[Any]
  learning_rate: Any


def make(step: MadeStep | None, damping: damping_lib.DampingControl,
         factors: Sequence[Any], num_skipped_steps: Any = None) -> dict:
  """Makes the tensors of `KfacOptimizer.stats`.

  Args:
    step: MadeStep, or None if there is none yet.
    damping: The damping of the optimizer.
    factors: Sequence of FisherFactor with variables.
    num_skipped_steps: Variable [], or None if skipped steps are not counted.

  Returns:
    Dict from names to tensors [].

  Raises:
    ValueError: If no step was made, or if the graph is finalized.
  """
  if step is None:
    raise ValueError("stats must be called after minimize or apply_gradients.")
  graph = step.grads_and_vars[0][1].graph
  if graph.finalized:
    raise ValueError(
        "stats must first be called before the graph is finalized.")
  # Made on their own: neither in a branch nor after other ops.
  with tf.init_scope(), graph.as_default(), tf.name_scope("stats"):
    values = {**of_step(step, damping),
              **of_optimizer(damping, num_skipped_steps)}
    for factor in factors:
      values.update((f"{name}/{factor.name}", value)
                    for name, value in of_factor(factor).items())
    return values


def of_step(step: MadeStep, damping: damping_lib.DampingControl) -> dict:
  """Makes the values of a step, without those that only a branch has.

  Args:
    step: MadeStep.
    damping: The damping of the optimizer.

  Returns:
    Dict from names of OF_STEP to tensors [], which wait for the train op.
  """
  grads = {variable: grad for grad, variable in step.grads_and_vars}
  if not _can_be_fetched([step.train_op, *grads.values()]):
    return {}
  values = {"gradient_norm": norm(list(grads.values()))}
  dtype = values["gradient_norm"].dtype
  directions = [direction for direction, _ in step.steps]
  if _can_be_fetched([step.learning_rate, *directions]):
    values["step_norm"] = (
        scalars.cast_scalar(step.learning_rate, dtype) * norm(directions))
    # The step is a negative multiple of the direction.
    values["cosine"] = cosine(
        [grads[variable] for _, variable in step.steps], directions)
    if isinstance(step.steps, Steps):
      values["alpha"] = scalars.cast_scalar(step.steps.alpha, dtype)
      values["mu"] = scalars.cast_scalar(step.steps.mu, dtype)
  with tf.control_dependencies([step.train_op]):
    if damping.predicted_change is not None:
      values["predicted_change"] = damping.predicted_change
    elif isinstance(step.steps, Steps) and "alpha" in values:
      values["predicted_change"] = step.steps.predict().change
    return {name: tf.identity(value, name) for name, value in values.items()}


def of_optimizer(damping: damping_lib.DampingControl,
                 num_skipped_steps: Any = None) -> dict:
  """Makes the values of the damping and the counters of steps.

  Args:
    damping: The damping of the optimizer.
    num_skipped_steps: Variable [], or None.

  Returns:
    Dict from names to tensors [], without those of variables that do not exist.
  """
  variables = {
      "damping": damping.value,
      "rho": damping.rho,
      "actual_change": damping.actual_change,
      "rejected_steps": damping.num_rejected,
      "skipped_steps": num_skipped_steps,
  }
  return {name: tf.identity(variable, name)
          for name, variable in variables.items() if variable is not None}


def of_factor(factor: Any) -> dict:
  """Makes the values of a factor.

  Args:
    factor: FisherFactor with variables.

  Returns:
    Dict from names to tensors [], without those that the factor does not have.
  """
  values = {}
  if factor.num_updates_kept is not None:
    values["age"] = factor.num_updates - factor.num_updates_kept
  if factor.damping_funcs:
    values["condition"] = tf.reduce_max([
        condition(factor.get_cov_as_linear_operator(), damping_func())
        for damping_func in factor.damping_funcs])
  if factor.num_skipped_updates is not None:
    values["skipped_updates"] = tf.identity(factor.num_skipped_updates)
  return values


def norm(vectors: Sequence[Any]) -> tf.Tensor:
  """Computes the Euclidean norm of all vectors together.

  Args:
    vectors: List of tensors or IndexedSlices.

  Returns:
    Scalar tensor, float32 for half precision.
  """
  return tf.sqrt(steps_lib.inner_product(vectors, vectors))


def cosine(vectors: Sequence[Any], others: Sequence[Any]) -> tf.Tensor:
  """Computes the cosine of the angle between two vectors.

  With the gradient g and the step d as (g, -d) it is that of the angle between
  the step and the direction of steepest descent, cos theta = -g . d /
  (|g| |d|), as in Zoutendijk's condition (Nocedal & Wright 2006, equation
  3.12).

  Args:
    vectors: List of tensors or IndexedSlices.
    others: The same, shaped like them.

  Returns:
    Scalar tensor in [-1, 1]; 0 if either vector is zero.
  """
  product = steps_lib.inner_product(vectors, others)
  # One by one, since the product of the norms may underflow.
  for norm_of_one in (norm(vectors), norm(others)):
    product = tf.math.divide_no_nan(product, norm_of_one)
  return product


def condition(cov: tf.linalg.LinearOperator,
              damping: hints.Scalar) -> tf.Tensor:
  """Computes the condition number of C + damping I.

  Args:
    cov: LinearOperator [n, n], the symmetric C.
    damping: Scalar.

  Returns:
    Scalar tensor, float64: the largest over the smallest eigenvalue; inf if
    that is not positive, NaN if C or the damping is not finite. A diagonal C
    costs n operations, another one about n^3.
  """
  is_diagonal = isinstance(cov, tf.linalg.LinearOperatorDiag)
  values = tf.cast(cov.diag_part() if is_diagonal else cov.to_dense(),
                   tf.float64)
  damping = scalars.cast_scalar(damping, tf.float64)
  finite = tf.reduce_all(tf.math.is_finite(values + damping))
  # An eigendecomposition of NaN is an error that would end the session.run.
  values = tf.where_v2(finite, values, tf.zeros_like(values))
  if not is_diagonal:
    values = tf.linalg.eigvalsh(values)
  values += damping
  smallest = tf.reduce_min(values)
  ratio = tf.where_v2(
      smallest > 0., tf.reduce_max(values) / smallest, float("inf"))
  return tf.where_v2(finite, ratio, float("nan"))


def _can_be_fetched(nodes):
  """Whether tensors and ops belong to the default graph and to no branch."""
  graph = tf.get_default_graph()
  ops = [getattr(node, "op", node) for node in nodes]
  return all(op.graph is graph and graph.is_fetchable(op) for op in ops
             if isinstance(op, tf.Operation))  # Not for arrays.
