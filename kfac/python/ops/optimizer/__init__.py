"""KfacOptimizer and the functions and objects that its steps consist of.

Attributes:
  ADAPTED_DAMPING_REACHES_INVERSES: Whether an adapted damping is also that of
    the inverses, rather than only of the quadratic model as in contrib.kfac.
"""

from kfac.python.ops.optimizer.calibration import calibrate_damping
from kfac.python.ops.optimizer.kfac_optimizer import KfacOptimizer
from kfac.python.ops.optimizer.sampling import sample_examples
from kfac.python.ops.utils.pairs import ip
from kfac.python.ops.utils.pairs import ip_p
from kfac.python.ops.utils.pairs import sprod
from kfac.python.ops.utils.pairs import sprod_p

ADAPTED_DAMPING_REACHES_INVERSES = True

__all__ = ["KfacOptimizer", "calibrate_damping", "sample_examples"]


def set_global_constants(
    include_damping_in_qmodel_change: bool | None = None) -> None:
  """Accepts the only value that is built.

  Args:
    include_damping_in_qmodel_change: True or None: the damping is in the change
      of the loss that the quadratic model predicts.

  Raises:
    ValueError: If it is something else.
  """
  if include_damping_in_qmodel_change not in (None, True):
    raise ValueError(
        "include_damping_in_qmodel_change must be True, since nothing else is "
        f"built, got {include_damping_in_qmodel_change!r}.")
