"""Tests of automatic registration: dense layers, convolutions, embeddings."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.layer_collection import automatic_case as case

BATCH = case.BATCH
Case = case.Case
data, dense, head, ids, var = (
    case.data, case.dense, case.head, case.ids, case.var)


def _product(shape, function):
  """A model whose first layer is function(inputs, variable of a shape)."""
  def build(layers):
    x = data(BATCH, 4)
    dense(layers, tf.tanh(function(x, var("v", *shape))))
  return build


def _images(shape, num_dims, function, bias=None):
  """A convolution of images with 2 channels, of size 6."""
  def build(layers):
    h = function(data(BATCH, *num_dims * [6], 2), var("f", *shape))
    if bias:
      h = h + var("b", bias)
    dense(layers, tf.reduce_mean(tf.tanh(h), list(range(1, num_dims + 1))))
  return build


def _positions(shape, function, size=None):
  """A layer of inputs [batch, 5, 4], then a mean over positions."""
  def build(layers):
    h = function(data(BATCH, 5, 4), var("v", *shape))
    if size:
      h = h + var("b", size)
    h = tf.tanh(tf.reshape(h, [BATCH, 5, -1]))
    dense(layers, tf.reduce_mean(h, 1))
  return build


def _lookup(function, vocabulary=9):
  def build(layers):
    dense(layers, tf.tanh(function(var("t", vocabulary, 4))))
  return build


def _transposes():
  """Products with all transpositions of inputs and weights, on both sides."""
  for side in ("right", "left"):
    for flag in (False, True):
      for other_flag in (False, True):
        def build(layers, side=side, flag=flag, other_flag=other_flag):
          x = data(BATCH, 4) if (side == "right") != other_flag else (
              data(4, BATCH))
          # On the right [in, out], on the left [out, in].
          v = var("v", *((4, 5) if (side == "right") != flag else (5, 4)))
          h = (tf.matmul(x, v, other_flag, flag) if side == "right" else
               tf.transpose(tf.matmul(v, x, flag, other_flag)))
          dense(layers, tf.tanh(h))
        yield Case(f"{side}_{flag}_{other_flag}", build,
                   ("v: dense 1", "w: dense 1"))


ONE = ("v: dense 1", "w: dense 1")
WITH_BIAS = ("v b: dense 1", "w: dense 1")


class DenseTest(case.AutomaticCase):

  def testMatMul(self):
    self.check(*_transposes())

  def testWeightsOfOtherShapes(self):
    self.check(
        Case("reshaped", _product([2, 2, 5], lambda x, v: x @ tf.reshape(
            v, [4, 5])), ONE),
        Case("heads", _product([4, 2, 3], lambda x, v: x @ tf.reshape(
            v, [4, 6])), ONE),
        Case("transposed_heads", _product(
            [2, 4, 3], lambda x, v: x @ tf.reshape(
                tf.transpose(v, [1, 0, 2]), [4, 6])), ONE),
        Case("squeezed", _product([1, 4, 5, 1], lambda x, v: x @ tf.squeeze(
            v)), ONE),
        Case("expanded", _product([4], lambda x, v: x @ v[:, tf.newaxis]),
             ("v: generic", "w: dense 1"),
             {"v": "is cut into parts"}),
        Case("expanded_dims", _product(
            [4], lambda x, v: x @ tf.expand_dims(v, 1)), ONE),
        Case("identity", _product([4, 5], lambda x, v: x @ tf.identity(
            tf.identity(v))), ONE),
        Case("cast", _product([4, 5], lambda x, v: tf.cast(
            tf.cast(x, tf.float64) @ tf.cast(v, tf.float64), tf.float32)), (
                "v: generic", "w: dense 1"),
             {"v": "is cast to float64 from float32"}),
        Case("cut_unevenly", _product([2, 10], lambda x, v: x @ tf.reshape(
            v, [4, 5])), ONE))

  def testPositions(self):
    self.check(
        Case("tensordot", _positions(
            [4, 3], lambda x, v: tf.tensordot(x, v, 1), 3), WITH_BIAS),
        Case("tensordot_heads", _positions(
            [4, 2, 3], lambda x, v: tf.tensordot(x, v, 1)), ONE),
        Case("tensordot_transposed", _positions(
            [3, 4], lambda x, v: tf.tensordot(x, v, [[2], [1]]), 3),
             WITH_BIAS),
        Case("batch_matmul", _positions(
            [4, 3], lambda x, v: tf.raw_ops.BatchMatMulV2(x=x, y=v), 3),
             WITH_BIAS),
        Case("batch_matmul_transposed", _positions(
            [3, 4], lambda x, v: tf.raw_ops.BatchMatMulV2(
                x=x, y=v, adj_y=True), 3), WITH_BIAS),
        Case("batch_matmul_left", _positions(
            [3, 4], lambda x, v: tf.transpose(tf.raw_ops.BatchMatMulV2(
                x=v, y=x, adj_y=True), [0, 2, 1]), 3), (
                    "v: dense 1", "b: shift 1", "w: dense 1")),
        Case("flat", _positions(
            [4, 3], lambda x, v: tf.reshape(x, [-1, 4]) @ v, 3), WITH_BIAS),
        Case("einsum", _positions(
            [4, 2, 3], lambda x, v: tf.einsum("bpi,iho->bpho", x, v)), ONE),
        Case("einsum_two_inputs", _positions(
            [2, 2, 3], lambda x, v: tf.einsum(
                "bphi,hio->bpo", tf.reshape(x, [BATCH, 5, 2, 2]), v), 3),
             WITH_BIAS),
        Case("einsum_permuted", _positions(
            [3, 2, 2], lambda x, v: tf.einsum(
                "bphi,oih->bop", tf.reshape(x, [BATCH, 5, 2, 2]), v)), ONE),
        Case("einsum_weights_first", _positions(
            [4, 3], lambda x, v: tf.einsum("io,bpi->bpo", v, x), 3),
             WITH_BIAS),
        Case("einsum_of_heads", _positions(
            [2, 2, 3], lambda x, v: tf.einsum(
                "bphi,hio->bpho", tf.reshape(x, [BATCH, 5, 2, 2]), v)),
             ("v: generic", "w: dense 1"),
             {"v": "is in the Einsum bphi,hio->bpho, whose letters"}),
        Case("einsum_moved_rows", _positions(
            [4, 3], lambda x, v: tf.transpose(
                tf.einsum("bpi,io->pbo", x, v), [1, 0, 2])),
             ("v: generic", "w: dense 1"),
             {"v": "is in the Einsum bpi,io->pbo, whose rows"}))

  def testProductsOfParameters(self):
    self.check(
        Case("two", _product(
            [4, 5], lambda x, v: x @ (v @ var("u", 5, BATCH))),
             ("v: generic", "u: generic", "w: dense 1"),
             {"v": "is multiplied by parameters",
              "u": "is multiplied by parameters"}),
        Case("first_scaled", _product(
            [BATCH, 5], lambda x, v: x @ tf.transpose(
                (2. * v) @ var("u", 5, 4))),
             ("v: generic", "u: generic", "w: dense 1"),
             {"v": "is used by MatMul, which is no known layer",
              "u": "is multiplied by parameters"}),
        Case("low_rank_layer", _product(
            [4, 2], lambda x, v: (x @ v) @ var("u", 2, 5)),
             ("v: dense 1", "u: dense 1", "w: dense 1")),
        Case("batch_of_matrices", _positions(
            [BATCH, 4, 3], lambda x, v: x @ v),
             ("v: generic", "w: dense 1"), {"v": "is a batch of matrices"}))


class ConvolutionTest(case.AutomaticCase):

  def testTwoDimensions(self):
    self.check(
        Case("same", _images([3, 3, 2, 4], 2, lambda x, f: tf.nn.conv2d(
            x, f, 1, "SAME"), 4), ("f b: conv2d 1", "w: dense 1")),
        Case("strided", _images([3, 2, 2, 4], 2, lambda x, f: tf.nn.conv2d(
            x, f, [1, 2, 2, 1], "VALID"), 4), ("f b: conv2d 1", "w: dense 1")),
        Case("dilated", _images([3, 3, 2, 4], 2, lambda x, f: tf.nn.conv2d(
            x, f, 1, "SAME", dilations=2), 4), ("f b: conv2d 1", "w: dense 1"),
             runs=False),
        Case("atrous", _images(
            [3, 3, 2, 4], 2, lambda x, f: tf.nn.atrous_conv2d(
                x, f, 2, "VALID"), 4), ("f b: convolution 1", "w: dense 1")),
        Case("atrous_same", _images(
            [2, 3, 2, 4], 2, lambda x, f: tf.nn.convolution(
                x, f, "SAME", dilation_rate=[1, 2])),
             ("f: convolution 1", "w: dense 1")),
        Case("grouped", _images([3, 3, 1, 4], 2, lambda x, f: tf.nn.conv2d(
            x, f, 1, "SAME")), ("f: generic", "w: dense 1"),
             {"f": "is in a grouped convolution"}),
        Case("explicit", _images([3, 3, 2, 4], 2, lambda x, f: tf.nn.conv2d(
            x, f, 1, [[0, 0], [1, 0], [0, 1], [0, 0]])),
             ("f: generic", "w: dense 1"),
             {"f": "is in a convolution with explicit padding"}),
        Case("transposed", _images(
            [3, 3, 4, 2], 2, lambda x, f: tf.nn.conv2d_transpose(
                x, f, [BATCH, 6, 6, 4], 1)), ("f: generic", "w: dense 1"),
             {"f": "is used by Conv2DBackpropInput, which is no known layer"}),
        Case("image", lambda layers: dense(layers, tf.reduce_mean(
            tf.nn.conv2d(var("i", BATCH, 6, 6, 2), data(3, 3, 2, 4), 1, "SAME"),
            [1, 2])), ("i: generic", "w: dense 1"),
             {"i": "is the image of a convolution"}))

  def testOneAndThreeDimensions(self):
    self.check(
        Case("same", _images([3, 2, 4], 1, lambda x, f: tf.nn.conv1d(
            x, f, 1, "SAME"), 4), ("f b: convolution 1", "w: dense 1")),
        Case("strided", _images([3, 2, 4], 1, lambda x, f: tf.nn.conv1d(
            x, f, 2, "VALID"), 4), ("f b: convolution 1", "w: dense 1")),
        Case("dilated", _images([3, 2, 4], 1, lambda x, f: tf.nn.conv1d(
            x, f, 1, "VALID", dilations=2), 4),
             ("f b: convolution 1", "w: dense 1"), runs=False),
        Case("convolution", _images(
            [3, 2, 4], 1, lambda x, f: tf.nn.convolution(
                x, f, "SAME", dilation_rate=[2])),
             ("f: convolution 1", "w: dense 1")),
        Case("three", _images([2, 3, 2, 2, 4], 3, lambda x, f: tf.nn.conv3d(
            x, f, [1, 1, 1, 1, 1], "SAME"), 4),
             ("f b: convolution 1", "w: dense 1")),
        Case("three_strided", _images(
            [2, 3, 2, 2, 4], 3, lambda x, f: tf.nn.conv3d(
                x, f, [1, 2, 1, 2, 1], "VALID")),
             ("f: convolution 1", "w: dense 1")),
        Case("three_dilated", _images(
            [2, 2, 2, 2, 4], 3, lambda x, f: tf.nn.convolution(
                x, f, "SAME", dilation_rate=[2, 2, 2])),
             ("f: convolution 1", "w: dense 1")))

  def testDepthwise(self):
    self.check(
        Case("plain", _images(
            [3, 3, 2, 2], 2, lambda x, f: tf.nn.depthwise_conv2d(
                x, f, [1, 1, 1, 1], "SAME"), 4),
             ("f: depthwise_conv2d 1", "b: shift 1", "w: dense 1")),
        Case("strided", _images(
            [3, 3, 2, 1], 2, lambda x, f: tf.nn.depthwise_conv2d(
                x, f, [1, 2, 2, 1], "VALID")),
             ("f: depthwise_conv2d 1", "w: dense 1")),
        Case("dilated", _images(
            [3, 3, 2, 2], 2, lambda x, f: tf.nn.depthwise_conv2d(
                x, f, [1, 1, 1, 1], "SAME", rate=[2, 2])),
             ("f: depthwise_conv2d 1", "w: dense 1")),
        Case("separable", _images(
            [3, 3, 2, 2], 2, lambda x, f: tf.nn.separable_conv2d(
                x, f, var("p", 1, 1, 4, 5), [1, 1, 1, 1], "SAME"), 5),
             ("f: depthwise_conv2d 1", "p b: conv2d 1", "w: dense 1")))

  def testSeveralUses(self):
    def twice(function, *shape):
      def build(layers):
        f, b = var("f", *shape), var("b", 2)
        x = data(BATCH, 6, 6, 2)
        for _ in range(2):
          x = tf.tanh(function(x, f) + b)
        dense(layers, tf.reduce_mean(x, [1, 2]))
      return build
    self.check(
        Case("conv2d", twice(lambda x, f: tf.nn.conv2d(x, f, 1, "SAME"),
                             3, 3, 2, 2), ("f b: conv2d 2", "w: dense 1")),
        Case("depthwise", twice(lambda x, f: tf.nn.depthwise_conv2d(
            x, f, [1, 1, 1, 1], "SAME"), 3, 3, 2, 1),
             ("f: generic", "b: shift 2", "w: dense 1"),
             {"f": "is used several times by a layer of kind depthwise"}))

  def testImagesInOneAxis(self):
    def build(layers):
      x = tf.reshape(data(BATCH, 3, 6, 6, 2), [3 * BATCH, 6, 6, 2])
      h = tf.nn.conv2d(x, var("f", 3, 3, 2, 4), 2, "SAME") + var("b", 4)
      h = tf.reduce_mean(tf.tanh(h), [1, 2])
      dense(layers, tf.reduce_mean(tf.reshape(h, [BATCH, 3, 4]), 1))
    self.check(Case("frames", build, ("f b: conv2d 1", "w: dense 1")))


class EmbeddingTest(case.AutomaticCase):

  def testLookups(self):
    found = ("t: embedding 1", "w: dense 1")
    self.check(
        Case("lookup", _lookup(lambda t: tf.nn.embedding_lookup(
            t, ids(9, BATCH))), found),
        Case("gather", _lookup(lambda t: tf.gather(t, ids(9, BATCH))), found),
        Case("gather_of_value", _lookup(lambda t: tf.gather(
            tf.identity(t), ids(9, BATCH))), found),
        Case("positions", _lookup(lambda t: tf.reduce_sum(
            tf.nn.embedding_lookup(t, ids(9, BATCH, 5)), 1)), found),
        Case("flat", _lookup(lambda t: tf.reduce_sum(tf.reshape(
            tf.nn.embedding_lookup(t, ids(9, 5 * BATCH)),
            [BATCH, 5, 4]), 1)), found),
        Case("twice", _lookup(lambda t: tf.tanh(tf.nn.embedding_lookup(
            t, ids(9, BATCH))) * tf.nn.embedding_lookup(t, ids(9, BATCH))),
             ("t: embedding 2", "w: dense 1")))

  def testOtherIndices(self):
    sparse = tf.sparse.from_dense(ids(8, BATCH, 3) + 1)
    self.check(
        Case("columns", lambda layers: dense(layers, tf.gather(
            var("t", BATCH, 9), ids(9, 4), axis=1)),
             ("t: generic", "w: dense 1"),
             {"t": "is indexed, but not by rows"}),
        Case("sparse", _lookup(lambda t: tf.nn.embedding_lookup_sparse(
            t, sparse, None, combiner="sum")), ("t: generic", "w: dense 1"),
             # TensorFlow gathers from resource variables first.
             {"t": "is (indexed by ids that are not one for each example|"
                   "used by SparseSegmentSum, which is no known layer)"}),
        Case("one_hot", lambda layers: dense(layers, tf.tanh(
            tf.one_hot(ids(9, BATCH), 9) @ var("t", 9, 4))),
             ("t: dense 1", "w: dense 1")))

  def testPartitionedTable(self):
    def build(layers):
      table = tf.get_variable("t", [9, 4], partitioner=(
          tf.fixed_size_partitioner(2)))
      dense(layers, tf.nn.embedding_lookup(table, ids(9, BATCH)))
    reason = "is indexed by ids that are not one for each example"
    self.check(Case("parts", build, (
        "t/part_0: generic", "t/part_1: generic", "w: dense 1"),
        {"t/part_0": reason, "t/part_1": reason}))


class ReferenceVariablesTest(case.AutomaticCase):

  def testVariablesOfBothKinds(self):
    def build(use_resource):
      def model(layers):
        with tf.variable_scope(
            tf.get_variable_scope(), use_resource=use_resource):
          x = tf.nn.embedding_lookup(var("t", 9, 4), ids(9, BATCH, 5))
          h = tf.tanh(tf.tensordot(x, var("v", 4, 3), 1) + var("b", 3))
          h = tf.tanh(tf.nn.conv1d(h, var("f", 2, 3, 4), 1, "SAME")
                      + var("fb", 4))
          h = h * var("gamma", 4) + var("beta", 4)
          dense(layers, tf.reduce_mean(h, 1))
      return model
    rows = ("t: embedding 1", "v b: dense 1", "f fb: convolution 1",
            "gamma beta: scale and shift 1", "w: dense 1")
    self.check(Case("reference", build(False), rows),
               Case("resource", build(True), rows))


if __name__ == "__main__":
  tf.test.main()
