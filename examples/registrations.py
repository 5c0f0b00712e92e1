"""Compares what a model registers with what K-FAC finds, for tests."""

import tensorflow.compat.v1 as tf

import kfac
from examples import mnist
from examples import runner

NUM_UPDATES = 5

FLAGS = runner.FLAGS


def describe(layer_collection):
  """Describes the blocks of a LayerCollection, in a form that can be compared.

  The outputs are only counted: a model has them after the bias is added, K-FAC
  finds those before, and the gradients with respect to both are the same.

  Args:
    layer_collection: kfac.LayerCollection.

  Returns:
    A list with one tuple per block: the names of its variables, its class, the
    names of its inputs and the number of its outputs by tower and use, and the
    number of uses of each variable.
  """
  counts = layer_collection.get_use_count_map()
  described = []
  for params, block in layer_collection.fisher_blocks.items():
    variables = params if isinstance(params, tuple) else (params,)
    described.append((
        [variable.name for variable in variables], type(block).__name__,
        [[tensor.name for tensor in tf.nest.flatten(tower)]
         for tower in block._inputs],
        [len(tf.nest.flatten(tower)) for tower in block._outputs],
        [counts[variable] for variable in variables]))
  return described


def describe_both(build, register, register_losses):
  """Registers a model in both ways, in a graph of its own.

  Args:
    build: Function as in runner.Experiment.
    register: Function of (layer_collection, logits, layers).
    register_losses: Function of (layer_collection, logits, layers).

  Returns:
    Two descriptions: what the model registers, and what K-FAC finds.
  """
  with tf.Graph().as_default():
    logits, layers = build(tf.placeholder(tf.float32, [6, mnist.IMAGE_SIZE**2]))
    collections = [kfac.LayerCollection() for _ in range(2)]
    register(collections[0], logits, layers)
    register_losses(collections[1], logits, layers)
    runner.register_found_layers(collections[1])
    return [describe(collection) for collection in collections]


def losses_of_both(experiment, args):
  """Trains with K-FAC after each kind of registration.

  Both train with the recipe, whose updates run in a fixed order.

  Args:
    experiment: runner.Experiment.
    args: Flags, strings; batches have 20 images.

  Returns:
    Two lists: the losses after 0, 1, .. NUM_UPDATES updates with the layers
    that the model registers, and with those that K-FAC finds.
  """
  losses = []
  for flag in ("--noauto", "--auto"):
    FLAGS(["program", "--batch_size=20", *args, flag])
    data = mnist.load(FLAGS.data_dir)
    trainer = runner.Trainer(
        experiment, "kfac", runner.default_rate(experiment, "kfac"), 20)
    losses.append(_train(trainer, data))
    trainer.close()
  return losses


def _train(trainer, data):
  """Returns the losses before, between and after NUM_UPDATES updates."""
  batches = mnist.shuffled_batches(len(data.train_labels), 20, FLAGS.seed)
  images, labels = data.train_images, data.train_labels
  losses = [trainer.evaluate(images, labels)[0]]
  for number in range(NUM_UPDATES):
    batch = next(batches)
    trainer.update(number, images[batch], labels[batch])
    losses.append(trainer.evaluate(images, labels)[0])
  return losses
