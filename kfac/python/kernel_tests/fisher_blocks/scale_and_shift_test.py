"""Tests of the blocks of scale and shift against the true Fisher matrix."""

import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized

from kfac.python.ops import estimator
from kfac.python.ops import fisher_blocks
from kfac.python.ops import layer_collection

BATCH = 5
VAR = 0.3


def jacobian(function, params):
  """Returns the Jacobian [outputs, params] of a function, by complex steps."""
  columns = [np.imag(function(params + step)) / 1e-30
             for step in 1e-30j * np.eye(params.size)]
  return np.stack(columns, axis=1)


def unpack(column, shapes):
  """Returns the arrays of some shapes whose entries are in one vector."""
  arrays = []
  for shape in shapes:
    size = int(np.prod(shape))
    arrays.append(column[:size].reshape(shape))
    column = column[size:]
  return arrays


# Shapes of the parameters, of an example's input and of its output; whether the
# first parameter is a scale.
CASES: tuple = (
    ("channels_of_images", [[3], [3]], [2, 2, 3], [2, 2, 3], True),
    ("channels_of_positions", [[3], [3]], [4, 3], [4, 3], True),
    ("positions", [[1, 4, 1], [3]], [4, 3], [4, 3], True),
    ("vectors", [[1, 3], [3]], [3], [3], True),
    ("scalars", [[], []], [2, 3], [2, 3], True),
    ("inputs_that_broadcast", [[2, 3], [3]], [2, 1], [2, 3], True),
    ("scale_alone", [[2, 1]], [2, 3], [2, 3], True),
    ("shift_alone", [[3]], [2, 3], [2, 3], False),
    ("one_number_per_example", [[1], []], [], [], True),
)


class ScaleAndShiftFBTest(parameterized.TestCase, tf.test.TestCase):

  def setUp(self):
    super().setUp()
    self._rng = np.random.RandomState(5)

  def _normal(self, *shape):
    return self._rng.normal(size=shape)

  def _apply(self, params, inputs, has_scale):
    if not has_scale:
      return inputs + params[0]
    return sum([params[0] * inputs, *params[1:]])

  def _block(self, values, uses, head, approx, has_scale, as_list):
    """Returns the block's matrix and number of uses, and the layer's name."""
    with tf.Graph().as_default(), self.session() as session:
      params = tuple(
          tf.get_variable(f"p{i}", initializer=tf.constant(value),
                          use_resource=True)
          for i, value in enumerate(values))
      inputs = [tf.constant(use) for use in uses]
      outputs = [self._apply(params, use, has_scale) for use in inputs]
      collection = layer_collection.LayerCollection()
      collection.register_scale_and_shift(
          params if len(params) > 1 else params[0],
          None if not has_scale else inputs if as_list else inputs[0],
          outputs if as_list else outputs[0], approx)
      flat = tf.concat(
          [tf.reshape(use, [BATCH, -1]) for use in outputs], axis=1)
      collection.register_normal_predictive_distribution(
          tf.matmul(flat, tf.constant(head)), var=VAR)
      fisher = estimator.FisherEstimator(
          params, 0.95, 0.1, collection, estimation_mode="exact")
      update = fisher.cov_update_op
      block, = collection.get_blocks()
      full = block.full_fisher_block()
      session.run(tf.global_variables_initializer())
      session.run(update)
      return session.run(full), block

  def _check(self, shapes, in_shape, out_shape, has_scale, num_uses, as_list):
    values = [self._normal(*shape) for shape in shapes]
    uses = [self._normal(BATCH, *in_shape) for _ in range(num_uses)]
    size = int(num_uses * np.prod(out_shape))
    head = self._normal(size, 4)

    def network(column, example):
      params = unpack(column, shapes)
      outputs = [self._apply(params, use[example:example + 1], has_scale)
                 for use in uses]
      return np.concatenate([np.ravel(use) for use in outputs]) @ head

    column = np.concatenate([np.ravel(value) for value in values])
    jacobians = [jacobian(lambda p, i=i: network(p, i), column)
                 for i in range(BATCH)]
    expected = np.mean([J.T @ J / VAR for J in jacobians], axis=0)
    self.assertGreater(np.max(np.abs(expected)), 1e-3)
    for approx in (None, "full", "diagonal"):
      with self.subTest(approx):
        actual, block = self._block(
            values, uses, head, approx, has_scale, as_list)
        self.assertAllClose(
            actual, np.diag(np.diag(expected)) if approx == "diagonal"
            else expected, rtol=1e-9, atol=1e-12)
        self.assertEqual(block.num_graph_uses, num_uses)
        self.assertEqual(block.num_uses, num_uses)

  @parameterized.named_parameters(*CASES)
  def testIsTheFisherMatrix(self, *case):
    self._check(*case, 1, False)

  @parameterized.named_parameters(*CASES)
  def testUsesAreSummed(self, *case):
    self._check(*case, 3, True)

  def testContribOrderOfArgumentsAndFirstTower(self):
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      x = tf.ones([BATCH, 2, 3])
      for cls, base in (
          (fisher_blocks.ScaleAndShiftFullFB, fisher_blocks.FullFB),
          (fisher_blocks.ScaleAndShiftDiagonalFB, fisher_blocks.DiagonalFB)):
        block = cls(collection, [1], None, False, inputs=x, outputs=x)
        self.assertIsInstance(block, base)
        self.assertEqual(block.num_registered_towers, 1)
        self.assertEqual(block.tensors_to_compute_grads(), [x])
        with self.assertRaisesRegex(
            ValueError, "outputs must have 1 uses in each tower, got 2"):
          block.register_additional_tower([x, x], [x, x])

  def testTowersHaveTheSameSettings(self):
    with tf.Graph().as_default():
      collection = layer_collection.LayerCollection()
      scale = tf.get_variable("scale", [3])
      collection.register_scale_and_shift(
          scale, tf.ones([2, 3]), tf.ones([2, 3]))
      with self.assertRaisesRegex(
          ValueError, "reused with the settings of the registered layer"):
        collection.register_scale_and_shift(
            scale, tf.ones([2, 4, 3]), tf.ones([2, 4, 3]), reuse=True)


if __name__ == "__main__":
  tf.test.main()
