"""Public functions have type hints, which a type checker reads."""

import importlib
import inspect
import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import typing

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.repository import architecture
from kfac.python.ops.optimizer import arguments
from kfac.python.ops.optimizer import kfac_optimizer
from kfac.python.ops.utils import hints

_TESTS = "kfac.python.kernel_tests"


def _public_modules(root):
  """Yields the modules below kfac/, tests aside."""
  for path in sorted((root / "kfac").rglob("*.py")):
    parts = path.relative_to(root).with_suffix("").parts
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    if not name.startswith(_TESTS):
      yield importlib.import_module(name)


def _functions(owner, module, prefix):
  """Yields (name, function) of what a module or class defines itself."""
  for name, value in vars(owner).items():
    if name.startswith("_") and name != "__init__":
      continue
    value = getattr(value, "fget", None) or inspect.unwrap(
        getattr(value, "__func__", value))
    if getattr(value, "__module__", None) != module.__name__:
      continue
    if inspect.isclass(value):
      yield from _functions(value, module, prefix + name + ".")
    elif (inspect.isfunction(value) and value.__name__ != "<lambda>"
          and value.__code__.co_filename == module.__file__):
      yield prefix + name, value


def missing_hints(name, function):
  """Returns complaints about a function, one line each.

  Args:
    name: The name in complaints.
    function: The function, or a method's.

  Returns:
    List of strings.
  """
  given = set(getattr(function, "__annotations__", {}))
  wanted = list(inspect.signature(function).parameters)
  if "." in name and wanted:
    wanted = wanted[1:]  # self or cls
  complaints = [f"{name} has no hint for {argument}"
                for argument in wanted + ["return"] if argument not in given]
  try:
    typing.get_type_hints(function)
  except (NameError, AttributeError, TypeError) as error:
    complaints.append(f"{name} has a hint without meaning: {error}")
  return complaints


class ThisTreeTest(tf.test.TestCase):

  def testPublicFunctionsHaveHints(self):
    complaints, count = [], 0
    for module in _public_modules(architecture.project_root()):
      for name, function in _functions(module, module, ""):
        count += 1
        complaints.extend(
            module.__name__ + ": " + complaint
            for complaint in missing_hints(name, function))
    self.assertEqual([], complaints, "\n" + "\n".join(complaints))
    self.assertGreater(count, 0)

  def testKeywordsThatArePassedOnAreTheOptimizers(self):
    signature = inspect.signature(kfac_optimizer.KfacOptimizer)
    own = {name: parameter.annotation
           for name, parameter in signature.parameters.items()
           if parameter.kind != parameter.VAR_KEYWORD}
    passed_on = {
        name: hint.__forward_arg__
        for name, hint in arguments.Arguments.__annotations__.items()
        if name not in arguments.Options.__annotations__}
    self.assertEqual(own, passed_on)

  def testKeywordsOfAdaptationAreTheOptimizers(self):
    self.assertEqual(sorted(arguments.RULE_ARGUMENTS),
                     sorted(arguments.RuleArguments.__annotations__))


class MissingHintsTest(tf.test.TestCase):

  def testComplete(self):
    def f(a: int, *args: int, b: "list[int] | None" = None,
          **kwargs: int) -> None:
      del a, args, b, kwargs
    self.assertEqual([], missing_hints("f", f))

  def testArgumentAndReturn(self):
    def f(a, *, b: int):
      del a, b
    self.assertEqual(["f has no hint for a", "f has no hint for return"],
                     missing_hints("f", f))

  def testHintWithoutMeaning(self):
    def f():
      pass
    f.__annotations__["return"] = "no_such_name"
    self.assertEqual(
        ["f has a hint without meaning: name 'no_such_name' is not defined"],
        missing_hints("f", f))

  def testMethodsAndPropertiesAreIncluded(self):
    module = sys.modules[__name__]
    names = [name for name, _ in _functions(_Sample, module, "_Sample.")]
    self.assertEqual(["_Sample.__init__", "_Sample.a", "_Sample.b",
                      "_Sample.c"], names)


class _Sample:
  """Has one member of each kind."""

  def __init__(self):
    pass

  @property
  def a(self):
    """A property."""

  def b(self):
    """A method."""

  @classmethod
  def c(cls):
    """A method of the class."""

  def _d(self):
    pass


_PROGRAM = """
    import numpy as np
    import tensorflow.compat.v1 as tf

    import kfac

    layers = kfac.LayerCollection()
    weights = tf.get_variable("weights", [2, 3])
    inputs = tf.zeros([4, 2])
    outputs = tf.matmul(inputs, weights)
    layers.register_fully_connected((weights,), inputs, outputs)
    layers.register_categorical_predictive_distribution(outputs, name="a")
    optimizer = kfac.KfacOptimizer(
        learning_rate=lambda: 0.1, cov_ema_decay=np.float32(0.9),
        damping=tf.constant(1.), layer_collection=layers, momentum=0)
    train_op = optimizer.minimize(tf.reduce_mean(outputs))
    with tf.Session() as sess:
      sess.run([train_op, optimizer.cov_update_op])
    kfac.PeriodicInvCovUpdateKfacOpt(
        invert_every=10, learning_rate=0.1, damping=1e-3,
        layer_collection=layers)
    """


class CheckerTest(tf.test.TestCase):

  def _complaints(self, *lines):
    """Returns the errors of mypy for a program with additional lines."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=self.get_temp_dir()))
    program = textwrap.dedent(_PROGRAM) + "\n".join(lines) + "\n"
    (folder / "program.py").write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports",
         "--follow-imports=silent", "--hide-error-context",
         "--no-error-summary", "--cache-dir", str(folder / "cache"),
         "program.py"],
        cwd=folder, capture_output=True, text=True, timeout=300,
        env=dict(os.environ, MYPYPATH=str(architecture.project_root())))
    self.assertEqual("", done.stderr)
    return [line.split(": ", 1)[1] for line in done.stdout.splitlines()
            if ": error: " in line]

  def testRightProgramIsNotReported(self):
    self.assertEqual([], self._complaints())

  def testWrongNamesAndTypesAreReported(self):
    complaints = self._complaints(
        "kfac.KfacOptimizer(0.1, 'x', 0.1, layers)",
        "kfac.KfacOptimizer(0.1, 0.9, 'x', layers)",
        "kfac.KfacOptimizer(0.1, 0.9, 0.1, [])",
        "kfac.KfacOptimizer(0.1, 0.9, 0.1, layers, norm_constraint='x')",
        "layers.register_fully_connected('w', inputs, outputs)",
        "layers.register_conv2d(weights, 1, 'SAME', inputs, outputs)",
        "kfac.PeriodicInvCovUpdateKfacOpt(invert_every='x')",
        "layers.register_fully_connected(weights, input=inputs)")
    self.assertLen(complaints, 8)
    for complaint, named in zip(complaints, (
        '"cov_ema_decay" to "KfacOptimizer"', 'Argument 3', 'Argument 4',
        '"norm_constraint"', 'Argument 1', 'Argument 2', '"invert_every"',
        'keyword argument "input"'), strict=True):
      self.assertIn(named, complaint.replace(
          'Argument 2 to "KfacOptimizer"',
          'Argument "cov_ema_decay" to "KfacOptimizer"'))

  def testKeywordsThatArePassedOnAreChecked(self):
    if sys.version_info < (3, 11):
      self.assertIs(typing.Any, hints.Unpack[arguments.Arguments])
      return
    complaints = self._complaints(
        "kfac.KfacOptimizer(0.1, cov_decay=0.95)",
        "kfac.PeriodicInvCovUpdateKfacOpt(cov_decay=0.95)",
        "kfac.PeriodicInvCovUpdateKfacOpt(cov_ema_decay='x')")
    self.assertLen(complaints, 3)
    self.assertIn('"cov_decay" for "KfacOptimizer"', complaints[0])
    self.assertIn('"cov_decay" for "Periodic', complaints[1])
    self.assertIn('"cov_ema_decay" to "Periodic', complaints[2])


if __name__ == "__main__":
  tf.test.main()
