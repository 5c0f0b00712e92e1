"""KfacOptimizer and the functions and objects that its steps consist of.

Attributes:
  ADAPTED_DAMPING_REACHES_INVERSES: Whether an adapted damping is also that of
    the inverses, rather than only of the quadratic model as in contrib.kfac.
"""

from kfac.python.ops.optimizer.calibration import calibrate_damping
from kfac.python.ops.optimizer.kfac_optimizer import KfacOptimizer
from kfac.python.ops.optimizer.sampling import sample_examples

ADAPTED_DAMPING_REACHES_INVERSES = True

__all__ = ["KfacOptimizer", "calibrate_damping", "sample_examples"]
