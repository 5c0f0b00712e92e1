"""A wrong argument of a registration is one line that names the argument."""

import hypothesis
import numpy as np
import tensorflow.compat.v1 as tf
from absl.testing import parameterized
from hypothesis import strategies as st

import kfac
from kfac.python.kernel_tests import random_layers

# No argument may be any of these.
_NEVER: tuple = (
    "x", -1, 1.5, float("nan"), object(), [[]], [None], {"a": 1}, b"SAME",
    np.ones([2, 2]), len, tf.float32)
_NOT_TENSORS: tuple = (*_NEVER, None, 0, True, [], (), "weights", [1, 2])
_NOT_SIZES: tuple = (*_NEVER, 0, [], (), [0] * 4, [-1] * 4, [1.5] * 4, [2.] * 4,
                     ["1"] * 4, [[1]] * 4, [1] * 7, np.ones([4], int), "1111")
_NOT_COUNTS: tuple = (*_NEVER, 0, True, [], [2], "2", np.ones([2], int), 2.)

# {argument: values that are always wrong}. Some values of tensors that are
# always wrong too are in `_wrong_tensors`.
WRONG = {
    "params": _NOT_TENSORS,
    "inputs": _NOT_TENSORS,
    "outputs": _NOT_TENSORS,
    "approx": (*_NEVER, 0, True, [], "", ["kron"], "Kron"),
    "reuse": (*_NEVER, 2, [], "yes", "", np.ones([2], bool)),
    "strides": _NOT_SIZES,
    "dilations": _NOT_SIZES,
    "dilation_rate": _NOT_SIZES,
    "rate": _NOT_SIZES,
    "padding": (*_NEVER, None, 0, True, [], "", "FULL", [[0, 0]] * 4),
    "data_format": (*_NEVER, 0, True, [], "", "NCHW", "NCW", "NCDHW", "NHWCCC",
                    ["N", "H", "W", "C"]),
    "num_uses": _NOT_COUNTS,
    "batch_size": (*_NOT_COUNTS, None),
    "partition_strategy": (*_NEVER, None, 0, [], "", "modulo", ["mod"]),
}


def _wrong_tensors(name, right):
  """Returns tensors that cannot be an argument.

  Args:
    name: Name of the argument.
    right: Its right value.

  Returns:
    List.
  """
  tensor = tf.nest.flatten(right)[0]
  wrong = [
      tf.constant(["a"]), tf.constant([[True]]),
      tf.zeros([4, 3], tf.complex64), tf.ragged.constant([[1., 2.], [3.]]),
      tf.SparseTensor([[0, 0]], [1.], [2, 2]),
      tf.IndexedSlices(tf.ones([1, 2]), tf.constant([0])),
      [tensor, [tensor]], [[tensor], tensor], [tensor, None], (tensor, "x")]
  if name != "params":
    wrong.append(tf.zeros([2, 2, 2, 2, 2, 2], tensor.dtype))
  return wrong


class WrongArgumentsTest(parameterized.TestCase, tf.test.TestCase):

  def _check(self, case, arguments, name, value):
    """Asserts that a registration is refused."""
    layers = kfac.LayerCollection()
    shown = (name, value)
    try:
      random_layers.register(layers, case, **{**arguments, name: value})
    except (TypeError, ValueError) as error:
      message = str(error)
    else:
      self.fail(f"accepted {shown}")
    self.assertNotIn("\n", message, shown)
    self.assertLess(len(message), 500, shown)
    # A wrong value may show in another argument, which does not fit it.
    names = {name} if name not in ("params", "inputs", "outputs") else {
        "params", "inputs", "outputs", "num_uses", "bias"}
    self.assertTrue(any(one in message for one in names), (shown, message))
    self.assertEmpty(layers.fisher_blocks)

  @random_layers.over_rows
  @random_layers.examples(2)
  @hypothesis.given(data=st.data())
  def testAreRefusedInOneLine(self, kind, approx, data):
    case = data.draw(random_layers.cases(kind, approx))
    with tf.Graph().as_default():
      layer = random_layers.Layer(case)
      _, _, arguments = layer.make_tower()
      names = {*arguments, "reuse"}
      if "conv" in kind:
        names.add("data_format")
      if "embedding" in kind:
        names.add("partition_strategy")
      for name in data.draw(st.permutations(sorted(names)))[:3]:
        # A shift alone has no inputs.
        wrong = [value for value in WRONG[name] if value is not None or (
            (name, kind) != ("inputs", "scale_and_shift"))]
        if name in ("params", "inputs", "outputs"):
          wrong += _wrong_tensors(name, arguments[name])
        if (kind, name) == ("scale_and_shift", "inputs"):
          # None stands for a shift alone.
          wrong = [value for value in wrong if value is not None]
        for value in wrong:
          self._check(case, arguments, name, value)

  def testEachArgumentHasWrongValues(self):
    for values in WRONG.values():
      self.assertGreater(len(values), 10)

  @parameterized.named_parameters(
      (kind, kind) for kind in random_layers.LAYERS if kind.endswith("_multi"))
  def testRowsThatAreNotThoseOfAllUsesAreAWarning(self, kind):
    image = ({"size": (2, 2), "filter_size": (1, 1), "strides": (1, 1),
              "dilations": (1, 1)} if "conv" in kind else {})
    case = random_layers.Case(
        kind, "kron_indep", has_bias=False, batch_size=4, num_uses=2, **image)
    with tf.Graph().as_default():
      layer = random_layers.Layer(case)
      inputs, outputs, arguments = layer.make_tower()
      joined = {"inputs": tf.concat(inputs, 0),
                "outputs": tf.concat(outputs, 0)}
      for changes, text in (
          ({**joined, "num_uses": 3},
           "inputs should have a multiple of num_uses = 3 rows, got shape .8"),
          ({"outputs": joined["outputs"][:7]},
           "outputs should have a multiple of num_uses = 2 rows, got shape .7"),
          ({"outputs": joined["outputs"][:6]},
           "outputs should have the rows of inputs over all uses, got 6 and "
           "8")):
        with self.assertLogs("absl", "WARNING") as logs:
          random_layers.register(
              kfac.LayerCollection(), case, **{**arguments, **changes})
        self.assertRegex(logs.output[0], text)
      random_layers.register(kfac.LayerCollection(), case,
                             **{**arguments, "outputs": joined["outputs"]})


if __name__ == "__main__":
  tf.test.main()
