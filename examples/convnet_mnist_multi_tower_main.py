"""Trains the convolutional network in several towers, each on one device.

A tower is a copy of the network that processes a part of the batch. All towers
share the weights.

python examples/convnet_mnist_multi_tower_main.py                  # two towers
python examples/convnet_mnist_multi_tower_main.py --devices=/gpu:0,/gpu:1
python examples/convnet_mnist_multi_tower_main.py --help           # all flags
"""

import dataclasses
import os
import sys

# A program that runs as a file does not find modules in the parent directory.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if __name__ == "__main__":
  # Importing TensorFlow takes seconds.
  from examples import interrupts
  interrupts.catch()

import tensorflow.compat.v1 as tf
from absl import flags

from examples import convnet
from examples import convnet_mnist_main
from examples import programs
from examples import runner
from kfac.python.ops import fisher_factors

flags.DEFINE_integer(
    "num_towers", 2, "Number of towers, which split each batch equally.")
flags.DEFINE_list(
    "devices", ["/cpu:0"], "One device per tower, or one device for all.")
flags.DEFINE_enum(
    "tower_strategy", "concat", ["concat", "separate"],
    "concat computes the statistics from the data of all towers, separate "
    "computes them in each tower on its device and averages them.")
flags.adopt_module_key_flags(convnet_mnist_main)

FLAGS = flags.FLAGS


def build(images):
  """Builds the towers according to the flags; see convnet.build_towers."""
  devices = read_devices()
  batch_size = images.shape.as_list()[0]
  if batch_size is not None and batch_size % len(devices):
    raise runner.SettingsError(
        f"--batch_size must be a multiple of {len(devices)}, the number of "
        f"towers, got {batch_size}.")
  return convnet.build_towers(images, devices, residual=FLAGS.residual)


def read_devices():
  """Returns the device of each tower.

  Raises:
    runner.SettingsError: If the number of devices is wrong, or a device does
      not exist.
  """
  if FLAGS.num_towers < 1:
    raise runner.SettingsError(
        f"--num_towers must be at least 1, got {FLAGS.num_towers}.")
  if len(FLAGS.devices) not in (1, FLAGS.num_towers):
    raise runner.SettingsError(
        f"--devices must have 1 device, or {FLAGS.num_towers}, one per tower, "
        f"got {len(FLAGS.devices)}.")
  for device in FLAGS.devices:
    if not _exists(device):
      raise runner.SettingsError(
          "--devices must be devices of this machine, such as /cpu:0, got "
          f"{device!r}.")
  return FLAGS.devices * (FLAGS.num_towers // len(FLAGS.devices))


def _exists(device):
  """Whether TensorFlow has a device."""
  try:
    spec = tf.DeviceSpec.from_string(device)
  except ValueError:
    return False
  if spec.device_type is None:
    return False
  return (spec.device_index or 0) < len(
      tf.config.list_physical_devices(spec.device_type))


def register(layer_collection, logits, towers, seed):
  """Registers the towers with K-FAC; see convnet.register_towers."""
  fisher_factors.set_global_constants(tower_strategy=FLAGS.tower_strategy)
  convnet.register_towers(layer_collection, logits, towers, seed)


def register_losses(layer_collection, logits, towers, seed):
  """Registers the losses; see convnet.register_tower_losses."""
  fisher_factors.set_global_constants(tower_strategy=FLAGS.tower_strategy)
  convnet.register_tower_losses(layer_collection, logits, towers, seed)


EXPERIMENT = dataclasses.replace(
    convnet_mnist_main.EXPERIMENT, name="convnet_mnist_multi_tower",
    build=build, register=register, register_losses=register_losses)

if __name__ == "__main__":
  programs.main(EXPERIMENT)
