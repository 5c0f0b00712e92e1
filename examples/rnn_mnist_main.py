"""Trains a recurrent network on digits, read row by row, with K-FAC.

python examples/rnn_mnist_main.py              # K-FAC
python examples/rnn_mnist_main.py --approximation=kron_series_1
python examples/rnn_mnist_main.py --compare    # K-FAC, momentum and Adam
python examples/rnn_mnist_main.py --help       # all flags
"""

import os
import sys

# A program that runs as a file does not find modules in the parent directory.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if __name__ == "__main__":
  # Importing TensorFlow takes seconds.
  from examples import interrupts
  interrupts.catch()

from absl import flags

from examples import programs
from examples import rnn
from examples import runner

flags.DEFINE_enum(
    "approximation", "kron_indep",
    ["kron_indep", "kron_series_1", "kron_series_2"],
    "Fisher approximation of the recurrent layer, which is used 28 times. "
    "kron_indep assumes independent uses, kron_series_1 and kron_series_2 "
    "assume a stationary Markov chain over the uses.")
flags.adopt_module_key_flags(runner)

FLAGS = flags.FLAGS


def register(layer_collection, logits, layers, seed):
  """Registers the network according to the flags; see rnn.register."""
  rnn.register(layer_collection, logits, layers, seed,
               approximation=FLAGS.approximation)


def register_losses(layer_collection, logits, layers, seed):
  """Registers the loss, and the approximation of layers with many uses."""
  layer_collection.set_default_fully_connected_multi_approximation(
      FLAGS.approximation)
  runner.register_categorical(layer_collection, logits, layers, seed)


EXPERIMENT = runner.Experiment(
    name="rnn_mnist", build=rnn.build, register=register,
    learning_rates={"kfac": 0.05, "momentum": 0.02, "adam": 0.005},
    momentums={"kfac": 0.5, "momentum": 0.9}, damping=0.003,
    norm_constraint=0.003, batch_size=500, updates=300,
    register_losses=register_losses)

if __name__ == "__main__":
  programs.main(EXPERIMENT)
