"""Tests that all variables follow tf.train.replica_device_setter.

A variable that is not on a parameter server is one of each process. The chief
initializes its own, and the other workers wait for theirs for ever.
"""

from unittest import mock

import tensorflow.compat.v1 as tf
from absl.testing import parameterized

import kfac
from kfac.python.ops import fisher_factors
from kfac.python.ops.fisher_factors import gradual_inverse


def _setter():
  return tf.device(tf.train.replica_device_setter(ps_tasks=2))


class _Model:
  """Two dense layers and the global step, whose variables are on servers."""

  def __init__(self, use_resource):
    self.step = tf.train.create_global_step()
    self.layers = kfac.LayerCollection()
    hidden = tf.random_normal([8, 4], seed=1)
    with tf.variable_scope("model", use_resource=use_resource):
      for index, size in enumerate((5, 3)):
        inputs = hidden
        w = tf.get_variable(f"w{index}", [inputs.shape[1], size])
        b = tf.get_variable(f"b{index}", [size])
        hidden = tf.matmul(inputs, w) + b
        self.layers.register_fully_connected((w, b), inputs, hidden)
    self.layers.register_categorical_predictive_distribution(hidden)
    self.loss = self.loss_of(hidden)

  @staticmethod
  def loss_of(logits):
    """Returns the mean loss if all labels are 0."""
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.zeros([8], tf.int32), logits=logits))

  def arguments(self, **kwargs):
    """Returns arguments of an optimizer."""
    return {"layer_collection": self.layers, "learning_rate": 0.1,
            "cov_ema_decay": 0.9, "damping": 0.1, **kwargs}


def _adapted(model, **kwargs):
  return model.arguments(
      adapt_damping=True, train_batch=(), loss_fn=lambda _: model.loss,
      **kwargs)


OPTIMIZERS = {
    "regular": lambda m: kfac.KfacOptimizer(**m.arguments(momentum=0.9)),
    "adam": lambda m: kfac.KfacOptimizer(
        **m.arguments(momentum=0.9, momentum_type="adam")),
    "qmodel": lambda m: kfac.KfacOptimizer(**m.arguments(
        momentum=0., momentum_type="qmodel", batch_size=8)),
    "qmodel_fixedmu": lambda m: kfac.KfacOptimizer(**m.arguments(
        momentum=0.9, momentum_type="qmodel_fixedmu", batch_size=8)),
    "adapted": lambda m: kfac.KfacOptimizer(**_adapted(m)),
    "adapted_immediately": lambda m: kfac.KfacOptimizer(**_adapted(
        m, update_damping_immediately=True, max_loss_increase=1.)),
    "periodic": lambda m: kfac.PeriodicInvCovUpdateKfacOpt(
        invert_every=30, **m.arguments()),
    "amortized": lambda m: kfac.PeriodicInvCovUpdateKfacOpt(
        invert_every=30, amortize=True, **_adapted(m)),
    "async": lambda m: kfac.AsyncInvCovUpdateKfacOpt(**m.arguments(
        cov_devices=["/cpu:0", "/cpu:1"], inv_devices=None)),
}

def _minimize(model, optimizer):
  """Makes all ops of a program with one worker."""
  optimizer.minimize(model.loss, model.step)
  return [optimizer.cov_update_op, optimizer.inv_update_op]


def _minimize_by_replicas(model, optimizer):
  """Makes all ops of contrib's program for several workers."""
  sync = tf.train.SyncReplicasOptimizer(
      optimizer, replicas_to_aggregate=2, total_num_replicas=2)
  sync.minimize(model.loss, model.step)
  sync.make_session_run_hook(is_chief=True)
  return _with_queue(optimizer)


def _minimize_by_thunks(model, optimizer):
  """Makes the updates by thunks, and adapts the damping as contrib did."""
  if optimizer.rho is None:
    optimizer.set_damping_adaptation_params(
        True, None, lambda _: model.loss)
  cov_thunks, inv_thunks = optimizer.make_vars_and_create_op_thunks()
  optimizer.minimize(model.loss, model.step)
  return [thunk() for thunk in cov_thunks + inv_thunks]


def _make_thunks_of_variables(model, optimizer):
  """Makes the variables of the factors by thunks."""
  made = [thunk() for thunks in optimizer.create_ops_and_vars_thunks()
          for thunk in thunks]
  optimizer.minimize(model.loss, model.step)
  return [op for op in made if op is not None]


def _with_queue(optimizer):
  kfac.op_queue.OpQueue(optimizer.inv_update_ops)
  return [optimizer.cov_update_op, optimizer.inv_update_op]


class ReplicaDeviceSetterTest(parameterized.TestCase, tf.test.TestCase):

  def _build(self, make, finish, late, use_resource=True):
    """Builds a program, and asserts that its variables are on servers.

    Args:
      make: Function of a model that makes the optimizer.
      finish: Function of model and optimizer that makes the ops.
      late: Whether `finish` is called outside of the device scope.
      use_resource: Whether the model has resource variables.

    Returns:
      What `finish` returns.
    """
    with tf.Graph().as_default():
      with _setter():
        model = _Model(use_resource)
        optimizer = make(model)
        updates = None if late else finish(model, optimizer)
      updates = updates or finish(model, optimizer)
      variables = tf.global_variables()
    self.assertLen({variable.op.name for variable in variables}, len(variables))
    wrong = {op.name: op.device for variable in variables
             for op in _ops_elsewhere(variable)}
    self.assertEmpty(wrong)
    return updates

  @parameterized.named_parameters(OPTIMIZERS.items())
  def testVariablesAreOnServers(self, make):
    for finish, late, use_resource in (
        (_minimize, True, True), (_minimize_by_replicas, False, False)):
      with self.subTest(finish=finish.__name__, late=late):
        self._build(make, finish, late, use_resource)

  def testThunksMakeVariablesOnServers(self):
    for finish in (_minimize_by_thunks, _make_thunks_of_variables):
      for late in (False, True):
        with self.subTest(finish=finish.__name__, late=late):
          self._build(OPTIMIZERS["regular"], finish, late)

  def testVariablesOfContribAreOnServers(self):
    with mock.patch.object(fisher_factors, "CONTRIB_VARIABLES", True):
      for name in ("regular", "adapted_immediately", "periodic"):
        for late in (False, True):
          self._build(OPTIMIZERS[name], _minimize, late)

  def testStateOfGradualInversesIsOnServers(self):
    with mock.patch.object(gradual_inverse, "MIN_ROWS", 1):
      for late in (False, True):
        variables = []

        def finish(model, optimizer, variables=variables):
          made = _minimize(model, optimizer)
          variables += tf.global_variables()
          return made

        self._build(OPTIMIZERS["amortized"], finish, late)
        self.assertLen([variable for variable in variables if variable.op.name
                        .endswith("/gradual_inverse/work")], 3)

  def testUpdatesAreComputedByWorkers(self):
    for finish in (_minimize, _minimize_by_replicas, _minimize_by_thunks):
      for late in (False, True):
        with self.subTest(finish=finish.__name__, late=late):
          updates = self._build(OPTIMIZERS["regular"], finish, late)
          ops = set(_ancestors(updates))
          self.assertContainsSubset({"Cholesky", "MatMul"}, {
              op.type for op in ops})
          # Without a device, an op is run by the process that asks for it.
          self.assertContainsSubset({
              op.device for op in ops if op.type in ("Cholesky", "MatMul")},
                                    {"/job:worker", ""})

  def testVariablesOfALaterScopeAreThere(self):
    with tf.Graph().as_default():
      with _setter():
        model = _Model(True)
        optimizer = OPTIMIZERS["regular"](model)
      with tf.device("/gpu:1"):
        variables = optimizer.get_cov_vars()
    for variable in variables:
      self.assertRegex(variable.device, "^/job:ps/task:[01]/device:GPU:1$")


def _ops_elsewhere(variable):
  """Lists the ops of a variable that are not where it should be."""
  if not variable.device.startswith("/job:ps/task:"):
    return [variable.op]
  group = f"loc:@{variable.op.name}".encode()
  scope = f"{variable.op.name}/Initializer/"
  ops = [variable.op, variable.initializer, *(
      op for op in variable.graph.get_operations()
      if op.name.startswith(scope))]
  return [op for op in ops if op.device != variable.device
          and group not in op.colocation_groups()]


def _ancestors(outputs):
  """Lists the ops on which others depend, without those in functions."""
  waiting = [getattr(output, "op", output) for output in outputs]
  found = set()
  while waiting:
    op = waiting.pop()
    if op not in found:
      found.add(op)
      waiting += [*op.control_inputs, *(tensor.op for tensor in op.inputs)]
  return found


if __name__ == "__main__":
  tf.test.main()
