"""A test case: an error of a registration leaves the collection unchanged."""

import contextlib

import tensorflow.compat.v1 as tf


def variable(name, shape, dtype=tf.float32):
  """Makes a variable of ones."""
  return tf.get_variable(name, shape, dtype, tf.ones_initializer())


def _held(layers):
  """Returns the state of a collection, as values that can be compared."""
  return (
      [(key, block, block.num_registered_towers)
       for key, block in layers.fisher_blocks.items()],
      layers.get_use_count_map(), layers.towers_by_loss,
      dict(layers.loss_colocation_ops), layers.linked_parameters.copy(),
      list(layers.fisher_factors))


def refusal_of_outer(tensor):
  """Returns the error of a tensor that was made outside of all graphs.

  Without eager execution it belongs to the default graph.
  """
  if type(tensor).__name__ == "EagerTensor":
    return "must be a graph tensor, got the eager 'EagerTensor'"
  return ("must belong to the graph of the layer collection, got .*:0 of "
          "another graph")


class ErrorsCase(tf.test.TestCase):
  """Checks errors of a layer collection."""

  @contextlib.contextmanager
  def assertRejected(self, layers, error, text):
    """Asserts an error of one line that changes nothing."""
    before = _held(layers)
    with self.assertRaisesRegex(error, text) as caught:
      yield
    self.assertNotIn("\n", str(caught.exception))
    self.assertEqual(_held(layers), before)
