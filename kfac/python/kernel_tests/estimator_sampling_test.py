"""Tests of the counter that determines what a FisherEstimator samples."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import graph_modes
from kfac.python.ops import estimation_modes
from kfac.python.ops import estimator
from kfac.python.ops import fisher_factors as ff
from kfac.python.ops import layer_collection as lc

# The modes that are random for dense layers; "exact" is for generic ones.
RANDOM = ("curvature_prop", "gradients")
COUNTER = "FisherEstimator/sample_counter:0"


def _estimator(mode="gradients", name="FisherEstimator", seed=None, shift=0.):
  """Returns an estimator of two dense layers, whose factors forget the past."""
  rng = np.random.RandomState(1)
  layers = lc.LayerCollection()
  variables = [tf.get_variable(f"{name}_{i}", initializer=rng.randn(3, 3))
               for i in range(2)]
  hidden = tf.constant(rng.randn(20, 3)) + shift
  for variable in variables:
    inputs, hidden = hidden, tf.matmul(tf.tanh(hidden), variable)
    layers.register_fully_connected(variable, tf.tanh(inputs), hidden)
  layers.register_categorical_predictive_distribution(
      hidden, targets=np.zeros(20, np.int32), seed=seed)
  return estimator.FisherEstimator(
      variables, 0., 0.1, layers, estimation_mode=mode, name=name)


def _output_covs(est):
  """Returns the covariances of the factors whose data are random."""
  return [block._output_factor.get_cov() for block in est.blocks]


class SampleCounterTest(tf.test.TestCase):

  def _counters(self):
    return [v.name for v in tf.global_variables()
            if "sample_counter" in v.name]

  def testOnlyWhatIsRandomHasACounter(self):
    for mode in estimation_modes.MODES:
      with tf.Graph().as_default():
        est = _estimator(mode)
        self.assertEmpty(self._counters())
        est.build()
        self.assertEqual(self._counters(),
                         [COUNTER] * (mode in estimation_modes.RANDOM_MODES))
        self.assertEmpty([v for v in tf.trainable_variables()
                          if "sample_counter" in v.name])

  def testContribHasNone(self):
    self.addCleanup(setattr, ff, "CONTRIB_VARIABLES", ff.CONTRIB_VARIABLES)
    ff.CONTRIB_VARIABLES = True
    for mode in RANDOM:
      with tf.Graph().as_default(), self.session() as sess:
        est = _estimator(mode)
        update = est.cov_update_op
        self.assertEmpty(self._counters())
        sess.run(tf.global_variables_initializer())
        values = []
        for _ in range(2):
          sess.run(update)
          values.append(sess.run(_output_covs(est)))
        self.assertNotAllClose(*values)

  def testScopeAndSecondEstimator(self):
    with tf.Graph().as_default():
      _estimator(name="one").create_ops_and_vars_thunks(scope="here")
      # The factors of another model have other names.
      for shift in (1., 2.):
        _estimator(name=f"two{shift}", shift=shift).build("there")
      self.assertEqual(self._counters(), [
          "here/sample_counter:0", "there/sample_counter:0",
          "there/sample_counter_1:0"])

  def testAFailedBuildKeepsTheCounter(self):
    with tf.Graph().as_default():
      est = _estimator()
      variables, est._variables = est._variables, []
      with self.assertRaises(ValueError):
        est.build()
      est._variables = variables
      est.build()
      self.assertEqual(self._counters(), [COUNTER])

  def testTheCounterDeterminesTheSamples(self):
    for mode in RANDOM:
      with tf.Graph().as_default(), self.session() as sess:
        est = _estimator(mode)
        update, counter = est.cov_update_op, est._sample_counter
        sess.run(tf.global_variables_initializer())
        results = []
        for value in (5, 6, 5):
          counter.load(value, sess)
          sess.run(update)
          self.assertEqual(sess.run(counter), value + 1)
          results.append(sess.run(_output_covs(est)))
        self.assertAllClose(results[0], results[2], rtol=1e-12)
        for one, other in zip(*results[:2], strict=True):
          self.assertNotAllClose(one, other)

  def testUpdatesOfOneRunShareTheSamples(self):
    for mode in RANDOM:
      with tf.Graph().as_default(), self.session() as sess:
        est = _estimator(mode)
        together, ops = est.cov_update_op, est.cov_update_ops
        counter = est._sample_counter
        sess.run(tf.global_variables_initializer())
        counter.load(5, sess)
        sess.run(together)
        expected = sess.run(_output_covs(est))
        for index, factor in enumerate(est.factors):
          counter.load(5, sess)
          sess.run(ops[index])
          if factor.get_cov() is not est.blocks[0]._input_factor.get_cov():
            self.assertIn(sess.run(counter), (5, 6))
        self.assertAllClose(
            sess.run(_output_covs(est)), expected, rtol=1e-12)
        # A factor of random data advances the counter even if it is alone.
        counter.load(5, sess)
        sess.run(ops[est.factors.index(est.blocks[1]._output_factor)])
        self.assertEqual(sess.run(counter), 6)

  def testABranchCountsOnlyIfItIsTaken(self):
    for v2 in (False, True):
      with graph_modes.control_flow(v2), tf.Graph().as_default(), \
          self.session() as sess:
        est = _estimator()
        update, counter = est.cov_update_op, est._sample_counter
        condition = tf.placeholder(tf.bool, [])

        def taken(est=est):
          with tf.control_dependencies([est.make_cov_update_op_in_branch()]):
            return tf.constant(True)

        branch = tf.cond(condition, taken, lambda: tf.constant(False))
        sess.run(tf.global_variables_initializer())
        counter.load(5, sess)
        sess.run(update)
        expected = sess.run(_output_covs(est))
        counter.load(5, sess)
        sess.run(branch, {condition: False})
        self.assertEqual(sess.run(counter), 5)
        sess.run(branch, {condition: True})
        self.assertEqual(sess.run(counter), 6)
        self.assertAllClose(
            sess.run(_output_covs(est)), expected, rtol=1e-12)

  def testSeedsOfGraphAndLossDetermineTheSamples(self):
    results = []
    for graph_seed, seed in ((1, None), (1, None), (2, None), (None, 1),
                             (None, 1), (None, 2), (None, None), (None, None)):
      with tf.Graph().as_default(), self.session() as sess:
        if graph_seed is not None:
          tf.set_random_seed(graph_seed)
        est = _estimator(seed=seed)
        update = est.cov_update_op
        sess.run(tf.global_variables_initializer())
        sess.run(update)
        results.append(sess.run(_output_covs(est)[1]))
    equal = {(i, j) for i in range(8) for j in range(i)
             if np.array_equal(results[i], results[j])}
    self.assertEqual(equal, {(1, 0), (4, 3)})


if __name__ == "__main__":
  tf.test.main()
