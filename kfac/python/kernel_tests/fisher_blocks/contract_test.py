"""The contract of each row of the approximation table, on a small model.

A row without a model fails. Matrices are recovered from products with unit
vectors, so that the contract is stated in linear algebra.
"""

import collections
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized

from kfac.python.ops import estimator
from kfac.python.ops import fisher_blocks
from kfac.python.ops import fisher_factors
from kfac.python.ops import layer_collection
from kfac.python.ops.layer_collection import approximations

NUM_CASES = 8
DAMPING = 0.1
TINY_DAMPING = 1e-20
EXPS = (-1, 0.5, -0.5)

# Shapes of the parameters; function of an rng that returns the inputs of all
# examples; function of parameters and inputs; method that registers the layer.
Layer = collections.namedtuple(
    "Layer", ["shapes", "inputs", "apply", "register"])


def images(*shape):
  return lambda rng: rng.normal(size=(NUM_CASES,) + shape)


def series(num_uses, make_use):
  """Returns a function that makes inputs with correlated neighbouring uses."""
  def inputs(rng):
    uses = [make_use(rng)]
    while len(uses) < num_uses:
      uses.append(0.5 * uses[-1] + make_use(rng))
    return uses
  return inputs


def ids(rng):
  return rng.permutation(np.arange(NUM_CASES) % 3)


def dense(params, inputs):
  weights, bias = params
  return tf.matmul(inputs, weights) + bias


def conv2d(params, inputs):
  filters, bias = params
  return tf.nn.conv2d(inputs, filters, [1, 1, 1, 1], "VALID") + bias


def convolution(params, inputs):
  filters, bias = params
  return tf.nn.convolution(inputs, filters, "SAME", dilation_rate=[2]) + bias


def depthwise(filters, inputs):
  return tf.nn.depthwise_conv2d(inputs, filters, [1, 1, 1, 1], "VALID")


def scaled_and_shifted(params, inputs):
  scale, shift = params
  return scale * inputs + shift


def lookup(table, inputs):
  return tf.nn.embedding_lookup(table, inputs)


def for_each_use(apply):
  return lambda params, inputs: [apply(params, use) for use in inputs]


def register_generic(collection, params, inputs, outputs, **kwargs):
  del outputs
  collection.register_generic(params, inputs.shape.as_list()[0], **kwargs)


def register_fully_connected(collection, *args, **kwargs):
  collection.register_fully_connected(*args, **kwargs)


def register_conv2d(collection, params, inputs, outputs, **kwargs):
  collection.register_conv2d(
      params, [1, 1, 1, 1], "VALID", inputs, outputs, **kwargs)


def register_convolution(collection, params, inputs, outputs, **kwargs):
  collection.register_convolution(
      params, inputs, outputs, "SAME", dilation_rate=[2], **kwargs)


def register_depthwise_conv2d(collection, params, inputs, outputs, **kwargs):
  collection.register_depthwise_conv2d(
      params, inputs, outputs, [1, 1, 1, 1], "VALID", **kwargs)


def register_scale_and_shift(collection, *args, **kwargs):
  collection.register_scale_and_shift(*args, **kwargs)


def register_embedding(collection, *args, **kwargs):
  collection.register_embedding(*args, **kwargs)


def register_fully_connected_multi(collection, *args, **kwargs):
  collection.register_fully_connected_multi(*args, **kwargs)


def register_conv2d_multi(collection, params, inputs, outputs, **kwargs):
  collection.register_conv2d_multi(
      params, [1, 1, 1, 1], "VALID", inputs, outputs, **kwargs)


def register_embedding_multi(collection, *args, **kwargs):
  collection.register_embedding_multi(*args, **kwargs)


GENERIC = Layer([[1, 2], [2]], images(1), dense, register_generic)
FULLY_CONNECTED = Layer(
    [[3, 2], [2]], images(3), dense, register_fully_connected)
CONV2D = Layer([[2, 1, 2, 2], [2]], images(3, 2, 2), conv2d, register_conv2d)
CONVOLUTION = Layer(
    [[2, 2, 2], [2]], images(4, 2), convolution, register_convolution)
DEPTHWISE = Layer(
    [[1, 2, 2, 2]], images(2, 3, 2), depthwise, register_depthwise_conv2d)
SCALE_AND_SHIFT = Layer(
    [[2, 1], [2]], images(2, 2), scaled_and_shifted, register_scale_and_shift)
EMBEDDING = Layer([[3, 2]], ids, lookup, register_embedding)
FULLY_CONNECTED_MULTI = Layer(
    [[2, 2], [2]], series(3, images(2)), for_each_use(dense),
    register_fully_connected_multi)
CONV2D_MULTI = Layer(
    [[2, 1, 1, 2], [2]], series(2, images(3, 2, 1)), for_each_use(conv2d),
    register_conv2d_multi)
EMBEDDING_MULTI = Layer(
    [[3, 2]], lambda rng: [ids(rng), ids(rng)], for_each_use(lookup),
    register_embedding_multi)

MODELS = {
    ("generic", "diagonal"): GENERIC,
    ("generic", "full"): GENERIC,
    ("fully_connected", "kron"): FULLY_CONNECTED,
    ("fully_connected", "diagonal"): FULLY_CONNECTED,
    ("fully_connected", "kron_in_diag"): FULLY_CONNECTED,
    ("fully_connected", "kron_out_diag"): FULLY_CONNECTED,
    ("fully_connected", "kron_both_diag"): FULLY_CONNECTED,
    ("conv2d", "kron"): CONV2D,
    ("conv2d", "diagonal"): CONV2D,
    ("convolution", "kron"): CONVOLUTION,
    ("depthwise_conv2d", "diagonal"): DEPTHWISE,
    ("depthwise_conv2d", "kron"): DEPTHWISE,
    ("scale_and_shift", "full"): SCALE_AND_SHIFT,
    ("scale_and_shift", "diagonal"): SCALE_AND_SHIFT,
    ("embedding", "kron"): EMBEDDING,
    ("fully_connected_multi", "kron_indep"): FULLY_CONNECTED_MULTI,
    ("fully_connected_multi", "kron_series_1"): FULLY_CONNECTED_MULTI,
    ("fully_connected_multi", "kron_series_2"): FULLY_CONNECTED_MULTI,
    ("fully_connected_multi", "kron_indep_in_diag"): FULLY_CONNECTED_MULTI,
    ("fully_connected_multi", "kron_indep_out_diag"): FULLY_CONNECTED_MULTI,
    ("fully_connected_multi", "kron_indep_both_diag"): FULLY_CONNECTED_MULTI,
    ("conv2d_multi", "kron_indep"): CONV2D_MULTI,
    ("embedding_multi", "kron_indep"): EMBEDDING_MULTI,
}


def rows():
  """Lists (kind, approximation) of all rows of the table."""
  table = approximations.APPROXIMATIONS
  return [(kind, approx) for kind in table for approx in table[kind]]


ROWS = rows()
# Only the inverse of a chain of uses has a closed form.
ONLY_INVERSE = ("kron_series_1", "kron_series_2")


class Model:
  """A layer with a head and data, which can be registered repeatedly.

  Attributes:
    params: The key of the layer.
  """

  def __init__(self, kind, approx, dtype=tf.float64):
    self.layer = MODELS[kind, approx]
    self.approx = approx
    self.dtype = dtype
    self._rng = np.random.RandomState(7)
    self._inputs = self.layer.inputs(self._rng)
    self._targets = self._rng.normal(size=[NUM_CASES, 5])
    params = tuple(
        tf.get_variable(f"p{i}", initializer=self.random(shape),
                        use_resource=True)
        for i, shape in enumerate(self.layer.shapes))
    self.params = params if len(params) > 1 else params[0]
    self._head = None

  def random(self, shape):
    return tf.constant(self._rng.normal(size=shape), self.dtype)

  def vector(self):
    """Returns placeholders shaped like the parameters."""
    vector = tuple(tf.placeholder(self.dtype, shape)
                   for shape in self.layer.shapes)
    return vector if len(vector) > 1 else vector[0]

  def _constant(self, array):
    return tf.constant(
        array, None if array.dtype.kind == "i" else self.dtype)

  def _predict(self, outputs):
    flat = tf.concat([tf.reshape(use, [use.shape.as_list()[0], -1])
                      for use in tf.nest.flatten(outputs)], axis=1)
    if self._head is None:
      self._head = (self.random([flat.shape.as_list()[1], 6]),
                    self.random([6, 5]))
    return tf.matmul(tf.tanh(tf.matmul(flat, self._head[0])), self._head[1])

  def add_tower(self, collection, examples=slice(None), **kwargs):
    """Registers layer and loss for some of the examples.

    Args:
      collection: LayerCollection.
      examples: Slice.
      **kwargs: `reuse`.

    Returns:
      Inputs and outputs of the layer.
    """
    inputs = tf.nest.map_structure(
        lambda array: self._constant(array[examples]), self._inputs)
    outputs = self.layer.apply(self.params, inputs)
    self.layer.register(collection, self.params, inputs, outputs,
                        approx=self.approx, **kwargs)
    collection.register_normal_predictive_distribution(
        self._predict(outputs), targets=self._constant(self._targets[examples]),
        name="loss", reuse=kwargs.get("reuse", False))
    return inputs, outputs


def make_estimator(collection, model, damping=DAMPING, mode="exact", name="e"):
  general = model.approx not in ONLY_INVERSE
  return estimator.FisherEstimator(
      collection.registered_variables, 0.95, damping, collection,
      exps=EXPS if general else (-1,), estimation_mode=mode, name=name,
      compute_cholesky=general, compute_cholesky_inverse=general)


def products(block, vector, general=True):
  """Returns all products of a block."""
  exps = (1,) + EXPS if general else (-1,)
  result = {exp: block.multiply_matpower(vector, exp) for exp in exps}
  result["inverse"] = block.multiply_inverse(vector)
  if general:
    result["multiply"] = block.multiply(vector)
    for name in ("multiply_cholesky", "multiply_cholesky_inverse"):
      for transpose in (False, True):
        result[name, transpose] = getattr(block, name)(
            vector, transpose=transpose)
  return result


def full_filter_products(block, vector):
  """Returns the products of a depthwise block with a full filter."""
  conv = fisher_blocks.ConvKFCBasicFB
  with mock.patch.multiple(
      type(block), _to_matrix=conv._to_matrix, _from_matrix=conv._from_matrix):
    return products(block, vector)


def flat(structure):
  return np.concatenate([np.ravel(x) for x in tf.nest.flatten(structure)])


def split(column, vector):
  """Returns a feed of placeholders by the entries of a column."""
  feed = {}
  for leaf in tf.nest.flatten(vector):
    size = leaf.shape.num_elements()
    feed[leaf], column = column[:size].reshape(leaf.shape), column[size:]
  return feed


def matrices(session, vector, tensors):
  """Returns the matrix of each product of a vector."""
  size = sum(leaf.shape.num_elements() for leaf in tf.nest.flatten(vector))
  columns = [session.run(tensors, split(unit, vector))
             for unit in np.eye(size)]
  return {key: np.stack([flat(column[key]) for column in columns], axis=1)
          for key in tensors}


def depthwise_embedding(shape):
  """Returns E with vec(conv filter) = E vec(depthwise filter)."""
  height, width, channels, multiplier = shape
  embedding = np.zeros(
      [height, width, channels, channels * multiplier] + list(shape))
  for index in np.ndindex(*shape):
    h, w, c, m = index
    embedding[(h, w, c, c * multiplier + m) + index] = 1.
  return embedding.reshape(-1, height * width * channels * multiplier)


def over_rows(test):
  return parameterized.named_parameters(
      ("_".join(row),) + row for row in ROWS)(test)


class ApproximationsTest(parameterized.TestCase, tf.test.TestCase):

  def testEachRowHasAModel(self):
    self.assertCountEqual(MODELS, ROWS)

  def _checkAlgebra(self, m, tol):
    """Asserts the relations between the products."""
    identity = np.eye(len(m[1]))

    def check(actual, expected):
      self.assertAllClose(actual, expected, rtol=tol, atol=tol)

    check(m[1], m[1].T)
    self.assertGreater(np.min(np.linalg.eigvalsh(m[1])), 0.)
    check(m[-1] @ m[1], identity)
    check(m[0.5] @ m[0.5], m[1])
    check(m[-0.5] @ m[-0.5], m[-1])
    check(m[-0.5] @ m[0.5], identity)
    L, L_inv = m["multiply_cholesky", False], m[
        "multiply_cholesky_inverse", False]
    check(L @ L.T, m[1])
    check(L, np.tril(L))
    check(L_inv @ L, identity)
    check(m["multiply_cholesky", True], L.T)
    check(m["multiply_cholesky_inverse", True], L_inv.T)

  def _checkSeries(self, m, full, block, vector, tol):
    """Asserts that the inverse is an inverse and other products raise."""
    if full is not None:
      self.assertAllClose(
          m[-1] @ full, np.eye(len(full)), rtol=tol, atol=tol)
    self.assertAllClose(m[-1], m[-1].T, rtol=tol, atol=tol)
    for exp in (1, 0.5):
      with self.assertRaisesRegex(NotImplementedError, "exp must be -1"):
        block.register_matpower(exp)
      with self.assertRaisesRegex(NotImplementedError, "exp must be -1"):
        block.multiply_matpower(vector, exp)
    for name, call in (
        ("compute_cholesky must", block.register_cholesky),
        ("compute_cholesky_inverse must", block.register_cholesky_inverse),
        ("compute_cholesky must", lambda: block.multiply_cholesky(vector)),
        ("compute_cholesky_inverse must",
         lambda: block.multiply_cholesky_inverse(vector))):
      with self.assertRaisesRegex(NotImplementedError, name):
        call()

  def _checkRow(self, session, model, damping, tol):
    """Checks a model with a large and a tiny damping."""
    collection = layer_collection.LayerCollection()
    model.add_tower(collection)
    fisher = make_estimator(collection, model, damping)
    updates = [fisher.cov_update_op, fisher.inv_update_op]
    block = collection.fisher_blocks[model.params]
    vector = model.vector()
    general = model.approx not in ONLY_INVERSE
    tensors = products(block, vector, general)
    for tensor in tf.nest.flatten(list(tensors.values())):
      self.assertEqual(tensor.dtype, model.dtype)
    full = block.full_fisher_block()
    embedding, conv_vector, conv_tensors = None, None, {}
    if model.layer is DEPTHWISE:
      embedding = depthwise_embedding(model.layer.shapes[0])
      conv_vector = tf.placeholder(model.dtype, [1, 2, 2, 4])
      if isinstance(block, fisher_blocks.ConvKFCBasicFB):
        conv_tensors = full_filter_products(block, conv_vector)
    session.run(tf.global_variables_initializer())
    session.run(updates[0])
    for value in (DAMPING, TINY_DAMPING):
      if value == TINY_DAMPING and model.dtype == tf.float32:
        break  # float32 cannot invert a matrix with tiny damping.
      session.run(damping.assign(value))
      session.run(updates[1])
      m, F = matrices(session, vector, tensors), session.run(full)
      self.assertAllClose(m["inverse"], m[-1])
      if not general:
        self._checkSeries(
            m, F if value == TINY_DAMPING else None, block, vector, tol)
        continue
      self.assertAllClose(m["multiply"], m[1])
      if conv_tensors:
        # One product undoes another only for the enclosing convolution.
        cut, m = m, matrices(session, conv_vector, conv_tensors)
        for key, matrix in m.items():
          self.assertAllClose(
              cut[key], embedding.T @ matrix @ embedding, rtol=tol, atol=tol)
      elif embedding is not None:
        F = embedding.T @ F @ embedding
      self._checkAlgebra(m, tol)
      if value == TINY_DAMPING:
        self.assertAllClose(m[1], F, rtol=1e-7, atol=1e-8)
        self.assertAllClose(
            m[-1] @ F, np.eye(len(F)), rtol=1e-6, atol=1e-6)
      else:
        self.assertNotAllClose(m[1], F, rtol=1e-3, atol=1e-3)

  @over_rows
  def testProductsAreThoseOfOneMatrix(self, kind, approx):
    for dtype, tol in ((tf.float64, 1e-6), (tf.float32, 2e-3)):
      with self.subTest(dtype.name), tf.Graph().as_default(), (
          self.session()) as session:
        tf.set_random_seed(3)
        damping = tf.get_variable(
            "damping", initializer=tf.constant(DAMPING, tf.float64),
            use_resource=True)
        self._checkRow(session, Model(kind, approx, dtype), damping, tol)

  def _towers(self, model, strategy, reuse):
    """Registers the examples as two towers; returns what has to agree."""
    collection = layer_collection.LayerCollection()
    half = NUM_CASES // 2
    if strategy is None:
      model.add_tower(collection)
    else:
      model.add_tower(collection, slice(half), reuse=(
          False if reuse is True else reuse))
      model.add_tower(collection, slice(half, None), reuse=reuse)
    block = collection.fisher_blocks[model.params]
    self.assertLen(collection.fisher_blocks, 1)
    self.assertEqual(block.num_registered_towers, 1 + (strategy is not None))
    with mock.patch.object(
        fisher_factors, "TOWER_STRATEGY", strategy or "concat"):
      fisher = make_estimator(collection, model, mode="empirical",
                              name=f"{strategy}_{reuse}")
      updates = [fisher.cov_update_op, fisher.inv_update_op]
    return updates, block, [factor.get_cov() for factor in fisher.factors]

  @over_rows
  def testTwoTowersEqualOne(self, kind, approx):
    with tf.Graph().as_default(), self.session() as session:
      tf.set_random_seed(3)
      model = Model(kind, approx)
      vector = model.vector()
      builds = [self._towers(model, *build) for build in (
          (None, False), ("concat", True), ("separate", tf.AUTO_REUSE))]
      tensors = [
          covs + [block.multiply_inverse(vector)] for _, block, covs in builds]
      session.run(tf.global_variables_initializer())
      for index in (0, 1):
        session.run([updates[index] for updates, _, _ in builds])
      size = sum(np.prod(shape) for shape in model.layer.shapes)
      column = np.random.RandomState(5).normal(size=int(size))
      one, *others = session.run(tensors, split(column, vector))
      self.assertGreater(np.max(np.abs(flat(one[-1]))), 1e-3)
      for other in others:
        self.assertAllClose(one, other, rtol=1e-9, atol=1e-11)

  @over_rows
  def testReuseSaysWhetherATowerIsAdded(self, kind, approx):
    with tf.Graph().as_default():
      model = Model(kind, approx)
      collection = layer_collection.LayerCollection()
      with self.assertRaisesRegex(KeyError, "before they are reused"):
        model.add_tower(collection, reuse=True)
      model.add_tower(collection, reuse=False)
      for reuse in (False, layer_collection.VARIABLE_SCOPE):
        with self.assertRaisesRegex(ValueError, "once unless reused"):
          model.add_tower(collection, reuse=reuse)
      block = collection.fisher_blocks[model.params]
      self.assertEqual(block.num_registered_towers, 1)
      model.add_tower(collection, reuse=True)
      model.add_tower(collection, reuse=tf.AUTO_REUSE)
      with tf.variable_scope(tf.get_variable_scope(), reuse=True):
        model.add_tower(collection, reuse=layer_collection.VARIABLE_SCOPE)
      self.assertEqual(block.num_registered_towers, 4)
      self.assertEqual(collection.get_blocks(), (block,))
      self.assertLen(collection.losses, 4)
      other = layer_collection.LayerCollection()
      for reuse in (tf.AUTO_REUSE, tf.AUTO_REUSE):
        model.add_tower(other, reuse=reuse)
      self.assertEqual(other.get_blocks()[0].num_registered_towers, 2)


# Oracles of the series approximations, from the data.


def power(matrix, exp):
  eigenvalues, Q = np.linalg.eigh(matrix)
  return (Q * eigenvalues**exp) @ Q.T


def covariances(uses):
  """Returns the covariances [n, n] of lags zero and one; uses [T, B, n]."""
  rows = uses.shape[0] * uses.shape[1]
  return (np.einsum("tbi,tbj->ij", uses, uses) / rows,
          np.einsum("tbi,tbj->ij", uses[1:], uses[:-1]) / rows)


def chain(cov, cov_dt1, num_uses):
  """Returns the covariances of lags 0 .. T - 1 of a symmetric chain."""
  root = power(cov, 0.5)
  symmetric = power(cov, -0.5) @ (cov_dt1 + cov_dt1.T) @ power(cov, -0.5) / 2
  psi, U = np.linalg.eigh(symmetric)
  return [root @ (U * np.abs(psi)**lag) @ U.T @ root
          for lag in range(num_uses)]


def chain_matrix(A_lags, G_lags):
  """Sums the covariances of all pairs of uses."""
  T = len(A_lags)
  return sum(np.kron(A_lags[abs(t - s)], G_lags[abs(t - s)])
             for t in range(T) for s in range(T))


def option2(V, A, G, num_uses):
  """Multiplies V [in, out] by F^-1; A and G are pairs of covariances."""
  Z = V.T
  P_A, P_G = [cov_dt1.T @ np.linalg.inv(cov) for cov, cov_dt1 in (A, G)]
  K, mu = [], []
  for cov, cov_dt1 in (A, G):
    S = power(cov, -0.5) @ cov_dt1 @ power(cov, -0.5)
    eigenvalues, E = np.linalg.eigh(S.T @ S)
    K.append(power(cov, -0.5) @ E)
    mu.append(np.minimum(np.abs(eigenvalues), 1.))
  Z = Z - P_G @ Z @ P_A.T
  Z = K[1].T @ Z @ K[0] / (1. - np.outer(mu[1], mu[0]))
  Z = K[1] @ Z @ K[0].T
  Z = Z - P_G.T @ Z @ P_A
  return Z.T / num_uses


class FullyConnectedSeriesFBTest(tf.test.TestCase):

  def _data(self, approx, damping, session):
    """Returns numbers of a model: a, g [T, B, n], A, G damped, F^-1 V, F."""
    model = Model("fully_connected_multi", approx)
    collection = layer_collection.LayerCollection()
    inputs, outputs = model.add_tower(collection)
    grads = tf.gradients(collection.total_loss(), outputs)
    fisher = make_estimator(collection, model, damping, mode="empirical")
    updates = [fisher.cov_update_op, fisher.inv_update_op]
    block = collection.fisher_blocks[model.params]
    V = np.random.RandomState(9).normal(size=[3, 2])
    product = block.multiply_inverse((tf.constant(V[:2]), tf.constant(V[2])))
    full = block.full_fisher_block()
    self.assertEqual(block.num_inputs(), 3)
    session.run(tf.global_variables_initializer())
    for update in updates:
      session.run(update)
    a, g, product, full = session.run(
        [tf.stack(inputs), tf.stack(grads), product, full])
    a = np.concatenate([a, np.ones_like(a[..., :1])], axis=-1)
    return V, covariances(a), covariances(g), np.vstack(product), full

  def _damped(self, A, G, damping):
    """Splits the damping of a block of three uses."""
    root = np.sqrt(damping / 3)
    pi = np.sqrt(np.mean(np.diag(A[0])) / np.mean(np.diag(G[0])))
    return ((A[0] + root * pi * np.eye(len(A[0])), A[1]),
            (G[0] + root / pi * np.eye(len(G[0])), G[1]))

  def testOption1InvertsTheSumOverAllPairsOfUses(self):
    for damping in (1e-20, 0.2):
      with tf.Graph().as_default(), self.session() as session:
        V, A, G, product, full = self._data("kron_series_1", damping, session)
        dense_matrix = chain_matrix(chain(*A, 3), chain(*G, 3))
        self.assertAllClose(full, dense_matrix, rtol=1e-8)
        A, G = self._damped(A, G, damping)
        dense_matrix = chain_matrix(chain(*A, 3), chain(*G, 3))
        self.assertAllClose(
            dense_matrix @ np.ravel(product), np.ravel(V), rtol=1e-7,
            atol=1e-8)

  def testOption2EqualsItsFormula(self):
    for damping in (1e-20, 0.2):
      with tf.Graph().as_default(), self.session() as session:
        V, A, G, product, full = self._data("kron_series_2", damping, session)
        if damping < 0.1:
          self.assertAllClose(
              full @ np.ravel(product), np.ravel(V), rtol=1e-7, atol=1e-8)
        self.assertAllClose(
            product, option2(V, *self._damped(A, G, damping), 3), rtol=1e-7)

  def testOption2SumsAllLagsOfAnEndlessSeries(self):
    with tf.Graph().as_default(), self.session() as session:
      _, A, G, _, full = self._data("kron_series_2", 0.2, session)
      P = np.kron(A[1].T @ np.linalg.inv(A[0]), G[1].T @ np.linalg.inv(G[0]))
      F0 = np.kron(A[0], G[0])
      lags = sum(np.linalg.matrix_power(P, lag) @ F0 for lag in range(1, 400))
      self.assertAllClose(full, 3 * (F0 + lags + lags.T), rtol=1e-7)


if __name__ == "__main__":
  tf.test.main()
