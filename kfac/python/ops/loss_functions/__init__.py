"""Losses whose curvature K-FAC approximates: negative log-probabilities.

A loss is -log p(targets | inputs), summed over the batch and over all
dimensions, with a distribution p that the inputs parametrize. Its Fisher
information F with respect to the inputs is block diagonal over examples, and
every class defines a factor B with B B^T = F (Martens 2014, "New insights and
perspectives on the natural gradient method", sections 5 and 9).
"""

from kfac.python.ops.loss_functions.base import DistributionNegativeLogProbLoss
from kfac.python.ops.loss_functions.base import LossFunction
from kfac.python.ops.loss_functions.base import NaturalParamsNegativeLogProbLoss
from kfac.python.ops.loss_functions.base import NegativeLogProbLoss
from kfac.python.ops.loss_functions.bernoulli import (
    MultiBernoulliNegativeLogProbLoss,
)
from kfac.python.ops.loss_functions.categorical import (
    CategoricalLogitsNegativeLogProbLoss,
)
from kfac.python.ops.loss_functions.categorical import (
    OnehotCategoricalLogitsNegativeLogProbLoss,
)
from kfac.python.ops.loss_functions.inner_space import insert_slice_in_zeros
from kfac.python.ops.loss_functions.normal import NormalMeanNegativeLogProbLoss
from kfac.python.ops.loss_functions.normal import (
    NormalMeanVarianceNegativeLogProbLoss,
)

__all__ = [
    "CategoricalLogitsNegativeLogProbLoss",
    "DistributionNegativeLogProbLoss",
    "LossFunction",
    "MultiBernoulliNegativeLogProbLoss",
    "NaturalParamsNegativeLogProbLoss",
    "NegativeLogProbLoss",
    "NormalMeanNegativeLogProbLoss",
    "NormalMeanVarianceNegativeLogProbLoss",
    "OnehotCategoricalLogitsNegativeLogProbLoss",
    "insert_slice_in_zeros",
]
