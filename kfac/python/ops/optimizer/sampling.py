"""Samples of a batch that represent it in the quadratic model."""

from __future__ import annotations

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars


def sample_examples(example_losses: hints.TensorLike,
                 one_in: int | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
  """Picks examples and weights for estimating a mean over the batch.

  Once a classifier is nearly right, its Fisher matrix is that of the few
  examples that it gets wrong, and most parts of a batch have none of them. So
  the examples with the largest losses are all taken, and the others are sampled
  at equal distances in the order of their losses (systematic sampling: Cochran,
  Sampling Techniques, chapter 8).

  Args:
    example_losses: Tensor [B], the loss of each example.
    one_in: Int >= 1, or such an int32 tensor []. B / one_in of the B examples
      are those with the largest losses, and about as many are sampled from the
      others.

  Returns:
    Indices of examples, int tensor [n] with n about 2 B / one_in; and weights
    [n] whose sum is B: 1 for the largest losses, the same for all others.

  Raises:
    ValueError: If `one_in` is no positive int.
  """
  if not tf.is_tensor(one_in):
    scalars.check_int("one_in", one_in, minimum=1)
  example_losses = tf.convert_to_tensor(example_losses)
  num_examples = tf.shape(example_losses)[0]
  num_largest = num_examples // one_in
  num_others = num_examples - num_largest
  num_sampled = (num_others + one_in - 1) // one_in
  # The middles of num_sampled parts of nearly equal size.
  middles = ((2 * tf.range(num_sampled) + 1) * num_others) // tf.maximum(
      2 * num_sampled, 1)
  places = tf.concat([tf.range(num_largest), num_largest + middles], axis=0)
  weight = num_others / tf.maximum(num_sampled, 1)
  weights = tf.concat([
      tf.ones([num_largest], example_losses.dtype),
      tf.fill([num_sampled], tf.cast(weight, example_losses.dtype))], axis=0)
  by_loss = tf.argsort(example_losses, direction="DESCENDING", stable=True)
  return tf.gather(by_loss, places), weights
