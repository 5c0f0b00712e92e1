"""Tests of the names of factors, kept matrices and dampings."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors
from kfac.python.ops import utils
from kfac.python.ops.fisher_factors import naming


class ScopeStringTest(tf.test.TestCase):

  def testOutputZeroAndSlashesAreRemoved(self):
    with tf.Graph().as_default():
      with tf.name_scope("net/layer"):
        a, b = tf.split(tf.zeros([2]), 2, name="pair")
      self.assertEqual("net/layer/pair:1", b.name)
      self.assertEqual(
          "net_layer_pair", fisher_factors.scope_string_from_name(a))
      self.assertEqual(
          "net_layer_pair_1", fisher_factors.scope_string_from_name(b))
      for use_resource in (False, True):
        variable = tf.get_variable(
            f"v{use_resource}", [], use_resource=use_resource)
        self.assertEqual(f"v{use_resource}",
                         fisher_factors.scope_string_from_name(variable))
      self.assertEqual(
          "net_layer_pair__net_layer_pair_1",
          fisher_factors.scope_string_from_name(
              utils.PartitionedTensor([a, b])))

  def testOnlyOutputZeroIsRemoved(self):
    with tf.Graph().as_default():
      parts = tf.split(tf.zeros([11]), 11, name="parts")
      self.assertEqual(
          "parts_10", fisher_factors.scope_string_from_name(parts[10]))

  def testParamsAreJoinedByTheirType(self):
    with tf.Graph().as_default():
      a = tf.zeros([1], name="x/a")
      b = tf.zeros([1], name="b")
      for expected, params in [
          ("x_a", a),
          ("x_a_b", [a, b]),
          ("x_a__b", [[a, b]]),
          ("x_a__b__b", [[[a, b], [b]]]),
          ("b_3-3-2-4_None_SAME_True", [b, [3, 3, 2, 4], None, "SAME", True]),
          ("b_1-2", [b, (np.int64(1), 2)]),
          ("7", 7),
          ("0.5", [0.5]),
          ("x_a__b_2", (utils.PartitionedTensor([a, b]), 2)),
      ]:
        self.assertEqual(
            expected, fisher_factors.scope_string_from_params(params))

  def testParamsWithoutNameRaise(self):
    with self.assertRaisesRegex(
        ValueError, "^params must hold tensors, numbers, strings or lists of "
        "them, got <object"):
      fisher_factors.scope_string_from_params([object()])

  def testScalarOrTensorAndListToString(self):
    with tf.Graph().as_default():
      damping = tf.get_variable("opt/damping", [])
      to_string = fisher_factors.scalar_or_tensor_to_string
      for expected, value in [
          ("0.001", 0.001), ("2", 2), ("0.25", np.float32(0.25)),
          ("3.0", np.array(3.)), ("-0.5", -0.5), ("opt_damping", damping),
          ("word", "word")]:
        self.assertEqual(expected, to_string(value))
        self.assertEqual(expected, fisher_factors.list_to_string(value))
      self.assertEqual(
          "opt_damping_over_2.5",
          fisher_factors.list_to_string([damping, "over", 2.5]))


class LayerNamesTest(tf.test.TestCase):

  def testLayerHasTheNameOfItsFirstParameter(self):
    with tf.Graph().as_default():
      with tf.variable_scope("net/dense"):
        kernel, bias = (tf.get_variable(name, [2]) for name in ("w", "b"))
      table = tf.get_variable(
          "table", [4, 2], partitioner=tf.fixed_size_partitioner(2))
      for expected, params in (
          ("net_dense_w", kernel), ("net_dense_w", (kernel, bias)),
          ("net_dense_b", [bias]), ("table", table),
          ("table_part_0", tuple(table)), ("layer", object())):
        self.assertEqual(expected, naming.layer_name(params))

  def testKeptNames(self):
    kept = [("matpower_exp-1", (0.5, "over", 2)), ("cholesky", "x"),
            ("matpower_exp-1", (0.25,))]
    self.assertEqual(["matpower_exp-1", "cholesky", "matpower_exp-1_1"],
                     naming.kept_names(kept))
    oracles.set_constants(self, CONTRIB_VARIABLES=True)
    self.assertTrue(naming.has_contrib_names())
    self.assertEqual(
        ["matpower_exp-1_damp0.5_over_2", "cholesky_dampx",
         "matpower_exp-1_damp0.25"], naming.kept_names(kept))


class PackagedFuncTest(tf.test.TestCase):

  def testIdIsAHashableTuple(self):
    for func_id, expected in [
        ("a", ("a",)), (("a", 2), ("a", 2)), (["a", 2], ("a", 2)), (3, (3,))]:
      func = naming.PackagedFunc(lambda: 0.5, func_id)
      self.assertEqual(0.5, func())
      self.assertEqual(expected, func.func_id)
      self.assertEqual(expected, fisher_factors.graph_func_to_id(func))
      hash(func.func_id)
    self.assertEqual("a_2", fisher_factors.graph_func_to_string(
        naming.PackagedFunc(None, ("a", 2))))

  def testDampingBecomesAFunction(self):
    with tf.Graph().as_default():
      variable = tf.get_variable("damping", [])
      for damping, func_id in [(0.5, ("0.5",)), (variable, ("damping",))]:
        func = naming.as_damping_func(damping)
        self.assertIs(damping, func())
        self.assertEqual(func_id, func.func_id)
        self.assertIs(func, naming.as_damping_func(func))

  def testFunctionWithoutIdRaises(self):
    with self.assertRaisesRegex(
        ValueError, "^damping_func must carry a func_id, got <function"):
      naming.as_damping_func(lambda: 0.5)


if __name__ == "__main__":
  tf.test.main()
