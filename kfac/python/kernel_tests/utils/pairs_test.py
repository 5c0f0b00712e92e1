"""Tests of sums, multiples and inner products of lists of tensors."""

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.ops import utils

_RNG = np.random.RandomState(0)
_ONE = [_RNG.randn(3, 2), _RNG.randn(4)]
_OTHER = [_RNG.randn(3, 2), _RNG.randn(4)]


class PairsTest(tf.test.TestCase):

  def _variables(self):
    return [tf.get_variable(name, shape, tf.float64)
            for name, shape in (("a", [3, 2]), ("b", [4]))]

  def _pairs(self, values, variables):
    return [(tf.constant(value), variable)
            for value, variable in zip(values, variables, strict=True)]

  def testListsEqualNumPy(self):
    with tf.Graph().as_default(), self.session() as sess:
      one, other = map(tf.constant, _ONE), [tf.constant(x) for x in _OTHER]
      one = list(one)
      for scalar in (1, 2.5, tf.constant(-3., tf.float32), np.float32(0.5)):
        value = sess.run(scalar) if isinstance(scalar, tf.Tensor) else scalar
        self.assertAllClose([value * x for x in _ONE],
                            sess.run(utils.sprod(scalar, one)))
      self.assertIs(one[0], utils.sprod(1., one)[0])
      self.assertAllClose([x + y for x, y in zip(_ONE, _OTHER, strict=True)],
                          sess.run(utils.sum_(one, other)))
      self.assertAllClose(
          sum(np.sum(x * y) for x, y in zip(_ONE, _OTHER, strict=True)),
          sess.run(utils.ip(one, other)), rtol=1e-12)

  def testPairsKeepTheirVariables(self):
    with tf.Graph().as_default(), self.session() as sess:
      variables = self._variables()
      one = self._pairs(_ONE, variables)
      other = self._pairs(_OTHER, variables)
      for pairs, expected in (
          (utils.sprod_p(-2., iter(one)), [-2. * x for x in _ONE]),
          (utils.sum_p(iter(one), iter(other)),
           [x + y for x, y in zip(_ONE, _OTHER, strict=True)])):
        self.assertIsInstance(pairs, list)
        self.assertEqual([v.name for v in variables],
                         [v.name for _, v in pairs])
        self.assertAllClose(expected, sess.run([x for x, _ in pairs]))
      self.assertAllClose(
          sum(np.sum(x * y) for x, y in zip(_ONE, _OTHER, strict=True)),
          sess.run(utils.ip_p(one, iter(other))), rtol=1e-12)

  def testIndexedSlicesAndHalfPrecision(self):
    with tf.Graph().as_default(), self.session() as sess:
      slices = tf.IndexedSlices(
          tf.constant([[1., 2.]]), tf.constant([1]), tf.constant([3, 2]))
      dense = tf.ones([3, 2])
      self.assertAllClose(3., sess.run(utils.ip([slices], [dense])))
      self.assertAllClose([[[1., 1.], [2., 3.], [1., 1.]]],
                          sess.run(utils.sum_([slices], [dense])))
      self.assertAllClose([[[0., 0.], [2., 4.], [0., 0.]]],
                          sess.run(utils.sprod(2., [slices])))
      # 70000 is more than float16 can hold.
      half = tf.ones([70000], tf.float16)
      self.assertAllClose(70000., sess.run(utils.ip([half], [half])))
      self.assertEqual(tf.float16, utils.sprod(2., [half])[0].dtype)

  def testOptimizerHasThemToo(self):
    for name in ("ip", "ip_p", "sprod", "sprod_p"):
      self.assertIs(getattr(utils, name), getattr(kfac.optimizer, name))

  def testOtherVariables(self):
    with tf.Graph().as_default():
      a, b = self._variables()
      one = self._pairs(_ONE, [a, b])
      swapped = list(reversed(one))
      for function in (utils.sum_p, utils.ip_p,
                       utils.assert_variables_match_pairs_list):
        for other, names in ((swapped, r"\['b:0', 'a:0'\]"),
                             (one[:1], r"\['a:0'\]")):
          with self.assertRaisesRegex(
              ValueError, "^b_and_vars must have the variables of a_and_vars, "
              rf"\['a:0', 'b:0'\], got {names}\.$"):
            function(one, other)
      with self.assertRaisesRegex(ValueError, "^mine$"):
        utils.assert_variables_match_pairs_list(one, swapped, "mine")
      utils.assert_variables_match_pairs_list(one, iter(one))

  def testListsThatDoNotMatch(self):
    with tf.Graph().as_default():
      for function in (utils.sum_, utils.ip):
        with self.assertRaisesRegex(
            ValueError, "^list2 must have the length of list1, 2, got 1.$"):
          function([1., 2.], [1.])
      with self.assertRaisesRegex(
          ValueError, "^list1 must have at least one tensor, got none.$"):
        utils.ip([], [])


if __name__ == "__main__":
  tf.test.main()
