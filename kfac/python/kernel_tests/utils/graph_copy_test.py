"""Tests of copies of a part of a graph."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.utils import graph_kinds as kinds
from kfac.python.ops.utils import graph_copy

_RNG = np.random.RandomState(1)
_X = _RNG.randn(6, 3).astype(np.float32)
_W = _RNG.randn(3, 3).astype(np.float32)
_STEP = _RNG.randn(3, 3).astype(np.float32)
_ROWS = [4, 0, 5]


def _batch():
  return tf.placeholder(tf.float32, [None, 3])


def _variable(name="w", value=_W):
  return tf.get_variable(name, initializer=value)


def _layer(x, w):
  return tf.tanh(tf.matmul(x, w))


def _mean_square(x):
  return tf.reduce_mean(tf.square(x))


class _Test(tf.test.TestCase):

  def _run(self, fetches, x=None):
    """Runs fetches once, after the variables' initialization."""
    with tf.Session() as session:
      session.run(tf.global_variables_initializer())
      return session.run(fetches, x)

  def _check_refused(self, message, *args, **kwargs):
    with self.assertRaisesRegex(graph_copy.NotCopyable, message):
      graph_copy.copy(*args, **kwargs)


class CopyAfterAStepTest(_Test):
  """Copies with the variables read again."""

  def _after_step(self, output, w):
    with tf.control_dependencies([tf.assign_add(w, _STEP)]):
      return graph_copy.copy([output], variables=[w])[0]

  def testLossAfterAStepEqualsThatOfARebuiltModel(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        x, w = _batch(), _variable()
        bias = tf.get_variable("b", initializer=[1., 2., 3.])
        loss = _mean_square(_layer(x, w) + bias) + .1 * tf.nn.l2_loss(w)
        after = self._after_step(loss, w)
        new = w.initial_value + _STEP
        rebuilt = (_mean_square(_layer(x, new) + bias)
                   + .1 * tf.nn.l2_loss(new))
        # A value read of a reference variable may change with it.
        with tf.control_dependencies([loss]):
          before = tf.identity(loss)
        values = self._run([after, rebuilt, before], {x: _X})
        self.assertAllClose(*values[:2], rtol=1e-6)
        self.assertEqual([], after.shape)

  def testDropoutKeepsItsMask(self):
    # The mask has the shape of what is computed from the variable.
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        x, w = _batch(), _variable()
        hidden = _layer(x, w)
        dropped = tf.nn.dropout(hidden, rate=.5)
        after = self._after_step(_mean_square(dropped), w)
        new = tf.tanh(tf.matmul(x, _W + _STEP))
        random, = [op.outputs[0] for op in tf.get_default_graph(
            ).get_operations() if op.type == "RandomUniform"]
        rebuilt = _mean_square(tf.where(
            random >= .5, 2. * new, tf.zeros_like(new)))
        for _ in range(2):
          self.assertAllClose(*self._run([after, rebuilt], {x: _X}), rtol=1e-6)

  def testBatchNormalizationByMoments(self):
    with kinds.new_graph(use_resource=True):
      x, w = _batch(), _variable()

      def loss(w):
        mean, variance = tf.nn.moments(tf.matmul(x, w), [0])
        return _mean_square(tf.tanh(tf.nn.batch_normalization(
            tf.matmul(x, w), mean, variance, 1., 2., 1e-3)))

      after = self._after_step(loss(w), w)
      self.assertAllClose(
          *self._run([after, loss(_W + _STEP)], {x: _X}), rtol=1e-6)

  def testEmbeddingsAreLookedUpAfterTheStep(self):
    # The op of the lookup reads the variable itself.
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = _variable()
        ids = tf.placeholder(tf.int32, [None])
        loss = _mean_square(tf.nn.embedding_lookup(w, ids))
        for _ in range(5):  # A race would be lost at least once.
          after = self._after_step(loss, w)
          expected = np.mean(np.square((_W + _STEP)[[2, 1, 2]]))
          self.assertAllClose(
              expected, self._run(after, {ids: [2, 1, 2]}), rtol=1e-6)

  def testARunDrawsOneBatch(self):
    with kinds.new_graph(use_resource=True):
      w = _variable()
      x = tf.data.make_one_shot_iterator(
          tf.data.Dataset.from_tensor_slices(_X).batch(2)).get_next()
      loss = tf.reduce_sum(tf.matmul(x, w))
      after = self._after_step(loss, w)
      with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in (1, 2, 3):
          rows = _X[2 * step - 2:2 * step]
          self.assertAllClose(
              np.sum(rows @ (_W + step * _STEP)), session.run(after),
              rtol=1e-5)

  def testKerasLayer(self):
    with kinds.new_graph(use_resource=True):
      x = _batch()
      layer = tf.keras.layers.Dense(3, activation="tanh")
      loss = _mean_square(layer(x))
      variables = tf.trainable_variables()
      with tf.control_dependencies([tf.assign(variables[0], _W + _STEP)]):
        after, = graph_copy.copy([loss], variables=variables)
      self.assertAllClose(
          *self._run([after, _mean_square(_layer(x, _W + _STEP))], {x: _X}),
          rtol=1e-6)

  def testInABranch(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        x, w = _batch(), _variable()
        taken = tf.placeholder(tf.bool, [])
        with tf.control_dependencies([tf.assert_greater(x, -100.)]):
          hidden = tf.nn.dropout(_layer(x, w), rate=.5)
        sliced = tf.concat([hidden, hidden[:, :2], x], axis=1)
        rows = tf.nn.embedding_lookup(w, [1, 2])
        loss = _mean_square(sliced) + _mean_square(rows)
        shapes = []

        def branch(sliced=sliced, loss=loss, w=w, shapes=shapes):
          copies = graph_copy.copy([sliced, loss], variables=[w])
          shapes.append(copies[0].shape.as_list())
          return copies[1]

        with tf.control_dependencies([tf.assign_add(w, _STEP)]):
          after = tf.cond(
              taken, lambda branch=branch, taken=taken: tf.cond(
                  taken, branch, lambda: tf.constant(-2.)),
              lambda: tf.constant(-1.))
        random, = [op.outputs[0] for op in tf.get_default_graph(
            ).get_operations() if op.type == "RandomUniform"]
        new = tf.tanh(tf.matmul(x, _W + _STEP))
        new = tf.where(random >= .5, 2. * new, tf.zeros_like(new))
        rebuilt = (_mean_square(tf.concat([new, new[:, :2], x], axis=1))
                   + _mean_square((_W + _STEP)[1:]))
        self.assertEqual([[None, 8]], shapes[:1], kind)
        self.assertAllClose(*self._run(
            [after, rebuilt], {x: _X, taken: True}), rtol=1e-6, msg=kind)
        self.assertEqual(-1., self._run(after, {x: _X, taken: False}), kind)

  def testOnlyWhatDependsOnTheVariablesIsCopied(self):
    with kinds.new_graph(use_resource=True):
      x, w, other = _batch(), _variable(), _variable("other")
      first = _layer(x, other)
      size = tf.cast(tf.shape(tf.matmul(first, w))[0], tf.float32)
      loss = _mean_square(_layer(_layer(first, w), w)) * size
      before = len(tf.get_default_graph().get_operations())
      graph_copy.copy([loss], variables=[w])
      types = sorted(op.type for op in tf.get_default_graph(
          ).get_operations()[before:])
      # One read serves all uses; read_value makes the Identity.
      self.assertEqual(
          ["Identity", "MatMul", "MatMul", "Mean", "Mul", "ReadVariableOp",
           "Square", "Tanh", "Tanh"], types)

  def testOutputsThatAreReadsOrUnchanged(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        x, w = _batch(), _variable()
        value, y = tf.convert_to_tensor(w), 2. * x
        with tf.control_dependencies([tf.assign_add(w, _STEP)]):
          new, same, shape = graph_copy.copy(
              [value, y, tf.shape(_layer(x, w))], variables=[w])
        self.assertIs(y, same)
        self.assertAllClose(_W + _STEP, self._run(new))
        self.assertEqual([], shape.op.control_inputs)

  def testHandlesThatArePassedOn(self):
    with kinds.new_graph(use_resource=True):
      w = _variable()
      value = tf.raw_ops.ReadVariableOp(
          resource=tf.identity(w.handle), dtype=tf.float32)
      with tf.control_dependencies([tf.assign_add(w, _STEP)]):
        after, = graph_copy.copy([2. * value], variables=[w])
      self.assertAllClose(2. * (_W + _STEP), self._run(after))

  def testPropertiesOfVariablesStay(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = _variable()
        outputs = [tf.is_variable_initialized(w)]
        if use_resource:
          outputs.append(tf.raw_ops.VariableShape(input=w.handle))
        for output, copied in zip(outputs, graph_copy.copy(
            outputs, variables=[w]), strict=True):
          self.assertIs(output, copied)

  def testPrintedOnce(self):
    with kinds.new_graph():
      x, w = _batch(), _variable()
      printed = tf.Print(tf.Print(tf.matmul(x, w), [x]), [x])
      tf.no_op("last")
      after, outer = graph_copy.copy([tf.tanh(printed), printed],
                                     variables=[w])
      new = tf.get_default_graph().get_operations()
      self.assertNotIn("Print", [
          op.type for op in new[[op.name for op in new].index("last"):]])
      self.assertAllClose(np.tanh(_X @ _W), self._run(after, {x: _X}))
      self.assertAllClose(_X @ _W, self._run(outer, {x: _X}))


class CopyOfAPartOfABatchTest(_Test):
  """Copies with the batch replaced by some of its rows."""

  def _check_part(self, model, shape=(None, 3)):
    """Compares a copied model with a rebuilt one, and their gradients."""
    x = tf.placeholder(tf.float32, shape)
    w = _variable()
    hidden, loss = model(x, w)
    rows = tf.gather(x, tf.placeholder_with_default(_ROWS, [None]))
    copies = graph_copy.copy([hidden, loss], {x: rows})
    rebuilt = model(rows, w)
    results = [values + tf.gradients(values[1], [w, values[0]])
               for values in (list(copies), list(rebuilt))]
    for value, expected in zip(*self._run(results, {x: _X}), strict=True):
      self.assertAllClose(expected, value, rtol=1e-6, atol=1e-7)
    self.assertEqual(rebuilt[0].shape.as_list(), copies[0].shape.as_list())

  def testDenseLayersAndGradients(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):

        def model(x, w):
          hidden = _layer(tf.reshape(x, [-1, 3]), w)
          loss = tf.reduce_sum(tf.square(_layer(hidden, w)))
          size = tf.cast(tf.shape(hidden)[0], tf.float32)
          return hidden, loss / size + tf.nn.l2_loss(w)

        self._check_part(model)

  def testStaticBatchSize(self):
    with kinds.new_graph():

      def model(x, w):
        hidden = _layer(tf.reshape(x, [-1, 3]), w)
        return hidden, _mean_square(_layer(hidden, w))

      self._check_part(model, [6, 3])

  def testCustomGradients(self):
    # The function of a tf.custom_gradient holds the tensors of the original.
    @tf.custom_gradient
    def cubed(x):
      def gradient(dy):
        return 5. * dy * x * tf.cast(tf.shape(x)[0], tf.float32)
      return x ** 3, gradient

    @tf.custom_gradient
    def three(x, y):
      def gradient(da, unused_db, unused_dc):
        return da * y, da * x
      return (2. * x, 3. * y, tf.cast(x, tf.int32)), gradient

    def model(x, w):
      hidden = _layer(x, w)
      y = tf.nn.swish(cubed(tf.stop_gradient(hidden) + 2. * hidden))
      return hidden, _mean_square(three(y, cubed(y))[0])

    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        self._check_part(model)

  def testCustomGradientsAfterAStep(self):
    with kinds.new_graph(use_resource=True):
      x, w = _batch(), _variable()
      y = tf.matmul(x, w)
      with tf.control_dependencies([tf.assign_add(w, _STEP)]):
        z, = graph_copy.copy([_mean_square(tf.nn.swish(y))], variables=[w])
      gradient, = tf.gradients(z, x)
      expected, = tf.gradients(
          _mean_square(tf.nn.swish(tf.matmul(x, _W + _STEP))), x)
      self.assertAllClose(*self._run([gradient, expected], {x: _X}),
                          rtol=1e-5)

  def testCustomGradientsThatHoldAReadOfAVariable(self):
    with kinds.new_graph(use_resource=True):
      # With a static shape, nothing but the value that is held needs the step.
      x, w = tf.placeholder(tf.float32, [6, 3]), _variable()
      value = tf.convert_to_tensor(w)

      @tf.custom_gradient
      def scaled(x):
        def gradient(dy, variables):
          return dy * value[1], [tf.zeros_like(v) for v in variables]
        return x * value[0], gradient

      y = scaled(x)
      with tf.control_dependencies([tf.assign_add(w, _STEP)]):
        copied, = graph_copy.copy([y], variables=[w])
      self.assertAllClose(np.tile((_W + _STEP)[1], [6, 1]), self._run(
          tf.gradients(copied, x)[0], {x: _X}))

  def testOverriddenGradients(self):
    tf.RegisterGradient("GraphCopyTestSeven")(lambda op, dy: 7. * dy)
    with kinds.new_graph():
      x = _batch()
      with tf.get_default_graph().gradient_override_map(
          {"Tanh": "GraphCopyTestSeven"}):
        y = tf.tanh(x)
      rows = x[:2]
      gradient, = tf.gradients(graph_copy.copy([y], {x: rows}), rows)
      self.assertAllClose(7. * np.ones([2, 3]), self._run(gradient, {x: _X}))

  def testLookups(self):
    for use_resource in (False, True):
      with kinds.new_graph(use_resource=use_resource):
        w = _variable()
        ids = tf.placeholder(tf.int64, [None])
        table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(
                np.array([0, 1, 2]), np.array([2, 0, 1])), 0)

        def model(ids, w=w, table=table):
          return tf.check_numerics(
              tf.nn.embedding_lookup(w, ids)
              + tf.gather_nd(w, table.lookup(ids)[:, tf.newaxis]), "bad")

        rows = ids[:2]
        copied, = graph_copy.copy([model(ids)], {ids: rows})
        results = [[y, tf.convert_to_tensor(tf.gradients(y, w)[0])]
                   for y in (copied, model(rows))]
        with tf.Session() as session:
          session.run([tf.global_variables_initializer(),
                       tf.tables_initializer()])
          for value, expected in zip(*session.run(
              results, {ids: [1, 2, 0]}), strict=True):
            self.assertAllClose(expected, value)

  def testReplacedOutputsAndIntermediateTensors(self):
    with kinds.new_graph():
      x, w = _batch(), _variable()
      hidden = _layer(x, w)
      y, z = tf.exp(hidden), tf.sin(x)
      new = tf.ones([2, 3])
      copied, replacement, same, other = graph_copy.copy(
          [y, hidden, x, z], {hidden: new})
      self.assertIs(new, replacement)
      self.assertIs(x, same)
      self.assertIs(z, other)
      self.assertEqual([2, 3], copied.shape)
      self.assertAllClose(np.exp(np.ones([2, 3])), self._run(copied))

  def testStatesOfTheVariablesAreThoseOfTheOriginal(self):
    with kinds.new_graph(use_resource=True):
      x, w = _batch(), _variable()
      y = tf.matmul(x, w)
      read = y.op.inputs[1]
      copied, = graph_copy.copy([y], {x: x[:2]})
      self.assertIs(read, copied.op.inputs[1])

  def testFixedBatchSizesAreRefused(self):
    with kinds.new_graph():
      x = tf.placeholder(tf.float32, [6, 3])
      y = tf.add(tf.tanh(x), np.ones([6, 3], np.float32), name="scope/sum")
      self._check_refused(
          r"^scope/sum \(AddV2\) cannot be copied: the graph holds a fixed "
          "batch size, or the replacements have wrong shapes: Dimensions must "
          r"be equal.*[^.]\.$", [y], {x: x[:2]})

  def testDtypesMustAgree(self):
    with kinds.new_graph():
      x = tf.placeholder(tf.float32, [6, 3], name="x")
      with self.assertRaisesRegex(
          ValueError, "^replaced must keep the dtype float32 of x:0, got "
          "int32.$"):
        graph_copy.copy([tf.exp(x)], {x: tf.constant([1])})


class CopyOfAttributesTest(_Test):
  """What copies share with their originals."""

  def testControlInputs(self):
    for kind in kinds.all_kinds():
      with kinds.new_graph(**kind):
        x, count = _batch(), tf.get_variable("count", initializer=0.)
        update = tf.assign_add(count, 1.)
        with tf.control_dependencies([tf.group(update)]):
          y = tf.tanh(x, name="y")
        with tf.control_dependencies([y]):
          z = tf.exp(x)
        copied, = graph_copy.copy([z + y], {x: 2. * x})
        inner = copied.op.inputs[0].op.control_inputs
        self.assertIn(copied.op.inputs[1].op, inner)
        self.assertNotIn(y.op, inner)
        branch = tf.cond(tf.placeholder_with_default(True, []),
                         lambda x=x, y=y: graph_copy.copy([y], {x: 2. * x})[0],
                         lambda x=x: x)
        for fetch in (copied, branch):
          with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            session.run(fetch, {x: _X})
            self.assertEqual(1., session.run(count), kind)

  def testDevicesStayAndColocationGoes(self):
    with kinds.new_graph():
      x = _batch()
      with tf.device("/cpu:0"), tf.colocate_with(x):
        y = tf.tanh(x)
      with tf.device("/cpu:0"):
        z = tf.exp(y)
      copies = graph_copy.copy([y, z], {x: x[:2]})
      self.assertEqual(z.op.device, copies[1].op.device)
      self.assertNotIn("_class", copies[0].op.node_def.attr)

  def testLongGraphs(self):
    with kinds.new_graph():
      x = y = _batch()
      for _ in range(1500):  # More than Python's recursion limit.
        y = tf.tanh(y)
      copied, = graph_copy.copy([y], {x: tf.identity(x)})
      self.assertIsNot(y, copied)
      self.assertAllEqual(*self._run([copied, y], {x: _X}))

  def testScopesOfCopies(self):
    with kinds.new_graph():
      x = _batch()
      y = tf.tanh(x, name="y")
      names = [graph_copy.copy([y], {x: -x}, **name)[0].op.name
               for name in ({}, {}, {"name": "part"})]
      self.assertEqual(["copy/y", "copy_1/y", "part/y"], names)


class NotCopyableTest(_Test):

  def testControlFlowIsRefused(self):
    for v2, loop, branch in (
        (False, r"\(Exit\) cannot be copied: it belongs to a loop of control "
         "flow v1.$",
         r"\(Merge\) cannot be copied: it belongs to a tf.cond or a loop of "
         "control flow v1.$"),
        (True, r"\((Stateless)?While\) cannot be copied: it calls a function, "
         "a branch or a loop of control flow v2.$",
         r"\((Stateless)?If\) cannot be copied: it calls a function")):
      with kinds.new_graph(control_flow_v2=v2):
        x, w = _batch(), _variable()
        value = tf.convert_to_tensor(w)
        y = tf.while_loop(lambda y: tf.reduce_sum(y) < 0.,
                          lambda y, value=value: tf.matmul(y, value), [x])
        z = tf.cond(tf.reduce_sum(value) > 0., lambda x=x: 2. * x,
                    lambda x=x: x)
        for kwargs in ({"replaced": {x: -x}}, {"variables": [w]}):
          self._check_refused(loop, [tf.exp(y)], **kwargs)
          self._check_refused(branch, [tf.exp(z)], **kwargs)
        # What is not between is not copied.
        u = _batch()
        copied, = graph_copy.copy([u + y + z], {u: -u})
        self.assertAllEqual(*self._run(
            [copied, y + z - u], {x: np.ones([2, 3]), u: np.ones([2, 3])}))

  def testRandomNumbersAreRefused(self):
    with kinds.new_graph():
      x, w = _batch(), _variable()
      y = tf.matmul(x, w)
      sample = tf.multinomial(y, 1, name="sample")
      message = (r"^sample/Multinomial \(Multinomial\) cannot be copied: it "
                 "would draw other random numbers.$")
      self._check_refused(message, [sample], {x: -x})
      self._check_refused(message, [sample + 1], variables=[w])
      dropped = tf.nn.dropout(y, rate=.5)
      self._check_refused(r"\(RandomUniform\)", [dropped], {x: x[:2]})
      # The shape of what is refused suffices.
      size = tf.cast(tf.size(sample), tf.float32) * w
      graph_copy.copy([size], variables=[w])

  def testOtherOpsAreRefused(self):
    message = {
        "EagerPyFunc": "it calls Python, which may do something else the "
                       "second time.$",
        "PlaceholderWithDefault": "its value may be fed, which a copy would "
                                  "not see.$",
        "PyFunc": "it calls Python",
        "PyFuncStateless": "it calls Python",
        "TensorArrayV3": "it has a state and may give something else the "
                         "second time.$",
    }
    with kinds.new_graph():
      x = _batch()
      for y in (
          tf.py_function(np.negative, [x], tf.float32),
          tf.placeholder_with_default(x, [None, 3]),
          tf.py_func(np.negative, [x], tf.float32),
          tf.py_func(np.negative, [x], tf.float32, stateful=False),
          tf.raw_ops.TensorArrayV3(size=tf.shape(x)[0], dtype=tf.float32)[1]):
        self._check_refused(
            rf"\({y.op.type}\) cannot be copied: {message[y.op.type]}", [y],
            {x: -x})

  def testChangesOfVariablesAreRefused(self):
    with kinds.new_graph(use_resource=False):
      x, w = _batch(), _variable()
      y = tf.matmul(x, tf.assign_add(w, _STEP))
      message = r"\(AssignAdd\) cannot be copied: it may change a variable.$"
      self._check_refused(message, [y], variables=[w])


class BatchTensorsTest(_Test):

  def testSourcesOfData(self):
    with kinds.new_graph(use_resource=True):
      unused, x = _batch(), _batch()
      rate = tf.placeholder(tf.float32, [])
      labels = tf.placeholder(tf.int32)
      words = tf.placeholder_with_default(["a"], [None])
      pair = tf.data.make_one_shot_iterator(
          tf.data.Dataset.from_tensors((_X, _X, _X))).get_next()
      queue = tf.FIFOQueue(3, [tf.float32, tf.bool], [[3], []])
      queued = queue.dequeue_many(2)
      lengths = tf.cast(tf.strings.length(words), tf.float32)
      outputs = [queued[0] * lengths * rate,
                 tf.matmul(pair[2], _variable()), _layer(x, pair[0][:3]),
                 tf.cast(labels, tf.float32) + unused[0, 0]]
      self.assertEqual(
          [x, labels, words, pair[0], pair[2], queued[0]],
          graph_copy.batch_tensors(outputs[:3] + [labels]))
      self.assertEqual([unused, labels], graph_copy.batch_tensors(outputs[3:]))
      self.assertEqual([x], graph_copy.batch_tensors([x]))
      self.assertEqual([], graph_copy.batch_tensors([tf.zeros([2])]))


class ExampleLossesTest(_Test):

  def _check(self, make_loss, rest=0., by_example=True):
    """Checks that a loss is a mean of the losses of examples, plus the rest.

    Args:
      make_loss: Function of a batch and a weight.
      rest: What does not depend on the batch.
      by_example: Whether the losses do not depend on the size of the batch.
    """
    with kinds.new_graph():
      x, w = _batch(), _variable()
      losses = graph_copy.example_losses(make_loss(x, w), [x])
      self.assertEqual(1, losses.shape.rank)
      loss = make_loss(x, w)
      values = self._run([losses, loss], {x: _X})
      self.assertLen(values[0], 6)
      self.assertAllClose(np.mean(values[0]), values[1] - rest, rtol=1e-5)
      if by_example:
        part, = graph_copy.copy([losses], {x: tf.gather(x, _ROWS)})
        self.assertAllClose(values[0][_ROWS], self._run(part, {x: _X}))

  def testTheTensorItself(self):
    with kinds.new_graph():
      x, w = _batch(), _variable()
      losses = tf.reduce_sum(_layer(x, w), axis=1)
      for loss in (tf.reduce_mean(losses),
                   tf.identity(tf.reduce_mean(losses)) + tf.nn.l2_loss(w)):
        self.assertIs(losses, graph_copy.example_losses(loss, [x]))

  def testMeansAndSums(self):
    self._check(lambda x, w: _mean_square(_layer(x, w)))
    self._check(lambda x, w: tf.squeeze(tf.reduce_mean(
        _layer(x, w), axis=[0, 1], keepdims=True)))
    self._check(lambda x, w: tf.reduce_mean(tf.reduce_sum(_layer(x, w))),
                by_example=False)
    self._check(lambda x, w: tf.reduce_sum(_layer(x, w)) / 6.,
                by_example=False)

  def testMeansOfTFLosses(self):
    # They divide a sum by the number of its summands.
    self._check(lambda x, w: tf.losses.absolute_difference(
        x, _layer(x, w), weights=2.))
    self._check(lambda x, w: tf.losses.absolute_difference(
        x, _layer(x, w), weights=[[1.], [0.], [2.], [1.], [3.], [1.]]),
                by_example=False)

  def testFactorsAndSigns(self):
    self._check(lambda x, w: .5 * -tf.reduce_mean(_layer(x, w)) / 3.)
    self._check(lambda x, w: tf.reshape(tf.math.divide_no_nan(
        tf.reduce_mean(_layer(x, w)), tf.constant([2.])), []))
    self._check(lambda x, w: 1. - tf.reduce_mean(_layer(x, w)), 1.)

  def testSeveralTerms(self):
    self._check(lambda x, w: tf.reduce_mean(_layer(x, w)) - 2. * _mean_square(
        x) + tf.add_n([.1 * tf.reduce_mean(x), tf.constant(3.)]), 3.)

  def testDtypes(self):
    self._check(lambda x, w: .25 * tf.cast(
        tf.reduce_mean(_layer(tf.cast(x, tf.float64), tf.cast(w, tf.float64))),
        tf.float32))

  def testNone(self):
    with kinds.new_graph():
      w = _variable()
      x = tf.placeholder(tf.float32, [6, 3])
      unknown = tf.placeholder(tf.float32)
      size = tf.placeholder(tf.float32, [])
      mean = tf.reduce_mean(x)
      axes = tf.reduce_mean(w, axis=tf.cast(x[0, :2], tf.int32))
      axes.set_shape([])
      for loss in (
          tf.nn.l2_loss(w), tf.nn.l2_loss(w) + tf.nn.l2_loss(x),
          tf.nn.l2_loss(x), tf.sqrt(mean), mean * mean, 1. / mean,
          mean / (1. + tf.reduce_sum(x)), tf.reduce_sum(x, axis=1),
          mean + tf.reduce_mean(tf.reshape(x, [3, 6])), size + mean,
          tf.reduce_mean(unknown), axes):
        self.assertIsNone(
            graph_copy.example_losses(loss, [x, unknown, size]), loss)
      # The first axis is not that of the batch.
      rows = tf.reduce_mean(tf.reshape(x, [18]))
      self.assertIsNone(graph_copy.example_losses(rows, [x]))


if __name__ == "__main__":
  tf.test.main()
