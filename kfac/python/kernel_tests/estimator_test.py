"""Tests of FisherEstimator: products with F, and when ops are built."""

import inspect
import re
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import graph_modes
from kfac.python.ops import estimator
from kfac.python.ops import fisher_blocks as fb
from kfac.python.ops import layer_collection as lc
from kfac.python.ops import utils

DAMPING = 0.2
VAR = 0.7


class _Net:
  """y = tanh(x w + b) v, with (w, b) a dense layer and v of unknown use."""

  def __init__(self, dtype=np.float64, use_resource=None):
    rng = np.random.RandomState(1)
    self.x, self.w, self.b, self.v, self.targets = [
        rng.randn(*shape).astype(dtype)
        for shape in ((6, 3), (3, 2), (2,), (2, 2), (6, 2))]
    self.layers = lc.LayerCollection()
    self.variables = [
        tf.get_variable(name, initializer=getattr(self, name),
                        use_resource=use_resource) for name in "wbv"]
    w, b, v = self.variables
    x = tf.constant(self.x)
    hidden = tf.matmul(x, w) + b
    self.layers.register_fully_connected((w, b), x, hidden)
    self.layers.register_generic(v, 6, approx="full")
    self.layers.register_normal_predictive_distribution(
        tf.matmul(tf.tanh(hidden), v), var=VAR, targets=self.targets)
    self.vectors = [rng.randn(*shape).astype(dtype)
                    for shape in ((3, 2), (2,), (2, 2))]

  def estimator(self, damping=DAMPING, **kwargs):
    kwargs.setdefault("estimation_mode", "empirical")
    return estimator.FisherEstimator(
        self.variables, 0., damping, self.layers, **kwargs)

  def pairs(self):
    return [(tf.constant(vector), variable) for vector, variable in zip(
        self.vectors, self.variables, strict=True)]

  def covariances(self):
    """Returns A and G of the dense layer, and C of v, on the targets."""
    ones = np.ones([6, 1])
    h = np.tanh(self.x @ self.w + self.b)
    by_y = (h @ self.v - self.targets) / VAR
    by_hidden = (by_y @ self.v.T) * (1 - h ** 2)
    by_v = np.ravel(h.T @ by_y)
    inputs = np.concatenate([self.x, ones], axis=1)
    return (inputs.T @ inputs / 6, by_hidden.T @ by_hidden / 6,
            np.outer(by_v, by_v) / 6)

  def damped(self, damping=DAMPING):
    """Returns A, G and C with damping added."""
    A, G, C = self.covariances()
    pi = np.sqrt(np.trace(A) / 4 / (np.trace(G) / 2))
    return (A + pi * np.sqrt(damping) * np.eye(4),
            G + np.sqrt(damping) / pi * np.eye(2), C + damping * np.eye(4))

  def product(self, function, damping=DAMPING):
    """Multiplies the vectors by a function of each dense block."""
    A, G, C = [function(matrix) for matrix in self.damped(damping)]
    w, b, v = self.vectors
    dense = np.kron(A, G) @ np.concatenate([w.ravel(), b])
    return [dense[:6].reshape(3, 2), dense[6:],
            (C @ v.ravel()).reshape(2, 2)]


def _power(exp):
  def power(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values ** exp) @ vectors.T
  return power


def _cholesky_inverse(matrix):
  return np.linalg.inv(np.linalg.cholesky(matrix))


def _update(sess, est):
  cov, inv = est.cov_update_op, est.inv_update_op
  sess.run(tf.global_variables_initializer())
  sess.run(cov)
  sess.run(inv)


def _values(sess, products):
  return sess.run([vector for vector, _ in products])


class ProductsTest(tf.test.TestCase):

  def testProductsEqualThoseOfDenseBlocks(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      est = net.estimator(exps=(-1, -0.5, 0.5), compute_cholesky=True,
                          compute_cholesky_inverse=True)
      _update(sess, est)
      pairs = net.pairs()
      cases = [
          (est.multiply(pairs), _power(1)),
          (est.multiply_matpower(1, pairs), _power(1)),
          (est.multiply_inverse(pairs), np.linalg.inv),
          (est.multiply_matpower(-1, pairs), np.linalg.inv),
          (est.multiply_matpower(-0.5, pairs), _power(-0.5)),
          (est.multiply_matpower(0.5, pairs), _power(0.5)),
          (est.multiply_cholesky(pairs), np.linalg.cholesky),
          (est.multiply_cholesky(pairs, transpose=True),
           lambda matrix: np.linalg.cholesky(matrix).T),
          (est.multiply_cholesky_inverse(pairs), _cholesky_inverse),
          (est.multiply_cholesky_inverse(pairs, transpose=True),
           lambda matrix: _cholesky_inverse(matrix).T),
      ]
      for products, function in cases:
        self.assertEqual([v for _, v in products], net.variables)
        for value, expected in zip(
            _values(sess, products), net.product(function), strict=True):
          self.assertAllClose(value, expected)

  def testEachKindOfVariableAndDtype(self):
    for dtype in (np.float32, np.float64):
      for use_resource in (False, True):
        with tf.Graph().as_default(), self.session() as sess:
          net = _Net(dtype, use_resource)
          est = net.estimator()
          _update(sess, est)
          for value, expected in zip(
              _values(sess, est.multiply_inverse(net.pairs())),
              net.product(np.linalg.inv), strict=True):
            self.assertEqual(value.dtype, dtype)
            self.assertAllClose(value, expected, rtol=1e-4, atol=1e-4)

  def testProductsThatWereNotRequestedRaise(self):
    with tf.Graph().as_default():
      net = _Net()
      est = net.estimator(exps=(-1, 0.5))
      est.make_vars_and_create_op_thunks()
      pairs = net.pairs()
      for exp in (2, -0.5):
        with self.assertRaisesRegex(
            ValueError, re.escape("exp must be 1 or one of exps (-1, 0.5), "
                                  f"got {exp!r}")):
          est.multiply_matpower(exp, pairs)
      for multiply, argument in (
          (est.multiply_cholesky, "compute_cholesky"),
          (est.multiply_cholesky_inverse, "compute_cholesky_inverse")):
        with self.assertRaisesRegex(
            ValueError, argument + " must be True, got False"):
          multiply(pairs)
      est = net.estimator(exps=())
      with self.assertRaisesRegex(ValueError, "one of exps .*, got -1"):
        est.multiply_inverse(pairs)

  def testOrderOfPairsIsKept(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      est = net.estimator()
      _update(sess, est)
      expected = net.product(np.linalg.inv)
      for order in ((2, 0, 1), (1, 2, 0)):
        pairs = [net.pairs()[i] for i in order]
        products = est.multiply_inverse(iter(pairs))
        self.assertEqual([v for _, v in products], [v for _, v in pairs])
        for value, i in zip(_values(sess, products), order, strict=True):
          self.assertAllClose(value, expected[i])

  def testEachRegisteredVariableIsNeededOnce(self):
    with tf.Graph().as_default():
      net = _Net()
      est = net.estimator()
      est.make_vars_and_create_op_thunks()
      pairs = net.pairs()
      foreign = tf.get_variable("foreign", [2])
      for bad in (pairs[:2], pairs + pairs[:1], [],
                  pairs + [(foreign, foreign)]):
        names = [variable.name for _, variable in bad]
        for multiply in (est.multiply_inverse, est.multiply):
          with self.assertRaisesRegex(ValueError, re.escape(
              "vecs_and_vars must have each registered variable once, got "
              f"{names}, "
              "registered are ['b:0', 'v:0', 'w:0'].")):
            multiply(bad)

  def testTransformationOfTheUser(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      est = net.estimator()
      seen = []

      def transform(block, vector):
        seen.append(block)
        return (tuple(2 * v for v in vector) if isinstance(vector, tuple)
                else 3 * vector)

      products = est._apply_transformation(net.pairs(), transform)
      self.assertEqual(seen, list(est.blocks))
      self.assertEqual([v for _, v in products], net.variables)
      for value, vector, scale in zip(
          _values(sess, products), net.vectors, (2, 2, 3), strict=True):
        self.assertAllClose(value, scale * vector)


class ArgumentsTest(tf.test.TestCase):

  def testDampingIsANumberTensorVariableOrFunction(self):
    with tf.Graph().as_default(), self.session() as sess:
      ways = {
          "number": DAMPING,
          "numpy": np.float32(DAMPING),
          "tensor": tf.constant(DAMPING),
          "tensor64": tf.constant(DAMPING, tf.float64),
          "ref": tf.get_variable("ref", initializer=DAMPING,
                                 use_resource=False),
          "resource": tf.get_variable("resource", initializer=DAMPING,
                                      use_resource=True),
      }
      ways["function"] = lambda: ways["tensor"]
      for name, damping in ways.items():
        with tf.variable_scope(name):
          net = _Net()
          est = net.estimator(damping, name="est")
          _update(sess, est)
          for value, expected in zip(
              _values(sess, est.multiply_inverse(net.pairs())),
              net.product(np.linalg.inv), strict=True):
            self.assertAllClose(value, expected, msg=name)

  def testVariableDampingReachesTheNextInverses(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      damping = tf.get_variable("damping", initializer=DAMPING)
      est = net.estimator(lambda: damping)
      _update(sess, est)
      products = [est.multiply_inverse(net.pairs()), est.multiply(net.pairs())]
      assign = tf.assign(damping, 3.)
      old = [_values(sess, product) for product in products]
      sess.run(assign)
      # Inverses are those of their last update; powers of 1 use current values.
      stale = _values(sess, products[0])
      fresh = _values(sess, products[1])
      sess.run(est.inv_update_op)
      new = _values(sess, products[0])
      inverse, identity = np.linalg.inv, _power(1)
      for i in range(3):
        self.assertAllClose(old[0][i], net.product(inverse)[i])
        self.assertAllClose(old[1][i], net.product(identity)[i])
        self.assertAllClose(stale[i], old[0][i])
        self.assertAllClose(fresh[i], net.product(identity, 3.)[i])
        self.assertAllClose(new[i], net.product(inverse, 3.)[i])

  def testDampingFunctionIsCalledOnce(self):
    with tf.Graph().as_default():
      net = _Net()
      function = mock.Mock(return_value=0.5)
      est = net.estimator(function)
      function.assert_not_called()
      est.cov_update_op, est.inv_update_op  # noqa: B018
      est.multiply(net.pairs())
      self.assertEqual(est.damping, 0.5)
      function.assert_called_once_with()

  def testDampingFn(self):
    with tf.Graph().as_default():
      net = _Net()
      est = estimator.FisherEstimator(
          damping_fn=lambda: 0.25, variables=net.variables, cov_ema_decay=0.9,
          layer_collection=net.layers)
      self.assertEqual(est.damping, 0.25)
      for kwargs in ({}, {"damping": 0.1, "damping_fn": lambda: 0.1}):
        with self.assertRaisesRegex(
            TypeError, "damping must be given, and once"):
          estimator.FisherEstimator(
              net.variables, 0.9, layer_collection=net.layers, **kwargs)
      with self.assertRaisesRegex(
          TypeError, "layer_collection must be given"):
        estimator.FisherEstimator(net.variables, 0.9, 0.1)

  def testSetDampingBeforeTheFactorsAreMade(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      est = net.estimator(7.)
      self.assertFalse(est.made_factors())
      est.set_damping(DAMPING)
      _update(sess, est)
      self.assertTrue(est.made_factors())
      value = _values(sess, est.multiply_inverse(net.pairs()))
      self.assertAllClose(value[2], net.product(np.linalg.inv)[2])
      with self.assertRaises(AssertionError):
        est.set_damping(1.)

  def testNumbersOutOfRange(self):
    with tf.Graph().as_default():
      net = _Net()
      for damping in (-0.1, np.inf, np.nan, np.float64(-1)):
        text = re.escape("damping must be finite and at least 0.0, got "
                         f"{damping!r}")
        with self.assertRaisesRegex(ValueError, text):
          net.estimator(damping)
        with self.assertRaisesRegex(ValueError, text):
          estimator.FisherEstimator(
              net.variables, 0.9, layer_collection=net.layers,
              damping_fn=damping)
        with self.assertRaisesRegex(ValueError, text):
          net.estimator(lambda: damping).make_vars_and_create_op_thunks()  # noqa: B023
      for decay in (-0.1, 1., 1, 1.5, np.nan, np.inf):
        with self.assertRaisesRegex(ValueError, re.escape(
            "cov_ema_decay must be finite and at least 0.0 and less than 1.0, "
            f"got {decay!r}")):
          estimator.FisherEstimator(net.variables, decay, 0.1, net.layers)
      net.estimator(0.)  # is allowed
      for mode in ("curvature_propagation", "Gradients", None):
        with self.assertRaisesRegex(ValueError, re.escape(
            "estimation_mode must be one of ['curvature_prop', "
            "'curvature_prop_GGN', 'empirical', 'exact', 'exact_GGN', "
            f"'gradients'], got {mode!r}")):
          net.estimator(estimation_mode=mode)

  def testDecayIsThatOfTheMovingAverage(self):
    for decay in (0.75, tf.constant):
      with tf.Graph().as_default(), self.session() as sess:
        net = _Net()
        value = decay(0.75) if callable(decay) else decay
        est = estimator.FisherEstimator(
            net.variables, value, 0.1, net.layers,
            estimation_mode="empirical")
        update, cov = est.cov_update_op, est.factors[2].get_cov()
        sess.run(tf.global_variables_initializer())
        sess.run(update)
        sess.run(net.variables[0].assign(net.w + 1.))
        first = net.covariances()[2]
        net.w = net.w + 1.
        second = net.covariances()[2]
        sess.run(update)
        # Weights 0.25 * 0.75 and 0.25, which add up to 1 - 0.75^2.
        self.assertAllClose(
            sess.run(cov), (0.75 * first + second) * 0.25 / (1 - 0.75 ** 2))

  def testVariablesAreAListOrAFunction(self):
    with tf.Graph().as_default():
      net = _Net()
      for variables in (net.variables, tuple(net.variables),
                        lambda: net.variables):
        est = estimator.FisherEstimator(variables, 0.9, 0.1, net.layers)
        self.assertEqual(est.variables, net.variables)

  def testMakeFisherEstimator(self):
    with tf.Graph().as_default():
      net = _Net()
      kwargs = dict(variables=net.variables, cov_ema_decay=0.9, damping=0.1,
                    layer_collection=net.layers)
      plain = estimator.make_fisher_estimator(**kwargs)
      self.assertIs(type(plain), estimator.FisherEstimator)
      round_robin = estimator.make_fisher_estimator(
          "round_robin", cov_devices=["/cpu:0"], name="mine", **kwargs)
      self.assertIs(type(round_robin), estimator.FisherEstimatorRoundRobin)
      self.assertIsInstance(round_robin, estimator.FisherEstimator)
      self.assertEqual((plain.name, round_robin.name),
                       ("FisherEstimator", "mine"))
      for strategy in ("replica_round_robin", "", 1):
        with self.assertRaisesRegex(
            ValueError, "placement_strategy must be None or 'round_robin', "
            f"got {strategy!r}"):
          estimator.make_fisher_estimator(strategy, **kwargs)

  def testPositionalOrder(self):
    arguments = list(
        inspect.signature(estimator.FisherEstimator).parameters)
    self.assertEqual(arguments[:10], [
        "variables", "cov_ema_decay", "damping", "layer_collection", "exps",
        "estimation_mode", "colocate_gradients_with_ops", "name",
        "compute_cholesky", "compute_cholesky_inverse"])


class BuildTest(tf.test.TestCase):

  def testNothingIsBuiltByTheConstructor(self):
    with tf.Graph().as_default() as graph:
      net = _Net()
      before = len(graph.get_operations())
      est = net.estimator()
      self.assertEqual(est.factors, ())
      self.assertLen(est.blocks, 2)
      self.assertFalse(est.made_vars())
      self.assertFalse(est.made_factors())
      self.assertLen(graph.get_operations(), before)

  def testThunksOfVariablesAndOps(self):
    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      est = net.estimator()
      own = set(tf.global_variables())
      thunks = est.create_ops_and_vars_thunks()
      self.assertEqual([len(part) for part in thunks], [3, 3, 3, 3])
      self.assertLen(est.factors, 3)
      self.assertEqual(set(tf.global_variables()), own)
      cov_variables, cov_updates, inv_variables, inv_updates = thunks
      for thunk in cov_variables:
        thunk()
      covs = set(tf.global_variables()) - own
      self.assertEqual(
          {factor.get_cov() for factor in est.factors} - covs, set())
      self.assertFalse(est.made_vars())
      cov_ops = [thunk() for thunk in cov_updates]
      self.assertEqual(set(tf.global_variables()), own | covs)
      for thunk in inv_variables:
        thunk()
      self.assertTrue(est.made_vars())
      everything = set(tf.global_variables())
      # An inverse per factor, and the number of updates that it contains.
      self.assertLen(everything - covs - own, 6)
      inv_ops = [thunk() for thunk in inv_updates]
      # Once made, variables are not made again.
      for thunk in cov_variables + inv_variables:
        thunk()
      self.assertEqual(set(tf.global_variables()), everything)
      self.assertTrue(est.made_vars())
      sess.run(tf.global_variables_initializer())
      sess.run(cov_ops)
      sess.run(inv_ops)
      for value, expected in zip(
          _values(sess, est.multiply_inverse(net.pairs())),
          net.product(np.linalg.inv), strict=True):
        self.assertAllClose(value, expected)

  def testBuildingTwiceIsAnError(self):
    for first in ("make_vars_and_create_op_thunks",
                  "create_ops_and_vars_thunks", "cov_update_op"):
      with tf.Graph().as_default():
        est = _Net().estimator()
        made = getattr(est, first)
        if callable(made):
          made()
        for second in (est.make_vars_and_create_op_thunks,
                       est.create_ops_and_vars_thunks):
          with self.assertRaisesRegex(
              ValueError, "create_ops_and_vars_thunks and "
              "make_vars_and_create_op_thunks must be called once"):
            second()

  def testRegistrationIsCheckedAndCanBeCorrected(self):
    with tf.Graph().as_default():
      net = _Net()
      est = estimator.FisherEstimator(
          net.variables[:2], 0.9, 0.1, net.layers)
      with self.assertRaisesRegex(
          ValueError, "v:0 is registered but not passed"):
        est.make_vars_and_create_op_thunks()
      self.assertFalse(est.made_factors())
      net.layers.check_registration = lambda variables: None
      est.make_vars_and_create_op_thunks()
      with self.assertRaisesRegex(
          ValueError, "at least one loss must be registered, got none"):
        estimator.FisherEstimator(
            [], 0.9, 0.1, lc.LayerCollection()).make_ops_and_vars()

  def testPropertiesShareOneBuild(self):
    names = ("cov_update_thunks", "cov_update_ops", "cov_update_op",
             "inv_update_thunks", "inv_update_ops", "inv_update_op")
    for start in names + ("make_ops_and_vars", "inv_updates_dict"):
      with tf.Graph().as_default() as graph:
        est = _Net().estimator()
        asked = getattr(est, start)
        if callable(asked):
          asked()
        first = {name: getattr(est, name) for name in names}
        before = len(graph.get_operations()), tf.global_variables()
        self.assertTrue(est.made_vars())
        for name in names:
          self.assertIs(getattr(est, name), first[name])
        made = est.make_ops_and_vars()
        self.assertEqual(
            made, (est.cov_update_ops, est.cov_update_op, est.inv_update_ops,
                   est.inv_update_op, est.cov_update_thunks,
                   est.inv_update_thunks))
        new_matrices = est.inv_updates_dict
        self.assertLen(new_matrices, 3)
        for name, new in new_matrices.items():
          self.assertIsInstance(new, tf.Tensor)
          self.assertEqual(name, new.name)
        self.assertEqual(
            before, (len(graph.get_operations()), tf.global_variables()))
        self.assertEqual(
            [len(part) for part in made[::2]], [3, 3, 3])

  def testDictHasOnlyFactorsThatKeepInverses(self):
    with tf.Graph().as_default():
      net = _Net()
      layers = lc.LayerCollection()
      w = net.variables[2]
      layers.register_generic(w, 6)
      layers.register_normal_predictive_distribution(
          tf.matmul(tf.ones([6, 2], tf.float64), w))
      est = estimator.FisherEstimator([w], 0.9, 0.1, layers)
      self.assertLen(est.inv_update_ops, 1)
      self.assertEqual(est.inv_updates_dict, {})

  def testDictHasTheNewValueOfEachKeptMatrix(self):
    with tf.Graph().as_default(), self.session() as sess:
      est = _Net().estimator(exps=(-1, -0.5))
      new_matrices = list(est.inv_updates_dict.values())
      queue = tf.FIFOQueue(3, [new.dtype for new in new_matrices],
                           [new.shape for new in new_matrices])
      enqueue, dequeue = queue.enqueue(new_matrices), queue.dequeue()
      kept = [variable for variable in tf.global_variables()
              if "matpower" in variable.name]
      self.assertLen(new_matrices, 6)
      sess.run(tf.global_variables_initializer())
      sess.run(est.cov_update_op)
      sess.run(enqueue)
      for new, variable in zip(*sess.run([dequeue, kept]), strict=True):
        self.assertGreater(np.abs(new).max(), 0.)
        self.assertAllEqual(new, variable)

  def testPropertiesAfterThunks(self):
    for make in ("make_vars_and_create_op_thunks",
                 "create_ops_and_vars_thunks"):
      with tf.Graph().as_default(), self.session() as sess:
        net = _Net()
        est = net.estimator()
        getattr(est, make)()
        _update(sess, est)
        self.assertTrue(est.made_vars())
        value = _values(sess, est.multiply_inverse(net.pairs()))
        self.assertAllClose(value[2], net.product(np.linalg.inv)[2])

  def testScope(self):
    starts = ("w/A/", "w/G/", "v/F/")
    for make in ("make_vars_and_create_op_thunks", "make_ops_and_vars",
                 "create_ops_and_vars_thunks"):
      for kwargs, scope, prefix in (
          ({}, None, "FisherEstimator/"), ({"name": "mine"}, None, "mine/"),
          ({"name": "mine"}, "other/scope", "other/scope/")):
        with tf.Graph().as_default():
          est = _Net().estimator(exps=(-1, -0.5), **kwargs)
          before = set(tf.global_variables())
          getattr(est, make)(scope=scope)
          est.inv_update_op  # noqa: B018
          made = [v.op.name for v in tf.global_variables()
                  if v not in before]
          self.assertGreaterEqual(len(made), 9)
          for name in made:
            self.assertStartsWith(name, prefix)
            self.assertTrue(name[len(prefix):].startswith(starts), name)
          ends = [name.split("/")[-1] for name in made]
          self.assertEqual(ends.count("cov"), 3)
          for exp in ("-1", "-0.5"):
            self.assertEqual(ends.count(f"matpower_exp{exp}"), 3)
          self.assertEmpty(set(tf.trainable_variables()) - before)

  def testVariablesAreIndependentOfTheScopeAround(self):
    def getter(*args, **kwargs):
      raise AssertionError("custom getter was called")

    with tf.Graph().as_default(), self.session() as sess:
      net = _Net()
      est = net.estimator()
      before = set(tf.global_variables())
      with tf.variable_scope(
          "outer", partitioner=tf.fixed_size_partitioner(2),
          regularizer=tf.nn.l2_loss, custom_getter=getter,
          initializer=tf.ones_initializer(), dtype=tf.float16):
        _update(sess, est)
      made = set(tf.global_variables()) - before
      for variable in made:
        self.assertStartsWith(variable.name, "outer/FisherEstimator/")
        self.assertNotIn("part_", variable.name)
        is_counter = variable.op.name.endswith(
            ("num_skipped", "sample_counter"))
        self.assertEqual(variable.dtype.base_dtype,
                         tf.int64 if is_counter else tf.float64)
      self.assertEmpty(
          tf.get_collection(tf.GraphKeys.REGULARIZATION_LOSSES))
      value = _values(sess, est.multiply_inverse(net.pairs()))
      self.assertAllClose(value[2], net.product(np.linalg.inv)[2])

  def testRunningAddsNoNode(self):
    with tf.Graph().as_default() as graph, self.session() as sess:
      net = _Net()
      est = net.estimator()
      ops = est.cov_update_op, est.inv_update_op
      products = est.multiply_inverse(net.pairs())
      initializer = tf.global_variables_initializer()
      graph.finalize()
      sess.run(initializer)
      for _ in range(2):
        sess.run(ops[0])
        sess.run(ops[1])
        value = _values(sess, products)
      self.assertAllClose(value[0], net.product(np.linalg.inv)[0])


class ThunksInControlFlowTest(tf.test.TestCase):

  def testBatchExecute(self):
    for v2, use_resource in ((False, False), (False, True), (True, True)):
      with graph_modes.control_flow(v2), tf.Graph().as_default() as graph, (
          self.session()) as sess:
        net = _Net(use_resource=use_resource)
        est = net.estimator(exps=(-1, -0.5))
        cov_thunks, inv_thunks = est.make_vars_and_create_op_thunks()
        step = tf.placeholder(tf.int64, [])
        cov = utils.batch_execute(step, cov_thunks, 1)
        inv = utils.batch_execute(step, inv_thunks, 2)
        products = [est.multiply_inverse(net.pairs()),
                    est.multiply_matpower(-0.5, net.pairs())]
        covs = [factor.get_cov() for factor in est.factors]
        initializer = tf.global_variables_initializer()
        graph.finalize()
        sess.run(initializer)
        for i in range(3):
          sess.run(cov, {step: i})
          done = [bool(np.any(value)) for value in sess.run(covs)]
          self.assertEqual(done, [j <= i for j in range(3)])
        for i in range(3):
          sess.run(inv, {step: i})
        for product, function in zip(
            products, (np.linalg.inv, _power(-0.5)), strict=True):
          for value, expected in zip(
              _values(sess, product), net.product(function), strict=True):
            self.assertAllClose(value, expected)

  def testCond(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2), tf.Graph().as_default(), (
          self.session()) as sess:
        net = _Net(use_resource=True)
        est = net.estimator()
        cov_thunks, inv_thunks = est.make_vars_and_create_op_thunks()
        condition = tf.placeholder(tf.bool, [])

        def run(thunks):
          with tf.control_dependencies([thunk() for thunk in thunks]):
            return tf.constant(True)

        ops = [tf.cond(condition, lambda t=thunks: run(t),  # noqa: B023
                       lambda: tf.constant(False))
               for thunks in (cov_thunks, inv_thunks)]
        products = est.multiply_inverse(net.pairs())
        sess.run(tf.global_variables_initializer())
        for op in ops:
          self.assertFalse(sess.run(op, {condition: False}))
        self.assertFalse(np.any(_values(sess, products)[2]))
        for op in ops:
          self.assertTrue(sess.run(op, {condition: True}))
        for value, expected in zip(
            _values(sess, products), net.product(np.linalg.inv), strict=True):
          self.assertAllClose(value, expected)


class UsersEstimatorTest(tf.test.TestCase):

  def testMethodsOfAUsersBlockAreUsed(self):
    class Scaled(fb.FullFB):

      def multiply_matpower(self, vector, exp):
        return 10. * super().multiply_matpower(vector, exp)

    with tf.Graph().as_default(), self.session() as sess:
      with mock.patch.dict(lc._GENERIC_APPROX_TO_BLOCK_TYPES, full=Scaled):
        net = _Net()
      est = net.estimator()
      _update(sess, est)
      self.assertAllClose(
          _values(sess, est.multiply_inverse(net.pairs()))[2],
          10 * net.product(np.linalg.inv)[2])


if __name__ == "__main__":
  tf.test.main()
