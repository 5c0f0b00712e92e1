"""Tests of the constants of fisher_factors."""

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests.fisher_factors import factor_oracles as oracles
from kfac.python.ops import fisher_factors as ff


class ConstantsTest(tf.test.TestCase):

  _DEFAULTS = {
      "INIT_COVARIANCES_AT_ZERO": True, "ZERO_DEBIAS": True,
      "INIT_INVERSES_AT_ZERO": True, "EIGENVALUE_DECOMPOSITION_THRESHOLD": 2,
      "EIGENVALUE_CLIPPING_THRESHOLD": 0., "TOWER_STRATEGY": "concat",
      "COLOCATE_COV_OPS_WITH_INPUTS": True,
      "_MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW": 1,
      "_SUB_SAMPLE_OUTER_PRODUCTS": False,
      "_INPUTS_TO_EXTRACT_PATCHES_FACTOR": 0.5, "_SUB_SAMPLE_INPUTS": False,
      "_MAX_NUM_PATCHES": 10_000_000, "ASSUME_ZERO_MEAN_ACTIVATIONS": False,
      "SUBTRACT_MEAN_CONTRIB_FROM_COV": True}

  def _values(self):
    return {name: getattr(ff, name) for name in self._DEFAULTS}

  def testDefaultsAndSetting(self):
    self.assertEqual(self._DEFAULTS, self._values())
    oracles.set_constants(self, **self._DEFAULTS)  # Restored at the end.
    ff.set_global_constants()
    self.assertEqual(self._DEFAULTS, self._values())
    ff.set_global_constants(zero_debias=False)
    self.assertEqual(dict(self._DEFAULTS, ZERO_DEBIAS=False), self._values())
    ff.set_global_constants(
        False, True, False, 5, 0.25, 3, True, 0.75, True, "separate",
        colocate_cov_ops_with_inputs=False, max_num_patches=9,
        assume_zero_mean_activations=True,
        subtract_mean_contrib_from_cov=False)
    self.assertEqual({
        "INIT_COVARIANCES_AT_ZERO": False, "ZERO_DEBIAS": True,
        "INIT_INVERSES_AT_ZERO": False,
        "EIGENVALUE_DECOMPOSITION_THRESHOLD": 5,
        "EIGENVALUE_CLIPPING_THRESHOLD": 0.25, "TOWER_STRATEGY": "separate",
        "COLOCATE_COV_OPS_WITH_INPUTS": False,
        "_MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW": 3,
        "_SUB_SAMPLE_OUTER_PRODUCTS": True,
        "_INPUTS_TO_EXTRACT_PATCHES_FACTOR": 0.75, "_SUB_SAMPLE_INPUTS": True,
        "_MAX_NUM_PATCHES": 9, "ASSUME_ZERO_MEAN_ACTIVATIONS": True,
        "SUBTRACT_MEAN_CONTRIB_FROM_COV": False,
    }, self._values())

  def testNamesOf024(self):
    oracles.set_constants(self, **self._DEFAULTS)
    ff.set_global_constants(
        sub_sample_patches=True, max_num_patches_per_dimension=3.)
    self.assertEqual(dict(
        self._DEFAULTS, _SUB_SAMPLE_OUTER_PRODUCTS=True,
        _MAX_NUM_OUTER_PRODUCTS_PER_COV_ROW=3.), self._values())
    ff.set_global_constants(sub_sample_patches=False,
                            sub_sample_outer_products=False)
    with self.assertRaisesRegex(
        ValueError, "^sub_sample_outer_products and sub_sample_patches are one "
        r"constant and must be equal, got \[False, True\].$"):
      ff.set_global_constants(sub_sample_patches=True,
                              sub_sample_outer_products=False)
    with self.assertRaisesRegex(ValueError, "max_num_patches"):
      ff.set_global_constants(max_num_patches=0)
    self.assertIs(ff.NaiveFullFactor, ff.FullFactor)
    self.assertIs(ff.maybe_place_on_device, ff.place_on_device)

  def testWithoutEffectIsAWarning(self):
    with self.assertLogs("absl", "WARNING") as logs:
      ff.set_global_constants(get_sanitized_name_fn=str)
    self.assertIn("get_sanitized_name_fn has no effect", logs.output[0])

  def testUnknownTowerStrategyRaisesAndChangesNothing(self):
    oracles.set_constants(self, **self._DEFAULTS)
    with self.assertRaisesRegex(
        ValueError, r"^fisher_factors.TOWER_STRATEGY must be one of "
        r"\['concat', 'separate'\], got 'merge'.$"):
      ff.set_global_constants(zero_debias=False, tower_strategy="merge")
    self.assertEqual(self._DEFAULTS, self._values())


if __name__ == "__main__":
  tf.test.main()
