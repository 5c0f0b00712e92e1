"""Tests of automatic registration: its arguments, towers and reports."""

import os
import subprocess
import sys

import tensorflow.compat.v1 as tf
from absl.testing import parameterized

import kfac
from kfac.python.kernel_tests.layer_collection import automatic_case as case
from kfac.python.ops.tensormatch import graph_search

BATCH = case.BATCH
Case = case.Case
data, dense, head, ids, var = (
    case.data, case.dense, case.head, case.ids, case.var)


def perceptron(layers, x=None):
  """Registers the loss of a perceptron with the layers (v, b) and (w, c)."""
  x = data(BATCH, 4) if x is None else x
  h = tf.tanh(x @ var("v", x.shape.as_list()[-1], 5) + var("b", 5))
  head(layers, h @ var("w", 5, 3) + var("c", 3))


def get(name):
  """Returns the variable of a name."""
  return next(variable for variable in tf.global_variables()
              if variable.op.name == name)


class ArgumentsTest(case.AutomaticCase):

  def setUp(self):
    super().setUp()
    self._layers = kfac.LayerCollection()

  def _rows(self, **arguments):
    return case.describe(self._layers.auto_register_layers(**arguments))

  def _assertRefused(self, message, error=ValueError, **arguments):
    with self.assertRaisesRegex(error, message) as caught:
      self._layers.auto_register_layers(**arguments)
    self.assertNotIn("\n", str(caught.exception))
    self.assertEqual((), self._layers.registered_variables)

  def testWrongArguments(self):
    self._assertRefused("^at least one loss must be registered before "
                        "auto_register_layers, got none.$")
    perceptron(self._layers)
    unused = var("unused", 3)
    stopped = var("stopped", 3)
    head(self._layers, data(BATCH, 3) + tf.stop_gradient(stopped))
    for value in ("full", None, 3):
      self._assertRefused(
          f"^unknown must be 'generic' or 'raise', got {value!r}.$",
          unknown=value)
    for value in (0, -1, 2.5, "6", True):
      self._assertRefused(
          "^batch_size must be a positive int or a scalar tensor, got ",
          batch_size=value)
    for value in (4, 12):
      self._assertRefused(
          r"^batch_size must divide the rows of the losses \[6\], got "
          f"{value}.$", batch_size=value)
    self._assertRefused(
        "^var_list must be variables that the losses depend on, got "
        "unused:0, stopped:0.$", var_list=[get("v"), unused, stopped])
    for value in ("v", 3.):
      self._assertRefused("^var_list must be a tensor or variable, got",
                          var_list=[value])

  def testNamesOfTheSuccessor(self):
    x = tf.reshape(data(BATCH, 2, 4), [2 * BATCH, 4])
    perceptron(self._layers, x)
    report = graph_search.register_layers(
        self._layers, graph_search.ensure_sequence(get("w")), BATCH)
    self.assertEqual(("w: dense 1",), case.describe(report))
    block, = self._layers.get_blocks()
    self.assertEqual(2, block._num_positions)

  def testUnusedVariablesAreLeftOut(self):
    perceptron(self._layers)
    var("unused", 3)
    with self.assertLogs(level="WARNING") as logs:
      self.assertEqual(("v b: dense 1", "w c: dense 1"), self._rows())
    self.assertIn("auto_register_layers leaves out unused:0: no loss depends "
                  "on them.", logs.output[0])
    self.assertLen(logs.output, 1)

  def testOtherBranchesAndDecayAreNoUses(self):
    perceptron(self._layers)
    decay = tf.add_n([tf.nn.l2_loss(v) for v in tf.trainable_variables()])
    tf.gradients(decay, tf.trainable_variables())
    tf.reduce_sum(tf.exp(get("w")) @ data(3, 2))
    self.assertEqual(("v b: dense 1", "w c: dense 1"), self._rows())

  def testListOfVariables(self):
    perceptron(self._layers)
    self.assertEqual(
        ("w: dense 1",), self._rows(var_list=[get("w"), get("w")]))
    self.assertEqual(("c: shift 1",), self._rows(var_list=get("c")))
    self.assertEqual(("v b: dense 1",), self._rows())
    self.assertEqual((), self._rows())
    self.assertCountEqual(
        tf.trainable_variables(), self._layers.registered_variables)

  def testWhatIsRegisteredStays(self):
    perceptron(self._layers)
    self._layers.register_generic((get("v"), get("w")), BATCH, "full")
    self.assertEqual(("b: shift 1", "c: shift 1"), self._rows())
    self.assertIsInstance(self._layers.get_blocks()[0],
                          kfac.fisher_blocks.FullFB)

  def testRaisesOneErrorWithAll(self):
    x = data(BATCH, 4)
    perceptron(self._layers, x @ (2. * var("m", 4, 4)) * tf.exp(var("s", 4)))
    with self.assertRaises(graph_search.AmbiguousRegistrationError) as caught:
      self._layers.auto_register_layers(unknown="raise")
    text = str(caught.exception)
    self.assertNotIn("\n", text)
    for part in (
        "var_list must be parameters of known layers", "register_generic",
        "m:0 is used by MatMul, which is no known layer (ops matmul",
        "s:0 is used by Exp, which is no known layer (ops Exp"):
      self.assertIn(part, text)
    self.assertEmpty(self._layers.registered_variables)
    with self.assertLogs(level="WARNING") as logs:
      rows = self._rows()
    self.assertEqual(("m: generic", "s: generic", "v b: dense 1",
                      "w c: dense 1"), rows)
    self.assertLen(logs.output, 2)
    self.assertIn("registered as generic, by its gradient alone.",
                  logs.output[0])

  def testDefaultApproximations(self):
    perceptron(self._layers)
    self._layers.set_default_fully_connected_approximation("diagonal")
    report = self._layers.auto_register_layers()
    self.assertEqual(["diagonal"] * 2, [row.approximation for row in report])

  def testLargeScalesAreDiagonal(self):
    x = data(BATCH, 600)
    dense(self._layers, x * var("small", 600) * var("g", 600) + var("h", 600))
    report = self._layers.auto_register_layers()
    self.assertEqual({"small:0": "full", "g:0": "diagonal", "w:0": "kron"}, {
        row.variables[0]: row.approximation for row in report})


class LinkedParametersTest(case.AutomaticCase):

  def _report(self, *groups):
    layers = kfac.LayerCollection()
    perceptron(layers)
    for names, approx in groups:
      layers.define_linked_parameters([get(name) for name in names], approx)
    report = layers.auto_register_layers()
    with tf.Session() as session:
      session.run(tf.global_variables_initializer())
      for name, value in session.run(layers.gradient_check()).items():
        self.assertLess(value, 1e-4, name)
    return case.describe(report), [row.approximation for row in report]

  def testLayerHasTheApproximation(self):
    self.assertEqual(
        (("v b: dense 1", "w c: dense 1"), ["diagonal", "kron"]),
        self._report((["v", "b"], "diagonal")))

  def testGroupOfWeightsKeepsOutTheBias(self):
    self.assertEqual(
        (("v: dense 1", "b: shift 1", "w c: dense 1"),
         ["diagonal", "full", "kron"]), self._report((["v"], "diagonal")))

  def testGroupOfTheBiasKeepsOutTheWeights(self):
    self.assertEqual(
        (("v: dense 1", "b: shift 1", "w c: dense 1"),
         ["kron", "diagonal", "kron"]), self._report((["b"], "diagonal")))

  def testOtherGroupsAreGeneric(self):
    self.assertEqual(
        (("v w: generic", "b: shift 1", "c: shift 1"),
         ["full", "full", "full"]), self._report((["v", "w"], "full")))

  def testUnfitApproximationChangesNothing(self):
    layers = kfac.LayerCollection()
    perceptron(layers)
    layers.define_linked_parameters([get("w"), get("c")], "full")
    with self.assertRaisesRegex(ValueError, "^approx must be one of"):
      layers.auto_register_layers()
    self.assertEmpty(layers.registered_variables)
    self.assertLen(layers._calls, 1)


class BatchSizeTest(case.AutomaticCase):

  def testRowsOfSeveralPositions(self):
    def build(layers):
      x = tf.reshape(data(BATCH, 2, 4), [2 * BATCH, 4])
      t = tf.nn.embedding_lookup(var("t", 9, 4), ids(9, 2 * BATCH))
      perceptron(layers, tf.tanh(t) * x)
    rows = ("t: embedding 1", "v b: dense 1", "w c: dense 1")
    reports = self.check(Case("given", build, rows,
                              arguments={"batch_size": BATCH}),
                         Case("losses", build, rows))
    del reports
    positions = []
    for batch_size in (BATCH, None, tf.constant(BATCH)):
      layers = kfac.LayerCollection()
      with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        build(layers)
      layers.auto_register_layers(
          [get("t"), get("v"), get("b")], batch_size=batch_size)
      positions.append([block._num_positions
                        for block in layers.get_blocks()])
    self.assertEqual([[2, 2], [1, 1], [1, 1]], positions)

  def testUnknownBatch(self):
    def build(layers):
      x = tf.placeholder_with_default(
          tf.random.stateless_normal([BATCH, 4, 2], [1, 2]), [None, 4, 2])
      h = tf.tanh(tf.tensordot(x, var("u", 2, 3), 1) + var("e", 3))
      perceptron(layers, tf.reshape(h, [-1, 12]))
    rows = ("u e: dense 1", "v b: dense 1", "w c: dense 1")
    self.check(
        Case("none", build, rows),
        Case("given", build, rows, arguments={"batch_size": BATCH}),
        Case("tensor", build, rows, arguments={
            "batch_size": tf.constant(BATCH)}))

  def testUnknownRowsOfAGivenBatch(self):
    layers = kfac.LayerCollection()
    x = tf.placeholder(tf.float32, [None, 4])
    perceptron(layers, x)
    layers.auto_register_layers(batch_size=3)
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      counts = session.run(
          [block._num_positions for block in layers.get_blocks()],
          {x: [[0.] * 4] * 12})
    self.assertEqual([4, 4], counts)


class TowersTest(parameterized.TestCase, case.AutomaticCase):

  def _losses(self, layers, outputs):
    for tower in outputs:
      layers.register_categorical_predictive_distribution(
          tower, name="loss", reuse=tf.AUTO_REUSE)

  def testTowersOfLosses(self):
    def build(layers):
      towers = []
      for _ in range(2):
        with tf.variable_scope("model", reuse=tf.AUTO_REUSE):
          x = data(BATCH, 4)
          h = tf.tanh(x @ var("v", 4, 4) + var("b", 4))
          h = tf.tanh(h @ var("v", 4, 4) + var("b", 4))
          h = h * var("g", 4) + var("s", 4)
          h = h @ var("w", 4, 3) + var("c", 3)
        towers.append(h)
      self._losses(layers, towers)
    self.check(Case("reused", build, (
        "v b: dense 2", "g s: scale and shift 1", "w c: dense 1")))
    layers = kfac.LayerCollection()
    build(layers)
    layers.auto_register_layers()
    self.assertEqual([2] * 3, [block.num_registered_towers
                               for block in layers.get_blocks()])

  def testWhatTowersShare(self):
    def build(layers):
      h = tf.tanh(data(2 * BATCH, 4) @ var("v", 4, 4) + var("b", 4))
      w = var("w", 4, 3)
      self._losses(layers, [part @ w for part in tf.split(h, 2)])
    self.check(Case("trunk", build, ("v b: dense 1", "w: dense 1")))
    layers = kfac.LayerCollection()
    build(layers)
    layers.auto_register_layers()
    trunk, outputs = layers.get_blocks()
    self.assertEqual((1, 1), (trunk.num_registered_towers,
                              trunk._num_positions))
    self.assertEqual(2, outputs.num_registered_towers)

  def testUnequalTowers(self):
    def build(layers):
      v = var("v", 4, 4)
      x = [data(BATCH, 4), data(BATCH, 4)]
      w = var("w", 4, 3)
      self._losses(layers, [tf.tanh(x[0] @ v) @ w, tf.tanh(
          tf.tanh(x[1] @ v) @ v) @ w])
    self.check(Case("unequal", build, ("v: generic", "w: dense 1"), {
        "v": "has uses in several towers, but not the same in each"}))

  def testTwoLosses(self):
    def build(layers):
      h = tf.tanh(data(BATCH, 4) @ var("v", 4, 4) + var("b", 4))
      head(layers, h @ var("w", 4, 3))
      layers.register_normal_predictive_distribution(h @ var("u", 4, 1))
    self.check(Case("heads", build, (
        "v b: dense 1", "w: dense 1", "u: dense 1")))

  def testSiameseNet(self):
    def build(layers):
      v, b = var("v", 4, 4), var("b", 4)
      one, other = (tf.tanh(data(BATCH, 4) @ v + b) for _ in range(2))
      dense(layers, one * other)
    self.check(Case("pair", build, ("v b: dense 2", "w: dense 1")))


def build_once():
  """Returns the report of a model, and names of factors, variables and ops."""
  with tf.Graph().as_default() as graph:
    layers = kfac.LayerCollection()
    x = data(BATCH, 3, 4)
    h = tf.tanh(tf.tensordot(x, var("u", 4, 4), 1) * var("g", 4) + var("s", 4))
    # Scales that meet, and a bias behind two layers.
    h = h * var("h", 4) + tf.tanh(h) * var("k", 4) + var("e", 4)
    h = tf.reduce_sum(h, 1)
    perceptron(layers, h @ var("a", 4, 4) + h @ var("d", 4, 4) + var("z", 4))
    report = layers.auto_register_layers()
    optimizer = kfac.KfacOptimizer(0.1, 0.9, 0.1, layers)
    optimizer.minimize(layers.total_sampled_loss())
    return [str(report), [factor.name for factor in layers.get_factors()],
            [variable.name for variable in tf.global_variables()],
            [op.name for op in graph.get_operations()]]


class DeterminismTest(case.AutomaticCase):

  def testSameGraphSameNames(self):
    self.assertEqual(build_once(), build_once())

  def testEveryProcessHasThem(self):
    program = ("from kfac.python.kernel_tests.layer_collection import "
               "automatic_test as test; print(test.build_once())")
    processes = [subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True,
        # What orders Python's sets of strings.
        env={**os.environ, "PYTHONHASHSEED": hash_seed,
             "PYTHONPATH": os.pathsep.join(sys.path)}) for hash_seed in "12"]
    outputs = [process.communicate()[0] for process in processes]
    self.assertEqual([0, 0], [process.returncode for process in processes])
    self.assertIn("u:0 ", outputs[0])
    self.assertEqual(*outputs)


if __name__ == "__main__":
  tf.test.main()
