"""Tests of schedules: due updates, balanced shares, hooks."""

import itertools
import os
import re
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.ops import estimator
from kfac.python.ops.fisher_factors import gradual_inverse
from kfac.python.ops.kfac_utils import schedules

LEARNING_RATE = 0.1


class ScheduleTest(tf.test.TestCase):

  def _due(self, schedule, count):
    """Returns the steps with covariances, and for each share with inverses."""
    return ([t for t in range(count) if schedule.cov_due(t)],
            [[t for t in range(count) if schedule.inv_due(t, share)]
             for share in range(schedule.shares)])

  def testPeriods(self):
    self.assertEqual(
        self._due(schedules.Schedule(2, 3), 8), ([0, 2, 4, 6], [[0, 3, 6]]))
    self.assertEqual(
        self._due(schedules.Schedule(), 6), (list(range(6)), [[0, 5]]))

  def testBurnInRunsAllUpdates(self):
    schedule = schedules.Schedule(cov_every=4, inv_every=3, burn_in=2)
    self.assertEqual(
        self._due(schedule, 11), ([0, 1, 2, 6, 10], [[0, 1, 2, 5, 8]]))

  def testSharesTakeTurns(self):
    self.assertEqual(
        self._due(schedules.Schedule(inv_every=3, shares=3), 8)[1],
        [[0, 3, 6], [0, 1, 4, 7], [0, 2, 5]])
    self.assertEqual(
        self._due(schedules.Schedule(inv_every=5, shares=2), 13)[1],
        [[0, 5, 10], [0, 2, 7, 12]])

  def testPartsAreDueWithEachShareUnlessAllAreDue(self):
    for arguments, expected in (
        ((1, 3, 0, 3), [1, 2, 3, 4, 5, 6, 7]), ((1, 3, 2, 1), [2, 5]),
        ((1, 5, 0, 2), [2, 5, 7])):
      schedule = schedules.Schedule(*arguments)
      self.assertEqual(
          [t for t in range(8) if schedule.part_due(t)], expected)
      self.assertEqual([t for t in range(8) if schedule.all_due(t)],
                       list(range(max(arguments[2], 1))))

  def testEachShareIsDueOncePerPeriod(self):
    for every, burn_in in itertools.product((1, 4, 7), (0, 1, 5)):
      for shares in range(1, every + 1):
        schedule = schedules.Schedule(1, every, burn_in, shares)
        start = max(burn_in, 1) + 3
        for share in range(shares):
          self.assertEqual(1, sum(
              schedule.inv_due(t, share)
              for t in range(start, start + every)))
        at_once = [sum(schedule.inv_due(t, share) for share in range(shares))
                   for t in range(start, start + every)]
        self.assertLessEqual(max(at_once), 1)

  def testTensorsEqualInts(self):
    schedule = schedules.Schedule(3, 4, 2, 2)
    with tf.Graph().as_default(), self.session() as sess:
      t = tf.placeholder(tf.int64, [])
      due = [schedule.cov_due(t), schedule.inv_due(t, 0),
             schedule.inv_due(t, 1), schedule.part_due(t), schedule.all_due(t)]
      for value in range(12):
        self.assertEqual(
            [bool(flag) for flag in sess.run(due, {t: value})],
            [schedule.cov_due(value), schedule.inv_due(value, 0),
             schedule.inv_due(value, 1), schedule.part_due(value),
             schedule.all_due(value)])

  def testValuesOutOfRange(self):
    for name, minimum in (("cov_every", 1), ("inv_every", 1), ("burn_in", 0),
                          ("shares", 1)):
      for value in (minimum - 1, 1.5):
        with self.assertRaisesRegex(ValueError, re.escape(
            f"{name} must be an int >= {minimum}, got {value!r}.")):
          schedules.Schedule(**{name: value})
    with self.assertRaisesRegex(
        ValueError, "shares must be at most inv_every = 3, got 4."):
      schedules.Schedule(inv_every=3, shares=4)


class BalancedSharesTest(tf.test.TestCase):

  def testLongestFirst(self):
    self.assertEqual(
        schedules.balanced_shares([1, 5, 3, 3, 2, 4], 3), [[0, 1], [4, 5],
                                                           [2, 3]])

  def testEachItemOnce(self):
    rng = np.random.RandomState(0)
    for count, num_shares in ((0, 3), (2, 5), (20, 1), (20, 6)):
      costs = rng.randint(50, size=count).tolist()
      shares = schedules.balanced_shares(costs, num_shares)
      self.assertLen(shares, num_shares)
      self.assertCountEqual(sum(shares, []), range(count))
      self.assertEqual(shares, [sorted(share) for share in shares])
      self.assertEqual(shares, schedules.balanced_shares(costs, num_shares))

  def testWithinTheBoundOfTheOptimum(self):
    rng = np.random.RandomState(1)
    for _ in range(20):
      costs, num_shares = rng.randint(1, 30, size=6), 3
      best = min(
          max(costs[np.array(choice) == share].sum()
              for share in range(num_shares))
          for choice in itertools.product(range(num_shares), repeat=6))
      found = max(sum(costs[share]) for share in schedules.balanced_shares(
          costs.tolist(), num_shares))
      self.assertLessEqual(found, best * (4 / 3 - 1 / (3 * num_shares)))

  def testOneLargeItemIsAlone(self):
    self.assertEqual(
        schedules.balanced_shares([1, 1, 100, 1, 1], 2), [[2], [0, 1, 3, 4]])

  def testItemsWithoutCostAreDistributed(self):
    self.assertEqual(
        [len(share) for share in schedules.balanced_shares([0] * 6, 3)],
        [2, 2, 2])

  def testValuesOutOfRange(self):
    with self.assertRaisesRegex(
        ValueError, "num_shares must be an int >= 1, got 0."):
      schedules.balanced_shares([1], 0)
    with self.assertRaisesRegex(
        ValueError, "costs must be finite and at least 0, got -1."):
      schedules.balanced_shares([1, -1], 2)


class _Estimator:
  """Factors of these sizes, some of which cannot be computed in parts."""

  def __init__(self, *sizes, whole=()):
    self.factors = []
    for size in sizes:
      factor = mock.Mock()
      factor.get_cov().shape = tf.TensorShape([size, size])
      self.factors.append(factor)
    self._whole = whole

  def can_be_gradual(self, index):
    return index not in self._whole


class SplitInversesTest(tf.test.TestCase):

  def testLargeFactorsBelongToNoShare(self):
    shares, gradual = schedules.split_inverses(
        _Estimator(20, 500, 30, 400, 25), 20)
    self.assertEqual(gradual, [1, 3])
    self.assertEqual([share for share in shares if share], [[2], [4], [0]])
    self.assertLen(shares, 20)

  def testMoreThanFourAverageShares(self):
    for count, is_large in ((4, True), (5, False)):  # Of 20 shares.
      shares, gradual = schedules.split_inverses(_Estimator(*[200] * count), 20)
      self.assertLen(gradual, count * is_large)
      self.assertLen(sum(shares, []), count * (not is_large))

  def testOthersAreBalancedAsWithoutLargeFactors(self):
    shares, gradual = schedules.split_inverses(
        _Estimator(900, 10, 50, 30, 30, 20, 40), 6)
    self.assertEqual(gradual, [0])
    self.assertEqual(shares, [
        [index + 1 for index in share] for share in schedules.balanced_shares(
            [size ** 3 for size in (10, 50, 30, 30, 20, 40)], 6)])

  def testFactorsThatAreNeverLarge(self):
    minimum = gradual_inverse.MIN_ROWS
    for est, num_shares in (
        (_Estimator(10, 500, whole=[1]), 20), (_Estimator(10, minimum), 20),
        (_Estimator(500), 1), (_Estimator(500), 4)):
      shares, gradual = schedules.split_inverses(est, num_shares)
      self.assertEmpty(gradual)
      self.assertCountEqual(sum(shares, []), range(len(est.factors)))
    self.assertEqual([1], schedules.split_inverses(
        _Estimator(10, minimum + 1), 20)[1])


class _Training:
  """A dense network with a K-FAC optimizer in the default graph."""

  def __init__(self, global_step=False, use_resource=True):
    self.model = dense_net.build(use_resource=use_resource)
    self.step = tf.train.create_global_step() if global_step else None
    self.optimizer = kfac.KfacOptimizer(
        LEARNING_RATE, 0.9, 0.1, self.model.layers, estimation_mode="exact")
    self.train_op = self.optimizer.minimize(
        self.model.loss, global_step=self.step)

  def feed(self, batch):
    return dict(zip((self.model.x, self.model.y), batch, strict=True))


def _kept(optimizer):
  """Returns the kept matrices of all factors."""
  return [matrix for factor in optimizer._fisher_est.factors
          for matrix in factor._matpower_by_exp_and_damping.values()]


class UpdatesTest(tf.test.TestCase):

  def testCostsOfFactors(self):
    with tf.Graph().as_default():
      x = tf.ones([5, 3], tf.float64)
      layers = kfac.LayerCollection()
      variables = [tf.get_variable(name, initializer=np.ones([3, 2]))
                   for name in "ab"]
      outputs = [tf.matmul(x, variable) for variable in variables]
      for variable, output, approx in zip(
          variables, outputs, ("kron", "diagonal"), strict=True):
        layers.register_fully_connected(variable, x, output, approx=approx)
      layers.register_normal_predictive_distribution(tf.add_n(outputs))
      est = estimator.FisherEstimator(variables, 0.9, 0.1, layers)
      est.build()
      self.assertEqual(schedules.inverse_costs(est.factors), [27, 8, 0])

  def _train(self, data, by_hand, cov_first):
    """Trains, covariances every second and inverses every third update.

    Args:
      data: List of batches.
      by_hand: Whether updates are run by sess.run, not by Updates.
      cov_first: As in Updates.

    Returns:
      The variables afterwards.
    """
    with tf.Graph().as_default() as graph, self.session() as sess:
      training = _Training()
      train_op = training.train_op
      cov, inv = [getattr(training.optimizer, name)
                  for name in ("cov_update_op", "inv_update_op")]
      updates = schedules.Updates(
          training.optimizer, schedules.Schedule(cov_every=2, inv_every=3),
          cov_first=cov_first)
      sess.run(tf.global_variables_initializer())
      graph.finalize()
      for t, batch in enumerate(data):
        feed = training.feed(batch)
        if not by_hand:
          value, loss = updates.run(
              sess, t, [train_op, training.model.loss], feed)
          self.assertIsNone(value)
          self.assertGreater(loss, 0.)
          continue
        first = t == 0 or (cov_first and t == 6)
        if first:
          sess.run(cov, feed)
        if t in (0, 3, 6):
          sess.run(inv)
        sess.run([train_op] + [cov] * (t in (2, 4, 6) and not first), feed)
      return sess.run(training.model.variables)

  def testUpdatesEqualExplicitRuns(self):
    data = dense_net.batches(8)
    results = []
    for cov_first in (False, True):
      by_hand, by_updates = [
          self._train(data, hand, cov_first) for hand in (True, False)]
      self.assertAllClose(by_hand, by_updates, rtol=1e-9, atol=1e-9)
      results.append(by_hand)
    self.assertNotAllClose(*results)

  def testCovariancesBesideAStepThatCannotTellTheDifference(self):
    schedule = schedules.Schedule(inv_every=3)
    (x, y), = dense_net.batches(1)
    for use_resource in (True, False):
      with tf.Graph().as_default() as graph, self.session() as sess:
        training = _Training(use_resource=use_resource)
        train_op, model = training.train_op, training.model
        cov_op = training.optimizer.cov_update_op
        read = tf.identity(
            training.optimizer._fisher_est.factors[0].get_cov())
        runs = {}
        for cov_first in (False, True):
          runs[cov_first] = schedules.Updates(
              training.optimizer, schedule, cov_first=cov_first)
        sess.run(tf.global_variables_initializer())
        graph.finalize()
        feed = {model.x: x, model.y: y}
        for cov_first, updates in runs.items():
          for t, step, beside in (
              (0, train_op, False), (1, train_op, True),
              (1, [train_op, {"loss": model.loss}], True),
              (1, [train_op, read], False), (1, None, False),
              (3, train_op, False)):
            if not cov_first:
              beside = t > 0
            elif not use_resource and step is not None:
              beside = False
            with self.subTest(t=t, cov_first=cov_first, resource=use_resource):
              self.assertEqual(
                  updates.start(sess, t, feed, step),
                  [cov_op] if beside else [])

  def testOpsThatAreDue(self):
    with tf.Graph().as_default() as graph, self.session() as sess:
      training = _Training()
      updates = schedules.Updates(
          training.optimizer._fisher_est,
          schedules.Schedule(cov_every=2, inv_every=4, shares=4))
      kept = _kept(training.optimizer)
      sess.run(tf.global_variables_initializer())
      graph.finalize()
      feed = training.feed(dense_net.batches(1)[0])
      self.assertLen(updates.ops(0), 5)
      self.assertEmpty(updates.start(sess, 0, feed))
      self.assertTrue(all(np.any(value) for value in sess.run(kept)))
      self.assertEqual([len(updates.ops(t)) for t in range(1, 5)],
                       [1, 2, 1, 2])
      # Shares renew different matrices; together they renew all.
      changed = []
      for t in range(1, 5):
        for matrix in kept:
          matrix.load(np.zeros(matrix.shape), sess)
        sess.run(updates.ops(t), feed)
        changed.append([i for i, value in enumerate(sess.run(kept))
                        if np.any(value)])
      self.assertCountEqual(sum(changed, []), range(len(kept)))


  def testTheLargestInverseIsComputedInParts(self):
    # The factor A of the second layer, with 5 rows, costs 125 of 280: it is
    # large among ten shares. It takes five sweeps of one row, and a last part.
    self.enter_context(mock.patch.object(gradual_inverse, "MIN_ROWS", 1))
    with tf.Graph().as_default() as graph, self.session() as sess:
      training = _Training()
      sess.run(tf.global_variables_initializer())
      updates = schedules.Updates(  # The initializer ran before.
          training.optimizer,
          schedules.Schedule(cov_every=99, inv_every=10, shares=10))
      uninitialized = tf.report_uninitialized_variables()
      graph.finalize()
      factor, other = training.optimizer._fisher_est.factors[2:]
      self.assertEqual(schedules.split_inverses(
          training.optimizer._fisher_est, 10)[1], [2])
      kept = _kept(training.optimizer)[2]
      feed = training.feed(dense_net.batches(1)[0])

      def inverse():
        A, G = sess.run([factor.get_cov(), other.get_cov()])
        return np.linalg.inv(dense_net.damp(A, G, 0.1)[0])

      self.assertLen(updates.ops(0), 5)
      for times in (1, 2):  # The second round restarts in the middle.
        updates.start(sess, 0, feed)
        self.assertEmpty(sess.run(uninitialized))
        for t in range(1, 7 if times == 2 else 4):
          before = sess.run(kept)
          if t == 1:
            self.assertAllClose(inverse(), before)
            factor.get_cov().load(times * np.diag([1., 2., 3., 4., 5.]), sess)
            expected = inverse()
          elif t == 2:
            factor.get_cov().load(9. * np.eye(5), sess)
          updates.start(sess, t, feed)
          if t < 6:
            self.assertAllEqual(before, sess.run(kept))
      self.assertAllClose(expected, sess.run(kept))

  def testUpdatesOfOneOptimizerShareAnInverseUnderWay(self):
    self.enter_context(mock.patch.object(gradual_inverse, "MIN_ROWS", 1))
    with tf.Graph().as_default():
      training = _Training()
      counts = []
      for shares in (10, 12):
        schedules.Updates(
            training.optimizer, schedules.Schedule(1, 20, 0, shares))
        counts.append(len(tf.global_variables()))
      self.assertEqual(*counts)


class ScheduleHookTest(tf.test.TestCase):

  def _train(self, batches, checkpoint_dir=None, only_steps=True,
             cov_first=False, schedule=None):
    """Trains with a hook.

    Args:
      batches: Batches.
      checkpoint_dir: Directory to restore from and save to.
      only_steps: Whether the hook has the train op, so that other runs are
        allowed.
      cov_first: As in the hook.
      schedule: Schedule, or None for covariances at every second update and
        inverses at every third.

    Returns:
      Parameters, the number of covariance updates before each step, and the
      global step.
    """
    with tf.Graph().as_default():
      training = _Training(global_step=True)
      model = training.model
      factor = training.optimizer._fisher_est.factors[0]
      hook = schedules.ScheduleHook(
          training.optimizer, schedule or schedules.Schedule(2, 3),
          training.train_op if only_steps else None, cov_first=cov_first)
      step = None
      with tf.train.MonitoredTrainingSession(
          checkpoint_dir=checkpoint_dir, hooks=[hook],
          save_checkpoint_secs=None, save_checkpoint_steps=100) as sess:
        numbers = []
        for batch in batches:
          if only_steps:
            sess.run(model.variables)  # Another run, without a feed.
          sess.run(training.train_op, training.feed(batch))
          numbers.append(sess._tf_sess().run(factor.num_updates))
          step = sess._tf_sess().run(training.step)
        return (sess._tf_sess().run(model.variables), numbers, step)

  def testCountsTheGlobalStep(self):
    data = dense_net.batches(5)
    for only_steps in (True, False):
      _, numbers, step = self._train(data, only_steps=only_steps)
      self.assertEqual(numbers, [1, 1, 2, 2, 3])
      self.assertEqual(step, 5)

  def testContinuesFromACheckpoint(self):
    data = dense_net.batches(5)
    for cov_first in (False, True):
      whole, _, _ = self._train(data, cov_first=cov_first)
      folder = os.path.join(self.get_temp_dir(), str(cov_first))
      self._train(data[:3], folder, cov_first=cov_first)
      parts, numbers, step = self._train(data[3:], folder, cov_first=cov_first)
      self.assertEqual(numbers, [2, 3])
      self.assertEqual(step, 5)
      self.assertAllClose(whole, parts, rtol=1e-9, atol=1e-9)

  def testContinuesInTheMiddleOfALargeInverse(self):
    self.enter_context(mock.patch.object(gradual_inverse, "MIN_ROWS", 1))
    data = dense_net.batches(9)
    schedule = schedules.Schedule(2, 10, shares=10)
    whole, _, _ = self._train(data, cov_first=True, schedule=schedule)
    folder = os.path.join(self.get_temp_dir(), "large")
    for part in (data[:4], data[4:]):
      params, _, _ = self._train(
          part, folder, cov_first=True, schedule=schedule)
    self.assertAllEqual(whole[0], params[0])
    self.assertAllEqual(whole[2], params[2])

  def testCovFirstEqualsUpdates(self):
    data = dense_net.batches(7)
    results = {}
    for cov_first in (False, True):
      results[cov_first], _, _ = self._train(data, cov_first=cov_first)
      with tf.Graph().as_default(), self.session() as sess:
        training = _Training()
        updates = schedules.Updates(
            training.optimizer, schedules.Schedule(2, 3), cov_first)
        sess.run(tf.global_variables_initializer())
        for t, batch in enumerate(data):
          updates.run(sess, t, training.train_op, training.feed(batch))
        self.assertAllClose(results[cov_first],
                            sess.run(training.model.variables), rtol=1e-9)
    self.assertNotAllClose(results[False], results[True])

  def testAGlobalStepIsNeeded(self):
    with tf.Graph().as_default():
      training = _Training()
      hook = schedules.ScheduleHook(training.optimizer, schedules.Schedule())
      with self.assertRaisesRegex(
          ValueError,
          "global_step must be given if the graph has none, got None."):
        hook.begin()


if __name__ == "__main__":
  tf.test.main()
