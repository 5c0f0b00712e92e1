"""Tests of CalibrationHook."""

import tempfile

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests.recipe import recipe_test


class CalibrationHookTest(tf.test.TestCase):

  def _train(self, num_steps, folder=None, from_iterator=False):
    """Trains; returns what `calibrate` set, and the batches drawn."""
    found = []
    data = recipe_test.make_data()
    with tf.Graph().as_default():
      tf.set_random_seed(0)
      if from_iterator:
        dataset = tf.data.Dataset.from_tensor_slices(data).repeat(num_steps + 1)
        batch = tf.data.make_one_shot_iterator(dataset.batch(200)).get_next()
      else:
        batch = recipe_test.placeholders()
      layers = kfac.LayerCollection()
      loss = tf.reduce_mean(recipe_test.build(layers, batch))
      recipe = kfac.recipe.Recipe(layers, loss)
      calibrate = recipe.calibrate
      recipe.calibrate = lambda *args: found.append(calibrate(*args))
      train_op = recipe.minimize(tf.train.get_or_create_global_step())
      feed = None if from_iterator else dict(zip(batch, data, strict=True))
      with tf.train.MonitoredTrainingSession(
          checkpoint_dir=folder, hooks=[
              kfac.recipe.CalibrationHook(recipe),
              tf.train.StopAtStepHook(num_steps=num_steps)]) as sess:
        losses = []
        while not sess.should_stop():
          losses.append(sess.run([loss, train_op], feed)[0])
    self.assertLen(losses, num_steps)
    self.assertTrue(np.all(np.isfinite(losses)))
    return found

  def testCalibratesOnce(self):
    found = self._train(3)
    self.assertLen(found, 1)
    self.assertGreater(found[0], 0.)

  def testDrawsOneBatch(self):
    # There is one batch for the calibration, and one for each step.
    self.assertLen(self._train(3, from_iterator=True), 1)

  def testContinuedTrainingKeepsItsDamping(self):
    with tempfile.TemporaryDirectory() as folder:
      self.assertLen(self._train(2, folder), 1)
      self.assertEmpty(self._train(2, folder))


if __name__ == "__main__":
  tf.test.main()
