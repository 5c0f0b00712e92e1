"""Tests of LayerParametersDict: which variables belong to which layer."""

import tensorflow.compat.v1 as tf

from kfac.python.ops import layer_collection as lc


def _variable(name, shape):
  return tf.get_variable(name, shape)


class LayerParametersDictTest(tf.test.TestCase):

  def testIsOrderedAndTakesListsAsTuples(self):
    with tf.Graph().as_default():
      a, b, c, d = [_variable(name, [1]) for name in "abcd"]
      params = lc.LayerParametersDict([((a, b), 1)])
      params[d] = 2
      params[[c]] = 3
      self.assertEqual(list(params), [(a, b), d, (c,)])
      self.assertEqual(list(params.values()), [1, 2, 3])
      self.assertEqual([params[[a, b]], params[d], params[c,]], [1, 2, 3])
      self.assertEqual(params.get([a, b]), 1)
      self.assertEqual(params.get(a, "none"), "none")
      self.assertIn([a, b], params)
      for key in (a, (b, a), c, (d,)):
        self.assertNotIn(key, params)
      params[a, b] = 4  # The same key may be set again.
      self.assertEqual(params[a, b], 4)
      self.assertLen(params, 3)

  def testVariablesAreNotShared(self):
    with tf.Graph().as_default():
      a, b, c = [_variable(name, [1]) for name in "abc"]
      params = lc.LayerParametersDict()
      params[a, b] = 1
      for key in (a, b, (b, a), (a, c), [c, b], (a, b, c)):
        with self.assertRaisesRegex(
            ValueError, r"params must not share variables with other layers: "
            r"[ab]:0 is part of \['a:0', 'b:0'\], got \[.*\]"):
          params[key] = 2
      with self.assertRaisesRegex(
          ValueError, r"params must be different variables, got \['c:0', "
          r"'c:0'\]"):
        params[c, c] = 2
      self.assertEqual(dict(params), {(a, b): 1})
      params[c] = 3  # The errors above have not taken it.

  def testNameOfTheLayerOfABlock(self):
    with tf.Graph().as_default(), tf.variable_scope("net"):
      a, b, c = [_variable(name, [1]) for name in "abc"]
      params, blocks = lc.LayerParametersDict(), [[], []]
      params[a, b], params[c] = blocks
      self.assertEqual(
          ["net_a", "net_c"], [params.layer_name(block) for block in blocks])
      self.assertIsNone(params.layer_name([]))  # Equal, but another block.

  def testDeletingFreesTheVariables(self):
    with tf.Graph().as_default():
      a, b = [_variable(name, [1]) for name in "ab"]
      params = lc.LayerParametersDict()
      params[a, b] = 1
      del params[[a, b]]
      self.assertEmpty(params)
      params[b] = 2
      params[a] = 3
      self.assertEqual(params.pop(a), 3)
      params[a] = 4
      self.assertEqual(list(params), [b, a])
      with self.assertRaises(KeyError):
        del params[a, b]
      self.assertEqual(list(params), [b, a])


if __name__ == "__main__":
  tf.test.main()
