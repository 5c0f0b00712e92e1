"""The public names of `curvature_matrix_vector_products`, as in contrib."""

from kfac.python.ops.curvature_matrix_vector_products import *  # noqa: F401,F403
