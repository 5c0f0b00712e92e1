"""Tests that towers on several devices train like one device.

The devices are three logical CPUs of one process. Towers, covariances and
inverses are on different ones.
"""

import itertools

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net

CPUS = [f"/device:CPU:{i}" for i in range(3)]
BATCH_SIZE = 12
NUM_STEPS = 4

# Arguments of the optimizers.
OPTIMIZERS = {
    "regular": dict(learning_rate=0.1, momentum=0.9),
    "adam": dict(learning_rate=0.1, momentum=0.9, momentum_type="adam"),
    "qmodel": dict(learning_rate=1., momentum=0., momentum_type="qmodel",
                   batch_size=BATCH_SIZE),
}

# The parameters after each step on one device.
_EXPECTED: dict[tuple, list] = {}


def _batches():
  rng = np.random.RandomState(0)
  return [(rng.randn(BATCH_SIZE, dense_net.SIZES[0]),
           rng.randint(dense_net.SIZES[-1], size=BATCH_SIZE))
          for _ in range(NUM_STEPS)]


class _Program:
  """A training program whose batch is divided into towers, one per device."""

  def __init__(self, tower_devices, **kwargs):
    self.x = tf.placeholder(tf.float64, [BATCH_SIZE, dense_net.SIZES[0]])
    self.y = tf.placeholder(tf.int32, [BATCH_SIZE])
    self.layers = kfac.LayerCollection()
    with tf.device(CPUS[0]):
      self.params = [
          (tf.get_variable(f"w{i}", initializer=value[:-1]),
           tf.get_variable(f"b{i}", initializer=value[-1]))
          for i, value in enumerate(dense_net.initial_params())]
      parts = zip(*(tf.split(tensor, len(tower_devices))
                    for tensor in (self.x, self.y)), strict=True)
    losses = []
    for device, (x, y) in zip(tower_devices, parts, strict=True):
      with tf.device(device):
        losses.append(self._tower(x, y, reuse=bool(losses)))
    with tf.device(CPUS[0]):
      self.optimizer = kfac.KfacOptimizer(
          cov_ema_decay=0.9, damping=0.1, layer_collection=self.layers,
          **kwargs)
      self.train_op = self.optimizer.minimize(tf.add_n(losses) / len(losses))

  def _tower(self, hidden, y, reuse):
    """Registers a part of the batch, and returns its mean loss."""
    for params in self.params:
      inputs, outputs = hidden, tf.matmul(hidden, params[0]) + params[1]
      self.layers.register_fully_connected(params, inputs, outputs, reuse=reuse)
      hidden = tf.tanh(outputs)
    self.layers.register_categorical_predictive_distribution(
        outputs, targets=y, name="loss", reuse=reuse)
    return dense_net.loss_on(outputs, y)

  def train(self, sess):
    """Returns the parameters after each step."""
    sess.run(tf.global_variables_initializer())
    values = []
    for feed in _batches():
      feed_dict = dict(zip((self.x, self.y), feed, strict=True))
      for op in (self.optimizer.cov_update_op, self.optimizer.inv_update_op,
                 self.train_op):
        sess.run(op, feed_dict)
      values.append(sess.run(self.params))
    return values


class LogicalDevicesTest(parameterized.TestCase, tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.addCleanup(
        setattr, kfac.fisher_factors, "TOWER_STRATEGY",
        kfac.fisher_factors.TOWER_STRATEGY)

  def _expected(self, name, mode):
    """Returns the parameters after each step with one tower on one device."""
    if (name, mode) not in _EXPECTED:
      with tf.Graph().as_default(), tf.Session() as sess:
        _EXPECTED[name, mode] = _Program(
            CPUS[:1], estimation_mode=mode, **OPTIMIZERS[name]).train(sess)
    return _EXPECTED[name, mode]

  @parameterized.parameters(*itertools.product(
      OPTIMIZERS, (("concat", "empirical"), ("separate", "exact"))))
  def testTowersEqualOneDevice(self, name, tower_strategy_and_mode):
    tower_strategy, mode = tower_strategy_and_mode
    expected = self._expected(name, mode)
    kfac.fisher_factors.set_global_constants(tower_strategy=tower_strategy)
    config = tf.ConfigProto(device_count={"CPU": 3})
    with tf.Graph().as_default(), tf.Session(config=config) as sess:
      program = _Program(
          CPUS, estimation_mode=mode, placement_strategy="round_robin",
          cov_devices=CPUS[1:], inv_devices=CPUS[::-1], **OPTIMIZERS[name])
      optimizer = program.optimizer
      self.assertEqual(2 * CPUS[1:], [
          variable.device for variable in optimizer.get_cov_vars()])
      self.assertEqual([*CPUS[::-1], CPUS[2]], [
          op.device for op in optimizer.inv_update_ops])
      self.assertAllClose(expected, program.train(sess), 1e-10, 1e-10)
    # The comparison is of something: each step moves all parameters.
    self.assertNotAllClose(expected[0][0][0], expected[-1][0][0], 1e-3, 1e-3)


if __name__ == "__main__":
  tf.test.main()
