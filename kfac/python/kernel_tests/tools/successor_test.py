"""Programs for the package kfac 0.2 are recognized and ported."""

import inspect

from absl.testing import absltest
from absl.testing import parameterized

import kfac
from kfac.python.kernel_tests.repository import architecture
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

  def testArgumentsThatAreLacking(self):
    new, left = _port(
        _IMPORT + "l.register_categorical_predictive_distribution(x, 1, y, 'a',"
        " 2., True)\nkfac.KfacOptimizer(a, b, l, use_weight_decay=True, "
        "momentum_type='regular')\n")
    self.assertIn("(x, 1, y, 'a', coeff=2., reuse=True)", new)
    self.assertEqual(
        ["3: kfac has no coeff of 0.2.4: scale the loss by a loss function of "
         "the program",
         "4: kfac has no use_weight_decay of 0.2.4: make an op that decays the "
         "variables after the step"], left)


class LackingTest(parameterized.TestCase):

  @parameterized.parameters(
      ("from kfac.python.keras import optimizers", "keras"),
      ("from kfac.python.ops.kfac_utils import data_reader",
       "kfac_utils.data_reader"),
      ("from kfac.python.ops.utils import ip, cholesky", "utils.ip"),
      ("from kfac import AsyncInvCovUpdateKfacOpt as A",
       "AsyncInvCovUpdateKfacOpt"),
      ("kfac.keras.optimizers.Kfac(1)", "keras"),
      ("kfac.fisher_blocks.NaiveFullFB", "fisher_blocks.NaiveFullFB"),
      ("kfac.linear_operator", "linear_operator"),
      ("l.auto_register_layers()", "auto_register_layers"),
      ("l.register_squared_error_loss(x)", "register_squared_error_loss"),
      ("l.finalize()", "finalize"),
      ("l.register_conv2d(p, approx='kron_sua')", "'kron_sua'"),
      ("l.register_conv2d(p, patch_mask=m)", "patch_mask"),
  )
  def testIsReported(self, line, name):
    text = _IMPORT + line + "\n"
    new, left = _port(text)
    self.assertEqual(text, new)
    self.assertLen(left, 1)
    self.assertStartsWith(left[0], f"3: kfac has no {name} of 0.2.4: ")

  def testOtherThingsAreNot(self):
    text = (_IMPORT + "from kfac.python.ops import linear_operator, placement\n"
            "graph.finalize(), loss(coeff=2), f(dtype=3), 'kron_sua'\n")
    self.assertEqual((text, []), _port(text))

  def testIsLackingInThisPackage(self):
    root = architecture.project_root() / "kfac" / "python"
    for name in successor.NAMES:
      owner, _, member = name.rpartition(".")
      if owner in renames.ROOT_NAMES:
        self.assertFalse(hasattr(getattr(kfac, owner), member), name)
      elif owner in renames.OPS_NAMES:
        self.assertNotIn(f"def {member}(", (
            root / "ops" / f"{owner}.py").read_text(encoding="utf-8"))
      elif owner:
        self.assertFalse((root / "ops" / owner / f"{member}.py").exists(), name)
      else:
        self.assertFalse(hasattr(kfac, name), name)
    for name in successor.METHODS:
      for owner in (kfac.LayerCollection, kfac.KfacOptimizer,
                    kfac.loss_functions.LossFunction):
        self.assertFalse(hasattr(owner, name), name)
    for callable_ in (kfac.KfacOptimizer, kfac.LayerCollection.register_conv2d,
                      kfac.fisher_factors.set_global_constants,
                      kfac.LayerCollection.register_fully_connected):
      self.assertEmpty(
          set(successor.ARGUMENTS) & set(inspect.signature(
              callable_).parameters), callable_)


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
