"""What a step consists of, and its functions, such as velocity updates."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import bad_numbers
from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import plain_variables
from kfac.python.ops.utils import precision
from kfac.python.ops.utils import scalars
from kfac.python.ops.utils import workers as workers_lib


class Step(NamedTuple):
  """A step as its momentum type makes it.

  Attributes:
    steps: List of (change over -learning_rate, variable).
    predict: Function that returns its quadratic_model.Prediction.
    alpha: Scalar, see stats.Steps.
    mu: Scalar, see stats.Steps.
    usable: Boolean tensor [], whether all its numbers are finite.
  """

  steps: hints.Pairs
  predict: Callable[[], Any]
  alpha: Any
  mu: Any
  usable: tf.Tensor


class Gradients(list):
  """(gradient, variable) pairs of a loss.

  Attributes:
    loss: The loss, scalar tensor; or None.
  """

  def __init__(self, pairs: Iterable[Any], loss: Any) -> None:
    """Keeps the arguments.

    Args:
      pairs: Iterable of (gradient, variable).
      loss: Scalar tensor, or None if it is not known.
    """
    super().__init__(pairs)
    self.loss = loss


def make_skip_counter(scope: str) -> tf.Variable | None:
  """Creates the int64 variable [] that counts skipped steps.

  Args:
    scope: Name of its variable scope.

  Returns:
    The variable; None with CONTRIB_VARIABLES.
  """
  if constants.read("fisher_factors", "CONTRIB_VARIABLES"):
    return None
  with tf.init_scope(), tf.variable_scope(scope):
    # A graph may have several optimizers of one name.
    return plain_variables.make_variable(
        plain_variables.unused_name("num_skipped_steps"),
        tf.zeros_initializer(), [], tf.int64)


def mean_over(workers: workers_lib.Workers, gradients: Gradients) -> Gradients:
  """Averages gradients over workers.

  Args:
    workers: Workers.
    gradients: Gradients of the loss on the batch of this worker.

  Returns:
    Gradients of the loss on the joint batch, with the loss of this worker.
  """
  if workers.count == 1:
    return gradients
  grads, variables = zip(*gradients, strict=True)
  return Gradients(
      zip(workers.mean(grads, "gradients"), variables, strict=True),
      gradients.loss)


class CallableList(list):
  """A list that can also be called."""

  def __init__(self, items: Iterable[Any],
               function: Callable[[], Any]) -> None:
    """Keeps the arguments.

    Args:
      items: Iterable of the items.
      function: Function that a call of the list calls.
    """
    super().__init__(items)
    self._function = function

  def __call__(self):
    """Returns the result of the function."""
    return self._function()


def inner_product(vectors: Sequence[Any], others: Sequence[Any]) -> tf.Tensor:
  """Sum of elementwise products over two lists of tensors.

  Args:
    vectors: List of tensors or IndexedSlices.
    others: The same, shaped like them.

  Returns:
    Scalar tensor, float32 for half precision.
  """
  return tf.add_n([
      tf.reduce_sum(precision.as_wide_tensor(a) * precision.as_wide_tensor(b))
      for a, b in zip(vectors, others, strict=True)])


def scaled(steps: Iterable[Any], scale: hints.Scalar) -> list:
  """Multiplies the first entries of pairs.

  Args:
    steps: Iterable of (tensor, variable).
    scale: Scalar; the number 1 changes nothing.

  Returns:
    List of (tensor, variable).
  """
  steps = list(steps)
  if scalars.is_one(scale):
    return steps
  scales = {dtype: scalars.cast_scalar(scale, dtype) for dtype in dict.fromkeys(
      variable.dtype.base_dtype for _, variable in steps)}
  return [(scales[variable.dtype.base_dtype] * tf.convert_to_tensor(step),
           variable) for step, variable in steps]


def with_weight_decay(steps: Iterable[Any], coeff: hints.Scalar) -> list:
  """Adds coeff times the variables to steps.

  Source: Loshchilov & Hutter 2019, equation 1.

  Args:
    steps: Iterable of (change over -learning_rate, variable).
    coeff: Scalar.

  Returns:
    List of (change over -learning_rate, variable).
  """
  steps = list(steps)
  decays = scaled([(variable, variable) for _, variable in steps], coeff)
  return [(step + decay, variable) for (step, variable), (decay, _) in zip(
      steps, decays, strict=True)]


def clip_coefficient(squared_norm: tf.Tensor, learning_rate: hints.Scalar,
                     constraint: hints.Scalar) -> tf.Tensor:
  """Computes the scale of an update that satisfies the norm constraint.

  The constraint bounds lr^2 g . F^-1 g, which is twice the approximate KL
  divergence between the model before and after the step (Ba, Grosse & Martens
  2017, section 5).

  Args:
    squared_norm: Scalar tensor g . F^-1 g, with the damped F.
    learning_rate: Scalar lr.
    constraint: Scalar, the bound.

  Returns:
    Scalar tensor min(1, sqrt(constraint / (lr^2 g . F^-1 g))).
  """
  dtype = squared_norm.dtype
  learning_rate = scalars.cast_scalar(learning_rate, dtype)
  scaled = tf.square(learning_rate) * squared_norm
  return tf.minimum(
      tf.ones([], dtype),
      tf.sqrt(scalars.cast_scalar(constraint, dtype) / scaled))


def update_velocities(velocities: Sequence[Any], vectors: Sequence[Any],
                      decay: hints.Scalar,
                      vec_coeff: hints.Scalar = 1.0) -> list:
  """Updates v <- decay v + vec_coeff vec.

  Args:
    velocities: List of variables v.
    vectors: List of tensors or IndexedSlices vec, shaped like them.
    decay: Scalar.
    vec_coeff: Scalar. If it is 0, vec may have any values, also NaN.

  Returns:
    List of tensors, the new velocities.
  """
  results = []
  for velocity, vector in zip(velocities, vectors, strict=True):
    dtype = velocity.dtype.base_dtype
    old, vector = (precision.as_wide_tensor(x) for x in (velocity, vector))
    new = tf.cast(scalars.cast_scalar(decay, old.dtype) * old +
                  tf.math.multiply_no_nan(vector, scalars.cast_scalar(
                      vec_coeff, old.dtype)), dtype)
    with tf.control_dependencies([tf.assign(velocity, new)]):
      results.append(tf.identity(new))
  return results


def are_finite(tensors: Sequence[Any]) -> tf.Tensor:
  """Whether all tensors are finite, and so are their norms.

  Args:
    tensors: List of tensors or IndexedSlices.

  Returns:
    Boolean tensor [].
  """
  return bad_numbers.is_finite(_squared_norms(tensors))


def _squared_norms(tensors):
  """Returns half of the squared norm of each of n tensors, tensor [n]."""
  squares = [tf.nn.l2_loss(precision.as_wide_tensor(
      tensor.values if isinstance(tensor, tf.IndexedSlices) else tensor))
             for tensor in tensors]
  if len({square.dtype for square in squares}) > 1:
    squares = [tf.cast(square, tf.float64) for square in squares]
  return tf.stack(squares)


def check_step(vecs_and_vars: hints.Pairs,
               coefficients: Mapping[str, Any],
               counter: tf.Variable | None) -> tf.Tensor:
  """Checks all numbers of a step; counts and reports what is not finite.

  Args:
    vecs_and_vars: List of (tensor or IndexedSlices, variable that it changes).
    coefficients: Further scalars by what they are called in messages. Numbers
      and None are not checked.
    counter: Variable [] of int64 that counts skipped steps, or None.

  Returns:
    Boolean tensor [], whether the step may be made.

  Raises:
    tf.errors.InvalidArgumentError: In the session, if the step is not finite
      and ON_BAD_NUMBERS is "raise".
  """
  numbers = [_squared_norms([vec for vec, _ in vecs_and_vars])]
  words = [f"the gradient or update of {variable.op.name}"
           for _, variable in vecs_and_vars]
  for word, value in coefficients.items():
    if value is not None and not scalars.is_number(value):
      # With a grad_loss, the loss may have any shape.
      numbers.append(tf.reshape(
          tf.reduce_sum(tf.cast(value, numbers[0].dtype)), [1]))
      words.append(word)
  all_numbers = tf.concat(numbers, 0) if len(numbers) > 1 else numbers[0]

  def message():
    return tf.strings.join([
        "a step was skipped, since these are not finite: ",
        bad_numbers.names_of_bad(words, all_numbers),
        f"; it may be {bad_numbers.CAUSES}"])

  finite = bad_numbers.checked(bad_numbers.is_finite(all_numbers), message)
  with tf.control_dependencies([
      bad_numbers.count(finite, counter, message)]):
    return tf.identity(finite)


def zero_unless(usable: tf.Tensor, step: Any) -> tf.Tensor:
  """Returns a step, or zeros if it is not usable.

  Args:
    usable: Boolean tensor [].
    step: Tensor.
  """
  step = tf.convert_to_tensor(step)
  return tf.math.multiply_no_nan(step, tf.cast(usable, step.dtype))


def rate_tensor(learning_rate: hints.Scalar) -> tf.Tensor:
  """Makes the tensor of the learning rate, which scales the steps.

  Args:
    learning_rate: Scalar.

  Returns:
    Tensor []. A step with a rate that is not finite is zero, and so is the rate
    then.
  """
  if scalars.is_number(learning_rate):
    # To full precision; the step casts it to the dtype of each variable.
    learning_rate = scalars.cast_scalar(learning_rate, tf.float64)
  return finite_or_zero(
      tf.convert_to_tensor(learning_rate, name="learning_rate"))


def finite_or_zero(scalar: tf.Tensor) -> tf.Tensor:
  """Returns a tensor [], or zero if it is not finite."""
  if not scalar.dtype.is_floating:
    return scalar
  return tf.where(bad_numbers.is_finite(scalar), scalar, tf.zeros_like(scalar))


def keep_unless(usable: tf.Tensor, decay: Any,
                vec_coeff: Any) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns the coefficients of `update_velocities`, or those without effect.

  Args:
    usable: Boolean tensor []. If it is false, velocities keep their values.
    decay: Scalar.
    vec_coeff: Scalar.

  Returns:
    Scalar tensors decay and vec_coeff; 1 and 0 if not usable.
  """
  dtype = next((tf.convert_to_tensor(value).dtype.base_dtype for value in (
      decay, vec_coeff) if not scalars.is_number(value)), tf.float64)
  return (tf.where(usable, scalars.cast_scalar(decay, dtype),
                   tf.ones([], dtype)),
          tf.where(usable, scalars.cast_scalar(vec_coeff, dtype),
                   tf.zeros([], dtype)))


def global_step_and_name(global_step: Any = None,
                         name: str | None = None) -> tuple:
  """Returns the arguments of apply_gradients, however they were passed."""
  return global_step, name


def variables_of(graph: tf.Graph, var_list: Sequence[Any] | None) -> list:
  """Returns the list of variables, or a graph's trainable variables."""
  if var_list is not None:
    return list(var_list)
  with graph.as_default():
    return tf.trainable_variables()
