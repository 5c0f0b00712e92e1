"""Tests of gradient_check: registrations that are right, and wrong ones."""

import tensorflow.compat.v1 as tf
from absl.testing import parameterized

import kfac
from kfac.python.kernel_tests.layer_collection import automatic_case as case

BATCH = case.BATCH
data, var = case.data, case.var


class Model:
  """A net whose layers can be registered in wrong ways."""

  def __init__(self):
    """Builds the net: a layer of two uses, a scale, and an output layer."""
    self.layers = kfac.LayerCollection()
    self.v, self.w, self.g = var("v", 4, 4), var("w", 4, 4), var("g", 4)
    x = data(BATCH, 4)
    self.inputs = [x, None]
    self.outputs = [x @ self.v]
    self.inputs[1] = tf.tanh(self.outputs[0])
    self.outputs.append(self.inputs[1] @ self.v)
    self.scaled = tf.tanh(self.outputs[1])
    self.product = self.scaled * self.g
    self.hidden = tf.tanh(self.product)
    self.result = self.hidden @ self.w
    case.head(self.layers, self.result)

  def dense(self, inputs, outputs):
    """Registers w."""
    self.layers.register_fully_connected(self.w, inputs, outputs)

  def multi(self, inputs, outputs):
    """Registers v."""
    self.layers.register_fully_connected_multi(self.v, inputs, outputs)

  def scale(self, inputs, outputs):
    """Registers g."""
    self.layers.register_scale_and_shift(self.g, inputs, outputs)


RIGHT = {
    "dense": lambda m: m.dense(m.hidden, m.result),
    "uses": lambda m: m.multi(m.inputs, m.outputs),
    "uses_in_any_order": lambda m: m.multi(m.inputs[::-1], m.outputs[::-1]),
    "scale": lambda m: m.scale(m.scaled, m.product),
}
WRONG = {
    "other_inputs": lambda m: m.dense(m.scaled, m.result),
    "swapped": lambda m: m.multi(m.inputs[::-1], m.outputs),
    "doubled": lambda m: m.multi(m.inputs + m.inputs[:1],
                                 m.outputs + m.outputs[:1]),
    "missing": lambda m: m.multi(m.inputs[1:], m.outputs[1:]),
    "transposed": lambda m: m.layers.register_fully_connected(
        m.w, m.hidden, m.result,
        view=kfac.fisher_blocks.views.View(axes=(1, 0))),
    "output_after_nonlinearity": lambda m: m.multi(
        m.inputs, [m.outputs[0], m.scaled]),
    "scale_of_other_inputs": lambda m: m.scale(m.hidden, m.product),
    "scale_as_shift": lambda m: m.scale(None, m.product),
}


class GradientCheckTest(parameterized.TestCase, tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self.enter_context(tf.Graph().as_default())
    tf.set_random_seed(1)

  def _values(self, table, **arguments):
    checks = {}
    for name, register in table.items():
      with tf.variable_scope(name):
        model = Model()
      register(model)
      checks[name], = model.layers.gradient_check(**arguments).values()
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      return session.run(checks)

  def testRightRegistrations(self):
    for name, value in self._values(RIGHT).items():
      self.assertLess(value, 1e-5, name)

  def testWrongRegistrations(self):
    for name, value in self._values(WRONG).items():
      self.assertGreater(value, 0.05, name)

  def testAnyLoss(self):
    model = Model()
    for register in (RIGHT["dense"], RIGHT["uses"]):
      register(model)
    loss = tf.reduce_sum(tf.square(model.result))
    other = tf.reduce_sum(model.scaled)
    checks = [model.layers.gradient_check(value) for value in (loss, other)]
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      values = session.run(checks)
    self.assertEqual([{"v", "w"}] * 2, [set(value) for value in values])
    # The second one does not depend on w.
    self.assertEqual(0., values[1]["w"])
    self.assertAllLess([*values[0].values(), *values[1].values()], 1e-5)

  def testUsesInOneTensor(self):
    inputs, v = data(2 * BATCH, 4), var("v", 4, 4)
    outputs = inputs @ v
    parts = tf.split(outputs, 2)
    checks = []
    for registered in ((inputs, parts), (tf.split(inputs, 2), outputs),
                       (inputs, outputs), (tf.split(inputs, 2), parts)):
      layers = kfac.LayerCollection()
      case.head(layers, tf.tanh(parts[0]) * parts[1])
      layers.register_fully_connected_multi(v, *registered, num_uses=2)
      checks.append(layers.gradient_check())
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      for values in session.run(checks):
        self.assertLess(values["v"], 1e-5)

  def testPartitionedTable(self):
    layers = kfac.LayerCollection()
    ids = case.ids(9, BATCH)
    table = tf.get_variable("t", [9, 4],
                            partitioner=tf.fixed_size_partitioner(2))
    outputs = tf.nn.embedding_lookup(table, ids)
    case.head(layers, outputs)
    layers.register_embedding(table, ids, outputs)
    checks = layers.gradient_check()
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      value, = session.run(checks).values()
    self.assertLess(value, 1e-5)

  def testGenericLayersHaveNoInputs(self):
    model = Model()
    model.layers.register_generic(model.w, BATCH)
    self.assertEmpty(model.layers.gradient_check())

  def testErrors(self):
    with self.assertRaisesRegex(
        ValueError, "^at least one loss must be registered before "
        "gradient_check, got none.$"):
      kfac.LayerCollection().gradient_check()
    model = Model()
    for loss in (model.result, 3., "loss"):
      with self.assertRaisesRegex(
          ValueError, "^loss must be a scalar tensor, got "):
        model.layers.gradient_check(loss)


class EarlyErrorsTest(tf.test.TestCase):
  """Registrations that an optimizer refuses or warns about."""

  def setUp(self):
    super().setUp()
    self.enter_context(tf.Graph().as_default())
    self._model = Model()
    self._model.multi(self._model.inputs, self._model.outputs)
    self._model.scale(self._model.scaled, self._model.product)
    self._layers = self._model.layers

  def _check(self):
    self._layers.create_subgraph()
    self._layers.check_registration(tf.trainable_variables())

  def testOutputThatLossesDoNotDependOn(self):
    copy = tf.reshape(self._model.result, [BATCH, 4])
    self._model.dense(self._model.hidden, copy)
    with self.assertRaisesRegex(
        ValueError, f"^outputs must be tensors that the losses depend on, got "
        f"{copy.name} of w, which may be a copy or reshape of what the model "
        "uses.$"):
      self._check()

  def testOutputAfterTheNonlinearity(self):
    layers = kfac.LayerCollection()
    case.head(layers, self._model.result)
    layers.register_fully_connected(
        self._model.w, self._model.hidden, self._model.result)
    layers.register_scale_and_shift(
        self._model.g, self._model.scaled, self._model.hidden)
    layers.register_fully_connected_multi(
        self._model.v, self._model.inputs, self._model.outputs)
    layers.create_subgraph()
    with self.assertLogs(level="WARNING") as logs:
      layers.check_registration(tf.trainable_variables())
    self.assertLen(logs.output, 1)
    self.assertRegex(
        logs.output[0], "outputs should be those before any nonlinearity, got "
        r"\S+ of g; LayerCollection.gradient_check says whether they are right")

  def testUnregisteredVariables(self):
    with self.assertRaisesRegex(
        ValueError, r"w:0 is not registered \(auto_register_layers finds "
        r"layers, register_generic takes any\)"):
      self._check()
    var("u", 3)
    with self.assertRaisesRegex(
        ValueError, r"w:0, u:0 are not registered \("):
      self._check()


if __name__ == "__main__":
  tf.test.main()
