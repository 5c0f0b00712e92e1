"""One configuration of K-FAC for all models: from a loss to a train op."""

from kfac.python.ops.recipe.calibration_hook import CalibrationHook
from kfac.python.ops.recipe.recipe import Recipe

__all__ = ["CalibrationHook", "Recipe"]
