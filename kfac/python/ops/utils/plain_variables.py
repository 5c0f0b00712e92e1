"""Variables without the settings of the variable scopes that enclose them.

A program may build its optimizer within a scope that is meant for the variables
of the model. A regularizer, or a getter that casts, would be wrong for others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import tensorflow.compat.v1 as tf

from kfac.python.ops.utils import hints


@contextlib.contextmanager
def no_scope_settings() -> Iterator[None]:
  """Context in which variables get no settings from scopes.

  The names, initializers, dtypes and kinds of variables do not change: whoever
  creates a variable in this context passes the last three explicitly.
  """
  scope = tf.get_variable_scope()
  # It replaces the getter of the scope, and so stops all the other settings. A
  # new scope would count default names from the start again.
  getter = scope.custom_getter
  scope.set_custom_getter(_plain)
  try:
    yield
  finally:
    scope.set_custom_getter(getter)


def _plain(getter, name, **kwargs):
  kwargs.update(caching_device=None, constraint=None, partitioner=None,
                regularizer=None)
  return getter(name, **kwargs)


def make_variable(
    name: str, initializer: tf.Tensor | Callable[..., Any],
    shape: hints.Shape | None = None,
    dtype: hints.DType | None = None,
    collections: Sequence[str] | None = None) -> tf.Variable:
  """Creates a variable that is not trainable, in the current variable scope.

  It is a resource variable even if those of the model are not: a resource
  variable can be assigned inside every kind of control flow. If the model was
  built within tf.device(tf.train.replica_device_setter(...)) and this call lies
  outside, it is on one of the servers all the same: otherwise each process
  would have its own, and all but the chief would wait for its initial value.

  Args:
    name: Name below the scope.
    initializer: Initial value, a tensor; or a function of (shape, dtype,
      partition_info), which needs the next arguments.
    shape: Shape, or None for that of the tensor.
    dtype: Dtype, or None for that of the tensor.
    collections: Keys of graph collections, or None for GLOBAL_VARIABLES.

  Returns:
    The variable.
  """
  with no_scope_settings(), tf.device(_server()):
    return tf.get_variable(
        name, shape=shape, dtype=dtype, initializer=initializer,
        trainable=False, collections=collections, use_resource=True)


def _server():
  """Returns the device of a variable that is made outside of a device scope.

  It is that of one of the variables of the model, in turn; "" if these are not
  on devices of jobs, or if the scope names a job.
  """
  servers = sorted({variable.device for variable in tf.trainable_variables()})
  if not servers or not all(_has_job(server) for server in servers):
    return ""
  if _has_job(tf.no_op(name="device_of_scope").device):
    return ""
  return servers[len(tf.global_variables()) % len(servers)]


def _has_job(device):
  return tf.DeviceSpec.from_string(device).job is not None


def unique_name(name: str, names: set[str]) -> str:
  """Returns a name with the first number that makes it unique, if it is not.

  Args:
    name: Name.
    names: The names that are taken, to which the unique name is added.
  """
  unique, number = name, 0
  while unique in names:
    number += 1
    unique = f"{name}_{number}"
  names.add(unique)
  return unique


def unused_name(name: str) -> str:
  """Returns a name that no variable of the current variable scope has.

  Args:
    name: Name below the scope; a number is appended if a variable has it.
  """
  scope = tf.get_variable_scope().name
  prefix = f"{scope}/" if scope else ""
  used = {variable.op.name for variable in tf.global_variables()}
  return unique_name(prefix + name, used)[len(prefix):]
