"""Example programs for K-FAC; each runs from a clone of the repository."""

import os

# TensorFlow reads these variables when it is imported. It then logs errors
# only, and multiplies matrices with Eigen, which is slightly faster here on a
# CPU.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
