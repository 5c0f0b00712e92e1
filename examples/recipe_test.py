"""Tests of the parts of the batch that the recipe uses."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from examples import recipe


class RecipeTest(tf.test.TestCase):

  def testPartsOfTheBatch(self):
    table = (
        # batch size -> examples for statistics, for the quadratic model
        (1, 1, 1), (50, 50, 50), (124, 124, 124), (125, 125, 94),
        (200, 125, 111), (500, 125, 117), (1000, 250, 235), (2001, 501, 469))
    with tf.Graph().as_default(), self.session() as sess:
      batch_size = tf.placeholder(tf.int32, [])
      statistics = recipe.num_statistics_examples(batch_size)
      sampled, weights = kfac.optimizer.sample_examples(
          tf.range(tf.cast(batch_size, tf.float32)),
          recipe.qmodel_divisor(batch_size))
      for size, num_statistics, num_sampled in table:
        got, examples, of_examples = sess.run(
            (statistics, sampled, weights), {batch_size: size})
        self.assertEqual(num_statistics, got)
        self.assertLen(set(examples), num_sampled)
        self.assertAllClose(size, np.sum(of_examples))

  def testShareOfTheLossGrowsWithTheBatch(self):
    with tf.Graph().as_default(), self.session() as sess:
      batch_size = tf.placeholder(tf.int32, [])
      share = recipe.max_predicted_decrease(batch_size)
      for size, expected in ((1, 0.25), (50, 0.25), (375, 0.25), (500, 1. / 3.),
                             (750, 0.5), (2000, 0.5)):
        self.assertAllClose(expected, sess.run(share, {batch_size: size}))


if __name__ == "__main__":
  tf.test.main()
