"""Errors of the registration of losses."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.layer_collection import errors_case as errors
from kfac.python.ops import layer_collection as lc
from kfac.python.ops import loss_functions as lf


class LossErrorsTest(errors.ErrorsCase):

  def testBadInputs(self):
    with tf.Graph().as_default():
      foreign = tf.ones([4, 3])
    with tf.init_scope():
      outer = tf.ones([4, 3])
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      logits = tf.ones([4, 3])
      layers.register_categorical_predictive_distribution(logits)
      registrations = {
          layers.register_categorical_predictive_distribution: "logits",
          layers.register_multi_bernoulli_predictive_distribution: "logits",
          layers.register_normal_predictive_distribution: "mean",
      }
      for register, name in registrations.items():
        for bad, text in (
            (foreign, "must belong to the graph of the layer collection, got "
             "ones:0 of another graph"),
            (outer, errors.refusal_of_outer(outer)),
            (None, "must be a tensor or variable, got None")):
          with self.assertRejected(
              layers, ValueError, f"^{name} {text}"):
            register(bad)
        with self.assertRejected(
            layers, TypeError, "must be floating point, got int32"):
          register(tf.ones([4, 3], tf.int32))
      with self.assertRejected(
          layers, ValueError, "var must be positive, got -1"):
        layers.register_normal_predictive_distribution(logits, var=-1.)

  def testBadCoefficients(self):
    with tf.Graph().as_default():
      foreign = tf.constant(1.)
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      logits = tf.ones([4, 3])
      layers.register_categorical_predictive_distribution(logits)
      registers = [
          layers.register_categorical_predictive_distribution,
          layers.register_softmax_cross_entropy_loss,
          layers.register_normal_predictive_distribution,
          layers.register_squared_error_loss,
          layers.register_multi_bernoulli_predictive_distribution,
          layers.register_sigmoid_cross_entropy_loss]
      for register in registers:
        for bad in (-1., "1", None, True, np.nan, np.inf, np.ones([2]), [1.],
                    tf.ones([2]), tf.constant(True)):
          with self.assertRejected(
              layers, ValueError,
              "^coeff must be a number >= 0 or a scalar tensor, got "):
            register(logits, coeff=bad)
        with self.assertRejected(
            layers, ValueError, "^coeff must belong to the graph of the layer "
            "collection, got Const:0 of another graph"):
          register(logits, coeff=foreign)

  def testBadModes(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      layers.register_categorical_predictive_distribution(
          tf.ones([4, 3]), targets=[0, 1, 2, 0])
      for evaluate in (layers.total_loss, layers.total_sampled_loss):
        with self.assertRaisesRegex(
            ValueError, r"^coeff_mode must be one of \['regular', 'sqrt', "
            r"'off'\], got 'root'.$"):
          evaluate("root")
      for target_mode in ("data", "sample"):
        with self.assertRaisesRegex(ValueError, "^coeff_mode .* got 1.$"):
          layers.eval_losses(target_mode, 1)
      with self.assertRaisesRegex(
          ValueError, "^target_mode must be 'data' or 'sample', got 'model'."):
        layers.eval_losses("model")

  def testBadPredictions(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      layers.register_squared_error_loss(tf.ones([4, 3]))
      with self.assertRejected(
          layers, ValueError, "^prediction must have rank 1 or 2, got shape "):
        layers.register_squared_error_loss(tf.ones([4, 3, 2]))
      with self.assertRejected(
          layers, ValueError, "^prediction must be a tensor or variable"):
        layers.register_squared_error_loss(None)
      with self.assertRejected(
          layers, ValueError, "^variance must be a tensor or variable"):
        layers.register_normal_mean_and_variance_predictive_distribution(
            tf.ones([4, 3]), 1.)

  def testVarianceOfALayerIsRefused(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      inputs = tf.ones([4, 3])
      weights = errors.variable("w", [3, 2])
      outputs = tf.matmul(inputs, weights)
      layers.register_fully_connected(weights, inputs, outputs)
      mean, var = outputs[:, :1], tf.exp(outputs[:, 1:])
      with self.assertRejected(
          layers, ValueError, "^var must not depend on registered variables, "
          "use register_normal_mean_and_variance_predictive_distribution, got "
          "Exp:0, which depends on w:0.$"):
        layers.register_normal_predictive_distribution(mean, var)

  def testTargetsThatDoNotFitAreRefusedOnlyWhenUsed(self):
    for name in ("categorical", "normal", "multi_bernoulli"):
      texts = np.full([4] if name == "categorical" else [4, 3], "a")
      for targets, error in ((np.ones([5, 3]), ValueError),
                             (texts, TypeError)):
        with self.subTest(name), tf.Graph().as_default():
          layers = lc.LayerCollection()
          register = getattr(layers, f"register_{name}_predictive_distribution")
          with self.assertLogs("absl", "WARNING") as logs:
            register(tf.ones([4, 3]), targets=targets)
          self.assertLen(logs.output, 1)
          layers.total_sampled_loss()
          layers.eval_losses_on_samples()
          for use in (layers.total_loss, layers.eval_losses):
            with self.assertRaisesRegex(error, "^targets must "):
              use()

  def testUnknownLoss(self):
    with tf.Graph().as_default():
      logits = tf.ones([4, 3])
      foreign = lf.CategoricalLogitsNegativeLogProbLoss(logits)
    with tf.Graph().as_default():
      layers = lc.LayerCollection(graph=tf.get_default_graph())
      logits = tf.ones([4, 3])
      for bad in ("cross_entropy", logits, None):
        with self.assertRejected(
            layers, ValueError, "loss must be a LossFunction, got "):
          layers.register_loss_function(bad, logits, "base")
      with self.assertRejected(
          layers, ValueError,
          "loss inputs must belong to the graph of the layer collection, got "
          "ones:0 of another graph"):
        layers.register_loss_function(foreign, logits, "base")


if __name__ == "__main__":
  tf.test.main()
