"""Products with J^T F J, its factor and the Hessian equal dense ones."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import curvature_matrix_vector_products as cmvp
from kfac.python.ops import loss_functions

BATCH_SIZE = 3
SHAPES = [(4, 2), (2, 3), (2, 2)]  # Of w, head_a and head_b below.
SIZES = [int(np.prod(shape)) for shape in SHAPES]
NUM_PARAMS = sum(SIZES)

# The network of all tests: h = tanh(x w), a = h head_a, b = h head_b. The
# inputs of a loss are a itself, or a pair computed from b.


def arrays():
  rng = np.random.RandomState(0)
  x = rng.randn(BATCH_SIZE, 4)
  params = [rng.randn(*shape) for shape in SHAPES]
  vec = [rng.randn(*shape) for shape in SHAPES]
  return x, params, vec


def flat(tensors):
  return np.concatenate([np.ravel(t) for t in tensors])


def cut(vector):
  parts = np.split(vector, np.cumsum(SIZES)[:-1])
  return [part.reshape(s) for part, s in zip(parts, SHAPES, strict=True)]


def net(vector, x):
  w, head_a, head_b = cut(vector)
  h = np.tanh(x @ w)
  return h @ head_a, h @ head_b


def derivative(function, vector):
  """Jacobian [out, n] of a NumPy function by complex steps."""
  steps = 1e-30j * np.eye(vector.size)
  return np.stack(
      [np.imag(function(vector + s)).ravel() / 1e-30 for s in steps], axis=-1)


def hessian(function, vector):
  """Central differences of exact gradients, to about 1e-9."""
  steps = 1e-5 * np.eye(vector.size)
  return np.stack([(derivative(function, vector + s)[0] -
                    derivative(function, vector - s)[0]) / 2e-5
                   for s in steps], axis=-1)


def block_diagonal(blocks):
  size = sum(block.shape[0] for block in blocks)
  result = np.zeros((size, size))
  at = 0
  for block in blocks:
    end = at + block.shape[0]
    result[at:end, at:end] = block
    at = end
  return result


def softmax(a):
  e = np.exp(a)
  return e / e.sum(axis=1, keepdims=True)


# Per loss: the class, its inputs from (a, b), targets, its NumPy value, and the
# Fisher matrix with respect to the raveled inputs, from the inputs.


class Categorical:
  targets = np.array([2, 0, 1])

  def make(self, a, b):
    del b
    return loss_functions.CategoricalLogitsNegativeLogProbLoss(a, self.targets)

  def inputs(self, a, b):
    del b
    return [a]

  def evaluate(self, logits):
    picked = logits[np.arange(BATCH_SIZE), self.targets]
    return np.sum(np.log(np.sum(np.exp(logits), axis=1)) - picked)

  def fisher(self, logits):
    return block_diagonal(
        [np.diag(p) - np.outer(p, p) for p in softmax(logits)])


class Onehot(Categorical):

  def make(self, a, b):
    del b
    return loss_functions.OnehotCategoricalLogitsNegativeLogProbLoss(
        a, np.eye(3)[self.targets])


class Bernoulli:
  targets = np.array([[0, 1, 1], [1, 1, 0], [0, 0, 1]])

  def make(self, a, b):
    del b
    return loss_functions.MultiBernoulliNegativeLogProbLoss(a, self.targets)

  def inputs(self, a, b):
    del b
    return [a]

  def evaluate(self, logits):
    return np.sum(np.log(1 + np.exp(logits)) - self.targets * logits)

  def fisher(self, logits):
    p = 1 / (1 + np.exp(-logits))
    return np.diag(np.ravel(p * (1 - p)))


class NormalMean:
  targets = np.array([[0.3, -1.], [2., 0.5], [-0.7, 0.1]])
  var = 0.7

  def make(self, a, b):
    del a
    return loss_functions.NormalMeanNegativeLogProbLoss(
        b, self.var, self.targets)

  def inputs(self, a, b):
    del a
    return [b]

  def evaluate(self, mean):
    return np.sum((mean - self.targets)**2) / (2 * self.var)

  def fisher(self, mean):
    return np.eye(mean.size) / self.var


class NormalMeanVariance:
  targets = NormalMean.targets

  def make(self, a, b):
    del a
    return loss_functions.NormalMeanVarianceNegativeLogProbLoss(
        b, tf.exp(b / 2.), self.targets)

  def inputs(self, a, b):
    del a
    return [b, np.exp(b / 2)]

  def evaluate(self, mean, variance):
    return np.sum((mean - self.targets)**2 / (2 * variance) +
                  np.log(variance) / 2)

  def fisher(self, mean, variance):
    del mean
    v = np.ravel(variance)
    return np.diag(np.concatenate([1 / v, 1 / (2 * v**2)]))


COMBINATIONS = [
    [Categorical()], [Onehot()], [Bernoulli()], [NormalMean()],
    [NormalMeanVariance()],
    # The second has no path to head_a, the first none to head_b.
    [Categorical(), NormalMean()],
    [Bernoulli(), NormalMeanVariance()],
]


def name_of(oracles):
  return "+".join(type(oracle).__name__ for oracle in oracles)


def has_hessian_products(oracles):
  return not any(isinstance(o, NormalMeanVariance) for o in oracles)


def dense_fisher(oracles, vector, x):
  total = 0.
  for oracle in oracles:
    jacobian = derivative(
        lambda v, o=oracle: flat(o.inputs(*net(v, x))), vector)
    fisher = oracle.fisher(*oracle.inputs(*net(vector, x)))
    total = total + jacobian.T @ fisher @ jacobian
  return total


def dense_hessian(oracles, vector, x):
  return hessian(
      lambda v: sum(o.evaluate(*o.inputs(*net(v, x))) for o in oracles), vector)


class Holder:
  """The members of a LayerCollection that the computer reads."""

  def __init__(self, losses):
    self.losses = losses


class CurvatureMatrixVectorProductComputerTest(tf.test.TestCase):

  def _build(self, oracles, dtype=tf.float64, use_resource=True):
    """Returns the computer, a vector and the variables, in this graph."""
    x, params, vec = arrays()
    variables = [
        tf.get_variable(f"v{i}", initializer=tf.constant(p, dtype),
                        use_resource=use_resource)
        for i, p in enumerate(params)]
    h = tf.tanh(tf.matmul(tf.constant(x, dtype), variables[0]))
    a, b = (tf.matmul(h, head) for head in variables[1:])
    losses = [oracle.make(a, b) for oracle in oracles]
    computer = cmvp.CurvatureMatrixVectorProductComputer(losses, variables)
    return computer, [tf.constant(v, dtype) for v in vec], variables

  def _check(self, dtype, tolerance, use_resource=True):
    x, params, vec = arrays()
    vector = flat(params)
    for oracles in COMBINATIONS:
      with self.subTest(losses=name_of(oracles)), tf.Graph().as_default(), \
          self.session() as sess:
        computer, vecs, variables = self._build(oracles, dtype, use_resource)
        ops = {"fisher": computer.multiply_fisher(vecs),
               "hessian": computer.multiply_hessian(vecs)}
        if has_hessian_products(oracles):
          ops["ggn"] = computer.multiply_generalized_gauss_newton(vecs)
        sess.run(tf.global_variables_initializer())
        results = sess.run(ops)
        fisher_vec = dense_fisher(oracles, vector, x) @ flat(vec)
        self.assertAllClose(
            flat(results["fisher"]), fisher_vec, tolerance, tolerance)
        # The losses with products have natural parameters: H is F.
        if has_hessian_products(oracles):
          self.assertAllClose(
              flat(results["ggn"]), fisher_vec, tolerance, tolerance)
        hessian_tolerance = max(tolerance, 1e-7)
        self.assertAllClose(
            flat(results["hessian"]),
            dense_hessian(oracles, vector, x) @ flat(vec),
            hessian_tolerance, hessian_tolerance)
        for product in results.values():
          for array, variable in zip(product, variables, strict=True):
            self.assertEqual(array.dtype, dtype.as_numpy_dtype)
            self.assertAllEqual(array.shape, variable.shape.as_list())

  def testProductsEqualDenseMatrices(self):
    self._check(tf.float64, 1e-11)

  def testProductsEqualDenseMatricesWithRefVariables(self):
    self._check(tf.float64, 1e-11, use_resource=False)

  def testProductsEqualDenseMatricesInFloat32(self):
    self._check(tf.float32, 1e-4)

  def testFactorTimesItsTransposeIsFisher(self):
    # J^T B from unit vectors of the loss space, B^T J from those of W.
    x, params, _ = arrays()
    for oracles in COMBINATIONS:
      kinds = ["fisher"] + (
          ["generalized_gauss_newton"] * has_hessian_products(oracles))
      for kind in kinds:
        with self.subTest(losses=name_of(oracles), kind=kind), \
            tf.Graph().as_default(), self.session() as sess:
          computer, _, variables = self._build(oracles)
          factor, transpose = self._dense_factors(
              computer, kind, variables, sess)
          self.assertAllClose(transpose, factor.T, 1e-11, 1e-11)
          self.assertAllClose(
              factor @ transpose, dense_fisher(oracles, flat(params), x),
              1e-11, 1e-11)

  def _dense_factors(self, computer, kind, variables, sess):
    """Returns J^T B [n, k] and B^T J [k, n]."""
    sess.run(tf.global_variables_initializer())
    shapes = sess.run(getattr(computer, kind + "_factor_inner_shapes"))
    inner = [tf.placeholder(tf.float64, shape) for shape in shapes]
    outer = [tf.placeholder(tf.float64, v.shape) for v in variables]
    product = getattr(computer, f"multiply_{kind}_factor")(inner)
    transpose = getattr(
        computer, f"multiply_{kind}_factor_transpose")(outer)
    sizes = np.cumsum([np.prod(shape) for shape in shapes])
    columns, rows = [], []
    for unit in np.eye(sizes[-1]):
      parts = [part.reshape(shape) for part, shape in zip(
          np.split(unit, sizes[:-1]), shapes, strict=True)]
      columns.append(flat(sess.run(
          product, dict(zip(inner, parts, strict=True)))))
    for unit in np.eye(NUM_PARAMS):
      rows.append(flat(sess.run(
          transpose, dict(zip(outer, cut(unit), strict=True)))))
    return np.stack(columns, axis=1), np.stack(rows, axis=1)

  def testTensorsThatDependOnEachOtherCountAsIndependent(self):
    # Partial derivatives: with respect to w, h is constant.
    logits = np.array([[0.2, -0.4], [1., 0.3]])
    with tf.Graph().as_default(), self.session() as sess:
      w = tf.constant(logits)
      h = 3. * w
      a = w * w + h
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(a, [0, 1])
      computer = cmvp.CurvatureMatrixVectorProductComputer([loss], [w, h])
      vec = [tf.constant([[1., 2.], [-1., 0.5]], tf.float64),
             tf.constant([[0.3, -1.], [2., 0.]], tf.float64)]
      fisher, hess, change, v = sess.run([
          computer.multiply_fisher(vec), computer.multiply_hessian(vec),
          [2. * w * vec[0] + vec[1]], vec])
    p = softmax(logits**2 + 3 * logits)
    f = np.stack([np.diag(row) - np.outer(row, row) for row in p])
    inner = np.einsum("bij,bj->bi", f, change[0])
    self.assertAllClose(fisher, [2 * logits * inner, inner])
    grad = p - np.eye(2)
    self.assertAllClose(hess, [2 * logits * inner + 2 * grad * v[0], inner])

  def testInputsOfTheLossAsVariables(self):
    logits = np.random.RandomState(3).randn(2, 3)
    vec = np.random.RandomState(4).randn(2, 3)
    with tf.Graph().as_default(), self.session() as sess:
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(
          2. * tf.constant(logits))
      computer = cmvp.CurvatureMatrixVectorProductComputer(
          [loss], [loss.params])
      got, expected = sess.run([
          computer.multiply_fisher([vec]), [loss.multiply_fisher(vec)]])
    self.assertAllClose(got, expected)

  def testUnusedTensorHasZeroRowsAndColumns(self):
    with tf.Graph().as_default(), self.session() as sess:
      w, unused = tf.constant([[0.5, -1.]]), tf.constant([1., 2., 3.])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(
          w, 0.25, np.zeros((1, 2)))
      computer = cmvp.CurvatureMatrixVectorProductComputer([loss], [w, unused])
      vec = [tf.constant([[1., 2.]]), tf.ones([3])]
      fisher, hess, inner = sess.run([
          computer.multiply_fisher(vec), computer.multiply_hessian(vec),
          computer.multiply_fisher_factor_transpose(vec)])
    for product in (fisher, hess):
      self.assertAllClose(product[0], [[4., 8.]])
      self.assertAllEqual(product[1], np.zeros(3))
    self.assertAllClose(inner, [[[2., 4.]]])

  def testEmbeddingTakesAndGivesIndexedSlices(self):
    table = np.random.RandomState(5).randn(5, 3)
    ids = np.array([1, 3, 1])
    vec = np.random.RandomState(6).randn(5, 3)
    with tf.Graph().as_default(), self.session() as sess:
      w = tf.get_variable("w", initializer=tf.constant(table))
      loss = loss_functions.CategoricalLogitsNegativeLogProbLoss(
          tf.nn.embedding_lookup(w, ids), [0, 1, 2])
      computer = cmvp.CurvatureMatrixVectorProductComputer([loss], [w])
      sparse_vec = tf.IndexedSlices(
          tf.constant(vec[[1, 3]]), tf.constant([1, 3]), tf.constant([5, 3]))
      sess.run(tf.global_variables_initializer())
      results = sess.run([
          tf.convert_to_tensor(method(v)[0])
          for method in (computer.multiply_fisher, computer.multiply_hessian)
          for v in ([tf.constant(vec)], [sparse_vec])])
    expected = np.zeros((5, 3))
    for i in ids:
      p = softmax(table[i:i + 1])[0]
      expected[i] += (np.diag(p) - np.outer(p, p)) @ vec[i]
    for result in results:
      self.assertAllClose(result, expected)

  def testTakesACollectionInPlaceOfItsLosses(self):
    with tf.Graph().as_default(), self.session() as sess:
      w = tf.constant([[0.5, -1.]])
      loss = loss_functions.NormalMeanNegativeLogProbLoss(w, 0.25)
      make = cmvp.CurvatureMatrixVectorProductComputer
      computers = [
          make([loss], [w], False), make(Holder([loss]), (w,)),
          make(losses=Holder([loss]), wrt_tensors=[w]),
          make(layer_collection=Holder([loss]), wrt_tensors=[w]),
          make(layer_collection=[loss], wrt_tensors=[w])]
      for product in sess.run(
          [c.multiply_fisher([[[1., 2.]]]) for c in computers]):
        self.assertAllClose(product, [[[4., 8.]]])

  def testCoefficientsOfACollectionMultiplyTheMatrices(self):
    oracles, coeffs = [Categorical(), Bernoulli()], [0.25, 4.]
    x, params, vec = arrays()
    for wrap in (lambda c: c, tf.constant):
      with tf.Graph().as_default(), self.session() as sess:
        plain, vecs, variables = self._build(oracles)
        holder = Holder(plain._losses)
        holder.loss_coeffs = {
            loss: wrap(c)
            for loss, c in zip(holder.losses, coeffs, strict=True)}
        computer = cmvp.CurvatureMatrixVectorProductComputer(holder, variables)
        ops = {name: getattr(computer, f"multiply_{name}")(vecs)
               for name in ("fisher", "hessian", "ggn")}
        sess.run(tf.global_variables_initializer())
        results = sess.run(ops)
        factors = [self._dense_factors(computer, kind, variables, sess)
                   for kind in ("fisher", "ggn")]
      fisher = sum(c * dense_fisher([oracle], flat(params), x)
                   for oracle, c in zip(oracles, coeffs, strict=True))
      hess = sum(c * dense_hessian([oracle], flat(params), x)
                 for oracle, c in zip(oracles, coeffs, strict=True))
      for name in ("fisher", "ggn"):
        self.assertAllClose(flat(results[name]), fisher @ flat(vec))
      self.assertAllClose(
          flat(results["hessian"]), hess @ flat(vec), 1e-7, 1e-7)
      for factor, transpose in factors:
        self.assertAllClose(transpose, factor.T)
        self.assertAllClose(factor @ transpose, fisher)

  def testNamesOfTheGaussNewtonMatrix(self):
    with tf.Graph().as_default():
      computer, _, _ = self._build([Categorical(), Bernoulli()])
      shapes = [[3, 3], [3, 3]]
      self.assertEqual(
          [shape.as_list() for shape in
           computer.fisher_factor_inner_static_shapes], shapes)
      self.assertEqual(
          [shape.as_list() for shape in
           computer.ggn_factor_inner_static_shapes], shapes)
      with self.session() as sess:
        self.assertAllEqual(sess.run(computer.ggn_factor_inner_shapes), shapes)

  def testColocatesGradientsWhenAsked(self):
    for colocate in (False, True):
      with tf.Graph().as_default() as graph:
        with tf.device("/device:CPU:1"):
          w = tf.placeholder(tf.float32, [1, 2])
          a = tf.tanh(w, name="a")
          loss = loss_functions.NormalMeanNegativeLogProbLoss(a)
        computer = cmvp.CurvatureMatrixVectorProductComputer(
            [loss], [w], colocate)
        before = set(graph.get_operations())
        computer.multiply_fisher_factor([tf.ones([1, 2])])
        gradients = [op for op in graph.get_operations()
                     if op not in before and op.type == "TanhGrad"]
        self.assertLen(gradients, 1)
        colocated = b"loc:@a" in gradients[0].colocation_groups()
        self.assertEqual(colocated, colocate)

  def testErrorsNameArgumentRuleAndValue(self):
    make = cmvp.CurvatureMatrixVectorProductComputer
    with tf.Graph().as_default():
      w = tf.zeros([2, 3], name="w")
      loss = loss_functions.NormalMeanNegativeLogProbLoss(w)
      with self.assertRaisesRegex(TypeError, "^losses must be given.*none"):
        make(wrt_tensors=[w])
      with self.assertRaisesRegex(TypeError, "^losses.*layer_collection too"):
        make([loss], [w], layer_collection=Holder([loss]))
      with self.assertRaisesRegex(TypeError, "^wrt_tensors must be a li.*w:0"):
        make([loss], w)
      with self.assertRaisesRegex(TypeError, "^wrt_tensors.*None"):
        make([loss])
      with self.assertRaisesRegex(ValueError, "^losses must hold.*none"):
        make([], [w])
      computer = make([loss], [w])
      for method in (computer.multiply_fisher, computer.multiply_hessian,
                     computer.multiply_fisher_factor_transpose):
        with self.assertRaisesRegex(ValueError, "^vecs must have length 1.*2"):
          method([w, w])
        with self.assertRaisesRegex(
            ValueError, r"^vecs must be shaped like w:0 \(2, 3\), got \(3, 2"):
          method([tf.zeros([3, 2])])
      with self.assertRaisesRegex(
          ValueError, "^loss_inner_vecs must have length 1, got 0"):
        computer.multiply_fisher_factor([])
      with self.assertRaisesRegex(ValueError, "^targets must be given"):
        computer.multiply_hessian([w])


if __name__ == "__main__":
  tf.test.main()
