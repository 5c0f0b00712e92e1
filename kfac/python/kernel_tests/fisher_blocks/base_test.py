"""Tests of blocks: constructors, towers, users' blocks, members."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_blocks import graph_case as case
from kfac.python.ops import estimator
from kfac.python.ops import fisher_blocks as fb
from kfac.python.ops import fisher_factors


class ConstructorErrorsTest(case.GraphCase):

  def testConvDiagonalFB(self):
    for message, args, kwargs in (
        ("strides must have length 4, got", ([1, 1], "SAME"), {}),
        ("dilations must have length 4, got", (case.ONES, "SAME"),
         dict(dilations=[1, 2])),
        ("data_format must have the channels last, got 'NCHW'",
         (case.ONES, "SAME"), dict(data_format="NCHW"))):
      with self.assertRaisesRegex(ValueError, message):
        fb.ConvDiagonalFB(
            case.new_collection(), case.filters(2, 2, 3, 4), *args, **kwargs)
    with self.assertRaisesRegex(
        ValueError, r"filter must have length 4, got \[2, 3, 4\]"):
      fb.ConvDiagonalFB(
          case.new_collection(), case.filters(2, 3, 4), case.ONES, "SAME")

  def testConvKroneckerFB(self):
    for cls in (fb.ConvKFCBasicFB, fb.ConvKFCBasicMultiIndepFB):
      with self.assertRaisesRegex(
          ValueError, "data_format must have the channels last, got 'NCHW'"):
        cls(case.new_collection(), case.filters(2, 2, 3, 4), "SAME",
            data_format="NCHW")

  def testPatchMaskAndUncorrelatedActivations(self):
    weights = case.filters(2, 2, 3, 4)
    for make in (
        lambda mask: fb.ConvDiagonalFB(
            case.new_collection(), weights, case.ONES, "SAME",
            patch_mask=mask),
        lambda mask: fb.ConvKFCBasicFB(
            case.new_collection(), weights, "SAME", patch_mask=mask)):
      one, other = make(np.ones([2, 2])), make([[1, 1], [1, 0]])
      one.check_same_settings(make([[1, 1], [1, 1]]))
      with self.assertRaisesRegex(ValueError, "got another patch_mask"):
        one.check_same_settings(other)
      with self.assertRaisesRegex(
          ValueError, r"patch_mask must have shape \[2, 2\], got \[2\]."):
        make([1, 1])
    with self.assertRaisesRegex(
        NotImplementedError, r"^use_sua_approx_for_input_factor \(kron_sua\) "
        r'is not built, use False \("kron"\).$'):
      fb.ConvKFCBasicFB(case.new_collection(), weights, "SAME",
                        use_sua_approx_for_input_factor=True)

  def testDepthwiseFB(self):
    for cls in (fb.DepthwiseConvDiagonalFB, fb.DepthwiseConvKFCBasicFB):
      weights = case.filters(2, 2, 3, 4)
      with self.assertRaisesRegex(
          NotImplementedError, "params must be the filter alone"):
        cls(case.new_collection(), (weights, tf.zeros([12])), case.ONES, "SAME")
      with self.assertRaisesRegex(
          ValueError, r"rate must have length 2, got \[1, 2, 2, 1\]"):
        cls(case.new_collection(), weights, case.ONES, "SAME",
            rate=[1, 2, 2, 1])
      with self.assertRaisesRegex(ValueError, "channels last, got 'NCHW'"):
        cls(case.new_collection(), weights, case.ONES, "SAME",
            data_format="NCHW")

  def testNumUsesMustBeKnownAndTheSame(self):
    x, y = tf.zeros([6, 2]), tf.zeros([6, 3])
    for make in (
        lambda **kwargs: fb.FullyConnectedMultiIndepFB(
            case.new_collection(), **kwargs),
        lambda **kwargs: fb.FullyConnectedSeriesFB(
            case.new_collection(), **kwargs),
        lambda **kwargs: fb.EmbeddingKFACMultiIndepFB(
            case.new_collection(), 5, **kwargs),
        lambda **kwargs: fb.ConvKFCBasicMultiIndepFB(
            case.new_collection(), case.filters(1, 1, 2, 3), "SAME", **kwargs)):
      with self.assertRaisesRegex(
          ValueError, "num_uses must be given where inputs are one tensor"):
        make().register_additional_tower(x, y)
      with self.assertRaisesRegex(
          ValueError, "inputs must have num_uses = 3 uses, got 2"):
        make(num_uses=3).register_additional_tower([x, x], [y, y])
      with self.assertRaisesRegex(
          ValueError, "outputs must have num_uses = 2 uses, got 3"):
        make().register_additional_tower([x, x], [y, y, y])
      block = make()
      block.register_additional_tower([x, x], [y, y])
      with self.assertRaisesRegex(
          ValueError, "inputs must have num_uses = 2 uses, got 1"):
        block.register_additional_tower([x], [y])
      block.register_additional_tower(x, y)  # All uses in one tensor.
      self.assertEqual(block.num_inputs(), 2)
      self.assertEqual(block.num_registered_towers, 2)

  def testSeriesOption(self):
    block = fb.FullyConnectedSeriesFB(case.new_collection(), option=1)
    self.assertIs(block._option, fb.SeriesFBApproximation.option1)
    with self.assertRaisesRegex(ValueError, "3 is not a valid"):
      fb.FullyConnectedSeriesFB(case.new_collection(), option=3)


class FirstTowerTest(case.GraphCase):
  """TensorFlow 1.4 gave the constructors the data of one tower."""

  def testConstructorsRegisterIt(self):
    x, y = tf.zeros([4, 2]), tf.zeros([4, 3])
    image, out = tf.zeros([4, 2, 2, 2]), tf.zeros([4, 2, 2, 3])
    weights, ids = case.filters(1, 1, 2, 3), tf.zeros([4], tf.int32)
    lc = case.new_collection()
    conv = dict(strides=case.ONES, padding="SAME")
    for block, inputs, outputs in (
        (fb.FullyConnectedDiagonalFB(lc, inputs=x, outputs=y), x, y),
        (fb.FullyConnectedKFACBasicFB(lc, inputs=x, outputs=y), x, y),
        (fb.FullyConnectedMultiIndepFB(lc, inputs=[x, x], outputs=[y, y]),
         [x, x], [y, y]),
        (fb.FullyConnectedSeriesFB(lc, inputs=[x, x], outputs=[y, y]),
         [x, x], [y, y]),
        (fb.EmbeddingKFACFB(lc, 5, inputs=ids, outputs=y), ids, y),
        (fb.EmbeddingKFACMultiIndepFB(lc, 5, inputs=[ids], outputs=[y]),
         [ids], [y]),
        (fb.ConvDiagonalFB(lc, weights, inputs=image, outputs=out, **conv),
         image, out),
        (fb.ConvKFCBasicFB(lc, weights, inputs=image, outputs=out, **conv),
         image, out),
        (fb.DepthwiseConvDiagonalFB(
            lc, case.filters(1, 1, 2, 1), inputs=image, outputs=image, **conv),
         image, image)):
      self.assertEqual(block.num_registered_towers, 1)
      self.assertEqual(block.num_registered_minibatches, 1)
      for actual, expected in (
          (block._inputs[0], inputs), (block._outputs[0], outputs),
          (block.tensors_to_compute_grads()[0], outputs)):
        self.assertEqual([t.name for t in tf.nest.flatten(actual)],
                         [t.name for t in tf.nest.flatten(expected)])
      block.register_additional_minibatch(inputs, outputs)
      self.assertEqual(block.num_registered_towers, 2)
      self.assertEqual(block._num_towers, 2)

  def testGenericBlocksTakeABatchSize(self):
    params = self._variable(2, 2)
    for cls in (fb.FullFB, fb.NaiveDiagonalFB):
      block = cls(case.new_collection(), params, 3)
      self.assertEqual(block.num_registered_towers, 1)
      block.register_additional_minibatch(4)
      self.assertEqual(block.num_registered_minibatches, 2)
      self.assertEqual(block._batch_size, 7)
      self.assertIs(block.tensors_to_compute_grads(), params)
      self.assertEqual(
          cls(case.new_collection(), params).num_registered_towers, 0)


class ColumnFB(fb.FisherBlock):
  """A user's block with only the abstract members: F = 3 I."""

  def instantiate_factors(self, grads_list, damping):
    self.grads_list, self.damping = grads_list, damping

  def register_matpower(self, exp):
    self.exps = getattr(self, "exps", []) + [exp]

  def register_cholesky(self):
    pass

  def register_cholesky_inverse(self):
    pass

  def multiply_matpower(self, vector, exp):
    return vector * (3. + self.damping)**exp

  def multiply_cholesky(self, vector, transpose=False):
    return vector * (3. + self.damping)**0.5

  def multiply_cholesky_inverse(self, vector, transpose=False):
    return vector * (3. + self.damping)**-0.5

  def tensors_to_compute_grads(self):
    return [self.outputs]

  @property
  def num_registered_towers(self):
    return 1


class FisherBlockTest(case.GraphCase):

  def testMultipleOfTheDampingIsThatOfAnotherBlock(self):
    V, inputs, outputs = (
        tf.constant(self._normal(*shape)) for shape in ((2, 3), (4, 2), (4, 3)))
    products, updates = [], []
    for cls in (fb.FullyConnectedKFACBasicFB, fb.FullyConnectedDiagonalFB):
      for damping, mult in ((0.1, tf.constant(0.5)), (0.1, 0.5), (0.05, 1.)):
        block = cls(case.new_collection(), inputs=inputs, outputs=outputs)
        block.instantiate_factors([[outputs]], damping)
        for factor in block._layer_collection.get_factors():
          with tf.variable_scope(f"{cls.__name__}_{len(products)}"):
            factor.instantiate_cov_variables()
          updates.append(factor.make_covariance_update_op(0.))
        products.append(block.multiply(V, mult))
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      session.run(updates)
      got = session.run(products)
    for first in (0, 3):
      self.assertAllClose(got[first], got[first + 2], 1e-7, 1e-12)
      self.assertAllClose(got[first + 1], got[first + 2], 1e-12, 1e-12)

  def testBlocksWithoutAMultipleOfTheDamping(self):
    block = ColumnFB(case.new_collection())
    block.damping = 0.5
    self.assertEqual(7., block.multiply(2., 1.))
    with self.assertRaisesRegex(
        NotImplementedError,
        r"^ColumnFB must define multiply\(vector, damping_mult\)\.$"):
      block.multiply(2., 0.5)
    series = fb.FullyConnectedSeriesFB(case.new_collection(), num_uses=2)
    for mult in (1., 0.5):
      with self.assertRaisesRegex(
          NotImplementedError, "^exp must be -1 in the series"):
        series.multiply(2., mult)

  def testIsAbstract(self):
    with self.assertRaisesRegex(TypeError, "abstract"):
      fb.FisherBlock(case.new_collection())

  def testUsersBlockWorksInAnEstimator(self):
    collection = case.new_collection()
    W = self._variable(2, 3)
    block = ColumnFB(collection)
    block.outputs = tf.matmul(tf.constant(self._normal(4, 2)), W)
    self.assertIs(collection.register_block(W, block), block)
    collection._add_uses(W, 1)
    collection.register_normal_predictive_distribution(block.outputs)
    fisher = estimator.FisherEstimator(
        [W], 0.95, 0.5, collection, exps=(-1, 0.5), compute_cholesky=True,
        estimation_mode="exact")
    vecs = [(tf.ones_like(W), W)]
    with self.session() as session:
      case.update(session, fisher)
      results = session.run([
          pairs[0][0] for pairs in (
              fisher.multiply_inverse(vecs), fisher.multiply(vecs),
              fisher.multiply_matpower(0.5, vecs),
              fisher.multiply_cholesky(vecs))])
    for result, scale in zip(
        results, (1 / 3.5, 3.5, 3.5**0.5, 3.5**0.5), strict=True):
      self.assertAllClose(result, np.full([2, 3], scale), rtol=1e-6)
    self.assertEqual(block.exps, [-1, 0.5])
    block.register_inverse()
    self.assertEqual(block.exps, [-1, 0.5, -1])
    self.assertLen(block.grads_list, 3)
    self.assertEqual(block.grads_list[0][0].shape, [4, 3])
    self.assertEqual(block.num_registered_minibatches, 1)

  def testInstantiateFactorsCanBeOverriddenOnAnInstance(self):
    collection = case.new_collection()
    W, x = self._variable(2, 3), self._normal(4, 2)
    outputs = tf.matmul(tf.constant(x), W)
    collection.register_fully_connected(W, tf.constant(x), outputs)
    collection.register_normal_predictive_distribution(outputs)
    block = collection.fisher_blocks[W]
    original, seen = block.instantiate_factors, []

    def instantiate_factors(grads_list, damping):
      seen.append(damping)
      original([[2. * tower for tower in source] for source in grads_list],
               10. * damping)

    block.instantiate_factors = instantiate_factors
    fisher = estimator.FisherEstimator(
        [W], 0.95, 0.5, collection, estimation_mode="exact")
    product = None
    with self.session() as session:
      ops = fisher.cov_update_op
      product, = fisher.multiply([(tf.ones_like(W), W)])
      full = block.full_fisher_block()
      session.run(tf.global_variables_initializer())
      session.run(ops)
      product, full = session.run([product[0], full])
    self.assertEqual(seen, [0.5])
    # Gradients twice as large: G = 4 / 0.5; damping ten times as large.
    A, G = x.T @ x / 4, 8. * np.eye(3)
    self.assertAllClose(full, np.kron(A, G))
    pi = np.sqrt(np.trace(A) / 2 / 8.)
    self.assertAllClose(
        product, (A + np.sqrt(5.) * pi * np.eye(2)) @ np.ones([2, 3]) @ (
            G + np.sqrt(5.) / pi * np.eye(3)))


class MembersTest(case.GraphCase):
  """Underscored members that programs written for contrib.kfac use."""

  def testOfBlocksInUse(self):
    collection = case.new_collection()
    x, image = (tf.constant(self._normal(4, 2)),
                tf.constant(self._normal(4, 3, 3, 2)))
    dense, conv, bare = [
        (self._variable(2, 3), self._variable(3)),
        (self._variable(2, 2, 2, 1), self._variable(1)), self._variable(2, 3)]
    y = tf.matmul(x, dense[0]) + dense[1]
    z = tf.nn.conv2d(image, conv[0], case.ONES, "VALID") + conv[1]
    uses = [x, 2. * x]
    outs = [tf.matmul(use, bare) for use in uses]
    collection.register_fully_connected(dense, x, y, approx="diagonal")
    collection.register_conv2d(conv, case.ONES, "VALID", image, z)
    collection.register_fully_connected_multi(bare, uses, outs)
    collection.register_normal_predictive_distribution(
        tf.concat([y, tf.reshape(z, [4, -1])] + outs, 1))
    fisher = estimator.FisherEstimator(
        collection.registered_variables, 0.95, 0.1, collection)
    diagonal, kfc, multi = fisher.blocks
    with self.session() as session:
      case.update(session, fisher)
      covs = session.run([factor._cov for factor in (
          diagonal._factor, kfc._input_factor, kfc._output_factor,
          multi._input_factor, multi._output_factor)])
    self.assertEqual([cov.shape for cov in covs],
                     [(3, 3), (9, 9), (1, 1), (2, 2), (3, 3)])
    self.assertLen(fisher.factors, 5)
    for block in (kfc, multi):
      self.assertEqual(block.damping, fisher.damping)
      self.assertIs(block.input_factor, block._input_factor)
      self.assertIs(block.output_factor, block._output_factor)
      self.assertEqual(block.input_factor.batch_size(), 4)
      self.assertEqual(block.output_factor.batch_size(), 4)
    self.assertEqual(
        [block._has_bias for block in fisher.blocks], [True, True, False])
    self.assertEqual(
        [(block._renorm_coeff, block._num_replications)
         for block in (kfc, multi)], [(4, 4), (2, 2)])
    self.assertEqual([block._num_towers for block in fisher.blocks], 3 * [1])
    for block, inputs, outputs in (
        (diagonal, x, y), (kfc, image, z), (multi, uses, outs)):
      self.assertIs(block._inputs[0], inputs)
      self.assertIs(block._outputs[0], outputs)
      self.assertIs(block._layer_collection, collection)

  def testMaskAndSubSamplingReachTheFactors(self):
    images, outputs = (tf.constant(self._normal(4, 3, 3, 2)),
                       tf.constant(self._normal(4, 2, 2, 3)))
    weights = case.filters(2, 2, 2, 3)
    masks = []
    for block in (
        fb.ConvKFCBasicFB(
            case.new_collection(), weights, "VALID", sub_sample_inputs=True,
            sub_sample_patches=False, patch_mask=np.eye(2), inputs=images,
            outputs=outputs),
        fb.ConvDiagonalFB(
            case.new_collection(), weights, case.ONES, "VALID",
            patch_mask=np.eye(2), inputs=images, outputs=outputs)):
      block.instantiate_factors([[outputs]], 0.1)
      factor = block._layer_collection.get_factors()[0]
      masks.append(factor._patch_mask)
      if isinstance(block, fb.ConvKFCBasicFB):
        self.assertIs(factor._sub_sample_inputs, True)
        self.assertIs(factor._sub_sample_patches, False)
    self.assertEqual(masks, 2 * [((1., 0.), (0., 1.))])
    self.assertIs(fb.NaiveFullFB, fb.FullFB)

  def testRenormCoeffOfASubclassIsUsed(self):
    class Scaled(fb.FullyConnectedKFACBasicFB):
      _renorm_coeff = 7.

    blocks = [cls(case.new_collection(), inputs=tf.constant(self._normal(4, 2)),
                  outputs=tf.constant(self._normal(4, 3)))
              for cls in (fb.FullyConnectedKFACBasicFB, Scaled)]
    one = tf.ones([2, 3], tf.float64)
    updates, products = [], []
    for block in blocks:
      block.instantiate_factors([[block._outputs[0]]], 0.1)
      for factor in block._layer_collection.get_factors():
        with tf.variable_scope(type(block).__name__):
          factor.instantiate_cov_variables()
        updates.append(factor.make_covariance_update_op(0.9))
      A, G = [factor.get_cov() for factor in (
          block._input_factor, block._output_factor)]
      products.append([block.multiply(one), block.full_fisher_block(), A, G])
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      session.run(updates)
      (_, full, A, G), (scaled, scaled_full, A7, G7) = session.run(products)
    self.assertAllClose(full, np.kron(A, G), rtol=1e-12)
    self.assertAllClose(scaled_full, 7. * np.kron(A7, G7), rtol=1e-12)
    pi = np.sqrt(np.trace(A7) / 2 / (np.trace(G7) / 3))
    root = np.sqrt(0.1)
    self.assertAllClose(
        scaled, 7. * (A7 + root * pi * np.eye(2)) @ np.ones([2, 3]) @ (
            G7 + root / pi * np.eye(3)), rtol=1e-12)

  def testPackageFunc(self):
    packed = fb._package_func(lambda: 0.5, ("a", 1))
    self.assertIsInstance(packed, fb.PackagedFunc)
    self.assertEqual((packed(), packed.func_id), (0.5, ("a", 1)))
    factor = fisher_factors.FullyConnectedKroneckerFactor(
        tf.constant(self._normal(4, 2)))
    factor.register_inverse(packed)
    factor.instantiate_cov_variables()
    factor.instantiate_inv_variables()
    self.assertEqual(["matpower_exp-1_dampa_1"], factor.contrib_kept_names)

  def testMaybeTuple(self):
    self.assertEqual(fb.maybe_tuple([1, [2, (3, [4])]]), (1, (2, (3, (4,)))))
    self.assertEqual(fb.maybe_tuple(5), 5)
    self.assertIsNone(fb.maybe_tuple(None))


if __name__ == "__main__":
  tf.test.main()
