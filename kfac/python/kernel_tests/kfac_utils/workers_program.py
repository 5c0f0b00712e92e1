"""Trains a small net in one process, and in processes of workers.

python workers_program.py CONFIG.json

The process forks one process for each task of a cluster on 127.0.0.1, and one
that trains alone with as many towers as there are workers. They write their
results to the folder of the config. It ends when all have ended, with status 1
if one of them failed. The config is a dict:

    folder       where results are written, as CASE.alone.npz, CASE.INDEX.npz
    way          "servers" or "collectives"
    num_servers  number of servers; none with "collectives"
    num_workers  number of workers
    steps        number of steps
    control_flow version of control flow, 1 or 2
    cases        list of dicts: a name, whether batches come from a dataset, and
                 the arguments of `build`
"""

import json
import os
import pathlib
import signal
import sys
import traceback

# As in conftest.py.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import numpy as np
import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests.kfac_utils import processes
from kfac.python.kernel_tests.kfac_utils import watchdog_program
from kfac.python.ops.kfac_utils import collectives
from kfac.python.ops.kfac_utils import periodic_inv_cov_update_kfac_opt
from kfac.python.ops.kfac_utils import server_workers
from kfac.python.ops.utils import workers as workers_lib

NUM_EXAMPLES = 48  # Of all workers, for each run that reads a batch.
_SIZES = 6, 5, 3
_SETTINGS = {
    "regular": dict(learning_rate=0.1, momentum=0.5, norm_constraint=0.05),
    "adam": dict(learning_rate=0.1, momentum=0.5),
    "qmodel": dict(learning_rate=1., momentum=0.),
}


def batches(steps):
  """Returns inputs [steps, examples, in] and labels [steps, examples]."""
  rng = np.random.RandomState(0)
  return (rng.randn(steps, NUM_EXAMPLES, _SIZES[0]),
          rng.randint(0, _SIZES[-1], size=(steps, NUM_EXAMPLES)))


def parameters():
  """Returns the parameters, which are created in the first call."""
  with tf.variable_scope("model", reuse=tf.AUTO_REUSE, use_resource=True,
                         dtype=tf.float64):
    layers = []
    for number, (num_in, num_out) in enumerate(
        zip(_SIZES[:-1], _SIZES[1:], strict=True)):
      layers.append((
          tf.get_variable(f"weights_{number}", [num_in, num_out],
                          initializer=tf.random_normal_initializer(
                              seed=number)),
          tf.get_variable(f"bias_{number}", [num_out],
                          initializer=tf.zeros_initializer())))
    scale = tf.get_variable("scale", [_SIZES[-1]],
                            initializer=tf.ones_initializer())
  return layers, scale


def forward(inputs):
  """Returns the inputs and the outputs of each layer, and the logits."""
  layers, scale = parameters()
  pairs = []
  for weights, bias in layers:
    outputs = tf.matmul(inputs, weights) + bias
    pairs.append((inputs, outputs))
    inputs = tf.tanh(outputs)
  return pairs, pairs[-1][1] * scale


def mean_loss(batch):
  """Returns the mean loss over a batch, a pair of inputs and labels."""
  inputs, labels = batch
  _, logits = forward(inputs)
  return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=labels, logits=logits))


def register(layer_collection, inputs, labels, reuse):
  """Registers one tower."""
  layers, scale = parameters()
  pairs, logits = forward(inputs)
  for params, (layer_inputs, outputs) in zip(layers, pairs, strict=True):
    layer_collection.register_fully_connected(
        params, layer_inputs, outputs, reuse=reuse)
  layer_collection.register_categorical_predictive_distribution(
      logits, seed=5, targets=labels, name="labels", reuse=reuse)
  layer_collection.register_generic(
      scale, batch_size=inputs.shape.as_list()[0], reuse=reuse)


def build(batch, num_towers, workers, momentum_type="regular", periodic=False,
          adapt=False, mode="gradients"):
  """Builds the training of one process.

  Args:
    batch: Inputs and labels of this process.
    num_towers: Number of towers, into which the batch is split.
    workers: Workers.
    momentum_type: See KfacOptimizer.
    periodic: Whether the train op runs all updates that are due.
    adapt: Whether the damping is adapted, and steps may be rejected.
    mode: Estimation mode.

  Returns:
    List of the runs of a step, and the optimizer.
  """
  layer_collection = kfac.LayerCollection()
  parts = zip(*[tf.split(part, num_towers) for part in batch], strict=True)
  for number, part in enumerate(parts):
    register(layer_collection, *part, reuse=number > 0)
  size = batch[0].shape.as_list()[0]
  settings = dict(
      damping=0.1, layer_collection=layer_collection, cov_ema_decay=0.9,
      momentum_type=momentum_type, estimation_mode=mode, workers=workers,
      batch_size=size, **_SETTINGS[momentum_type])
  if adapt:
    settings.update(
        adapt_damping=True, loss_fn=mean_loss, train_batch=batch,
        damping_adaptation_interval=2, max_loss_increase=0.01)
  loss, step = mean_loss(batch), tf.train.get_or_create_global_step()
  if periodic:
    optimizer = periodic_inv_cov_update_kfac_opt.PeriodicInvCovUpdateKfacOpt(
        invert_every=3, cov_update_every=2, num_burnin_steps=2, **settings)
    return [optimizer.minimize(loss, step)], optimizer
  optimizer = kfac.KfacOptimizer(**settings)
  train_op = optimizer.minimize(loss, step)
  return [optimizer.cov_update_op, optimizer.inv_update_op, train_op], optimizer


def read(data, index, count, from_dataset):
  """Makes the batch of a process.

  Args:
    data: What `batches` returns.
    index: Number of the process.
    count: Number of processes, which each read a part of a batch.
    from_dataset: Whether each run reads the next batch of a tf.data.Dataset.

  Returns:
    Pair of tensors, and a function from a step to what is fed.
  """
  size = NUM_EXAMPLES // count
  parts = [array[:, index * size:(index + 1) * size] for array in data]
  if from_dataset:
    dataset = tf.data.Dataset.from_tensor_slices(tuple(parts)).repeat()
    return tf.data.make_one_shot_iterator(dataset).get_next(), lambda step: {}
  batch = [tf.placeholder(part.dtype, part.shape[1:]) for part in parts]
  return batch, lambda step: {
      tensor: part[step] for tensor, part in zip(batch, parts, strict=True)}


def train(make_session, case, data, index, count, workers, num_towers):
  """Trains and returns the variables of the model and of the damping by name.

  Args:
    make_session: Function that returns a MonitoredSession.
    case: Dict of the arguments of `build`, a name, and `dataset`.
    data: What `batches` returns.
    index: Number of the process.
    count: Number of processes.
    workers: Workers.
    num_towers: Number of towers.
  """
  arguments = dict(case)
  arguments.pop("name")
  from_dataset = arguments.pop("dataset", False)
  batch, feeds = read(data, index, count, from_dataset)
  runs, optimizer = build(batch, num_towers, workers, **arguments)
  values = {variable.op.name: variable for variable in tf.trainable_variables()}
  if arguments.get("adapt"):
    values["damping"] = optimizer.damping
  with make_session() as session:
    for step in range(len(data[0])):
      for run in runs:
        session.run(run, feeds(step))
    return session.run(values)


def train_alone(config):
  """Trains each case in this process."""
  data = batches(config["steps"])
  for case in config["cases"]:
    with tf.Graph().as_default():
      tf.set_random_seed(3)
      values = train(tf.train.MonitoredSession, case, data, 0, 1,
                     workers_lib.ALONE, config["num_workers"])
    _save(config, case, "alone", values)


def train_with_servers(config, cluster, index):
  """Trains each case as a worker of a cluster with servers."""
  data, count = batches(config["steps"]), config["num_workers"]
  server = tf.train.Server(cluster, "worker", index)
  session_config = tf.ConfigProto(
      device_filters=["/job:ps", f"/job:worker/task:{index}"])

  def make_creator():
    if index == 0:
      return tf.train.ChiefSessionCreator(
          master=server.target, config=session_config)
    return watchdog_program.PatientCreator(server.target, session_config)

  for case in config["cases"]:
    # The variables and queues of another case have the same names.
    with tf.Graph().as_default() as graph, graph.container(case["name"]):
      tf.set_random_seed(3)
      with tf.device(tf.train.replica_device_setter(
          worker_device=f"/job:worker/task:{index}", cluster=cluster)):
        values = train(
            lambda: tf.train.MonitoredSession(make_creator()),
            case, data, index, count, server_workers.ServerWorkers(
                count, index, config["num_servers"]), 1)
    _save(config, case, index, values)


def train_with_collectives(config, cluster, index):
  """Trains each case as a worker of a cluster without servers."""
  data, count = batches(config["steps"]), config["num_workers"]
  target = tf.train.Server(
      cluster, "worker", index,
      config=collectives.CollectiveWorkers(count, index).config).target
  for case in config["cases"]:
    workers = collectives.CollectiveWorkers(count, index, name=case["name"])
    with tf.Graph().as_default():
      tf.set_random_seed(None if index else 3)  # The chief's values count.
      with tf.device(workers.device):
        values = train(
            lambda workers=workers: tf.train.MonitoredTrainingSession(
                target, config=workers.config,
                hooks=[collectives.InitialValuesHook(workers)]),
            case, data, index, count, workers, 1)
    _save(config, case, index, values)


def _save(config, case, index, values):
  np.savez(pathlib.Path(config["folder"]) / f"{case['name']}.{index}.npz",
           **values)


def fork(function, *args):
  """Runs a function in a new process; returns its number."""
  number = os.fork()
  if number:
    return number
  status = 1
  try:
    function(*args)
    status = 0
  except BaseException:  # noqa: BLE001  The process ends in any case.
    traceback.print_exc()
  finally:
    sys.stderr.flush()
    os._exit(status)


def main(config):
  """Runs all processes; returns an exit status."""
  jobs = {"worker": processes.free_addresses(config["num_workers"])}
  if config["way"] == "servers":
    jobs["ps"] = processes.free_addresses(config["num_servers"])
  cluster = tf.train.ClusterSpec(jobs)
  servers = [
      fork(lambda i=i: tf.train.Server(cluster, "ps", i).join())
      for i in range(len(jobs.get("ps", [])))]
  work = (train_with_servers if config["way"] == "servers"
          else train_with_collectives)
  others = {fork(train_alone, config)} | {
      fork(work, config, cluster, index)
      for index in range(config["num_workers"])}
  failed = False
  while others and not failed:
    number, status = os.wait()
    others.discard(number)
    failed = status != 0
  for number in [*servers, *others]:
    os.kill(number, signal.SIGKILL)
  return int(failed)


if __name__ == "__main__":
  with open(sys.argv[1]) as config_file:
    chosen = json.load(config_file)
  tf.disable_eager_execution()
  if chosen["control_flow"] == 1:
    tf.disable_control_flow_v2()
  sys.exit(main(chosen))
