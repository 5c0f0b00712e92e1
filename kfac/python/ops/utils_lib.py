"""Everything public of `kfac.python.ops.utils`, for a star import."""

from kfac.python.ops.utils import *  # noqa: F401,F403
