"""A program in the manner of a physics package that used kfac 0.2.4.

It finds the ground state of a ring of spins in a transverse field. The loss is
a vector, whose gradient the program provides; the preconditioner is that of the
centred statistics, which a subclass gets from two products and params_stats.
"""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.ops import utils

_NUM_SPINS = 6
_FIELD = 1.
_BATCH_SIZE = 256


class _Centred(kfac.PeriodicInvCovUpdateKfacOpt):
  """Preconditions by F - s s^T, where s is the mean of the gradients."""

  def _multiply_preconditioner(self, vecs_and_vars):
    product = super()._multiply_preconditioner(vecs_and_vars)
    stats = list(zip(self.params_stats, self.registered_variables,
                     strict=True))
    of_stats = super()._multiply_preconditioner(stats)
    # Sherman and Morrison 1950.
    coeff = utils.ip_p(stats, product) / (1. - utils.ip_p(stats, of_stats))
    return utils.sum_p(product, utils.sprod_p(coeff, of_stats))


def _states():
  """Returns all states, [2^n, n] of -1 and 1."""
  bits = np.arange(2 ** _NUM_SPINS)[:, None] >> np.arange(_NUM_SPINS)
  return 1. - 2. * (bits & 1)


def _flipped(states):
  """Returns [n, batch, n]: the states with each of the spins flipped."""
  signs = 1. - 2. * np.eye(_NUM_SPINS)
  return states[None] * signs[:, None]


def _ground_energy(states):
  """Returns the lowest eigenvalue of the Hamiltonian."""
  hamiltonian = np.diag(-np.sum(states * np.roll(states, 1, axis=1), axis=1))
  for index in range(_NUM_SPINS):
    flips = np.arange(len(states)) ^ (1 << index)
    hamiltonian[np.arange(len(states)), flips] -= _FIELD
  return np.linalg.eigvalsh(hamiltonian)[0]


class _Wavefunction:
  """Log amplitudes: a convolution over the ring, and a correlation."""

  def __init__(self):
    normal = tf.random_normal_initializer(0., 0.1, seed=1)
    self.filters = tf.get_variable("filters", [3, 1, 4], initializer=normal)
    self.bias = tf.get_variable("bias", [4], initializer=normal)
    self.coupling = tf.get_variable(
        "coupling", [1], initializer=tf.zeros_initializer())

  def __call__(self, spins):
    """Returns padded spins, outputs of the convolution, log amplitudes."""
    ring = tf.concat([spins, spins[:, :2]], axis=1)[:, :, None]
    outputs = tf.nn.conv1d(ring, self.filters, 1, "VALID") + self.bias
    correlation = tf.reduce_sum(spins * tf.roll(spins, 1, axis=1), axis=1)
    return ring, outputs, (
        tf.reduce_sum(tf.log(tf.cosh(outputs)), axis=[1, 2])
        + self.coupling * correlation)


class ProgramTest(tf.test.TestCase):

  def testFindsTheGroundState(self):
    states = _states()
    rng = np.random.RandomState(0)
    with tf.Graph().as_default(), self.cached_session() as sess:
      tf.set_random_seed(0)
      spins = tf.placeholder(tf.float32, [_BATCH_SIZE, _NUM_SPINS])
      weights = tf.placeholder(tf.float32, [_BATCH_SIZE])
      model = _Wavefunction()
      ring, outputs, log_psi = model(spins)
      of_all = model(tf.constant(states, tf.float32))[-1]

      layers = kfac.LayerCollection()
      layers.register_conv1d((model.filters, model.bias), [1, 1, 1], "VALID",
                             ring, outputs)
      layers.register_generic(model.coupling, _BATCH_SIZE)
      layers.register_squared_error_loss(log_psi)
      optimizer = _Centred(
          1, 1, learning_rate=0.05, damping=0.01, layer_collection=layers,
          momentum=0., momentum_type="regular", cov_ema_decay=0.9,
          estimation_mode="exact", compute_params_stats=True,
          batch_size=_BATCH_SIZE, name="ground_state")
      train = optimizer.minimize(
          log_psi, global_step=tf.train.get_or_create_global_step(),
          grad_loss=weights)
      sess.run(tf.global_variables_initializer())

      def energies():
        """Returns probabilities and local energies of all states."""
        logs = sess.run(of_all).astype(np.float64)
        numbers = np.arange(len(states))
        flips = sum(np.exp(logs[numbers ^ (1 << index)] - logs)
                    for index in range(_NUM_SPINS))
        local = -np.sum(states * np.roll(states, 1, axis=1), axis=1)
        probabilities = np.exp(2. * logs)
        return probabilities / probabilities.sum(), local - _FIELD * flips

      lowest = _ground_energy(states)
      start = np.dot(*energies())
      for _ in range(50):
        probabilities, local = energies()
        drawn = rng.choice(len(states), _BATCH_SIZE, p=probabilities)
        centred = local[drawn] - np.mean(local[drawn])
        sess.run(train, {spins: states[drawn],
                         weights: 2. * centred / _BATCH_SIZE})
      self.assertLess(np.dot(*energies()) - lowest, 0.02 * (start - lowest))


if __name__ == "__main__":
  tf.test.main()
