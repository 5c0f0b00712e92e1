"""Golden scenarios: models described in JSON, and their expected results.

fixtures/golden/NAME.json specifies the model and the schedule of updates.
NAME.npz has initial values ("init/VARIABLE"), batches ("feed/INPUT", indexed by
step), probes ("probe/VARIABLE", indexed by probe) and the numbers that
contrib.kfac of TensorFlow 1.10.1 computed ("out/..."). The tolerance of each
number follows from its condition.
"""

import collections
import json
import pathlib

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import golden_model
from kfac.python.ops import optimizer as optimizer_lib

_FOLDER = pathlib.Path(__file__).resolve().parent / "fixtures" / "golden"

# Compared step by step: the first index of these arrays is the step.
_BY_STEP = ("loss", "vel", "damping", "rho", "q_model_change",
            "qmodel_learning_rate", "qmodel_momentum")

Scenario = collections.namedtuple("Scenario", ["spec", "arrays"])
Difference = collections.namedtuple("Difference", ["name", "error", "limit"])


def names():
  """Returns the names of all scenarios."""
  return sorted(path.stem for path in _FOLDER.glob("*.json"))


def load(name):
  """Reads a scenario.

  Args:
    name: Its name.

  Returns:
    Scenario: the JSON as a dict, and the arrays in a dict.
  """
  spec = json.loads((_FOLDER / (name + ".json")).read_text(encoding="utf-8"))
  with np.load(_FOLDER / (name + ".npz")) as data:
    return Scenario(spec, {key: data[key] for key in data.files})


def run(scenario, use_resource=False, thunks=False):
  """Builds and runs a scenario in a new graph.

  Args:
    scenario: Scenario.
    use_resource: Whether all its variables are resource variables.
    thunks: Whether to take update ops from make_vars_and_create_op_thunks
      rather than from the properties.

  Returns:
    Dict of arrays, named like the expected ones without "out/".
  """
  run_kind = {"train": _train, "stats": _sample}[scenario.spec["kind"]]
  with tf.Graph().as_default():
    tf.set_random_seed(1)
    # One thread on the CPU: the tolerances assume its rounding.
    config = tf.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1,
        device_count={"GPU": 0})
    return run_kind(
        golden_model.Model(*scenario, use_resource), thunks, config)


def compare(scenario, got):
  """Compares with the expected arrays.

  Args:
    scenario: Scenario.
    got: What `run` returned.

  Returns:
    List of Difference, one for each number compared.
  """
  if scenario.spec["kind"] == "stats":
    return _compare_moments(scenario, got)
  differences = []
  for key, wanted in scenario.arrays.items():
    if key.startswith("out/"):
      differences += _compare_array(scenario.spec, key[4:], wanted, got)
  return differences


def _make_optimizer(model):
  """Makes the optimizer of a scenario.

  Args:
    model: golden_model.Model.

  Returns:
    KfacOptimizer, and placeholders of the previous batch by name.
  """
  optimizer = optimizer_lib.KfacOptimizer(
      layer_collection=model.layers, var_list=list(model.variables.values()),
      **model.spec["optimizer"])
  adaptation = model.spec.get("damping_adaptation")
  if adaptation is None:
    return optimizer, {}
  previous = {name: tf.placeholder(tensor.dtype, tensor.shape)
              for name, tensor in model.inputs.items()}
  optimizer.set_damping_adaptation_params(
      is_chief=True, prev_train_batch=previous, loss_fn=model.loss_on,
      **adaptation)
  return optimizer, previous


def _update_ops(optimizer, thunks):
  """Returns the covariance and the inverse update op."""
  if not thunks:
    return optimizer.cov_update_op, optimizer.inv_update_op
  return [tf.group(*[thunk() for thunk in made])
          for made in optimizer.make_vars_and_create_op_thunks()]


def _train(model, thunks, config):
  """Trains, and records each step and the values that determine it.

  Args:
    model: golden_model.Model.
    thunks: See run.
    config: ConfigProto of the session.

  Returns:
    Dict of arrays.
  """
  optimizer, previous = _make_optimizer(model)
  cov_op, inv_op = _update_ops(optimizer, thunks)
  global_step = tf.train.get_or_create_global_step()
  train_op = optimizer.minimize(model.loss, global_step=global_step)
  directions = model.by_block("multiply_inverse", tf.gradients(
      model.loss, list(model.variables.values())))
  probed = _probed(model)
  covs = model.covs()
  state = _state(model, optimizer)
  schedule = model.spec["schedule"]
  out, trail = {}, collections.defaultdict(list)
  with tf.Session(config=config) as sess:
    sess.run(tf.global_variables_initializer())
    before = sess.run(state)
    for step in range(schedule["steps"]):
      feed = model.feed(step)
      feed.update({placeholder: model.arrays["feed/" + name][max(step - 1, 0)]
                   for name, placeholder in previous.items()})
      for kind, op in (("cov", cov_op), ("inv", inv_op)):
        if step in schedule[kind]:
          sess.run(op, feed)
      fetches = {"loss": model.loss, "precon": directions}
      if step in schedule["record"]:
        fetches["cov"] = covs
      now = sess.run(fetches, feed)
      if step in schedule["record"]:
        _record(out, f"{step:03d}/", model, now, probed, sess, feed)
      sess.run(train_op, feed)
      after = sess.run(state)
      _follow(trail, model, now, before, after)
      before = after
  out.update((name, np.stack(values)) for name, values in trail.items())
  return out


def _probed(model):
  """Returns a dict of the products of blocks with the probes."""
  skip = model.spec.get("no_multiply", ())
  inverse = model.by_block("multiply_inverse", model.probes)
  straight = model.by_block("multiply", model.probes, skip)
  return {**{"inv_probe/" + key: value for key, value in inverse.items()},
          **{"mul_probe/" + key: value for key, value in straight.items()}}


def _state(model, optimizer):
  """Returns a dict of the tensors that a step changes."""
  state = {}
  for name, variable in model.variables.items():
    state["var/" + name] = variable
    state["vel/" + name] = optimizer.get_slot(variable, "velocity")
  if "damping_adaptation" in model.spec:
    state.update({"damping": optimizer.damping, "rho": optimizer._rho,
                  "q_model_change": optimizer._q_model_change})
  return state


def _record(out, prefix, model, now, probed, sess, feed):
  """Records what determines a step: factors and products with the blocks."""
  out.update((prefix + key, value) for key, value in now["cov"].items())
  out.update((prefix + "precon/" + key, value)
             for key, value in now["precon"].items())
  vectors = [model.arrays["probe/" + name] for name in model.variables]
  products = [
      sess.run(probed, {**feed, **dict(zip(model.probes, probe, strict=True))})
      for probe in zip(*vectors, strict=True)]
  out.update((prefix + key, np.stack([product[key] for product in products]))
             for key in probed)


def _follow(trail, model, now, before, after):
  """Records a step: the state before and after it."""
  trail["loss"].append(now["loss"])
  for key, value in after.items():
    if key.startswith("var/") and not trail[key]:
      trail[key].append(before[key])
    trail[key].append(value)
  if model.spec["optimizer"]["momentum_type"] == "qmodel":
    # new velocity = momentum * old one + rate * preconditioned gradient
    params = [name for key in model.spec["blocks"]
              for name in golden_model.listed(key)]
    old, new = (_flat(state["vel/" + name] for name in params)
                for state in (before, after))
    columns = [_flat(now["precon"].values())] + ([old] if np.any(old) else [])
    rate, *momentum = np.linalg.lstsq(np.stack(columns, 1), new, rcond=None)[0]
    trail["qmodel_learning_rate"].append(rate)
    trail["qmodel_momentum"].append(*momentum or [0.])


def _flat(values):
  return np.concatenate([np.ravel(value) for value in values]).astype(float)


def _sample(model, thunks, config):
  """Draws many covariances, with parameters and inputs fixed.

  Args:
    model: golden_model.Model.
    thunks: See run.
    config: ConfigProto of the session.

  Returns:
    Dict of mean, variance and fourth central moment of each factor.
  """
  cov_op, _ = _update_ops(_make_optimizer(model)[0], thunks)
  covs = model.covs()
  draws = []
  with tf.Session(config=config) as sess:
    sess.run(tf.global_variables_initializer())
    update = sess.make_callable(cov_op, list(model.inputs.values()))
    read = sess.make_callable(covs)
    feed = [model.feed(0)[tensor] for tensor in model.inputs.values()]
    for _ in range(model.spec["schedule"]["samples"]):
      update(*feed)
      draws.append(read())
  out = {"samples": len(draws)}
  for key in covs:
    index = key.split("/")[1]
    values = np.stack([draw[key] for draw in draws]).astype(float)
    centered = values - values.mean(axis=0)
    out["mean/" + index] = values.mean(axis=0)
    out["variance/" + index] = np.mean(centered**2, axis=0)
    out["fourth/" + index] = np.mean(centered**4, axis=0)
  return out


def _compare_array(spec, key, wanted, got):
  """Compares one array, step by step if its first index is the step.

  Args:
    spec: Dict, the JSON.
    key: Name of the array.
    wanted: The expected array.
    got: Dict of arrays.

  Returns:
    List of Difference.
  """
  parts = key.split("/")
  at = int(parts.pop(0)) if parts[0].isdigit() else None
  group = parts[0]
  if key not in got:
    return [Difference(key + " is missing", np.inf, 0.)]
  value = np.reshape(got[key], wanted.shape)
  if group == "var":
    start = wanted[0]
    floor = 1e-3 * np.max(np.abs(start))
    return [
        _difference(spec, group, key, t - 1, value[t], wanted[t],
                    max(floor, np.max(np.abs(wanted[t] - start))))
        for t in range(1, len(wanted))]
  if group in _BY_STEP:
    skip = spec.get("skip_steps", {}).get(group, 0)
    return [_difference(spec, group, key, t, value[t], wanted[t])
            for t in range(skip, len(wanted))]
  return [_difference(spec, group, key, at, value, wanted)]


def _difference(spec, group, key, step, value, wanted, scale=None):
  """Returns the Difference of two arrays, at a step."""
  scale = max(1e-12, np.max(np.abs(wanted)) if scale is None else scale)
  error = np.max(np.abs(np.subtract(value, wanted, dtype=float))) / scale
  limit = spec["tolerances"].get(group, spec["tolerances"]["default"])
  if isinstance(limit, dict):
    limit = limit[str(step)]
  # NaN must not pass as a small error.
  return Difference(f"{key} at step {step}",
                    error if np.isfinite(error) else np.inf, limit)


def _compare_moments(scenario, got):
  """Compares means and variances, in units of their standard errors.

  Args:
    scenario: Scenario.
    got: What _sample returned.

  Returns:
    List of Difference, with errors in standard errors.
  """
  wanted = {key[4:]: value for key, value in scenario.arrays.items()
            if key.startswith("out/")}
  tolerances = scenario.spec["tolerances"]
  draws = 1. / got["samples"] + 1. / wanted["samples"]
  differences = []
  for key in wanted:
    kind, _, index = key.partition("/")
    if kind not in ("mean", "variance"):
      continue
    variance = wanted["variance/" + index]
    spread = variance if kind == "mean" else np.maximum(
        wanted["fourth/" + index] - variance**2, 0.)
    rounding = tolerances["default"] * np.max(np.abs(wanted["mean/" + index]))
    error = np.sqrt(spread * draws) + rounding**(1 if kind == "mean" else 2)
    value = np.reshape(got[key], wanted[key].shape)
    differences.append(Difference(
        key, np.max(np.abs(value - wanted[key]) / error), tolerances["z"]))
  return differences
