"""A small dense network and its K-FAC, in TensorFlow and in NumPy.

  logits = [tanh([x, 1] V1), 1] V2      V = [W; b], a categorical loss

The NumPy code follows Martens & Grosse 2015. It uses the exact Fisher matrix
(estimation mode "exact"), so nothing is random.
"""

import collections

import numpy as np
import tensorflow.compat.v1 as tf

import kfac

SIZES = (3, 4, 3)
BATCH_SIZE = 7

Model = collections.namedtuple(
    "Model", ["x", "y", "variables", "layers", "loss"])


def batches(count, seed=0):
  """Makes batches.

  Args:
    count: Number of batches.
    seed: Int.

  Returns:
    List of (inputs [BATCH_SIZE, SIZES[0]], classes [BATCH_SIZE]).
  """
  rng = np.random.RandomState(seed)
  return [(rng.randn(BATCH_SIZE, SIZES[0]),
           rng.randint(SIZES[2], size=BATCH_SIZE))
          for _ in range(count)]


def initial_params(seed=1):
  """Returns V1 and V2, float64 matrices [in + 1, out]."""
  rng = np.random.RandomState(seed)
  return [rng.randn(num_in + 1, num_out) for num_in, num_out in zip(
      SIZES[:-1], SIZES[1:], strict=True)]


def build(dtype=tf.float64, use_resource=True, register=True):
  """Builds the network in the default graph.

  Args:
    dtype: Dtype of inputs and variables.
    use_resource: Whether variables are resource variables.
    register: Whether to register layers and loss.

  Returns:
    Model: placeholders, list of variables W1, b1, W2, b2, LayerCollection and
    the loss, a mean over examples.
  """
  x = tf.placeholder(dtype, [BATCH_SIZE, SIZES[0]])
  y = tf.placeholder(tf.int32, [BATCH_SIZE])
  variables, layers, hidden = [], kfac.LayerCollection(), x
  for index, value in enumerate(initial_params()):
    with tf.variable_scope(f"layer{index}"):
      weights, bias = params = tuple(
          tf.get_variable(name, use_resource=use_resource, initializer=part
                          .astype(tf.as_dtype(dtype).as_numpy_dtype))
          for name, part in (("w", value[:-1]), ("b", value[-1])))
    outputs = tf.matmul(hidden, weights) + bias
    if register:
      layers.register_fully_connected(params, hidden, outputs)
    variables.extend(params)
    hidden = tf.tanh(outputs)
  if register:
    layers.register_categorical_predictive_distribution(outputs, targets=y)
  return Model(x, y, variables, layers, loss_on(outputs, y))


def loss_on(logits, y):
  """Returns the scalar -log p(y), a mean over examples."""
  return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=y, logits=logits))


def logits_of(x, variables):
  """Applies the network to other inputs.

  Args:
    x: Tensor [BATCH_SIZE, SIZES[0]].
    variables: W1, b1, W2, b2.

  Returns:
    Tensor, the logits.
  """
  w1, b1, w2, b2 = variables
  return tf.matmul(tf.tanh(tf.matmul(x, w1) + b1), w2) + b2


def train(sess, model, optimizer, train_op, data, updates=None):
  """Trains: covariances, inverses, then the step, in separate runs.

  Args:
    sess: Session; variables are initialized.
    model: Model.
    optimizer: KfacOptimizer.
    train_op: Its op.
    data: List of batches.
    updates: Covariance and inverse update op; those of the optimizer if None.

  Returns:
    V1 and V2 after the last step.
  """
  for x, y in data:
    feed = {model.x: x, model.y: y}
    for op in updates or (optimizer.cov_update_op, optimizer.inv_update_op):
      sess.run(op, feed)
    sess.run(train_op, feed)
  return stacked(sess.run(model.variables))


def stacked(values):
  """Joins W1, b1, W2, b2 into V1 and V2."""
  return [np.vstack(values[:2]), np.vstack(values[2:])]


def _homogeneous(x):
  return np.hstack([x, np.ones([len(x), 1])])


class Net:
  """The network in NumPy at one point, on one batch.

  Attributes:
    loss: Number, a mean over examples.
    grads: List of the gradients of the loss with respect to V1 and V2.
    input_covs: List of A of the layers.
    output_covs: List of G of the layers.
  """

  def __init__(self, params, x, y):
    """Runs forward and backward.

    Args:
      params: V1 and V2.
      x: Inputs [BATCH_SIZE, SIZES[0]].
      y: Classes [BATCH_SIZE].
    """
    self._params = params
    hidden = np.tanh(_homogeneous(x) @ params[0])
    self._slope = 1. - hidden**2
    self._inputs = [_homogeneous(x), _homogeneous(hidden)]
    logits = self._inputs[1] @ params[1]
    p = np.exp(logits) / np.sum(np.exp(logits), axis=1, keepdims=True)
    examples = np.arange(len(y))
    self.loss = -np.mean(np.log(p[examples, y]))
    by_output = self._backward((p - np.eye(p.shape[1])[y]) / len(y))
    self.grads = [a.T @ g for a, g in
                  zip(self._inputs, by_output, strict=True)]
    self.input_covs = [a.T @ a / len(y) for a in self._inputs]
    # The Fisher matrix of the logits is B B^T; each column of B is a source.
    self._B = np.stack([np.diag(np.sqrt(q)) - np.outer(q, np.sqrt(q))
                        for q in p])
    sources = [self._backward(self._B[:, :, j]) for j in range(p.shape[1])]
    self.output_covs = [
        sum(source[layer].T @ source[layer] for source in sources) / len(y)
        for layer in range(2)]

  def _backward(self, by_logits):
    """Returns the derivatives with respect to the outputs of both layers."""
    return [by_logits @ self._params[1][:-1].T * self._slope, by_logits]

  def fisher_product(self, one, other):
    """Returns the number d F d', F the Fisher matrix of the batch (a mean).

    Args:
      one: d, list of matrices shaped like V1 and V2.
      other: d', the same.
    """
    left, right = (np.einsum("bij,bi->bj", self._B, self._forward(direction))
                   for direction in (one, other))
    return np.sum(left * right) / len(left)

  def _forward(self, direction):
    """Returns J d, the derivative of the logits along a direction."""
    hidden = self._inputs[0] @ direction[0] * self._slope
    return self._inputs[1] @ direction[1] + hidden @ self._params[1][:-1]


def dot(one, other):
  """Returns the inner product of two lists of matrices."""
  return sum(np.sum(a * b) for a, b in zip(one, other, strict=True))


def damp(A, G, damping):
  """Damps the factors of a Kronecker product.

  Args:
    A: Matrix [in + 1, in + 1].
    G: Matrix [out, out].
    damping: Number.

  Returns:
    A and G, each with its part of the damping added to the diagonal.
  """
  pi = np.sqrt((np.trace(A) / len(A)) / (np.trace(G) / len(G)))
  root = np.sqrt(damping)
  return A + pi * root * np.eye(len(A)), G + root / pi * np.eye(len(G))


class Kfac:
  """K-FAC in NumPy, with an update of all factors before each step.

  Attributes:
    params: V1 and V2.
    damping: Number, of the quadratic model.
    inverse_damping: Number, of the inverses.
    velocities: List of matrices.
    coefficients: alpha and mu of the last step, if of type "qmodel".
    change: The change of the loss predicted for the last step.
  """

  def __init__(self, damping, decay):
    """Starts at initial_params().

    Args:
      damping: Number.
      decay: Weight of the past in covariances.
    """
    self.params = initial_params()
    self.damping = self.inverse_damping = damping
    self.velocities = [np.zeros_like(value) for value in self.params]
    self._decay = decay
    self._steps = 0
    self._covs = [0.] * 4

  def update(self, x, y):
    """Updates the factors.

    Args:
      x: Inputs.
      y: Classes.

    Returns:
      Net.
    """
    net = Net(self.params, x, y)
    self._steps += 1
    self._covs = [
        self._decay * old + (1. - self._decay) * new for old, new in zip(
            self._covs, net.input_covs + net.output_covs, strict=True)]
    return net

  def precondition(self, vectors):
    """Returns P v."""
    return [np.linalg.solve(A, vector @ np.linalg.inv(G))
            for A, G, vector in self._damped(vectors, self.inverse_damping)]

  def multiply(self, vectors):
    """Returns P^-1 v, damped as the quadratic model is."""
    return [A @ vector @ G
            for A, G, vector in self._damped(vectors, self.damping)]

  def _damped(self, vectors, damping):
    """Returns damped A, damped G and vector of both layers."""
    # The averages start at zero; the bias towards zero is removed.
    covs = [cov / (1. - self._decay**self._steps) for cov in self._covs]
    return [(*damp(A, G, damping), vector) for A, G, vector in
            zip(covs[:2], covs[2:], vectors, strict=True)]

  def step(self, x, y, learning_rate, momentum=0.9, momentum_type="regular",
           norm_constraint=np.inf):
    """Updates the factors and makes a step.

    Args:
      x: Inputs.
      y: Classes.
      learning_rate: Number.
      momentum: Number.
      momentum_type: As in KfacOptimizer.
      norm_constraint: Number.
    """
    net = self.update(x, y)
    if momentum_type == "qmodel":
      steps = self._qmodel(net, learning_rate)
    elif momentum_type == "adam":
      self._accumulate(net.grads, momentum, 1.)
      steps = self.precondition(self.velocities)
    else:
      precon = self.precondition(net.grads)
      norm = learning_rate**2 * dot(net.grads, precon)
      self._accumulate(
          precon, momentum, min(1., np.sqrt(norm_constraint / norm)))
      steps = self.velocities
    updates = [-learning_rate * step for step in steps]
    if momentum_type != "qmodel":
      # With the approximate Fisher matrix, not that of the batch.
      self.change = (
          dot(net.grads, updates) + dot(updates, self.multiply(updates)) / 2.)
    self.params = [value + update for value, update in
                   zip(self.params, updates, strict=True)]

  def _accumulate(self, vectors, decay, coeff):
    self.velocities = [decay * velocity + coeff * vector for velocity, vector
                       in zip(self.velocities, vectors, strict=True)]

  def _qmodel(self, net, learning_rate):
    """Picks alpha and mu, and returns the new velocities."""
    precon = self.precondition(net.grads)
    directions = [precon, [-learning_rate * v for v in self.velocities]]
    M = np.array([[net.fisher_product(a, b) + self.damping * dot(a, b)
                   for b in directions] for a in directions])
    c = np.array([dot(net.grads, d) for d in directions])
    if M[1, 1]:
      self.coefficients = -np.linalg.solve(M, c)
    else:
      self.coefficients = np.array([-c[0] / M[0, 0], 0.])
    self.change = c @ self.coefficients / 2.
    alpha, mu = self.coefficients
    self._accumulate(precon, mu, -alpha)
    return self.velocities
