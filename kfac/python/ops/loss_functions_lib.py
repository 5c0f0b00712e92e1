"""The public names of `loss_functions`, under the name contrib.kfac used."""

from kfac.python.ops.loss_functions import *  # noqa: F401,F403
