"""Tests that no setting of an enclosing scope reaches variables of K-FAC."""

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net


def _constant_getter(getter, *args, **kwargs):
  return tf.stop_gradient(getter(*args, **kwargs))


SETTINGS = {
    "caching_device": {"caching_device": "/device:CPU:0"},
    "partitioner": {"partitioner": tf.fixed_size_partitioner(2)},
    "regularizer": {"regularizer": tf.nn.l2_loss},
    "custom_getter": {"custom_getter": _constant_getter},
    "initializer": {"initializer": tf.constant_initializer(7.)},
    "constraint": {"constraint": tf.zeros_like},
    "use_resource": {"use_resource": False},
    "float16": {"dtype": tf.float16},
    "all": {"caching_device": "/device:CPU:0", "regularizer": tf.nn.l2_loss,
            "partitioner": tf.fixed_size_partitioner(2),
            "custom_getter": _constant_getter, "constraint": tf.zeros_like,
            "initializer": tf.constant_initializer(7.),
            "use_resource": False, "dtype": tf.float16},
}

_EXPECTED: dict[bool, tuple] = {}


class EnclosingScopeTest(parameterized.TestCase, tf.test.TestCase):

  def _train(self, immediately, scope_settings):
    """Trains under an enclosing scope, which may have settings.

    Returns:
      V1 and V2, the damping, and the variables of K-FAC.
    """
    data = dense_net.batches(6)
    with tf.Graph().as_default() as graph, self.session() as sess:
      model = dense_net.build()
      step = tf.train.create_global_step()
      before = set(tf.global_variables())

      def loss_fn(batch):
        return dense_net.loss_on(
            dense_net.logits_of(batch[0], model.variables), batch[1])

      adapted = {} if not immediately else {
          "adapt_damping": True, "loss_fn": loss_fn,
          "train_batch": (model.x, model.y), "damping_adaptation_interval": 2,
          "max_loss_increase": 10.}
      with tf.variable_scope("outer", **scope_settings):
        optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
            invert_every=2, layer_collection=model.layers, learning_rate=0.1,
            damping=0.1, estimation_mode="exact", **adapted)
        if not immediately:
          optimizer.set_damping_adaptation_params(
              True, (model.x, model.y), loss_fn, damping_adaptation_interval=2)
        train_op = optimizer.minimize(model.loss, step)
      variables = [v for v in tf.global_variables() if v not in before]
      self.assertEqual([], graph.get_collection(
          tf.GraphKeys.REGULARIZATION_LOSSES))
      for variable in variables:
        self.assertEqual("VarHandleOp", variable.op.type)
        self.assertIsNone(variable.constraint)
        self.assertIsNone(variable._get_save_slice_info())
        # Only a cached variable gives the same tensor twice.
        self.assertIsNot(variable.value(), variable.value())
      sess.run(tf.global_variables_initializer())
      for x, y in data:
        sess.run(train_op, {model.x: x, model.y: y})
      return (sess.run([*model.variables, optimizer.damping]), variables)

  def _expected(self, immediately):
    """Returns what training gives without settings, computed once."""
    if immediately not in _EXPECTED:
      _EXPECTED[immediately] = self._train(immediately, {})
    return _EXPECTED[immediately]

  @parameterized.parameters(
      *[(name, True) for name in SETTINGS], ("all", False))
  def testTrainingEqualsThatWithoutSettings(self, name, immediately):
    expected, plain = self._expected(immediately)
    got, variables = self._train(immediately, SETTINGS[name])
    for one, other in zip(expected, got, strict=True):
      self.assertAllClose(one, other, 1e-12, 1e-12)
    for attribute in ("name", "dtype", "shape"):
      self.assertEqual([getattr(v, attribute) for v in plain],
                       [getattr(v, attribute) for v in variables])
    names = " ".join(v.name for v in variables)
    for kind in ("/cov:", "local_step", "matpower", "/damping:", "/rho:",
                 "prev_loss", "q_model_change", "num_runs", "/KFAC"):
      self.assertIn(kind, names)

  def testTwoOptimizersHaveVelocitiesOfTheirOwn(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      with tf.variable_scope("outer", **SETTINGS["all"]):
        for _ in range(2):
          optimizer = kfac.KfacOptimizer(
              layer_collection=model.layers, learning_rate=0.1, damping=0.1)
          optimizer._velocity(model.variables[0])
      names = [v.name for v in tf.global_variables() if "KFAC" in v.name]
      self.assertLen(set(names), 2)

  def testUnregisteredVariablesKeepTheirSettings(self):
    with tf.Graph().as_default() as graph:
      model = dense_net.build()
      with tf.variable_scope("outer", **SETTINGS["regularizer"]):
        kfac.PeriodicInvCovUpdateKfacOpt(
            layer_collection=model.layers, learning_rate=0.1, damping=0.1,
            estimation_mode="exact").minimize(model.loss)
        tf.get_variable("mine", initializer=np.float32(2.))
      self.assertLen(graph.get_collection(
          tf.GraphKeys.REGULARIZATION_LOSSES), 1)


if __name__ == "__main__":
  tf.test.main()
