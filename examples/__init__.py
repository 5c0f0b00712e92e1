"""Programs that show K-FAC at work; each runs from a clone of the repository.

TensorFlow reads these two when it is first imported: only errors are logged,
and products are computed by Eigen, which is a little faster here on a CPU.
"""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
