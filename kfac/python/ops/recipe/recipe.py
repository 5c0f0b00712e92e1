"""Recipe: from a loss to a train op of K-FAC, without settings.

The train op of a recipe reads: covariances, then inverses, then the step, then
the adapted damping, all in one session call and on one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf
from absl import logging

from kfac.python.ops.kfac_utils import periodic_inv_cov_update_kfac_opt
from kfac.python.ops.layer_collection import collection
from kfac.python.ops.optimizer import arguments
from kfac.python.ops.optimizer import calibration
from kfac.python.ops.optimizer import sampling
from kfac.python.ops.recipe import passes
from kfac.python.ops.recipe import rules
from kfac.python.ops.utils import hints
from kfac.python.ops.utils import scalars

# Choices of a recipe beside the arguments of KfacOptimizer.
_OWN_CHOICES = (
    "batch_size", "num_statistics_examples", "qmodel_divisor", "schedule")
_CHOICES = {*_OWN_CHOICES, *arguments.Arguments.__annotations__} - {
    "layer_collection"}


class Recipe:
  """K-FAC with a schedule, sampling and damping that are chosen for a model.

      recipe = kfac.recipe.Recipe(layers, loss)
      train_op = recipe.minimize(global_step)
      sess.run(train_op, feed_dict)

  `recipe/rules.py` has the choices and their reasons. Any of them can be given
  as a keyword argument instead, and all are logged in one line.

  Attributes:
    loss: Scalar tensor, the loss of the batch.
    statistics: LayerCollection of the examples for the statistics.
    optimizer: PeriodicInvCovUpdateKfacOpt, whose train op contains the updates
      that are due.
    choices: Dict of all choices.
  """

  def __init__(self, layer_collection: collection.LayerCollection,
               loss: hints.TensorLike, batch: Any = None,
               example_losses: hints.TensorLike | None = None,
               **choices: Any) -> None:
    """Makes an optimizer for a model that is registered.

    The passes of parts of the batch and the loss after a step are copies of the
    subgraph of the losses. Where a part cannot be copied, the whole batch takes
    its place, and a warning says why.

    Args:
      layer_collection: LayerCollection with all layers and losses.
      loss: Scalar tensor, a mean over the batch.
      batch: The tensors [B, ...] that the examples come from, in any structure.
        By default, the placeholders and the outputs of iterators and queues
        that `loss` depends on and that have a first axis.
      example_losses: Tensor [B], the loss of each example. By default, what
        `loss` is the mean of.
      **choices: Arguments of KfacOptimizer, or `batch_size` (int, the number of
        examples that the other choices depend on, if tensors have an unknown
        first size), `schedule` (Schedule), `num_statistics_examples` and
        `qmodel_divisor` (int or integer tensor).

    Raises:
      TypeError: If a choice is unknown.
      ValueError: If a value is out of range.
    """
    self._start(passes.CopiedPass(
        layer_collection, loss, batch, example_losses), choices)

  @classmethod
  def from_function(cls, build: Callable[[Any, Any], tf.Tensor], batch: Any,
                    **choices: Any) -> Recipe:
    """Makes an optimizer for a model that a function builds.

    Args:
      build: Function of (layer_collection, batch) that builds a forward pass
        for a batch of any size, registers its layers and losses, and returns
        the loss of each example [B], or the mean loss. Each call must use the
        same variables, and random numbers that depend on `batch` alone.
      batch: Nested structure of tensors [B, ...].
      **choices: As in the constructor.

    Returns:
      Recipe.

    Raises:
      TypeError: If a choice is unknown.
      ValueError: If a value is out of range, or the variables are not the same.
    """
    recipe = cls.__new__(cls)
    recipe._start(passes.BuiltPass(build, batch), choices)
    return recipe

  def _start(self, forward, choices):
    """Chooses, and makes the optimizer."""
    for name in choices:
      if name not in _CHOICES:
        raise TypeError(f"{name} is no choice of a Recipe.")
    self._pass = forward
    self._train_op: tf.Operation | None = None
    self.loss = forward.loss
    batch_size = _batch_size(forward)
    self.choices = {**rules.SETTINGS, **rules.choose(
        forward.layers, batch_size, choices.get("batch_size")), **choices}
    adapts = self.choices["adapt_damping"]
    if not adapts:
      for name in arguments.RULE_ARGUMENTS:
        if name not in choices:
          self.choices.pop(name, None)
    self.statistics, of_qmodel = self._parts(batch_size)
    settings = {name: value for name, value in self.choices.items()
                if name not in _OWN_CHOICES}
    if adapts:
      settings = {"train_batch": forward.batch,
                  "loss_fn": lambda _: forward.loss_again(), **settings}
    self.optimizer = (
        periodic_inv_cov_update_kfac_opt.PeriodicInvCovUpdateKfacOpt(
            layer_collection=self.statistics,
            schedule=self.choices["schedule"], **{**of_qmodel, **settings}))
    logging.info("kfac.recipe: %s.", ", ".join(
        f"{name}={scalars.shown(value)}"
        for name, value in self.choices.items()))

  def _parts(self, batch_size):
    """Registers what the statistics and the quadratic model use.

    Returns:
      LayerCollection of the statistics, and the arguments of KfacOptimizer for
      the quadratic model.
    """
    try:
      return self._statistics(batch_size), self._quadratic_model(batch_size)
    except ValueError as error:
      if isinstance(self._pass, passes.BuiltPass):
        raise
      logging.warning(
          "kfac.recipe: the statistics and the quadratic model use the whole "
          "batch, since the model cannot be copied for a part of it: %s", error)
      return self._pass.layers, self._whole_quadratic_model()

  def _statistics(self, batch_size):
    """Returns the LayerCollection of the examples for the statistics."""
    number = self.choices["num_statistics_examples"]
    if scalars.is_number(number) and scalars.is_number(batch_size) and (
        number >= batch_size):
      return self._pass.layers
    return self._pass.part(tf.range(number))

  def _quadratic_model(self, batch_size):
    """Returns the arguments of KfacOptimizer for the quadratic model."""
    divisor, losses = self.choices["qmodel_divisor"], self._pass.example_losses
    has_towers = any(
        len(towers) > 1 for towers in self._pass.layers.towers_by_loss)
    if losses is None or has_towers or scalars.is_one(divisor) or (
        self.choices["momentum_type"] != "qmodel"):
      return self._whole_quadratic_model()
    examples, weights = sampling.sample_examples(losses, divisor)
    layers = self._pass.part(examples)
    # A loss may have several rows for each example, such as positions.
    uses = _num_rows(layers) // tf.size(examples)
    return {"qmodel_losses": layers,
            "qmodel_example_weights": tf.repeat(weights, uses),
            "batch_size": batch_size * uses}

  def _whole_quadratic_model(self):
    """Returns the arguments for a quadratic model of the whole batch."""
    if self.choices["momentum_type"] != "qmodel":
      return {}
    return {"qmodel_losses": self._pass.layers,
            "batch_size": _num_rows(self._pass.layers)}

  def minimize(self, global_step: hints.Scalar | None = None,
               name: str | None = None) -> tf.Operation:
    """Makes the train op: the updates that are due, and one step.

    Args:
      global_step: Variable that counts steps, or None.
      name: Name of the op.

    Returns:
      Op.

    Raises:
      ValueError: If the registrations do not fit, or the loss cannot be copied.
    """
    self._train_op = self.optimizer.minimize(
        self.loss, global_step=global_step, name=name)
    return self._train_op

  def calibrate(self, session: tf.Session, feed_dict: dict | None = None,
                candidates: Sequence[float] = calibration.CANDIDATES) -> float:
    """Sets the initial damping by trial steps on one batch.

    Call it before training. All trials use the same batch, also if it comes
    from an iterator or a queue.

    Args:
      session: tf.Session, with initialised variables.
      feed_dict: The batch, if it is fed.
      candidates: Numbers > 0.

    Returns:
      The damping.

    Raises:
      ValueError: If `minimize` was not called; see also calibrate_damping.
    """
    if self._train_op is None:
      raise ValueError("calibrate must be called after minimize.")
    return calibration.calibrate(
        session, self.optimizer, lambda: [self._train_op], self.loss,
        tf.nest.flatten(self._pass.batch), feed_dict, candidates)


def _batch_size(forward):
  """Returns the number of examples, int or integer tensor []."""
  batch = tf.nest.flatten(forward.batch)
  sizes = passes.first_sizes(batch)
  if not batch or len(sizes) > 1:
    return _num_rows(forward.layers)
  return sizes[0] if sizes else tf.shape(batch[0])[0]


def _num_rows(layers):
  """Returns the number of rows of the first loss, int or integer tensor []."""
  if not layers.towers_by_loss:
    raise ValueError("at least one loss must be registered, got none.")
  inputs = [tf.nest.flatten(loss.inputs)[0]
            for loss in layers.towers_by_loss[0]]
  sizes = [tensor.shape.as_list()[0] for tensor in inputs]
  if None in sizes:
    return tf.add_n([tf.shape(tensor)[0] for tensor in inputs])
  return sum(sizes)
