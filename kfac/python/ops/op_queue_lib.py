"""Everything public of `kfac.python.ops.op_queue`, for a star import."""

from kfac.python.ops.op_queue import *  # noqa: F401,F403
