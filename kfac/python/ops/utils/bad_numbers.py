"""Numbers that are not finite: how they are found, counted and reported.

Nothing that is not finite enters a covariance, a kept matrix, a velocity, a
parameter or the damping. What would bring it in is skipped and counted, or, by
`set_on_bad_numbers("raise")`, ends the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import constants
from kfac.python.ops.utils import hints

CAUSES = (
    "a batch that is not finite, too little damping, a learning rate that is "
    "too large, a batch_size that is not the number of examples, or a loss "
    "that is a sum over the batch instead of a mean")


# The counts that are reported.
_REPORTED = [10 ** k for k in range(19)]


def set_on_bad_numbers(action: str) -> None:
  """Chooses what happens to updates and steps that are not finite.

  Call it before a graph is built.

  Args:
    action: "skip", the default, to skip and count the update of a factor or the
      whole step; or "raise" to end the session.run with a
      tf.errors.InvalidArgumentError that names the factor or the variables.

  Raises:
    ValueError: If the action is neither.
  """
  constants.write("utils", ON_BAD_NUMBERS=action)


def is_finite(tensor: hints.TensorLike) -> tf.Tensor:
  """Whether all entries are finite.

  Args:
    tensor: Float tensor.

  Returns:
    Boolean tensor []. False also for entries above half of the largest number
    of the dtype, so that the difference of two tensors is finite too.
  """
  tensor = tf.convert_to_tensor(tensor)
  return tf.reduce_all(tf.abs(tensor) <= tensor.dtype.max / 2)


def checked(finite: tf.Tensor, message: Any) -> tf.Tensor:
  """Ends the run if something is not finite and ON_BAD_NUMBERS is "raise".

  Args:
    finite: Boolean tensor [].
    message: String, or function that makes a string tensor if it is needed.

  Returns:
    `finite`, which waits for the check.
  """
  if constants.read("utils", "ON_BAD_NUMBERS") == "skip":
    return finite

  def fail():
    text = message() if callable(message) else message
    with tf.control_dependencies([
        tf.debugging.Assert(tf.constant(False), [tf.strings.join(
            ["kfac: ", text])])]):
      return tf.constant(False)

  return tf.cond(finite, lambda: tf.constant(True), fail)


def count(finite: tf.Tensor, counter: Any, message: Any) -> tf.Operation:
  """Makes the op that counts what is skipped, and reports it now and then.

  Args:
    finite: Boolean tensor []; nothing is counted if it is true.
    counter: Variable [] of int64, or None if nothing is counted.
    message: As in `checked`. It is written to stderr when the count is 1, 10,
      100 and so on, or always if nothing is counted.

  Returns:
    Op.
  """
  skipped = tf.logical_not(finite)
  if counter is None:
    return tf.cond(skipped, lambda: _report(message), _nothing).op
  number = tf.identity(tf.assign_add(counter, tf.cast(skipped, tf.int64)))
  due = tf.logical_and(skipped, tf.reduce_any(tf.equal(number, _REPORTED)))
  return tf.cond(due, lambda: _report(message, number), _nothing).op


def names_of_bad(names: Sequence[str], numbers: tf.Tensor) -> tf.Tensor:
  """Lists the names of the numbers that are not finite.

  Args:
    names: n names.
    numbers: Float tensor [n].

  Returns:
    String tensor [].
  """
  # Not the negation of `<=`: Grappler makes that `>`, which is false for NaN.
  bad = tf.logical_or(
      tf.is_nan(numbers), tf.abs(numbers) > numbers.dtype.max / 2)
  return tf.strings.reduce_join(
      tf.boolean_mask(tf.constant(list(names)), bad), separator=", ")


def _report(message, number=None):
  text = message() if callable(message) else message
  words = ["kfac: ", text]
  if number is not None:
    words += [" (number ", tf.strings.as_string(number), ")"]
  # tf.print would put quotes around a string.
  with tf.control_dependencies([tf.raw_ops.PrintV2(
      input=tf.strings.join(words), output_stream="stderr")]):
    return tf.constant(True)


def _nothing():
  return tf.constant(False)
