"""Tests of the seeds of stateless ops, and of the counter behind them."""

import hashlib

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import stateless_seeds


class StatelessSeedTest(tf.test.TestCase):

  def testHashesDifferAndStayTheSame(self):
    keys = [(), (None,), (0,), (1,), ("1",), ("sample", 0, None),
            ("sample", 0, 0), ("sample", None, 0), ("signs", 0, 0)]
    hashes = [stateless_seeds.hash_of(*key) for key in keys]
    self.assertLen(set(hashes), len(keys))
    self.assertAllInRange(hashes, 0, 2**62 - 1)
    # A checkpoint is continued by other processes and versions.
    digest = hashlib.sha256(b"['sample', 0, None]").digest()
    self.assertEqual(
        hashes[5], int.from_bytes(digest[:8], "big") % 2**62)

  def testSeedIsKeyAndCounter(self):
    with tf.Graph().as_default(), self.session() as sess:
      counter = tf.placeholder(tf.int64, [])
      seeds = [stateless_seeds.stateless_seed(counter, "a", index)
               for index in range(2)]
      got = sess.run(seeds, {counter: 2**62 + 5})
    for index, seed in enumerate(got):
      self.assertAllEqual(
          seed, [stateless_seeds.hash_of("a", index), 2**62 + 5])


class MakeCounterTest(tf.test.TestCase):

  def _starts(self, graph_seed, is_seeded):
    """Returns the initial values in two graphs."""
    starts = []
    for _ in range(2):
      with tf.Graph().as_default(), self.session() as sess:
        if graph_seed is not None:
          tf.set_random_seed(graph_seed)
        counter = stateless_seeds.make_counter("counter", is_seeded)
        sess.run(tf.global_variables_initializer())
        starts.append(sess.run(counter))
    self.assertAllInRange(starts, 0, 2**62 - 1)
    return starts

  def testSeedsDetermineTheStart(self):
    with_seeds = []
    for graph_seed, is_seeded in ((1, False), (2, False), (None, True)):
      first, second = self._starts(graph_seed, is_seeded)
      self.assertEqual(first, second)
      with_seeds.append(first)
    self.assertEqual(self._starts(1, True)[0], with_seeds[0])
    self.assertLen(set(with_seeds + self._starts(None, False)), 5)

  def testStartIsAMultiple(self):
    for graph_seed in (1, None):
      with tf.Graph().as_default(), self.session() as sess:
        tf.set_random_seed(graph_seed)
        plain, multiple = (stateless_seeds.make_counter("counter", False, of)
                           for of in (1, 7))
        sess.run(tf.global_variables_initializer())
        plain, multiple = sess.run([plain, multiple])
        self.assertEqual(0, multiple % 7)
        if graph_seed is not None:
          self.assertEqual(multiple, plain - plain % 7)

  def testNamesAreUniqueInAScope(self):
    with tf.Graph().as_default():
      names = []
      for scope in ("a", "b", "a", "a"):
        with tf.variable_scope(scope):
          names.append(stateless_seeds.make_counter("counter", True).name)
      names.append(stateless_seeds.make_counter("counter", True).name)
      self.assertEqual(names, ["a/counter:0", "b/counter:0", "a/counter_1:0",
                               "a/counter_2:0", "counter:0"])
      self.assertEqual([v.name for v in tf.global_variables()], names)
      self.assertEmpty(tf.trainable_variables())


if __name__ == "__main__":
  tf.test.main()
