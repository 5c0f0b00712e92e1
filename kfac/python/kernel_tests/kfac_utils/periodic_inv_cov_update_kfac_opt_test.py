"""Tests of the optimizer that schedules its own updates."""

import collections
import inspect
import re
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.kernel_tests import graph_modes
from kfac.python.ops.fisher_factors import gradual_inverse
from kfac.python.ops.kfac_utils import schedules

DAMPING = 0.1
DECAY = 0.9
COUNTED = re.compile(
    "= (_?(Batch|Fused)?MatMul|Cholesky|MatrixTriangularSolve|"
    r"SelfAdjointEigV2|Random\w+|Multinomial)\w*\(")


def settings(momentum_type="regular", mode="exact", **kwargs):
  """Returns arguments of an optimizer of this momentum type."""
  kwargs.update(
      damping=DAMPING, momentum_type=momentum_type, estimation_mode=mode,
      learning_rate=1. if momentum_type == "qmodel" else 0.1)
  if momentum_type == "qmodel":
    kwargs.update(momentum=0., batch_size=dense_net.BATCH_SIZE)
  return kwargs


def by_hand(data, invert_every, cov_update_every, burn_in, kwargs,
            amortize=False, adapt=None):
  """Trains with a KfacOptimizer, whose updates are run explicitly.

  Returns:
    V1 and V2 after each batch.
  """
  with tf.Graph().as_default(), tf.Session() as sess:
    model = dense_net.build()
    step = tf.train.create_global_step()
    optimizer = kfac.KfacOptimizer(
        layer_collection=model.layers,
        cov_ema_decay=DECAY ** cov_update_every, **kwargs)
    if adapt:
      adapt(optimizer, model)
    train_op = optimizer.minimize(model.loss, step)
    cov_op, inv_ops = optimizer.cov_update_op, optimizer.inv_update_ops
    shares = schedules.balanced_shares(
        schedules.inverse_costs(optimizer._fisher_est.factors),
        invert_every) if amortize else []
    sess.run(tf.global_variables_initializer())
    params = []
    for t, (x, y) in enumerate(data, -burn_in):
      feed = {model.x: x, model.y: y}
      if t < 0 or t % cov_update_every == 0:
        sess.run(cov_op, feed)
      if t == 0 or (t > 0 and t % invert_every == 0 and not amortize):
        sess.run(inv_ops)
      elif t > 0 and amortize:
        sess.run([inv_ops[i] for i in shares[t % invert_every]])
      if t >= 0:
        sess.run(train_op, feed)
      params.append(dense_net.stacked(sess.run(model.variables)))
    return params


def build(*args, adapt=None, use_resource=True, **kwargs):
  """Returns a model with a PeriodicInvCovUpdateKfacOpt, and its train op."""
  model = dense_net.build(use_resource=use_resource)
  step = tf.train.create_global_step()
  kwargs.setdefault("cov_ema_decay", DECAY)
  optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
      *args, layer_collection=model.layers, **kwargs)
  if adapt:
    adapt(optimizer, model)
  return model, optimizer, optimizer.minimize(model.loss, step)


def by_itself(data, *args, adapt=None, **kwargs):
  """Trains with a PeriodicInvCovUpdateKfacOpt; see by_hand."""
  with tf.Graph().as_default() as graph, tf.Session() as sess:
    model, _, train_op = build(*args, adapt=adapt, **kwargs)
    initializer = tf.global_variables_initializer()
    graph.finalize()
    sess.run(initializer)
    params = []
    for x, y in data:
      sess.run(train_op, {model.x: x, model.y: y})
      params.append(dense_net.stacked(sess.run(model.variables)))
    return params


def counted(sess, fetches, feed):
  """Returns how often each op that is expensive or random was run."""
  metadata = tf.RunMetadata()
  sess.run(fetches, feed, run_metadata=metadata, options=tf.RunOptions(
      trace_level=tf.RunOptions.FULL_TRACE))
  found = {(node.node_name, COUNTED.search(node.timeline_label).group(1))
           for device in metadata.step_stats.dev_stats
           for node in device.node_stats
           if COUNTED.search(node.timeline_label)}
  return collections.Counter(kind for _, kind in found)


class PeriodicInvCovUpdateKfacOptTest(tf.test.TestCase):

  def _assertClose(self, one, other):
    self.assertAllClose(one, other, rtol=1e-8, atol=1e-10)

  def testStepsWithAllUpdatesEqualNumPy(self):
    data = dense_net.batches(4)
    oracle = dense_net.Kfac(DAMPING, DECAY)
    expected = []
    for x, y in data:
      oracle.step(x, y, 0.1)
      expected.append(oracle.params)
    self._assertClose(expected, by_itself(data, 1, 1, **settings()))

  def testTrainingEqualsExplicitUpdates(self):
    data = dense_net.batches(7)
    for momentum_type in ("regular", "adam", "qmodel"):
      kwargs = settings(momentum_type)
      expected = by_hand(data, 3, 2, 0, kwargs)
      for v2 in (False, True):
        with graph_modes.control_flow(v2):
          self._assertClose(expected, by_itself(data, 3, 2, **kwargs))

  def testBurnInOnlyCollectsStatistics(self):
    data = dense_net.batches(6)
    for momentum_type, v2 in (("regular", False), ("regular", True),
                              ("qmodel", True), ("adam", False)):
      kwargs = settings(momentum_type)
      with graph_modes.control_flow(v2):
        params = by_itself(data, 2, 2, 3, **kwargs)
        self._assertClose(by_hand(data, 2, 2, 3, kwargs), params)
        self._assertClose(params[2], dense_net.initial_params())
        self.assertNotAllClose(params[3], params[2])

  def testBurnInIncrementsTheGlobalStep(self):
    (x, y), = dense_net.batches(1)
    for use_resource in (False, True):
      with graph_modes.control_flow(False), tf.Graph().as_default() as graph, (
          self.session()) as sess:
        model, optimizer, train_op = build(
            2, 1, 2, use_resource=use_resource, **settings())
        self.assertEqual(
            graph.get_collection(tf.GraphKeys.TRAIN_OP), [train_op])
        sess.run(tf.global_variables_initializer())
        counts = []
        for _ in range(4):
          sess.run(train_op, {model.x: x, model.y: y})
          counts.append(sess.run([
              optimizer._num_runs, tf.train.get_global_step()]))
        self.assertEqual(
            [tuple(count) for count in counts],
            [(n, n) for n in range(1, 5)])

  def testAmortizedInverses(self):
    data = dense_net.batches(7)
    kwargs = settings()
    for every in (3, 6):  # Fewer and more than the four factors.
      params = by_itself(data, every, 1, amortize=True, **kwargs)
      self._assertClose(
          by_hand(data, every, 1, 0, kwargs, amortize=True), params)
    self.assertNotAllClose(
        params[-1], by_itself(data, 6, 1, **kwargs)[-1])

  def testAmortizedInverseOfALargeFactor(self):
    # Among ten shares the factor with 5 rows is large. Its parts, one for each
    # row and a last one, run in the steps after the first one.
    data = dense_net.batches(10)
    burn_in = 2
    with mock.patch.object(gradual_inverse, "MIN_ROWS", 1):
      for v2 in (False, True):
        with graph_modes.control_flow(v2), tf.Graph().as_default() as graph, (
            self.session()) as sess:
          model, optimizer, train_op = build(
              10, 1, burn_in, amortize=True, **settings())
          initializer = tf.global_variables_initializer()
          graph.finalize()
          sess.run(initializer)
          factor, other = optimizer._fisher_est.factors[2:]
          read = []
          for x, y in data:
            sess.run(train_op, {model.x: x, model.y: y})
            read.append(sess.run([
                factor.get_cov(), other.get_cov(), *factor.kept_variables,
                factor.num_updates_kept]))
        for step, contained in ((0, 0), (1, 0), (5, 0), (6, 1), (7, 1)):
          A, G, _, _ = read[burn_in + contained]
          _, _, kept, number = read[burn_in + step]
          self._assertClose(
              np.linalg.inv(dense_net.damp(A, G, DAMPING)[0]), kept)
          self.assertEqual(burn_in + contained + 1, number)

  def testAdaptedDamping(self):
    def adapt(optimizer, model):
      optimizer.set_damping_adaptation_params(
          True, (model.x, model.y),
          lambda batch: dense_net.loss_on(
              dense_net.logits_of(batch[0], model.variables), batch[1]),
          damping_adaptation_interval=2)

    # Damping is adapted in steps two and four, when no inverses are due.
    # For small steps on one batch the predicted change is accurate.
    data = 5 * dense_net.batches(1)
    kwargs = dict(settings(), learning_rate=0.01)
    params = by_itself(data, 4, 1, adapt=adapt, **kwargs)
    self._assertClose(by_hand(data, 4, 1, 0, kwargs, adapt=adapt), params)
    fixed = by_itself(data, 4, 1, **kwargs)
    self._assertClose(params[3], fixed[3])
    self.assertNotAllClose(params[4], fixed[4], rtol=1e-7, atol=1e-9)

  def testContinuesFromACheckpoint(self):
    data = dense_net.batches(6)
    for number, kwargs in enumerate((
        settings(amortize=True), settings(num_burnin_steps=3))):
      expected = by_itself(data, 3, 2, **kwargs)[-1]
      folder = f"{self.get_temp_dir()}/{number}"
      for part in (data[:2], data[2:]):
        with tf.Graph().as_default():
          model, _, train_op = build(3, 2, **kwargs)
          with tf.train.MonitoredTrainingSession(
              checkpoint_dir=folder, save_checkpoint_secs=None,
              save_checkpoint_steps=100) as sess:
            for x, y in part:
              sess.run(train_op, {model.x: x, model.y: y})
            params = dense_net.stacked(sess.run(model.variables))
      self._assertClose(expected, params)

  def testSkippedUpdatesCostNothing(self):
    (x, y), = dense_net.batches(1)
    for v2, amortize in ((False, False), (True, False), (True, True)):
      kwargs = settings(mode="gradients")
      with graph_modes.control_flow(v2):
        with tf.Graph().as_default(), self.session() as sess:
          model = dense_net.build()
          train_op = kfac.KfacOptimizer(
              layer_collection=model.layers, **kwargs).minimize(model.loss)
          sess.run(tf.global_variables_initializer())
          alone = counted(sess, train_op, {model.x: x, model.y: y})
        with tf.Graph().as_default(), self.session() as sess:
          # In run 8 nothing is due, in 9 covariances, in 10 or 12 inverses.
          model, _, train_op = build(5, 3, amortize=amortize, **kwargs)
          sess.run(tf.global_variables_initializer())
          runs = [counted(sess, train_op, {model.x: x, model.y: y})
                  for _ in range(11)]
        self.assertGreater(alone["MatMul"], 0)
        self.assertNotIn("Cholesky", alone)
        self.assertGreater(runs[9]["MatMul"], alone["MatMul"])
        self.assertEqual(runs[0]["Cholesky"], 4)
        if amortize:
          self.assertEqual([run["Cholesky"] for run in runs],
                           [4, 1, 1, 1, 0, 1, 1, 1, 1, 0, 1])
          self.assertEqual(runs[4], alone)
        else:
          self.assertEqual([run["Cholesky"] for run in runs],
                           [4, 0, 0, 0, 0, 4, 0, 0, 0, 0, 4])
          for number in (1, 2, 4, 7, 8):
            self.assertEqual(runs[number], alone)

  def testUpdateOpIsMadeOnce(self):
    with tf.Graph().as_default(), self.session() as sess:
      model = dense_net.build()
      optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
          layer_collection=model.layers, **settings())
      op = optimizer.kfac_update_ops()
      self.assertIsInstance(op, tf.Operation)
      self.assertIs(op, optimizer.kfac_update_ops())
      train_op = optimizer.apply_gradients(
          optimizer.compute_gradients(model.loss), name="mine")
      self.assertEqual(train_op.name, "mine")
      self.assertIs(op, optimizer.kfac_update_ops())
      self.assertEqual(optimizer._num_runs.op.name, "KFAC/num_runs")
      sess.run(tf.global_variables_initializer())
      (x, y), = dense_net.batches(1)
      for count, fetch in enumerate((op, train_op, [op, train_op]), 1):
        sess.run(fetch, {model.x: x, model.y: y})
        self.assertEqual(sess.run(optimizer._num_runs), count)

  def testNamesDoNotDependOnTheOrderOfCalls(self):
    for minimize in (False, True):
      for burn_in in (0, 1):
        with tf.Graph().as_default():
          model = dense_net.build()
          optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
              num_burnin_steps=burn_in, name="opt",
              layer_collection=model.layers, **settings())
          if minimize:
            op = optimizer.minimize(model.loss, name="mine")
          else:
            op = optimizer.apply_gradients(
                optimizer.compute_gradients(model.loss), name="mine")
          self.assertEqual(optimizer._num_runs.op.name, "opt/num_runs")
          self.assertIsInstance(op, tf.Operation)
          self.assertEqual(op.name.rpartition("/")[2], "mine")

  def testDecayIsThatOfSeveralSteps(self):
    with tf.Graph().as_default():
      for kwargs, decay in (({}, 0.95 ** 3), ({"cov_ema_decay": 0.5}, 0.125)):
        optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
            cov_update_every=3, layer_collection=kfac.LayerCollection(),
            **settings(**kwargs))
        self.assertAllClose(optimizer._fisher_est._cov_ema_decay, decay)

  def testDefaultDecayIsThatOfKfacOptimizer(self):
    parameters = inspect.signature(kfac.KfacOptimizer).parameters
    self.assertEqual(
        parameters["cov_ema_decay"].default,
        kfac.periodic_inv_cov_update_kfac_opt._DEFAULT_COV_EMA_DECAY)

  def testArgumentsOutOfRange(self):
    def make(**kwargs):
      return kfac.PeriodicInvCovUpdateKfacOpt(
          layer_collection=kfac.LayerCollection(), **settings(**kwargs))

    with tf.Graph().as_default():
      for name, minimum in (("invert_every", 1), ("cov_update_every", 1),
                            ("num_burnin_steps", 0)):
        for value in (minimum - 1, 2.5):
          with self.assertRaisesRegex(ValueError, re.escape(
              f"{name} must be an int >= {minimum}, got {value!r}.")):
            make(**{name: value})
      # Its square would be in range.
      with self.assertRaisesRegex(
          ValueError, "cov_ema_decay must be finite and at least 0.0 and less "
          "than 1.0, got -0.5."):
        make(cov_ema_decay=-0.5, cov_update_every=2)
      with self.assertRaisesRegex(TypeError, "unknown"):
        make(unknown=1)
      with self.assertRaisesRegex(TypeError, "layer_collection must be given"):
        kfac.PeriodicInvCovUpdateKfacOpt(**settings())

  def testMinimizeHasTheArgumentsOfKfacOptimizer(self):
    with tf.Graph().as_default():
      model = dense_net.build()
      optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
          layer_collection=model.layers, **settings())
      with self.assertRaisesRegex(TypeError, "unknown"):
        optimizer.minimize(model.loss, unknown=1)
      with self.assertRaisesRegex(
          ValueError, "grads_and_vars must have a gradient for each"):
        optimizer.apply_gradients([(None, v) for v in model.variables])

  def testReferenceVariablesInABranchOfControlFlowV2(self):
    with graph_modes.control_flow(True), tf.Graph().as_default():
      with self.assertRaisesRegex(ValueError, re.escape(
          "num_burnin_steps must be 0 for reference variables in control flow "
          "v2, got 'layer0/w:0'.")):
        build(2, 1, 2, use_resource=False, **settings())

  def testReferenceVariablesWithoutBurnIn(self):
    data = dense_net.batches(3)
    for v2 in (False, True):
      with graph_modes.control_flow(v2):
        params = by_itself(data, 2, 1, use_resource=False, **settings())
      self._assertClose(by_hand(data, 2, 1, 0, settings()), params)
    self.assertTrue(np.all(np.isfinite(params[-1][0])))


if __name__ == "__main__":
  tf.test.main()
