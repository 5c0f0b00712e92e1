"""Tests of LayerCollection: layers, use counts, factors and the default."""

from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import fisher_blocks as fb
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops import layer_collection as lc


def _variable(name, shape, dtype=tf.float32):
  return tf.get_variable(name, shape, dtype, tf.ones_initializer())


class _Model:
  """One layer of each kind, in the current graph."""

  def __init__(self):
    self.w, self.b = _variable("w", [3, 2]), _variable("b", [2])
    self.x = tf.ones([4, 3])
    self.y = tf.matmul(self.x, self.w) + self.b
    self.images = tf.ones([2, 5, 5, 3])
    self.filter = _variable("filter", [3, 3, 3, 2])
    self.filter_bias = _variable("filter_bias", [2])
    self.conv = tf.nn.conv2d(self.images, self.filter, [1, 1, 1, 1], "SAME")
    self.depthwise = _variable("depthwise", [3, 3, 3, 2])
    self.depthwise_conv = tf.nn.depthwise_conv2d(
        self.images, self.depthwise, [1, 1, 1, 1], "SAME")
    self.pointwise = _variable("pointwise", [1, 1, 6, 4])
    self.pointwise_conv = tf.nn.conv2d(
        self.depthwise_conv, self.pointwise, [1, 1, 1, 1], "SAME")
    self.table = _variable("table", [7, 2])
    self.ids = tf.constant([0, 6, 1])
    self.rows = tf.nn.embedding_lookup(self.table, self.ids)

  def fully_connected(self, layers, **kwargs):
    layers.register_fully_connected((self.w, self.b), self.x, self.y, **kwargs)
    return self.w, self.b

  def fully_connected_multi(self, layers, **kwargs):
    layers.register_fully_connected_multi(
        (self.w, self.b), [self.x, self.x], [self.y, self.y], **kwargs)
    return self.w, self.b

  def conv2d(self, layers, **kwargs):
    layers.register_conv2d((self.filter, self.filter_bias), [1, 1, 1, 1],
                           "SAME", self.images, self.conv, **kwargs)
    return self.filter, self.filter_bias

  def conv2d_multi(self, layers, **kwargs):
    layers.register_conv2d_multi(
        self.filter, [1, 1, 1, 1], "SAME", [self.images, self.images],
        [self.conv, self.conv], **kwargs)
    return self.filter

  def convolution(self, layers, **kwargs):
    layers.register_convolution(
        self.filter, self.images, self.conv, "SAME", **kwargs)
    return self.filter

  def depthwise_conv2d(self, layers, **kwargs):
    layers.register_depthwise_conv2d(
        self.depthwise, self.images, self.depthwise_conv, [1, 1, 1, 1],
        "SAME", **kwargs)
    return self.depthwise

  def separable_conv2d(self, layers, **kwargs):
    layers.register_separable_conv2d(
        self.depthwise, self.pointwise, self.images, self.depthwise_conv,
        self.pointwise_conv, [1, 1, 1, 1], "SAME", **kwargs)
    return self.pointwise

  def embedding(self, layers, **kwargs):
    layers.register_embedding(self.table, self.ids, self.rows, **kwargs)
    return self.table

  def embedding_multi(self, layers, **kwargs):
    layers.register_embedding_multi(
        self.table, [self.ids, self.ids], [self.rows, self.rows], **kwargs)
    return self.table

  def generic(self, layers, **kwargs):
    layers.register_generic((self.w, self.b), 4, **kwargs)
    return self.w, self.b


# By kind of layer: {approximation: block}, the default first, and the number
# of uses that one registration counts.
_KINDS = {
    "fully_connected": ({"kron": fb.FullyConnectedKFACBasicFB,
                         "diagonal": fb.FullyConnectedDiagonalFB,
                         "kron_in_diag": fb.FullyConnectedKFACBasicFB,
                         "kron_out_diag": fb.FullyConnectedKFACBasicFB,
                         "kron_both_diag": fb.FullyConnectedKFACBasicFB}, 1),
    "fully_connected_multi": (
        {"kron_indep": fb.FullyConnectedMultiIndepFB,
         "kron_series_1": fb.FullyConnectedSeriesFB,
         "kron_series_2": fb.FullyConnectedSeriesFB,
         "kron_indep_in_diag": fb.FullyConnectedMultiIndepFB,
         "kron_indep_out_diag": fb.FullyConnectedMultiIndepFB,
         "kron_indep_both_diag": fb.FullyConnectedMultiIndepFB}, 2),
    "conv2d": ({"kron": fb.ConvKFCBasicFB, "diagonal": fb.ConvDiagonalFB}, 1),
    "conv2d_multi": ({"kron_indep": fb.ConvKFCBasicMultiIndepFB}, 2),
    "convolution": ({"kron": fb.ConvKFCBasicFB}, 1),
    "depthwise_conv2d": ({"diagonal": fb.DepthwiseConvDiagonalFB,
                          "kron": fb.DepthwiseConvKFCBasicFB}, 1),
    "separable_conv2d": ({"kron": fb.ConvKFCBasicFB,
                          "diagonal": fb.ConvDiagonalFB}, 1),
    "embedding": ({"kron": fb.EmbeddingKFACFB}, 1),
    "embedding_multi": ({"kron_indep": fb.EmbeddingKFACMultiIndepFB}, 2),
    "generic": ({"diagonal": fb.NaiveDiagonalFB, "full": fb.FullFB},
                float("inf")),
}
_SETTABLE = ("embedding", "generic", "fully_connected", "conv2d",
             "fully_connected_multi")


class RegistrationTest(tf.test.TestCase):

  def testBlocksDefaultAndUsesOfEachKind(self):
    with tf.Graph().as_default():
      model = _Model()
      for kind, (blocks, uses) in _KINDS.items():
        first = next(iter(blocks.values()))
        for approx, block_type in [(None, first)] + list(blocks.items()):
          layers = lc.LayerCollection()
          params = getattr(model, kind)(layers, approx=approx)
          block = layers.fisher_blocks[params]
          self.assertIs(type(block), block_type, (kind, approx))
          self.assertEqual(block.num_registered_towers, 1)
          self.assertIs(layers.get_blocks()[-1], block)
          key = params if isinstance(params, tuple) else (params,)
          counts = layers.get_use_count_map()
          self.assertEqual([counts[v] for v in key], len(key) * [uses])
          self.assertEqual(layers.registered_variables[-len(key):], key)

  def testSeriesOptionsDiffer(self):
    with tf.Graph().as_default():
      model = _Model()
      options = []
      for approx in ("kron_series_1", "kron_series_2"):
        layers = lc.LayerCollection()
        params = model.fully_connected_multi(layers, approx=approx)
        options.append(layers.fisher_blocks[params]._option)
      self.assertEqual(options, [fb.SeriesFBApproximation.option1,
                                 fb.SeriesFBApproximation.option2])

  def testSeparableRegistersBothParts(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      model.separable_conv2d(layers)
      self.assertEqual(
          [type(block) for block in layers.get_blocks()],
          [fb.DepthwiseConvDiagonalFB, fb.ConvKFCBasicFB])
      self.assertEqual(layers.get_use_count_map(),
                       {model.depthwise: 1, model.pointwise: 1})
      model.separable_conv2d(layers, reuse=True)
      self.assertEqual(
          [block.num_registered_towers for block in layers.get_blocks()],
          [2, 2])

  def testBiasAndListsAreAccepted(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      layers.register_fully_connected([model.w, model.b], model.x, model.y)
      block = layers.fisher_blocks[model.w, model.b]
      self.assertTrue(block._has_bias)
      self.assertIs(layers.fisher_blocks[[model.w, model.b]], block)
      layers = lc.LayerCollection()
      layers.register_fully_connected(model.w, model.x, model.y)
      self.assertFalse(layers.fisher_blocks[model.w]._has_bias)

  def testOneTensorOfAllUsesCountsOnce(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      layers.register_fully_connected_multi(
          model.w, model.x, model.y, num_uses=2)
      self.assertEqual(layers.get_use_count_map(), {model.w: 1})
      self.assertEqual(layers.fisher_blocks[model.w]._num_uses, 2)

  def testGenericCountsExamplesOfItsTowers(self):
    with tf.Graph().as_default():
      w, layers = _variable("w", [2]), lc.LayerCollection()
      layers.register_generic(w, 3)
      layers.register_generic(w, np.int64(4), reuse=True)
      self.assertEqual(layers.fisher_blocks[w]._batch_size, 7)
      layers.register_generic(w, tf.constant(5), reuse=True)
      with self.cached_session() as sess:
        self.assertEqual(sess.run(layers.fisher_blocks[w]._batch_size), 12)
      self.assertEqual(layers.generic_registrations, {w})

  def testDefaultsCanBeSet(self):
    with tf.Graph().as_default():
      model = _Model()
      for kind in _SETTABLE:
        blocks, _ = _KINDS[kind]
        layers = lc.LayerCollection()
        name = f"default_{kind}_approximation"
        self.assertEqual(getattr(layers, name), next(iter(blocks)))
        last = list(blocks)[-1]
        getattr(layers, "set_" + name)(last)
        self.assertEqual(getattr(layers, name), last)
        params = getattr(model, kind)(layers)
        self.assertIs(type(layers.fisher_blocks[params]), blocks[last])
        with self.assertRaisesRegex(
            ValueError, rf"approx of {kind} must be one of \[.*\], got 'no'"):
          getattr(layers, "set_" + name)("no")
        self.assertEqual(getattr(layers, name), last)
      self.assertEqual(layers.default_conv2d_multi_approximation, "kron_indep")
      self.assertEqual(
          layers.default_embedding_multi_approximation, "kron_indep")
      # Another collection has the defaults of the table.
      self.assertEqual(
          lc.LayerCollection().default_generic_approximation, "diagonal")

  def testPatchedTableEntryChangesTheBlock(self):
    class Mine(fb.FullyConnectedDiagonalFB):
      pass

    tables = {
        "_GENERIC_APPROX_TO_BLOCK_TYPES": "generic",
        "_FULLY_CONNECTED_APPROX_TO_BLOCK_TYPES": "fully_connected",
        "_FULLY_CONNECTED_MULTI_APPROX_TO_BLOCK_TYPES":
            "fully_connected_multi",
        "_CONV2D_APPROX_TO_BLOCK_TYPES": "conv2d",
        "_CONV2D_MULTI_APPROX_TO_BLOCK_TYPES": "conv2d_multi",
        "_EMBEDDING_APPROX_TO_BLOCK_TYPES": "embedding",
        "_EMBEDDING_MULTI_APPROX_TO_BLOCK_TYPES": "embedding_multi",
    }
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      for name, kind in tables.items():
        self.assertEqual(set(getattr(lc, name)), set(_KINDS[kind][0]))
      table = lc._FULLY_CONNECTED_APPROX_TO_BLOCK_TYPES
      with mock.patch.dict(table, {"kron": Mine, "mine": Mine}):
        params = model.fully_connected(layers)
        self.assertIs(type(layers.fisher_blocks[params]), Mine)
        layers = lc.LayerCollection()
        layers.set_default_fully_connected_approximation("mine")
        model.fully_connected(layers)
        self.assertIs(type(layers.fisher_blocks[params]), Mine)


class ReuseTest(tf.test.TestCase):

  def testReuseAddsTowers(self):
    with tf.Graph().as_default():
      model = _Model()
      for kind, (_, uses) in _KINDS.items():
        register = getattr(model, kind)
        layers = lc.LayerCollection()
        params = register(layers, reuse=False)
        register(layers, reuse=True)
        register(layers, reuse=tf.AUTO_REUSE)
        with tf.variable_scope("any", reuse=True):
          register(layers, reuse=lc.VARIABLE_SCOPE)
        with tf.variable_scope("other", reuse=tf.AUTO_REUSE):
          register(layers)
        block = layers.fisher_blocks[params]
        self.assertEqual(block.num_registered_towers, 5, kind)
        variable = params[0] if isinstance(params, tuple) else params
        self.assertEqual(layers.get_use_count_map()[variable], 5 * uses)

  def testAutoReuseRegistersTheFirst(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      params = model.fully_connected(layers, reuse=tf.AUTO_REUSE)
      self.assertEqual(layers.fisher_blocks[params].num_registered_towers, 1)
      with tf.variable_scope("any", reuse=tf.AUTO_REUSE):
        model.generic(lc.LayerCollection())

  def testFalseNeedsANewLayerAndTrueARegisteredOne(self):
    with tf.Graph().as_default():
      model = _Model()
      for kind in _KINDS:
        register = getattr(model, kind)
        layers = lc.LayerCollection()
        for error, reuse in ((KeyError, True), (KeyError, "scope")):
          with tf.variable_scope("any", reuse=True):
            with self.assertRaisesRegex(
                error, "params must be registered before they are reused, got "
                ".*Variable"):
              register(layers, **({} if reuse == "scope" else
                                  {"reuse": reuse}))
        self.assertEqual(layers.get_blocks(), ())
        self.assertEqual(layers.get_use_count_map(), {})
        params = register(layers)
        counts = layers.get_use_count_map()
        for kwargs in ({}, {"reuse": False}, {"reuse": None}):
          with self.assertRaisesRegex(
              ValueError, "params must be registered once unless reused, got "
              ".*Variable"):
            register(layers, **kwargs)
        self.assertEqual(layers.get_use_count_map(), counts)
        self.assertEqual(
            layers.fisher_blocks[params].num_registered_towers, 1)

  def testReusedBlockMustBeOfTheSameType(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      params = model.fully_connected(layers)
      for reuse in (True, tf.AUTO_REUSE):
        with self.assertRaisesRegex(
            ValueError, "approx of a reused layer must give the block "
            "registered first, FullyConnectedKFACBasicFB, got "
            "FullyConnectedDiagonalFB"):
          model.fully_connected(layers, approx="diagonal", reuse=reuse)
      self.assertEqual(layers.fisher_blocks[params].num_registered_towers, 1)
      self.assertEqual(layers.get_use_count_map(), {model.w: 1, model.b: 1})

  def testTowersHaveTheSameNumberOfUses(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      params = model.fully_connected_multi(layers)
      with self.assertRaisesRegex(
          ValueError, "inputs must have num_uses = 2 uses, got 1"):
        layers.register_fully_connected_multi(
            params, [model.x], [model.y], reuse=True)
      self.assertEqual(layers.fisher_blocks[params].num_registered_towers, 1)
      self.assertEqual(layers.get_use_count_map(), {model.w: 2, model.b: 2})

  def testUnknownReuse(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      for value in ("no", 3, "auto"):
        with self.assertRaisesRegex(
            ValueError, "reuse must be True, False, tf.AUTO_REUSE or "
            f"VARIABLE_SCOPE, got {value!r}"):
          model.fully_connected(layers, reuse=value)
      self.assertEqual(layers.get_blocks(), ())


class LinkedParametersTest(tf.test.TestCase):

  def testLinkedApproximationIsUsedForExactlyThatSet(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      layers.define_linked_parameters([model.b, model.w], "diagonal")
      layers.define_linked_parameters(model.filter)
      self.assertEqual(layers.linked_parameters, {
          frozenset([model.w, model.b]): "diagonal",
          frozenset([model.filter]): None})
      params = model.fully_connected(layers)
      self.assertIs(type(layers.fisher_blocks[params]),
                    fb.FullyConnectedDiagonalFB)
      layers.register_conv2d(
          model.filter, [1, 1, 1, 1], "SAME", model.images, model.conv)
      self.assertIs(type(layers.fisher_blocks[model.filter]),
                    fb.ConvKFCBasicFB)
      # Other sets are not linked, and an argument overrides.
      for kwargs, key in (({}, (model.w,)),
                          ({"approx": "kron"}, (model.w, model.b))):
        layers = lc.LayerCollection()
        layers.define_linked_parameters((model.w, model.b), "diagonal")
        layers.register_fully_connected(
            key if len(key) > 1 else key[0], model.x, model.y, **kwargs)
        self.assertIs(type(layers.get_blocks()[0]),
                      fb.FullyConnectedKFACBasicFB)

  def testLinkedApproximationMustExistForTheLayer(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      layers.define_linked_parameters((model.w, model.b), "full")
      with self.assertRaisesRegex(
          ValueError, r"approx must be one of \['diagonal', 'kron', "
          r"'kron_both_diag', 'kron_in_diag', 'kron_out_diag'\], got 'full'"):
        model.fully_connected(layers)
      self.assertEqual(layers.get_blocks(), ())

  def testOverlapAndUnknownApproximationAreErrors(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      layers.register_generic(model.table, 3)
      layers.define_linked_parameters((model.w, model.b))
      linked = layers.linked_parameters.copy()
      for params, name in (([model.w], "w:0"), (model.b, "b:0"),
                           ((model.filter, model.b), "b:0"),
                           (model.table, "table:0")):
        with self.assertRaisesRegex(
            ValueError, "params must not be linked or registered already, "
            "got " + name):
          layers.define_linked_parameters(params)
      with self.assertRaisesRegex(
          ValueError, r"approximation must be one of \[.*\], got 'no'"):
        layers.define_linked_parameters(model.filter, "no")
      self.assertEqual(layers.linked_parameters, linked)


class CheckRegistrationTest(tf.test.TestCase):

  def testAcceptsACompleteRegistration(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      again = tf.matmul(model.x, model.w) + model.b
      free = _variable("free", [2])
      layers.register_fully_connected_multi(
          (model.w, model.b), [model.x, model.x], [model.y, again])
      layers.register_generic(free, 4)
      layers.register_normal_predictive_distribution(
          model.y + again * free + free * free)
      layers.create_subgraph()
      layers.check_registration([free, model.b, model.w])

  def testOneErrorListsAllFaults(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      missing = _variable("missing", [2])
      extra = _variable("extra", [2])
      # One is registered for one use and used twice, one is not used.
      out = model.y + tf.matmul(model.x, model.w) + missing
      layers.register_fully_connected(model.w, model.x, model.y)
      model.conv2d(layers)
      layers.register_generic(extra, 4)
      layers.register_normal_predictive_distribution(out)
      layers.create_subgraph()
      with self.assertRaises(ValueError) as caught:
        layers.check_registration(
            [model.w, missing, model.filter, model.filter_bias])
      message = str(caught.exception)
      self.assertNotIn("\n", message)
      for part in (
          "variables must be those registered",
          "w:0 is registered for 1 uses, the losses use it 2 times",
          "missing:0 is not registered (auto_register_layers finds layers,",
          "filter:0 is registered for 1 uses, the losses use it 0 times",
          "extra:0 is registered but not passed"):
        self.assertIn(part, message)
      self.assertEqual(message.count(";"), 4)

  def testCanBeOverriddenOnAnInstance(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      seen = []
      layers.check_registration = seen.append
      layers.check_registration(["anything"])
      self.assertEqual(seen, [["anything"]])

  def testSubgraphNeedsALoss(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      model.fully_connected(layers)
      self.assertIsNone(layers.subgraph)
      with self.assertRaisesRegex(
          ValueError, "at least one loss must be registered, got none"):
        layers.create_subgraph()
      layers.register_normal_predictive_distribution(model.y)
      layers.create_subgraph()
      self.assertTrue(layers.subgraph.is_member(model.x))
      self.assertFalse(layers.subgraph.is_member(model.conv))


  def testFinalizeEndsTheRegistration(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      with self.assertRaisesRegex(ValueError, "at least one loss"):
        layers.finalize()
      model.fully_connected(layers)
      layers.register_normal_predictive_distribution(model.y)
      layers.finalize()
      self.assertTrue(layers.subgraph.is_member(model.x))
      with self.assertRaisesRegex(ValueError, "finalize must be called once"):
        layers.finalize()
      with self.assertRaisesRegex(
          ValueError, "register_generic must be called before finalize"):
        layers.register_generic(_variable("late", [2]), 4)

  def testSubSamplingOfConvolutionsReachesTheBlock(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      images = tf.ones([4, 6, 2])
      filters = _variable("filter_1d", [3, 2, 5])
      outputs = tf.nn.conv1d(images, filters, 1, "SAME")
      layers.register_conv1d(
          filters, [1, 1, 1], "SAME", images, outputs,
          sub_sample_inputs=True, sub_sample_patches=False)
      self.assertEqual(
          layers.fisher_blocks[filters]._sub_sampling, (True, False))
      with self.assertLogs(level="WARNING") as logs:
        layers.register_conv2d(
            model.filter, [1, 1, 1, 1], "SAME", tf.ones([4, 5, 5, 3]),
            tf.nn.conv2d(tf.ones([4, 5, 5, 3]), model.filter, 1, "SAME"),
            approx="diagonal", sub_sample_inputs=True)
      self.assertIn("sub_sample_inputs has no effect with approx 'diagonal'",
                    logs.output[0])


class FactorsTest(tf.test.TestCase):

  def testEqualArgumentsShareAFactor(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      x, y = tf.ones([4, 3]), tf.ones([4, 3])
      factor = ff.FullyConnectedKroneckerFactor
      one = layers.make_or_get_factor(factor, (((x,),), True))
      self.assertIs(layers.make_or_get_factor(factor, (((x,),), True)), one)
      others = [layers.make_or_get_factor(factor, args) for args in (
          (((y,),), True), (((x,),), False))]
      self.assertEqual(layers.get_factors(), (one, *others))
      self.assertIsInstance(one, factor)
      self.assertEqual(list(layers.fisher_factors), [
          (factor, (((x,),), True)), (factor, (((y,),), True)),
          (factor, (((x,),), False))])
      with self.assertRaisesRegex(TypeError, r"args must be hashable, got \("):
        layers.make_or_get_factor(factor, ([x], True))
      self.assertLen(layers.get_factors(), 3)

  def testFactorsAreNamedByTheirFirstLayer(self):
    for contrib in (False, True):
      with tf.Graph().as_default(), mock.patch.object(
          ff, "CONTRIB_VARIABLES", contrib):
        layers = lc.LayerCollection()
        x, y = tf.ones([4, 3], name="x"), tf.ones([4, 3], name="y")
        make, cls = layers.make_or_get_factor, ff.FullyConnectedKroneckerFactor
        factors = [make(cls, (((x,),), True), "dense_kernel/A"),
                   make(cls, (((x,),), True), "other/A"),
                   make(cls, (((y,),), True), "dense_kernel/A"),
                   make(cls, (((y,),), False))]
        self.assertIs(factors[0], factors[1])
        contrib_names = ["ff_fckron_x_True", "ff_fckron_x_True",
                         "ff_fckron_y_True", "ff_fckron_y_False"]
        self.assertEqual(
            contrib_names, [factor.contrib_name for factor in factors])
        self.assertEqual(
            contrib_names if contrib else [
                "dense_kernel/A", "dense_kernel/A", "dense_kernel/A_1",
                "ff_fckron_y_False"],
            [factor.name for factor in factors])
        self.assertEqual([not contrib] * 3 + [False],
                         [factor.is_named for factor in factors])

  def testScopeIsUnique(self):
    with tf.Graph().as_default() as graph:
      first, second = lc.LayerCollection(), lc.LayerCollection(name="mine")
      third = lc.LayerCollection()
      self.assertEqual(
          [layers._var_scope for layers in (first, second, third)],
          ["LayerCollection", "mine", "LayerCollection_1"])
      self.assertIs(first.graph, graph)
      self.assertEmpty(tf.global_variables())
      with tf.Graph().as_default() as other:
        self.assertIs(lc.LayerCollection().graph, other)
        self.assertIs(lc.LayerCollection(graph=graph).graph, graph)
        self.assertIs(lc.LayerCollection(
            graph, colocate_cov_ops_with_inputs=True).graph, graph)

  def testResetInternalsEmptiesTheCollection(self):
    with tf.Graph().as_default():
      model, layers = _Model(), lc.LayerCollection()
      model.fully_connected(layers)
      layers.register_normal_predictive_distribution(model.y)
      layers.define_linked_parameters(model.filter)
      layers.set_default_generic_approximation("full")
      layers.make_or_get_factor(ff.FullyConnectedKroneckerFactor, (model.x,))
      layers.create_subgraph()
      layers.reset_internals()
      for held in (layers.fisher_blocks, layers.fisher_factors, layers.losses,
                   layers.linked_parameters, layers.get_use_count_map(),
                   layers.loss_colocation_ops, layers.generic_registrations):
        self.assertEmpty(held)
      self.assertIsNone(layers.subgraph)
      self.assertEqual(layers.default_generic_approximation, "diagonal")
      model.fully_connected(layers)


class _ScaleFactor(ff.DiagonalFactor):
  """A user's factor: mean squared gradient of a scale per unit."""

  def __init__(self, inputs, grads):
    super().__init__()
    self._inputs, self._grads = inputs, grads

  @property
  def _var_scope(self):
    return "ff_scale_" + ff.scope_string_from_params(
        [self._inputs, self._grads])

  @property
  def _cov_shape(self):
    return [self._inputs.shape.as_list()[1], 1]

  @property
  def _num_sources(self):
    return len(self._grads)

  @property
  def _num_towers(self):
    return 1

  @property
  def _dtype(self):
    return self._inputs.dtype

  def _compute_new_cov(self, source, tower):
    grads = self._inputs * self._grads[source]
    return tf.reduce_mean(tf.square(grads), axis=0)[:, tf.newaxis]


class _ScaleFB(fb.DiagonalFB):

  def __init__(self, layer_collection):
    super().__init__(layer_collection)
    self._towers = []

  def register_additional_tower(self, inputs, outputs):
    self._towers.append((inputs, outputs))

  @property
  def num_registered_towers(self):
    return len(self._towers)

  def tensors_to_compute_grads(self):
    return self._towers[0][1]

  def _factor_args(self, grads_list):
    return _ScaleFactor, (self._towers[0][0], tuple(grads_list))


class _UsersCollection(lc.LayerCollection):
  """A user's subclass, with another default and another layer."""

  def _get_block_type(self, params, approx, default, approx_to_type):
    if approx == "mine":
      return fb.FullyConnectedDiagonalFB, approx
    return super()._get_block_type(params, approx, default, approx_to_type)

  def register_scale(self, params, inputs, outputs, reuse=lc.VARIABLE_SCOPE):
    block = self.register_block(params, _ScaleFB(self), reuse=reuse)
    block.register_additional_tower(inputs, outputs)
    self._add_uses(params, 1)


class SubclassTest(tf.test.TestCase):

  def testOwnBlockType(self):
    with tf.Graph().as_default():
      model, layers = _Model(), _UsersCollection()
      params = model.fully_connected(layers, approx="mine")
      self.assertIs(type(layers.fisher_blocks[params]),
                    fb.FullyConnectedDiagonalFB)
      with self.assertRaisesRegex(ValueError, "got 'yours'"):
        model.conv2d(layers, approx="yours")

  def testOwnLayerWithOwnFactor(self):
    rng = np.random.RandomState(0)
    inputs, grads, vector = [rng.randn(*shape) for shape in (
        (5, 3), (5, 3), (3,))]
    with tf.Graph().as_default(), self.cached_session() as sess:
      layers = _UsersCollection()
      scale = _variable("scale", [3], tf.float64)
      x = tf.constant(inputs)
      y = x * scale
      layers.register_scale(scale, x, y)
      layers.register_normal_predictive_distribution(y)
      layers.create_subgraph()
      layers.check_registration([scale])
      block = layers.fisher_blocks[scale]
      block.instantiate_factors([tf.constant(grads)], 0.1)
      block.register_inverse()
      (factor,) = layers.get_factors()
      factor.instantiate_cov_variables()
      factor.instantiate_inv_variables()
      update = factor.make_covariance_update_op(0.)
      sess.run(tf.global_variables_initializer())
      sess.run(update)
      fisher = np.mean(np.square(inputs * grads), axis=0)
      self.assertAllClose(
          sess.run(block.multiply_inverse(tf.constant(vector))),
          vector / (fisher + 0.1))


if __name__ == "__main__":
  tf.test.main()
