"""Graphs with each kind of control flow and of variables."""

import contextlib
import itertools

import tensorflow.compat.v1 as tf

from kfac.python.kernel_tests import graph_modes


@contextlib.contextmanager
def new_graph(control_flow_v2=False, use_resource=False):
  """Enters a new graph with one kind of control flow and variables."""
  with graph_modes.control_flow(control_flow_v2):
    with tf.Graph().as_default() as new:
      with tf.variable_scope("", use_resource=use_resource):
        yield new


def all_kinds():
  """Yields the arguments of `new_graph`, of each kind."""
  for control_flow_v2, use_resource in itertools.product((False, True),
                                                         repeat=2):
    yield dict(control_flow_v2=control_flow_v2, use_resource=use_resource)


def weights(name="w", rows=3):
  """Makes a variable [rows, 3] of ones."""
  return tf.get_variable(name, [rows, 3], initializer=tf.ones_initializer())
