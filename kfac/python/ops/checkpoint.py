"""Restores a checkpoint as far as it fits, and says what starts anew.

A `tf.train.Saver` requires that a checkpoint has every variable of the graph.
`restore` also reads checkpoints of programs that differ in the optimizer, in
the damping, or in the release of K-FAC. It reads: `_Checkpoint` finds values ->
`_plan` decides what fits -> one session.run assigns all values -> the inverse
updates of factors whose kept matrices did not fit.
"""

from __future__ import annotations

import collections
import dataclasses
import os
import re
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from absl import logging

__all__ = ["Anew", "Report", "restore"]

# What the reader of checkpoints raises.
_READ_ERRORS = (ValueError, RuntimeError, IndexError, tf.errors.OpError)

_MISSING = "not in the checkpoint"
_SWITCHED_ON = "adaptation switched on"
_OTHER_DAMPING = "other damping"

# Counters, by the last part of their names. One that a checkpoint lacks starts
# at its initial value, and what it belongs to is restored without it.
_OPTIONAL = frozenset({
    "actual_change", "num_rejected", "num_skipped", "num_skipped_steps",
    "num_steps", "num_updates_kept", "predicted_decrease", "sample_counter"})

# The scope of an inverse that is under way, below that of its factor; see
# fisher_factors/gradual_inverse.py. If it does not fit, it starts again.
_UNDER_WAY = "/gradual_inverse/"

# The last part of the name of an optimizer's variable -> its group, and the
# reason why the group starts anew if the checkpoint has no such variable.
_ADAPTATION = ("adapted damping", _SWITCHED_ON)
_GROUPS = {
    "damping": _ADAPTATION,
    "rho": _ADAPTATION,
    "prev_loss": _ADAPTATION,
    "q_model_change": _ADAPTATION,
    "actual_change": _ADAPTATION,
    "predicted_decrease": _ADAPTATION,
    "num_steps": _ADAPTATION,
    "num_rejected": _ADAPTATION,
    "num_runs": ("schedule", "another schedule"),
}

# Variables of the adapted damping that may be infinite or NaN: rho is, after a
# rejected step and before the first one.
_ANY_VALUE = frozenset({
    "actual_change", "rho", "prev_loss", "q_model_change"})


class Anew(NamedTuple):
  """Something that was not restored.

  Attributes:
    what: Name of the factor or of the group of variables.
    reason: Why it starts anew.
  """

  what: str
  reason: str

  def __str__(self) -> str:
    """Returns one line."""
    return f"Anew: {self.what} ({self.reason})"


@dataclasses.dataclass(frozen=True)
class Report:
  """What `restore` did; str() has one line for the whole, and one per `anew`.

  Attributes:
    path: Path of the checkpoint.
    restored: Names of the variables that were restored.
    anew: What was not, each with the reason.
  """

  path: str
  restored: tuple[str, ...]
  anew: tuple[Anew, ...]

  def __str__(self) -> str:
    """Returns the lines."""
    return "\n".join([
        f"{len(self.restored)} variables restored from {self.path!r}.",
        *map(str, self.anew)])


def restore(session: Any, path: str | os.PathLike[str],
            optimizer: Any) -> Report:
  """Restores a checkpoint into the variables of a graph, as far as it fits.

  The variables of the model must all be in the checkpoint, with their shapes.
  The global step, the velocities, the adapted damping, the schedule and each
  factor are restored or, each as a whole, start anew from their initial values.
  The report says which and why, and is also logged. If only the kept inverses
  of a factor do not fit, they are recomputed from the restored covariance. A
  factor that starts anew needs a covariance and an inverse update before its
  layer moves.

  The checkpoint may be of this version; of contrib.kfac in TensorFlow 1.4 to
  1.10, or of CONTRIB_VARIABLES, also with another damping or another number of
  gradient ops; or of another optimizer, whose own variables are ignored.

  Everything is read and checked first, then one session.run assigns all
  values. No node is added to the graph, so that it may be finalized, with two
  exceptions: variables that share the tensor of their initial value, and
  inverse update ops that do not exist. Read `optimizer.inv_update_op` before a
  graph is finalized if kept inverses may have to be recomputed. In a monitored
  session:

      scaffold = tf.train.Scaffold(
          init_fn=lambda scaffold, session: kfac.checkpoint.restore(
              session, path, optimizer))
      with tf.train.MonitoredTrainingSession(
          checkpoint_dir=folder, scaffold=scaffold) as session:

  `init_fn` is not called if `folder` contains a checkpoint already.

  Args:
    session: Session of the graph. Its variables need not be initialized, but
      those that start anew must have initial values that can be computed.
    path: Checkpoint, as `tf.train.Saver.save` returns it, or a folder whose
      latest checkpoint is meant.
    optimizer: KfacOptimizer or FisherEstimator that has its variables.

  Returns:
    Report.

  Raises:
    ValueError: If the path is no checkpoint, if the optimizer has no variables,
      or if variables of the model are not in the checkpoint, have another shape
      or dtype, or are trainable and not finite. No variable has changed then.
  """
  estimator = getattr(optimizer, "_fisher_est", optimizer)
  if not estimator.made_vars():
    raise ValueError(
        "optimizer must have its variables before they are restored, e.g. by "
        f"minimize, got {optimizer!r}.")
  checkpoint = _Checkpoint(os.fspath(path))
  with session.graph.as_default():
    plan = _plan(session.graph, optimizer, estimator, checkpoint)
    inverse_ops = _inverse_ops(estimator, plan.recompute)
    initial = session.run([variable.initial_value for variable in plan.initial])
    _assign(session, [*plan.values, *zip(plan.initial, initial, strict=True)])
  report = Report(
      checkpoint.path, tuple(variable.op.name for variable, _ in plan.values),
      tuple([*plan.anew, *_recompute(session, plan.recompute, inverse_ops)]))
  for line in str(report).splitlines():
    logging.info("%s", line)
  return report


class _Checkpoint:
  """The variables of a checkpoint.

  Attributes:
    path: Its path.
    shapes: Dict from their names to shapes.
  """

  def __init__(self, path: str) -> None:
    self.path = path
    try:
      self._reader = tf.train.load_checkpoint(path)
      self.shapes = self._reader.get_variable_to_shape_map()
    except _READ_ERRORS as error:
      raise ValueError(
          f"path must be that of a checkpoint, got {path!r}.") from error
    self._by_plain_name: dict[str, list[str]] = collections.defaultdict(list)
    for name in self.shapes:
      for plain in _plain_names(name):
        self._by_plain_name[plain].append(name)

  def find(self, name: str, contrib_name: str | None = None) -> str | None:
    """Returns the name of a variable in the checkpoint, or None.

    Args:
      name: Its name in the graph.
      contrib_name: Its contrib name, without the scope of the estimator.
    """
    if name in self.shapes or contrib_name is None:
      return name if name in self.shapes else None
    fits = self._by_plain_name.get(_plain(contrib_name), [])
    same = [fit for fit in fits if f"/{fit}".endswith(f"/{contrib_name}")]
    found = same or fits
    return found[0] if len(found) == 1 else None

  def has_start(self, contrib_name: str) -> bool:
    """Whether a contrib name of the checkpoint starts like this one."""
    start = _plain(contrib_name)
    return any(plain.startswith(start) for plain in self._by_plain_name)

  def read(self, source: _Source) -> tuple[Any, str]:
    """Reads a value.

    Args:
      source: Where it is.

    Returns:
      The value and "", or None and the reason why it does not fit.
    """
    variable, name = source.variable, source.name
    if name is None:
      return None, _MISSING
    theirs = self.shapes[name] if source.part is None else [
        len(range(*part.indices(size)))
        for part, size in zip(source.part, self.shapes[name], strict=True)]
    if not variable.shape.is_compatible_with(theirs):
      return None, f"another shape, {variable.shape} here, {theirs} there"
    try:
      value = np.asarray(self._reader.get_tensor(name))
    except _READ_ERRORS as error:
      raise ValueError(
          f"path must be that of a whole checkpoint, got {self.path!r}, from "
          f"which {name!r} cannot be read.") from error
    dtype = variable.dtype.base_dtype.as_numpy_dtype
    if not np.can_cast(value.dtype, dtype, "same_kind"):
      return None, f"another dtype, {dtype.__name__} here, {value.dtype} there"
    value = value if source.part is None else value[source.part]
    if (source.finite and variable.dtype.is_floating
        and not np.all(np.isfinite(value))):
      return None, "not finite"
    return value.astype(dtype), ""


def _plain(name):
  """Returns a contrib name without slashes and numbers of gradient ops."""
  return re.sub(r"(?<![A-Za-z0-9])gradients_\d+(?![A-Za-z0-9])", "gradients",
                name.replace("/", "_"))


def _plain_names(name):
  """Returns what `_plain` gives for a name below each of its scopes.

  In TensorFlow 1.4 to 1.7, "ff_fckron_x" was "ff_fckron/x", and an inverse was
  named "inv_damp..".
  """
  *scopes, last = name.split("/")
  scopes.append(re.sub("^inv_damp", "matpower_exp-1_damp", last))
  return {_plain("/".join(scopes[start:])) for start in range(len(scopes))}


class _Source(NamedTuple):
  """Where the value of a variable is.

  Attributes:
    variable: The variable.
    name: Its name in the checkpoint, or None.
    finite: Whether the value must be finite.
    part: Slices that select the value of a part of a partitioned variable,
      which is whole in a checkpoint; None for the whole value.
  """

  variable: Any
  name: str | None
  finite: bool = True
  part: tuple[slice, ...] | None = None


class _Group(NamedTuple):
  """Variables that are restored together or not at all.

  Attributes:
    what: What they are.
    sources: List of _Source.
    missing: Reason why they start anew if none is in the checkpoint.
  """

  what: str
  sources: list[_Source]
  missing: str = _MISSING


@dataclasses.dataclass
class _Plan:
  """What is to be assigned.

  Attributes:
    values: Pairs of a variable and its restored value.
    initial: Variables that get their initial values.
    anew: What is not restored.
    recompute: Pairs of a factor with a restored covariance, and the reason why
      its kept matrices are not restored.
  """

  values: list[tuple[Any, Any]] = dataclasses.field(default_factory=list)
  initial: list[Any] = dataclasses.field(default_factory=list)
  anew: list[Anew] = dataclasses.field(default_factory=list)
  recompute: list[tuple[Any, str]] = dataclasses.field(default_factory=list)

  def add(self, group: _Group, checkpoint: _Checkpoint) -> str:
    """Restores a group, or starts it anew.

    Args:
      group: The group.
      checkpoint: The checkpoint.

    Returns:
      The reason why it starts anew, or "".
    """
    values, reason = _read(group, checkpoint)
    found = {variable.op.name for variable, _ in values}
    self.values += values
    self.initial += [source.variable for source in group.sources
                     if source.variable.op.name not in found]
    return reason


def _read(group, checkpoint):
  """Reads the values of a group.

  Returns:
    Pairs of variables and values, and ""; or no pairs, and the reason.
  """
  values: list[tuple[Any, Any]] = []
  required = [source for source in group.sources
              if _last(source.variable) not in _OPTIONAL]
  if required and all(source.name is None for source in required):
    return [], group.missing
  for source in group.sources:
    value, reason = checkpoint.read(source)
    last = _last(source.variable)
    if not reason:
      values.append((source.variable, value))
    elif reason != _MISSING or last not in _OPTIONAL:
      return [], f"{reason} ({last})"
  return values, ""


def _plan(graph, optimizer, estimator, checkpoint):
  """Decides what is restored.

  Raises:
    ValueError: If variables of the model cannot be.
  """
  plan = _Plan()
  rest = {variable.op.name: variable for variable in
          graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}
  factors = [(factor, _factor_variables(factor, rest.values()))
             for factor in estimator.factors]
  for _, variables in factors:
    for variable, _ in variables:
      rest.pop(variable.op.name, None)
  groups = _optimizer_groups(graph, optimizer, estimator, rest, checkpoint)
  _add_model(plan, rest.values(), checkpoint)
  for group in groups:
    reason = plan.add(group, checkpoint)
    if reason:
      plan.anew.append(Anew(group.what, reason))
  switched_on = Anew(*_ADAPTATION) in plan.anew
  for factor, variables in factors:
    _add_factor(plan, factor, variables, checkpoint, switched_on)
  return plan


def _add_model(plan, variables, checkpoint):
  """Adds the variables of the model to a plan, which must all be restored."""
  wrong = []
  parts = _parts(variables, checkpoint)
  for variable in variables:
    name = variable.op.name
    whole, part = parts.get(name, (name, None))
    value, reason = checkpoint.read(_Source(
        variable, checkpoint.find(whole), variable.trainable, part))
    plan.values.append((variable, value))
    if reason:
      verb = "has" if reason.startswith("another") else "is"
      wrong.append(f"{name} {verb} {reason}")
  if wrong:
    raise ValueError(
        "path must be a checkpoint with all variables of the model, got "
        f"{checkpoint.path!r}: {'; '.join(wrong)}.")


def _parts(variables, checkpoint):
  """Finds the parts of partitioned variables.

  Args:
    variables: Variables.
    checkpoint: The checkpoint.

  Returns:
    Dict from the name of a part to the name of the whole, and slices.
  """
  wholes = collections.defaultdict(list)
  for variable in variables:
    match = re.fullmatch(r"(.+)/part_(\d+)", variable.op.name)
    if match and match[1] in checkpoint.shapes:
      wholes[match[1]].append((int(match[2]), variable))
  found = {}
  for whole, numbered in wholes.items():
    shape = checkpoint.shapes[whole]
    parts = [part for _, part in sorted(numbered, key=lambda pair: pair[0])]
    sizes = np.array([part.shape.as_list() for part in parts])
    # They are parts along the first axis on which one of them is not whole.
    axis = int(np.argmax(sizes[0] != shape))
    ends = np.cumsum(sizes[:, axis])
    for part, start, end in zip(
        parts, [0, *ends[:-1]], ends, strict=True):
      slices = [slice(None)] * len(shape)
      slices[axis] = slice(int(start), int(end))
      found[part.op.name] = whole, tuple(slices)
  return found


def _optimizer_groups(graph, optimizer, estimator, rest, checkpoint):
  """Groups the variables that belong to the optimizer.

  Args:
    graph: The graph.
    optimizer: KfacOptimizer or FisherEstimator.
    estimator: Its FisherEstimator.
    rest: Dict from names to variables, from which they are removed.
    checkpoint: The checkpoint.

  Returns:
    List of _Group.
  """
  groups = []
  global_step = tf.train.get_global_step(graph)
  if global_step is not None and global_step.op.name in rest:
    del rest[global_step.op.name]
    groups.append(_Group("global_step", [_source(global_step, checkpoint)]))
  owner = getattr(optimizer, "get_name", lambda: estimator.name)()
  slots = [slot for slot in _slots(optimizer)
           if rest.pop(slot.op.name, None) is not None]
  if slots:
    groups.append(_Group("velocities", [
        _Source(slot, _find_slot(slot.op.name, owner, checkpoint))
        for slot in slots]))
  by_group: dict[tuple[str, str], list[_Source]] = {}
  for name in list(rest):
    # The queues of inverse updates have a scope of their own.
    if any(f"/{scope}/" in f"/{name}/"
           for scope in (owner, estimator.name, "op_queue")):
      variable = rest.pop(name)
      key = _GROUPS.get(_last(variable), (name, _MISSING))
      by_group.setdefault(key, []).append(_source(variable, checkpoint))
  return groups + [_Group(what, sources, missing)
                   for (what, missing), sources in by_group.items()]


def _source(variable, checkpoint):
  return _Source(variable, checkpoint.find(variable.op.name),
                 _last(variable) not in _ANY_VALUE)


def _slots(optimizer):
  """Lists the slots of an optimizer; an estimator has none."""
  if not hasattr(optimizer, "get_slot_names"):
    return []
  slots = [optimizer.get_slot(variable, name)
           for name in optimizer.get_slot_names()
           for variable in optimizer.registered_variables]
  return [slot for slot in slots if slot is not None]


def _find_slot(name, owner, checkpoint):
  """Finds a slot, which `minimize` makes in the scope of its optimizer."""
  others = f"{owner}/{name}", name.removeprefix(f"{owner}/")
  found = (checkpoint.find(each) for each in (name, *others))
  return next(filter(None, found), None)


def _factor_variables(factor, variables):
  """Lists the variables of a factor.

  Args:
    factor: FisherFactor with variables.
    variables: All variables of the graph.

  Returns:
    List of (variable, contrib name below the scope of the factor).
  """
  kept = dict(zip([variable.op.name for variable in factor.kept_variables],
                  factor.contrib_kept_names, strict=False))
  own = [f"/{variable.op.name}" for variable in (
      factor.get_cov(), *factor.kept_variables)]
  # A factor of a user may have its covariance elsewhere.
  scope = f"/{factor.name}/"
  parts = (name.rpartition(scope) for name in own)
  scope = next((before + scope for before, found, _ in parts if found), scope)
  found = []
  for variable in variables:
    name = variable.op.name
    if f"/{name}" in own or scope in f"/{name}":
      contrib_name = kept.get(name, f"/{name}".rpartition(scope)[2])
      found.append((variable, contrib_name))
  return found


def _add_factor(plan, factor, variables, checkpoint, switched_on):
  """Adds a factor to a plan.

  Args:
    plan: _Plan.
    factor: FisherFactor.
    variables: Its variables, see `_factor_variables`.
    checkpoint: The checkpoint.
    switched_on: Whether the checkpoint is of a constant damping, and the
      optimizer adapts it.
  """
  sources = [_Source(variable, checkpoint.find(
      variable.op.name, f"{factor.contrib_name}/{contrib_name}"))
             for variable, contrib_name in variables]
  kept_names = {variable.op.name for variable in factor.kept_variables}
  kept = [source for source in sources
          if source.variable.op.name in kept_names]
  under_way = [source for source in sources
               if _UNDER_WAY in source.variable.op.name]
  statistic = [source for source in sources
               if source not in kept and source not in under_way]
  reason = plan.add(_Group("", statistic), checkpoint)
  if reason:
    plan.anew.append(Anew(f"factor {factor.name}", reason))
    plan.initial += [source.variable for source in kept + under_way]
    return
  reason = plan.add(_Group("", kept), checkpoint)
  if not reason:
    plan.add(_Group("", under_way), checkpoint)
    return
  plan.initial += [source.variable for source in under_way]
  starts = {f"{factor.contrib_name}/{name.split('_damp')[0]}_damp"
            for name in factor.contrib_kept_names}
  if reason.startswith(_MISSING) and any(map(checkpoint.has_start, starts)):
    reason = _SWITCHED_ON if switched_on else _OTHER_DAMPING
  plan.recompute.append((factor, reason))


def _last(variable):
  """Returns the last part of the name of a variable."""
  return variable.op.name.rpartition("/")[-1]


def _inverse_ops(estimator, recompute):
  """Returns the inverse update op of each factor, if they can be made."""
  if not recompute:
    return {}
  try:
    ops = estimator.inv_update_ops
  except RuntimeError:  # The graph is finalized, and they do not exist.
    return {}
  return dict(zip(estimator.factors, ops, strict=True))


def _recompute(session, recompute, inverse_ops):
  """Runs inverse updates.

  Args:
    session: Session.
    recompute: Pairs of a factor and a reason.
    inverse_ops: What `_inverse_ops` returned.

  Returns:
    List of Anew.
  """
  anew = []
  for factor, reason in recompute:
    result = "zero until the next inverse update"
    if factor in inverse_ops:
      try:
        session.run(inverse_ops[factor])
        result = "recomputed from the covariance"
      except tf.errors.InvalidArgumentError:
        pass  # The damping depends on what is fed.
    anew.append(Anew(f"inverses of factor {factor.name}",
                     f"{reason}; {result}"))
  return anew


def _assign(session, values):
  """Assigns values in one session.run.

  The op that initializes a variable assigns them: its input is fed.

  Args:
    session: Session.
    values: Pairs of a variable and its value.
  """
  ops, feeds = [], {}
  for variable, value in values:
    op = variable.initializer
    fed = op.inputs[1] if len(op.inputs) == 2 else None
    if fed is None or fed.name in feeds:  # Two variables may share it.
      fed = tf.placeholder(variable.dtype.base_dtype, variable.shape)
      op = tf.assign(variable, fed).op
    feeds[fed.name] = value
    ops.append(op)
  session.run(ops, feeds)
