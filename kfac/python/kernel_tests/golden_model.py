"""The models of golden scenarios, built from their JSON."""

import numpy as np
import tensorflow.compat.v1 as tf

from kfac.python.ops import layer_collection
from kfac.python.ops import loss_functions


def listed(value):
  """Returns a list as it is, anything else as a list of one."""
  return list(value) if isinstance(value, (list, tuple)) else [value]


def lookup(table, key):
  """Returns table[key]; for a list of keys, a tuple."""
  if isinstance(key, list):
    return tuple(table[name] for name in key)
  return table[key]


# Operations by name: functions of the JSON, the input and any weights. A bias
# is added afterwards.


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
  """Sums rows by a product with counts of ids, whose gradient is dense."""
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
  """Returns -log p(targets) without constants, summed over examples."""
  first = tensors[0]
  if loss["type"] == "categorical":
    per_example = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=targets, logits=first)
  elif loss["type"] == "multi_bernoulli":
    per_example = tf.nn.sigmoid_cross_entropy_with_logits(
        labels=tf.cast(targets, first.dtype), logits=first)
  elif loss["type"] == "normal":
    per_example = tf.square(targets - first) / (2. * loss["var"])
  else:
    per_example = (tf.log(tensors[1]) +
                tf.square(targets - first) / tensors[1]) / 2.
  return tf.reduce_sum(per_example)


class Model:
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

  def __init__(self, spec, arrays, use_resource):
    """Builds a model in the default graph.

    Args:
      spec: Dict, the JSON.
      arrays: Dict of arrays.
      use_resource: Whether all variables are resource variables.
    """
    self.spec, self.arrays = spec, arrays
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
    """Builds the loss, in the number of towers that the scenario specifies.

    Args:
      inputs: Dict of tensors.
      register: Whether to register layers and losses.

    Returns:
      Scalar tensor.
    """
    sizes = self.spec["towers"]
    # A single tower uses the inputs themselves, which layers may share.
    split = {name: tf.split(tensor, sizes) if len(sizes) > 1 else [tensor]
             for name, tensor in inputs.items()}
    total = []
    for tower in range(len(sizes)):
      tensors = {**self.variables,
                 **{name: parts[tower] for name, parts in split.items()}}
      for node in self.spec["graph"]:
        x = lookup(tensors, node.get("in", node.get("like")))
        value = _OPERATIONS[node["op"]](node, x, tensors.get(node.get("w")))
        tensors[node["out"]] = value + tensors[node["b"]] if (
            "b" in node) else value
      if register:
        self._register(tensors, reuse=tower > 0, batch_size=sizes[tower])
      total += [_negative_log_likelihood(
          loss, lookup(tensors, loss["inputs"]), tensors[loss["targets"]])
                for loss in self.spec["losses"]]
    return tf.add_n(total) / self.spec["loss_divisor"]

  def _register(self, tensors, reuse, batch_size):
    for layer in self.spec["layers"]:
      arguments = {key: lookup(tensors, value)
                   for key, value in layer.items()
                   if key not in ("register", "args")}
      if layer["register"] == "generic":
        arguments["batch_size"] = batch_size
      getattr(self.layers, "register_" + layer["register"])(
          reuse=reuse, **arguments, **layer.get("args", {}))
    for index, loss in enumerate(self.spec["losses"]):
      inputs = lookup(tensors, loss["inputs"])
      arguments = {"targets": tensors[loss["targets"]], "reuse": reuse,
                           "name": f"loss_{index}"}
      if loss["type"] == "normal_mean_variance":
        made = loss_functions.NormalMeanVarianceNegativeLogProbLoss(
            *inputs, targets=arguments.pop("targets"))
        self.layers.register_loss_function(
            made, inputs[0], loss["type"], **arguments)
        continue
      if loss["type"] == "normal":
        arguments["var"] = loss["var"]
      register = getattr(
          self.layers, f"register_{loss['type']}_predictive_distribution")
      register(*inputs, **arguments)

  def feed(self, step):
    """Returns the feed dict of a step."""
    return {placeholder: self.arrays["feed/" + name][step]
            for name, placeholder in self.inputs.items()}

  def by_block(self, method, vectors, skip=()):
    """Multiplies vectors by all blocks.

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
        block = self.layers.fisher_blocks[lookup(self.variables, key)]
        parts = listed(getattr(block, method)(lookup(table, key)))
        products.update({f"{index}/{k}": tf.convert_to_tensor(part)
                         for k, part in enumerate(parts)})
    return products

  def covs(self):
    """Returns a dict of covariances, named "cov/FACTOR" by indices."""
    factors = self.layers.get_factors()
    # Only factors of series have a covariance of neighbouring steps.
    lagged = [factor for factor in factors
              if getattr(factor, "_has_cov_dt1", False)]
    return {
        **{f"cov/{i}": tf.convert_to_tensor(factor.get_cov())
           for i, factor in enumerate(factors)},
        **{f"cov_dt1/{i}": tf.convert_to_tensor(factor.get_cov_dt1())
           for i, factor in enumerate(lagged)}}
