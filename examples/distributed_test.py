"""Tests of the places of workers, and of their parts of the batches."""

import unittest

import numpy as np

from examples import distributed
from examples import mnist


class PlaceTest(unittest.TestCase):

  def _roles(self, num_workers, op_strategy):
    return [distributed.Place(
        "sync_replicas", index, num_workers, op_strategy=op_strategy).role
            for index in range(num_workers)]

  def testAllComputeGradientsWithTheChiefAsWorker(self):
    self.assertEqual(self._roles(3, "chief_worker"), ["gradients"] * 3)

  def testTheLastTwoAreDedicated(self):
    for count in (3, 5):
      self.assertEqual(
          self._roles(count, "dedicated_workers"),
          ["gradients"] * (count - 2) + ["covariances", "inverses"])

  def testTheFirstIsTheChief(self):
    self.assertEqual([distributed.Place("synchronous", index, 3).is_chief
                      for index in range(3)], [True, False, False])

  def testPartsAreTheWholeBatch(self):
    batch = np.arange(12)
    for strategy, num_workers, num_parts in (
        ("chief_worker", 1, 1), ("chief_worker", 3, 3),
        ("dedicated_workers", 5, 3)):
      parts = [distributed.Place(
          "asynchronous", index, num_workers, op_strategy=strategy).part_of(
              batch) for index in range(num_workers)]
      np.testing.assert_array_equal(np.concatenate(parts[:num_parts]), batch)
      self.assertEqual({len(part) for part in parts}, {12 // num_parts})


class BatchesTest(unittest.TestCase):

  def testBatchesHaveNumbers(self):
    shuffled = mnist.shuffled_batches(10, 3, seed=5)
    expected = [next(shuffled) for _ in range(9)]
    batches = distributed.Batches(10, 3, seed=5)
    # In any order: a worker that starts again begins with a later one.
    for number in (4, 4, 5, 8, 0, 1, 7):
      np.testing.assert_array_equal(batches.batch(number), expected[number])


if __name__ == "__main__":
  unittest.main()
