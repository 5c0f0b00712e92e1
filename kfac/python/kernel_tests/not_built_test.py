"""What is not built says so in one line, and its modules import."""

import importlib
import inspect
import pickle
import re

from absl.testing import absltest
from absl.testing import parameterized

import kfac
from kfac.python.ops import not_built
from kfac.python.ops import placement
from kfac.python.ops import utils

_PATTERNS = ("use auto_register_layers of kfac.LayerCollection, which needs no "
             "patterns")
_LINES = (
    ("kfac.python.keras.callbacks", "PolynomialDecay",
     "pass a tensor, such as tf.train.exponential_decay, as damping or "
     "learning_rate of kfac.KfacOptimizer"),
    ("kfac.python.keras.optimizers", "Kfac",
     "use kfac.KfacOptimizer in graph mode, and auto_register_layers of its "
     "LayerCollection for a Keras model"),
    ("kfac.python.keras.saving_utils", "load_model",
     "use tf.train.Saver, which saves model and optimizer"),
    ("kfac.python.keras.utils", "register_layer",
     "use auto_register_layers and register_losses_of of kfac.LayerCollection"),
    ("kfac.python.ops.placement", "ReplicaRoundRobinPlacementMixin",
     "use RoundRobinPlacementMixin, or register one tower for each device with "
     "reuse=True"),
    ("kfac.python.ops.tensormatch.graph_matcher", "matcher", _PATTERNS),
    ("kfac.python.ops.tensormatch.graph_patterns", "Layer", _PATTERNS),
    ("kfac.python.ops.tensormatch.graph_search", "register_records",
     _PATTERNS),
    ("kfac.python.ops.tensormatch.tensorflow_graph_util", "is_op", _PATTERNS),
    ("kfac.python.ops.utils", "DistributedVarOp",
     "use a variable and tf.assign, since there are no replicas"),
    ("kfac.python.ops.utils", "MirroredVariableWrapper",
     "use a variable and tf.assign, since there are no replicas"),
)


class NotBuiltTest(parameterized.TestCase):

  @parameterized.parameters(*_LINES)
  def testNameRaisesOneLine(self, module, name, advice):
    line = f"{module}.{name} is not built: {advice}."
    self.assertNotIn("\n", line)
    exact = f"^{re.escape(line)}$"
    owner = importlib.import_module(module)
    with self.assertRaisesRegex(AttributeError, exact):
      getattr(owner, name)
    with self.assertRaisesRegex(ImportError, exact):
      exec(f"from {module} import {name}", {})
    self.assertFalse(hasattr(owner, name))

  @parameterized.parameters(*sorted({module for module, _, _ in _LINES}))
  def testImportMachineryFindsNoMoreNames(self, module):
    owner = importlib.import_module(module)
    for name in ("__wrapped__", "__path_of_none__", "_private"):
      with self.assertRaisesRegex(
          AttributeError, f"^module '{module}' has no attribute '{name}'$"):
        getattr(owner, name)
    self.assertIsNotNone(inspect.getsource(owner))
    self.assertNotEmpty(inspect.getmembers(owner))
    exec(f"from {module} import *", {})

  def testOtherNamesAreUnknownWhereSomeAreNotBuilt(self):
    for owner in (placement, utils):
      with self.assertRaisesRegex(
          AttributeError, f"^module '{owner.__name__}' has no attribute "
          "'anything'$"):
        owner.anything  # noqa: B018
      with self.assertRaisesRegex(ImportError, "cannot import name"):
        exec(f"from {owner.__name__} import anything", {})
    self.assertIs(pickle.loads(pickle.dumps(utils.SubGraph)), utils.SubGraph)

  def testAttributesOfTheRoot(self):
    for owner, name in ((kfac.keras.optimizers, "Kfac"),
                        (kfac.graph_matcher, "matcher")):
      with self.assertRaisesRegex(AttributeError, f"{name} is not built: use"):
        getattr(owner, name)

  def testGetterOutsideOfAModule(self):
    with self.assertRaisesRegex(AttributeError, "^m.a is not built: use b.$"):
      not_built.getter("m", "use b")("a")


class ValuesTest(absltest.TestCase):

  def testReplicator(self):
    utils.set_global_constants("cholesky", None)
    utils.set_global_constants(tf_replicator=None)
    with self.assertRaisesRegex(
        ValueError, "^tf_replicator must be None, since replicators are not "
        "built, got 'mine'.$"):
      utils.set_global_constants(tf_replicator="mine")

  def testQuadraticModelWithoutDamping(self):
    for value in (None, True):
      kfac.optimizer.set_global_constants(value)
    with self.assertRaisesRegex(
        ValueError, "^include_damping_in_qmodel_change must be True, since "
        "nothing else is built, got False.$"):
      kfac.optimizer.set_global_constants(
          include_damping_in_qmodel_change=False)


if __name__ == "__main__":
  absltest.main()
