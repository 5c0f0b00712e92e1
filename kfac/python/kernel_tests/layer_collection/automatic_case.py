"""A test case: models in one graph whose layers register themselves.

`gradient_check` is the oracle. One session run checks all models of a test.
"""

import re
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

import kfac

BATCH = 6


class Case(NamedTuple):
  """A model.

  Attributes:
    name: Its name.
    build: Function of a LayerCollection that builds the model and registers
      its losses.
    rows: What the report says: "VARIABLES: KIND USES" for each layer.
    reasons: Map from variables of generic layers to a regular expression.
    arguments: Arguments of auto_register_layers.
    runs: Whether a CPU can compute the gradients.
  """

  name: str
  build: Callable
  rows: tuple
  reasons: Mapping[str, str] = {}
  arguments: Mapping[str, Any] = {}
  runs: bool = True


_rng = np.random.RandomState(0)


def data(*shape):
  """Returns data of a batch: random numbers."""
  return tf.placeholder_with_default(
      _rng.normal(size=shape).astype("f4"), shape)


def ids(limit, *shape):
  """Returns data of a batch: random ints below a limit."""
  return tf.placeholder_with_default(_rng.randint(0, limit, shape), shape)


def var(name, *shape, dtype=tf.float32):
  """Makes a variable of random numbers."""
  return tf.get_variable(
      name, shape, dtype, tf.random_normal_initializer(0.1, 0.4))


def head(layers, outputs):
  """Registers a categorical loss of some outputs."""
  layers.register_categorical_predictive_distribution(outputs)


def dense(layers, features, size=3):
  """Ends a model by a dense layer "w" [.., size] and its loss."""
  head(layers, features @ var("w", features.shape.as_list()[-1], size))


def describe(report, scope=""):
  """Returns the rows of a report as in Case."""
  return tuple(
      " ".join(_short(name, scope) for name in row.variables)
      + f": {row.kind}" + (f" {row.num_uses}" if row.num_uses else "")
      for row in report)


def _short(name, scope):
  """Drops the scope, and names that Keras makes, such as dense_1/."""
  name = name.removesuffix(":0").removeprefix(scope)
  return re.sub(r"^([a-z0-9_]+/)*?(?=(query|key|value|attention_output)/|"
                r"[a-z_]+$)", "", name)


class AutomaticCase(tf.test.TestCase):
  """Registers models automatically and compares reports and gradients."""

  def setUp(self):
    """Enters a graph."""
    super().setUp()
    self.enter_context(tf.Graph().as_default())
    tf.set_random_seed(1)

  def check(self, *cases, initialize=None, limit=1e-4):
    """Checks reports and gradients of models.

    Args:
      *cases: Cases.
      initialize: Function of the session; None to run all initializers.
      limit: What gradient_check stays below.

    Returns:
      Dict from the name of a model to its report.
    """
    checks, reports = {}, {}
    for case in cases:
      with self.subTest(case.name):
        layers, reports[case.name] = self._registered(case)
        if case.runs:
          checks[case.name] = layers.gradient_check()
    with tf.Session() as session:
      if initialize is None:
        session.run(tf.global_variables_initializer())
      else:
        initialize(session)
      values = session.run(checks)
    for name in checks:
      with self.subTest(name):
        for layer, value in values[name].items():
          self.assertLess(value, limit, layer)
    return reports

  def _registered(self, case):
    """Builds and registers a model, and compares its report."""
    layers = kfac.LayerCollection()
    before = set(tf.trainable_variables())
    with tf.variable_scope(case.name):
      case.build(layers)
    variables = [variable for variable in tf.trainable_variables()
                 if variable not in before]
    arguments = {"var_list": variables, **case.arguments}
    report = layers.auto_register_layers(**arguments)
    self.assertEqual(case.rows, describe(report, f"{case.name}/"))
    reasons = {_short(name, f"{case.name}/"): row.reason
               for row in report.generic for name in row.variables}
    self.assertEqual(set(case.reasons), set(reasons))
    for name, pattern in case.reasons.items():
      self.assertRegex(reasons[name], re.compile(f"^{pattern}"))
    layers.create_subgraph()
    layers.check_registration(layers.registered_variables)
    return layers, report
