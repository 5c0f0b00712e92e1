"""Tests that a Saver restores checkpoints of TensorFlow 1.8 to 1.10.

Variables have contrib.kfac's names with CONTRIB_VARIABLES.

The fixture has the names of such a checkpoint: `_write` makes a variable for
each name listed below, fills it with different numbers and saves all of them.
No name comes from our code. Names that depend on the computation of the loss
are left out, and so are the ids of dampings that are split by pi.
"""

import os
import tempfile

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops import layer_collection
from kfac.python.ops import optimizer

# A table [6, 3] looked up by `ids`, a 3x3 convolution of `images` from 2 to 4
# channels, and a dense layer from `features` [., 7] to 5, each with a tanh.
_MODEL = {
    "KFAC/FisherEstimator/ff_diag_embedding_ids/cov": [6],
    "KFAC/FisherEstimator/ff_fckron_gradients_vectors_grad_TanhGrad_False/cov":
        [3, 3],
    "KFAC/FisherEstimator/"
    "ff_convinkron_images_3-3-2-4_1-1-1-1_SAME_None_None_True/cov": [19, 19],
    "KFAC/FisherEstimator/ff_convoutkron_gradients_maps_grad_TanhGrad/cov":
        [4, 4],
    "KFAC/FisherEstimator/ff_fckron_features_True/cov": [8, 8],
    "KFAC/FisherEstimator/ff_fckron_gradients_hidden_grad_TanhGrad_False/cov":
        [5, 5],
}

# Single factors, with numbers as damping.
_FACTORS = {
    "KFAC/FisherEstimator/ff_full_net_W__net_b_8/cov": [8, 8],
    "KFAC/FisherEstimator/ff_full_net_W__net_b_8/matpower_exp-1_damp0.25":
        [8, 8],
    "KFAC/FisherEstimator/ff_naivediag_net_W_8/cov": [6, 1],
    "KFAC/FisherEstimator/ff_diagfc_net_a_net_g/cov": [3, 3],
    "KFAC/FisherEstimator/ff_convdiag_net_x_net_y/cov": [2, 4],
    "KFAC/FisherEstimator/ff_convinkron_net_x_1-1-2-4_None_VALID_2-2_NHWC_False"
    "/cov": [2, 2],
    "KFAC/FisherEstimator/ff_convoutkron_net_y/cov": [4, 4],
    "KFAC/FisherEstimator/ff_fckron_net_a__net_g_False/cov": [3, 3],
    "KFAC/FisherEstimator/ff_fckron_net_a__net_g_False/"
    "matpower_exp-0.5_damp0.25": [3, 3],
    "KFAC/FisherEstimator/ff_fckron_net_a__net_g_False/cholesky_damp0.25":
        [3, 3],
    "KFAC/FisherEstimator/ff_fckron_net_a__net_g_False/"
    "cholesky_inverse_damp0.25": [3, 3],
    "KFAC/FisherEstimator/ff_fc_multi_net_a_2_False/cov": [3, 3],
    "KFAC/FisherEstimator/ff_fc_multi_net_a_2_False/cov_dt1": [3, 3],
    "KFAC/FisherEstimator/ff_fc_multi_net_a_2_False/Lmat_damp0.25": [3, 3],
    "KFAC/FisherEstimator/ff_fc_multi_net_a_2_False/psi_damp0.25": [3],
    "KFAC/FisherEstimator/ff_fc_multi_net_a_2_False/Lmat_damp0.5": [3, 3],
    "KFAC/FisherEstimator/ff_fc_multi_net_a_2_False/Kmat_damp0.5": [3, 3],
    "KFAC/FisherEstimator/ff_fc_multi_net_a_2_False/mu_damp0.5": [3],
}


def _number(name, shape):
  """Returns numbers for a variable; a covariance is positive definite."""
  seed = sum(name.encode())
  if name.endswith("cov") and len(shape) == 2 and shape[0] == shape[1]:
    return oracles.second_moment(oracles.data(20, shape[0], seed=seed)).astype(
        np.float32)
  return np.abs(oracles.data(*shape, seed=seed, dtype=np.float32))


class CheckpointTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    oracles.set_constants(self, CONTRIB_VARIABLES=True)

  def _write(self, shapes):
    """Writes the fixture, and returns its path and values."""
    values = {name: _number(name, shape) for name, shape in shapes.items()}
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    path = os.path.join(folder.name, "model.ckpt")
    with tf.Graph().as_default(), self.session() as sess:
      variables = {name: tf.Variable(value, use_resource=False)
                   for name, value in values.items()}
      sess.run(tf.global_variables_initializer())
      path = tf.train.Saver(variables).save(sess, path, global_step=7)
    return path, values

  def _restore(self, sess, path, values):
    """Restores the fixture into the variables of these names."""
    present = {v.op.name: v for v in tf.global_variables()}
    self.assertContainsSubset(list(values), list(present))
    sess.run(tf.global_variables_initializer())
    tf.train.Saver({name: present[name] for name in values}).restore(
        sess, path)
    got = sess.run({name: present[name] for name in values})
    for name, value in values.items():
      self.assertAllEqual(value, got[name])
    return present

  def _model(self):
    """Builds the model of _MODEL; returns optimizer and loss."""
    ids = tf.constant([0, 3, 3, 5], name="ids")
    images = tf.constant(
        oracles.data(4, 5, 5, 2, dtype=np.float32), name="images")
    features = tf.constant(
        oracles.data(4, 7, dtype=np.float32), name="features")
    table, filters, shifts, W, b = (
        tf.get_variable(name, shape) for name, shape in (
            ("table", [6, 3]), ("filters", [3, 3, 2, 4]), ("shifts", [4]),
            ("W", [7, 5]), ("b", [5])))
    looked_up = tf.nn.embedding_lookup(table, ids)
    convolved = tf.nn.conv2d(images, filters, [1, 1, 1, 1], "SAME") + shifts
    mixed = tf.matmul(features, W) + b
    vectors = tf.tanh(looked_up, name="vectors")
    maps = tf.tanh(convolved, name="maps")
    hidden = tf.tanh(mixed, name="hidden")
    logits = tf.concat(
        [vectors, tf.reduce_mean(maps, axis=[1, 2]), hidden], axis=1)
    layers = layer_collection.LayerCollection()
    layers.register_embedding(table, ids, looked_up)
    layers.register_conv2d(
        (filters, shifts), [1, 1, 1, 1], "SAME", images, convolved)
    layers.register_fully_connected((W, b), features, mixed)
    layers.register_categorical_predictive_distribution(logits)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.constant([0, 2, 5, 11]), logits=logits))
    return optimizer.KfacOptimizer(
        0.1, 0.95, 0.01, layers, momentum=0.9), loss

  def testModelContinuesFromItsCovariances(self):
    path, values = self._write(_MODEL)
    with tf.Graph().as_default(), self.session() as sess:
      tf.set_random_seed(4)
      opt, loss = self._model()
      _, inverse_thunks = opt.make_vars_and_create_op_thunks()
      invert = [thunk() for thunk in inverse_thunks]
      step = opt.minimize(loss)
      present = self._restore(sess, path, values)
      sess.run(invert)
      # The inverses are those of the restored covariances, damped by pi.
      A, G = (values[f"KFAC/FisherEstimator/ff_fckron_{name}/cov"]
              for name in ("features_True",
                           "gradients_hidden_grad_TanhGrad_False"))
      pi = np.sqrt(np.trace(A) / 8. / (np.trace(G) / 5.))
      inverse, = [v for name, v in present.items()
                  if name.startswith("KFAC/FisherEstimator/"
                                     "ff_fckron_features_True/matpower_exp-1")]
      self.assertAllClose(
          np.linalg.inv(A + np.sqrt(0.01) * pi * np.eye(8)),
          sess.run(inverse), 1e-3, 1e-3)
      W = present["W"]
      before = sess.run(W)
      sess.run(step)
      self.assertNotAllClose(before, sess.run(W))

  def _factors(self):
    """Returns the factors of _FACTORS."""
    W = tf.zeros([3, 2], name="net/W")
    b = tf.zeros([2], name="net/b")
    a = tf.zeros([4, 3], name="net/a")
    g = tf.zeros([4, 3], name="net/g")
    x = tf.zeros([2, 4, 4, 2], name="net/x")
    y = tf.zeros([2, 4, 4, 4], name="net/y")
    kron = ff.FullyConnectedKroneckerFactor(((a, g),))
    kron.register_matpower(-0.5, 0.25)
    kron.register_cholesky(0.25)
    kron.register_cholesky_inverse(0.25)
    full = ff.FullFactor(((W, b),), 8)
    full.register_inverse(0.25)
    multi = ff.FullyConnectedMultiKF(((a,),), num_uses=2)
    multi.register_option1quants(0.25)
    multi.register_option2quants(0.5)
    return [
        full, ff.NaiveDiagonalFactor((W,), 8), kron, multi,
        ff.FullyConnectedDiagonalFactor((a,), ((g,),)),
        ff.ConvDiagonalFactor((x,), ((y,),), [1, 1, 2, 4], [1, 1, 1, 1],
                              "VALID"),
        ff.ConvInputKroneckerFactor((x,), [1, 1, 2, 4], "VALID", None, [2, 2],
                                    "NHWC"),
        ff.ConvOutputKroneckerFactor(((y,),))]

  def testFactorsAndKeptMatrices(self):
    path, values = self._write(_FACTORS)
    with tf.Graph().as_default(), self.session() as sess:
      factors = self._factors()
      with tf.variable_scope("KFAC/FisherEstimator"):
        for factor in factors:
          factor.instantiate_cov_variables()
          factor.instantiate_inv_variables()
      self._restore(sess, path, values)
      kron, multi = factors[2:4]
      scope = "KFAC/FisherEstimator/"
      names = [scope + "ff_fckron_net_a__net_g_False/" + name for name in (
          "matpower_exp-0.5_damp0.25", "cholesky_damp0.25",
          "cholesky_inverse_damp0.25")]
      names += [scope + "ff_fc_multi_net_a_2_False/" + name for name in (
          "Lmat_damp0.25", "psi_damp0.25",
          "Lmat_damp0.5", "Kmat_damp0.5", "mu_damp0.5")]
      got = [kron.get_matpower(-0.5, 0.25).to_dense(),
             kron.get_cholesky(0.25).to_dense(),
             kron.get_cholesky_inverse(0.25).to_dense()]
      got += multi.get_option1quants(0.25) + multi.get_option2quants(0.5)
      for name, value in zip(names, sess.run(got), strict=True):
        self.assertAllEqual(values[name], value)


if __name__ == "__main__":
  tf.test.main()
