"""Tests that `restore` restores what fits, and says what starts anew."""

import contextlib
import os
import tempfile
from unittest import mock

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import dense_net_oracle as dense_net
from kfac.python.ops import checkpoint
from kfac.python.ops.fisher_factors import gradual_inverse

_DAMPING = 0.1
_FACTORS = ("layer0_w/A", "layer0_w/G", "layer1_w/A", "layer1_w/G")
_SCOPE = "KFAC/FisherEstimator/"

# Checkpoints that tests share.
_SAVED: dict[tuple, tuple[str, dict]] = {}


class _Program:
  """A training program: a model, its optimizer and the train op."""

  def __init__(self, damping=_DAMPING, differentiated_before=False,
               use_resource=True, periodic=False, adapted=False, shares=1):
    self.model = dense_net.build(use_resource=use_resource)
    if differentiated_before:
      tf.gradients(self.model.loss, self.model.variables)
    kwargs = dict(
        learning_rate=0.1, cov_ema_decay=0.95, damping=damping,
        layer_collection=self.model.layers, momentum=0.9,
        estimation_mode="exact")
    if adapted:
      kwargs.update(
          adapt_damping=True, damping_adaptation_interval=1,
          train_batch=(self.model.x, self.model.y), loss_fn=self._loss)
    if periodic:
      self.optimizer = kfac.PeriodicInvCovUpdateKfacOpt(
          amortize=shares > 1, invert_every=max(shares, 10), **kwargs)
    else:
      self.optimizer = kfac.KfacOptimizer(**kwargs)
    self.global_step = tf.train.get_or_create_global_step()
    self.train_op = self.optimizer.minimize(self.model.loss, self.global_step)
    self.variables = {v.op.name: v for v in tf.global_variables()}

  def _loss(self, batch):
    x, y = batch
    return dense_net.loss_on(dense_net.logits_of(x, self.model.variables), y)

  def train(self, sess, data):
    """Updates covariances and inverses before each step, in separate runs."""
    updates = ()
    if not isinstance(self.optimizer, kfac.PeriodicInvCovUpdateKfacOpt):
      updates = self.optimizer.cov_update_op, self.optimizer.inv_update_op
    for batch in data:
      feed = dict(zip((self.model.x, self.model.y), batch, strict=True))
      for op in (*updates, self.train_op):
        sess.run(op, feed)

  def values(self, sess):
    """Returns the values of all variables by name."""
    return sess.run(self.variables)


class _OwnFactor(kfac.fisher_factors.DiagonalFactor):
  """A user's factor that makes the variable of its covariance."""

  _var_scope = "ff_own"
  _cov_shape = (4, 1)
  _dtype = tf.float64

  def __init__(self, grads):
    super().__init__()
    self._data = grads

  def instantiate_cov_variables(self):
    with tf.variable_scope(self.contrib_name):
      self._cov = tf.get_variable(
          "mine", self._cov_shape, self._dtype, tf.zeros_initializer(),
          trainable=False)

  def _compute_new_cov(self, source, tower):
    return tf.reduce_mean(
        tf.square(self._data[source][tower]), axis=0)[:, tf.newaxis]


class _OwnBlock(kfac.fisher_blocks.FullyConnectedKFACBasicFB):
  """A user's block that makes one factor more."""

  def instantiate_factors(self, grads_list, damping):
    super().instantiate_factors(grads_list, damping)
    _, grads = self._process_data(grads_list)
    self._layer_collection.make_or_get_factor(_OwnFactor, (grads,))


class _RestoreTest(tf.test.TestCase):

  def _folder(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    return folder.name

  def _contrib_variables(self):
    return mock.patch.object(kfac.fisher_factors, "CONTRIB_VARIABLES", True)

  def _save(self, steps=2, **kwargs):
    """Trains and saves, once for all tests; returns path and values."""
    key = (steps, kfac.fisher_factors.CONTRIB_VARIABLES, *kwargs.items())
    if key not in _SAVED:
      with tf.Graph().as_default(), tf.Session() as sess:
        program = _Program(**kwargs)
        sess.run(tf.global_variables_initializer())
        program.train(sess, dense_net.batches(steps))
        folder = tempfile.mkdtemp(dir=self.get_temp_dir())
        path = tf.train.Saver().save(sess, os.path.join(folder, "model"))
        _SAVED[key] = path, program.values(sess)
    path, values = _SAVED[key]
    return path, dict(values)

  def _write(self, values):
    """Writes a checkpoint with these values, and returns its path."""
    with tf.Graph().as_default(), tf.Session() as sess:
      variables = {name: tf.Variable(value, use_resource=True)
                   for name, value in values.items()}
      sess.run(tf.global_variables_initializer())
      return tf.train.Saver(variables).save(
          sess, os.path.join(self._folder(), "written"))

  @contextlib.contextmanager
  def _trained(self, **kwargs):
    """Yields a program that was trained on other data, and its session."""
    with tf.Graph().as_default(), tf.Session() as sess:
      program = _Program(**kwargs)
      sess.run(tf.global_variables_initializer())
      program.train(sess, dense_net.batches(1, seed=7))
      yield program, sess

  def _assertInverses(self, program, sess, damping):
    """Asserts that kept inverses are those of the covariances."""
    values = program.values(sess)
    for layer in ("layer0_w", "layer1_w"):
      A, G = (values[f"{_SCOPE}{layer}/{role}/cov"] for role in "AG")
      pi = np.sqrt(np.trace(A) / len(A) / (np.trace(G) / len(G)))
      for role, cov, scale in (("A", A, pi), ("G", G, 1. / pi)):
        self.assertAllClose(
            np.linalg.inv(cov + np.sqrt(damping) * scale * np.eye(len(cov))),
            values[f"{_SCOPE}{layer}/{role}/matpower_exp-1"], 1e-9, 1e-9)


class RestoreTest(_RestoreTest):

  def testContinuesToTheLastBit(self):
    data = dense_net.batches(4)
    _, whole = self._save(steps=4, adapted=True, periodic=True)
    path, half = self._save(adapted=True, periodic=True)
    with self._trained(
        adapted=True, periodic=True, differentiated_before=True) as (
            program, sess):
      report = checkpoint.restore(sess, path, program.optimizer)
      self.assertEmpty(report.anew)
      self.assertCountEqual(half, report.restored)
      self.assertEqual(f"{len(half)} variables restored from {path!r}.",
                       str(report))
      for name, value in program.values(sess).items():
        self.assertAllEqual(half[name], value, name)
      program.train(sess, data[2:])
      for name, value in program.values(sess).items():
        self.assertAllEqual(whole[name], value, name)

  def testInverseThatIsUnderWay(self):
    name = f"{_SCOPE}layer1_w/A/gradual_inverse/"
    with mock.patch.object(gradual_inverse, "MIN_ROWS", 1):
      path, half = self._save(steps=4, periodic=True, shares=10)
      self.assertEqual(3, half[f"{name}position"])
      not_finite = {**half, f"{name}work": np.full([5, 5], np.nan)}
      older = {variable: value for variable, value in half.items()
               if not variable.startswith(name)}
      for source, position in (
          (path, 3), (self._write(older), 0), (self._write(not_finite), 0)):
        with self._trained(periodic=True, shares=10) as (program, sess):
          program.train(sess, dense_net.batches(1))
          report = checkpoint.restore(sess, source, program.optimizer)
          self.assertEmpty(report.anew)
          values = program.values(sess)
        for variable, value in values.items():
          if position or not variable.startswith(name):
            self.assertAllEqual(half[variable], value, variable)
          else:
            self.assertAllEqual(np.zeros_like(value), value, variable)

  def testPlainSaverReadsWhateverElseIsInTheGraph(self):
    path, saved = self._save()
    with self._trained(differentiated_before=True, damping=0.3) as (
        program, sess):
      tf.train.Saver().restore(sess, path)
      self.assertAllEqual(saved[_SCOPE + "layer0_w/G/matpower_exp-1"],
                          program.values(sess)[
                              _SCOPE + "layer0_w/G/matpower_exp-1"])

  def testReferenceVariablesAndFinalizedGraphWithoutNewNodes(self):
    path, saved = self._save()
    with self._trained(use_resource=False) as (program, sess):
      sess.graph.finalize()
      count = len(sess.graph.get_operations())
      for _ in range(2):
        checkpoint.restore(sess, path, program.optimizer)
      self.assertLen(sess.graph.get_operations(), count)
      for name, value in program.values(sess).items():
        self.assertAllEqual(saved[name], value, name)

  def testUninitializedSession(self):
    path, saved = self._save()
    with tf.Graph().as_default(), tf.Session() as sess:
      program = _Program()
      checkpoint.restore(sess, os.path.dirname(path), program.optimizer)
      self.assertAllEqual(saved["layer0/w"], program.values(sess)["layer0/w"])
      self.assertEqual(2, sess.run(program.global_step))

  def testMonitoredSession(self):
    path, saved = self._save()
    with tf.Graph().as_default():
      program = _Program()
      scaffold = tf.train.Scaffold(
          init_fn=lambda scaffold, session: checkpoint.restore(
              session, path, program.optimizer))
      with tf.train.MonitoredTrainingSession(
          checkpoint_dir=self._folder(), scaffold=scaffold,
          log_step_count_steps=None) as sess:
        for name, value in program.values(sess).items():
          self.assertAllEqual(saved[name], value, name)

  def testEstimatorAlone(self):
    path, saved = self._save()
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      estimator = kfac.estimator.FisherEstimator(
          model.variables, 0.95, _DAMPING, model.layers,
          estimation_mode="exact", name="KFAC/FisherEstimator")
      estimator.build()
      self.assertEmpty(checkpoint.restore(sess, path, estimator).anew)
      for variable in tf.global_variables():
        self.assertAllEqual(saved[variable.op.name], sess.run(variable))

  def testVariablesThatShareAnInitialValue(self):
    values = {"a": np.ones(2), "b": 2 * np.ones(2)}
    path, saved = self._save()
    path = self._write({**saved, **values})
    with tf.Graph().as_default(), tf.Session() as sess:
      shared = tf.zeros([2], tf.float64)
      variables = {name: tf.Variable(shared, False, name=name)
                   for name in values}
      program = _Program()
      checkpoint.restore(sess, path, program.optimizer)
      for name, value in sess.run(variables).items():
        self.assertAllEqual(values[name], value)

  def testFactorOfAUser(self):
    with mock.patch.dict(
        kfac.layer_collection._FULLY_CONNECTED_APPROX_TO_BLOCK_TYPES,
        kron=_OwnBlock), mock.patch.object(dense_net, "SIZES", (3, 4, 4)):
      path, saved = self._save(use_resource=True)
      own = {_SCOPE + "ff_own/mine", _SCOPE + "layer0_w/F/cov/local_step"}
      self.assertContainsSubset(own, saved)
      with self._trained() as (program, sess):
        self.assertEmpty(
            checkpoint.restore(sess, path, program.optimizer).anew)
        for name, value in program.values(sess).items():
          self.assertAllEqual(saved[name], value, name)
        del saved[_SCOPE + "layer0_w/F/cov/local_step"]
        report = checkpoint.restore(
            sess, self._write(saved), program.optimizer)
        self.assertEqual([("factor layer0_w/F",
                           "not in the checkpoint (local_step)")],
                         list(report.anew))
        values = program.values(sess)
        for name in own:
          self.assertAllEqual(np.zeros_like(values[name]), values[name])

  def testPartitionedVariables(self):
    rng = np.random.RandomState(0)
    values = {"rows": rng.randn(5, 2), "columns": rng.randn(3, 5)}
    path, saved = self._save()
    path = self._write({**saved, **values})
    for parts in (1, 2):
      with tf.Graph().as_default(), tf.Session() as sess:
        variables = {
            name: tf.get_variable(
                name, values[name].shape, tf.float64, trainable=False,
                partitioner=tf.fixed_size_partitioner(parts, axis=axis))
            for axis, name in enumerate(values)}
        program = _Program()
        checkpoint.restore(sess, path, program.optimizer)
        for name, variable in variables.items():
          self.assertAllEqual(
              values[name], sess.run(tf.convert_to_tensor(variable)))


def _of_contrib(values):
  """Returns the values of the variables that contrib.kfac has, too."""
  return {name: value for name, value in values.items()
          if name.split("/")[-1] not in checkpoint._OPTIONAL}


class OldNamesTest(_RestoreTest):

  def _save_contrib(self, **kwargs):
    with self._contrib_variables():
      path, values = self._save(**kwargs)
    self.assertNotEmpty([name for name in values if "/ff_fckron_" in name])
    return path, values

  def _covs(self, values):
    """Returns covariances, counters and other statistics, in a fixed order."""
    return [value for name, value in _of_contrib(values).items()
            if "/cov" in name]

  def testAlsoWithAnotherNumberOfGradientOps(self):
    path, saved = self._save_contrib(differentiated_before=True)
    self.assertNotEmpty([name for name in saved if "gradients_1" in name])
    for before in (False, True):
      with self._trained(differentiated_before=before) as (program, sess):
        report = checkpoint.restore(sess, path, program.optimizer)
        self.assertEmpty(report.anew)
        self.assertLen(report.restored, len(saved))
        # Factors are made in the same order under all names.
        for one, other in zip(
            saved.values(), _of_contrib(program.values(sess)).values(),
            strict=True):
          self.assertAllEqual(one, other)

  def testAnotherDamping(self):
    path, saved = self._save_contrib()
    with self._trained(damping=0.3) as (program, sess):
      with self.assertLogs("absl", "INFO") as logs:
        report = checkpoint.restore(sess, path, program.optimizer)
      lines = [f"Anew: inverses of factor {name} (other damping; recomputed "
               "from the covariance)" for name in _FACTORS]
      self.assertEqual(lines, str(report).splitlines()[1:])
      self.assertEqual(str(report).splitlines(),
                       [record.getMessage() for record in logs.records])
      values = program.values(sess)
      for one, other in zip(
          self._covs(saved), self._covs(values), strict=True):
        self.assertAllEqual(one, other)
      self._assertInverses(program, sess, 0.3)

  def testAdaptationSwitchedOn(self):
    path, _ = self._save_contrib()
    with self._trained(adapted=True) as (program, sess):
      report = checkpoint.restore(sess, path, program.optimizer)
      self.assertEqual(
          [checkpoint.Anew("adapted damping", "adaptation switched on")] + [
              checkpoint.Anew(
                  f"inverses of factor {name}",
                  "adaptation switched on; recomputed from the covariance")
              for name in _FACTORS], list(report.anew))
      self.assertEqual(_DAMPING, sess.run(program.optimizer.damping))
      self._assertInverses(program, sess, _DAMPING)

  def testInversesThatCannotBeRecomputed(self):
    path, _ = self._save_contrib(periodic=True)
    with self._trained(damping=0.3, periodic=True) as (program, sess):
      sess.graph.finalize()  # Without inverse updates outside of branches.
      report = checkpoint.restore(sess, path, program.optimizer)
      self.assertEqual(
          [(f"inverses of factor {name}",
            "other damping; zero until the next inverse update")
           for name in _FACTORS], list(report.anew))
      for name, value in program.values(sess).items():
        if "matpower" in name:
          self.assertAllEqual(np.zeros_like(value), value)
    with tf.Graph().as_default(), tf.Session() as sess:
      # The damping needs a feed.
      damping = tf.placeholder(tf.float64, [], name="fed")
      program = _Program(damping=damping)
      report = checkpoint.restore(sess, path, program.optimizer)
      self.assertEqual(
          {"other damping; zero until the next inverse update"},
          {reason for _, reason in report.anew})

  def testNamesOfContrib(self):
    """No name comes from our code, see fisher_factors/checkpoint_test.py."""
    rng = np.random.RandomState(0)
    A, G = np.cov(rng.randn(4, 9)), np.cov(rng.randn(2, 9))
    model = {"W": rng.randn(3, 2), "b": rng.randn(2),
             "global_step": np.int64(5)}
    grads = "gradients_3_hidden_grad_TanhGrad_False"
    since_8 = {
        "KFAC/FisherEstimator/ff_fckron_features_True/cov": A,
        f"KFAC/FisherEstimator/ff_fckron_{grads}/cov": G,
        # Debiasing of TensorFlow 1 repeats the scope.
        "KFAC/FisherEstimator/KFAC/FisherEstimator/ff_fckron_features_True/cov/"
        "local_step": np.float64(3.),
        "KFAC/FisherEstimator/KFAC/FisherEstimator/ff_fckron_features_True/cov/"
        "biased": A,
        f"KFAC/FisherEstimator/KFAC/FisherEstimator/ff_fckron_{grads}/cov/"
        "local_step": np.float64(3.),
        "KFAC/FisherEstimator/ff_fckron_features_True/matpower_exp-1_dampmul_4":
            A,
        f"KFAC/FisherEstimator/ff_fckron_{grads}/matpower_exp-1_dampmul_5": G,
        "W/KFAC": model["W"] + 1., "b/KFAC": model["b"] + 1.}
    until_7 = {
        "LayerCollection/ff_fckron/features_True/cov": A,
        f"LayerCollection/ff_fckron/{grads}/cov": G,
        "LayerCollection/ff_fckron/features_True/cov/local_step":
            np.float64(3.),
        f"LayerCollection/ff_fckron/{grads}/cov/local_step": np.float64(3.),
        "LayerCollection/ff_fckron/features_True/inv_dampmul_4": A,
        f"LayerCollection/ff_fckron/{grads}/inv_dampmul_5": G,
        "W/KFAC": model["W"] + 1., "b/KFAC": model["b"] + 1.}
    for values in (since_8, until_7):
      path = self._write({**model, **values})
      with tf.Graph().as_default(), tf.Session() as sess:
        optimizer = self._hidden_layer()
        report = checkpoint.restore(sess, path, optimizer)
        self.assertEqual(
            [(f"inverses of factor W/{role}",
              "other damping; recomputed from the covariance")
             for role in "AG"], list(report.anew))
        got = {v.op.name: sess.run(v) for v in tf.global_variables()}
      for name, value in {
          **model, "KFAC/FisherEstimator/W/A/cov": A,
          "KFAC/FisherEstimator/W/A/cov/local_step": 3.,
          "KFAC/FisherEstimator/W/G/cov": G,
          "KFAC/W/KFAC": model["W"] + 1.}.items():
        self.assertAllEqual(value, got[name], name)

  def _hidden_layer(self):
    """Builds the optimizer of tanh(features W + b), with one gradient more."""
    features = tf.ones([4, 3], tf.float64, name="features")
    W = tf.get_variable("W", [3, 2], tf.float64)
    b = tf.get_variable("b", [2], tf.float64)
    mixed = tf.matmul(features, W) + b
    hidden = tf.tanh(mixed, name="hidden")
    loss = tf.reduce_mean(hidden)
    tf.gradients(loss, W)
    layers = kfac.LayerCollection()
    layers.register_fully_connected((W, b), features, mixed)
    layers.register_normal_predictive_distribution(hidden)
    optimizer = kfac.KfacOptimizer(0.1, 0.95, 0.01, layers)
    optimizer.minimize(loss, tf.train.get_or_create_global_step())
    return optimizer

  def testGraphWithContribNames(self):
    path, saved = self._save_contrib(differentiated_before=True)
    with self._contrib_variables(), self._trained() as (program, sess):
      self.assertEmpty(
          checkpoint.restore(sess, path, program.optimizer).anew)
      for one, other in zip(
          saved.values(), program.values(sess).values(), strict=True):
        self.assertAllEqual(one, other)


class WhatStartsAnewTest(_RestoreTest):

  def _anew(self, path, **kwargs):
    """Restores; returns what starts anew, and all values."""
    with self._trained(**kwargs) as (program, sess):
      report = checkpoint.restore(sess, path, program.optimizer)
      return list(report.anew), program.values(sess)

  def testCheckpointOfAnotherOptimizer(self):
    with tf.Graph().as_default(), tf.Session() as sess:
      model = dense_net.build()
      train_op = tf.train.AdamOptimizer(0.01).minimize(
          model.loss, tf.train.get_or_create_global_step())
      sess.run(tf.global_variables_initializer())
      (x, y), = dense_net.batches(1)
      sess.run(train_op, {model.x: x, model.y: y})
      path = tf.train.Saver().save(sess, os.path.join(self._folder(), "adam"))
      params = sess.run({v.op.name: v for v in model.variables})
    anew, values = self._anew(path)
    self.assertEqual(
        [("velocities", "not in the checkpoint")] + [
            (f"factor {name}", "not in the checkpoint") for name in _FACTORS],
        anew)
    self.assertEqual(1, values["global_step"])
    for name, value in values.items():
      if name in params:
        self.assertAllEqual(params[name], value)
      elif name != "global_step":
        self.assertAllEqual(np.zeros_like(value), value, name)

  def testAdaptationSwitchedOn(self):
    path, saved = self._save()
    anew, values = self._anew(path, adapted=True)
    self.assertEqual([("adapted damping", "adaptation switched on")], anew)
    self.assertEqual(_DAMPING, values["KFAC/damping"])
    self.assertEqual(0, values["KFAC/num_steps"])
    for name in (_SCOPE + "layer0_w/A/matpower_exp-1", "KFAC/layer0/w/KFAC"):
      self.assertAllEqual(saved[name], values[name])

  def testAnotherSchedule(self):
    path, _ = self._save()
    anew, values = self._anew(path, periodic=True)
    self.assertEqual([("schedule", "another schedule")], anew)
    self.assertEqual(0, values["KFAC/num_runs"])

  def testNoGlobalStep(self):
    _, saved = self._save()
    del saved["global_step"]
    anew, values = self._anew(self._write(saved))
    self.assertEqual([("global_step", "not in the checkpoint")], anew)
    self.assertEqual(0, values["global_step"])

  def testAnotherShape(self):
    _, saved = self._save()
    for end, shape in (("A/cov", [3, 3]), ("A/matpower_exp-1", [3, 3])):
      path = self._write(
          {**saved, f"{_SCOPE}layer0_w/{end}": np.eye(3)})
      anew, values = self._anew(path)
      what, more = (("factor", "") if end == "A/cov" else
                    ("inverses of factor", "; recomputed from the covariance"))
      self.assertEqual(
          [(f"{what} layer0_w/A", "another shape, (4, 4) here, "
            f"{shape} there ({end[2:]}){more}")], anew)
      # A factor starts anew as a whole.
      for name in ("cov", "cov/local_step", "matpower_exp-1"):
        name = f"{_SCOPE}layer0_w/A/{name}"
        if more:
          self.assertNotEqual(0, np.sum(values[name]))
        else:
          self.assertAllEqual(np.zeros_like(values[name]), values[name])

  def testAnotherDtype(self):
    _, saved = self._save()
    path = self._write({**saved, "KFAC/layer0/w/KFAC": np.full([3, 4], "a")})
    anew, _ = self._anew(path)
    self.assertEqual(
        [("velocities", "another dtype, float64 here, object there (KFAC)")],
        anew)
    # Numbers of the same kind are converted.
    path = self._write({**saved, "global_step": np.int32(6),
                        "layer0/b": np.full(4, 0.5, np.float32)})
    anew, values = self._anew(path)
    self.assertEmpty(anew)
    self.assertEqual(6, values["global_step"])
    self.assertAllEqual(np.full(4, 0.5), values["layer0/b"])

  def testCovarianceWithoutItsCounter(self):
    _, saved = self._save()
    del saved[_SCOPE + "layer1_w/G/cov/local_step"]
    anew, values = self._anew(self._write(saved))
    self.assertEqual(
        [("factor layer1_w/G", "not in the checkpoint (local_step)")], anew)
    self.assertAllEqual(
        np.zeros([3, 3]), values[_SCOPE + "layer1_w/G/cov"])

  def testValuesThatAreNotFinite(self):
    _, saved = self._save(adapted=True)
    cases = (
        (_SCOPE + "layer0_w/A/cov", ("factor layer0_w/A", "not finite (cov)")),
        (_SCOPE + "layer0_w/A/matpower_exp-1",
         ("inverses of factor layer0_w/A",
          "not finite (matpower_exp-1); recomputed from the covariance")),
        ("KFAC/layer1/b/KFAC", ("velocities", "not finite (KFAC)")),
        ("KFAC/damping", ("adapted damping", "not finite (damping)")))
    with self._trained(adapted=True) as (program, sess):
      for (name, expected), number in zip(
          cases, (np.nan, np.inf, -np.inf, np.nan), strict=True):
        path = self._write({**saved, name: saved[name] + number})
        report = checkpoint.restore(sess, path, program.optimizer)
        self.assertEqual([expected], list(report.anew))
        self.assertTrue(np.all(np.isfinite(program.values(sess)[name])))

  def testReductionRatioOfARejectedStep(self):
    _, saved = self._save(adapted=True)
    path = self._write({**saved, "KFAC/rho": -np.inf})
    anew, values = self._anew(path, adapted=True)
    self.assertEmpty(anew)
    self.assertEqual(-np.inf, values["KFAC/rho"])

  def testCountersThatACheckpointLacks(self):
    _, saved = self._save(adapted=True)
    del saved["KFAC/num_steps"]
    anew, values = self._anew(self._write(saved), adapted=True)
    self.assertEmpty(anew)
    self.assertEqual(0, values["KFAC/num_steps"])
    self.assertEqual(saved["KFAC/damping"], values["KFAC/damping"])

  def testOtherVariablesOfTheOptimizer(self):
    path, saved = self._save()
    with tf.Graph().as_default(), tf.Session() as sess:
      program = _Program()
      with tf.variable_scope("KFAC"):
        mine = tf.get_variable("mine", initializer=3.)
      report = checkpoint.restore(sess, path, program.optimizer)
      self.assertEqual(
          [("KFAC/mine", "not in the checkpoint")], list(report.anew))
      self.assertEqual(3., sess.run(mine))

  def testQueueOfOpsIsRestoredOrStartsAnew(self):
    path, _ = self._save()
    with_queue = os.path.join(self.get_temp_dir(), "with_queue")
    for saved, new in ((path, ["op_queue/num_draws"]), (with_queue, [])):
      with tf.Graph().as_default(), tf.Session() as sess:
        program = _Program()
        queue = kfac.op_queue.OpQueue(program.optimizer.inv_update_ops)
        report = checkpoint.restore(sess, saved, program.optimizer)
        self.assertEqual(new, [what for what, _ in report.anew])
        self.assertIn(queue.next_op(sess), queue.ops)
        tf.train.Saver().save(sess, with_queue)


class ErrorsTest(_RestoreTest):

  def _assertRefused(self, path, message):
    """Asserts that an error is raised, and that no variable changes."""
    with self._trained() as (program, sess):
      before = program.values(sess)
      with self.assertRaises(ValueError) as caught:
        checkpoint.restore(sess, path, program.optimizer)
      self.assertEqual(message, str(caught.exception))
      for name, value in program.values(sess).items():
        self.assertAllEqual(before[name], value, name)

  def testModelThatDoesNotFit(self):
    _, saved = self._save()
    del saved["layer0/w"]
    saved.update({"layer0/b": np.ones(7), "layer1/w": np.full([4, 3], "a"),
                  "layer1/b": saved["layer1/b"] + np.nan})
    path = self._write(saved)
    self._assertRefused(
        path, "path must be a checkpoint with all variables of the model, got "
        f"{path!r}: layer0/w is not in the checkpoint; layer0/b has another "
        "shape, (4,) here, [7] there; layer1/w has another dtype, float64 "
        "here, object there; layer1/b is not finite.")

  def testNoCheckpoint(self):
    for path in (os.path.join(self._folder(), "none"), self._folder()):
      self._assertRefused(
          path, f"path must be that of a checkpoint, got {path!r}.")

  def testDamagedCheckpoint(self):
    _, saved = self._save()
    path = self._write(saved)
    with open(path + ".data-00000-of-00001", "r+b") as file:
      file.truncate(8)
    with self._trained() as (program, sess):
      before = program.values(sess)
      with self.assertRaisesRegex(
          ValueError, "^path must be that of a whole checkpoint, got '.*', "
          "from which '.*' cannot be read.$"):
        checkpoint.restore(sess, path, program.optimizer)
      for name, value in program.values(sess).items():
        self.assertAllEqual(before[name], value, name)

  def testOptimizerWithoutVariables(self):
    path, _ = self._save()
    with tf.Graph().as_default(), tf.Session() as sess:
      optimizer = kfac.KfacOptimizer(
          0.1, 0.95, 0.1, dense_net.build().layers)
      with self.assertRaisesRegex(
          ValueError, "^optimizer must have its variables before they are "
          "restored, e.g. by minimize, got <.*KfacOptimizer"):
        checkpoint.restore(sess, path, optimizer)


if __name__ == "__main__":
  tf.test.main()
