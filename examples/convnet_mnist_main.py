"""Trains a convolutional network on handwritten digits with K-FAC.

python examples/convnet_mnist_main.py              # K-FAC
python examples/convnet_mnist_main.py --compare    # K-FAC, momentum and Adam
python examples/convnet_mnist_main.py --residual   # with a residual connection
python examples/convnet_mnist_main.py --help       # all flags
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

from examples import convnet
from examples import programs
from examples import runner

flags.DEFINE_boolean(
    "residual", False, "Add a residual connection to the second convolution.")
flags.adopt_module_key_flags(runner)

FLAGS = flags.FLAGS


def build(images):
  """Builds the network according to the flags; see convnet.build."""
  return convnet.build(images, residual=FLAGS.residual)


EXPERIMENT = runner.Experiment(
    name="convnet_mnist", build=build, register=convnet.register,
    learning_rates={"kfac": 0.03, "momentum": 0.08, "adam": 0.014},
    momentums={"kfac": 0.5, "momentum": 0.9}, damping=0.01,
    norm_constraint=0.003, batch_size=500, updates=120)

if __name__ == "__main__":
  programs.main(EXPERIMENT)
