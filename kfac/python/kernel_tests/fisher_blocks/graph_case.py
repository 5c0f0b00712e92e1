"""A test case in a graph of its own, and what the tests of blocks share."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import layer_collection

ONES = [1, 1, 1, 1]


def new_collection():
  """Returns an empty layer collection."""
  return layer_collection.LayerCollection()


def filters(*shape):
  """Returns filters of a shape, all zero."""
  return tf.zeros(shape)


def update(session, fisher):
  """Makes and runs all updates of an estimator."""
  ops = [fisher.cov_update_op, fisher.inv_update_op]
  session.run(tf.global_variables_initializer())
  for op in ops:
    session.run(op)


class GraphCase(tf.test.TestCase):
  """Builds in a new graph, with seeds set."""

  def setUp(self):
    """Enters the graph."""
    super().setUp()
    context = tf.Graph().as_default()
    context.__enter__()
    self.addCleanup(context.__exit__, None, None, None)
    tf.set_random_seed(1)
    self._rng = np.random.RandomState(1)

  def _normal(self, *shape):
    return self._rng.normal(size=shape)

  def _variable(self, *shape):
    return tf.get_variable(
        f"v{len(tf.global_variables())}", use_resource=True,
        initializer=tf.constant(self._normal(*shape)))
