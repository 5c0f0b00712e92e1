"""Construction of blocks, their older names, sparse vectors, members."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import estimator
from kfac.python.ops import fisher_blocks as fb
from kfac.python.ops import fisher_factors
from kfac.python.ops import layer_collection

ONES = [1, 1, 1, 1]


def new_collection():
  return layer_collection.LayerCollection()


def filters(*shape):
  return tf.zeros(shape)


def update(session, fisher):
  """Makes and runs all updates of an estimator."""
  ops = [fisher.cov_update_op, fisher.inv_update_op]
  session.run(tf.global_variables_initializer())
  for op in ops:
    session.run(op)


class GraphCase(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    context = tf.Graph().as_default()
    context.__enter__()
    self.addCleanup(context.__exit__, None, None, None)
    tf.set_random_seed(1)
    self._rng = np.random.RandomState(1)

  def _normal(self, *shape):
    return self._rng.normal(size=shape)

  def _variable(self, *shape):
    return tf.get_variable(
        f"v{len(tf.global_variables())}", use_resource=True,
        initializer=tf.constant(self._normal(*shape)))


class ConstructorErrorsTest(GraphCase):

  def testConvDiagonalFB(self):
    for message, args, kwargs in (
        ("strides must have length 4, got", ([1, 1], "SAME"), {}),
        ("dilations must have length 4, got", (ONES, "SAME"),
         dict(dilations=[1, 2])),
        ("data_format must have the channels last, got 'NCHW'",
         (ONES, "SAME"), dict(data_format="NCHW"))):
      with self.assertRaisesRegex(ValueError, message):
        fb.ConvDiagonalFB(
            new_collection(), filters(2, 2, 3, 4), *args, **kwargs)
    with self.assertRaisesRegex(
        ValueError, r"filter must have length 4, got \[2, 3, 4\]"):
      fb.ConvDiagonalFB(new_collection(), filters(2, 3, 4), ONES, "SAME")

  def testConvKroneckerFB(self):
    for cls in (fb.ConvKFCBasicFB, fb.ConvKFCBasicMultiIndepFB):
      with self.assertRaisesRegex(
          ValueError, "data_format must have the channels last, got 'NCHW'"):
        cls(new_collection(), filters(2, 2, 3, 4), "SAME", data_format="NCHW")

  def testDepthwiseFB(self):
    for cls in (fb.DepthwiseConvDiagonalFB, fb.DepthwiseConvKFCBasicFB):
      weights = filters(2, 2, 3, 4)
      with self.assertRaisesRegex(
          NotImplementedError, "params must be the filter alone"):
        cls(new_collection(), (weights, tf.zeros([12])), ONES, "SAME")
      with self.assertRaisesRegex(
          ValueError, r"rate must have length 2, got \[1, 2, 2, 1\]"):
        cls(new_collection(), weights, ONES, "SAME", rate=[1, 2, 2, 1])
      with self.assertRaisesRegex(ValueError, "channels last, got 'NCHW'"):
        cls(new_collection(), weights, ONES, "SAME", data_format="NCHW")

  def testNumUsesMustBeKnownAndTheSame(self):
    x, y = tf.zeros([6, 2]), tf.zeros([6, 3])
    for make in (
        lambda **kwargs: fb.FullyConnectedMultiIndepFB(
            new_collection(), **kwargs),
        lambda **kwargs: fb.FullyConnectedSeriesFB(new_collection(), **kwargs),
        lambda **kwargs: fb.EmbeddingKFACMultiIndepFB(
            new_collection(), 5, **kwargs),
        lambda **kwargs: fb.ConvKFCBasicMultiIndepFB(
            new_collection(), filters(1, 1, 2, 3), "SAME", **kwargs)):
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
      block.register_additional_tower(x, y)  # in one tensor, all uses
      self.assertEqual(block.num_inputs(), 2)
      self.assertEqual(block.num_registered_towers, 2)

  def testSeriesOption(self):
    block = fb.FullyConnectedSeriesFB(new_collection(), option=1)
    self.assertIs(block._option, fb.SeriesFBApproximation.option1)
    with self.assertRaisesRegex(ValueError, "3 is not a valid"):
      fb.FullyConnectedSeriesFB(new_collection(), option=3)


class FirstTowerTest(GraphCase):
  """TensorFlow 1.4 gave the constructors the data of one tower."""

  def testConstructorsRegisterIt(self):
    x, y = tf.zeros([4, 2]), tf.zeros([4, 3])
    image, out = tf.zeros([4, 2, 2, 2]), tf.zeros([4, 2, 2, 3])
    weights, ids = filters(1, 1, 2, 3), tf.zeros([4], tf.int32)
    lc = new_collection()
    conv = dict(strides=ONES, padding="SAME")
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
            lc, filters(1, 1, 2, 1), inputs=image, outputs=image, **conv),
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
      block = cls(new_collection(), params, 3)
      self.assertEqual(block.num_registered_towers, 1)
      block.register_additional_minibatch(4)
      self.assertEqual(block.num_registered_minibatches, 2)
      self.assertEqual(block._batch_size, 7)
      self.assertIs(block.tensors_to_compute_grads(), params)
      self.assertEqual(
          cls(new_collection(), params).num_registered_towers, 0)


class DepthwiseFiltersTest(GraphCase):

  def testEmbeddedFilterDoesTheSame(self):
    f, x = self._normal(2, 3, 2, 3), self._normal(4, 3, 4, 2)
    embedded = fb.depthwise_conv2d_filter_to_conv2d_filter(tf.constant(f))
    expected = np.zeros([2, 3, 2, 6])
    for c in range(2):
      expected[:, :, c, 3 * c:3 * c + 3] = f[:, :, c]
    with self.session() as session:
      self.assertAllEqual(session.run(embedded), expected)
      self.assertAllClose(*session.run([
          tf.nn.depthwise_conv2d(tf.constant(x), tf.constant(f), ONES, "SAME"),
          tf.nn.conv2d(tf.constant(x), embedded, ONES, "SAME")]))

  def testCutsBack(self):
    f, whole = self._normal(2, 3, 2, 3), self._normal(2, 3, 2, 6)
    with self.session() as session:
      back = session.run(fb.conv2d_filter_to_depthwise_conv2d_filter(
          fb.depthwise_conv2d_filter_to_conv2d_filter(tf.constant(f))))
      self.assertAllEqual(back, f)
      cut = session.run(
          fb.conv2d_filter_to_depthwise_conv2d_filter(tf.constant(whole)))
    expected = np.stack([whole[:, :, c, 3 * c:3 * c + 3] for c in range(2)], 2)
    self.assertAllEqual(cut, expected)

  def testNameScopes(self):
    for function, last in ((fb.depthwise_conv2d_filter_to_conv2d_filter, 3),
                           (fb.conv2d_filter_to_depthwise_conv2d_filter, 6)):
      result = function(tf.zeros([1, 1, 2, last]), name="mine")
      self.assertStartsWith(result.op.name, "mine")


class EmbeddingTest(GraphCase):

  def _fisher(self, table, ids, outputs, targets, name="e", **kwargs):
    """Returns the estimator of an embedding alone with a normal loss."""
    collection = new_collection()
    register = (collection.register_embedding_multi if isinstance(ids, list)
                else collection.register_embedding)
    register(table, ids, outputs, **kwargs)
    collection.register_normal_predictive_distribution(
        tf.concat(outputs, 1) if isinstance(ids, list) else outputs,
        targets=tf.constant(targets))
    fisher = estimator.FisherEstimator(
        collection.registered_variables, 0.95, 0.1, collection,
        exps=(-1, -0.5), estimation_mode="empirical", name=name)
    return collection, fisher

  def testSparseVectorsStaySparseAndEqualDenseOnes(self):
    table = self._variable(5, 2)
    ids = [tf.constant([0, 3, 3, 1]), tf.constant([1, 3, 0, 0])]
    outputs = [tf.nn.embedding_lookup(table, use) for use in ids]
    single = self._fisher(
        table, ids[0], outputs[0], self._normal(4, 2), "single")
    multi = self._fisher(table, ids, outputs, self._normal(4, 4), "multi")
    values = self._normal(3, 2)
    dense = np.zeros([5, 2])
    dense[[1, 3, 0]] = values
    with self.session() as session:
      for collection, fisher in (single, multi):
        update(session, fisher)
        block, = collection.get_blocks()
        sparse = tf.IndexedSlices(
            tf.constant(values), tf.constant([1, 3, 0]), tf.constant([5, 2]))
        for exp in (1, -1, -0.5):
          product = block.multiply_matpower(sparse, exp)
          self.assertIsInstance(product, tf.IndexedSlices)
          rows, indices, expected = session.run([
              product.values, product.indices,
              block.multiply_matpower(tf.constant(dense), exp)])
          self.assertAllEqual(indices, [1, 3, 0])
          self.assertAllClose(rows, expected[[1, 3, 0]], rtol=1e-12)
          self.assertAllEqual(expected[[2, 4]], np.zeros([2, 2]))

  def testPartitionedTableEqualsAWholeOne(self):
    W, ids = self._normal(7, 2), np.array([6, 0, 3, 3, 5, 1, 4])
    targets, vector = self._normal(7, 2), self._normal(7, 2)
    whole = tf.get_variable(
        "whole", initializer=tf.constant(W), use_resource=True)
    _, fisher = self._fisher(
        whole, tf.constant(ids), tf.nn.embedding_lookup(whole, ids), targets)
    fishers, assigns, results = [fisher], [], []
    for strategy in ("mod", "div"):
      table = tf.get_variable(
          strategy, shape=[7, 2], dtype=tf.float64, use_resource=True,
          partitioner=tf.fixed_size_partitioner(3))
      parts = list(table)
      self.assertEqual([part.shape.as_list()[0] for part in parts], [3, 2, 2])
      # Which ids each part holds.
      rows = ([np.arange(i, 7, 3) for i in range(3)] if strategy == "mod"
              else [np.arange(0, 3), np.arange(3, 5), np.arange(5, 7)])
      assigns += [part.assign(W[held])
                  for part, held in zip(parts, rows, strict=True)]
      outputs = tf.nn.embedding_lookup(
          table, tf.constant(ids), partition_strategy=strategy)
      for params, name in ((table, "table"), (parts, "parts")):
        _, fisher = self._fisher(
            params, tf.constant(ids), outputs, targets, strategy + name,
            partition_strategy=strategy)
        fishers.append(fisher)
        fisher.build()
        pairs = fisher.multiply_matpower(-0.5, [
            (tf.constant(vector[held]), part)
            for held, part in zip(rows, parts, strict=True)])
        results.append((rows, outputs, [product for product, _ in pairs]))
    self._checkParts(fishers, assigns, results, W[ids], vector)

  def _checkParts(self, fishers, assigns, results, looked_up, vector):
    """Compares each list of products with that of the whole table."""
    updates = [[fisher.cov_update_op for fisher in fishers],
               [fisher.inv_update_op for fisher in fishers]]
    whole, = fishers[0].variables
    (expected, _), = fishers[0].multiply_matpower(
        -0.5, [(tf.constant(vector), whole)])
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      session.run(assigns)
      for ops in updates:
        session.run(ops)
      expected = session.run(expected)
      self.assertGreater(np.max(np.abs(expected)), 1e-3)
      for rows, outputs, products in results:
        outputs, products = session.run([outputs, products])
        self.assertAllEqual(outputs, looked_up)
        for product, held in zip(products, rows, strict=True):
          self.assertAllClose(product, expected[held], rtol=1e-12)


class ColumnFB(fb.FisherBlock):
  """A user's block, with no more than the abstract members: F = 3 I."""

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


class FisherBlockTest(GraphCase):

  def testIsAbstract(self):
    with self.assertRaisesRegex(TypeError, "abstract"):
      fb.FisherBlock(new_collection())

  def testAUsersBlockWorksInAnEstimator(self):
    collection = new_collection()
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
      update(session, fisher)
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
    collection = new_collection()
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


class MembersTest(GraphCase):
  """Underscored members that programs built on contrib.kfac reach for."""

  def testOfBlocksInUse(self):
    collection = new_collection()
    x, image = (tf.constant(self._normal(4, 2)),
                tf.constant(self._normal(4, 3, 3, 2)))
    dense, conv, bare = [
        (self._variable(2, 3), self._variable(3)),
        (self._variable(2, 2, 2, 1), self._variable(1)), self._variable(2, 3)]
    y = tf.matmul(x, dense[0]) + dense[1]
    z = tf.nn.conv2d(image, conv[0], ONES, "VALID") + conv[1]
    uses = [x, 2. * x]
    outs = [tf.matmul(use, bare) for use in uses]
    collection.register_fully_connected(dense, x, y, approx="diagonal")
    collection.register_conv2d(conv, ONES, "VALID", image, z)
    collection.register_fully_connected_multi(bare, uses, outs)
    collection.register_normal_predictive_distribution(
        tf.concat([y, tf.reshape(z, [4, -1])] + outs, 1))
    fisher = estimator.FisherEstimator(
        collection.registered_variables, 0.95, 0.1, collection)
    diagonal, kfc, multi = fisher.blocks
    with self.session() as session:
      update(session, fisher)
      covs = session.run([factor._cov for factor in (
          diagonal._factor, kfc._input_factor, kfc._output_factor,
          multi._input_factor, multi._output_factor)])
    self.assertEqual([cov.shape for cov in covs],
                     [(3, 3), (9, 9), (1, 1), (2, 2), (3, 3)])
    self.assertLen(fisher.factors, 5)
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

  def testRenormCoeffOfASubclassCounts(self):
    class Scaled(fb.FullyConnectedKFACBasicFB):
      _renorm_coeff = 7.

    blocks = [cls(new_collection(), inputs=tf.constant(self._normal(4, 2)),
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
    names = [variable.op.name for variable in tf.global_variables()]
    self.assertTrue(any(
        name.endswith("matpower_exp-1_dampa_1") for name in names), names)

  def testMaybeTuple(self):
    self.assertEqual(fb.maybe_tuple([1, [2, (3, [4])]]), (1, (2, (3, (4,)))))
    self.assertEqual(fb.maybe_tuple(5), 5)
    self.assertIsNone(fb.maybe_tuple(None))


if __name__ == "__main__":
  tf.test.main()
