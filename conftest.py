"""What pytest is told about all tests."""

import os

# Before the first import of TensorFlow: no chatter, the same sums everywhere.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# On a GPU, no TensorFloat-32, whose products have ten bits.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


def pytest_collection_modifyitems(items):
  """Leaves out `tf.test.TestCase.test_session`: a helper, not a test."""
  items[:] = [item for item in items if item.name != "test_session"]
