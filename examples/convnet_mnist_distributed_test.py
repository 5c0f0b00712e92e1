"""Tests of the distributed program, with real processes."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import tensorflow.compat.v1 as tf
from absl.testing import flagsaver

import kfac
from examples import cluster
from examples import cluster_test
from examples import convnet
from examples import convnet_mnist_distributed_main as program
from examples import fake_mnist
from examples import mnist
from examples import runner
from kfac.python.ops.kfac_utils import periodic_inv_cov_update_kfac_opt

ROOT = pathlib.Path(__file__).parents[1]
# It loads TensorFlow once and starts each program by a fork. A command is a
# list of output file and arguments; the answer is the number of the process.
# The number asks for its exit status, which is null while it runs.
STARTER = """
import json, os, sys
from examples import convnet_mnist_distributed_main as program
while line := sys.stdin.readline():
  command = json.loads(line)
  if isinstance(command, int):
    number, status = os.waitpid(command, os.WNOHANG)
    answer = os.waitstatus_to_exitcode(status) if number else None
  else:
    answer = os.fork()
    if not answer:
      output = os.open(command[0], os.O_WRONLY | os.O_CREAT)
      for number, file in enumerate((os.open(os.devnull, 0), output, output)):
        os.dup2(file, number)
      program.run_task(["program", *command[1:]])
  print(json.dumps(answer), flush=True)
os.killpg(0, 9)
"""


class Program:
  """A process of the program, started by the starter.

  Args:
    ask: Function that sends a command to the starter and returns the answer.
    path: Path of the output file.
    args: Flags.
  """

  def __init__(self, ask, path, args):
    self._ask, self._path = ask, path
    self._status = None
    path.touch()
    self.pid = ask([str(path), *args])

  def output(self):
    """Returns what the program has printed so far."""
    return self._path.read_text(encoding="utf-8").replace("\r", "\n")

  def status(self):
    """Returns the exit status, or None if the program runs."""
    if self._status is None:
      self._status = self._ask(self.pid)
    return self._status

  def wait(self, seconds=120.):
    """Returns the exit status."""
    until(lambda: self.status() is not None, seconds, self)
    return self._status

  def wait_for(self, text, seconds=120.):
    """Waits until the program has printed a text."""
    until(lambda: text in self.output() or self.status() is not None, seconds,
          self)
    assert text in self.output(), self.output()

  def children(self):
    """Returns the numbers of the child processes, in the order of starts."""
    path = pathlib.Path(f"/proc/{self.pid}/task/{self.pid}/children")
    return [int(number) for number in path.read_text().split()]

  def kill(self, number=signal.SIGKILL):
    """Sends a signal, if the program runs."""
    if self.status() is None:
      os.kill(self.pid, number)


def until(condition, seconds, process):
  """Waits until a condition is true; fails with the output after `seconds`."""
  deadline = time.monotonic() + seconds
  while not condition():
    if time.monotonic() > deadline:
      raise AssertionError(f"too late:\n{process.output()}")
    time.sleep(0.05)


class ProgramCase(tf.test.TestCase):
  """Starts programs that do not outlive the test."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls._starter = subprocess.Popen(
        [sys.executable, "-c", STARTER], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT,
        start_new_session=True, env=dict(
            os.environ, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES=""))
    cls.addClassCleanup(cls._stop)

  @classmethod
  def _stop(cls):
    cls._starter.stdin.close()
    cls._starter.wait()
    cls._starter.stdout.close()

  @classmethod
  def _ask(cls, command):
    print(json.dumps(command), file=cls._starter.stdin, flush=True)
    return json.loads(cls._starter.stdout.readline())

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self._dir = pathlib.Path(folder.name)
    fake_mnist.write_dataset(self._dir)
    self._num_started = 0

  def _start(self, *args):
    """Starts a program with few updates of small batches."""
    self._num_started += 1
    started = Program(
        self._ask, self._dir / f"output_{self._num_started}",
        [f"--data_dir={self._dir}", f"--output_dir={self._dir}",
         "--batch_size=60", "--updates=3", "--evaluate_every=1", *args])
    self.addCleanup(started.kill)
    return started

  def _run(self, *args):
    """Runs a program to its end, and returns its output."""
    started = self._start(*args)
    self.assertEqual(started.wait(), 0, started.output())
    return started.output()

  def _check_report(self, output, updates=None):
    """Asserts that an output has a table and a plot.

    Args:
      output: String.
      updates: Int, number of updates in the table, or None for any.

    Returns:
      The lowest and the final loss.
    """
    match = re.search(r"^K-FAC +0\.03 +(\d+) +\S+ +(\S+) +(\S+) +\S+%$",
                      output, re.MULTILINE)
    self.assertTrue(match, output)
    if updates is not None:
      self.assertEqual(int(match[1]), updates)
    self.assertRegex(output, "Plot: .*/convnet_mnist_distributed.png|No plot")
    self.assertNotIn("Traceback", output)
    return float(match[2]), float(match[3])


class LocalClusterTest(ProgramCase):

  def _check_mode(self, *args, updates=None):
    lowest, _ = self._check_report(
        self._run("--local_cluster", *args), updates)
    self.assertLess(lowest, 2.2)  # A guess has ln(10) = 2.3.

  def testCollective(self):
    self._check_mode("--mode=collective", updates=3)

  def testAsynchronous(self):
    self._check_mode("--mode=asynchronous")

  def testSyncReplicas(self):
    self._check_mode("--mode=sync_replicas")

  def testDedicatedWorkers(self):
    self._check_mode("--mode=sync_replicas", "--op_strategy=dedicated_workers")

  def testSynchronousWorkersTrainLikeOneProcess(self):
    updates = 4
    output = self._run(
        "--local_cluster", f"--updates={updates}", "--num_servers=2",
        f"--data_dir={mnist.DEFAULT_DIR}", "--inv_update_every=2",
        f"--checkpoint_dir={self._dir}", f"--evaluate_every={updates}")
    _, final = self._check_report(output, updates)
    loss = train_alone(self._dir / "model.ckpt-0", updates)
    self.assertAllClose(final, loss, rtol=1e-3)

  def testTrainingContinuesFromTheCheckpoint(self):
    args = ("--local_cluster", f"--checkpoint_dir={self._dir}",
            "--worker_replicas=1")
    self._run("--updates=2", *args)
    output = self._run("--updates=3", *args)
    self.assertNotIn("| 1/3", output)
    self._check_report(output, 3)

  def testKilledWorkerEndsAll(self):
    started = self._start("--local_cluster", "--updates=100000")
    started.wait_for("2/100000")
    worker, *others = started.children()
    os.kill(worker, signal.SIGKILL)
    self.assertEqual(started.wait(), 1)
    self.assertEndsWith(
        started.output(), "\n/job:worker/task:1 was ended by SIGKILL.\n")
    self.assertNotIn("lost", started.output())
    for pid in others:
      self.assertFalse(cluster_test.is_running(pid))

  def testSignalReportsTheResultsSoFar(self):
    started = self._start("--local_cluster", "--updates=100000")
    started.wait_for("2/100000")
    children = started.children()
    started.kill(signal.SIGINT)
    self.assertEqual(started.wait(), 130)
    self._check_report(started.output())
    self.assertEndsWith(
        started.output(),
        "\nconvnet_mnist_distributed: interrupted by SIGINT.\n")
    for pid in children:
      self.assertFalse(cluster_test.is_running(pid))

  def testDataErrorIsOneLine(self):
    started = self._start("--local_cluster", "--data_dir=/nowhere")
    self.assertEqual(started.wait(), 1)
    self.assertEqual(
        started.output(),
        "convnet_mnist_distributed: '/nowhere': no such directory.\n")


class ClusterTest(ProgramCase):
  """Processes that are started one by one."""

  def _start_all(self, *args, num_workers=2, num_servers=1):
    addresses = cluster.free_addresses(num_workers + num_servers)
    hosts = [f"--worker_hosts={','.join(addresses[:num_workers])}"]
    if num_servers:
      hosts.append(f"--ps_hosts={','.join(addresses[num_workers:])}")
    return [self._start(f"--job={job}", f"--task={index}", *hosts, *args)
            for job, count in (("ps", num_servers), ("worker", num_workers))
            for index in range(count)]

  def _check_lost(self, started, name):
    """Asserts that processes end with one line."""
    for each in started:
      self.assertEqual(each.wait(), 1, each.output())
      *bar, line = each.output().strip().split("\n")
      self.assertRegex(line, f"{name} is lost: .*")
      for other in bar:
        self.assertTrue(not other or other.startswith("K-FAC "), each.output())

  def testLostWorkerEndsAll(self):
    server, chief, worker = self._start_all(
        "--updates=100000", "--grace_secs=4")
    chief.wait_for("2/100000")
    worker.kill()
    self._check_lost([server, chief], "/job:worker/task:1")

  def testLostWorkerEndsCollectiveOnes(self):
    chief, worker = self._start_all(
        "--mode=collective", "--updates=100000", "--grace_secs=4",
        num_servers=0)
    chief.wait_for("2/100000")
    worker.kill()
    self.assertEqual(chief.wait(), 1, chief.output())
    self.assertRegex(
        chief.output().strip().split("\n")[-1],
        "another worker has ended, and all must start again|worker/task:1 is "
        "lost")
    self.assertNotIn("Traceback", chief.output())

  def testAllEndWithTheChief(self):
    server, chief, worker = self._start_all()
    for each in (chief, worker, server):
      self.assertEqual(each.wait(), 0, each.output())
    self._check_report(chief.output(), 3)
    self.assertEqual(worker.output() + server.output(), "")

  def testAddressThatIsNotFree(self):
    [address] = cluster.free_addresses(1)
    host, port = address.split(":")
    with socket.create_server((host, int(port))):
      started = self._start(
          "--job=ps", "--task=0", f"--ps_hosts={address}",
          "--worker_hosts=127.0.0.1:1")
      self.assertEqual(started.wait(), 1)
    self.assertRegex(
        started.output(), "convnet_mnist_distributed: no server can be started "
        f"at '{address}': .*\n")


class FlagsTest(tf.test.TestCase):

  def _check(self, args, message):
    """Asserts that flags have an error, or None."""
    with self.subTest(args=args), flagsaver.flagsaver():
      runner.FLAGS(["program", *args])
      try:
        program.check_flags()
      except runner.SettingsError as error:
        self.assertEqual(str(error), message)
      else:
        self.assertIsNone(message)

  def testCounts(self):
    hosts = ["--worker_hosts=a:1,b:1,c:1", "--ps_hosts=d:1,e:1"]
    for args, counts in (
        (["--local_cluster"], [2, 1]),
        (["--local_cluster", "--num_servers=3", "--worker_replicas=4"], [4, 3]),
        (["--local_cluster", "--mode=collective"], [2, 0]),
        (["--local_cluster", "--mode=sync_replicas",
          "--op_strategy=dedicated_workers"], [3, 1]),
        (hosts, [3, 2]),
        ([*hosts, "--worker_replicas=3", "--ps_tasks=2"], [3, 2])):
      with self.subTest(args=args), flagsaver.flagsaver():
        runner.FLAGS(["program", *args])
        self.assertEqual(program.count_tasks(), counts)

  def testValidFlags(self):
    hosts = ["--worker_hosts=a:1,b:1", "--ps_hosts=d:1"]
    for args in (
        ["--local_cluster"], ["--job=ps", "--task=0", *hosts],
        ["--job=worker", "--task=1", *hosts],
        ["--job=worker", "--task=1", hosts[0], "--mode=collective"],
        ["--job=worker", "--task=1", "--worker_replicas=2", "--ps_tasks=1",
         "--master=grpc://a:1"]):
      self._check(args, None)

  def testInvalidFlagsOfTheCluster(self):
    hosts = ["--worker_hosts=a:1,b:1", "--ps_hosts=d:1"]
    for args, message in (
        ([], "--worker_hosts must be given, or --local_cluster."),
        (hosts[:1], "--ps_hosts must be given, or --local_cluster."),
        (hosts, "--job must be given without --local_cluster."),
        ([*hosts, "--job=ps"],
         "--task must be given without --local_cluster."),
        ([*hosts, "--job=ps", "--task=1"],
         "--task must be in [0, 1), the processes of the job ps, got 1."),
        ([*hosts, "--worker_replicas=3"],
         "--worker_replicas must be 2, the number of --worker_hosts, got 3."),
        ([*hosts, "--ps_tasks=2"],
         "--ps_tasks must be 1, the number of --ps_hosts, got 2."),
        (["--worker_replicas=2", "--ps_tasks=1", "--job=worker", "--task=0"],
         "--worker_hosts must be given, or --master."),
        ([*hosts, "--job=ps", "--task=0", "--master=grpc://a:1"],
         "--master is only used by workers."),
        (["--local_cluster", "--task=0"],
         "--local_cluster determines --task, got 0.")):
      self._check(args, message)

  def testInvalidFlagsOfTheMode(self):
    for args, message in (
        (["--op_strategy=chief_worker"],
         "--op_strategy is not used by the mode synchronous, got "
         "chief_worker."),
        (["--mode=asynchronous", "--replicas_to_aggregate=1"],
         "--replicas_to_aggregate is not used by the mode asynchronous, got "
         "1."),
        (["--mode=collective", "--num_servers=1"],
         "--ps_tasks is not used by the mode collective, got 1."),
        (["--mode=sync_replicas", "--op_strategy=dedicated_workers",
          "--worker_replicas=2"],
         "--worker_replicas must be at least 3 with dedicated workers, got 2."),
        (["--mode=sync_replicas", "--op_strategy=dedicated_workers",
          "--inv_update_every=2"],
         "--inv_update_every is not used by dedicated workers, got 2."),
        (["--worker_replicas=3"],
         "--batch_size must be a multiple of 3, the number of workers that "
         "compute gradients, got 500.")):
      self._check(["--local_cluster", *args], message)

  def testInvalidValues(self):
    for args, message in (
        ("--worker_replicas=0", "--worker_replicas must be at least 1, got 0."),
        ("--ps_tasks=0", "--ps_tasks must be at least 1, got 0."),
        ("--save_every=0", "--save_every must be at least 1, got 0."),
        ("--grace_secs=1", "--grace_secs must be at least 3, got 1.0."),
        ("--optimizer=adam",
         "--optimizer is not used by this program, got adam."),
        ("--num_epochs=0", "--epochs must be at least 1, got 0.")):
      self._check(["--local_cluster", args], message)


def train_alone(checkpoint, updates):
  """Trains in this process, with a tower in place of each of two workers.

  Args:
    checkpoint: Path of the checkpoint of the initial weights.
    updates: Int, number of updates with batches of 60.

  Returns:
    The loss of the training images.
  """
  data = mnist.load()
  saved = tf.train.load_checkpoint(str(checkpoint))
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(0)
    images, labels = runner.make_placeholders(60)
    with tf.variable_scope("model", use_resource=True):
      logits, towers = convnet.build_towers(
          tf.cast(images, tf.float32) / 255., ["/cpu:0"] * 2)
      every, labels_of_all = runner.make_placeholders(None)
    with tf.variable_scope("model", reuse=True, use_resource=True):
      scores = runner.score(
          convnet.build(tf.cast(every, tf.float32) / 255.)[0], labels_of_all)
    layer_collection = kfac.LayerCollection()
    for tower in towers:
      convnet.register(
          layer_collection, *tower, seed=0, reuse=tf.AUTO_REUSE)
    train_op = periodic_inv_cov_update_kfac_opt.PeriodicInvCovUpdateKfacOpt(
        2, 1, learning_rate=0.03, cov_ema_decay=0.95, damping=0.01,
        layer_collection=layer_collection, momentum=0.5,
        norm_constraint=0.003).minimize(runner.mean_loss(logits, labels))
    session.run(tf.global_variables_initializer())
    session.run([tf.assign(each, saved.get_tensor(each.op.name))
                 for each in tf.trainable_variables()])
    batches = mnist.shuffled_batches(len(data.train_labels), 60, 0)
    for batch, _ in zip(batches, range(updates), strict=False):
      session.run(train_op, {images: data.train_images[batch],
                             labels: data.train_labels[batch]})
    loss, _ = runner.evaluate(
        lambda *part: session.run(
            scores, dict(zip((every, labels_of_all), part, strict=True))),
        data.train_images, data.train_labels)
    return loss


if __name__ == "__main__":
  unittest.main()
