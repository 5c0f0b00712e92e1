"""Names of kfac 0.2.4 for Keras models, which are not built."""

from kfac.python.keras import callbacks
from kfac.python.keras import optimizers
from kfac.python.keras import saving_utils
from kfac.python.keras import utils

__all__ = ["callbacks", "optimizers", "saving_utils", "utils"]
