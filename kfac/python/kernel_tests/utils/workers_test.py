"""Tests of a worker that is alone, and of what all kinds of workers share."""

import threading

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import workers


class Pair(workers.Workers):
  """The second of two workers."""

  count = 2
  index = 1


class WorkersTest(tf.test.TestCase):

  def testAloneChangesNothing(self):
    with tf.Graph().as_default() as graph:
      tensor = tf.constant([1., 2.])
      op = tf.no_op()
      num_ops = len(graph.get_operations())
      self.assertEqual([tensor], workers.ALONE.mean([tensor], "mean"))
      self.assertEqual([tensor], workers.ALONE.from_chief([tensor], "chief"))
      self.assertIs(op, workers.ALONE.update(lambda: op))
      self.assertIs(op, workers.ALONE.after(op, "after"))
      self.assertEqual("step", workers.ALONE.finish(lambda name: name, "step"))
      self.assertLen(graph.get_operations(), num_ops)

  def testCondRunsItsOpIfTheConditionHolds(self):
    with tf.Graph().as_default(), tf.Session() as session:
      number = tf.get_variable(
          "number", initializer=0., use_resource=True)
      condition = tf.placeholder(tf.bool, [])
      op = workers.ALONE.cond(condition, lambda: tf.assign_add(number, 1.))
      session.run(number.initializer)
      for value in (True, False, True):
        session.run(op, {condition: value})
      self.assertEqual(2., session.run(number))

  def testLossesAreNumberedAsThoseOfTowers(self):
    self.assertEqual([0, 1, 2], list(map(workers.ALONE.numbered, range(3))))
    self.assertEqual([1, 3, 5], list(map(Pair().numbered, range(3))))

  def testCurrentWorkersAreThoseOfTheThread(self):
    pair, others = Pair(), []
    with pair.building():
      self.assertIs(pair, workers.current())
      thread = threading.Thread(
          target=lambda: others.append(workers.current()))
      thread.start()
      thread.join()
      with workers.ALONE.building():
        self.assertIs(workers.ALONE, workers.current())
      self.assertIs(pair, workers.current())
    self.assertIs(workers.ALONE, workers.current())
    self.assertEqual([workers.ALONE], others)


if __name__ == "__main__":
  tf.test.main()
