"""What contrib.kfac built and trained also builds and trains here."""

import tempfile

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import graph_modes
from kfac.python.ops import estimator
from kfac.python.ops import fisher_blocks as fb
from kfac.python.ops import layer_collection as lc

_RNG = np.random.RandomState(0)
_X = _RNG.randn(8, 3).astype(np.float32)
_Y = _RNG.randint(2, size=8)


class _Net:
  """A dense layer with a softmax, registered in a new collection."""

  def __init__(self, layers=None, bias_shape=(2,), seed=1):
    self.w = tf.get_variable(
        "w", [3, 2], initializer=tf.random_normal_initializer(seed=seed))
    self.b = tf.get_variable(
        "b", bias_shape, initializer=tf.zeros_initializer())
    self.inputs = tf.constant(_X)
    self.logits = tf.matmul(self.inputs, self.w) + tf.reshape(self.b, [2])
    self.loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=_Y, logits=self.logits))
    self.layers = lc.LayerCollection() if layers is None else layers
    self.register()

  def register(self):
    """Registers the layer and the loss."""
    self.layers.register_fully_connected(
        (self.w, self.b), self.inputs, self.logits)
    self.layers.register_categorical_predictive_distribution(
        self.logits, targets=tf.constant(_Y))

  def loss_fn(self, _=None):
    """Returns the loss of the registered pass."""
    return self.loss

  def optimizer(self, cls=kfac.KfacOptimizer, **kwargs):
    """Returns an optimizer of the empirical Fisher, which is deterministic."""
    settings = dict(learning_rate=0.1, damping=0.1, momentum=0.5,
                    layer_collection=self.layers, estimation_mode="empirical")
    settings.update(kwargs)
    return cls(**settings)


def _train(sess, net, optimizer, train_op, steps=3):
  """Runs some steps, and returns the parameters."""
  sess.run(tf.global_variables_initializer())
  for _ in range(steps):
    sess.run(optimizer.cov_update_op)
    sess.run(optimizer.inv_update_op)
    sess.run(train_op)
  return sess.run([net.w, net.b])


class UpdateOpsTest(tf.test.TestCase):

  def testMonitoredSessionAfterMinimizeAlone(self):
    with tf.Graph().as_default():
      net = _Net()
      optimizer = net.optimizer()
      train_op = optimizer.minimize(
          net.loss, global_step=tf.train.get_or_create_global_step())
      with tf.train.MonitoredTrainingSession() as sess:
        before = sess.run(net.loss)
        for _ in range(5):
          sess.run([train_op, optimizer.cov_update_op, optimizer.inv_update_op])
        self.assertLess(sess.run(net.loss), before)

  def testApplyGradientsMakesTheUpdateOpsToo(self):
    with tf.Graph().as_default() as graph:
      net = _Net()
      optimizer = net.optimizer()
      optimizer.apply_gradients(optimizer.compute_gradients(net.loss))
      graph.finalize()
      self.assertIsInstance(optimizer.cov_update_op, tf.Operation)
      self.assertLen(optimizer.inv_update_ops, 2)

  def testThunksThatWereAskedForAreTheOnlyOps(self):
    with tf.Graph().as_default() as graph:
      net = _Net()
      optimizer = net.optimizer()
      optimizer.make_vars_and_create_op_thunks()
      optimizer.minimize(net.loss)
      names = [op.name for op in graph.get_operations()]
      self.assertFalse([name for name in names if "cov_update_op" in name])

  def testUpdateOpsMayBeAssigned(self):
    class Subclass(kfac.KfacOptimizer):

      def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.cov_update_op = tf.no_op(name="mine")
        self.inv_update_op = tf.no_op(name="inverse")
        self.inv_updates_dict = {"inverse": self.inv_update_op}

    with tf.Graph().as_default():
      net = _Net()
      optimizer = net.optimizer(Subclass)
      self.assertEqual("mine", optimizer.cov_update_op.name)
      self.assertEqual("inverse", optimizer.inv_update_op.name)
      self.assertEqual(["inverse"], list(optimizer.inv_updates_dict))

  def testUpdateOpFirstReadInsideOfACond(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2), tf.Graph().as_default():
        net = _Net()
        optimizer = net.optimizer()
        flag = tf.placeholder(tf.bool, [])

        def branch():
          with tf.control_dependencies([
              optimizer.cov_update_op]):  # noqa: B023
            return tf.constant(True)

        tf.cond(flag, branch, lambda: tf.constant(False))
        with self.session() as sess:
          sess.run(tf.global_variables_initializer())
          sess.run(optimizer.cov_update_op)
          factor = net.layers.get_factors()[0]
          self.assertTrue(np.any(sess.run(factor.get_cov())))

  def testUpdateOpReadUnderControlDependenciesRunsAlone(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      optimizer = net.optimizer()
      fails = tf.debugging.Assert(tf.constant(False), ["never"])
      with tf.control_dependencies([fails]):
        cov_op = optimizer.cov_update_op
      sess.run(tf.global_variables_initializer())
      sess.run(cov_op)


class FirstUseTest(tf.test.TestCase):

  def testEstimatorIsBuiltOnFirstUse(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      est = estimator.FisherEstimator(
          [net.w, net.b], 0.9, 0.1, net.layers, estimation_mode="empirical")
      vecs = [(tf.ones_like(v), v) for v in (net.w, net.b)]
      products = est.multiply_inverse(vecs)
      sess.run(tf.global_variables_initializer())
      sess.run(est.cov_update_op)
      sess.run(est.inv_update_op)
      for product, _ in products:
        self.assertTrue(np.all(np.isfinite(sess.run(product))))
        self.assertTrue(np.any(sess.run(product)))

  def testUpdateStepsOfTheOptimizer(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      optimizer = net.optimizer()
      grads = list(zip(tf.gradients(net.loss, [net.w, net.b]),
                       [net.w, net.b], strict=True))
      steps = optimizer._compute_update_steps(grads)
      sess.run(tf.global_variables_initializer())
      sess.run(optimizer.cov_update_op)
      sess.run(optimizer.inv_update_op)
      self.assertTrue(np.any(sess.run(steps[0][0])))


class GraphsTest(tf.test.TestCase):

  def testCollectionMadeOutsideOfTheGraph(self):
    layers = lc.LayerCollection()
    with tf.Graph().as_default() as graph, self.session(graph=graph) as sess:
      net = _Net(layers)
      self.assertIs(graph, layers.graph)
      optimizer = net.optimizer()
      train_op = optimizer.minimize(net.loss)
      _train(sess, net, optimizer, train_op)
    with tf.Graph().as_default():
      with self.assertRaisesRegex(ValueError, "must belong to the graph of"):
        _Net(layers)

  def testLossMayBeRegisteredFirst(self):
    layers = lc.LayerCollection()
    with tf.Graph().as_default() as graph:
      layers.register_normal_predictive_distribution(tf.zeros([2, 3]))
      self.assertIs(graph, layers.graph)

  def testGraphThatWasGivenIsKept(self):
    layers = lc.LayerCollection(graph=tf.Graph())
    with tf.Graph().as_default():
      with self.assertRaisesRegex(ValueError, "must belong to the graph of"):
        _Net(layers)

  def testRegistrationInsideOfControlFlow(self):
    with graph_modes.control_flow(True), tf.Graph().as_default():
      w = tf.get_variable("w", [3, 2])

      def body(i):
        layers = lc.LayerCollection()
        x = tf.constant(_X)
        layers.register_fully_connected(w, x, tf.matmul(x, w))
        return i + 1

      with self.assertRaisesRegex(
          ValueError, "^layers and losses must be registered outside of the "
          "branches and bodies of control flow, got .*$"):
        tf.while_loop(lambda i: i < 1, body, [0])


class RegistrationTest(tf.test.TestCase):

  def testSubclassThatRegistersBlocksItself(self):
    class Collection(lc.LayerCollection):

      def register_fully_connected(self, params, inputs, outputs):
        block = self.register_block(
            params, fb.FullyConnectedKFACBasicFB(self, has_bias=True))
        block.register_additional_minibatch(inputs, outputs)

    results = []
    for cls in (Collection, lc.LayerCollection):
      with tf.Graph().as_default(), self.session() as sess:
        net = _Net(cls())
        optimizer = net.optimizer()
        results.append(_train(
            sess, net, optimizer, optimizer.minimize(net.loss)))
        self.assertEqual({net.w: 1, net.b: 1}, net.layers.get_use_count_map())
    self.assertAllClose(*results)

  def testParametersAsATupleOfOne(self):
    results = []
    for wrap in (lambda w: w, lambda w: (w,), lambda w: [w]):
      with tf.Graph().as_default(), self.session() as sess:
        kernel = tf.get_variable(
            "kernel", initializer=np.random.RandomState(1).randn(2, 2, 1, 3))
        weights = tf.get_variable(
            "weights", initializer=np.random.RandomState(2).randn(12, 2))
        scale = tf.get_variable("scale", initializer=np.float64(1.))
        images = tf.constant(np.arange(8 * 9).reshape(8, 3, 3, 1) / 72.)
        maps = tf.nn.conv2d(images, kernel, [1, 1, 1, 1], "VALID")
        inputs = tf.reshape(maps, [8, 12])
        outputs = tf.matmul(inputs, weights)
        layers = lc.LayerCollection()
        layers.register_conv2d(
            wrap(kernel), [1, 1, 1, 1], "VALID", images, maps)
        layers.register_fully_connected(wrap(weights), inputs, outputs)
        layers.register_generic(wrap(scale), 8)
        mean = scale * outputs
        layers.register_normal_predictive_distribution(
            mean, targets=tf.ones_like(mean))
        self.assertIn(wrap(weights), layers.fisher_blocks)
        optimizer = kfac.KfacOptimizer(
            0.1, 0.9, 0.1, layers, estimation_mode="empirical")
        train_op = optimizer.minimize(
            tf.reduce_mean(tf.square(mean - 1.)))
        sess.run(tf.global_variables_initializer())
        for op in (optimizer.cov_update_op, optimizer.inv_update_op, train_op):
          sess.run(op)
        results.append(sess.run([kernel, weights, scale]))
    self.assertAllClose(results[0], results[1])
    self.assertAllClose(results[0], results[2])

  def testBiasOfAnyShape(self):
    results = []
    for shape in ((2,), (1, 2), (2, 1)):
      for momentum_type in ("regular", "adam"):
        with tf.Graph().as_default(), self.session() as sess:
          net = _Net(bias_shape=shape)
          optimizer = net.optimizer(momentum_type=momentum_type)
          w, b = _train(sess, net, optimizer, optimizer.minimize(net.loss))
          self.assertEqual(shape, b.shape)
          self.assertEqual(
              shape, optimizer.get_slot(net.b, "velocity").shape)
          results.append((w, np.ravel(b)))
    for i, (w, b) in enumerate(results):
      self.assertAllClose(results[i % 2][0], w)
      self.assertAllClose(results[i % 2][1], b)

  def testBiasWithAnotherNumberOfElements(self):
    with tf.Graph().as_default():
      w, b = tf.zeros([3, 2]), tf.zeros([3])
      x = tf.constant(_X)
      with self.assertRaisesRegex(
          ValueError, r"^bias must have 2 elements, got shape \(3,\)\.$"):
        lc.LayerCollection().register_fully_connected(
            (w, b), x, tf.matmul(x, w))

  def testTowerWithOtherSettingsThanItsBlock(self):
    with tf.Graph().as_default():
      images = tf.zeros([2, 5, 5, 3])
      kernel = tf.get_variable("kernel", [3, 3, 3, 4])
      for rejected, approx in (
          (dict(strides=[1, 2, 2, 1]), "kron"),
          (dict(padding="VALID"), "kron"),
          (dict(dilations=[1, 2, 2, 1]), "kron"),
          (dict(strides=[1, 2, 2, 1]), "diagonal")):
        layers = lc.LayerCollection()
        for reuse in (False, True):
          args = dict(strides=[1, 1, 1, 1], padding="SAME", dilations=None)
          args.update(rejected if reuse else {})
          outputs = tf.nn.conv2d(
              images, kernel, args["strides"], args["padding"],
              dilations=args["dilations"] or [1, 1, 1, 1])
          arguments = (kernel, args["strides"], args["padding"], images,
                       outputs)
          keywords = dict(dilations=args["dilations"], approx=approx,
                          reuse=reuse)
          if reuse:
            with self.assertRaisesRegex(
                ValueError, "^params must be reused with the settings of the "
                "registered layer, got another .*$"):
              layers.register_conv2d(*arguments, **keywords)
            self.assertLen(layers.fisher_blocks, 1)
            block, = layers.get_blocks()
            self.assertEqual(1, block.num_registered_towers)
          else:
            layers.register_conv2d(*arguments, **keywords)

  def testSeriesWithAnotherOption(self):
    with tf.Graph().as_default():
      w = tf.get_variable("w", [3, 2])
      xs = [tf.constant(_X), tf.constant(_X)]
      ys = [tf.matmul(x, w) for x in xs]
      layers = lc.LayerCollection()
      layers.register_fully_connected_multi(w, xs, ys, approx="kron_series_1")
      with self.assertRaisesRegex(ValueError, "got another option"):
        layers.register_fully_connected_multi(
            w, xs, ys, approx="kron_series_2", reuse=True)

  def testSameIdsWithTwoTablesOfDifferentSize(self):
    with tf.Graph().as_default(), self.session() as sess:
      ids = tf.constant([0, 2, 1, 1])
      layers = lc.LayerCollection()
      tables, outputs = [], []
      for i, size in enumerate((4, 6)):
        tables.append(tf.get_variable(f"table_{i}", [size, 2]))
        outputs.append(tf.nn.embedding_lookup(tables[i], ids))
        layers.register_embedding(tables[i], ids, outputs[i])
      total = tf.add_n(outputs)
      layers.register_normal_predictive_distribution(
          total, targets=tf.ones([4, 2]))
      loss = tf.reduce_mean(tf.square(total - 1.))
      optimizer = kfac.KfacOptimizer(
          0.1, 0.9, 0.1, layers, estimation_mode="empirical")
      train_op = optimizer.minimize(loss)
      self.assertLen(layers.get_factors(), 3)  # They share G.
      sess.run(tf.global_variables_initializer())
      before = sess.run(loss)
      for _ in range(3):
        sess.run(optimizer.cov_update_op)
        sess.run(optimizer.inv_update_op)
        sess.run(train_op)
      self.assertLess(sess.run(loss), before)


class DampingTest(tf.test.TestCase):

  def testFunctionAsDamping(self):
    results = []
    for damping in (0.1, lambda: 0.1, lambda: tf.constant(0.1)):
      for kwargs in (
          {}, dict(momentum_type="qmodel", momentum=0., batch_size=8),
          dict(adapt_damping=True, train_batch=0)):
        with tf.Graph().as_default(), self.session() as sess:
          net = _Net()
          if "adapt_damping" in kwargs:
            kwargs = dict(kwargs, loss_fn=net.loss_fn)
          optimizer = net.optimizer(damping=damping, **kwargs)
          results.append(np.concatenate([np.ravel(value) for value in _train(
              sess, net, optimizer, optimizer.minimize(net.loss))]))
    for i, result in enumerate(results):
      self.assertAllClose(results[i % 3], result)

  def testFunctionAsDampingWithContribsAdaptation(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      optimizer = net.optimizer(damping=lambda: 0.1)
      optimizer.set_damping_adaptation_params(True, 0, net.loss_fn)
      train_op = optimizer.minimize(
          net.loss, global_step=tf.train.get_or_create_global_step())
      _train(sess, net, optimizer, train_op, steps=6)
      self.assertNotAlmostEqual(0.1, sess.run(optimizer.damping))


class NamesTest(tf.test.TestCase):

  def testNamedOpIsTheWholeStep(self):
    for kwargs in (
        {}, dict(adapt_damping=True),
        dict(adapt_damping=True, max_loss_increase=0.1),
        dict(adapt_damping=True, num_burnin_steps=2)):
      with tf.Graph().as_default() as graph:
        net = _Net()
        cls = kfac.KfacOptimizer
        if "num_burnin_steps" in kwargs:
          cls = kfac.PeriodicInvCovUpdateKfacOpt
        if "adapt_damping" in kwargs:
          kwargs.update(train_batch=0, loss_fn=net.loss_fn,
                        damping_adaptation_interval=1)
        optimizer = net.optimizer(cls, **kwargs)
        train_op = optimizer.minimize(net.loss, name="step")
        self.assertEndsWith(train_op.name, "/step")
        self.assertEqual(
            [train_op], graph.get_collection(tf.GraphKeys.TRAIN_OP))

  def testImportedMetaGraphAdapts(self):
    path = tempfile.mkdtemp(dir=self.get_temp_dir()) + "/model"
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      optimizer = net.optimizer(
          adapt_damping=True, train_batch=0, loss_fn=net.loss_fn,
          damping_adaptation_interval=1)
      optimizer.minimize(net.loss, name="step")
      tf.identity(optimizer.damping, name="damping_now")
      sess.run(tf.global_variables_initializer())
      sess.run(optimizer.cov_update_op)
      sess.run(optimizer.inv_update_op)
      tf.train.Saver().save(sess, path)
    with tf.Graph().as_default() as graph, self.session() as sess:
      tf.train.import_meta_graph(path + ".meta").restore(sess, path)
      before = sess.run("damping_now:0")
      sess.run(graph.get_collection(tf.GraphKeys.TRAIN_OP))
      self.assertNotEqual(before, sess.run("damping_now:0"))


if __name__ == "__main__":
  tf.test.main()
