"""Draws the pictures of g3doc/tutorial.md.

python examples/tutorial_main.py          # into the current directory
python examples/tutorial_main.py --help   # all flags
"""

import importlib
import os
import sys

# Run as a file, Python looks for modules here but not in the directory above.
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import numpy as np
import tensorflow.compat.v1 as tf
from absl import flags

import kfac
from examples import mlp
from examples import mlp_mnist_main
from examples import mnist
from examples import runner

NAME = "tutorial"
UPDATES = 300
# Eigenvalues below this part of the largest are rounding.
SMALLEST = 1e-7
# The part of the elements of A that are not brighter than the scale's end.
BRIGHTEST = 0.995

for _name in ("updates", "seed", "data_dir", "output_dir", "evaluate_every"):
  flags.declare_key_flag(_name)

FLAGS = flags.FLAGS


def check_flags(paths):
  """Raises SettingsError for a flag that is of no use here.

  Args:
    paths: Paths of the pictures, which must be writable.
  """
  for name in ("optimizer", "compare", "learning_rate", "momentum",
               "momentum_type", "damping", "norm_constraint", "epochs",
               "cov_update_every", "inv_update_every", "recipe", "batch_size"):
    if FLAGS[name].present:
      raise runner.SettingsError(
          f"--{name} is for other programs, got {FLAGS[name].value}.")
  for name in ("updates", "evaluate_every"):
    runner.check_flag(name, "at least 1", lambda value: value >= 1)
  runner.check_flag("seed", "in [0, 2**31)", lambda v: 0 <= v < 2**31)
  for path in paths:
    runner.check_output_dir(path)


def plot_path(picture):
  """Returns the path of a picture."""
  return os.path.join(FLAGS.output_dir, f"{NAME}_{picture}.png")


def compute_factors(images):
  """Computes the factors of the untrained perceptron.

  Args:
    images: uint8 array [n, 784].

  Returns:
    Dict from "A1", "G1", "A2", ... to float32 arrays [n, n], in this order.
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
  """Returns the eigenvalues of a covariance [n, n], the largest first.

  Those that rounding has made are left out.

  Args:
    cov: Array [n, n].

  Returns:
    float64 array of at most n.
  """
  found = np.linalg.eigvalsh(np.asarray(cov, np.float64))[::-1]
  return found[found > SMALLEST * found[0]]


def write_factors(factors, path):
  """Draws A of the first layer, and the eigenvalues of all factors.

  Args:
    factors: Dict as from `compute_factors`.
    path: Path of the PNG file.
  """
  figure = importlib.import_module("matplotlib.figure").Figure(
      figsize=(9., 4.), dpi=100, layout="constrained")
  left, right = figure.subplots(1, 2)
  image = left.imshow(factors["A1"], cmap="magma", vmin=0., vmax=np.quantile(
      factors["A1"], BRIGHTEST))
  figure.colorbar(image, ax=left)
  left.set_title("A of the first layer, {} x {}".format(*factors["A1"].shape))
  left.set_xlabel("pixel")
  left.set_ylabel("pixel")
  for name, cov in factors.items():
    values = eigenvalues(cov)
    right.loglog(np.arange(len(values)) + 1, values, label=name,
                 linestyle="-" if name.startswith("A") else "--",
                 color=f"C{name[1:]}")
  right.set_title("eigenvalues, the largest first")
  right.set_xlabel("number of the eigenvalue")
  right.grid(alpha=0.3)
  right.legend(ncols=len(factors) // 2, loc="lower left")
  figure.savefig(path)


def write_losses(panels, path):
  """Draws losses against updates into a PNG file.

  Args:
    panels: List with a pair for each panel: its title, and a list of pairs of
      a label and a runner.History.
    path: Path of the file.
  """
  figure = importlib.import_module("matplotlib.figure").Figure(
      figsize=(9., 3.8), dpi=100, layout="constrained")
  all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
  for axes, (title, lines) in zip(all_axes, panels, strict=True):
    for label, history in lines:
      axes.semilogy(history.updates, history.losses, label=label)
    axes.set_title(title, fontsize="medium")
    axes.set_xlabel("updates")
    axes.grid(alpha=0.3)
    axes.legend()
  all_axes[0].set_ylabel("training loss (nats)")
  figure.savefig(path)


def run():
  """Draws the pictures.

  Returns:
    One runner.History per optimizer.

  Raises:
    runner.SettingsError: If a flag's value is of no use, or matplotlib is not
      installed.
    mnist.DataError: If the digits cannot be read.
  """
  check_flags([plot_path(picture) for picture in ("factors", "loss")])
  check_matplotlib()
  data = mnist.load(FLAGS.data_dir)
  batch = data.train_images[:mlp_mnist_main.EXPERIMENT.batch_size]
  write_factors(compute_factors(batch), plot_path("factors"))
  print("Plot: {}".format(plot_path("factors")), flush=True)
  if FLAGS.updates is None:
    FLAGS.updates = UPDATES
  histories = [runner.train(mlp_mnist_main.EXPERIMENT, optimizer, data)
               for optimizer in runner.OPTIMIZERS]
  print("\n".join(runner.make_table(histories)))
  write_losses(
      [("optimizer, learning rate", [
          (f"{history.optimizer}, {history.learning_rate:g}", history)
          for history in histories])], plot_path("loss"))
  print("Plot: {}".format(plot_path("loss")))
  return histories


def check_matplotlib():
  """Raises SettingsError if there is nothing to draw by."""
  try:
    importlib.import_module("matplotlib.figure")
  except ImportError:
    raise runner.SettingsError(
        "matplotlib must be installed to draw the pictures (pip install "
        "matplotlib).") from None


if __name__ == "__main__":
  runner.run_program(NAME, run)
