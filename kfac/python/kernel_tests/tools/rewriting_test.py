"""The porting tool rewrites what it recognizes, and reports what is left.

Each program stands beside its expected result. port_programs_test.py checks
that ported programs train.
"""

import textwrap
from unittest import mock

from absl.testing import absltest
from absl.testing import parameterized

from kfac.python.tools import rewriting

_TF = "import tensorflow as tf\n"
_KFAC = "from kfac.python.ops "


class _PortTest(parameterized.TestCase):
  """Ports programs given as text."""

  def _port(self, text, release=None, encoding="utf-8"):
    """Ports a program twice; the second time must change nothing.

    Args:
      text: The program.
      release: The release that it was written for.
      encoding: Encoding of the file.

    Returns:
      The new text, and the list of notes "line: note" on what is left.
    """
    data = text.encode(encoding)
    result = rewriting.port("prog.py", data, release)
    if result is None:
      return text, []
    new = data if result.data is None else result.data
    again = rewriting.port("prog.py", new, release)
    if again is not None:
      self.assertIsNone(again.data, again.diff())
    if result.data is not None:
      self.assertNotEmpty(result.diff())
    left = [f"{note.line}: {note.text}"
            for note in sorted(set(result.left))]
    return new.decode(encoding), left

  def _assertPorts(self, old, new, left=(), release=None):
    text, found = self._port(old, release)
    self.assertEqual(new, text)
    self.assertEqual(list(left), found)

  def _assertLeaves(self, text, *left, release=None):
    self._assertPorts(text, text, left, release)


class ImportsTest(_PortTest):

  @parameterized.parameters(
      ("from tensorflow.contrib import kfac", "import kfac"),
      ("from tensorflow.contrib import kfac as k", "import kfac as k"),
      ("from tensorflow.contrib import (kfac)", "import kfac"),
      ("from  tensorflow . contrib  import kfac # why", "import kfac # why"),
      ("import tensorflow.contrib.kfac as k", "import kfac as k"),
      ("import tensorflow.contrib.kfac", "import kfac"),
      ("import os, tensorflow.contrib.kfac as k, re",
       "import os, kfac as k, re"),
      ("import tensorflow.contrib.kfac.python.ops.optimizer as o",
       "import kfac.python.ops.optimizer as o"),
      ("from tensorflow.contrib.kfac import optimizer, utils as u",
       "from kfac import optimizer, utils as u"),
      ("from tensorflow.contrib.kfac.python.ops import utils_lib as b, "
       "placement", _KFAC + "import utils_lib as b, placement"),
      ("from \\\n    tensorflow.contrib.kfac\\\n  .python.ops import utils",
       "from \\\n    kfac.python.ops import utils"),
      ("import tensorflow.contrib. \\\n    kfac as k", "import kfac as k"),
      ("from tensorflow.contrib.kfac.python.ops.utils import cholesky",
       _KFAC[:-1] + ".utils import cholesky"),
      ("from tensorflow.contrib.kfac.python.ops.utils_lib import *",
       _KFAC[:-1] + ".utils_lib import *"),
      ("from tensorflow.compat.v1.contrib import kfac", "import kfac"),
      ("if x: from tensorflow.contrib import kfac as a; pass",
       "if x: import kfac as a; pass"),
  )
  def testSpelling(self, old, new):
    self._assertPorts(old + "\n", new + "\n")
    inside = "def f():\n    {}  # kept\n    return 1\n"
    self._assertPorts(inside.format(old), inside.format(new))

  def testKeepsTheShapeOfALongImport(self):
    text = textwrap.dedent("""\
        from {}.python.ops import (  # first
            optimizer as o,  # second

            utils,)
        """)
    self._assertPorts(text.format("tensorflow.contrib.kfac"),
                      text.format("kfac"))

  @parameterized.parameters(
      ("kfac, layers", "import kfac\nfrom tensorflow.contrib import layers"),
      ("layers, kfac", "import kfac\nfrom tensorflow.contrib import layers"),
      ("(layers,\n    kfac,\n    )",
       "import kfac\nfrom tensorflow.contrib import (layers,\n    )"),
      ("(\n    kfac as k,\n    layers)",
       "import kfac as k\nfrom tensorflow.contrib import (\n    layers)"),
  )
  def testSplitsAnImportOfMore(self, names, new):
    self._assertPorts(
        f"from tensorflow.contrib import {names}\n", new + "\n",
        ["1: tensorflow.contrib.layers is gone with TensorFlow 2, and this tool"
         " helps with contrib.kfac only"])

  def testSplitsWithinALine(self):
    self._assertPorts(
        "x = 1; from tensorflow.contrib import kfac, layers\n",
        "x = 1; import kfac; from tensorflow.contrib import layers\n",
        ["1: tensorflow.contrib.layers is gone with TensorFlow 2, and this tool"
         " helps with contrib.kfac only"])

  def testCommentInsideOfAnImport(self):
    self._assertLeaves("from tensorflow.contrib import (  # all\n    kfac)\n",
                       "1: there is a comment inside of the import")

  def testContribItself(self):
    self._assertPorts(
        "from tensorflow import contrib as c\nx = c.kfac.optimizer\n",
        "import kfac\nx = kfac.optimizer\n")
    self._assertPorts(
        "import tensorflow.contrib as c\nx = c.kfac.optimizer\n",
        "import kfac\nx = kfac.optimizer\n")

  def testContribThatIsUsedElsewhere(self):
    self._assertPorts(
        "from tensorflow import contrib as c\nx = c.kfac.utils, c.seq2seq\n",
        "from tensorflow import contrib as c\nimport kfac\n"
        "x = kfac.utils, c.seq2seq\n",
        ["1: tensorflow.contrib is gone with TensorFlow 2, and this tool helps "
         "with contrib.kfac only",
         "2: c.seq2seq is gone with TensorFlow 2, and this tool helps with "
         "contrib.kfac only"])

  def testKeepsTensorFlowThatTheImportBound(self):
    self._assertPorts(
        "import tensorflow.contrib.kfac\n"
        "x = tensorflow.contrib.kfac.optimizer, tensorflow.float32\n",
        "import kfac, tensorflow\nx = kfac.optimizer, tensorflow.float32\n")
    self._assertPorts(
        "import tensorflow\nimport tensorflow.contrib.kfac\n"
        "x = tensorflow.contrib.kfac.optimizer, tensorflow.float32\n",
        "import tensorflow\nimport kfac\n"
        "x = kfac.optimizer, tensorflow.float32\n")

  @parameterized.parameters(
      ("from tensorflow.contrib.kfac.examples import mlp",
       "kfac has no kfac.examples"),
      ("from tensorflow.contrib.kfac.python import kernel_tests",
       "kfac has no kfac.python.kernel_tests"),
      ("from tensorflow.contrib.kfac.python.ops import tensormatch",
       "kfac has no kfac.python.ops.tensormatch"),
      ("import tensorflow.contrib.kfac.examples.mlp as m",
       "kfac has no kfac.examples.mlp"),
      ("from tensorflow.contrib.kfac.python.ops.sync import x",
       "kfac has no kfac.python.ops.sync"),
  )
  def testModuleThatDoesNotExist(self, text, left):
    self._assertLeaves(text + "\n", "1: " + left)

  def testOtherModulesAreLeft(self):
    self._assertLeaves(
        "import kfac\nfrom tensorflow.contrib.layers import conv2d\n"
        "import tensorflow.contrib.slim as slim\n"
        "from tensorflow import layers\nimport tensorflow.layers as l\n"
        "from tensorflow.nn import rnn_cell\n"
        "from tensorflow.layers import dense\nfrom .tensorflow import x\n",
        *[f"{line}: {name} is gone with TensorFlow 2, and this tool helps with "
          "contrib.kfac only" for line, name in (
              (2, "tensorflow.contrib.layers"),
              (3, "tensorflow.contrib.slim"))],
        *[f"{line}: tensorflow.layers needs the legacy package tf_keras; make "
          "the "
          "variables with tf.get_variable and register them"
          for line in (4, 5)],
        "6: tensorflow.nn.rnn_cell needs the legacy package tf_keras; write the"
        " cell with tf.matmul and register_fully_connected_multi",
        "7: tensorflow.layers needs the legacy package tf_keras; make the "
        "variables with tf.get_variable and register them")


class ChainsTest(_PortTest):

  @parameterized.parameters(
      "import tensorflow as tf", "import tensorflow.compat.v1 as tf",
      "from tensorflow.compat import v1 as tf",
      "import numpy as np, tensorflow as tf",
      "try:\n  import tensorflow as tf\nexcept ImportError:\n  tf = None",
  )
  def testAliasOfTensorFlow(self, line):
    text, left = self._port(line + "\nx = tf.contrib.kfac.optimizer\n")
    self.assertEqual([], left)
    self.assertIn("\nimport kfac\n", "\n" + text)
    self.assertTrue(text.endswith("x = kfac.optimizer\n"), text)

  def testAliasInAFunction(self):
    text = "def f():\n  import tensorflow as t\n  return {}.utils\n"
    self._assertPorts(text.format("t.contrib.kfac"),
                      "import kfac\n" + text.format("kfac"))

  def testAfterTheUpgradeScript(self):
    self._assertPorts(_TF + "x = tf.compat.v1.contrib.kfac.utils\n",
                      _TF + "import kfac\nx = kfac.utils\n")

  def testAssignedAlias(self):
    self._assertPorts(
        _TF + "c = tf.contrib.kfac.optimizer\nx = c.KfacOptimizer\n",
        _TF + "import kfac\nc = kfac.optimizer\nx = c.KfacOptimizer\n")

  def testImportsOnceAndReusesAnImport(self):
    text, _ = self._port(_TF + 3 * "x = tf.contrib.kfac.utils\n")
    self.assertEqual(1, text.count("import kfac"))
    self._assertPorts(
        _TF + "from tensorflow.contrib import kfac\nx = tf.contrib.kfac.utils",
        _TF + "import kfac\nx = kfac.utils")
    self._assertPorts(
        "import kfac\n" + _TF + "x = tf.contrib.kfac.utils",
        "import kfac\n" + _TF + "x = kfac.utils")

  def testImportInAnotherFunctionIsNotUsed(self):
    text = ("def f():\n  {}\n  return {}kfac\n"
            "def g():\n  import tensorflow as tf\n  return {}kfac.utils\n")
    for old in ("import tensorflow.contrib.kfac", "from tensorflow import "
                "contrib"):
      chain = "contrib." if old.startswith("from") else "tensorflow.contrib."
      self._assertPorts(text.format(old, chain, "tf.contrib."),
                        "import kfac\n" + text.format("import kfac", "", ""))

  def testNameThatIsTaken(self):
    for line in ("kfac = 3", "def kfac(): pass", "def f(kfac): pass",
                 "for kfac in x: pass", "import other as kfac",
                 "kfac = tf.contrib.kfac.utils"):
      text, _ = self._port(_TF + line + "\ny = tf.contrib.kfac.utils\n")
      self.assertStartsWith(text, _TF + "import kfac as contrib_kfac\n")
      self.assertTrue(text.endswith("y = contrib_kfac.utils\n"), text)
    self._assertPorts(
        "import tensorflow.contrib.kfac\nkfac = 3\n"
        "x = tensorflow.contrib.kfac.utils\n",
        "import kfac as contrib_kfac\nkfac = 3\nx = contrib_kfac.utils\n")

  @parameterized.parameters(
      ('"""Doc."""\nfrom __future__ import division\nimport os\n',
       '"""Doc."""\nfrom __future__ import division\nimport kfac\nimport os\n'),
      ('#!/usr/bin/python\n"""Doc."""\n\n', '#!/usr/bin/python\n"""Doc."""\n'
       "import kfac\n\n"),
      ("# Licence.\n\n@g\ndef h(): pass\n",
       "# Licence.\n\nimport kfac\n@g\ndef h(): pass\n"),
      ("import tensorflow as t; x = (1,\n  2)  # c\n",
       "import tensorflow as t; x = (1,\n  2)  # c\nimport kfac\n"),
  )
  def testPlaceOfTheImport(self, before, after):
    text = "def f():\n  import tensorflow as tf\n  return {}.utils\n"
    self._assertPorts(before + text.format("tf.contrib.kfac"),
                      after + text.format("kfac"))

  def testOverSeveralLines(self):
    self._assertPorts(
        _TF + "x = (tf\n     .contrib  # why\n     .kfac.utils)\n"
        "y = tf.contrib \\\n  .kfac.utils\n",
        _TF + "import kfac\nx = (tf\n     .contrib  # why\n     .kfac.utils)\n"
        "y = kfac.utils\n",
        ["2: there is a comment inside of tf.contrib.kfac"])

  def testNamesOfOtherObjects(self):
    for text in ("def f(tf):\n  return tf.contrib.kfac\n",
                 "f = lambda tf: tf.contrib.kfac\n",
                 "x = [tf.contrib.kfac for tf in y]\n",
                 "class A:\n  tf = g()\n  x = tf.contrib.kfac\n",
                 "def f():\n  global tf\n  tf = 1\nx = tf.contrib.kfac\n",
                 "from .common import tf\ntf.contrib.kfac\n",
                 "from common import tf\ntf.contrib.kfac\n",
                 "with x as tf:\n  tf.contrib.kfac\n",
                 "try: pass\nexcept E as tf:\n  tf.contrib.kfac\n"):
      _, left = self._port(_TF + text)
      self.assertLen(left, 1, text)
      self.assertIn(": it is unknown what tf is", left[0])

  def testAliasFromAnotherModule(self):
    self._assertLeaves(
        "from common import tf\nx = tf.contrib.kfac, self.tf.contrib.kfac\n",
        "2: it is unknown what self.tf is",
        "2: it is unknown what tf is")

  def testNamesOfAClassAreNotInScopeInItsMethods(self):
    self._assertPorts(
        _TF + "class A:\n  tf = g()\n  def f(self):\n"
        "    return tf.contrib.kfac\n",
        _TF + "import kfac\nclass A:\n  tf = g()\n  def f(self):\n"
        "    return kfac\n")

  def testWhatIsLeft(self):
    self._assertLeaves(
        "import kfac\n" + _TF
        + 'x = "tf.contrib.kfac.utils"\n'
        + 'y = getattr(tf, "contrib").kfac\n'
        + "z = tf.contrib.layers.conv2d\n"
        + "a = tf.layers.dense, tf.nn.rnn_cell.LSTMCell\n"
        + "b = tf.contrib\n"
        + "c = kfac.LayerCollection(); c.losses.append(1), d.losses.append(1)\n"
        + 'f"tensorflow/contrib/kfac{x}"\n'
        + '"""tf.contrib.kfac in a docstring"""\n'
        + "from tensorflow import contrib\nprint(contrib)\n"
        + "d = tf.placeholder, tf.Session\n",
        "3: a string names contrib.kfac: 'tf.contrib.kfac.utils'",
        "4: getattr(tf, 'contrib') asks for contrib by a string",
        "5: tf.contrib.layers is gone with TensorFlow 2, and this tool helps "
        "with contrib.kfac only",
        "6: tf.layers needs the legacy package tf_keras; make the variables "
        "with tf.get_variable and register them",
        "6: tf.nn.rnn_cell needs the legacy package tf_keras; write the cell "
        "with tf.matmul and register_fully_connected_multi",
        "7: tf.contrib is gone with TensorFlow 2; name contrib.kfac itself",
        "8: c.losses.append: losses are registered, by register_loss_function",
        "9: a string names contrib.kfac: 'tensorflow/contrib/kfac'",
        "11: tensorflow.contrib is gone with TensorFlow 2, and this tool helps "
        "with contrib.kfac only",
        "12: contrib is gone with TensorFlow 2; name contrib.kfac itself",
        "13: tf.placeholder is TensorFlow 1: `import tensorflow.compat.v1 as "
        "tf` and tf.disable_v2_behavior(), or tf_upgrade_v2")

  def testAssigned(self):
    self._assertLeaves(
        _TF + "tf.contrib.kfac = 3\n",
        "2: tf.contrib.kfac cannot be edited, as it is assigned to")

  def testModuleThatDoesNotExist(self):
    self._assertPorts(_TF + "x = tf.contrib.kfac.examples.mlp\n",
                      _TF + "import kfac\nx = kfac.examples.mlp\n",
                      ["2: kfac has no kfac.examples"])

  def testInAFormattedString(self):
    text = _TF + "{}x = (f\"\"\"\n a {{{}.utils}}\"\"\" f'{{{}}}')\n"
    self._assertPorts(text.format("", "tf.contrib.kfac", "tf.contrib.kfac"),
                      text.format("import kfac\n", "kfac", "kfac"))
    text = ("import kfac\n"
            "x = (f\"\"\"\n a {{kfac.LayerCollection(1, {}2, {}3)}}\"\"\")")
    self._assertPorts(
        text.format("", ""),
        text.format("colocate_cov_ops_with_inputs=", "name="), release="1.5")

  def testGraphModeIsNotReported(self):
    self._assertLeaves(
        "import kfac\nimport tensorflow.compat.v1 as tf\nx = tf.placeholder\n")


class CallsTest(_PortTest):

  def _call(self, old, new, release, left=()):
    self._assertPorts("import kfac\n" + old, "import kfac\n" + new, left,
                      release)

  def testPositionalArgumentsBecomeKeywords(self):
    self._call("x = kfac.optimizer.KfacOptimizer(a, b, c, d, 0.9, ('adam'))\n",
               "x = kfac.optimizer.KfacOptimizer(a, b, c, d, momentum=0.9, "
               "momentum_type=('adam'))\n", "1.4")
    self._call("l.register_conv2d(p, s, 'SAME', i, o, (approx), True)\n",
               "l.register_conv2d(p, s, 'SAME', i, o, approx=(approx), "
               "reuse=True)\n", "1.7")
    self._call("kfac.estimator.FisherEstimator(f, (g)(h), 0.9, l)\n",
               "kfac.estimator.FisherEstimator(damping_fn=f, variables=(g)(h), "
               "cov_ema_decay=0.9, layer_collection=l)\n", "1.7")
    self._call("kfac.LayerCollection(g, True, 'a')\n",
               "kfac.LayerCollection(g, colocate_cov_ops_with_inputs=True, "
               "name='a')\n", "1.5")

  def testPositionsThatNeverChanged(self):
    for release in ("1.4", "1.5", "1.7", "1.8", "1.9", "1.10"):
      self._call("kfac.KfacOptimizer(a, b, c, d, momentum=0.)\n",
                 "kfac.KfacOptimizer(a, b, c, d, momentum=0.)\n", release)

  def testWithoutARelease(self):
    text = ("{}import kfac\nkfac.KfacOptimizer(a, b, c, d, 0.9)\n"
            "l.register_conv2d(p, s, 'SAME', i, o, 'kron')\n"
            "l.register_conv2d(p, s, 'SAME', i, o, approx='kron')\n")
    self._assertPorts(
        text.format("from tensorflow.contrib "), text.format(""), [
            "2: argument 5 of KfacOptimizer was momentum in TensorFlow 1.4 and "
            "is var_list now; name it, or pass --release",
            "3: argument 6 of register_conv2d was approx in TensorFlow 1.4 and "
            "is data_format now; name it, or pass --release"])

  def testProgramsForThisPackageAreNotRewritten(self):
    self._assertLeaves("import kfac\nkfac.KfacOptimizer(a, b, c, d, [e])\n")

  def testDefaultsAreWrittenOut(self):
    self._call("kfac.KfacOptimizer(\n    a, b,\n    c, d,  # e\n)\n",
               "kfac.KfacOptimizer(\n    a, b,\n    c, d, momentum=0.0,  # e\n"
               ")\n", "1.5")
    self._call("l.register_generic(p, 3)\nl.register_generic(p, 3, 'full')\n"
               "l.register_generic(p, (3), reuse=(True))\n",
               "l.register_generic(p, 3, approx=\"full\")\n"
               "l.register_generic(p, 3, 'full')\n"
               "l.register_generic(p, (3), reuse=(True), approx=\"full\")\n",
               "1.8")
    self._call("kfac.KfacOptimizer(**x)\nkfac.KfacOptimizer()\n",
               "kfac.KfacOptimizer(**x)\n"
               "kfac.KfacOptimizer(momentum=0.0)\n", "1.4")

  def testDefaultsThatTheProgramSets(self):
    text = ("l.set_default_generic_approximation('diagonal')\n"
            "l.register_generic(p, 3)\n")
    self._call(text, text, "1.8")

  def testArgumentsThatCannotBeNamed(self):
    text = ("kfac.KfacOptimizer(*x)\nkfac.LayerCollection(g, False, 'a', 4)\n"
            "kfac.estimator.FisherEstimator(y for y in z)\n")
    self._call(text, text, "1.5", [
        "2: KfacOptimizer has * among its arguments, and their order changed "
        "after 1.5",
        "3: LayerCollection takes 3 arguments by place in 1.5, not 4"])
    text = "kfac.estimator.FisherEstimator(y for y in z)\n"
    self._call(text, text, "1.7", [
        "2: FisherEstimator has a generator as its argument"])

  def testConstructorsOfSubclasses(self):
    for call, skipped in (("super().__init__", ""),
                          ("super(Mine, self).__init__", ""),
                          ("KfacOptimizer.__init__", "self, "),
                          ("kfac.KfacOptimizer.__init__", "self, ")):
      text = ("from kfac.python.ops.optimizer import KfacOptimizer\n"
              "class Mine(KfacOptimizer):\n  def __init__(self, a, *, b):\n"
              f"    {call}({skipped}a, b, c, d, {{}}0.5, n=1{{}})\n")
      self._call(text.format("", ""), text.format("momentum=", ""), "1.4")
      text = text.replace("a, b, c, d, {}0.5", "a")
      self._call(text.format(""), text.format(", momentum=0.0"), "1.5")

  def testConstructorsThatAreInherited(self):
    text = ("class Plain:\n  def f(self): pass\n"
            "class A(Plain, kfac.KfacOptimizer):\n  x = 1\nclass B(A):\n"
            "  def __init__(self, *args):\n    super().__init__(a, b, c, d, {})"
            "\nA(a, b, c, d, {})\n")
    self._call(text.format("0.5", "e"),
               text.format("momentum=0.5", "momentum=e"), "1.4")

  def testConstructorsThatAreNotOurs(self):
    text = ("class A(kfac.KfacOptimizer):\n  def __init__(self, *args):\n"
            "    Other.__init__(self, a, b, c, d, 0.5)\n"
            "class B(A):\n  def __init__(self):\n"
            "    super().__init__(a, b, c, d, 0.5)\n"
            "    A.__init__(self, a, b, c, d, 0.5)\n"
            "class C(Other, kfac.KfacOptimizer):\n  def __init__(self):\n"
            "    super().__init__(a, b, c, d, 0.5)\n"
            "class D(D): pass\nB(a, b, c, d, 0.5), D(a, b, c, d, 0.5)\n"
            "class E:\n  def __init__(self):\n    super().__init__(1)\n")
    self._call(text, text, "1.4")

  def testConstructorThatPassesArgumentsOn(self):
    text = ("class A(kfac.KfacOptimizer):\n  def __init__(self, *args):\n"
            "    super().__init__(*args)\n    super(A, self).__init__(**x)\n"
            "    kfac.KfacOptimizer.__init__(*args)\n")
    note = (": KfacOptimizer has * among its arguments, and their order changed"
            " after 1.4")
    self._call(text, text, "1.4", ["4" + note, "6" + note])

  def testConstructorOfASubclassWithoutARelease(self):
    text = ("{}import kfac\nclass A(kfac.KfacOptimizer):\n"
            "  def __init__(self):\n    super().__init__(a, b, c, d, 0.9)\n")
    self._assertPorts(
        text.format("from tensorflow.contrib "), text.format(""),
        ["4: argument 5 of KfacOptimizer was momentum in TensorFlow 1.4 and is "
         "var_list now; name it, or pass --release"])

  def testInversesThatAreNeverUpdated(self):
    text = ("o = kfac.KfacOptimizer(a, b, c, d, momentum=0.)\n"
            "sess.run(o.minimize(loss{}))\n")
    for release in ("1.4", "1.5", "1.7", "1.8"):
      self._call(text.format(""), text.format(""), release, [
          "2: covariances and inverses are never updated; inverses started at "
          f"the identity in {release}, and start at zero now: call "
          "fisher_factors.set_global_constants(init_inverses_at_zero=False, "
          "init_covariances_at_zero=False, zero_debias=False) before"])
    for release in ("1.9", "1.10"):
      self._call(text.format(""), text.format(""), release)
    for more in ("), o.cov_update_op, (1", "), o.inv_updates_dict, (1",
                 "), o.make_vars_and_create_op_thunks(", "), "
                 "kfac.fisher_factors.set_global_constants("
                 "init_inverses_at_zero=False"):
      self._call(text.format(more), text.format(more), "1.8")
    text = text.replace("minimize", "compute_gradients").format("")
    self._call(text, text, "1.8")

  def testMethodsOfOtherObjectsAreKept(self):
    text = "l.register_conv2d(p, s, 'SAME', i, o, 'kron')  # not kfac\n"
    self.assertIsNone(rewriting.port("prog.py", text.encode(), "1.4"))


class LossesTest(_PortTest):
  """Appends to the losses of what may be a LayerCollection."""

  def _notes(self, text):
    _, left = self._port("import kfac\n" + text)
    return [note.partition(": ")[2] for note in left]

  @parameterized.parameters(
      "def f(x):\n  {}\n", "x = make(); {}\n", "x = self.x = y; {}\n",
      "from helpers import x\n{}\n", "from helpers import *\n{}\n",
      "x = None\nif y: x = kfac.get_default_layer_collection()\n{}\n",
      "for x in y: {}\n", "x = y if z else []; {}\n", "x = y[0]; {}\n",
      "def f(x: Collection): {}\n", "x = None or y.z; {}\n")
  def testAppendsThatAreReported(self, program):
    for change in ("append(1)", "extend(y)"):
      self.assertEqual(
          [f"x.losses.{change[:6]}: if x is a LayerCollection, register its "
           "losses by register_loss_function"],
          self._notes(program.format("x.losses." + change)))
    self.assertLen(self._notes(program.format("x.losses += y")), 1)
    self.assertLen(
        self._notes(program.format("z = x.losses; z.append(1)")), 1)

  def testCollectionsOfTheProgram(self):
    for text in ("x = kfac.LayerCollection()\nx.losses.append(1)\n",
                 "self.x = lc.LayerCollection()\nself.x.losses.append(1)\n"):
      note, = self._notes(text)
      self.assertTrue(note.endswith(
          "x.losses.append: losses are registered, by register_loss_function"))
    for name in ("kfac.LayerCollection", "A"):
      self.assertLen(self._notes(
          "class A(kfac.LayerCollection): pass\n"
          f"class B({name}):\n  def f(self): self.losses.append(1)\n"), 1)

  @parameterized.parameters(
      "losses = []; losses.append(1)\n", "x = []; x.losses.append(1)\n",
      "class A:\n  def f(self): self.losses.append(1)\n",
      "class A: pass\nx = A(); x.losses.append(1)\n",
      "x = kfac.KfacOptimizer(); x.losses.append(1)\n",
      "import types\nx = types.SimpleNamespace(); x.losses.append(1)\n",
      "import helpers\nhelpers.losses.append(1)\n",
      "x = dict(); x.losses.append(1)\n", "y.losses.pop()\n",
      "import numpy as np\ndef f(x: np.ndarray): x.losses.append(1)\n",
      "self.x = {}\nself.x.losses.append(1)\n", "x = y = x; x = 1; x += y\n")
  def testAppendsToOtherLists(self, text):
    self.assertEqual([], self._notes(text))


class SourcesTest(_PortTest):

  @parameterized.parameters("\r\n", "\n", "\r")
  def testEndsOfLines(self, end):
    self._assertPorts(
        end.join(["import tensorflow as tf", "", "x = tf.contrib.kfac.utils",
                  ""]),
        end.join(["import tensorflow as tf", "import kfac", "",
                  "x = kfac.utils", ""]))

  def testMixedLineEndsAreKept(self):
    self._assertPorts(
        "import tensorflow as tf\r\ny = 1\nx = tf.contrib.kfac.utils",
        "import tensorflow as tf\r\nimport kfac\r\ny = 1\nx = kfac.utils")

  def testEncodings(self):
    text = ("# -*- coding: latin-1 -*-\nimport tensorflow as tf\n"
            "x = 'é', tf.contrib.kfac.utils  # ü\n")
    new, left = self._port(text, encoding="latin-1")
    self.assertEqual(text.replace("as tf\n", "as tf\nimport kfac\n").replace(
        "tf.contrib.kfac", "kfac"), new)
    self.assertEqual([], left)
    new, _ = self._port("x = '€𝄞', __import__\n" + _TF
                        + "y = '€𝄞', tf.contrib.kfac\n", encoding="utf-8-sig")
    self.assertEqual("x = '€𝄞', __import__\n" + _TF + "import kfac\n"
                     "y = '€𝄞', kfac\n", new)

  def testUnusualWhitespace(self):
    self._assertPorts(_TF + "\x0c\nx = '\x0b\u2028', tf.contrib.kfac\n",
                      _TF + "import kfac\n\x0c\nx = '\x0b\u2028', kfac\n")

  @parameterized.parameters(
      "print 'kfac'\n", "print >> kfac, 'a' % 1, b if c\n",
      "x = 0777  # kfac\n",
      "try: pass\nexcept kfac, e: pass\n", "raise kfac, 'x'\n",
      "if kfac <> 1: pass\n", "x = `kfac`\n", "x = ur'kfac'\n",
      "exec 'kfac'\n", "x = 1L  # kfac\n")
  def testPython2IsNotChanged(self, text):
    result = rewriting.port("prog.py", text.encode())
    self.assertIsNone(result.data)
    note, = result.left
    self.assertStartsWith(
        note.text, "is Python 2, make it Python 3 first (2to3 does most): ")

  def testOtherFilesAreNotChanged(self):
    for data, message in (
        (b"import kfac\nx = (\n", "does not parse as Python: "),
        (b"kfac\0", "does not parse as Python: "),
        (b"# coding: nonsense\nkfac", "cannot be decoded: "),
        (b"x = '\xff kfac'", "cannot be decoded: ")):
      result = rewriting.port("prog.py", data)
      self.assertIsNone(result.data)
      note, = result.left
      self.assertStartsWith(note.text, message)

  def testDeepExpressionsAreNotChanged(self):
    text = _TF + "x = tf.contrib.kfac" + 2000 * " + 1" + "\n"
    result = rewriting.port("prog.py", text.encode())
    self.assertIsNone(result.data)
    note, = result.left
    self.assertEqual("its expressions are nested too deeply", note.text)

  def testResultIsChecked(self):
    with mock.patch.object(rewriting, "_transformed", return_value="("):
      result = rewriting.port("prog.py", b"import tensorflow.contrib.kfac as k")
    self.assertIsNone(result.data)
    note, = result.left
    self.assertStartsWith(note.text, "it would not parse when ported (1: ")
    self.assertTrue(note.text.endswith("; port it by hand"))

  def testFilesWithoutKfacAreIgnored(self):
    for text in ("", "x = tf.contrib.layers\n", "# kfac\n", "print 'x'\n",
                 "x = 'kfac'\n"):
      self.assertIsNone(rewriting.port("prog.py", text.encode()), text)


if __name__ == "__main__":
  absltest.main()
