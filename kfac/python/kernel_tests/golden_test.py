"""The golden scenarios: the numbers of contrib.kfac, and our differences."""

import tensorflow.compat.v1 as tf

import kfac
from kfac.python.kernel_tests import golden
from kfac.python.kernel_tests import restored_constants


class _GoldenTest(tf.test.TestCase):

  def setUp(self):
    super().setUp()
    restored_constants.restore_after(self)

  def _assertGolden(self, name, **kwargs):
    """Runs a scenario and compares.

    Args:
      name: Its name.
      **kwargs: See golden.run.

    Returns:
      The arrays.
    """
    scenario = golden.load(name)
    got = golden.run(scenario, **kwargs)
    differences = golden.compare(scenario, got)
    self.assertNotEmpty(differences)
    self.assertEqual([], [d for d in differences if not d.error <= d.limit])
    return got


class ContribNumericsTest(_GoldenTest):
  """One test for each scenario, added below."""

  def setUp(self):
    super().setUp()
    kfac.use_contrib_numerics()

  def testThereAreScenarios(self):
    self.assertLen(golden.names(), 22)

  def testThunksGiveTheNumbersOfProperties(self):
    for name in ("fc_kron_categorical_regular", "qmodel_damping_adaptation"):
      scenario = golden.load(name)
      by_property, by_thunk = (
          golden.run(scenario, thunks=thunks) for thunks in (False, True))
      self.assertEqual(by_property.keys(), by_thunk.keys())
      for key, value in by_property.items():
        self.assertAllEqual(value, by_thunk[key], key)

  def testResourceVariables(self):
    for name in ("rnn_kron_series_2_f64", "qmodel_fc"):
      self._assertGolden(name, use_resource=True)

  def testComparisonFindsMissingAndWrongNumbers(self):
    scenario = golden.load("fc_kron_nobias_normal_f64")
    good = {key[4:]: value for key, value in scenario.arrays.items()
            if key.startswith("out/")}
    self.assertEqual({0.}, {d.error for d in golden.compare(scenario, good)})
    for key in ("loss", "007/cov/0", "vel/w1", "var/w1"):
      for wrong in (good[key] + 1e-3, good[key] * float("nan"), None):
        bad = dict(good, **{key: wrong})
        if wrong is None:
          del bad[key]
        off = [d.name for d in golden.compare(scenario, bad)
               if not d.error <= d.limit]
        self.assertNotEmpty(off)
        self.assertTrue(all(name.startswith(key + " ") for name in off), off)


class CorrectedNumericsTest(_GoldenTest):
  """Without use_contrib_numerics."""

  def _wrong(self, name):
    """Returns the names of the arrays that differ in a scenario."""
    scenario = golden.load(name)
    differences = golden.compare(scenario, golden.run(scenario))
    return {d.name.split(" ")[0] for d in differences if not d.error <= d.limit}

  def testScenariosWithoutFlawsAreTheSame(self):
    for name in ("fc_kron_categorical_regular", "qmodel_fc"):
      self._assertGolden(name)

  def testLocationsOfStridedAndValidConvolutionsDiffer(self):
    wrong = self._wrong("conv2d_kron_strides_f64")
    # Only the block of the VALID convolution with stride 2.
    self.assertIn("000/inv_probe/1/0", wrong)
    self.assertNotIn("000/inv_probe/0/0", wrong)
    self.assertNotIn("000/inv_probe/2/0", wrong)
    self.assertIn("loss", wrong)
    self.assertFalse([key for key in wrong if key.startswith("000/cov/")])

  def testAdaptedDampingReachesInverses(self):
    wrong = self._wrong("qmodel_damping_adaptation")
    # At step 0 damping has its initial value; later the factors differ.
    self.assertFalse([key for key in wrong if key.startswith("000/")])
    self.assertIn("007/inv_probe/0/0", wrong)
    self.assertIn("loss", wrong)


def _add_scenario_tests():
  for name in golden.names():
    def test(self, name=name):
      self._assertGolden(name)
    method = "test" + name.title().replace("_", "")
    test.__name__ = method
    setattr(ContribNumericsTest, method, test)


_add_scenario_tests()


if __name__ == "__main__":
  tf.test.main()
