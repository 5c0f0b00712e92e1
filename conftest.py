"""What pytest is told about all tests."""

import os

# Before the first import of TensorFlow: no chatter, the same sums everywhere.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# On a GPU, no TensorFloat-32, whose products have ten bits.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")

# How graphs are made: KFAC_GRAPH_MODE is one of these.
GRAPH_MODES = {
    # Variables and control flow of TensorFlow 1.
    "disable_v2_behavior": lambda tf: tf.disable_v2_behavior(),
    # Resource variables and control flow v2.
    "disable_eager_execution": lambda tf: tf.disable_eager_execution(),
    # The same, in `tf.Graph().as_default()` where eager execution is on.
    "eager": lambda tf: None,
}

# Test files that start clusters of processes, which takes longer than others.
CLUSTER_TESTS = (
    "bulletin_test.py", "cluster_cost_test.py", "cluster_test.py",
    "collectives_test.py", "contrib_cluster_test.py",
    "convnet_mnist_distributed_test.py", "server_workers_test.py",
    "watchdog_test.py", "workers_restarts_test.py")


def pytest_configure():
  """Puts TensorFlow into the graph mode that KFAC_GRAPH_MODE names.

  Raises:
    ValueError: If there is no such mode.
  """
  mode = os.environ.get("KFAC_GRAPH_MODE", "eager")
  if mode not in GRAPH_MODES:
    raise ValueError(
        f"KFAC_GRAPH_MODE must be one of {sorted(GRAPH_MODES)}, got {mode!r}.")
  if mode == "eager":
    return  # TensorFlow as it starts; the import can wait.
  import tensorflow.compat.v1 as tf
  GRAPH_MODES[mode](tf)


def pytest_collection_modifyitems(items):
  """Marks tests of clusters.

  It leaves out `tf.test.TestCase.test_session`: a helper, not a test.
  """
  items[:] = [item for item in items if item.name != "test_session"]
  for item in items:
    if item.path.name in CLUSTER_TESTS:
      item.add_marker("cluster")
