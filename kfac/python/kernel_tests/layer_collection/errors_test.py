"""Bad input of LayerCollection gets one clear line and leaves nothing behind.

The lines name the argument, the rule and the value.
"""

import contextlib

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import layer_collection as lc
from kfac.python.ops import loss_functions as lf


def _variable(name, shape, dtype=tf.float32):
  return tf.get_variable(name, shape, dtype, tf.ones_initializer())


def _held(layers):
  """Returns all that a collection holds, as values that can be compared."""
  return (
      [(key, block, block.num_registered_towers)
       for key, block in layers.fisher_blocks.items()],
      layers.get_use_count_map(), layers.towers_by_loss,
      dict(layers.loss_colocation_ops), layers.linked_parameters.copy(),
      list(layers.fisher_factors))


def _refusal_of_outer(tensor):
  """Returns how a tensor made outside of all graphs is refused.

  Without eager execution there is no such tensor: it is of the default graph.
  """
  if type(tensor).__name__ == "EagerTensor":
    return "must be a graph tensor, got the eager 'EagerTensor'"
  return ("must belong to the graph of the layer collection, got .*:0 of "
          "another graph")


class _ErrorsTest(tf.test.TestCase):

  @contextlib.contextmanager
  def assertRejected(self, layers, error, text):
    """Asserts an error of one line that leaves the collection as it was."""
    before = _held(layers)
    with self.assertRaisesRegex(error, text) as caught:
      yield
    self.assertNotIn("\n", str(caught.exception))
    self.assertEqual(_held(layers), before)


class DenseErrorsTest(_ErrorsTest):

  def _collection(self):
    """Makes a layer y = x w + b, and a collection that holds another one."""
    self.w, self.b = _variable("w", [3, 2]), _variable("b", [2])
    self.x, self.y = tf.ones([4, 3]), tf.ones([4, 2])
    layers = lc.LayerCollection()
    other = _variable("other", [3, 2])
    layers.register_fully_connected(other, self.x, self.y)
    layers.register_normal_predictive_distribution(self.y)
    self.other = other
    return layers

  def testShapesRanksAndDtypes(self):
    with tf.Graph().as_default():
      layers = self._collection()
      w, b, x, y = self.w, self.b, self.x, self.y
      cases = [
          (b, x, y, r"params must have rank 2, got shape \(2,\)"),
          ((w, b, b), x, y,
           r"params must be weights or \(weights, bias\), got 3"),
          ((w, _variable("b3", [3])), x, y,
           r"bias must have shape \[2\], got \[3\]"),
          ((w, w), x, y, r"bias must have shape \[2\], got \[3, 2\]"),
          (w, tf.ones([4, 2]), y,
           r"inputs must have shape \[\?, 3\], got \[4, 2\]"),
          (w, tf.ones([4, 5, 3]), y,
           r"inputs must have shape \[\?, 3\], got \[4, 5, 3\]"),
          (w, tf.placeholder(tf.float32), y,
           r"inputs must have shape \[\?, 3\], got an unknown one"),
          (w, x, tf.ones([4, 3]),
           r"outputs must have shape \[\?, 2\], got \[4, 3\]"),
          (w, x, tf.ones([5, 2]), "outputs must have the batch size of "
           r"inputs, got \(5, 2\) and \(4, 3\)"),
          (_variable("ints", [3, 2], tf.int32), x, y,
           "params must have dtype floating, got int32"),
          (w, tf.ones([4, 3], tf.float64), y,
           "inputs must have dtype float32, got float64"),
          (w, x, tf.ones([4, 2], tf.int32),
           "outputs must have dtype float32, got int32"),
          (w, [x, x], y,
           "inputs must be one tensor where a layer is used once, got a list "
           "of 2"),
          (w, x, [y],
           "outputs must be one tensor where a layer is used once, got a list "
           "of 1"),
      ]
      for params, inputs, outputs, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_fully_connected(params, inputs, outputs)
      layers.register_fully_connected((w, b), x, y)

  def testForeignEagerAndOtherThings(self):
    with tf.Graph().as_default():
      foreign = {"params": _variable("w", [3, 2]), "inputs": tf.ones([4, 3]),
                 "outputs": tf.ones([4, 2])}
    with tf.init_scope():
      outer = {"inputs": tf.ones([4, 3]), "outputs": tf.ones([4, 2])}
    with tf.Graph().as_default():
      layers = self._collection()
      good = {"params": self.w, "inputs": self.x, "outputs": self.y}
      cases = [(name, value, "must belong to the graph of the layer "
                "collection, got .*:0 of another graph")
               for name, value in foreign.items()]
      cases += [("params", (self.w, foreign["params"]),
                 "must belong to the graph .*, got w:0 of another graph")]
      cases += [(name, value, _refusal_of_outer(value))
                for name, value in outer.items()]
      cases += [("params", "w", "must be a tensor or variable, got 'w'"),
                ("inputs", None, "must be a tensor or variable, got None"),
                ("outputs", 3., "must be a tensor or variable, got 3.0")]
      for name, value, text in cases:
        with self.assertRejected(
            layers, ValueError, f"^{name} {text}"):
          layers.register_fully_connected(**dict(good, **{name: value}))

  def testUnknownApproximation(self):
    with tf.Graph().as_default():
      layers = self._collection()
      with self.assertRejected(
          layers, ValueError,
          r"approx must be one of \['diagonal', 'kron'\], got 'no'"):
        layers.register_fully_connected(self.w, self.x, self.y, approx="no")
      with self.assertRejected(
          layers, ValueError,
          r"approx must be one of \['diagonal', 'full'\], got 'kron'"):
        layers.register_generic(self.w, 4, approx="kron")
      with self.assertRejected(
          layers, ValueError, r"approx must be one of \['kron_indep', "
          r"'kron_series_1', 'kron_series_2'\], got 'kron_noindep'"):
        layers.register_fully_connected_multi(
            self.w, [self.x], [self.y], approx="kron_noindep")

  def testVariableRegisteredTwice(self):
    with tf.Graph().as_default():
      layers = self._collection()
      once = "params must be registered once unless reused, got .*other:0"
      shared = (r"params must not share variables with other layers: other:0 "
                r"is part of \['other:0'\], got \[.*'other:0'.*\]")
      twice = r"params must be different variables, got \['w:0', 'w:0'\]"
      with self.assertRejected(layers, ValueError, once):
        layers.register_fully_connected(self.other, self.x, self.y)
      with self.assertRejected(layers, ValueError, once):
        layers.register_generic(self.other, 4)
      for reuse in (False, tf.AUTO_REUSE):
        with self.assertRejected(layers, ValueError, shared):
          layers.register_fully_connected(
              (self.other, self.b), self.x, self.y, reuse=reuse)
        with self.assertRejected(layers, ValueError, shared):
          layers.register_generic((self.w, self.other), 4, reuse=reuse)
      with self.assertRejected(layers, ValueError, twice):
        layers.register_generic((self.w, self.w), 4)
      with self.assertRejected(
          layers, KeyError,
          "params must be registered before they are reused, got .*w:0"):
        layers.register_fully_connected(self.w, self.x, self.y, reuse=True)

  def testUses(self):
    with tf.Graph().as_default():
      layers = self._collection()
      x, y = self.x, self.y
      cases = [
          ([x, x], [y], None,
           "outputs must have as many uses as inputs, got 1 and 2"),
          (x, y, None,
           "num_uses must be given where inputs are one tensor, got None"),
          ([x, x], [y, y], 3, "inputs must have num_uses = 3 uses, got 2"),
          (x, [y, y], 4, "outputs must have num_uses = 4 uses, got 2"),
          (x, y, 0, "num_uses must be a positive int, got 0"),
          (x, y, 1.5, "num_uses must be a positive int, got 1.5"),
          ([], [], None, "num_uses must be a positive int, got 0"),
          ([x, tf.ones([4, 2])], [y, y], None,
           r"inputs must have shape \[\?, 3\], got \[4, 2\]"),
          ([x, tf.ones([5, 3])], [y, y], None,
           r"outputs must have the batch size of inputs, got \(4, 2\) and"),
      ]
      for inputs, outputs, num_uses, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_fully_connected_multi(
              self.w, inputs, outputs, num_uses=num_uses)

  def testGeneric(self):
    with tf.Graph().as_default():
      layers = self._collection()
      for batch_size in (0, -1, 2.5, "4", None, True):
        with self.assertRejected(
            layers, ValueError, "batch_size must be a positive int or a "
            f"scalar tensor, got {batch_size!r}"):
          layers.register_generic(self.w, batch_size)
      with self.assertRejected(
          layers, ValueError, r"batch_size must have rank 0, got shape \(1,\)"):
        layers.register_generic(self.w, tf.constant([4]))
      with self.assertRejected(
          layers, ValueError,
          r"params must be at least one variable, got \[\]"):
        layers.register_generic([], 4)
      with self.assertRejected(
          layers, ValueError, "params must have dtype floating, got int32"):
        layers.register_generic((self.w, _variable("n", [1], tf.int32)), 4)


class ConvolutionErrorsTest(_ErrorsTest):

  def testConv2d(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      x, y = tf.ones([2, 6, 5, 3]), tf.ones([2, 6, 5, 4])
      good = dict(params=_variable("f", [3, 3, 3, 4]), strides=[1, 1, 1, 1],
                  padding="SAME", inputs=x, outputs=y)
      cases = [
          (dict(params=_variable("m", [3, 4])), "params must have rank 4"),
          (dict(padding="ALL"), "padding must be 'SAME' or 'VALID', got 'ALL'"),
          (dict(padding=None), "padding must be 'SAME' or 'VALID', got None"),
          (dict(strides=[1, 1]),
           r"strides must be 4 positive ints, got \[1, 1\]"),
          (dict(strides=[1, 0, 1, 1]),
           r"strides must be 4 positive ints, got \[1, 0, 1, 1\]"),
          (dict(strides=2), "strides must be 4 positive ints, got 2"),
          (dict(strides=[2, 1, 1, 1]),
           r"strides must be 1 for batch and channels, got \[2, 1, 1, 1\]"),
          (dict(dilations=[1, 2, 2, 2]),
           r"dilation must be 1 for batch and channels, got \[1, 2, 2, 2\]"),
          (dict(data_format="NCHW"),
           "data_format must have the channels last, got 'NCHW'"),
          (dict(inputs=tf.ones([2, 6, 5, 2])),
           r"inputs must have shape \[\?, \?, \?, 3\], got \[2, 6, 5, 2\]"),
          (dict(outputs=tf.ones([2, 6, 5, 3])),
           r"outputs must have shape \[\?, \?, \?, 4\], got \[2, 6, 5, 3\]"),
          (dict(strides=[1, 2, 2, 1]),
           r"outputs must have spatial sizes \[3, 3\], got \[6, 5\]"),
          (dict(padding="VALID"),
           r"outputs must have spatial sizes \[4, 3\], got \[6, 5\]"),
          (dict(padding="VALID", dilations=[1, 2, 2, 1]),
           r"outputs must have spatial sizes \[2, 1\], got \[6, 5\]"),
          (dict(inputs=[x], outputs=[y]),
           "inputs must be one tensor where a layer is used once, got a list"),
          (dict(approx="full"),
           r"approx must be one of \['diagonal', 'kron'\], got 'full'"),
      ]
      for bad, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_conv2d(**dict(good, **bad))
      layers.register_conv2d(**good)
      with self.assertRejected(layers, ValueError, "must be registered once"):
        layers.register_conv2d(**good)

  def testConvolution(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      good = dict(params=_variable("f", [3, 3, 4]), padding="SAME",
                  inputs=tf.ones([2, 6, 3]), outputs=tf.ones([2, 6, 4]))
      cases = [
          (dict(params=_variable("m", [3, 4])),
           "params must have rank 3 or 4 or 5, got shape"),
          (dict(strides=[1, 1]),
           r"strides must be 1 positive ints, got \[1, 1\]"),
          (dict(dilation_rate=[0]),
           r"dilation must be 1 positive ints, got \[0\]"),
          (dict(strides=[2]),
           r"outputs must have spatial sizes \[3\], got \[6\]"),
          (dict(data_format="NCW"),
           "data_format must have the channels last, got 'NCW'"),
          (dict(approx="diagonal"),
           r"approx must be one of \['kron'\], got 'diagonal'"),
          (dict(outputs=[tf.ones([2, 6, 4])]),
           "outputs must be one tensor where a layer is used once"),
      ]
      for bad, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_convolution(**dict(good, **bad))
      layers.register_convolution(**good)

  def testDepthwise(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      depthwise = _variable("f", [3, 3, 3, 2])
      good = dict(params=depthwise, inputs=tf.ones([2, 5, 5, 3]),
                  outputs=tf.ones([2, 5, 5, 6]), strides=[1, 1, 1, 1],
                  padding="SAME")
      cases = [
          (dict(strides=None), "strides must be 4 positive ints, got"),
          (dict(strides=[1, 1]),
           r"strides must be 4 positive ints, got \[1, 1\]"),
          (dict(rate=[1, 1, 1, 1]),
           r"dilation must be 2 positive ints, got \[1, 1, 1, 1\]"),
          (dict(outputs=tf.ones([2, 5, 5, 3])),
           r"outputs must have shape \[\?, \?, \?, 6\], got \[2, 5, 5, 3\]"),
          (dict(data_format="NCHW"),
           "data_format must have the channels last, got 'NCHW'"),
          (dict(approx="full"),
           r"approx must be one of \['diagonal', 'kron'\], got 'full'"),
      ]
      for bad, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_depthwise_conv2d(**dict(good, **bad))
      with self.assertRejected(
          layers, NotImplementedError,
          "params must be the filter alone, a bias is not supported, got"):
        layers.register_depthwise_conv2d(
            **dict(good, params=(depthwise, _variable("b", [6]))))
      layers.register_depthwise_conv2d(**good)

  def testSeparableKeepsNeitherPart(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      pointwise, bias = _variable("p", [1, 1, 6, 4]), _variable("b", [4])
      good = dict(
          depthwise_params=_variable("d", [3, 3, 3, 2]),
          pointwise_params=(pointwise, bias), inputs=tf.ones([2, 5, 5, 3]),
          depthwise_outputs=tf.ones([2, 5, 5, 6]),
          pointwise_outputs=tf.ones([2, 5, 5, 4]), strides=[1, 1, 1, 1],
          padding="SAME")
      cases = [
          (dict(pointwise_params=(pointwise, _variable("b3", [3]))),
           r"bias must have shape \[4\], got \[3\]"),
          (dict(pointwise_outputs=tf.ones([2, 5, 5, 5])),
           r"outputs must have shape \[\?, \?, \?, 4\], got \[2, 5, 5, 5\]"),
          (dict(pointwise_outputs=[tf.ones([2, 5, 5, 4])]),
           "outputs must be one tensor where a layer is used once"),
          (dict(inputs=tf.ones([2, 5, 5, 4])),
           r"inputs must have shape \[\?, \?, \?, 3\], got \[2, 5, 5, 4\]"),
          (dict(approx="full"),
           r"approx must be one of \['diagonal', 'kron'\], got 'full'"),
      ]
      for bad, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_separable_conv2d(**dict(good, **bad))
      # What is wrong may be one part only, and be known late.
      layers.register_generic(bias, 4)
      with self.assertRejected(
          layers, ValueError, "params must not share variables with other "
          "layers: b:0 is part of"):
        layers.register_separable_conv2d(**good)
      layers.register_generic(pointwise, 4)
      alone = dict(good, pointwise_params=pointwise)
      with self.assertRejected(
          layers, ValueError, "params must be registered once unless reused"):
        layers.register_separable_conv2d(**alone)
      with self.assertRejected(
          layers, ValueError, "approx of a reused layer must give the block "
          "registered first, NaiveDiagonalFB, got ConvKFCBasicFB"):
        layers.register_separable_conv2d(reuse=tf.AUTO_REUSE, **alone)

  def testConv2dMulti(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      x, y = tf.ones([2, 5, 5, 3]), tf.ones([2, 5, 5, 4])
      good = dict(params=_variable("f", [3, 3, 3, 4]), strides=[1, 1, 1, 1],
                  padding="SAME", inputs=[x, x], outputs=[y, y])
      cases = [
          (dict(outputs=[y]),
           "outputs must have as many uses as inputs, got 1 and 2"),
          (dict(num_uses=3), "inputs must have num_uses = 3 uses, got 2"),
          (dict(padding="VALID"),
           r"outputs must have spatial sizes \[3, 3\], got \[5, 5\]"),
          (dict(approx="kron"),
           r"approx must be one of \['kron_indep'\], got 'kron'"),
      ]
      for bad, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_conv2d_multi(**dict(good, **bad))
      layers.register_conv2d_multi(**good)


class EmbeddingErrorsTest(_ErrorsTest):

  def testEmbedding(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      table, bias = _variable("table", [7, 2]), _variable("bias", [2])
      ids, rows = tf.constant([0, 1, 2]), tf.ones([3, 2])
      good = dict(params=table, inputs=ids, outputs=rows)
      cases = [
          (dict(params=(table, bias)), "params must be W without a bias, got "
           r"\['table:0', 'bias:0'\]"),
          (dict(params=bias), r"params must have rank 2, got shape \(2,\)"),
          (dict(inputs=tf.ones([3])),
           "inputs must have dtype integer, got float32"),
          (dict(inputs=tf.zeros([3, 2, 2], tf.int32)),
           r"inputs must have rank 1 or 2, got shape \(3, 2, 2\)"),
          (dict(outputs=tf.ones([3, 3])),
           r"outputs must have shape \[\?, 2\], got \[3, 3\]"),
          (dict(outputs=tf.ones([4, 2])),
           "outputs must have the batch size of inputs"),
          (dict(partition_strategy="no"),
           "partition_strategy must be 'mod' or 'div', got 'no'"),
          (dict(approx="diagonal"),
           r"approx must be one of \['kron'\], got 'diagonal'"),
          (dict(inputs=[ids], outputs=[rows]),
           "inputs must be one tensor where a layer is used once"),
      ]
      for bad, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_embedding(**dict(good, **bad))
      cases = [
          (dict(), "num_uses must be given where inputs are one tensor"),
          (dict(inputs=[ids, ids], outputs=[rows]),
           "outputs must have as many uses as inputs, got 1 and 2"),
          (dict(num_uses=3, approx="kron"),
           r"approx must be one of \['kron_indep'\], got 'kron'"),
      ]
      for bad, text in cases:
        with self.assertRejected(layers, ValueError, text):
          layers.register_embedding_multi(**dict(good, **bad))
      layers.register_embedding(**good)


class LossErrorsTest(_ErrorsTest):

  def testBadInputs(self):
    with tf.Graph().as_default():
      foreign = tf.ones([4, 3])
    with tf.init_scope():
      outer = tf.ones([4, 3])
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      logits = tf.ones([4, 3])
      layers.register_categorical_predictive_distribution(logits)
      registrations = {
          layers.register_categorical_predictive_distribution: "logits",
          layers.register_multi_bernoulli_predictive_distribution: "logits",
          layers.register_normal_predictive_distribution: "mean",
      }
      for register, name in registrations.items():
        for bad, text in (
            (foreign, "must belong to the graph of the layer collection, got "
             "ones:0 of another graph"),
            (outer, _refusal_of_outer(outer)),
            (None, "must be a tensor or variable, got None")):
          with self.assertRejected(
              layers, ValueError, f"^{name} {text}"):
            register(bad)
        with self.assertRejected(
            layers, TypeError, "must be floating point, got int32"):
          register(tf.ones([4, 3], tf.int32))
        with self.assertRejected(
            layers, ValueError, r"targets must have shape \(4.*\), got"):
          register(logits, targets=tf.ones([5, 3]))
        with self.assertRejected(layers, TypeError, "targets must be"):
          register(logits, targets=np.full([4, 3], "a"))
      with self.assertRejected(
          layers, ValueError, "var must be positive, got -1"):
        layers.register_normal_predictive_distribution(logits, var=-1.)

  def testUnknownLoss(self):
    with tf.Graph().as_default():
      logits = tf.ones([4, 3])
      foreign = lf.CategoricalLogitsNegativeLogProbLoss(logits)
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      logits = tf.ones([4, 3])
      for bad in ("cross_entropy", logits, None):
        with self.assertRejected(
            layers, ValueError, "loss must be a LossFunction, got "):
          layers.register_loss_function(bad, logits, "base")
      with self.assertRejected(
          layers, ValueError,
          "loss inputs must belong to the graph of the layer collection, got "
          "ones:0 of another graph"):
        layers.register_loss_function(foreign, logits, "base")


if __name__ == "__main__":
  tf.test.main()
