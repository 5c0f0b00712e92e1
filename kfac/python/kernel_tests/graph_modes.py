"""The graph modes that tests run in."""

import contextlib

import tensorflow.compat.v1 as tf


@contextlib.contextmanager
def control_flow(v2):
  """Context with control flow of version 1 or 2."""
  before = tf.control_flow_v2_enabled()
  switch = {True: tf.enable_control_flow_v2, False: tf.disable_control_flow_v2}
  switch[v2]()
  try:
    yield
  finally:
    switch[before]()
