"""Tests of the blocks of embeddings."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_blocks import graph_case as case
from kfac.python.ops import estimator


class EmbeddingTest(case.GraphCase):

  def _fisher(self, table, ids, outputs, targets, name="e", **kwargs):
    """Returns the estimator of a single embedding with a normal loss."""
    collection = case.new_collection()
    register = (collection.register_embedding_multi if isinstance(ids, list)
                else collection.register_embedding)
    register(table, ids, outputs, **kwargs)
    collection.register_normal_predictive_distribution(
        tf.concat(outputs, 1) if isinstance(ids, list) else outputs,
        targets=tf.constant(targets))
    fisher = estimator.FisherEstimator(
        collection.registered_variables, 0.95, 0.1, collection,
        exps=(-1, -0.5), estimation_mode="empirical", name=name)
    return collection, fisher

  def testSparseVectorsStaySparseAndEqualDenseOnes(self):
    table = self._variable(5, 2)
    ids = [tf.constant([0, 3, 3, 1]), tf.constant([1, 3, 0, 0])]
    outputs = [tf.nn.embedding_lookup(table, use) for use in ids]
    single = self._fisher(
        table, ids[0], outputs[0], self._normal(4, 2), "single")
    multi = self._fisher(table, ids, outputs, self._normal(4, 4), "multi")
    values = self._normal(3, 2)
    dense = np.zeros([5, 2])
    dense[[1, 3, 0]] = values
    with self.session() as session:
      for collection, fisher in (single, multi):
        case.update(session, fisher)
        block, = collection.get_blocks()
        sparse = tf.IndexedSlices(
            tf.constant(values), tf.constant([1, 3, 0]), tf.constant([5, 2]))
        for exp in (1, -1, -0.5):
          product = block.multiply_matpower(sparse, exp)
          self.assertIsInstance(product, tf.IndexedSlices)
          rows, indices, expected = session.run([
              product.values, product.indices,
              block.multiply_matpower(tf.constant(dense), exp)])
          self.assertAllEqual(indices, [1, 3, 0])
          self.assertAllClose(rows, expected[[1, 3, 0]], rtol=1e-12)
          self.assertAllEqual(expected[[2, 4]], np.zeros([2, 2]))

  def testPartitionedTableEqualsAWholeTable(self):
    W, ids = self._normal(7, 2), np.array([6, 0, 3, 3, 5, 1, 4])
    targets, vector = self._normal(7, 2), self._normal(7, 2)
    whole = tf.get_variable(
        "whole", initializer=tf.constant(W), use_resource=True)
    _, fisher = self._fisher(
        whole, tf.constant(ids), tf.nn.embedding_lookup(whole, ids), targets)
    fishers, assigns, results = [fisher], [], []
    for strategy in ("mod", "div"):
      table = tf.get_variable(
          strategy, shape=[7, 2], dtype=tf.float64, use_resource=True,
          partitioner=tf.fixed_size_partitioner(3))
      parts = list(table)
      self.assertEqual([part.shape.as_list()[0] for part in parts], [3, 2, 2])
      # The ids of each part.
      rows = ([np.arange(i, 7, 3) for i in range(3)] if strategy == "mod"
              else [np.arange(0, 3), np.arange(3, 5), np.arange(5, 7)])
      assigns += [part.assign(W[held])
                  for part, held in zip(parts, rows, strict=True)]
      outputs = tf.nn.embedding_lookup(
          table, tf.constant(ids), partition_strategy=strategy)
      for params, name in ((table, "table"), (parts, "parts")):
        _, fisher = self._fisher(
            params, tf.constant(ids), outputs, targets, strategy + name,
            partition_strategy=strategy)
        fishers.append(fisher)
        fisher.build()
        pairs = fisher.multiply_matpower(-0.5, [
            (tf.constant(vector[held]), part)
            for held, part in zip(rows, parts, strict=True)])
        results.append((rows, outputs, [product for product, _ in pairs]))
    self._checkParts(fishers, assigns, results, W[ids], vector)

  def _checkParts(self, fishers, assigns, results, looked_up, vector):
    """Compares each list of products with that of the whole table."""
    updates = [[fisher.cov_update_op for fisher in fishers],
               [fisher.inv_update_op for fisher in fishers]]
    whole, = fishers[0].variables
    (expected, _), = fishers[0].multiply_matpower(
        -0.5, [(tf.constant(vector), whole)])
    with self.session() as session:
      session.run(tf.global_variables_initializer())
      session.run(assigns)
      for ops in updates:
        session.run(ops)
      expected = session.run(expected)
      self.assertGreater(np.max(np.abs(expected)), 1e-3)
      for rows, outputs, products in results:
        outputs, products = session.run([outputs, products])
        self.assertAllEqual(outputs, looked_up)
        for product, held in zip(products, rows, strict=True):
          self.assertAllClose(product, expected[held], rtol=1e-12)


if __name__ == "__main__":
  tf.test.main()
