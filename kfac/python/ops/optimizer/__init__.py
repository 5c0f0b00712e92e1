"""KfacOptimizer, and how its steps are made.

Constants:
  ADAPTED_DAMPING_REACHES_INVERSES: Whether a damping that is adapted is also
    that of the inverses, or as in contrib.kfac only of the quadratic model.
"""

from kfac.python.ops.optimizer.calibration import calibrate_damping
from kfac.python.ops.optimizer.case_sampling import sample_cases
from kfac.python.ops.optimizer.kfac_optimizer import KfacOptimizer

ADAPTED_DAMPING_REACHES_INVERSES = True

__all__ = ["KfacOptimizer", "calibrate_damping", "sample_cases"]
