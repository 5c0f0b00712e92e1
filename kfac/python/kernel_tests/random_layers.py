"""Random layers for property tests, one strategy for each kind of layer.

The kinds and approximations are those of the approximation table, so that a new
row is tested at once; a new kind needs a row of LAYERS.
"""

import dataclasses
import math
import os
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

import hypothesis
import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized
from hypothesis import strategies as st

from kfac.python.ops.layer_collection import approximations
from kfac.python.ops.utils import precision

ROWS = [(kind, approx) for kind, table in approximations.APPROXIMATIONS.items()
        for approx in table]
DTYPES = ("float32", "float64", "float16", "bfloat16")
# Only the inverse of a chain of uses has a closed form.
ONLY_INVERSE = ("kron_series_1", "kron_series_2")


def over_rows(test):
  """Decorator: runs a test for each row of the approximation table."""
  return parameterized.named_parameters(
      ("_".join(row), *row) for row in ROWS)(test)


def examples(count):
  """Decorator: the number of examples of a property, always the same ones.

  Args:
    count: Int. KFAC_PROPERTY_EXAMPLES multiplies it for a longer search.

  Returns:
    Decorator.
  """
  factor = int(os.environ.get("KFAC_PROPERTY_EXAMPLES", "1"))
  return hypothesis.settings(
      derandomize=True, max_examples=count * factor, deadline=None,
      database=None, suppress_health_check=list(hypothesis.HealthCheck))


@dataclasses.dataclass(frozen=True)
class Case:
  """A layer and its data.

  Attributes:
    kind: Key of the approximation table.
    approx: Name of the approximation.
    dtype: Name of the dtype of parameters and activations.
    batch_size: Number of examples.
    unknown: Which sizes are unknown before a run: "", "batch", or "all" for
      those of the batch and of the images.
    has_bias: Whether there is a bias.
    num_in: Number of inputs or input channels, or size of the vocabulary.
    num_out: Number of outputs or output channels; or the multiplier.
    size: Spatial size of the inputs, a tuple of ints.
    filter_size: Spatial size of the filter.
    strides: One for each spatial dimension.
    dilations: The same.
    padding: "SAME" or "VALID".
    num_uses: Number of uses.
    one_tensor: Whether all uses are in one tensor instead of a list.
    seed: Seed of the numbers.
  """

  kind: str
  approx: str
  dtype: str = "float64"
  batch_size: int = 4
  unknown: str = ""
  has_bias: bool = True
  num_in: int = 2
  num_out: int = 2
  size: tuple[int, ...] = ()
  filter_size: tuple[int, ...] = ()
  strides: tuple[int, ...] = ()
  dilations: tuple[int, ...] = ()
  padding: str = "VALID"
  num_uses: int = 1
  one_tensor: bool = False
  seed: int = 0


def _has_uses(kind):
  return kind.endswith("_multi")


def _is_image(kind):
  return "conv" in kind


@st.composite
def cases(draw, kind, approx, dtypes=DTYPES, batch_sizes=(1, 2, 3, 5)):
  """Strategy of Cases of a row of the table.

  Args:
    draw: From hypothesis.
    kind: See Case.
    approx: See Case.
    dtypes: The dtypes to choose from.
    batch_sizes: The batch sizes to choose from.

  Returns:
    Strategy.
  """
  chosen: dict[str, Any] = {
      "dtype": draw(st.sampled_from(dtypes)),
      "batch_size": draw(st.sampled_from(batch_sizes)),
      "num_in": draw(st.integers(1, 3)),
      "num_out": draw(st.integers(1, 3)),
      "has_bias": draw(st.booleans()) and "embed" not in kind
                  and "depthwise" not in kind,
      "unknown": draw(st.sampled_from(
          ["", "batch", "all"] if _is_image(kind) else ["", "batch"])),
      "seed": draw(st.integers(0, 99)),
  }
  if kind == "scale_and_shift":
    chosen["num_out"] = chosen["num_in"]
  if _has_uses(kind):
    chosen["num_uses"] = draw(st.integers(1, 3))
    chosen["one_tensor"] = draw(st.booleans())
  if _is_image(kind):
    chosen.update(draw(_convolutions(kind)))
  return Case(kind, approx, **chosen)


@st.composite
def _convolutions(draw, kind):
  """Strategy of the geometry of a convolution."""
  num_dims = draw(st.integers(1, 3)) if kind == "convolution" else 2

  def sizes(least, most):
    return tuple(draw(st.integers(least, most)) for _ in range(num_dims))

  filter_size = sizes(1, 3 if num_dims < 3 else 2)
  strides = sizes(1, 2)
  if kind == "depthwise_conv2d":  # TensorFlow's has one stride.
    strides = strides[:1] * 2
  dilations = (1,) * num_dims
  # TensorFlow has either on a CPU.
  if strides == dilations:
    dilations = sizes(1, 2)
  padding = draw(st.sampled_from(["SAME", "VALID"]))
  spans = [1 + (n - 1) * rate
           for n, rate in zip(filter_size, dilations, strict=True)]
  return {
      "filter_size": filter_size, "strides": strides, "dilations": dilations,
      "padding": padding,
      "size": tuple(draw(st.integers(span, span + 2)) for span in spans)}


class Kind(NamedTuple):
  """How layers of a kind are built and registered.

  Attributes:
    apply: Function of a Case, parameters and inputs that returns the outputs of
      one use.
    arguments: Function of a Case, inputs and outputs that returns the arguments
      of the method `register_...` of LayerCollection, without `params`.
  """

  apply: Callable[..., Any]
  arguments: Callable[..., dict[str, Any]]


def _add_bias(outputs, params):
  return outputs + params[1] if len(params) > 1 else outputs


def _dense(case, params, inputs):
  del case
  return _add_bias(tf.matmul(inputs, params[0]), params)


def _convolution(case, params, inputs):
  return _add_bias(tf.nn.convolution(
      inputs, params[0], case.padding, case.strides,
      dilation_rate=case.dilations), params)


def _depthwise(case, params, inputs):
  return tf.nn.depthwise_conv2d(
      inputs, params[0], _outer(case.strides), case.padding,
      rate=case.dilations)


def _scale_and_shift(case, params, inputs):
  del case
  return _add_bias(params[0] * inputs, params)


def _lookup(case, params, inputs):
  del case
  return tf.nn.embedding_lookup(params[0], inputs)


def _outer(values):
  return [1, *values, 1]


def _generic_arguments(case, inputs, outputs):
  del case, outputs
  batch_size = tf.compat.dimension_value(inputs.shape[0])
  return {"batch_size": (
      tf.shape(inputs)[0] if batch_size is None else batch_size)}


def _data_arguments(case, inputs, outputs):
  arguments = {"inputs": inputs, "outputs": outputs}
  if case.one_tensor:
    arguments["num_uses"] = case.num_uses
  return arguments


def _conv2d_arguments(case, *data):
  return {**_data_arguments(case, *data), "strides": _outer(case.strides),
          "padding": case.padding, "dilations": _outer(case.dilations)}


def _convolution_arguments(case, *data):
  return {**_data_arguments(case, *data), "strides": case.strides,
          "padding": case.padding, "dilation_rate": case.dilations}


def _depthwise_arguments(case, *data):
  return {**_data_arguments(case, *data), "strides": _outer(case.strides),
          "padding": case.padding, "rate": case.dilations}


LAYERS = {
    "generic": Kind(_dense, _generic_arguments),
    "fully_connected": Kind(_dense, _data_arguments),
    "conv2d": Kind(_convolution, _conv2d_arguments),
    "convolution": Kind(_convolution, _convolution_arguments),
    "depthwise_conv2d": Kind(_depthwise, _depthwise_arguments),
    "scale_and_shift": Kind(_scale_and_shift, _data_arguments),
    "embedding": Kind(_lookup, _data_arguments),
    "fully_connected_multi": Kind(_dense, _data_arguments),
    "conv2d_multi": Kind(_convolution, _conv2d_arguments),
    "embedding_multi": Kind(_lookup, _data_arguments),
}


def register(layers, case, **arguments):
  """Registers a layer.

  Args:
    layers: LayerCollection.
    case: Case.
    **arguments: Arguments of the method for its kind.
  """
  getattr(layers, "register_" + case.kind)(**arguments)


class Layer:
  """A Case in the default graph, with a nonlinear function of its outputs.

  Attributes:
    case: The Case.
    params: The variables, as they are registered.
    feed: Dict, the values of placeholders.
  """

  def __init__(self, case):
    """Makes the variables.

    Args:
      case: Case.
    """
    self.case = case
    self._rng = np.random.RandomState(case.seed)
    shape = [*case.filter_size, case.num_in, case.num_out]
    if case.kind == "scale_and_shift":
      shape = [case.num_in]
    params = [self._variable("weights", shape)]
    if case.has_bias:
      params.append(self._variable("bias", shape[-1:]))
    self.params = tuple(params) if case.has_bias else params[0]
    self._params = params
    self.feed: dict[Any, Any] = {}
    shape = [case.batch_size, *case.size, case.num_in]
    # Neighboring uses are correlated, as they are in a series.
    self._data = [self._ids() if "embed" in case.kind
                  else self._rng.normal(size=shape)
                  for _ in range(case.num_uses)]
    self._targets = self._rng.normal(size=[case.batch_size, 2])
    self._head = None

  def _variable(self, name, shape):
    return tf.get_variable(name, use_resource=True, initializer=tf.constant(
        self._rng.normal(size=shape), self.case.dtype))

  def _ids(self):
    return self._rng.randint(self.case.num_in, size=self.case.batch_size)

  def _tensor(self, array):
    """Returns a constant, or a placeholder some of whose sizes are unknown."""
    dtype = "int32" if array.dtype.kind == "i" else self.case.dtype
    if not self.case.unknown:
      return tf.constant(array, dtype)
    shape = list(array.shape)
    num_unknown = (len(shape) - 1
                   if self.case.unknown == "all" and len(shape) > 2 else 1)
    tensor = tf.placeholder(
        dtype, num_unknown * [None] + shape[num_unknown:])
    self.feed[tensor] = array
    return tensor

  def _predict(self, outputs):
    """Maps the outputs of all uses to [batch, 2], in at least 32 bits."""
    totals = [tf.tanh(tf.reshape(precision.as_wide_tensor(use),
                                 [-1, self._num_features(use)]))
              for use in outputs]
    flat = tf.concat(totals, axis=1)
    if self._head is None:
      self._head = tf.constant(
          self._rng.normal(size=[flat.shape.as_list()[1], 2]), flat.dtype)
    return tf.matmul(flat, self._head)

  def _num_features(self, outputs):
    """Returns the number of outputs of an example."""
    sizes = [math.ceil(n / stride) if self.case.padding == "SAME"
             else 1 + (n - 1 - rate * (k - 1)) // stride
             for n, k, stride, rate in zip(
                 self.case.size, self.case.filter_size, self.case.strides,
                 self.case.dilations, strict=True)]
    return math.prod([*sizes, outputs.shape.as_list()[-1]])

  def add_tower(self, layers, part=slice(None), **kwargs):
    """Registers the layer and a loss for some of the examples.

    Args:
      layers: LayerCollection.
      part: Slice of the examples.
      **kwargs: Arguments of the registration, for instance `reuse`.

    Returns:
      The inputs and outputs of each use, two lists; and the loss, a mean.
    """
    inputs, outputs, arguments = self.make_tower(part)
    register(layers, self.case, **{**arguments, **kwargs})
    predictions = self._predict(outputs)
    targets = tf.constant(self._targets[part], predictions.dtype)
    layers.register_normal_predictive_distribution(
        predictions, targets=targets, seed=self.case.seed, name="loss",
        reuse=kwargs.get("reuse", False))
    loss = tf.reduce_mean(tf.reduce_sum(
        tf.square(predictions - targets), axis=1)) / 2.
    return inputs, outputs, loss

  def make_tower(self, part=slice(None)):
    """Applies the layer to some of the examples.

    Args:
      part: Slice of the examples.

    Returns:
      The inputs and outputs of each use, two lists; and the arguments of the
      registration.
    """
    case = self.case
    kind = LAYERS[case.kind]
    data = [array[part] for array in self._data]
    if case.one_tensor:
      whole = self._tensor(np.concatenate(data))
      registered = whole, kind.apply(case, self._params, whole)
      inputs, outputs = [
          tf.split(tensor, case.num_uses) for tensor in registered]
    else:
      inputs = [self._tensor(array) for array in data]
      outputs = [kind.apply(case, self._params, use) for use in inputs]
      registered = ((inputs, outputs) if _has_uses(case.kind)
                    else (inputs[0], outputs[0]))
    return inputs, outputs, {
        "params": self.params, "approx": case.approx,
        **kind.arguments(case, *registered)}

  def placeholders(self):
    """Returns placeholders that are structured like the parameters."""
    vector = tuple(tf.placeholder(self.case.dtype, param.shape)
                   for param in self._params)
    return vector if self.case.has_bias else vector[0]

  def random_vector(self, seed):
    """Returns a vector of the parameters' size."""
    size = sum(param.shape.num_elements() for param in self._params)
    return np.random.RandomState(seed).normal(size=size)


def flat(vector):
  """Returns the entries of a nested structure of arrays, as a column."""
  return np.concatenate([np.ravel(part) for part in tf.nest.flatten(vector)])


def feed(placeholders, column):
  """Returns a feed of placeholders by the entries of a column.

  Args:
    placeholders: Tensor, or tuple of tensors.
    column: Array [entries].

  Returns:
    Dict.
  """
  values = {}
  for leaf in tf.nest.flatten(placeholders):
    size = leaf.shape.num_elements()
    values[leaf], column = column[:size].reshape(leaf.shape), column[size:]
  return values
