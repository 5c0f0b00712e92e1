"""Errors of the registration of convolutions."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.layer_collection import errors_case as errors
from kfac.python.ops import layer_collection as lc


class ConvolutionErrorsTest(errors.ErrorsCase):

  def testConv2d(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      x, y = tf.ones([2, 6, 5, 3]), tf.ones([2, 6, 5, 4])
      good = dict(params=errors.variable("f", [3, 3, 3, 4]),
                  strides=[1, 1, 1, 1], padding="SAME", inputs=x, outputs=y)
      cases = [
          (dict(params=errors.variable("m", [3, 4])),
           "params must have rank 4"),
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
           r"dilations must be 1 for batch and channels, got \[1, 2, 2, 2\]"),
          (dict(data_format="NCHW"),
           "data_format must have the channels last, got 'NCHW'"),
          (dict(data_format="NWC"),
           "data_format must be None or a string of 4 letters, got 'NWC'"),
          (dict(data_format=1),
           "data_format must be None or a string of 4 letters, got 1"),
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
      good = dict(params=errors.variable("f", [3, 3, 4]), padding="SAME",
                  inputs=tf.ones([2, 6, 3]), outputs=tf.ones([2, 6, 4]))
      cases = [
          (dict(params=errors.variable("m", [3, 4])),
           "params must have rank 3 or 4 or 5, got shape"),
          (dict(strides=[1, 1]),
           r"strides must be 1 positive ints, got \[1, 1\]"),
          (dict(dilation_rate=[0]),
           r"dilation_rate must be 1 positive ints, got \[0\]"),
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
      depthwise = errors.variable("f", [3, 3, 3, 2])
      good = dict(params=depthwise, inputs=tf.ones([2, 5, 5, 3]),
                  outputs=tf.ones([2, 5, 5, 6]), strides=[1, 1, 1, 1],
                  padding="SAME")
      cases = [
          (dict(strides=None), "strides must be 4 positive ints, got"),
          (dict(strides=[1, 1]),
           r"strides must be 4 positive ints, got \[1, 1\]"),
          (dict(rate=[1, 1, 1, 1]),
           r"rate must be 2 positive ints, got \[1, 1, 1, 1\]"),
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
            **dict(good, params=(depthwise, errors.variable("b", [6]))))
      layers.register_depthwise_conv2d(**good)

  def testSeparableRegistersNeitherPart(self):
    with tf.Graph().as_default():
      layers = lc.LayerCollection()
      pointwise = errors.variable("p", [1, 1, 6, 4])
      bias = errors.variable("b", [4])
      good = dict(
          depthwise_params=errors.variable("d", [3, 3, 3, 2]),
          pointwise_params=(pointwise, bias), inputs=tf.ones([2, 5, 5, 3]),
          depthwise_outputs=tf.ones([2, 5, 5, 6]),
          pointwise_outputs=tf.ones([2, 5, 5, 4]), strides=[1, 1, 1, 1],
          padding="SAME")
      cases = [
          (dict(pointwise_params=(pointwise, errors.variable("b3", [3]))),
           r"bias must have 4 elements, got shape \(3,\)"),
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
      # An error of the second part must undo the first.
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
      good = dict(params=errors.variable("f", [3, 3, 3, 4]),
                  strides=[1, 1, 1, 1], padding="SAME", inputs=[x, x],
                  outputs=[y, y])
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


if __name__ == "__main__":
  tf.test.main()
