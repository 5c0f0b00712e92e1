"""Golden scenarios: models described in JSON, and what they should compute.

A scenario NAME.json in fixtures/golden says what to build and when to update;
NAME.npz beside it has initial values ("init/VARIABLE"), batches ("feed/INPUT",
by step), probes ("probe/VARIABLE", by probe) and the numbers that contrib.kfac
of TensorFlow 1.10.1 computed ("out/..."), with tolerances that follow from how
well each number is conditioned.
"""

import collections
import json
import pathlib

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import layer_collection
from kfac.python.ops import loss_functions
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
  """Builds a scenario in a graph of its own and runs it.

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
    # One thread on the CPU: the tolerances are made for its rounding.
    config = tf.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1,
        device_count={"GPU": 0})
    return run_kind(_Model(scenario, use_resource), thunks, config)


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


def _listed(value):
  return list(value) if isinstance(value, (list, tuple)) else [value]


def _lookup(table, key):
  """Returns table[key]; for a list of keys, a tuple."""
  if isinstance(key, list):
    return tuple(table[name] for name in key)
  return table[key]


# Operations by name: functions of the JSON, the input and the weights if any.
# Where there is a bias, it is added afterwards.


def _conv2d(node, x, w):
  if "dilation_rate" in node:
    return _convolution(node, x, w)
  return tf.nn.conv2d(x, w, strides=node["strides"], padding=node["padding"])


def _convolution(node, x, w):
  return tf.nn.convolution(
      x, w, padding=node["padding"], strides=node.get("strides"),
      dilation_rate=node.get("dilation_rate"))


def _depthwise_conv2d(node, x, w):
  return tf.nn.depthwise_conv2d(
      x, w, strides=node["strides"], padding=node["padding"],
      rate=node.get("rate"))


def _embedding(node, ids, w):
  """Adds up rows, as a product with counts of ids: its gradient is dense."""
  del node
  rows = w.shape.as_list()[0]
  return tf.matmul(tf.reduce_sum(
      tf.one_hot(ids, rows, dtype=w.dtype.base_dtype), axis=1), w)


def _slice(node, x, w):
  del w
  return tf.gather(x, node["index"], axis=node["axis"])


_OPERATIONS = {
    "concat": lambda node, x, w: tf.concat(x, axis=node["axis"]),
    "conv2d": _conv2d,
    "convolution": _convolution,
    "depthwise_conv2d": _depthwise_conv2d,
    "embedding": _embedding,
    "flatten": lambda node, x, w: tf.reshape(
        x, [x.shape.as_list()[0], int(np.prod(x.shape.as_list()[1:]))]),
    "fully_connected": lambda node, x, w: tf.matmul(x, w),
    "mean": lambda node, x, w: tf.reduce_mean(x, axis=node["axes"]),
    "relu": lambda node, x, w: tf.nn.relu(x),
    "scale": lambda node, x, w: x * w,
    "shift": lambda node, x, w: x,
    "sigmoid": lambda node, x, w: tf.sigmoid(x),
    "slice": _slice,
    "softplus": lambda node, x, w: tf.nn.softplus(x),
    "tanh": lambda node, x, w: tf.tanh(x),
    "zeros": lambda node, x, w: tf.zeros(
        [x.shape.as_list()[0]] + node["shape"], x.dtype),
}


def _negative_log_likelihood(loss, tensors, targets):
  """Returns the scalar -log p(targets), less constants, summed over cases."""
  first = tensors[0]
  if loss["type"] == "categorical":
    per_case = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=targets, logits=first)
  elif loss["type"] == "multi_bernoulli":
    per_case = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(targets, first.dtype), logits=first)
  elif loss["type"] == "normal":
    per_case = tf.square(targets - first) / (2. * loss["var"])
  else:
    per_case = (tf.log(tensors[1]) +
                tf.square(targets - first) / tensors[1]) / 2.
  return tf.reduce_sum(per_case)


class _Model:
  """The model of a scenario, with layers and losses registered.

  Attributes:
    spec: Dict, the JSON.
    arrays: Dict of arrays.
    inputs: Dict of placeholders.
    variables: Dict of variables.
    layers: LayerCollection.
    loss: Scalar tensor that is trained.
    probes: List of placeholders, shaped like the variables.
  """

  def __init__(self, scenario, use_resource):
    self.spec, self.arrays = scenario
    dtype = tf.as_dtype(self.spec["dtype"])
    self.inputs = {
        entry["name"]: tf.placeholder(
            dtype if entry["dtype"] == "float" else tf.int32, entry["shape"])
        for entry in self.spec["placeholders"]}
    self.variables = {
        entry["name"]: tf.get_variable(
            entry["name"], initializer=self.arrays["init/" + entry["name"]],
            use_resource=use_resource or
            self.spec.get("resource_variables", False))
        for entry in self.spec["variables"]}
    self.layers = layer_collection.LayerCollection()
    self.loss = self.loss_on(self.inputs, register=True)
    self.probes = [tf.placeholder(dtype, variable.shape)
                   for variable in self.variables.values()]

  def loss_on(self, inputs, register=False):
    """Builds the loss, in as many towers as the scenario wants.

    Args:
      inputs: Dict of tensors.
      register: Whether to register layers and losses.

    Returns:
      Scalar tensor.
    """
    sizes = self.spec["towers"]
    total = []
    split = {name: tf.split(tensor, sizes) for name, tensor in inputs.items()}
    for tower in range(len(sizes)):
      tensors = dict(self.variables)
      # What is not split stays the tensor that may be shared by layers.
      tensors.update(inputs if len(sizes) == 1 else
                     {name: parts[tower] for name, parts in split.items()})
      for node in self.spec["graph"]:
        x = _lookup(tensors, node.get("in", node.get("like")))
        value = _OPERATIONS[node["op"]](node, x, tensors.get(node.get("w")))
        tensors[node["out"]] = value + tensors[node["b"]] if (
            "b" in node) else value
      if register:
        self._register(tensors, reuse=tower > 0, batch_size=sizes[tower])
      total += [_negative_log_likelihood(
          loss, _lookup(tensors, loss["inputs"]), tensors[loss["targets"]])
                for loss in self.spec["losses"]]
    return tf.add_n(total) / self.spec["loss_divisor"]

  def _register(self, tensors, reuse, batch_size):
    for layer in self.spec["layers"]:
      arguments = {key: _lookup(tensors, value)
                   for key, value in layer.items()
                   if key not in ("register", "args")}
      if layer["register"] == "generic":
        arguments["batch_size"] = batch_size
      getattr(self.layers, "register_" + layer["register"])(
          reuse=reuse, **arguments, **layer.get("args", {}))
    for index, loss in enumerate(self.spec["losses"]):
      inputs = _lookup(tensors, loss["inputs"])
      names_and_targets = {"targets": tensors[loss["targets"]], "reuse": reuse,
                           "name": "loss_{}".format(index)}
      if loss["type"] == "normal_mean_variance":
        made = loss_functions.NormalMeanVarianceNegativeLogProbLoss(
            *inputs, targets=names_and_targets.pop("targets"))
        self.layers.register_loss_function(
            made, inputs[0], loss["type"], **names_and_targets)
        continue
      if loss["type"] == "normal":
        names_and_targets["var"] = loss["var"]
      getattr(self.layers, "register_{}_predictive_distribution".format(
          loss["type"]))(*inputs, **names_and_targets)

  def feed(self, step):
    """Returns the feed dict of a step."""
    return {placeholder: self.arrays["feed/" + name][step]
            for name, placeholder in self.inputs.items()}

  def by_block(self, method, vectors, skip=()):
    """Multiplies by all blocks.

    Args:
      method: Name of a method of blocks.
      vectors: List of tensors, shaped like the variables.
      skip: Indices of blocks to leave out.

    Returns:
      Dict of products, named "BLOCK/PARAMETER" by indices.
    """
    table = dict(zip(self.variables, vectors, strict=True))
    products = {}
    for index, key in enumerate(self.spec["blocks"]):
      if index not in skip:
        block = self.layers.fisher_blocks[_lookup(self.variables, key)]
        parts = _listed(getattr(block, method)(_lookup(table, key)))
        products.update({"{}/{}".format(index, k): tf.convert_to_tensor(part)
                         for k, part in enumerate(parts)})
    return products

  def covs(self):
    """Returns a dict of covariances, named "cov/FACTOR" by indices."""
    factors = self.layers.get_factors()
    # Only factors of layers that are series have one of neighbouring steps.
    lagged = [factor for factor in factors
              if getattr(factor, "_has_cov_dt1", False)]
    return {
        **{"cov/{}".format(i): tf.convert_to_tensor(factor.get_cov())
           for i, factor in enumerate(factors)},
        **{"cov_dt1/{}".format(i): tf.convert_to_tensor(factor.get_cov_dt1())
           for i, factor in enumerate(lagged)}}


def _make_optimizer(model):
  """Makes the optimizer of a scenario.

  Args:
    model: _Model.

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
  """Returns the covariance and the inverse update op, made in either way."""
  if not thunks:
    return optimizer.cov_update_op, optimizer.inv_update_op
  return [tf.group(*[thunk() for thunk in made])
          for made in optimizer.make_vars_and_create_op_thunks()]


def _train(model, thunks, config):
  """Trains, and records the way and what leads to it.

  Args:
    model: _Model.
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
        _record(out, "{:03d}/".format(step), model, now, probed, sess, feed)
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
  """Records what leads to a step: factors and products with the blocks."""
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
  """Records a step: where it was, and where it has led to."""
  trail["loss"].append(now["loss"])
  for key, value in after.items():
    if key.startswith("var/") and not trail[key]:
      trail[key].append(before[key])
    trail[key].append(value)
  if model.spec["optimizer"]["momentum_type"] == "qmodel":
    # new velocity = momentum * old one + rate * preconditioned gradient
    names = [name for key in model.spec["blocks"] for name in _listed(key)]
    old, new = (_flat(state["vel/" + name] for name in names)
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
    model: _Model.
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
  """Compares one array, step by step if it follows the training.

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
  # Not a number is no small error.
  return Difference("{} at step {}".format(key, step),
                    error if np.isfinite(error) else np.inf, limit)


def _compare_moments(scenario, got):
  """Compares means and variances by their standard errors.

  Args:
    scenario: Scenario.
    got: What _sample returned.

  Returns:
    List of Difference, of which the errors are in standard errors.
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
