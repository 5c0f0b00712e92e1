"""Trains a transformer on digits, read row by row, with K-FAC.

The model has layers of Keras. K-FAC finds them, and logs what it found.

python examples/transformer_digits_main.py              # K-FAC
python examples/transformer_digits_main.py --compare    # and momentum and Adam
python examples/transformer_digits_main.py --help       # all flags
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
from examples import runner
from examples import transformer

flags.adopt_module_key_flags(runner)

FLAGS = flags.FLAGS


def build(images):
  """Builds the network with the seed of the flags; see transformer.build."""
  return transformer.build(images, seed=FLAGS.seed)


EXPERIMENT = runner.Experiment(
    name="transformer_digits", build=build, register=None,
    learning_rates={"kfac": 0.05, "momentum": 0.2, "adam": 0.004},
    momentums={"kfac": 0.5, "momentum": 0.9}, damping=0.01,
    norm_constraint=0.003, batch_size=500, updates=200, validates=True)

if __name__ == "__main__":
  programs.main(EXPERIMENT)
