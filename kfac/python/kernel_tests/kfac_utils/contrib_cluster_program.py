"""A worker in contrib.kfac's own recipe for clusters.

A task is a dict as in watchdog_program.py with `steps` and `dedicated`: whether
one worker updates the covariances and the inverses, and the chief trains alone.
"""

import os
import sys

# As in conftest.py.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests.kfac_utils import watchdog_program
from kfac.python.ops import op_queue
from kfac.python.ops.kfac_utils import watchdog

_BATCH_SIZE = 32


def loss_of(batch):
  """Returns the logits and the mean loss of a batch."""
  inputs, labels = batch
  with tf.variable_scope("model", reuse=tf.AUTO_REUSE):
    weights = tf.get_variable(
        "w", [8, 3], initializer=tf.glorot_uniform_initializer(seed=1))
    bias = tf.get_variable("b", [3], initializer=tf.zeros_initializer())
  logits = tf.matmul(inputs, weights) + bias
  return (weights, bias), logits, tf.reduce_mean(
      tf.nn.sparse_softmax_cross_entropy_with_logits(
          labels=labels, logits=logits))


def build(is_chief, num_gradients, num_workers):
  """Builds contrib's program.

  Args:
    is_chief: Whether this is the chief.
    num_gradients: Number of gradients that are averaged.
    num_workers: Number of workers.

  Returns:
    The train op, the optimizer, the hook of the replicas, and the loss.
  """
  # Parameters are reference variables, as they were.
  inputs = tf.random.stateless_normal([_BATCH_SIZE, 8], [1, 2])
  teacher = tf.random.stateless_normal([8, 3], [3, 4])
  batch = inputs, tf.argmax(tf.matmul(inputs, teacher), axis=1)
  params, logits, loss = loss_of(batch)
  layers = kfac.LayerCollection()
  layers.register_fully_connected(params, inputs, logits)
  layers.register_categorical_predictive_distribution(logits)
  step = tf.train.get_or_create_global_step()
  optimizer = kfac.KfacOptimizer(
      learning_rate=0.1, cov_ema_decay=0.9, damping=0.1,
      layer_collection=layers, momentum=0.)
  optimizer.set_damping_adaptation_params(
      is_chief, batch, lambda batch: loss_of(batch)[2],
      damping_adaptation_interval=2)
  replicas = tf.train.SyncReplicasOptimizer(
      optimizer, num_gradients, total_num_replicas=num_workers)
  train_op = replicas.minimize(loss, global_step=step)
  return (train_op, optimizer,
          replicas.make_session_run_hook(is_chief, num_tokens=0), loss)


def run_worker(task, target, make_dog):
  """Trains until the global step is that of the task."""
  index, cluster = task["index"], tf.train.ClusterSpec(task["cluster"])
  is_chief, count = index == 0, cluster.num_tasks("worker")
  with tf.device(tf.train.replica_device_setter(
      worker_device=f"/job:worker/task:{index}", cluster=cluster)):
    train_op, optimizer, hook, loss = build(
        is_chief, 1 if task["dedicated"] else count, count)
    queue = op_queue.OpQueue(optimizer.inv_update_ops)
  config = tf.ConfigProto(
      device_filters=["/job:ps", f"/job:worker/task:{index}"])
  dog, step = make_dog(), tf.train.get_global_step()
  creator = (
      tf.train.ChiefSessionCreator(master=target, config=config) if is_chief
      else watchdog_program.PatientCreator(target, config))
  with tf.train.MonitoredSession(
      creator, [dog, hook], stop_grace_period_secs=2) as session:
    done = 0
    while done < task["steps"]:
      if not task["dedicated"]:
        session.run([train_op, *(  # In any order, as programs do.
            [optimizer.cov_update_op, optimizer.inv_update_op]
            if is_chief else [])])
      elif is_chief:
        session.run(train_op)
      else:
        session.run(optimizer.cov_update_op)
        session.run(queue.next_op(session))
      values = session.run({
          "step": step, "loss": loss, "damping": optimizer.damping})
      done = int(values["step"])
      watchdog_program.tell(
          ["step", {name: float(value) for name, value in values.items()}])
    if is_chief:  # The others end with it, wherever they wait.
      os._exit(0)


def run_task(task):
  """Runs a task."""
  tf.disable_v2_behavior()
  server = tf.train.Server(task["cluster"], task["job"], task["index"])

  def make_dog():
    return watchdog.Watchdog(
        task["cluster"], task["job"], task["index"], server.target,
        synchronous=False, **task["options"])

  if task["job"] == "ps":
    make_dog().serve()
  else:
    run_worker(task, server.target, make_dog)


if __name__ == "__main__":
  sys.exit(watchdog_program.main(run_task))
