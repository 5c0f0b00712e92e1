"""Arguments of KfacOptimizer that are passed on by name, for type checkers."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from typing import Any
from typing import TypedDict

from kfac.python.ops.layer_collection import collection
from kfac.python.ops.utils import hints


class Adaptation(TypedDict, total=False):
  """What KfacOptimizer takes with `adapt_damping`."""

  loss_fn: Callable[[Any], hints.TensorLike]
  train_batch: Any
  is_chief: bool
  min_damping: hints.Scalar
  max_damping: hints.Scalar | None
  damping_adaptation_decay: float
  damping_adaptation_interval: int
  max_loss_increase: float | None


class Arguments(Adaptation, total=False):
  """What KfacOptimizer takes."""

  learning_rate: hints.LearningRate | None
  cov_ema_decay: hints.Scalar
  damping: hints.Damping
  layer_collection: collection.LayerCollection
  var_list: Sequence[Any] | None
  momentum: hints.Scalar | None
  momentum_type: str
  norm_constraint: hints.Scalar | None
  name: str
  estimation_mode: str
  colocate_gradients_with_ops: bool
  batch_size: hints.Scalar | None
  placement_strategy: str | None
  adapt_damping: bool
  precon_damping_mult: hints.Scalar
  qmodel_losses: Any
  qmodel_example_weights: hints.TensorLike | None
  cov_devices: hints.Devices | None
  inv_devices: hints.Devices | None
