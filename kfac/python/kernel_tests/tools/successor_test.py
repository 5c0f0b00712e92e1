"""Programs for the package kfac 0.2 are recognized and ported."""

import functools
import importlib
import inspect
import types

from absl.testing import absltest
from absl.testing import parameterized

import kfac
from kfac.python.ops import estimation_modes
from kfac.python.ops.layer_collection import approximations
from kfac.python.ops.optimizer import arguments
from kfac.python.tools import renames
from kfac.python.tools import rewriting
from kfac.python.tools import successor

_IMPORT = "import kfac\nl = kfac.LayerCollection()\n"


def _port(text, release="0.2.4"):
  """Returns the ported text, and the notes on what is left."""
  result = rewriting.port("prog.py", text.encode(), release)
  new = text.encode() if result.data is None else result.data
  return new.decode(), [f"{note.line}: {note.text}"
                        for note in sorted(set(result.left))]


def _resolve(name):
  """Returns what a name of the tables stands for in this package."""
  path = name.split(".")
  found = kfac if hasattr(kfac, path[0]) else importlib.import_module(
      "kfac.python.ops")
  for part in path:
    if not hasattr(found, part):
      return importlib.import_module(f"kfac.python.ops.{name}")
    found = getattr(found, part)
  return found


def _members(module):
  """Returns the public names of a module and of those below it."""
  names = []
  for name, member in vars(module).items():
    if isinstance(member, types.ModuleType):
      names += _members(member) if member.__name__.startswith(
          module.__name__ + ".") else []
    elif not name.startswith("_"):
      names.append(name)
  return names


def _placeholders(callable_):
  """Returns arguments for those that a callable needs."""
  return [None for parameter in inspect.signature(callable_).parameters.values()
          if parameter.default is parameter.empty
          and parameter.kind is parameter.POSITIONAL_OR_KEYWORD]


class CallsTest(parameterized.TestCase):

  @parameterized.parameters(
      ("kfac.KfacOptimizer(a, b, l, 0.9, momentum_type='regular')",
       "kfac.KfacOptimizer(a, damping=b, layer_collection=l, "
       "cov_ema_decay=0.9, momentum_type='regular')"),
      ("kfac.KfacOptimizer(learning_rate=a, damping=b, layer_collection=l)",
       "kfac.KfacOptimizer(learning_rate=a, damping=b, layer_collection=l, "
       'momentum_type="adam")'),
      ("kfac.PeriodicInvCovUpdateKfacOpt(10, 1, learning_rate=a)",
       "kfac.PeriodicInvCovUpdateKfacOpt(10, 1, learning_rate=a, "
       'momentum_type="adam")'),
      ("kfac.PeriodicInvCovUpdateKfacOpt(**x)",
       "kfac.PeriodicInvCovUpdateKfacOpt(**x)"),
      ("l.register_conv2d(p, s, 'SAME', i, o, 'NHWC', None, 'kron', True)",
       "l.register_conv2d(p, s, 'SAME', i, o, 'NHWC', None, 'kron', True)"),
      ("l.register_fully_connected(p, i, o, 'kron')",
       "l.register_fully_connected(p, i, o, 'kron')"),
      ("kfac.fisher_factors.set_global_constants(True, True, True, 4)",
       "kfac.fisher_factors.set_global_constants(True, True, True, 4)"),
  )
  def testOrdersAndDefaults(self, old, new):
    self.assertEqual((_IMPORT + new + "\n", []), _port(_IMPORT + old + "\n"))
    self.assertEqual((_IMPORT + new + "\n", []), _port(_IMPORT + new + "\n"))

  def testSubclass(self):
    text = ("import kfac\nclass A(kfac.KfacOptimizer):\n"
            "  def __init__(self):\n    super().__init__(a, {}b, {}l{})\n")
    new, left = _port(text.format("", "", ""))
    self.assertEqual(text.format("damping=", "layer_collection=",
                                 ', momentum_type="adam"'), new)
    self.assertEqual([], left)

  def testArgumentsByPlace(self):
    new, left = _port(
        _IMPORT + "l.register_categorical_predictive_distribution(x, 1, y, 'a',"
        " 2., True)\n"
        "l.register_conv2d(p, s, 'SAME', i, o, None, None, 'kron', True, 1, 1, "
        "m)\nkfac.AsyncInvCovUpdateKfacOpt(c, i)\n")
    self.assertIn("(x, 1, y, 'a', coeff=2., reuse=True)", new)
    self.assertIn("'kron', True, 1, 1, m)", new)
    self.assertIn('AsyncInvCovUpdateKfacOpt(c, i, momentum_type="adam")', new)
    self.assertEqual([], left)

  @parameterized.parameters(
      ("adapt_damping=True", ", max_predicted_decrease=None"),
      ("adapt_damping=True, max_predicted_decrease=0.5", ""),
      ("adapt_damping=False", ""), ("adapt_damping=flag", ""), ("name=n", ""))
  def testBoundOfAnAdaptedDamping(self, given, added):
    call = f"kfac.KfacOptimizer(a, momentum_type='adam', {given}%s)\n"
    self.assertEqual((_IMPORT + call % added, []), _port(_IMPORT + call % ""))


class LackingTest(parameterized.TestCase):

  @parameterized.parameters(
      ("from kfac.python.keras import optimizers", "keras"),
      ("from kfac.python.ops.utils import DistributedVarOp, ip",
       "utils.DistributedVarOp"),
      ("from kfac.python.ops.tensormatch import graph_patterns as gp",
       "tensormatch.graph_patterns"),
      ("kfac.graph_search.register_records(l, r)",
       "graph_search.register_records"),
      ("kfac.keras.optimizers.Kfac(1)", "keras"),
      ("kfac.estimator.FisherEstimatorReplicaRoundRobin",
       "estimator.FisherEstimatorReplicaRoundRobin"),
      ("l.register_conv2d(p, approx='kron_sua')", "'kron_sua'"),
      ("kfac.fisher_blocks.ConvKFCBasicFB(use_sua_approx_for_input_factor=x)",
       "use_sua_approx_for_input_factor"),
      ("kfac.utils.set_global_constants(tf_replicator=r)", "tf_replicator"),
      ("kfac.KfacOptimizer(momentum_type='adam', trans_devices=None)",
       "trans_devices"),
  )
  def testIsReported(self, line, name):
    text = _IMPORT + line + "\n"
    new, left = _port(text)
    self.assertEqual(text, new)
    self.assertLen(left, 1)
    self.assertStartsWith(left[0], f"3: kfac has no {name} of 0.2.4: ")

  def testArgumentsByPlaceAreReported(self):
    given = ", ".join("x" for _ in renames.order(
        "optimizer.KfacOptimizer", renames.SUCCESSOR))
    _, left = _port(f"{_IMPORT}kfac.KfacOptimizer({given})\n")
    self.assertLen(left, 1)
    self.assertStartsWith(left[0], "3: kfac has no tf_replicator of 0.2.4: ")

  @parameterized.parameters(
      "from kfac.python.ops import linear_operator, placement",
      "graph.finalize(), loss(coeff=2), f(dtype=3), 'kron_sua'",
      "l.auto_register_layers()",
      "l.finalize()",
      "l.register_conv2d(p, approx='kron_in_diag', patch_mask=m)",
      "from kfac import AsyncInvCovUpdateKfacOpt, data_reader",
      "kfac.graph_search.AmbiguousRegistrationError",
      "kfac.graph_search.register_layers(l, v)",
      "kfac.utils.set_global_constants(tf_replicator=None)",
      "kfac.KfacOptimizer(momentum_type='adam', use_weight_decay=True)",
      "kfac.optimizer.set_global_constants("
      "include_damping_in_qmodel_change=True)",
  )
  def testOtherThingsAreNot(self, line):
    text = _IMPORT + line + "\n"
    self.assertEqual((text, []), _port(text))


class TablesTest(absltest.TestCase):

  def testNamesAreLacking(self):
    for name in successor.LACKING.names:
      try:
        found = _resolve(name)
      except (AttributeError, ImportError):
        continue
      if isinstance(found, str):
        self.assertIn(found, approximations.NOT_BUILT)
      elif inspect.isclass(found):
        with self.assertRaises(NotImplementedError):
          found(*_placeholders(found))
      else:
        self.assertEmpty(_members(found), name)

  def testArgumentsAreLacking(self):
    calls = {
        "tf_replicator": kfac.utils.set_global_constants,
        "use_sua_approx_for_input_factor": functools.partial(
            kfac.fisher_blocks.ConvKFCBasicFB, kfac.LayerCollection(), None,
            "SAME"),
        "include_damping_in_qmodel_change":
            kfac.optimizer.set_global_constants,
    }
    self.assertEqual(set(calls), set(successor.ACCEPTED))
    for name in successor.LACKING.arguments:
      if name in calls:
        with self.assertRaisesRegex(
            (ValueError, NotImplementedError), name + ".*not built|" + name +
            ".*nothing else"):
          calls[name](**{name: 3})
      else:
        self.assertNotIn(name, arguments.Arguments.__annotations__)

  def testStringsAreLacking(self):
    for text in successor.LACKING.strings:
      if text not in approximations.NOT_BUILT:
        with self.assertRaisesRegex(ValueError, text):
          kfac.estimator.make_fisher_estimator(text)

  def testCommonNamesAreInThisPackage(self):
    for name in (*successor.COMMON.names, *successor.OWN.names):
      self.assertIsNotNone(_resolve(name), name)

  def testCommonMethodsAreInThisPackage(self):
    classes = (
        kfac.LayerCollection, kfac.AsyncInvCovUpdateKfacOpt,
        kfac.CurvatureMatrixVectorProductComputer,
        kfac.fisher_factors.FisherFactor, kfac.loss_functions.LossFunction)
    for name in set(successor.COMMON.methods):
      self.assertTrue(any(hasattr(owner, name) for owner in classes), name)

  def testCommonArgumentsAreAccepted(self):
    accepted = set(arguments.Arguments.__annotations__)
    for owner in (kfac.estimator, kfac.fisher_blocks, kfac.fisher_factors,
                  kfac.utils, kfac.LayerCollection):
      for name, member in inspect.getmembers(owner, callable):
        if successor.CALLABLES.match(name):
          accepted.update(inspect.signature(member).parameters)
    self.assertContainsSubset(
        set(successor.COMMON.arguments), accepted)

  def testCommonStringsAreAccepted(self):
    accepted = set(estimation_modes.MODES).union(
        *approximations.APPROXIMATIONS.values())
    for text in set(successor.COMMON.strings) - accepted:
      arguments.check_momentum_type(text)


class RecognitionTest(parameterized.TestCase):

  @parameterized.parameters(
      ("l.auto_register_layers()", "auto_register_layers"),
      ("from kfac.python.keras import utils", "keras"),
      ("kfac.KfacOptimizer(a, b, l)",
       "KfacOptimizer with layer_collection as 3rd argument"),
      ("kfac.KfacOptimizer(use_weight_decay=1)", "use_weight_decay"))
  def testIsNeverRewrittenAsContribs(self, line, name):
    text = (_IMPORT + line + "\nkfac.KfacOptimizer(a, b, l, 0.9, [v], 0.9)\n"
            "l.register_generic(p, 3)\n")
    for release, who in (("1.4", "1.4"), ("1.8", "1.8"), (None, "1")):
      self.assertEqual(
          (text, [f"3: {name} is of kfac 0.2, and no contrib.kfac of "
                  f"TensorFlow {who} has it: calls are left; pass --release "
                  "0.2.4"]), _port(text, release))

  @parameterized.parameters(
      "l.auto_register_layers()",
      "kfac.KfacOptimizer(a, use_weight_decay=1, momentum_type='adam')",
      "kfac.utils.ip(x, y)")
  def testIsNotReportedIfNothingDependsOnIt(self, line):
    text = _IMPORT + line + "\n"
    self.assertEqual((text, []), _port(text, None))
    self.assertLen(_port(text, "1.8")[1], 1)

  @parameterized.parameters(
      "l.register_fully_connected(p, i, o, 'kron', True)",
      "kfac.KfacOptimizer(a, b, c, l, v, 0.9, 'regular', n)",
      "kfac.fisher_factors.ConvInputKroneckerFactor(sub_sample_patches=True)",
      "kfac.register_embedding(p, i, o, 'kron', True)")
  def testArgumentsByPlaceAreNoMarkers(self, line):
    text = _IMPORT + line + "\n"
    for release in ("1.10", None):
      self.assertEqual((text, []), _port(text, release))

  def testNamesThatThisPackageHasToo(self):
    text = (_IMPORT + "kfac.PeriodicInvCovUpdateKfacOpt(10)\n"
            "l.register_generic(p, 3)\n")
    new, left = _port(text, "1.8")
    self.assertEqual(text, new)
    self.assertLen(left, 1)
    self.assertEqual((text, []), _port(text, None))

  def testProgramsOfContribAreNot(self):
    text = ("from tensorflow.contrib import kfac\n"
            "kfac.KfacOptimizer(a, b, c, d, 0.9)\nl.finalize()\nf(coeff=2)\n")
    new, left = _port(text, "1.4")
    self.assertIn("momentum=0.9", new)
    self.assertEqual([], left)


if __name__ == "__main__":
  absltest.main()
