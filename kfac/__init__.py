"""K-FAC for TensorFlow graphs, under the names of tf.contrib.kfac.

K-FAC is an optimizer that preconditions the gradient by an approximation of
the Fisher information matrix, a Kronecker product for each layer (Martens and
Grosse 2015, https://arxiv.org/abs/1503.05671). Register the layers and losses
of a model in a `LayerCollection` and pass it to `KfacOptimizer`.
"""

from kfac.python import requirements

requirements.check_tensorflow()

from kfac.python import keras
from kfac.python.ops import checkpoint
from kfac.python.ops import contrib_numerics
from kfac.python.ops import curvature_matrix_vector_products
from kfac.python.ops import estimator
from kfac.python.ops import fisher_blocks
from kfac.python.ops import fisher_factors
from kfac.python.ops import layer_collection
from kfac.python.ops import linear_operator
from kfac.python.ops import loss_functions
from kfac.python.ops import op_queue
from kfac.python.ops import optimizer
from kfac.python.ops import placement
from kfac.python.ops import recipe
from kfac.python.ops import utils
from kfac.python.ops.kfac_utils import async_inv_cov_update_kfac_opt
from kfac.python.ops.kfac_utils import data_reader
from kfac.python.ops.kfac_utils import data_reader_alt
from kfac.python.ops.kfac_utils import periodic_inv_cov_update_kfac_opt
from kfac.python.ops.tensormatch import graph_matcher
from kfac.python.ops.tensormatch import graph_search
from kfac.python.ops.utils import bad_numbers

__version__ = "1.0.0.dev0"

AsyncInvCovUpdateKfacOpt = (
    async_inv_cov_update_kfac_opt.AsyncInvCovUpdateKfacOpt)
CurvatureMatrixVectorProductComputer = (
    curvature_matrix_vector_products.CurvatureMatrixVectorProductComputer)
KfacOptimizer = optimizer.KfacOptimizer
LayerCollection = layer_collection.LayerCollection
PeriodicInvCovUpdateKfacOpt = (
    periodic_inv_cov_update_kfac_opt.PeriodicInvCovUpdateKfacOpt)
set_on_bad_numbers = bad_numbers.set_on_bad_numbers
use_contrib_numerics = contrib_numerics.use_contrib_numerics

__all__ = [
    "AsyncInvCovUpdateKfacOpt",
    "CurvatureMatrixVectorProductComputer",
    "KfacOptimizer",
    "LayerCollection",
    "PeriodicInvCovUpdateKfacOpt",
    "async_inv_cov_update_kfac_opt",
    "checkpoint",
    "curvature_matrix_vector_products",
    "data_reader",
    "data_reader_alt",
    "estimator",
    "fisher_blocks",
    "fisher_factors",
    "graph_matcher",
    "graph_search",
    "keras",
    "layer_collection",
    "linear_operator",
    "loss_functions",
    "op_queue",
    "optimizer",
    "periodic_inv_cov_update_kfac_opt",
    "placement",
    "recipe",
    "set_on_bad_numbers",
    "use_contrib_numerics",
    "utils",
]
