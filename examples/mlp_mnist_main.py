"""Trains a multilayer perceptron on handwritten digits with K-FAC.

python examples/mlp_mnist_main.py             # K-FAC
python examples/mlp_mnist_main.py --compare   # K-FAC, momentum and Adam
python examples/mlp_mnist_main.py --help      # all flags
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

from examples import mlp
from examples import programs
from examples import runner

flags.adopt_module_key_flags(runner)

EXPERIMENT = runner.Experiment(
    name="mlp_mnist", build=mlp.build, register=mlp.register,
    learning_rates={"kfac": 1., "momentum": 0.3, "adam": 0.02},
    momentums={"kfac": 0.5, "momentum": 0.98}, momentum_type="qmodel",
    damping=0.001, norm_constraint=0.003, batch_size=500, updates=1400)

if __name__ == "__main__":
  programs.main(EXPERIMENT)
