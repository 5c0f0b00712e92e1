"""The damping of each block, and how it is split between factors."""

import unittest.mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import fisher_blocks as fb
from kfac.python.ops import layer_collection
from kfac.python.ops import linear_operator as lo


def constant(name, value):
  return unittest.mock.patch.object(fb, name, value)


class NormalizeDampingTest(tf.test.TestCase):

  def testDividesByThePowerOfReplications(self):
    for power in (1., 0.5, 2):
      with constant("NORMALIZE_DAMPING_POWER", power):
        self.assertAllClose(
            fb.normalize_damping(0.3, 4), 0.3 / 4**power, rtol=1e-15)
        self.assertIsInstance(fb.normalize_damping(0.3, 4), float)
        self.assertAllClose(
            fb.normalize_damping(np.float32(0.5), np.int64(4)), 0.5 / 4**power)

  def testDampingIsUnchangedWithoutReplicationsOrPower(self):
    with tf.Graph().as_default():
      for damping in (0.3, tf.constant(0.3)):
        self.assertIs(fb.normalize_damping(damping, 1), damping)
        for power in (0, 0., None):
          with constant("NORMALIZE_DAMPING_POWER", power):
            self.assertIs(fb.normalize_damping(damping, 7), damping)

  def testTakesTensors(self):
    third = 1. / 3.
    with tf.Graph().as_default(), self.session() as session:
      variable = tf.get_variable(
          "damping", initializer=tf.constant(third, tf.float64))
      results = [
          fb.normalize_damping(tf.constant(third, tf.float64), 3),
          fb.normalize_damping(tf.constant(third, tf.float64),
                               tf.constant(3)),
          fb.normalize_damping(variable, 3)]
      single = fb.normalize_damping(third, tf.constant(3))
      self.assertEqual(
          [result.dtype for result in results], 3 * [tf.float64])
      session.run(tf.global_variables_initializer())
      for result in session.run(results):
        self.assertAllClose(result, third / 3., rtol=1e-15)
      self.assertAllClose(session.run(single), third / 3.)


class ComputePiTest(tf.test.TestCase):

  def testPiIsTheRootOfTheRatioOfMeanEigenvalues(self):
    rng = np.random.RandomState(2)
    left, right = [x @ x.T for x in (rng.normal(size=[3, 3]),
                                     rng.normal(size=[2, 2]))]
    expected = np.sqrt((np.trace(left) / 3) / (np.trace(right) / 2))
    diagonal = np.diag(left)
    with tf.Graph().as_default(), self.session() as session:
      pis = session.run([fb.compute_pi_tracenorm(one, other) for one, other in (
          (lo.LinearOperatorFullMatrix(left),
           lo.LinearOperatorFullMatrix(right)),
          (lo.LinearOperatorDiag(diagonal), lo.LinearOperatorFullMatrix(right)),
          (tf.constant(left), tf.constant(right)),
          (tf.constant(diagonal), tf.constant(right)),
          (tf.constant(diagonal[:, None]), tf.constant(right)),
          (left, diagonal[:2]))])
    self.assertAllClose(pis[:5], 5 * [expected], rtol=1e-14)
    self.assertAllClose(pis[5], np.sqrt(
        np.mean(diagonal) / np.mean(diagonal[:2])), rtol=1e-14)

  def testPiIsOneWhileAFactorIsZero(self):
    some, none = np.diag([4., 2.]), np.zeros([2, 2])
    with tf.Graph().as_default(), self.session() as session:
      pis = session.run([fb.compute_pi_tracenorm(*pair) for pair in (
          (some, none), (none, some), (none, none))])
    self.assertAllEqual(pis, [1., 1., 1.])

  def testDampingSplitsByPi(self):
    left, right = np.diag([4., 4.]), np.diag([1.])
    with tf.Graph().as_default(), self.session() as session:
      split = session.run(
          fb.compute_pi_adjusted_damping(left, right, 0.1) +
          fb.compute_pi_adjusted_damping(left, right, tf.constant(0.1)))
    # pi = sqrt(4 / 1)
    self.assertAllClose(split, [0.2, 0.05, 0.2, 0.05])
    self.assertEqual(split[0].dtype, np.float64)

  def testPiTypeOffSplitsEvenly(self):
    with constant("PI_TYPE", "off"), tf.Graph().as_default():
      self.assertEqual(
          fb.compute_pi_adjusted_damping(np.eye(2), 5 * np.eye(1), 0.1),
          (0.1, 0.1))

  def testUnknownPiTypeIsAnError(self):
    with constant("PI_TYPE", "trace"), tf.Graph().as_default():
      with self.assertRaisesRegex(
          ValueError,
          r"PI_TYPE must be one of \['off', 'tracenorm'\], got 'trace'"):
        fb.compute_pi_adjusted_damping(np.eye(2), np.eye(1), 0.1)


class SetGlobalConstantsTest(tf.test.TestCase):

  def testSetsWhatIsGiven(self):
    with constant("PI_TYPE", fb.PI_TYPE), constant(
        "CONV_LOCATIONS", fb.CONV_LOCATIONS), constant(
            "NORMALIZE_DAMPING_POWER", fb.NORMALIZE_DAMPING_POWER):
      fb.set_global_constants(pi_type="off")
      self.assertEqual(
          (fb.NORMALIZE_DAMPING_POWER, fb.PI_TYPE, fb.CONV_LOCATIONS),
          (1., "off", "outputs"))
      fb.set_global_constants(0.5, conv_locations="inputs")
      self.assertEqual(
          (fb.NORMALIZE_DAMPING_POWER, fb.PI_TYPE, fb.CONV_LOCATIONS),
          (0.5, "off", "inputs"))
      for name in ("pi_type", "conv_locations"):
        with self.assertRaisesRegex(ValueError, "must be one of .* got 'no'"):
          fb.set_global_constants(7., **{name: "no"})
      self.assertEqual(fb.NORMALIZE_DAMPING_POWER, 0.5)


class NumConvLocationsTest(tf.test.TestCase):

  def testDividesTheInputsByTheStrides(self):
    self.assertEqual(fb.num_conv_locations([8, 5, 4, 3], [1, 2, 2, 1]), 5)
    self.assertEqual(fb.num_conv_locations((None, 5, 4, 3), (2, 2)), 5)
    self.assertEqual(fb.num_conv_locations([8, 5, 4, 3], None), 20)
    self.assertEqual(fb.num_conv_locations([8, 9, 3], [2]), 4)
    self.assertEqual(fb.num_conv_locations(
        tf.TensorShape([None, 3, 4, 5, 6]), [1, 1, 2, 2, 1]), 15)

  def _block(self, cls, padding, shape):
    """Returns a block, and a feed, of 2 images [5, 6, 2] and strides 2, 3."""
    inputs = tf.placeholder(tf.float64, shape)
    filters = tf.get_variable(
        f"f{len(tf.global_variables())}", [2, 2, 2, 3], tf.float64)
    # On a CPU the strides have to be equal, hence the slices.
    outputs = tf.nn.conv2d(inputs, filters, [1, 1, 1, 1], padding)
    outputs = outputs[:, ::2, ::3]
    block = cls(layer_collection.LayerCollection(), filters,
                strides=[1, 2, 3, 1], padding=padding)
    block.register_additional_tower(inputs, outputs)
    return block, {inputs: np.random.RandomState(1).normal(size=[2, 5, 6, 2])}

  def testConstantDecidesWhatBlocksCount(self):
    # VALID: (5 - 1) / 2 = 2 rows, (6 - 1) / 3 -> 2 columns; SAME: 3 and 2.
    for padding, outputs in (("VALID", 4), ("SAME", 6)):
      for setting, expected in (("outputs", outputs), ("inputs", 30 // 6)):
        with tf.Graph().as_default(), constant("CONV_LOCATIONS", setting):
          block, _ = self._block(fb.ConvKFCBasicFB, padding, [2, 5, 6, 2])
          self.assertEqual(block._num_replications, expected)
          self.assertEqual(block._renorm_coeff, expected)

  def testUnknownSizesAreCountedInTheSession(self):
    g = np.random.RandomState(2).normal(size=[2, 2, 2, 3])
    for setting, expected in (("outputs", 4), ("inputs", 5)):
      with tf.Graph().as_default(), constant("CONV_LOCATIONS", setting), (
          self.session()) as session:
        block, feed = self._block(
            fb.ConvKFCBasicFB, "VALID", [None, None, None, 2])
        other, other_feed = self._block(
            fb.ConvDiagonalFB, "VALID", [None, None, None, 2])
        feed.update(other_feed)
        products, coeff = [], block._renorm_coeff
        with constant("NORMALIZE_DAMPING_POWER", 2.):
          for one in (block, other):
            run_block(one, g, 0.5)
            products.append(one.multiply(tf.ones([2, 2, 2, 3], tf.float64)))
          covs = [factor.get_cov() for factor in (
              block._input_factor, block._output_factor, other._factor)]
          session.run(tf.global_variables_initializer())
          session.run(tf.get_collection("updates"), feed)
          self.assertEqual(session.run(coeff, feed), expected)
          kron, diagonal = session.run(products, feed)
          A, G, D = session.run(covs)
        self.assertAllClose(
            diagonal.ravel(), (D + expected * 0.5 / expected**2).ravel(),
            rtol=1e-12)
        self.assertAllClose(
            kron.reshape(8, 3), kronecker(
                np.ones([8, 3]), A, G, expected, 0.5 / expected**2),
            rtol=1e-12)


def run_block(block, grads, damping):
  """Makes factors, variables and (in a collection) covariance updates."""
  grads = tf.nest.map_structure(tf.constant, grads)
  block.instantiate_factors([[grads]], damping)
  block.register_inverse()
  for factor in block._layer_collection.get_factors():
    factor.instantiate_cov_variables()
    factor.instantiate_inv_variables()
    tf.add_to_collection("updates", factor.make_covariance_update_op(0.9))


def kronecker(V, A, G, scale, damping):
  """Returns c (A + pi sqrt(damping) I) V (G + sqrt(damping) / pi I)."""
  A, G = [np.diag(x) if x.ndim == 1 else x for x in (A, G)]
  pi = np.sqrt((np.trace(A) / len(A)) / (np.trace(G) / len(G)))
  root = np.sqrt(damping)
  return scale * (A + root * pi * np.eye(len(A))) @ V @ (
      G + root / pi * np.eye(len(G)))


class DampingOfBlocksTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._rng = np.random.RandomState(4)

  def _normal(self, *shape):
    return self._rng.normal(size=shape)

  def _kronecker_blocks(self):
    """Yields block, inputs, outputs (or gradients), n, shape of a vector."""
    lc = layer_collection.LayerCollection
    filters = tf.get_variable("f", [2, 2, 2, 3], tf.float64)
    ids = np.array([0, 1, 2, 1])
    images = [self._normal(4, 3, 4, 2) for _ in range(2)]
    grads = [self._normal(4, 2, 3, 3) for _ in range(2)]  # 6 locations
    conv = dict(strides=[1, 1, 1, 1], padding="VALID")
    rows, row_grads = self._normal(2, 4, 3), self._normal(2, 4, 2)
    yield (fb.FullyConnectedKFACBasicFB(lc()), rows[0], row_grads[0], 1, [3, 2])
    yield (fb.EmbeddingKFACFB(lc(), 3), ids, row_grads[0], 1, [3, 2])
    yield (fb.ConvKFCBasicFB(lc(), filters, **conv), images[0], grads[0], 6,
           [2, 2, 2, 3])
    yield (fb.FullyConnectedMultiIndepFB(lc()), list(rows), list(row_grads), 2,
           [3, 2])
    yield (fb.EmbeddingKFACMultiIndepFB(lc(), 3), [ids, ids], list(row_grads),
           2, [3, 2])
    yield (fb.ConvKFCBasicMultiIndepFB(lc(), filters, **conv), images, grads,
           12, [2, 2, 2, 3])

  def testKroneckerBlocksSplitTheirShareByPi(self):
    for power in (1., 0.5, 0.):
      with tf.Graph().as_default(), self.session() as session, constant(
          "NORMALIZE_DAMPING_POWER", power):
        cases, tensors = [], []
        for block, inputs, grads, n, shape in self._kronecker_blocks():
          V = self._normal(*shape)
          block.register_additional_tower(
              *[tf.nest.map_structure(tf.constant, x)
                for x in (inputs, grads)])
          run_block(block, grads, 0.7)
          tensors.append([block.multiply(tf.constant(V)),
                          block._input_factor.get_cov(),
                          block._output_factor.get_cov()])
          cases.append((type(block).__name__, V, n))
        session.run(tf.global_variables_initializer())
        session.run(tf.get_collection("updates"))
        for (name, V, n), (product, A, G) in zip(
            cases, session.run(tensors), strict=True):
          with self.subTest(name, power=power):
            self.assertAllClose(
                product.reshape(-1, V.shape[-1]), kronecker(
                    V.reshape(-1, V.shape[-1]), A, G, n, 0.7 / n**power),
                rtol=1e-12)

  def testPiOffReachesTheBlocks(self):
    with tf.Graph().as_default(), self.session() as session, constant(
        "PI_TYPE", "off"):
      block = fb.FullyConnectedKFACBasicFB(layer_collection.LayerCollection())
      x, g, V = self._normal(4, 3), self._normal(4, 2), self._normal(3, 2)
      block.register_additional_tower(tf.constant(x), tf.constant(g))
      run_block(block, g, 0.7)
      product = block.multiply(tf.constant(V))
      session.run(tf.global_variables_initializer())
      session.run(tf.get_collection("updates"))
      root = np.sqrt(0.7)
      self.assertAllClose(
          session.run(product), (x.T @ x / 4 + root * np.eye(3)) @ V @ (
              g.T @ g / 4 + root * np.eye(2)), rtol=1e-12)

  def _single_factor_blocks(self):
    """Yields block, inputs, gradients, damping at 0.7 over T^power, shape."""
    lc = layer_collection.LayerCollection
    filters = tf.get_variable("f", [2, 2, 2, 3], tf.float64)
    depthwise = tf.get_variable("d", [2, 2, 2, 2], tf.float64)
    conv = dict(strides=[1, 1, 1, 1], padding="VALID")
    images = self._normal(4, 3, 4, 2)  # 6 locations
    yield (fb.FullyConnectedDiagonalFB(lc()), self._normal(4, 3),
           self._normal(4, 2), 1, [3, 2])
    yield (fb.ConvDiagonalFB(lc(), filters, **conv), images,
           self._normal(4, 2, 3, 3), 6, [2, 2, 2, 3])
    yield (fb.DepthwiseConvDiagonalFB(lc(), depthwise, **conv), images,
           self._normal(4, 2, 3, 4), 6, [2, 2, 2, 2])
    params = tf.get_variable("p", [3, 2], tf.float64)
    for cls in (fb.NaiveDiagonalFB, fb.FullFB):
      yield (cls(lc(), params), None, self._normal(3, 2), 1, [3, 2])

  def testOtherBlocksAddTheDamping(self):
    for power in (1., 0.5):
      with tf.Graph().as_default(), self.session() as session, constant(
          "NORMALIZE_DAMPING_POWER", power):
        cases, tensors = [], []
        for block, inputs, grads, T, shape in self._single_factor_blocks():
          if inputs is None:
            block.register_additional_tower(4)
          else:
            block.register_additional_tower(
                tf.constant(inputs), tf.constant(grads))
          run_block(block, grads, 0.7)
          vector = tf.ones(shape, tf.float64)
          tensors.append([block.multiply(vector), block.full_fisher_block()])
          cases.append((block, T))
        session.run(tf.global_variables_initializer())
        session.run(tf.get_collection("updates"))
        for (block, T), (product, F) in zip(
            cases, session.run(tensors), strict=True):
          undamped = F.sum(axis=1)
          if isinstance(block, fb.DepthwiseConvDiagonalFB):
            whole = undamped.reshape(2, 2, 2, 2, 2)
            undamped = np.einsum("hwccm->hwcm", whole).ravel()
          with self.subTest(type(block).__name__, power=power):
            self.assertAllClose(
                product.ravel(), undamped + T * 0.7 / T**power, rtol=1e-12)

  def testChangedDampingReachesTheInverses(self):
    with tf.Graph().as_default(), self.session() as session:
      variable = tf.get_variable("damping", initializer=0.7)
      placeholder = tf.placeholder_with_default(tf.constant(0.7), [])
      x, g = self._normal(4, 3), self._normal(4, 2)
      V = np.ones([3, 2])
      blocks = []
      for damping in (variable, placeholder):
        block = fb.FullyConnectedKFACBasicFB(layer_collection.LayerCollection())
        block.register_additional_tower(tf.constant(x), tf.constant(g))
        run_block(block, g, damping)
        blocks.append(block)
      updates = [factor.make_inverse_update_ops() for block in blocks
                 for factor in block._layer_collection.get_factors()]
      inverses = [block.multiply_inverse(tf.constant(V)) for block in blocks]
      wholes = [block.multiply(tf.constant(V)) for block in blocks]
      A, G = x.T @ x / 4, g.T @ g / 4

      def check(values, inverse_damping, damping):
        for inverse, whole in zip(*values, strict=True):
          self.assertAllClose(
              kronecker(inverse, A, G, 1, inverse_damping), V, rtol=1e-6)
          self.assertAllClose(
              whole, kronecker(V, A, G, 1, damping), rtol=1e-6)

      session.run(tf.global_variables_initializer())
      session.run(tf.get_collection("updates"))
      session.run(updates)
      check(session.run([inverses, wholes]), 0.7, 0.7)
      session.run(variable.assign(0.02))
      feed = {placeholder: 0.02}
      check(session.run([inverses, wholes], feed), 0.7, 0.02)
      session.run(updates, feed)
      check(session.run([inverses, wholes], feed), 0.02, 0.02)


if __name__ == "__main__":
  tf.test.main()
