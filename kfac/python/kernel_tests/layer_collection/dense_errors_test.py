"""Errors of the registration of dense and generic layers."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.layer_collection import errors_case as errors
from kfac.python.ops import layer_collection as lc


class DenseErrorsTest(errors.ErrorsCase):

  def _collection(self):
    """Makes a layer y = x w + b, and a collection that holds another one."""
    self.w, self.b = errors.variable("w", [3, 2]), errors.variable("b", [2])
    self.x, self.y = tf.ones([4, 3]), tf.ones([4, 2])
    layers = lc.LayerCollection()
    other = errors.variable("other", [3, 2])
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
          ((w, errors.variable("b3", [3])), x, y,
           r"bias must have 2 elements, got shape \(3,\)"),
          ((w, w), x, y, r"bias must have 2 elements, got shape \(3, 2\)"),
          (w, tf.ones([4, 2]), y,
           r"inputs must have shape \[\?, 3\], got \[4, 2\]"),
          (w, tf.ones([4, 5, 3]), y,
           "outputs must have the rows of inputs, got 4 and 20"),
          (w, tf.ones([4, 5, 2]), tf.ones([4, 5, 2]),
           r"inputs must have 3 features, got shape \(4, 5, 2\)"),
          (w, tf.placeholder(tf.float32), y,
           r"inputs must have shape \[\?, 3\], got an unknown one"),
          (w, x, tf.ones([4, 3]),
           r"outputs must have shape \[\?, 2\], got \[4, 3\]"),
          (w, x, tf.ones([5, 2]), "outputs must have the batch size of "
           r"inputs, got \(5, 2\) and \(4, 3\)"),
          (errors.variable("ints", [3, 2], tf.int32), x, y,
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
      foreign = {"params": errors.variable("w", [3, 2]),
                 "inputs": tf.ones([4, 3]), "outputs": tf.ones([4, 2])}
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
      cases += [(name, value, errors.refusal_of_outer(value))
                for name, value in outer.items()]
      cases += [("params", "w", "must be a tensor or variable, got 'w'"),
                ("inputs", None, "must be a tensor or variable, got None"),
                ("outputs", 3., "must be a tensor or variable, got 3.0"),
                ("inputs", np.ones([2, 2]), r"must be a tensor or variable, "
                 r"got array\(\[\[1., 1.\], \[1., 1.\]\]\)"),
                ("inputs", tf.SparseTensor([[0, 0]], [1.], [4, 3]),
                 "must be a tensor or variable, got .*SparseTensor"),
                ("inputs", [[self.x]], "must not be a list of lists, got "),
                ("params", [], r"must not be an empty list, got \[\]")]
      for name, value, text in cases:
        with self.assertRejected(
            layers, ValueError, f"^{name} {text}"):
          layers.register_fully_connected(**dict(good, **{name: value}))

  def testUnknownApproximation(self):
    with tf.Graph().as_default():
      layers = self._collection()
      with self.assertRejected(
          layers, ValueError,
          r"approx must be one of \['diagonal', 'kron', 'kron_both_diag', "
          r"'kron_in_diag', 'kron_out_diag'\], got 'no'"):
        layers.register_fully_connected(self.w, self.x, self.y, approx="no")
      with self.assertRejected(
          layers, ValueError,
          r"approx must be one of \['diagonal', 'full'\], got 'kron'"):
        layers.register_generic(self.w, 4, approx="kron")
      with self.assertRejected(
          layers, ValueError, r"approx must be one of \['kron_indep', "
          r"'kron_indep_both_diag', 'kron_indep_in_diag', "
          r"'kron_indep_out_diag', 'kron_series_1', 'kron_series_2'\], got "
          "'kron_noindep'"):
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
          ([], [], None, r"inputs must not be an empty list, got \[\]"),
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
          r"params must not be an empty list, got \[\]"):
        layers.register_generic([], 4)
      with self.assertRejected(
          layers, ValueError, "params must have dtype floating, got int32"):
        layers.register_generic(
            (self.w, errors.variable("n", [1], tf.int32)), 4)


if __name__ == "__main__":
  tf.test.main()
