"""LayerCollection: registration of the layers and losses of a model."""

from kfac.python.ops.layer_collection.approximations import APPROX_DIAGONAL_NAME
from kfac.python.ops.layer_collection.approximations import APPROX_FULL_NAME
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_BOTH_DIAG_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_IN_DIAG_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_INDEP_BOTH_DIAG_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_INDEP_IN_DIAG_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_INDEP_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_INDEP_OUT_DIAG_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_OUT_DIAG_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_SERIES_1_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_SERIES_2_NAME,
)
from kfac.python.ops.layer_collection.approximations import (
  APPROX_KRONECKER_SUA_NAME,
)
from kfac.python.ops.layer_collection.approximations import APPROXIMATIONS
from kfac.python.ops.layer_collection.collection import LayerCollection
from kfac.python.ops.layer_collection.default_collection import (
  get_default_layer_collection,
)
from kfac.python.ops.layer_collection.default_collection import (
  set_default_layer_collection,
)
from kfac.python.ops.layer_collection.parameters import LayerParametersDict
from kfac.python.ops.layer_collection.registration import VARIABLE_SCOPE
from kfac.python.ops.utils.containers import ensure_sequence

# The tables by the names of contrib.kfac, which subclasses pass to
# `_get_block_type`.
_GENERIC_APPROX_TO_BLOCK_TYPES = APPROXIMATIONS["generic"]
_FULLY_CONNECTED_APPROX_TO_BLOCK_TYPES = APPROXIMATIONS["fully_connected"]
_CONV2D_APPROX_TO_BLOCK_TYPES = APPROXIMATIONS["conv2d"]
_EMBEDDING_APPROX_TO_BLOCK_TYPES = APPROXIMATIONS["embedding"]
_FULLY_CONNECTED_MULTI_APPROX_TO_BLOCK_TYPES = APPROXIMATIONS[
    "fully_connected_multi"]
_CONV2D_MULTI_APPROX_TO_BLOCK_TYPES = APPROXIMATIONS["conv2d_multi"]
_EMBEDDING_MULTI_APPROX_TO_BLOCK_TYPES = APPROXIMATIONS["embedding_multi"]

__all__ = [
    "APPROX_DIAGONAL_NAME",
    "APPROX_FULL_NAME",
    "APPROX_KRONECKER_INDEP_NAME",
    "APPROX_KRONECKER_NAME",
    "APPROX_KRONECKER_SERIES_1_NAME",
    "APPROX_KRONECKER_SERIES_2_NAME",
    "LayerCollection",
    "LayerParametersDict",
    "VARIABLE_SCOPE",
    "get_default_layer_collection",
    "set_default_layer_collection",
]
