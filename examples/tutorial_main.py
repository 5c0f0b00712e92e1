"""Draws the figures of g3doc/tutorial.md.

python examples/tutorial_main.py          # into the current directory
python examples/tutorial_main.py --help   # all flags
"""

import dataclasses
import importlib
import os
import sys

# A program that runs as a file does not find modules in the parent directory.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

if __name__ == "__main__":
  # Importing TensorFlow takes seconds.
  from examples import interrupts
  interrupts.catch()

import numpy as np
import tensorflow.compat.v1 as tf
from absl import flags

import kfac
from examples import mlp
from examples import mlp_mnist_main
from examples import mnist
from examples import plots
from examples import programs
from examples import runner
from examples import tables

NAME = "tutorial"
UPDATES = 300
# Eigenvalues below this fraction of the largest are rounding errors.
SMALLEST = 1e-7
# The color scale of A ends at this quantile of its elements.
BRIGHTEST = 0.995

for _name in ("updates", "seed", "data_dir", "output_dir", "evaluate_every"):
  flags.declare_key_flag(_name)

FLAGS = flags.FLAGS


def check_flags(paths):
  """Raises SettingsError if a flag is invalid.

  Args:
    paths: Paths of the figures, which must be writable.
  """
  runner.check_unused(
      "optimizer", "compare", "learning_rate", "momentum", "momentum_type",
      "damping", "norm_constraint", "epochs", "cov_update_every",
      "inv_update_every", "recipe", "auto", "batch_size")
  runner.check_values(runner.COUNT, "updates", "evaluate_every")
  runner.check_values(runner.SEED, "seed")
  for path in paths:
    runner.check_output_dir(path)


def plot_path(figure):
  """Returns the path of a figure."""
  return os.path.join(FLAGS.output_dir, f"{NAME}_{figure}.png")


def compute_factors(images):
  """Computes the Kronecker factors of the untrained perceptron.

  Args:
    images: uint8 array [n, 784].

  Returns:
    Dict from "A1", "G1", "A2", ... in this order to float32 arrays, A [in, in]
    and G [out, out].
  """
  with tf.Graph().as_default():
    tf.set_random_seed(FLAGS.seed)
    logits, layers = mlp.build(tf.constant(images / 255., tf.float32))
    layer_collection = kfac.LayerCollection()
    mlp.register(layer_collection, logits, layers, FLAGS.seed)
    estimator = kfac.estimator.FisherEstimator(
        tf.trainable_variables(), cov_ema_decay=0., damping=0.,
        layer_collection=layer_collection)
    cov_op = estimator.cov_update_op
    factors = {f"{side}{number // 2 + 1}": factor.get_cov()
               for number, (side, factor) in enumerate(zip(
                   "AG" * len(layers), estimator.factors, strict=True))}
    with tf.Session() as sess:
      sess.run(tf.global_variables_initializer())
      sess.run(cov_op)
      return sess.run(factors)


def eigenvalues(cov):
  """Computes the eigenvalues of a covariance, in descending order.

  Args:
    cov: Array [n, n].

  Returns:
    float64 array of at most n eigenvalues, without rounding errors.
  """
  values = np.linalg.eigvalsh(np.asarray(cov, np.float64))[::-1]
  return values[values > SMALLEST * values[0]]


def write_factors(factors, path):
  """Plots A of the first layer, and the eigenvalues of all factors.

  Args:
    factors: Dict from `compute_factors`.
    path: Path of the PNG file.
  """
  figure = plots.make_figure()
  left, right = figure.subplots(1, 2)
  image = left.imshow(factors["A1"], cmap="magma", vmin=0., vmax=np.quantile(
      factors["A1"], BRIGHTEST))
  figure.colorbar(image, ax=left, label="mean product of two pixels in [0, 1]")
  rows, columns = factors["A1"].shape
  left.set_title(f"A of the first layer, {rows} x {columns}")
  left.set_xlabel("pixel (row by row; the last is the bias)")
  left.set_ylabel("pixel")
  for name, cov in factors.items():
    values = eigenvalues(cov)
    right.loglog(np.arange(len(values)) + 1, values, label=name,
                 linestyle="-" if name.startswith("A") else "--",
                 color=f"C{name[1:]}")
  right.set_title("eigenvalues of A and G of each layer")
  plots.describe(right, "number of the eigenvalue, in descending order",
                 "eigenvalue", "factor and layer")
  plots.label_decades(right.xaxis)
  plots.save_figure(figure, path)


def run():
  """Draws the figures.

  Returns:
    One runner.History per optimizer.

  Raises:
    runner.SettingsError: If a flag is invalid, or matplotlib is not installed.
    plots.OutputError: If a figure cannot be written.
    mnist.DataError: If the data cannot be read.
  """
  factors_path, loss_path = plot_path("factors"), plot_path("loss")
  check_flags([factors_path, loss_path])
  check_matplotlib()
  data = mnist.load(FLAGS.data_dir)
  experiment = dataclasses.replace(mlp_mnist_main.EXPERIMENT, updates=UPDATES)
  batch = data.train_images[:experiment.batch_size]
  write_factors(compute_factors(batch), factors_path)
  print(f"Plot: {factors_path}", flush=True)
  histories = runner.until_interrupted(
      runner.train(experiment, optimizer, data)
      for optimizer in runner.OPTIMIZERS)
  tables.print_report(histories, len(data.train_labels))
  plots.report_losses([plots.optimizers_panel(
      f"perceptron, batches of {experiment.batch_size}", histories)], loss_path)
  return histories


def check_matplotlib():
  """Raises SettingsError if matplotlib is not installed."""
  try:
    importlib.import_module("matplotlib.figure")
  except ImportError:
    raise runner.SettingsError(
        "matplotlib must be installed to draw the figures (pip install "
        "matplotlib).") from None


if __name__ == "__main__":
  programs.run_program(NAME, run)
