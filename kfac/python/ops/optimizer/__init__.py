"""KfacOptimizer, and how its steps are made.

Attributes:
  ADAPTED_DAMPING_REACHES_INVERSES: Whether a damping that is adapted is also
    that of the inverses, or as in contrib.kfac only of the quadratic model.
"""

from kfac.python.ops.optimizer.calibration import calibrate_damping
from kfac.python.ops.optimizer.kfac_optimizer import KfacOptimizer
from kfac.python.ops.optimizer.sampling import sample_examples

ADAPTED_DAMPING_REACHES_INVERSES = True

__all__ = ["KfacOptimizer", "calibrate_damping", "sample_examples"]
